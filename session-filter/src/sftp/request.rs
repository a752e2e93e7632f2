//! What a client may ask for, decoded.

use super::wire::{Attrs, Fields, Packet, kind};

/// One request with the fields that matter for deciding about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request<'p> {
    Open {
        path: &'p [u8],
        flags: u32,
        attrs: Attrs<'p>,
    },
    Close {
        handle: &'p [u8],
    },
    Read {
        handle: &'p [u8],
        offset: u64,
        len: u32,
    },
    /// `data_at`: where the data begin, counted from the packet's start.
    Write {
        handle: &'p [u8],
        offset: u64,
        data_at: usize,
    },
    Lstat {
        path: &'p [u8],
    },
    Fstat {
        handle: &'p [u8],
    },
    Setstat {
        path: &'p [u8],
        attrs: Attrs<'p>,
    },
    Fsetstat {
        handle: &'p [u8],
        attrs: Attrs<'p>,
    },
    Opendir {
        path: &'p [u8],
    },
    Readdir {
        handle: &'p [u8],
    },
    Remove {
        path: &'p [u8],
    },
    Mkdir {
        path: &'p [u8],
        attrs: Attrs<'p>,
    },
    Rmdir {
        path: &'p [u8],
    },
    Realpath {
        path: &'p [u8],
    },
    Stat {
        path: &'p [u8],
    },
    Rename {
        from: &'p [u8],
        to: &'p [u8],
    },
    Readlink {
        path: &'p [u8],
    },
    /// In OpenSSH's order of arguments; the draft's is the other way round.
    Symlink {
        target: &'p [u8],
        link: &'p [u8],
    },
    PosixRename {
        from: &'p [u8],
        to: &'p [u8],
    },
    Hardlink {
        from: &'p [u8],
        to: &'p [u8],
    },
    Statvfs {
        path: &'p [u8],
    },
    Fstatvfs {
        handle: &'p [u8],
    },
    Fsync {
        handle: &'p [u8],
    },
    Lsetstat {
        path: &'p [u8],
        attrs: Attrs<'p>,
    },
    Limits,
    ExpandPath {
        path: &'p [u8],
    },
    UsersGroupsById,
    CopyData {
        from: &'p [u8],
        len: u64,
        to: &'p [u8],
    },
    /// A type, or an extension's name, that is not decoded.
    Unknown(String),
}

/// Extensions that are decoded. Others are not offered to clients.
pub(crate) const EXTENSIONS: &[&str] = &[
    "posix-rename@openssh.com",
    "hardlink@openssh.com",
    "statvfs@openssh.com",
    "fstatvfs@openssh.com",
    "fsync@openssh.com",
    "lsetstat@openssh.com",
    "limits@openssh.com",
    "expand-path@openssh.com",
    "users-groups-by-id@openssh.com",
    "copy-data",
];

/// Length, type and request id: where the fields of a request begin.
const HEADER_BYTES: usize = 9;

impl<'p> Request<'p> {
    /// Reads a request and its id. `None`: it does not hold the fields that its type has, or holds more.
    pub(crate) fn read(packet: &'p Packet) -> Option<(u32, Self)> {
        let mut fields = packet.fields();
        let id = fields.u32()?;
        let request = match packet.kind() {
            kind::OPEN => {
                let (path, flags) = (fields.string()?, fields.u32()?);
                Self::Open { path, flags, attrs: Attrs::read(fields)? }
            }
            kind::CLOSE => Self::Close { handle: last_handle(fields)? },
            kind::READ => {
                let (handle, offset, len) = (fields.handle()?, fields.u64()?, fields.u32()?);
                fields.end()?;
                Self::Read { handle, offset, len }
            }
            kind::WRITE => {
                let (handle, offset) = (fields.handle()?, fields.u64()?);
                fields.string()?;
                fields.end()?;
                // Handle and data have a length each, the offset has eight bytes.
                let data_at = HEADER_BYTES.saturating_add(handle.len()).saturating_add(16);
                Self::Write { handle, offset, data_at }
            }
            kind::LSTAT => Self::Lstat { path: last(fields)? },
            kind::FSTAT => Self::Fstat { handle: last_handle(fields)? },
            kind::SETSTAT => {
                let path = fields.string()?;
                Self::Setstat { path, attrs: Attrs::read(fields)? }
            }
            kind::FSETSTAT => {
                let handle = fields.handle()?;
                Self::Fsetstat { handle, attrs: Attrs::read(fields)? }
            }
            kind::OPENDIR => Self::Opendir { path: last(fields)? },
            kind::READDIR => Self::Readdir { handle: last_handle(fields)? },
            kind::REMOVE => Self::Remove { path: last(fields)? },
            kind::MKDIR => {
                let path = fields.string()?;
                Self::Mkdir { path, attrs: Attrs::read(fields)? }
            }
            kind::RMDIR => Self::Rmdir { path: last(fields)? },
            kind::REALPATH => Self::Realpath { path: last(fields)? },
            kind::STAT => Self::Stat { path: last(fields)? },
            kind::RENAME => {
                let (from, to) = two(fields)?;
                Self::Rename { from, to }
            }
            kind::READLINK => Self::Readlink { path: last(fields)? },
            kind::SYMLINK => {
                let (target, link) = two(fields)?;
                Self::Symlink { target, link }
            }
            kind::EXTENDED => {
                let name = fields.string()?;
                Self::extended(name, fields)?
            }
            other => Self::Unknown(format!("type {other}")),
        };
        Some((id, request))
    }

