//! One operation in hand: its paths, how far they are resolved and decided about, and what is sent in the end.

use std::collections::VecDeque;

use bytes::Bytes;
use uuid::Uuid;

use super::{Notice, about};
use crate::directory::AbsolutePath;
use crate::door::FileAccess;
use crate::event::{Detail, Outcome};
use crate::sftp::request::Request;
use crate::sftp::transfer::{Accesses, Open};
use crate::sftp::wire::{Attrs, Fields, Packet, Writer, kind, status, status_reply};
use crate::verdict::Refusal;

/// Permission bits of a mode; the file type and the set-id and sticky bits are outside.
const PERMISSION_BITS: u32 = 0o777;
/// File type and symbolic link, in a mode.
const TYPE_BITS: u32 = 0o170_000;
const LINK_TYPE: u32 = 0o120_000;

/// Flags of `SSH_FXP_OPEN` (§6.3).
pub(super) mod open_flags {
    pub(crate) const READ: u32 = 0x1;
    pub(crate) const WRITE: u32 = 0x2;
    pub(crate) const APPEND: u32 = 0x4;
    pub(crate) const CREAT: u32 = 0x8;
    pub(crate) const TRUNC: u32 = 0x10;
    pub(crate) const EXCL: u32 = 0x20;
    pub(crate) const KNOWN: u32 = READ | WRITE | APPEND | CREAT | TRUNC | EXCL;
    pub(crate) const WRITING: u32 = WRITE | APPEND | CREAT | TRUNC;
}

/// How far an operation is.
pub(super) enum Stage {
    /// The next check is to be asked for.
    Checking,
    Asked(FileAccess, AbsolutePath),
    /// The next path is to be resolved.
    LookingUp,
    LookedUp,
    Recording,
    AwaitRecord,
    /// Permitted and on record.
    Sending,
    InFlight,
    Refused(Refusal, FileAccess, String),
    /// The refusal is being recorded; then the client gets this.
    AwaitRefusal(Bytes),
    Answered(Bytes),
    /// Refused before anything was asked: to be recorded, and answered with this.
    Outright(Box<Notice>, Bytes),
}

/// What is sent when all is permitted.
pub(super) enum Act {
    Open {
        flags: u32,
        permissions: Option<u32>,
        accesses: Accesses,
    },
    Opendir,
    Stat(u8),
    Setstat {
        attrs: Bytes,
    },
    Lsetstat {
        attrs: Bytes,
    },
    Fsetstat {
        handle: Bytes,
        attrs: Bytes,
        size: Option<u64>,
    },
    Remove(u8),
    Mkdir {
        permissions: Option<u32>,
    },
    Realpath,
    Rename,
    PosixRename,
    Hardlink,
    Readlink,
    Symlink {
        target: Bytes,
    },
    Statvfs,
    /// The packet as it came.
    OnHandles {
        packet: Packet,
        files: Vec<u64>,
    },
    /// Refused before anything was asked.
    Nothing,
}

/// Whether a path's last name is followed where it is a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Followed,
    Left,
}

/// A path, whether its last name is followed, and what is to be done to it.
type Wanted<'p> = (&'p [u8], Last, Vec<FileAccess>);

/// What the target is asked about a path.
enum Look {
    /// The whole path.
    Path,
    /// The directory of its last name.
    Parent { failed: bool },
    /// Whether that name, which could not be resolved, is a link.
    Name(AbsolutePath),
}

/// A path of an operation.
pub(super) struct Place {
    asked: String,
    /// Absolute, but otherwise as asked: only the target knows what `..` behind a link is.
    raw: String,
    textual: AbsolutePath,
    accesses: Vec<FileAccess>,
    look: Look,
    /// Need not exist: what a symbolic link points to.
    may_dangle: bool,
    pub(super) resolved: Option<AbsolutePath>,
}

pub(super) struct Operation {
    pub(super) client_id: u32,
    pub(super) name: &'static str,
    pub(super) act: Act,
    pub(super) places: Vec<Place>,
    pub(super) stage: Stage,
    pub(super) checks: VecDeque<(FileAccess, AbsolutePath)>,
    /// Under which policy the first of the checks was answered.
    pub(super) epoch: Option<u64>,
    pub(super) correlation_id: String,
    /// What handles were opened for.
    on_handles: Vec<(FileAccess, AbsolutePath)>,
    rechecks: u32,
    /// The checks on resolved paths were queued.
    resolved_queued: bool,
    pub(super) recorded: bool,
}

