//! The old `scp` protocol: what a client asks for on the command line, and the lines between the two ends.
//!
//! `scp -O`, and any `scp` from before OpenSSH 9.0, asks the target to run `scp -t PATH` or `scp -f PATH` and talks to that. Where
//! [`Door::LegacyScp`](crate::Door::LegacyScp) is open, the engine speaks this protocol to the client itself and does to the
//! target's files what SFTP does, with the same checks and records ([`sftp`](crate::sftp)). Nothing is run on the target.

use crate::grammar::lex;

/// Longest control line, in bytes.
pub const CONTROL_LINE_BYTES_MAX: usize = 8 * 1024;
/// Deepest directory below the one that was asked for.
pub const DEPTH_MAX: usize = 64;
/// Most entries of one directory that are copied.
pub const ENTRIES_MAX: usize = 65_536;
/// Most memory, in bytes, for the paths that are still to be copied, of all directories together. A directory that does not fit is
/// left out, and the client is told.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which way the files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `-t`: to the target.
    ToTarget,
    /// `-f`: from the target.
    FromTarget,
}

/// What the far end of a copy was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which way.
    pub direction: Direction,
    /// `-r`: directories, too.
    pub recursive: bool,
    /// `-p`: times and modes are kept.
    pub preserve: bool,
    /// `-d`: the path must be a directory.
    pub is_directory: bool,
    /// From the account's home, or absolute.
    pub path: String,
}

impl Call {
    /// Reads a command line. `None`: it is not a call of the far end of `scp` that is understood in full, and whatever decides about
    /// command lines decides about it.
    ///
    /// The line has to be in the grammar of commands, so a path with `~`, wildcards or variables is not understood: there is no shell
    /// that would expand it.
    pub fn read(line: &[u8]) -> Option<Self> {
        let line = lex(line).ok()?;
        let [argv] = line.commands() else { return None };
        let mut words = argv.iter().map(AsRef::<str>::as_ref);
        let program = words.next()?;
        if program != "scp" && !(program.starts_with('/') && program.ends_with("/scp")) {
            return None;
        }
        let mut direction = None;
        let (mut recursive, mut preserve, mut is_directory) = (false, false, false);
        let path = loop {
            match words.next()? {
                "-t" if direction.is_none() => direction = Some(Direction::ToTarget),
                "-f" if direction.is_none() => direction = Some(Direction::FromTarget),
                "-r" => recursive = true,
                "-p" => preserve = true,
                "-d" => is_directory = true,
                // What it would say is for whoever reads the target's terminal.
                "-v" | "-q" => {}
                "--" => break words.next()?,
                path if path.starts_with('-') => return None,
                path => break path,
            }
        };
        let path = if path.is_empty() { "." } else { path };
        match words.next() {
            None => {
                Some(Self { direction: direction?, recursive, preserve, is_directory, path: path.to_owned() })
            }
            Some(_) => None,
        }
    }
}

/// A line of the end that sends files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// `C`: a file follows.
    File {
        /// Its permission bits.
        mode: u32,
        /// Its length in bytes.
        size: u64,
        /// Its name: no path.
        name: String,
    },
    /// `D`: what follows, up to the matching [`Control::End`], lies in this directory.
    Directory {
        /// Its permission bits.
        mode: u32,
        /// Its name: no path.
        name: String,
    },
    /// `E`: the directory is complete.
    End,
    /// `T`: times of what comes next, in seconds since 1970.
    Times {
        /// Of the last change.
        modified: u32,
        /// Of the last access.
        accessed: u32,
    },
    /// The sender could not read something, and says so.
    Warning,
    /// The sender gives up.
    Fatal,
}

impl Control {
    /// Reads a line without its newline. `None`: it is none of the protocol's.
    pub fn read(line: &[u8]) -> Option<Self> {
        let (first, rest) = line.split_first()?;
        // What the sender says goes nowhere, and need not be text.
        match first {
            1 => return Some(Self::Warning),
            2 => return Some(Self::Fatal),
            _ => {}
        }
        let rest = std::str::from_utf8(rest).ok()?;
        match first {
            b'C' | b'D' => {
                let mut fields = rest.splitn(3, ' ');
                let (mode, size, name) = (fields.next()?, fields.next()?, fields.next()?);
                let is_octal = mode.len() == 4 && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
                let mode = u32::from_str_radix(mode, 8).ok().filter(|_| is_octal)?;
                let size = number(size)?;
                let is_name = !matches!(name, "" | "." | "..")
                    && !name.contains('/')
                    && !name.chars().any(char::is_control);
                let name = Some(name.to_owned()).filter(|_| is_name)?;
                Some(match first {
                    b'C' => Self::File { mode, size, name },
                    _ => Self::Directory { mode, name },
                })
            }
            b'E' => rest.is_empty().then_some(Self::End),
            b'T' => {
                let mut fields = rest.split(' ');
                let modified = number(fields.next()?)?;
                number(fields.next()?)?;
                let accessed = number(fields.next()?)?;
                number(fields.next()?)?;
                // SFTP has 32 bits for each.
                let times = (u32::try_from(modified).ok()?, u32::try_from(accessed).ok()?);
                fields.next().is_none().then_some(Self::Times { modified: times.0, accessed: times.1 })
            }
            _ => None,
        }
    }

    /// The line as it is sent, newline included.
    pub fn line(&self) -> String {
        match self {
            Self::File { mode, size, name } => format!("C{:04o} {size} {name}\n", mode & 0o7777),
            Self::Directory { mode, name } => format!("D{:04o} 0 {name}\n", mode & 0o7777),
            Self::End => "E\n".to_owned(),
            Self::Times { modified, accessed } => format!("T{modified} 0 {accessed} 0\n"),
            Self::Warning => "\u{1}\n".to_owned(),
            Self::Fatal => "\u{2}\n".to_owned(),
        }
    }
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}
