//! Which paths a command's arguments may refer to: a guess from how they look, for whoever searches the record for a file.
//!
//! Taken are words with a `/` in them (also behind `=`, and glued to an option: `--file=/x`, `-f/x`), `.` and `..`; of the programs whose
//! operands are files (`cat`, `rm`, `chmod`, …) plain words, too. Not taken are URLs and places elsewhere (`host:/x`). A program may
//! open anything else besides.

use crate::directory::AbsolutePath;
use crate::verdict::Permit;

/// Most paths in one record.
const FILES_MAX: usize = 64;
/// Most bytes of all paths in one record.
const FILES_BYTES_MAX: usize = 16 * 1024;

/// Programs of which every operand is a file.
const OPERANDS: &[&str] = &[
    "b2sum",
    "bzip2",
    "bunzip2",
    "cat",
    "cksum",
    "cmp",
    "cp",
    "cut",
    "diff",
    "du",
    "file",
    "gunzip",
    "gzip",
    "head",
    "hexdump",
    "install",
    "less",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "more",
    "mv",
    "nano",
    "nl",
    "od",
    "paste",
    "readlink",
    "realpath",
    "rev",
    "rm",
    "rmdir",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shred",
    "sort",
    "stat",
    "strings",
    "tac",
    "tail",
    "tee",
    "touch",
    "truncate",
    "uniq",
    "unlink",
    "unxz",
    "vi",
    "view",
    "vim",
    "wc",
    "xxd",
    "xz",
    "xzcat",
    "zcat",
    "zless",
];

/// Programs of which every operand but the first is a file.
const OPERANDS_BUT_FIRST: &[&str] =
    &["awk", "chgrp", "chmod", "chown", "egrep", "fgrep", "grep", "jq", "sed", "setfacl", "zgrep"];

/// The paths, as seen from the directory in which the command runs, each once. Home is written `~`, since nobody here knows where it is.
pub(super) fn files(permit: &Permit) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut bytes = 0usize;
    for argv in permit.commands() {
        let Some((program, args)) = argv.split_first() else { continue };
        let program = program.rsplit('/').next().unwrap_or(program);
        let mut operands_skipped = match () {
            () if OPERANDS.contains(&program) => 0,
            () if OPERANDS_BUT_FIRST.contains(&program) => 1,
            () => usize::MAX,
        };
        for arg in args {
            let Some(path) = candidate(arg, &mut operands_skipped) else { continue };
            let Some(path) = seen_from(permit.directory(), path) else { continue };
            bytes = bytes.saturating_add(path.len());
            if found.len() >= FILES_MAX || bytes > FILES_BYTES_MAX {
                return found;
            }
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// The part of a word that may be a path.
fn candidate<'a>(arg: &'a str, operands_skipped: &mut usize) -> Option<&'a str> {
    let is_option = arg.starts_with('-');
    let value = match arg.split_once('=') {
        Some((_, value)) if value.contains('/') => value,
        _ if is_option && !arg.starts_with("--") => arg.find('/').and_then(|at| arg.get(at..))?,
        _ => arg,
    };
    if value.starts_with('-') {
        return None;
    }
    let is_plain = !value.contains('/') && !matches!(value, "." | "..");
    if !is_option && *operands_skipped > 0 {
        *operands_skipped = operands_skipped.saturating_sub(usize::from(*operands_skipped < usize::MAX));
        if is_plain {
            return None;
        }
    }
    // `-n 20` is more often a number than a file of that name.
    let is_name = value.chars().any(char::is_alphabetic);
    let before_slash = value.split('/').next().unwrap_or_default();
    match is_plain {
        true => is_name.then_some(value),
        false => (!before_slash.contains(':')).then_some(value),
    }
}

fn seen_from(directory: Option<&AbsolutePath>, path: &str) -> Option<String> {
    match directory {
        _ if path.starts_with('/') => AbsolutePath::parse(path).map(|path| path.to_string()),
        Some(directory) => directory.join(path).map(|path| path.to_string()),
        None => Some(below_home(path)),
    }
}

/// `~/x`; what climbs out of home keeps its `..`.
fn below_home(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|name| *name != "..") => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.insert(0, "~");
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Directory, Facts, Policy, Target, User};

    fn of(line: &str, directory: Option<&str>) -> Vec<String> {
        let policy = Policy::from_toml(
            "[[permit]]\nusers=['*']\ntargets=['*']\nmode='managed'\nlists=true\ndirectories=['/**']\n\
             commands=['cat ...', 'grep ...', 'dd ...', 'tail ...', 'x ...', 'chmod ...']\nacknowledge=['dd anything', 'chmod anything']",
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let directory = match directory {
            None => Directory::Home,
            Some(path) => Directory::At(AbsolutePath::parse(path).unwrap()),
        };
        let facts = Facts::at(chrono::DateTime::UNIX_EPOCH);
        let verdict =
            policy.check_in(&User::new("a"), &Target::new("t"), line.as_bytes(), &directory, &facts);
        files(&verdict.permit().unwrap())
    }

    #[test]
    fn words_that_look_like_paths_are_taken() {
        assert_eq!(of("x /etc/passwd ./a/../b ../c . plain", None), ["/etc/passwd", "~/b", "~/../c", "~"]);
        assert_eq!(
            of("x --file=/etc/x -f/etc/y -f rel/z if=/dev/sda", None),
            ["/etc/x", "/etc/y", "~/rel/z", "/dev/sda"]
        );
        assert_eq!(of("x https://a/b host:/x user@host:y/z --url=http://a/b", None), Vec::<String>::new());
    }

    #[test]
    fn plain_words_are_files_for_programs_that_take_files() {
        assert_eq!(of("cat notes.txt notes.txt other", None), ["~/notes.txt", "~/other"]);
        assert_eq!(of("tail -n 20 log", None), ["~/log"]);
        assert_eq!(of("grep -i word a b", None), ["~/a", "~/b"]);
        assert_eq!(of("chmod u+x run", None), ["~/run"]);
        assert_eq!(of("grep /a/ b", None), ["/a", "~/b"]);
    }

    #[test]
    fn paths_are_seen_from_where_the_command_runs() {
        assert_eq!(
            of("cat notes ../x /y; cat z", Some("/srv/app")),
            ["/srv/app/notes", "/srv/x", "/y", "/srv/app/z"]
        );
    }

    #[test]
    fn there_are_only_so_many() {
        let many: String = (0..200).map(|n| format!(" f{n}/x")).collect();
        assert_eq!(of(&format!("x{many}"), None).len(), FILES_MAX);
        let long: String = (0..60).map(|n| format!(" f{n}")).collect();
        let deep = format!("/{}", "d".repeat(2000));
        let found = of(&format!("cat{long}"), Some(&deep));
        assert!(found.iter().map(String::len).sum::<usize>() <= FILES_BYTES_MAX && found.len() < 60);
    }
}
