//! Between a client and a target: what is forwarded, what is answered, what is asked and recorded first.

mod operation;
mod replies;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

use self::operation::{Act, Operation, Stage};
use super::Violation;
use super::limits::{HANDLES_MAX, READ_BYTES_MAX, RECHECKS_MAX, REQUESTS_MAX};
use super::request::Request;
use super::transfer::Open;
use super::wire::{Packet, VERSION, Writer, kind, name_reply, status, status_reply};
use crate::directory::AbsolutePath;
use crate::door::FileAccess;
use crate::event::{Detail, FileOperation, Outcome, RequestRefused};
use crate::verdict::Refusal;

/// What the guard wants done next, in this order and before anything else is taken from the client.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Send this to the target.
    ToTarget(Bytes),
    /// Send this to the client.
    ToClient(Bytes),
    /// Ask the gatekeeper, then call [`Guard::decided`].
    Check {
        /// What is to be done.
        access: FileAccess,
        /// To what.
        path: AbsolutePath,
    },
    /// Record this durably, then call [`Guard::recorded`].
    Record(Box<Notice>),
    /// Give the client's next packet to [`Guard::request`].
    Request,
    /// Nothing until [`Guard::reply`] was called.
    Wait,
}

/// Something for the record.
#[derive(Clone)]
pub struct Notice {
    /// What happened.
    pub detail: Detail,
    /// How it went.
    pub outcome: Outcome,
    /// Code and sentence.
    pub reason: Option<(String, String)>,
    /// Ties the events of one file together.
    pub correlation_id: String,
}

/// Paths may name secrets: only the outcome is shown.
impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice")
            .field("outcome", &self.outcome)
            .field("reason", &self.reason.as_ref().map(|(code, _)| code))
            .finish_non_exhaustive()
    }
}

/// What became of a packet from the target.
#[derive(Debug, Default)]
pub struct Replied {
    /// Send this to the client.
    pub to_client: Option<Bytes>,
    /// Results to record; nothing waits for them.
    pub notices: Vec<Notice>,
}

/// Refused look-ups that are recorded one by one; further ones are refused, and counted.
const LOOKUPS_BLOCKED_RECORDED_MAX: u64 = 1000;

enum Phase {
    /// Nothing came yet.
    New,
    /// The version was sent to the target.
    Greeted,
    /// The target was asked for the account's home.
    Homing,
    Ready,
}

/// The state machine for one SFTP channel. See the [module](super) for what it does.
///
/// Two loops drive it: one asks [`next`](Self::next) what to do and does it, the other hands it what the target sends. They share the guard
/// behind a lock that is held for each call only.
pub struct Guard {
    phase: Phase,
    hashing: bool,
    home: Option<AbsolutePath>,
    /// The target takes the arguments of `SSH_FXP_SYMLINK` in OpenSSH's order.
    openssh: bool,
    out: VecDeque<Step>,
    current: Option<Operation>,
    sent: HashMap<u32, Sent>,
    last_id: u32,
    handles: HashMap<Vec<u8>, u64>,
    files: HashMap<u64, Open>,
    last_file: u64,
    /// Bytes kept because they came early.
    kept: usize,
    lookups: u64,
    lookups_blocked: u64,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("files", &self.files.len())
            .field("sent", &self.sent.len())
            .finish_non_exhaustive()
    }
}

/// A request that the target has not answered yet.
enum Sent {
    /// Ours: the account's home.
    Home,
    /// Ours: a path of the operation in hand.
    Lookup,
    /// The operation in hand.
    Current {
        client_id: u32,
        expected: u8,
    },
    Read {
        client_id: u32,
        file: u64,
        offset: u64,
        len: u32,
    },
    Write {
        client_id: u32,
        file: u64,
        len: u64,
    },
    Close {
        client_id: u32,
        file: u64,
    },
    OnHandle {
        client_id: u32,
        file: u64,
        expected: u8,
        copied: u64,
    },
    Limits {
        client_id: u32,
    },
    Plain {
        client_id: u32,
        expected: u8,
    },
}

impl Guard {
    /// A guard that hashes what is transferred, or not.
    pub fn new(hashing: Hashing) -> Self {
        Self {
            phase: Phase::New,
            hashing: hashing == Hashing::Whole,
            home: None,
            openssh: false,
            out: VecDeque::new(),
            current: None,
            sent: HashMap::new(),
            last_id: 0,
            handles: HashMap::new(),
            files: HashMap::new(),
            last_file: 0,
            kept: 0,
            lookups: 0,
            lookups_blocked: 0,
        }
    }