/// What the target said about a path.
pub(super) enum Looked {
    Name(Option<AbsolutePath>),
    Attrs { permissions: Option<u32> },
    Status(u32),
}

impl Operation {
    fn new(client_id: u32, name: &'static str, act: Act) -> Self {
        Self {
            client_id,
            name,
            act,
            places: Vec::new(),
            stage: Stage::Checking,
            checks: VecDeque::new(),
            epoch: None,
            correlation_id: Uuid::now_v7().to_string(),
            on_handles: Vec::new(),
            rechecks: 0,
            resolved_queued: false,
            recorded: false,
        }
    }

    /// A request that is refused whatever the policy says.
    pub(super) fn refused_outright(client_id: u32, notice: Notice, answer: Bytes) -> Self {
        let mut operation = Self::new(client_id, "", Act::Nothing);
        operation.stage = Stage::Outright(Box::new(notice), answer);
        operation
    }

    /// A request on handles whose files were last decided about under another policy.
    pub(super) fn on_handles<'f>(
        client_id: u32,
        name: &'static str,
        packet: Packet,
        files: impl Iterator<Item = (u64, &'f Open)>,
    ) -> Self {
        let mut operation = Self::new(client_id, name, Act::Nothing);
        let mut ids = Vec::new();
        for (id, open) in files {
            ids.push(id);
            let accesses: Vec<FileAccess> = match open.is_directory {
                true => vec![FileAccess::List],
                false => open.accesses.each().collect(),
            };
            for access in accesses {
                operation.on_handles.push((access, open.path.clone()));
                operation.on_handles.extend(open.textual.clone().map(|textual| (access, textual)));
            }
        }
        operation.checks = operation.on_handles.iter().cloned().collect();
        operation.act = Act::OnHandles { packet, files: ids };
        operation
    }

    /// `SSH_FXP_FSETSTAT`: the path is the one that was opened.
    pub(super) fn fsetstat(client_id: u32, handle: &[u8], attrs: &Attrs<'_>, open: &Open) -> Self {
        let act = Act::Fsetstat {
            handle: Bytes::copy_from_slice(handle),
            attrs: Bytes::copy_from_slice(attrs.raw),
            size: attrs.size,
        };
        let mut operation = Self::new(client_id, "SSH_FXP_FSETSTAT", act);
        let textual = open.textual.clone().unwrap_or_else(|| open.path.clone());
        operation.places.push(Place {
            asked: open.path.to_string(),
            raw: String::new(),
            textual,
            accesses: attribute_accesses(attrs),
            look: Look::Path,
            may_dangle: false,
            resolved: Some(open.path.clone()),
        });
        operation.queue_textual();
        operation
    }