    fn extended(name: &[u8], mut fields: Fields<'p>) -> Option<Self> {
        Some(match name {
            b"posix-rename@openssh.com" => {
                let (from, to) = two(fields)?;
                Self::PosixRename { from, to }
            }
            b"hardlink@openssh.com" => {
                let (from, to) = two(fields)?;
                Self::Hardlink { from, to }
            }
            b"statvfs@openssh.com" => Self::Statvfs { path: last(fields)? },
            b"fstatvfs@openssh.com" => Self::Fstatvfs { handle: last_handle(fields)? },
            b"fsync@openssh.com" => Self::Fsync { handle: last_handle(fields)? },
            b"lsetstat@openssh.com" => {
                let path = fields.string()?;
                Self::Lsetstat { path, attrs: Attrs::read(fields)? }
            }
            b"limits@openssh.com" => {
                fields.end()?;
                Self::Limits
            }
            b"expand-path@openssh.com" => Self::ExpandPath { path: last(fields)? },
            b"users-groups-by-id@openssh.com" => {
                two(fields)?;
                Self::UsersGroupsById
            }
            b"copy-data" => {
                let (from, _, len) = (fields.handle()?, fields.u64()?, fields.u64()?);
                let (to, _) = (fields.handle()?, fields.u64()?);
                fields.end()?;
                Self::CopyData { from, len, to }
            }
            other => {
                let shown = other.get(..128).unwrap_or(other);
                Self::Unknown(String::from_utf8_lossy(shown).into_owned())
            }
        })
    }

    /// The protocol's own name for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "SSH_FXP_OPEN",
            Self::Close { .. } => "SSH_FXP_CLOSE",
            Self::Read { .. } => "SSH_FXP_READ",
            Self::Write { .. } => "SSH_FXP_WRITE",
            Self::Lstat { .. } => "SSH_FXP_LSTAT",
            Self::Fstat { .. } => "SSH_FXP_FSTAT",
            Self::Setstat { .. } => "SSH_FXP_SETSTAT",
            Self::Fsetstat { .. } => "SSH_FXP_FSETSTAT",
            Self::Opendir { .. } => "SSH_FXP_OPENDIR",
            Self::Readdir { .. } => "SSH_FXP_READDIR",
            Self::Remove { .. } => "SSH_FXP_REMOVE",
            Self::Mkdir { .. } => "SSH_FXP_MKDIR",
            Self::Rmdir { .. } => "SSH_FXP_RMDIR",
            Self::Realpath { .. } => "SSH_FXP_REALPATH",
            Self::Stat { .. } => "SSH_FXP_STAT",
            Self::Rename { .. } => "SSH_FXP_RENAME",
            Self::Readlink { .. } => "SSH_FXP_READLINK",
            Self::Symlink { .. } => "SSH_FXP_SYMLINK",
            Self::PosixRename { .. } => "posix-rename@openssh.com",
            Self::Hardlink { .. } => "hardlink@openssh.com",
            Self::Statvfs { .. } => "statvfs@openssh.com",
            Self::Fstatvfs { .. } => "fstatvfs@openssh.com",
            Self::Fsync { .. } => "fsync@openssh.com",
            Self::Lsetstat { .. } => "lsetstat@openssh.com",
            Self::Limits => "limits@openssh.com",
            Self::ExpandPath { .. } => "expand-path@openssh.com",
            Self::UsersGroupsById => "users-groups-by-id@openssh.com",
            Self::CopyData { .. } => "copy-data",
            Self::Unknown(_) => "SSH_FXP_EXTENDED",
        }
    }
}

fn last<'p>(mut fields: Fields<'p>) -> Option<&'p [u8]> {
    let string = fields.string()?;
    fields.end()?;
    Some(string)
}

fn last_handle<'p>(mut fields: Fields<'p>) -> Option<&'p [u8]> {
    let handle = fields.handle()?;
    fields.end()?;
    Some(handle)
}

fn two<'p>(mut fields: Fields<'p>) -> Option<(&'p [u8], &'p [u8])> {
    let first = fields.string()?;
    Some((first, last(fields)?))
}