    /// The account's home, once the target has said.
    pub fn home(&self) -> Option<&AbsolutePath> {
        self.home.as_ref()
    }

    /// Requests that only looked (attributes, resolved paths) and were not recorded one by one.
    pub fn lookups(&self) -> u64 {
        self.lookups
    }

    /// Of refused requests, those that only looked.
    pub fn lookups_blocked(&self) -> u64 {
        self.lookups_blocked
    }

    /// What to do next. `epoch` changes whenever an answer of the gatekeeper may change; what was decided under another one is decided
    /// again before it is sent.
    pub fn next(&mut self, epoch: u64) -> Step {
        loop {
            if let Some(step) = self.out.pop_front() {
                return step;
            }
            let Some(mut operation) = self.current.take() else {
                let may_take =
                    matches!(self.phase, Phase::New | Phase::Ready) && self.sent.len() < REQUESTS_MAX;
                return if may_take { Step::Request } else { Step::Wait };
            };
            match operation.stage {
                Stage::Checking => match operation.checks.pop_front() {
                    Some((_, path)) if operation.is_free(&path, self.home.as_ref()) => {}
                    Some((access, path)) => {
                        operation.stage = Stage::Asked(access, path.clone());
                        self.current = Some(operation);
                        return Step::Check { access, path };
                    }
                    None => operation.after_checks(),
                },
                Stage::LookingUp => {
                    let id = self.take_id();
                    match operation.lookup(id) {
                        Some(packet) => {
                            self.sent.insert(id, Sent::Lookup);
                            self.out.push_back(Step::ToTarget(packet));
                            operation.stage = Stage::LookedUp;
                        }
                        None => operation.after_lookups(),
                    }
                }
                Stage::Recording => {
                    operation.stage = Stage::AwaitRecord;
                    let notice = operation.notice(Outcome::Success, None);
                    self.current = Some(operation);
                    return Step::Record(Box::new(notice));
                }
                Stage::Sending if operation.epoch.is_some_and(|checked| checked != epoch) => {
                    operation.recheck(RECHECKS_MAX);
                }
                Stage::Sending => {
                    self.send(operation, epoch);
                    continue;
                }
                Stage::Refused(ref refusal, access, ref path) => {
                    let notice = operation.refused(refusal, access, path);
                    let answer =
                        status_reply(operation.client_id, status::PERMISSION_DENIED, &refusal.to_string());
                    if operation.only_looks() {
                        self.lookups_blocked = self.lookups_blocked.saturating_add(1);
                        if self.lookups_blocked > LOOKUPS_BLOCKED_RECORDED_MAX {
                            self.out.push_back(Step::ToClient(answer));
                            continue;
                        }
                    }
                    operation.stage = Stage::AwaitRefusal(answer);
                    self.current = Some(operation);
                    return Step::Record(Box::new(notice));
                }
                Stage::Outright(notice, answer) => {
                    operation.stage = Stage::AwaitRefusal(answer);
                    self.current = Some(operation);
                    return Step::Record(notice);
                }
                Stage::Answered(answer) => {
                    self.out.push_back(Step::ToClient(answer));
                    continue;
                }
                Stage::Asked(..)
                | Stage::LookedUp
                | Stage::AwaitRecord
                | Stage::AwaitRefusal(_)
                | Stage::InFlight => {
                    self.current = Some(operation);
                    return Step::Wait;
                }
            }
            self.current = Some(operation);
        }
    }

    /// The gatekeeper's answer to [`Step::Check`]; `epoch` as it was before asking.
    pub fn decided(&mut self, epoch: u64, decision: Result<(), Refusal>) {
        let Some(operation) = &mut self.current else { return };
        let Stage::Asked(access, path) = std::mem::replace(&mut operation.stage, Stage::Checking) else {
            return;
        };
        operation.epoch.get_or_insert(epoch);
        if let Err(refusal) = decision {
            operation.stage = Stage::Refused(refusal, access, path.to_string());
        }
    }

    /// What [`Step::Record`] gave is durable.
    pub fn recorded(&mut self) {
        let Some(mut operation) = self.current.take() else { return };
        operation.stage = match operation.stage {
            Stage::AwaitRecord => {
                operation.recorded = true;
                Stage::Sending
            }
            Stage::AwaitRefusal(answer) => Stage::Answered(answer),
            other => other,
        };
        self.current = Some(operation);
    }

