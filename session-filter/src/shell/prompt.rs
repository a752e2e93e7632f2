//! What stands before a line: who, where, in which directory.

use unicode_width::UnicodeWidthChar as _;

use crate::directory::{AbsolutePath, Directory};
use crate::grammar::escape_into;

/// Columns that the directory takes in a prompt; of a longer one the end is shown.
pub const PROMPT_DIRECTORY_COLS_MAX: usize = 40;
/// Columns that each name takes.
const NAME_COLS_MAX: usize = 32;

/// `alice@web-1:~/app$ `. Nothing in it acts on a terminal.
pub fn prompt(user: &str, target: &str, directory: &Directory, home: Option<&AbsolutePath>) -> String {
    let directory = shortened(directory, home);
    format!("{}@{}:{}$ ", start(user), start(target), end(&directory))
}

/// The directory as people write it: `~` for home, and for the beginning of what is below it.
pub fn shortened(directory: &Directory, home: Option<&AbsolutePath>) -> String {
    let Directory::At(path) = directory else { return "~".to_owned() };
    let below =
        home.filter(|home| home.as_str() != "/").and_then(|home| path.as_str().strip_prefix(home.as_str()));
    match below {
        Some("") => "~".to_owned(),
        Some(below) if below.starts_with('/') => format!("~{below}"),
        _ => path.to_string(),
    }
}

fn start(name: &str) -> String {
    let shown = printable(name);
    let mut cols = 0usize;
    let kept: String = shown
        .chars()
        .take_while(|c| {
            cols = cols.saturating_add(c.width().unwrap_or(0));
            cols <= NAME_COLS_MAX
        })
        .collect();
    if kept.len() < shown.len() { format!("{kept}…") } else { kept }
}

fn end(path: &str) -> String {
    let shown = printable(path);
    let mut cols = 0usize;
    let mut from = shown.len();
    for (at, c) in shown.char_indices().rev() {
        cols = cols.saturating_add(c.width().unwrap_or(0));
        if cols > PROMPT_DIRECTORY_COLS_MAX {
            break;
        }
        from = at;
    }
    match shown.get(from..) {
        Some(kept) if from > 0 => format!("…{kept}"),
        _ => shown,
    }
}

fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(text, usize::MAX, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Directory {
        Directory::At(AbsolutePath::parse(path).unwrap())
    }

    #[test]
    fn says_who_where_and_in_which_directory() {
        let home = AbsolutePath::parse("/home/alice").unwrap();
        let shown = |directory: &Directory| prompt("alice", "web-1", directory, Some(&home));
        assert_eq!(shown(&Directory::Home), "alice@web-1:~$ ");
        assert_eq!(shown(&at("/home/alice")), "alice@web-1:~$ ");
        assert_eq!(shown(&at("/home/alice/app")), "alice@web-1:~/app$ ");
        assert_eq!(shown(&at("/home/alice2")), "alice@web-1:/home/alice2$ ");
        assert_eq!(shown(&at("/")), "alice@web-1:/$ ");
        let root = AbsolutePath::parse("/").unwrap();
        assert_eq!(prompt("a", "b", &at("/etc"), Some(&root)), "a@b:/etc$ ");
    }

    #[test]
    fn long_and_hidden_text_stays_in_bounds() {
        let long = prompt(&"u".repeat(100), "t", &at(&format!("/{}/end", "d".repeat(100))), None);
        assert!(long.starts_with("uuuu") && long.ends_with("/end$ ") && long.chars().count() < 90, "{long}");
        assert_eq!(prompt("a\u{202e}b", "t\u{1b}[2J", &Directory::Home, None), r"a\u{202e}b@t\u{1b}[2J:~$ ");
    }
}
