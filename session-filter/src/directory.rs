//! Where a command runs: home, or an absolute directory on the target.

use std::fmt;

/// Longest directory that is accepted, in bytes.
pub const DIRECTORY_BYTES_MAX: usize = 4096;

/// The directory in which a line runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Directory {
    /// Wherever the target puts a new session: the account's home.
    #[default]
    Home,
    /// An absolute path.
    At(AbsolutePath),
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.write_str("~"),
            Self::At(path) => path.fmt(f),
        }
    }
}

/// An absolute path without `.`, `..`, empty components, control characters; `/` alone is the root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AbsolutePath(String);

impl AbsolutePath {
    /// Reads `path`, resolving `.`, `..` and repeated slashes as text. `None` if it is not absolute, too long, or holds control
    /// characters.
    ///
    /// Links are not followed: whoever knows them asks the target first.
    pub fn parse(path: &str) -> Option<Self> {
        if !path.starts_with('/') || path.len() > DIRECTORY_BYTES_MAX || path.chars().any(char::is_control) {
            return None;
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        Some(Self(format!("/{}", parts.join("/"))))
    }

    /// `path` as seen from here: itself if absolute, below this directory otherwise.
    pub fn join(&self, path: &str) -> Option<Self> {
        match path.starts_with('/') {
            true => Self::parse(path),
            false => Self::parse(&format!("{}/{path}", self.0)),
        }
    }

    /// The names from the root down; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_as_text() {
        let parse = |path: &str| AbsolutePath::parse(path).map(|path| path.to_string());
        for (path, expected) in [
            ("/", "/"),
            ("//a///b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../../etc", "/etc"),
            ("/a/..", "/"),
        ] {
            assert_eq!(parse(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["", "a", "a/b", "/a\nb", "/a\u{0}", &format!("/{}", "x".repeat(DIRECTORY_BYTES_MAX))] {
            assert_eq!(parse(path), None, "{path:?}");
        }
        let here = AbsolutePath::parse("/srv/app").unwrap();
        assert_eq!(here.join("../x").unwrap().as_str(), "/srv/x");
        assert_eq!(here.join("/x").unwrap().as_str(), "/x");
    }
}