    /// Takes the client's next packet. Only after [`Step::Request`].
    ///
    /// # Errors
    /// [`Violation`] when the client does not speak the protocol; end the channel.
    pub fn request(&mut self, packet: Packet, epoch: u64) -> Result<(), Violation> {
        if matches!(self.phase, Phase::New) {
            return self.greet(&packet);
        }
        if packet.kind() == kind::INIT {
            return Err(Violation::new("the client greeted twice"));
        }
        let Some(client_id) = packet.id() else {
            return Err(Violation::new("the client sent a packet without a request id"));
        };
        let Some((_, request)) = Request::read(&packet) else {
            self.refuse_request(client_id, status::BAD_MESSAGE, "malformed", "a request cannot be read");
            return Ok(());
        };
        match self.begin(client_id, &request, epoch) {
            Begun::Operation(operation) => self.current = Some(*operation),
            Begun::Forward => self.forward(client_id, packet, epoch),
            Begun::Done => {}
        }
        Ok(())
    }

    fn greet(&mut self, packet: &Packet) -> Result<(), Violation> {
        // The first field of a greeting is the version, where requests have their id.
        let version = packet.id().filter(|_| packet.kind() == kind::INIT);
        if version.is_none_or(|version| version < VERSION) {
            return Err(Violation::new("the client does not speak version 3"));
        }
        self.phase = Phase::Greeted;
        // In this packet the version stands where requests have their id.
        self.out.push_back(Step::ToTarget(Writer::new(kind::INIT, VERSION).finish()));
        Ok(())
    }

    fn begin(&mut self, client_id: u32, request: &Request<'_>, epoch: u64) -> Begun {
        let Some(home) = &self.home else {
            // Nothing is taken before the home is known.
            return Begun::Done;
        };
        match request {
            Request::Unknown(name) => {
                let name = name.clone();
                let code = status::OP_UNSUPPORTED;
                self.refuse_request(client_id, code, &name, "the operation is not supported by this proxy");
                Begun::Done
            }
            Request::Limits | Request::UsersGroupsById => Begun::Forward,
            Request::Open { .. } | Request::Opendir { .. } if self.files.len() >= HANDLES_MAX => {
                let answer = status_reply(client_id, status::FAILURE, "too many open files");
                self.out.push_back(Step::ToClient(answer));
                Begun::Done
            }
            Request::Fsetstat { handle, attrs } => {
                let Some(open) = self.handles.get(*handle).and_then(|file| self.files.get(file)) else {
                    return self.unknown_handle(client_id, request.name());
                };
                if (attrs.changes_size() && !open.accesses.write) || attrs.has_extensions() {
                    return self.unknown_handle(client_id, request.name());
                }
                // A size is part of writing the file, which opening it was decided about.
                if !attrs.changes_mode() && open.epoch == epoch {
                    return Begun::Forward;
                }
                Begun::Operation(Box::new(Operation::fsetstat(client_id, handle, attrs, open)))
            }
            Request::Close { .. }
            | Request::Read { .. }
            | Request::Write { .. }
            | Request::Fstat { .. }
            | Request::Readdir { .. }
            | Request::Fstatvfs { .. }
            | Request::Fsync { .. }
            | Request::CopyData { .. } => Begun::Forward,
            path_request => {
                let operation = Operation::on_paths(client_id, path_request, home, self.openssh);
                if operation.only_looks() {
                    self.lookups = self.lookups.saturating_add(1);
                }
                Begun::Operation(Box::new(operation))
            }
        }
    }

