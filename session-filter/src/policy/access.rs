//! What a rule permits besides commands: files by their paths, and doors.

use std::net::IpAddr;

use super::environment;
use super::path::PathPattern;
use super::pattern::Glob;
use crate::directory::AbsolutePath;
use crate::door::{Door, FileAccess};

/// Longest host name that any forward is opened to, in bytes: what DNS knows.
const HOST_BYTES_MAX: usize = 255;

/// `[permit.files]`
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) read: Vec<PathPattern>,
    pub(crate) write: Vec<PathPattern>,
    pub(crate) list: Vec<PathPattern>,
    pub(crate) delete: Vec<PathPattern>,
    pub(crate) rename: Vec<PathPattern>,
    pub(crate) chmod: Vec<PathPattern>,
    pub(crate) link: Vec<PathPattern>,
}

impl Files {
    pub(crate) fn allow(&self, access: FileAccess, path: &AbsolutePath) -> bool {
        let patterns = match access {
            FileAccess::Read => &self.read,
            FileAccess::Write => &self.write,
            FileAccess::List => &self.list,
            FileAccess::Delete => &self.delete,
            FileAccess::Rename => &self.rename,
            FileAccess::Chmod => &self.chmod,
            FileAccess::Link => &self.link,
            FileAccess::Stat => return self.all().any(|pattern| pattern.reaches(path)),
        };
        patterns.iter().any(|pattern| pattern.matches(path))
    }

    fn all(&self) -> impl Iterator<Item = &PathPattern> {
        [&self.read, &self.write, &self.list, &self.delete, &self.rename, &self.chmod, &self.link]
            .into_iter()
            .flatten()
    }
}

/// `[permit.doors]`
#[derive(Debug, Default)]
pub(crate) struct Doors {
    pub(crate) local_forward: Vec<Endpoint>,
    pub(crate) local_socket: Vec<PathPattern>,
    pub(crate) remote_forward: Vec<Endpoint>,
    pub(crate) remote_socket: Vec<PathPattern>,
    pub(crate) env: Vec<Glob>,
    pub(crate) subsystems: Vec<String>,
    pub(crate) agent: bool,
    pub(crate) x11: bool,
    pub(crate) legacy_scp: bool,
}

impl Doors {
    pub(crate) fn open(&self, door: &Door) -> bool {
        let socket = |patterns: &[PathPattern], path: &str| {
            // What is checked is what the target gets, so only a path that is its own resolution can match.
            AbsolutePath::parse(path)
                .is_some_and(|parsed| parsed.as_str() == path && patterns.iter().any(|p| p.matches(&parsed)))
        };
        match door {
            Door::Environment { name } => {
                environment::is_name(name)
                    && !environment::is_dangerous(name)
                    && self.env.iter().any(|pattern| pattern.matches_bytes(name.as_bytes()))
            }
            Door::Subsystem { name } => self.subsystems.contains(name),
            Door::Agent => self.agent,
            Door::X11 => self.x11,
            Door::LocalForward { host, port } => {
                self.local_forward.iter().any(|endpoint| endpoint.matches(host, *port))
            }
            Door::LocalSocket { path } => socket(&self.local_socket, path),
            Door::RemoteForward { host, port } => {
                self.remote_forward.iter().any(|endpoint| endpoint.matches_listener(host, *port))
            }
            Door::RemoteSocket { path } => socket(&self.remote_socket, path),
            Door::LegacyScp => self.legacy_scp,
        }
    }
}

/// `10.0.0.5:5432`, `db-*:5432`, `[::1]:8000-8100`, `*:443`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    host: Host,
    first: u16,
    last: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// `*` alone.
    Any,
    Address(IpAddr),
    /// In lower case, label by label.
    Name(Vec<Glob>),
}

impl Endpoint {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "must be written as host:port, such as 10.0.0.5:5432, db-*:5432, [::1]:8000-8100 or *:443";
        let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
        let (first, last) = match port.split_once('-') {
            _ if port == "*" => (0, u16::MAX),
            None => (self::port(port).ok_or(FORM)?, self::port(port).ok_or(FORM)?),
            Some((first, last)) => (self::port(first).ok_or(FORM)?, self::port(last).ok_or(FORM)?),
        };
        if last < first {
            return Err("the range of ports is empty");
        }
        let host =
            match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                Some(address) => Host::Address(IpAddr::V6(address.parse().map_err(
                    |_| "there is no IPv6 address in the brackets (wildcards are not known there)",
                )?)),
                None => Self::host(host)?,
            };
        Ok(Self { host, first, last })
    }

    fn host(text: &str) -> Result<Host, &'static str> {
        if text == "*" {
            return Ok(Host::Any);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return match address {
                IpAddr::V4(_) => Ok(Host::Address(address)),
                IpAddr::V6(_) => Err("an IPv6 address stands in brackets: [::1]:80"),
            };
        }
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
        if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(known) || text.contains("**") {
            return Err("the host is neither a name, with `*` for any part of a label, nor an address");
        }
        let label = |label: &str| {
            let label = label.to_ascii_lowercase();
            let wild: Vec<usize> = label.match_indices('*').map(|(at, _)| at).collect();
            Glob::new(&label, &wild)
        };
        Ok(Host::Name(text.split('.').map(label).collect()))
    }

    /// Whether port 0, which lets the target choose, is all it names.
    pub(crate) fn is_port_zero(&self) -> bool {
        self.last == 0
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        port != 0 && self.has_port(port) && is_host(host) && self.has_host(host)
    }

    /// Port 0 lets the target choose. An empty host means every address, which only `*` permits. The loopback goes by three names,
    /// of which clients send the one that users do not write (`localhost`).
    fn matches_listener(&self, host: &str, port: u16) -> bool {
        if !self.has_port(port) {
            return false;
        }
        let loopback = || ["localhost", "127.0.0.1", "::1"];
        match host {
            "" => self.host == Host::Any,
            _ if !is_host(host) => false,
            _ if loopback().contains(&host) => loopback().into_iter().any(|host| self.has_host(host)),
            _ => self.has_host(host),
        }
    }

    fn has_port(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    fn has_host(&self, host: &str) -> bool {
        match &self.host {
            Host::Any => true,
            Host::Address(expected) => {
                host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == expected.to_canonical())
            }
            Host::Name(labels) => {
                let host = host.to_ascii_lowercase();
                host.split('.').count() == labels.len()
                    && labels
                        .iter()
                        .zip(host.split('.'))
                        .all(|(glob, label)| !label.is_empty() && glob.matches_bytes(label.as_bytes()))
            }
        }
    }
}

fn port(text: &str) -> Option<u16> {
    (text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 5).then(|| text.parse().ok()).flatten()
}

/// Whether a name or address could be this: visible ASCII, so that what is on record is what was asked.
fn is_host(host: &str) -> bool {
    host.len() <= HOST_BYTES_MAX && !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic())
}
