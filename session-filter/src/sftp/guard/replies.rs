//! What the target answers: matched to what it was asked, and handed on.

use bytes::Bytes;

use super::operation::{Act, Looked, permissions_in, size_in};
use super::{Guard, Notice, Phase, Replied, Sent, Stage, Step};
use crate::directory::AbsolutePath;
use crate::event::{Detail, Outcome};
use crate::sftp::Violation;
use crate::sftp::limits::{HANDLE_BYTES_MAX, HANDLES_MAX, PACKET_BYTES_MAX, READ_BYTES_MAX};
use crate::sftp::request::EXTENSIONS;
use crate::sftp::wire::{Fields, Packet, VERSION, Writer, kind, status};

impl Guard {
    /// Takes the target's next packet.
    ///
    /// # Errors
    /// [`Violation`] when the target does not speak the protocol; end the channel.
    pub fn reply(&mut self, packet: Packet) -> Result<Replied, Violation> {
        if matches!(self.phase, Phase::Greeted) {
            return self.greeted(&packet);
        }
        let sent = packet.id().and_then(|id| self.sent.remove(&id));
        let Some(sent) = sent else {
            return Err(Violation::new("the target answered what it was not asked"));
        };
        let code = status_in(&packet);
        if packet.kind() == kind::STATUS && code.is_none() {
            return Err(Violation::new("the target sent a status that cannot be read"));
        }
        match sent {
            Sent::Home => self.at_home(&packet),
            Sent::Lookup => self.looked_up(&packet, code),
            Sent::Current { client_id, expected } => {
                expect(&packet, expected)?;
                self.answered(packet, client_id, code)
            }
            Sent::Read { client_id, file, offset, len } => {
                self.was_read(packet, client_id, file, offset, len, code)
            }
            Sent::Write { client_id, file, len } => {
                expect(&packet, kind::STATUS)?;
                if let Some(open) = self.files.get_mut(&file) {
                    if code == Some(status::OK) {
                        open.bytes_written = open.bytes_written.saturating_add(len);
                    } else {
                        open.written.give_up(&mut self.kept);
                    }
                }
                Ok(self.on_file(packet, client_id, file))
            }
            Sent::Close { client_id, file } => {
                expect(&packet, kind::STATUS)?;
                if let Some(open) = self.files.get_mut(&file) {
                    open.closed = code;
                    // The count goes down for every answer, this one included.
                    open.outstanding = open.outstanding.saturating_add(1);
                }
                Ok(self.on_file(packet, client_id, file))
            }
            Sent::OnHandle { client_id, file, expected, copied } => {
                expect(&packet, expected)?;
                if let Some(open) = self.files.get_mut(&file) {
                    if expected == kind::ATTRS
                        && packet.kind() == kind::ATTRS
                        && let Some(size) = size_in(after_id(&packet))
                    {
                        open.has_size(size);
                    }
                    if copied > 0 && code == Some(status::OK) {
                        open.bytes_written = open.bytes_written.saturating_add(copied);
                    }
                    // Among what may have failed is a cut or an extension.
                    if expected == kind::STATUS && code != Some(status::OK) {
                        open.written.give_up(&mut self.kept);
                    }
                }
                Ok(self.on_file(packet, client_id, file))
            }
            Sent::Limits { client_id } => {
                expect(&packet, kind::EXTENDED_REPLY)?;
                Ok(hand_on(bounded(packet), client_id))
            }
            Sent::Plain { client_id, expected } => {
                expect(&packet, expected)?;
                Ok(hand_on(packet, client_id))
            }
        }
    }

