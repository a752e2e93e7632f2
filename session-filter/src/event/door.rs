//! What went through doors besides commands.

use serde::Serialize;

use super::cut_at_char;
use crate::door::{Door, FileAccess};

/// Fields of `door.opened`: durable before anything goes through.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DoorOpened {
    /// The SSH request or channel type, such as `direct-tcpip`.
    pub request: &'static str,
    /// What was asked for: a variable's name (never its value), a forward's address, a subsystem's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Who came through a door that stands open on the target, as the target says: address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl DoorOpened {
    /// `door` was opened.
    pub fn new(door: &Door) -> Self {
        let asked = door.to_string();
        Self {
            request: door.request(),
            asked: Some(cut_at_char(&asked, 256).to_owned()).filter(|asked| !asked.is_empty()),
            from: None,
        }
    }

    /// A connection through a door that stands open on the target: `request` is its channel type.
    pub fn passage(request: &'static str, asked: Option<String>, from: Option<String>) -> Self {
        let cut = |text: String| cut_at_char(&text, 256).to_owned();
        Self { request, asked: asked.map(cut), from: from.map(cut) }
    }
}

/// Fields of `door.closed`: what went through.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DoorClosed {
    /// As in `door.opened`.
    #[serde(flatten)]
    pub door: DoorOpened,
    /// Bytes from the client to the target's side.
    pub bytes_to_target: u64,
    /// Bytes from the target's side to the client.
    pub bytes_to_client: u64,
    /// How long it was open.
    pub duration_ms: u64,
}

impl DoorClosed {
    /// `door` was closed after this much went through.
    pub fn new(door: &Door, bytes_to_target: u64, bytes_to_client: u64, duration_ms: u64) -> Self {
        Self { door: DoorOpened::new(door), bytes_to_target, bytes_to_client, duration_ms }
    }
}

/// Longest path in an event, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;

/// Fields of `file.opened`, `file.changed`, `file.listed`, `file.blocked`: one operation on a file.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct FileOperation {
    /// What is done to it.
    pub access: FileAccess,
    /// The protocol's own name for the operation, such as `SSH_FXP_OPEN` or `posix-rename@openssh.com`.
    pub operation: &'static str,
    /// The path, absolute, with `..` and, as far as the target says, links resolved.
    pub path: String,
    /// The path as asked, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The other path of a rename or link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_path: Option<String>,
}

impl FileOperation {
    /// `operation` on `path`, which was asked for as `asked`.
    pub fn new(access: FileAccess, operation: &'static str, path: &str, asked: &str) -> Self {
        let cut = |text: &str| cut_at_char(text, PATH_BYTES_MAX).to_owned();
        Self {
            access,
            operation,
            path: cut(path),
            asked: (asked != path && !asked.is_empty()).then(|| cut(asked)),
            other_path: None,
        }
    }

    /// The other path of a rename or link.
    #[must_use]
    pub fn other(mut self, path: &str) -> Self {
        self.other_path = Some(cut_at_char(path, PATH_BYTES_MAX).to_owned());
        self
    }
}

/// Fields of `file.transferred`: a file was closed after some of it was read or written.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct FileTransferred {
    /// `read` or `write`.
    pub access: FileAccess,
    /// The path, as in `file.opened`.
    pub path: String,
    /// Bytes read from it.
    pub bytes_read: u64,
    /// Bytes written to it.
    pub bytes_written: u64,
    /// SHA-256 of what was transferred, in hexadecimal; only where it was transferred whole: from its first byte, in order, without gaps,
    /// and for a read up to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl FileTransferred {
    /// `path` was closed.
    pub fn new(
        access: FileAccess,
        path: &str,
        bytes_read: u64,
        bytes_written: u64,
        sha256: Option<String>,
    ) -> Self {
        Self { access, path: cut_at_char(path, PATH_BYTES_MAX).to_owned(), bytes_read, bytes_written, sha256 }
    }
}