    /// A request that names paths.
    pub(super) fn on_paths(
        client_id: u32,
        request: &Request<'_>,
        home: &AbsolutePath,
        openssh_order: bool,
    ) -> Self {
        use FileAccess::{Chmod, Delete, Link, List, Read, Rename, Stat, Write};
        let attrs_of = |attrs: &Attrs<'_>| Bytes::copy_from_slice(attrs.raw);
        let permissions_of = |attrs: &Attrs<'_>| attrs.permissions.map(|mode| mode & PERMISSION_BITS);
        let (follow, leave) = (Last::Followed, Last::Left);
        let (act, wanted): (Act, Vec<Wanted<'_>>) = match request {
            Request::Open { path, flags, attrs } => {
                let flags = flags & open_flags::KNOWN;
                let write = flags & open_flags::WRITING != 0;
                let accesses = Accesses { read: flags & open_flags::READ != 0 || !write, write };
                let act = Act::Open { flags, permissions: permissions_of(attrs), accesses };
                (act, vec![(*path, follow, accesses.each().collect())])
            }
            Request::Opendir { path } => (Act::Opendir, vec![(*path, follow, vec![List])]),
            Request::Stat { path } => (Act::Stat(kind::STAT), vec![(*path, follow, vec![Stat])]),
            Request::Lstat { path } => (Act::Stat(kind::LSTAT), vec![(*path, leave, vec![Stat])]),
            Request::Setstat { path, attrs } => {
                (Act::Setstat { attrs: attrs_of(attrs) }, vec![(*path, follow, attribute_accesses(attrs))])
            }
            Request::Lsetstat { path, attrs } => {
                (Act::Lsetstat { attrs: attrs_of(attrs) }, vec![(*path, leave, attribute_accesses(attrs))])
            }
            Request::Remove { path } => (Act::Remove(kind::REMOVE), vec![(*path, leave, vec![Delete])]),
            Request::Rmdir { path } => (Act::Remove(kind::RMDIR), vec![(*path, leave, vec![Delete])]),
            Request::Mkdir { path, attrs } => {
                (Act::Mkdir { permissions: permissions_of(attrs) }, vec![(*path, leave, vec![Write])])
            }
            Request::Realpath { path } | Request::ExpandPath { path } => {
                (Act::Realpath, vec![(*path, follow, vec![Stat])])
            }
            Request::Rename { from, to } => {
                (Act::Rename, vec![(*from, leave, vec![Rename]), (*to, leave, vec![Rename])])
            }
            Request::PosixRename { from, to } => {
                (Act::PosixRename, vec![(*from, leave, vec![Rename]), (*to, leave, vec![Rename])])
            }
            // Some systems link to what a link points to: followed here, there is none left.
            Request::Hardlink { from, to } => {
                (Act::Hardlink, vec![(*from, follow, vec![Link]), (*to, leave, vec![Link])])
            }
            Request::Readlink { path } => (Act::Readlink, vec![(*path, leave, vec![List])]),
            Request::Symlink { target, link } => (
                Act::Symlink { target: Bytes::copy_from_slice(target) },
                vec![(*link, leave, vec![Link]), (*target, follow, vec![Link])],
            ),
            Request::Statvfs { path } => (Act::Statvfs, vec![(*path, follow, vec![List])]),
            _ => (Act::Nothing, vec![(b"".as_slice(), follow, vec![Read, Chmod])]),
        };
        let mut operation = Self::new(client_id, request.name(), act);
        for (path, last, accesses) in wanted {
            let from = match (&operation.act, operation.places.first()) {
                (Act::Symlink { .. }, Some(link)) => parent(&link.textual),
                _ => home.clone(),
            };
            let access = accesses.first().copied().unwrap_or(FileAccess::Stat);
            // `link/` is what the link leads to, as POSIX has it; whoever changes something gets at the link all the same.
            let looks_behind = |raw: &str| matches!(operation.act, Act::Stat(_)) && raw.ends_with('/');
            let read = std::str::from_utf8(path).ok().and_then(|asked| {
                let expanded = expand(request, asked)?;
                let raw = absolute(&from, expanded);
                let textual = AbsolutePath::parse(&raw)?;
                Some(Place {
                    asked: asked.to_owned(),
                    look: match last == Last::Followed || split_last(&raw).is_none() || looks_behind(&raw) {
                        true => Look::Path,
                        false => Look::Parent { failed: false },
                    },
                    raw,
                    textual,
                    accesses,
                    may_dangle: matches!(operation.act, Act::Symlink { .. }) && !operation.places.is_empty(),
                    resolved: None,
                })
            });
            match read {
                Some(place) => operation.places.push(place),
                None => {
                    let shown = String::from_utf8_lossy(path).into_owned();
                    let why =
                        "the path is too long, not UTF-8, holds control characters, or names another's home";
                    operation.stage = Stage::Refused(Refusal::new("path_not_readable", why), access, shown);
                    return operation;
                }
            }
        }
        let symlink_is_ambiguous =
            matches!(&operation.act, Act::Symlink { target } if !target.starts_with(b"/"));
        if symlink_is_ambiguous && !openssh_order {
            let why = "this target may read the two paths of a relative link in either order";
            operation.refuse("link_order", why);
            return operation;
        }
        if let Request::Setstat { attrs, .. } | Request::Lsetstat { attrs, .. } = request
            && attrs.has_extensions()
        {
            operation
                .refuse("attributes_unknown", "attributes with extensions are not supported by this proxy");
            return operation;
        }
        operation.queue_textual();
        operation
    }

    fn refuse(&mut self, code: &'static str, why: &str) {
        let place = self.places.first();
        let access = place.and_then(|place| place.accesses.first()).copied().unwrap_or(FileAccess::Stat);
        let path = place.map_or(String::new(), |place| place.textual.to_string());
        self.stage = Stage::Refused(Refusal::new(code, why), access, path);
    }

    fn queue_textual(&mut self) {
        for place in &self.places {
            self.checks.extend(place.accesses.iter().map(|access| (*access, place.textual.clone())));
        }
        self.stage = Stage::Checking;
    }

