//! What `help` says.

use std::collections::BTreeSet;

use crate::grammar::escape_into;

/// Most patterns that are listed.
const PATTERNS_MAX: usize = 500;

/// What may be run on `target` and what the prompt can do: lines that end with `\n`. Nothing in them acts on a terminal.
pub fn help(target: &str, permitted: &[String]) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        escape_into(text, usize::MAX, &mut out);
        out.push('\n');
    };
    if permitted.is_empty() {
        line(&format!("Nothing may be run on {target} now."));
    } else {
        line(&format!("Permitted on {target}:"));
        // In order, so that what begins with the same program stands together.
        let patterns: BTreeSet<&String> = permitted.iter().collect();
        for pattern in patterns.iter().take(PATTERNS_MAX) {
            line(&format!("  {pattern}"));
        }
        if let Some(more @ 1..) = patterns.len().checked_sub(PATTERNS_MAX) {
            line(&format!("  and {more} more"));
        }
        line("  (* and ? stand for characters of a word except /, ** for any, ... for any further words)");
    }
    for text in TEXT {
        line(text);
    }
    out
}

const TEXT: &[&str] = &[
    "Here:",
    "  cd [DIRECTORY | - | ~/…]   pwd   history   help   exit [STATUS]",
    "  (a program of the same name is reachable by its path)",
    "Keys:",
    "  Tab completes, twice lists; Up and Down bring lines back, Ctrl-R searches them",
    "  Ctrl-C gives up the line, or interrupts the command; Ctrl-D on an empty line leaves",
    "Not here:",
    "  job control, variables, file name patterns, redirection, shell functions: each line is a command of its own",
    "  what one command sets does not reach the next: sudo asks again, umask and export have no effect",
    "  what is typed while a command runs goes to that command",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_permitted_stands_together_and_nothing_acts_on_a_terminal() {
        let permitted = ["b x", "a \u{1b}[2J", "b x", "a 1"].map(str::to_owned);
        let text = help("box", &permitted);
        assert!(text.starts_with("Permitted on box:\n  a \\u{1b}[2J\n  a 1\n  b x\n  (*"), "{text}");
        assert!(help("box", &[]).starts_with("Nothing may be run on box now.\nHere:\n"));
        let many: Vec<String> = (0..PATTERNS_MAX + 2).map(|at| format!("echo {at}")).collect();
        assert!(help("box", &many).contains("  and 2 more\n"));
        assert!(help("box", &many[..PATTERNS_MAX]).lines().all(|line| !line.contains("more")));
    }
}
