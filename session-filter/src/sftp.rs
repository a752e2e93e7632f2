//! SFTP, operation by operation: each is decoded, decided about and recorded before the target sees it.
//!
//! ```text
//!  client ──▶ Frames ──▶ Guard::request ─┐                    ┌─▶ target
//!                                        ├─▶ Guard::next ─▶ Step ─▶ gatekeeper, recorder
//!  client ◀── Replied ◀── Guard::reply ──┘◀── Frames ◀────────┴── target
//! ```
//!
//! The [`Guard`] is a state machine without I/O. It speaks version 3 (draft-ietf-secsh-filexfer-02) to both sides, whatever they
//! offer, with those extensions of OpenSSH that it decodes; others are not offered, and refused when they are asked for.
//!
//! # Paths
//!
//! Each path is decided about twice: as text (absolute, from the account's home, `..` resolved as text) before the target sees
//! anything of it, and as the target resolves it (`SSH_FXP_REALPATH`, so links are followed) before the operation is sent. What is
//! sent then is not the path that was asked for but the resolved one, which has no links left in it. Operations that act on a
//! link itself (remove, rename, read or make a link, `lstat`) get their directory resolved and the last name left alone.
//! A link that cannot be resolved is not opened.
//!
//! Path operations of one channel are taken one by one, from lookup to answer, so a client cannot swap a directory
//! for a link between check and use. Another channel, a permitted command or somebody else on the target can: within the moment
//! between the last look-up and the operation, and only by replacing a directory on the resolved path by a link.
//!
//! | request | access | decided about |
//! |---|---|---|
//! | `OPEN` | `read`, `write` or both, as its flags say | the file |
//! | `MKDIR` | `write` | the directory |
//! | `REMOVE`, `RMDIR` | `delete` | the name |
//! | `RENAME`, `posix-rename` | `rename` | both names |
//! | `SETSTAT`, `FSETSTAT`, `lsetstat` | `chmod`; `write` where the size changes | the file |
//! | `SYMLINK`, `hardlink` | `link` | both ends |
//! | `OPENDIR`, `READLINK`, `statvfs` | `list` | the directory, the link |
//! | `STAT`, `LSTAT`, `REALPATH`, `expand-path` | `stat` | the file |
//! | `READ`, `WRITE`, `READDIR`, `FSTAT`, `fsync`, `copy-data`, … | | the handle, again whenever the policy changed |
//!
//! A rename of a directory moves everything in it, and is decided about by its own name alone. Modes at creation are cut
//! to permission bits; owner, times and the set-id bits take a request of their own, and `chmod`.
//!
//! # Records
//!
//! `file.opened`, `file.changed` and `file.listed` are durable before the operation is sent; one more of the same type and correlation id, with outcome `failure`,
//! says that the target refused. `file.transferred` follows when the file is closed, with SHA-256 where it was transferred
//! whole. Refused operations are `file.blocked`. `STAT`, `LSTAT`, `REALPATH`, `READLINK` and their like are not recorded one by
//! one, only counted ([`Guard::lookups`]); refused ones are recorded up to a limit.

mod guard;
pub mod limits;
mod request;
mod transfer;
pub(crate) mod wire;

pub use self::guard::{Guard, Hashing, Notice, Replied, Step};
pub use self::wire::{Frames, Packet};

/// A side broke the protocol; its stream cannot be trusted any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(&'static str);

impl Violation {
    pub(crate) fn new(what: &'static str) -> Self {
        Self(what)
    }
}