    fn queue_resolved(&mut self) {
        self.resolved_queued = true;
        for place in &self.places {
            if let Some(resolved) = place.resolved.as_ref().filter(|resolved| **resolved != place.textual) {
                self.checks.extend(place.accesses.iter().map(|access| (*access, resolved.clone())));
            }
        }
        self.stage = Stage::Checking;
    }

    /// All that was queued is permitted.
    pub(super) fn after_checks(&mut self) {
        if self.places.iter().any(|place| place.resolved.is_none()) {
            self.stage = Stage::LookingUp;
        } else if !self.resolved_queued {
            self.queue_resolved();
        } else if self.is_recorded_before() && !self.recorded {
            self.stage = Stage::Recording;
        } else {
            self.stage = Stage::Sending;
        }
    }

    /// The policy changed since the checks began.
    pub(super) fn recheck(&mut self, rechecks_max: u32) {
        self.rechecks = self.rechecks.saturating_add(1);
        if self.rechecks > rechecks_max {
            return self.refuse("policy_changed", "the policy keeps changing; try again");
        }
        self.epoch = None;
        self.checks = self.on_handles.iter().cloned().collect();
        self.queue_textual();
        self.queue_resolved();
    }

    /// What to ask the target next. `None`: all paths are resolved.
    pub(super) fn lookup(&mut self, id: u32) -> Option<Bytes> {
        let at = self.places.iter().position(|place| place.resolved.is_none())?;
        if let Act::Symlink { target } = &self.act
            && at == 1
            && !target.starts_with(b"/")
            && let Some(link) = self.places.first().and_then(|link| link.resolved.as_ref())
        {
            let directory = parent(link);
            if let Some(place) = self.places.get_mut(at) {
                place.raw = absolute(&directory, &place.asked);
            }
        }
        let place = self.places.get(at)?;
        let (kind, path) = match &place.look {
            Look::Path => (kind::REALPATH, place.raw.as_str()),
            Look::Parent { .. } => (kind::REALPATH, split_last(&place.raw).map_or("/", |(parent, _)| parent)),
            Look::Name(candidate) => (kind::LSTAT, candidate.as_str()),
        };
        Some(Writer::new(kind, id).string(path.as_bytes()).finish())
    }

    /// Takes the target's answer to [`lookup`](Self::lookup).
    pub(super) fn looked_up(&mut self, looked: Looked) {
        self.stage = Stage::LookingUp;
        let may_miss = !matches!(self.act, Act::Realpath);
        let client_id = self.client_id;
        let Some(place) = self.places.iter_mut().find(|place| place.resolved.is_none()) else { return };
        let last = split_last(&place.raw).map(|(_, last)| last);
        match (&place.look, looked) {
            (_, Looked::Name(None)) => {
                self.refuse("path_not_readable", "the target resolves the path to one that cannot be read");
            }
            (Look::Path, Looked::Name(Some(resolved))) => place.resolved = Some(resolved),
            (Look::Path, Looked::Status(_)) if place.may_dangle => {
                place.resolved = AbsolutePath::parse(&place.raw).or_else(|| Some(place.textual.clone()));
            }
            (Look::Path, Looked::Status(_)) if may_miss && last.is_some() => {
                place.look = Look::Parent { failed: true };
            }
            (Look::Parent { failed }, Looked::Name(Some(directory))) => {
                match (last.and_then(|last| directory.join(last)), failed) {
                    (Some(candidate), true) => place.look = Look::Name(candidate),
                    (Some(resolved), false) => place.resolved = Some(resolved),
                    (None, _) => {
                        self.refuse("path_not_readable", "the path is too long once it is resolved");
                    }
                }
            }
            (Look::Name(candidate), Looked::Status(status::NO_SUCH_FILE)) => {
                place.resolved = Some(candidate.clone());
            }
            (Look::Name(candidate), Looked::Attrs { permissions }) => {
                match permissions.is_some_and(|mode| mode & TYPE_BITS != LINK_TYPE && mode & TYPE_BITS != 0) {
                    true => place.resolved = Some(candidate.clone()),
                    false => self.refuse("link_not_resolved", "the target does not say where the path leads"),
                }
            }
            (_, Looked::Status(code)) => {
                let answer = status_reply(client_id, code, "the path cannot be resolved");
                self.stage = Stage::Answered(answer);
            }
            // Answers are matched to what was asked before they come here.
            (_, Looked::Name(_) | Looked::Attrs { .. }) => {
                self.refuse("path_not_readable", "the target answers another question");
            }
        }
    }