    /// The target's version: handed on with those of its extensions that are decoded here.
    fn greeted(&mut self, packet: &Packet) -> Result<Replied, Violation> {
        let mut fields = packet.fields();
        if packet.kind() != kind::VERSION || fields.u32() != Some(VERSION) {
            return Err(Violation::new("the target does not speak version 3"));
        }
        let mut answer = Writer::new(kind::VERSION, VERSION);
        while let (Some(name), Some(value)) = (fields.string(), fields.string()) {
            self.openssh |= name.ends_with(b"@openssh.com");
            if EXTENSIONS.iter().any(|known| known.as_bytes() == name) && value.len() <= 16 {
                answer = answer.string(name).string(value);
            }
        }
        let id = self.take_id();
        self.sent.insert(id, Sent::Home);
        self.out.push_back(Step::ToTarget(Writer::new(kind::REALPATH, id).string(b".").finish()));
        self.phase = Phase::Homing;
        Ok(Replied { to_client: Some(answer.finish()), notices: Vec::new() })
    }

    fn at_home(&mut self, packet: &Packet) -> Result<Replied, Violation> {
        self.home = name_in(packet);
        if self.home.is_none() {
            return Err(Violation::new("the target does not say where the account's home is"));
        }
        self.phase = Phase::Ready;
        Ok(Replied::default())
    }

    fn looked_up(&mut self, packet: &Packet, code: Option<u32>) -> Result<Replied, Violation> {
        let looked = match (packet.kind(), code) {
            (kind::NAME, _) => Looked::Name(name_in(packet)),
            (kind::ATTRS, _) => Looked::Attrs { permissions: permissions_in(after_id(packet)) },
            (_, Some(code)) if code != status::OK => Looked::Status(code),
            _ => return Err(Violation::new("the target gave an answer of another type than was asked for")),
        };
        if let Some(operation) = self.current.as_mut().filter(|held| matches!(held.stage, Stage::LookedUp)) {
            operation.looked_up(looked);
        }
        Ok(Replied::default())
    }

    /// The answer to the operation in hand.
    fn answered(&mut self, packet: Packet, client_id: u32, code: Option<u32>) -> Result<Replied, Violation> {
        let Some(operation) = self.current.take() else { return Ok(hand_on(packet, client_id)) };
        if packet.kind() == kind::HANDLE {
            let mut fields = after_id(&packet);
            let handle = fields.string().filter(|handle| handle.len() <= HANDLE_BYTES_MAX);
            let (Some(handle), Some(open)) = (handle, operation.opened(self.hashing)) else {
                return Err(Violation::new("the target gave a handle that cannot be read"));
            };
            self.last_file = self.last_file.saturating_add(1);
            self.files.insert(self.last_file, open);
            if self.handles.insert(handle.to_vec(), self.last_file).is_some() {
                return Err(Violation::new("the target gave one handle twice"));
            }
        }
        let mut notices = Vec::new();
        match code {
            Some(status::OK) => {
                if let Act::Fsetstat { handle, size: Some(size), .. } = &operation.act
                    && let Some(file) = self.handles.get(handle.as_ref())
                    && let Some(open) = self.files.get_mut(file)
                {
                    open.truncated(*size, &mut self.kept);
                }
            }
            Some(code) if operation.recorded => {
                let why =
                    ("target_refused".to_owned(), format!("the target answered {}", status::name(code)));
                notices.push(operation.notice(Outcome::Failure, Some(why)));
            }
            _ => {}
        }
        let mut replied = hand_on(packet, client_id);
        replied.notices = notices;
        Ok(replied)
    }

    fn was_read(
        &mut self,
        packet: Packet,
        client_id: u32,
        file: u64,
        offset: u64,
        len: u32,
        code: Option<u32>,
    ) -> Result<Replied, Violation> {
        expect(&packet, kind::DATA)?;
        if packet.kind() != kind::DATA {
            if let Some(open) = self.files.get_mut(&file) {
                match code {
                    Some(status::EOF) if len > 0 => open.ends_at(offset),
                    // Of nothing that was asked for, nothing is known.
                    Some(status::EOF) => {}
                    _ => open.read.give_up(&mut self.kept),
                }
            }
            return Ok(self.on_file(packet, client_id, file));
        }
        // Length, type, id and the data's own length come before the data.
        const DATA_AT: usize = 13;
        let data_len = after_id(&packet).string().map(<[u8]>::len);
        let Some(data_len) = data_len.filter(|got| *got <= usize::try_from(len).unwrap_or(usize::MAX)) else {
            return Err(Violation::new("the target sent more data than was asked for"));
        };
        let bytes = packet.with_id(client_id).freeze();
        if let Some(open) = self.files.get_mut(&file) {
            let end = DATA_AT.saturating_add(data_len).min(bytes.len());
            let data: Bytes = bytes.slice(DATA_AT.min(end)..end);
            open.took_read(offset, data, &mut self.kept);
        }
        Ok(Replied { to_client: Some(bytes), notices: self.one_less(file) })
    }