    /// Forwards a request that names a handle, or none and no path: after another look at the policy where that has changed since the
    /// last one.
    fn forward(&mut self, client_id: u32, packet: Packet, epoch: u64) {
        let Some((_, request)) = Request::read(&packet) else { return };
        let name = request.name();
        let (first, second) = match &request {
            Request::Limits => {
                let id = self.take_id();
                self.sent.insert(id, Sent::Limits { client_id });
                self.out.push_back(Step::ToTarget(packet.with_id(id).freeze()));
                return;
            }
            Request::UsersGroupsById => {
                let id = self.take_id();
                self.sent.insert(id, Sent::Plain { client_id, expected: kind::EXTENDED_REPLY });
                self.out.push_back(Step::ToTarget(packet.with_id(id).freeze()));
                return;
            }
            Request::Close { handle } => {
                let Some(file) = self.handles.remove(*handle) else {
                    return drop(self.unknown_handle(client_id, name));
                };
                let id = self.take_id();
                self.sent.insert(id, Sent::Close { client_id, file });
                self.out.push_back(Step::ToTarget(packet.with_id(id).freeze()));
                return;
            }
            Request::CopyData { from, to, .. } => (*from, Some(*to)),
            Request::Read { handle, .. }
            | Request::Write { handle, .. }
            | Request::Fstat { handle }
            | Request::Fsetstat { handle, .. }
            | Request::Readdir { handle }
            | Request::Fstatvfs { handle }
            | Request::Fsync { handle } => (*handle, None),
            _ => return,
        };
        let files: Option<Vec<u64>> =
            std::iter::once(first).chain(second).map(|handle| self.handles.get(handle).copied()).collect();
        let fits = files.as_ref().is_some_and(|files| {
            let open = |at: usize| files.get(at).and_then(|file| self.files.get(file));
            open(0).is_some_and(|open| match &request {
                Request::Read { .. } => open.accesses.read && !open.is_directory,
                Request::Write { .. } | Request::Fsync { .. } | Request::Fsetstat { .. } => {
                    open.accesses.write
                }
                Request::Readdir { .. } => open.is_directory,
                Request::CopyData { .. } => open.accesses.read && !open.is_directory,
                _ => true,
            }) && open(files.len().saturating_sub(1))
                .is_some_and(|open| !matches!(request, Request::CopyData { .. }) || open.accesses.write)
        });
        let Some(files) = files.filter(|_| fits) else {
            return drop(self.unknown_handle(client_id, name));
        };
        let stale = files.iter().filter_map(|file| self.files.get(file)).any(|open| open.epoch != epoch);
        if stale {
            let opened = files.iter().filter_map(|file| self.files.get(file).map(|open| (*file, open)));
            self.current = Some(Operation::on_handles(client_id, name, packet, opened));
        } else {
            self.forward_now(client_id, packet, &files);
        }
    }

    /// Sends a request on handles that was decided about under the policy in force.
    fn forward_now(&mut self, client_id: u32, mut packet: Packet, files: &[u64]) {
        let (Some((_, request)), Some(&file)) = (Request::read(&packet), files.first()) else { return };
        let id = self.take_id();
        let mut piece = None;
        let mut cut_at = None;
        let sent = match request {
            Request::Read { handle, offset, len } => {
                let len_at = handle.len().saturating_add(21);
                cut_at = (len > READ_BYTES_MAX).then_some(len_at);
                Sent::Read { client_id, file, offset, len: len.min(READ_BYTES_MAX) }
            }
            Request::Write { offset, data_at, .. } => {
                piece = Some((offset, data_at));
                Sent::Write { client_id, file, len: 0 }
            }
            Request::Fstat { .. } => {
                self.lookups = self.lookups.saturating_add(1);
                Sent::OnHandle { client_id, file, expected: kind::ATTRS, copied: 0 }
            }
            Request::Fsetstat { attrs, .. } => {
                if let (Some(size), Some(open)) = (attrs.size, self.files.get_mut(&file)) {
                    open.truncated(size, &mut self.kept);
                }
                Sent::OnHandle { client_id, file, expected: kind::STATUS, copied: 0 }
            }
            Request::Readdir { .. } => Sent::OnHandle { client_id, file, expected: kind::NAME, copied: 0 },
            Request::Fstatvfs { .. } => {
                Sent::OnHandle { client_id, file, expected: kind::EXTENDED_REPLY, copied: 0 }
            }
            Request::CopyData { len, .. } => {
                // What the target copies by itself is not seen here, so it cannot be hashed.
                let to = files.last().copied().unwrap_or(file);
                if let Some(open) = self.files.get_mut(&to) {
                    open.written.give_up(&mut self.kept);
                    open.uncounted |= len == 0;
                }
                Sent::OnHandle { client_id, file: to, expected: kind::STATUS, copied: len }
            }
            _ => Sent::OnHandle { client_id, file, expected: kind::STATUS, copied: 0 },
        };
        if let Some(at) = cut_at {
            packet.put(at, &READ_BYTES_MAX.to_be_bytes());
        }
        let target_file = match &sent {
            Sent::OnHandle { file, .. } => *file,
            _ => file,
        };
        let bytes = packet.with_id(id).freeze();
        let mut sent = sent;
        if let Some(open) = self.files.get_mut(&target_file) {
            open.outstanding = open.outstanding.saturating_add(1);
            if let Some((offset, data_at)) = piece {
                let data = bytes.slice(data_at.min(bytes.len())..);
                sent = Sent::Write { client_id, file, len: data.len() as u64 };
                open.written.take(offset, data, &mut self.kept);
            }
        }
        self.sent.insert(id, sent);
        self.out.push_back(Step::ToTarget(bytes));
    }