    /// All paths are resolved.
    pub(super) fn after_lookups(&mut self) {
        self.queue_resolved();
    }

    /// Whether it only looks, and is counted instead of recorded.
    pub(super) fn only_looks(&self) -> bool {
        matches!(self.act, Act::Stat(_) | Act::Realpath | Act::Readlink | Act::Statvfs)
    }

    /// Whether it is on record before it is sent.
    pub(super) fn is_recorded_before(&self) -> bool {
        !self.only_looks() && !matches!(self.act, Act::OnHandles { .. } | Act::Nothing)
    }

    /// Whether this check needs no answer: everybody may know where they are.
    pub(super) fn is_free(&self, path: &AbsolutePath, home: Option<&AbsolutePath>) -> bool {
        matches!(self.act, Act::Realpath) && home == Some(path)
    }

    /// `file.opened` or `file.changed`.
    pub(super) fn notice(&self, outcome: Outcome, reason: Option<(String, String)>) -> Notice {
        let shown = |place: &Place| place.resolved.as_ref().unwrap_or(&place.textual).to_string();
        let place = self.places.first();
        let access = match &self.act {
            Act::Open { accesses, .. } => accesses.main(),
            _ => place.and_then(|place| place.accesses.first()).copied().unwrap_or(FileAccess::Stat),
        };
        let path = place.map_or(String::new(), shown);
        let asked = place.map_or("", |place| place.asked.as_str());
        let other = self.places.get(1).map(shown);
        let about = about(access, self.name, &path, asked, other.as_deref());
        let detail = match self.act {
            Act::Open { .. } => Detail::FileOpened(about),
            _ => Detail::FileChanged(about),
        };
        Notice { detail, outcome, reason, correlation_id: self.correlation_id.clone() }
    }

    /// `file.blocked`.
    pub(super) fn refused(&self, refusal: &Refusal, access: FileAccess, path: &str) -> Notice {
        let at = self.places.iter().position(|place| {
            place.textual.as_str() == path || place.resolved.as_ref().is_some_and(|r| r.as_str() == path)
        });
        let asked = at.and_then(|at| self.places.get(at)).map_or("", |place| place.asked.as_str());
        let other = at.and_then(|at| match self.places.len() {
            2 => self.places.get(1_usize.saturating_sub(at)),
            _ => None,
        });
        let other = other.map(|place| place.resolved.as_ref().unwrap_or(&place.textual).to_string());
        Notice {
            detail: Detail::FileBlocked(about(access, self.name, path, asked, other.as_deref())),
            outcome: Outcome::Blocked,
            reason: Some((refusal.code().to_owned(), refusal.to_string())),
            correlation_id: self.correlation_id.clone(),
        }
    }

    /// The request as it is sent, on resolved paths, and the type of a good answer.
    pub(super) fn packet(&self, id: u32) -> Option<(Bytes, u8)> {
        let path = |at: usize| {
            let place = self.places.get(at)?;
            place.resolved.as_ref().map(|path| path.as_str().as_bytes())
        };
        let first = path(0)?;
        let plain = |kind: u8| Writer::new(kind, id).string(first);
        let extended = |name: &str| Writer::new(kind::EXTENDED, id).string(name.as_bytes());
        Some(match &self.act {
            Act::Open { flags, permissions, .. } => {
                (with_permissions(plain(kind::OPEN).u32(*flags), *permissions), kind::HANDLE)
            }
            Act::Opendir => (plain(kind::OPENDIR).finish(), kind::HANDLE),
            Act::Stat(kind) => (plain(*kind).finish(), kind::ATTRS),
            Act::Setstat { attrs } => (plain(kind::SETSTAT).raw(attrs).finish(), kind::STATUS),
            Act::Lsetstat { attrs } => {
                (extended("lsetstat@openssh.com").string(first).raw(attrs).finish(), kind::STATUS)
            }
            Act::Fsetstat { handle, attrs, .. } => {
                (Writer::new(kind::FSETSTAT, id).string(handle).raw(attrs).finish(), kind::STATUS)
            }
            Act::Remove(kind) => (plain(*kind).finish(), kind::STATUS),
            Act::Mkdir { permissions } => (with_permissions(plain(kind::MKDIR), *permissions), kind::STATUS),
            Act::Rename => (plain(kind::RENAME).string(path(1)?).finish(), kind::STATUS),
            Act::PosixRename => {
                let packet = extended("posix-rename@openssh.com").string(first).string(path(1)?);
                (packet.finish(), kind::STATUS)
            }
            Act::Hardlink => {
                (extended("hardlink@openssh.com").string(first).string(path(1)?).finish(), kind::STATUS)
            }
            Act::Readlink => (plain(kind::READLINK).finish(), kind::NAME),
            Act::Symlink { target } => {
                (Writer::new(kind::SYMLINK, id).string(target).string(first).finish(), kind::STATUS)
            }
            Act::Statvfs => (extended("statvfs@openssh.com").string(first).finish(), kind::EXTENDED_REPLY),
            Act::Realpath | Act::OnHandles { .. } | Act::Nothing => return None,
        })
    }

