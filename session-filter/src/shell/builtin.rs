//! Lines that the prompt answers by itself.

use crate::grammar::{FaultReason, lex};

/// The names, for completion and help.
pub const BUILTINS: &[&str] = &["cd", "exit", "help", "history", "logout", "pwd"];

/// A line that needs no program on the target.
///
/// A program of the same name is reachable by its path, as far as policy permits it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Builtin {
    /// `cd`: go to another directory.
    ChangeDirectory(Destination),
    /// `pwd`: say where commands run.
    PrintDirectory,
    /// `history`: list what was accepted here.
    History,
    /// `help`: say what may be run, and what this prompt can do.
    Help,
    /// `exit`, `logout`: end, with this status.
    Exit(u32),
    /// A builtin that is used in a way it does not know; the sentence says how it is used.
    Misused(&'static str),
}

/// Where `cd` goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// Home: `cd`, `cd ~`.
    Home,
    /// Below home: `cd ~/x` gives `x`.
    BelowHome(String),
    /// Back: `cd -`.
    Previous,
    /// A path, absolute or seen from the directory that commands run in.
    Path(String),
}

impl Builtin {
    /// Reads a line. `None`: it is not a builtin, or not one that the command grammar takes; then it is to be checked as any other.
    ///
    /// A builtin stands alone on its line: joined with other commands, none of the line is a builtin.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_matches(' ');
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        if !BUILTINS.contains(&name) {
            return None;
        }
        let rest = rest.trim_start_matches(' ');
        // The only place where `~` is known. What follows it is read as the grammar reads any word.
        let below_home = match (name, rest.strip_prefix('~')) {
            ("cd", Some(below)) if below.is_empty() || below.starts_with(['/', ' ']) => Some(below),
            _ => None,
        };
        let lexed = match below_home {
            Some(below) => lex(format!("{name} {below}").as_bytes()),
            None => lex(line.as_bytes()),
        };
        let lexed = match lexed {
            Ok(lexed) => lexed,
            Err(fault) if name == "cd" && fault.reason() == FaultReason::Tilde => {
                return Some(Self::Misused("`cd` knows `~` and `~/…`, and no other homes"));
            }
            Err(_) => return None,
        };
        let [command] = lexed.commands() else { return None };
        let arguments: Vec<&str> = command.iter().skip(1).map(String::as_str).collect();
        Some(match (name, arguments.as_slice()) {
            ("cd", []) => Self::ChangeDirectory(Destination::Home),
            ("cd", [below]) if below_home.is_some() => {
                match below.trim_start_matches('/') {
                    // `cd ~ x`: what follows the space is another argument.
                    _ if !below.starts_with('/') => Self::Misused(CD),
                    "" => Self::ChangeDirectory(Destination::Home),
                    below => Self::ChangeDirectory(Destination::BelowHome(below.to_owned())),
                }
            }
            ("cd", ["-"]) => Self::ChangeDirectory(Destination::Previous),
            ("cd", ["--", path] | [path])
                if !path.is_empty() && (arguments.len() > 1 || !path.starts_with('-')) =>
            {
                Self::ChangeDirectory(Destination::Path((*path).to_owned()))
            }
            ("cd", _) => Self::Misused(CD),
            ("pwd", []) => Self::PrintDirectory,
            ("history", []) => Self::History,
            ("help", []) => Self::Help,
            ("exit" | "logout", []) => Self::Exit(0),
            ("exit" | "logout", [status]) => match status.parse::<u8>() {
                Ok(status) => Self::Exit(status.into()),
                Err(_) => Self::Misused("`exit` takes a number from 0 to 255"),
            },
            ("exit" | "logout", _) => Self::Misused("`exit` takes a number from 0 to 255"),
            _ => Self::Misused("`pwd`, `history` and `help` take no arguments"),
        })
    }
}

const CD: &str = "`cd` takes one directory, `-` or nothing";

#[cfg(test)]
mod tests {
    use super::*;

    fn cd(line: &str) -> Option<Destination> {
        match Builtin::parse(line) {
            Some(Builtin::ChangeDirectory(destination)) => Some(destination),
            _ => None,
        }
    }

    #[test]
    fn cd_knows_home_back_and_paths() {
        let path = |path: &str| Some(Destination::Path(path.to_owned()));
        for (line, expected) in [
            ("cd", Some(Destination::Home)),
            (" cd  ~ ", Some(Destination::Home)),
            ("cd ~/", Some(Destination::Home)),
            ("cd ~/a/b", Some(Destination::BelowHome("a/b".into()))),
            ("cd ~/'a b'", Some(Destination::BelowHome("a b".into()))),
            ("cd -", Some(Destination::Previous)),
            ("cd /var/log", path("/var/log")),
            ("cd 'a b'", path("a b")),
            ("cd '~'", path("~")),
            ("cd ..", path("..")),
            ("cd -- -x", path("-x")),
            ("cd -P", None),
            ("cd a b", None),
            ("cd ~ b", None),
            ("cd ~bob", None),
            ("cd ''", None),
        ] {
            assert_eq!(cd(line), expected, "{line:?}");
        }
        assert!(matches!(Builtin::parse("cd ~bob"), Some(Builtin::Misused(_))));
        assert!(matches!(Builtin::parse("cd ~ b"), Some(Builtin::Misused(_))));
    }

    #[test]
    fn whatever_the_grammar_refuses_is_for_the_check_to_refuse() {
        for line in [
            "cd $HOME",
            "cd /x; id",
            "cd /x && ls",
            "pwd | cat",
            "help > x",
            "cd ~/$(id)",
            "cd '",
            "exit `id`",
        ] {
            assert_eq!(Builtin::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn programs_of_the_same_name_are_reachable() {
        for line in ["/usr/bin/pwd", "'pwd'", "\\cd /", "command cd", "cdx", "help2", "", "exitt"] {
            assert_eq!(Builtin::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn exit_takes_a_status() {
        assert_eq!(Builtin::parse("exit"), Some(Builtin::Exit(0)));
        assert_eq!(Builtin::parse("logout"), Some(Builtin::Exit(0)));
        assert_eq!(Builtin::parse("exit 7"), Some(Builtin::Exit(7)));
        for misused in ["exit x", "exit 256", "exit -1", "exit 1 2", "pwd -P", "history -c", "help me"] {
            assert!(matches!(Builtin::parse(misused), Some(Builtin::Misused(_))), "{misused:?}");
        }
    }
}