    /// Sends an operation that was decided about and, where it has to be, recorded.
    fn send(&mut self, mut operation: Operation, epoch: u64) {
        let client_id = operation.client_id;
        if let Act::OnHandles { packet, files } = operation.act {
            for file in &files {
                if let Some(open) = self.files.get_mut(file) {
                    open.epoch = epoch;
                }
            }
            return self.forward_now(client_id, packet, &files);
        }
        if let Act::Realpath = operation.act {
            let name = operation.places.first().and_then(|place| place.resolved.as_ref());
            let answer = match name {
                Some(name) => name_reply(client_id, name.as_str()),
                None => status_reply(client_id, status::FAILURE, "the path cannot be resolved"),
            };
            self.out.push_back(Step::ToClient(answer));
            return;
        }
        let id = self.take_id();
        match operation.packet(id) {
            Some((packet, expected)) => {
                self.sent.insert(id, Sent::Current { client_id, expected });
                self.out.push_back(Step::ToTarget(packet));
                operation.epoch = Some(epoch);
                operation.stage = Stage::InFlight;
                self.current = Some(operation);
            }
            None => {
                let answer = status_reply(client_id, status::FAILURE, "the path cannot be resolved");
                self.out.push_back(Step::ToClient(answer));
            }
        }
    }

    /// A request that has no path to decide about: refused, on record.
    fn refuse_request(&mut self, client_id: u32, code: u32, asked: &str, why: &'static str) {
        let detail = Detail::RequestRefused(RequestRefused::new("sftp", Some(asked)));
        self.current = Some(Operation::refused_outright(
            client_id,
            Notice {
                detail,
                outcome: Outcome::Blocked,
                reason: Some(("sftp_not_supported".to_owned(), why.to_owned())),
                correlation_id: Uuid::now_v7().to_string(),
            },
            status_reply(client_id, code, why),
        ));
    }

    fn unknown_handle(&mut self, client_id: u32, name: &'static str) -> Begun {
        let why = "no file is open for that under this handle";
        self.refuse_request(client_id, status::FAILURE, &format!("{name} on a handle"), why);
        Begun::Done
    }

    fn take_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if !self.sent.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The channel is over: what was open was not transferred whole, and of what was sent without an answer nothing is known.
    pub fn finish(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(operation) = self.current.take() {
            match operation.stage {
                Stage::InFlight if operation.recorded => {
                    let why = ("no_answer".to_owned(), "sent, but the target did not answer".to_owned());
                    notices.push(operation.notice(Outcome::Unknown, Some(why)));
                }
                Stage::AwaitRecord | Stage::Sending | Stage::Checking | Stage::Asked(..)
                    if operation.recorded || matches!(operation.stage, Stage::AwaitRecord) =>
                {
                    let why = ("not_sent".to_owned(), "not sent: the channel ended".to_owned());
                    notices.push(operation.notice(Outcome::Blocked, Some(why)));
                }
                _ => {}
            }
        }
        self.handles.clear();
        self.sent.clear();
        let mut files: Vec<(u64, Open)> = self.files.drain().collect();
        files.sort_unstable_by_key(|(opened, _)| *opened);
        for (_, open) in files {
            if open.is_directory {
                continue;
            }
            let correlation_id = open.correlation_id.clone();
            let transferred = open.transferred(false, &mut self.kept);
            notices.push(Notice {
                detail: Detail::FileTransferred(transferred),
                outcome: Outcome::Unknown,
                reason: Some(("interrupted".to_owned(), "the channel ended before it was closed".to_owned())),
                correlation_id,
            });
        }
        notices
    }
}

/// Whether what is transferred is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hashing {
    /// Sizes only.
    Off,
    /// SHA-256 of what is transferred whole.
    #[default]
    Whole,
}

enum Begun {
    Operation(Box<Operation>),
    Forward,
    Done,
}

/// A notice about one operation on a path.
fn about(
    access: FileAccess,
    operation: &'static str,
    path: &str,
    asked: &str,
    other: Option<&str>,
) -> FileOperation {
    let about = FileOperation::new(access, operation, path, asked);
    match other {
        Some(other) => about.other(other),
        None => about,
    }
}