    /// What the target's handle stands for.
    pub(super) fn opened(&self, hashing: bool) -> Option<Open> {
        let place = self.places.first()?;
        let path = place.resolved.clone()?;
        let textual = (place.textual != path).then(|| place.textual.clone());
        let epoch = self.epoch.unwrap_or(0);
        let (accesses, flags, is_directory) = match &self.act {
            Act::Open { accesses, flags, .. } => (*accesses, *flags, false),
            Act::Opendir => (Accesses { read: false, write: false }, 0, true),
            _ => return None,
        };
        let appends = flags & open_flags::APPEND != 0;
        let new = flags & (open_flags::CREAT | open_flags::EXCL) == open_flags::CREAT | open_flags::EXCL;
        let mut open =
            Open::new(path, textual, accesses, self.correlation_id.clone(), epoch, hashing && !appends);
        open.is_directory = is_directory;
        open.was_empty = !appends && (new || flags & open_flags::TRUNC != 0);
        Some(open)
    }
}

fn attribute_accesses(attrs: &Attrs<'_>) -> Vec<FileAccess> {
    let mut accesses = Vec::new();
    if attrs.changes_mode() {
        accesses.push(FileAccess::Chmod);
    }
    if attrs.changes_size() {
        accesses.push(FileAccess::Write);
    }
    accesses
}

fn with_permissions(writer: Writer, permissions: Option<u32>) -> Bytes {
    match permissions {
        Some(permissions) => writer.u32(Attrs::PERMISSIONS).u32(permissions).finish(),
        None => writer.u32(0).finish(),
    }
}

/// `~` stands for the account's home in `expand-path@openssh.com` and nowhere else. Somebody else's home is not looked up.
fn expand<'p>(request: &Request<'_>, asked: &'p str) -> Option<&'p str> {
    if !matches!(request, Request::ExpandPath { .. }) || !asked.starts_with('~') {
        return Some(asked);
    }
    match asked.strip_prefix('~')? {
        "" => Some(""),
        below => below.strip_prefix('/'),
    }
}

/// `path` from `directory`, with all of its `..` and slashes.
fn absolute(directory: &AbsolutePath, path: &str) -> String {
    match (path.starts_with('/'), path.is_empty()) {
        (true, _) => path.to_owned(),
        (false, true) => directory.to_string(),
        (false, false) => format!("{}/{path}", directory.as_str().trim_end_matches('/')),
    }
}

fn parent(path: &AbsolutePath) -> AbsolutePath {
    path.join("..").unwrap_or_else(|| path.clone())
}

/// Directory and last name of an absolute path. `None` for the root, and where the last name is no name of its own.
fn split_last(path: &str) -> Option<(&str, &str)> {
    let (parent, last) = path.trim_end_matches('/').rsplit_once('/')?;
    match last {
        "" | "." | ".." => None,
        last => Some((if parent.is_empty() { "/" } else { parent }, last)),
    }
}

/// The permissions among the attributes that a target sent.
pub(super) fn permissions_in(mut fields: Fields<'_>) -> Option<u32> {
    let flags = fields.u32()?;
    if flags & Attrs::SIZE != 0 {
        fields.u64()?;
    }
    if flags & Attrs::UID_GID != 0 {
        fields.u64()?;
    }
    if flags & Attrs::PERMISSIONS != 0 { fields.u32() } else { None }
}

/// The size among the attributes that a target sent.
pub(super) fn size_in(mut fields: Fields<'_>) -> Option<u64> {
    let flags = fields.u32()?;
    if flags & Attrs::SIZE != 0 { fields.u64() } else { None }
}