    fn on_file(&mut self, packet: Packet, client_id: u32, file: u64) -> Replied {
        let mut replied = hand_on(packet, client_id);
        replied.notices = self.one_less(file);
        replied
    }

    /// One answer about a file came. After the last one of a closed file it is known what was transferred.
    fn one_less(&mut self, file: u64) -> Vec<Notice> {
        let Some(open) = self.files.get_mut(&file) else { return Vec::new() };
        open.outstanding = open.outstanding.saturating_sub(1);
        let Some(code) = open.closed.filter(|_| open.outstanding == 0) else { return Vec::new() };
        let Some(open) = self.files.remove(&file).filter(|open| !open.is_directory) else {
            return Vec::new();
        };
        let correlation_id = open.correlation_id.clone();
        let (outcome, reason) = match code {
            status::OK if open.uncounted => {
                let why = "the target was told to copy into it by itself; those bytes are not counted";
                (Outcome::Success, Some(("copied_by_target".to_owned(), why.to_owned())))
            }
            status::OK => (Outcome::Success, None),
            code => {
                let why = format!("closing it, the target answered {}", status::name(code));
                (Outcome::Failure, Some(("target_refused".to_owned(), why)))
            }
        };
        let transferred = open.transferred(code == status::OK, &mut self.kept);
        vec![Notice { detail: Detail::FileTransferred(transferred), outcome, reason, correlation_id }]
    }
}

/// An answer has the type that its question asks for, or is a status.
fn expect(packet: &Packet, expected: u8) -> Result<(), Violation> {
    match packet.kind() {
        kind::STATUS => Ok(()),
        got if got == expected => Ok(()),
        _ => Err(Violation::new("the target gave an answer of another type than was asked for")),
    }
}

fn hand_on(packet: Packet, client_id: u32) -> Replied {
    Replied { to_client: Some(packet.with_id(client_id).freeze()), notices: Vec::new() }
}

fn after_id(packet: &Packet) -> Fields<'_> {
    let mut fields = packet.fields();
    let _ = fields.u32();
    fields
}

fn status_in(packet: &Packet) -> Option<u32> {
    match packet.kind() {
        kind::STATUS => after_id(packet).u32(),
        _ => None,
    }
}

/// The first name of `SSH_FXP_NAME`, if it is an absolute path.
fn name_in(packet: &Packet) -> Option<AbsolutePath> {
    let mut fields = after_id(packet);
    if packet.kind() != kind::NAME || fields.u32()? == 0 {
        return None;
    }
    AbsolutePath::parse(std::str::from_utf8(fields.string()?).ok()?)
}

/// The answer to `limits@openssh.com` with no limit above those of the proxy; 0 means none.
fn bounded(mut packet: Packet) -> Packet {
    let ours =
        [PACKET_BYTES_MAX as u64, u64::from(READ_BYTES_MAX), u64::from(READ_BYTES_MAX), HANDLES_MAX as u64];
    if packet.kind() != kind::EXTENDED_REPLY {
        return packet;
    }
    let mut fields = after_id(&packet);
    let mut at = 9_usize;
    let mut bounds = Vec::new();
    for ours in ours {
        if let Some(theirs) = fields.u64() {
            bounds.push((at, if theirs == 0 { ours } else { theirs.min(ours) }));
        }
        at = at.saturating_add(8);
    }
    for (at, bound) in bounds {
        packet.put(at, &bound.to_be_bytes());
    }
    packet
}
