//! What a client may ask for besides commands. All of it is closed unless the policy opens it.

use std::fmt;

use serde::Serialize;

/// A door, with what is asked for behind it. `Display` gives what an event says was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Door {
    /// An environment variable of this name (`env`). Its value is never part of a record.
    Environment {
        /// The variable.
        name: String,
    },
    /// A subsystem other than `sftp`, whose operations are decided one by one.
    Subsystem {
        /// Its name, such as `netconf`.
        name: String,
    },
    /// The client's agent, forwarded to the target (`auth-agent-req@openssh.com`).
    Agent,
    /// The client's display, forwarded to the target (`x11-req`).
    X11,
    /// A connection from the target's side to this address (`direct-tcpip`; also what a dynamic forward opens).
    LocalForward {
        /// Host name or address, as asked.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A connection from the target's side to this Unix socket (`direct-streamlocal@openssh.com`).
    LocalSocket {
        /// The socket's path on the target.
        path: String,
    },
    /// The target listens on this address for the client (`tcpip-forward`).
    RemoteForward {
        /// Address to listen on, as asked; empty for all.
        host: String,
        /// TCP port; 0 lets the target choose.
        port: u16,
    },
    /// The target listens on this Unix socket for the client (`streamlocal-forward@openssh.com`).
    RemoteSocket {
        /// The socket's path on the target.
        path: String,
    },
    /// `scp` in its old protocol (`scp -t`, `scp -f`), whose paths are then checked like those of SFTP.
    LegacyScp,
}

impl Door {
    /// The SSH request or channel type.
    pub fn request(&self) -> &'static str {
        match self {
            Self::Environment { .. } => "env",
            Self::Subsystem { .. } => "subsystem",
            Self::Agent => "auth-agent-req@openssh.com",
            Self::X11 => "x11-req",
            Self::LocalForward { .. } => "direct-tcpip",
            Self::LocalSocket { .. } => "direct-streamlocal@openssh.com",
            Self::RemoteForward { .. } => "tcpip-forward",
            Self::RemoteSocket { .. } => "streamlocal-forward@openssh.com",
            Self::LegacyScp => "scp",
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { name } | Self::Subsystem { name } => f.write_str(name),
            Self::Agent | Self::X11 | Self::LegacyScp => Ok(()),
            Self::LocalForward { host, port } | Self::RemoteForward { host, port } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            Self::LocalForward { host, port } | Self::RemoteForward { host, port } => {
                write!(f, "{host}:{port}")
            }
            Self::LocalSocket { path } | Self::RemoteSocket { path } => f.write_str(path),
        }
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileAccess {
    /// Its content is read.
    Read,
    /// It is made or its content changed; a directory is made.
    Write,
    /// A directory's entries are listed, a link's target is read.
    List,
    /// It, or an empty directory, is removed.
    Delete,
    /// It is moved: asked for the old and for the new path.
    Rename,
    /// Its mode, owner or times are changed.
    Chmod,
    /// A link, hard or symbolic, is made: asked for the link and for what it points to.
    Link,
    /// Its attributes are read, or it is looked up. A policy does not write this one: it is permitted wherever some other access is
    /// permitted to the path itself or could be to one below it, since clients look at every directory on their way.
    Stat,
}

impl FileAccess {
    /// As the policy writes it: `read`, `write`, `list`, `delete`, `rename`, `chmod`, `link`; and `stat`, which it does not write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Rename => "rename",
            Self::Chmod => "chmod",
            Self::Link => "link",
            Self::Stat => "stat",
        }
    }
}

impl fmt::Display for FileAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
