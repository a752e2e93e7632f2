//! The target's files by SFTP, for the engine's own use: a client whose requests go through the guard like anybody's.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::sftp::Frames;
use crate::sftp::wire::{Attrs, Fields, Packet, VERSION, Writer, kind, status};

/// Requests on their way at a time. The queues to and from the guard hold more, so neither side waits for the other's.
const PIPELINED: usize = 16;
/// Packets in each of those queues.
pub(super) const QUEUE: usize = 64;
/// Bytes in one read or write.
pub(super) const PIECE_BYTES: usize = 32 * 1024;

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The guard or the target said no: a status, and why.
    Refused(u32, String),
    /// There is nobody to ask any more.
    Gone,
}

type Done<T> = Result<T, Failure>;

/// What is known about a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About {
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) accessed: u32,
    pub(super) modified: u32,
}

const TYPE_BITS: u32 = 0o170_000;

impl About {
    pub(super) fn is_directory(&self) -> bool {
        self.mode & TYPE_BITS == 0o040_000
    }

    pub(super) fn is_file(&self) -> bool {
        self.mode & TYPE_BITS == 0o100_000
    }
}

pub(super) struct Files {
    to_guard: mpsc::Sender<Bytes>,
    from_guard: mpsc::Receiver<Bytes>,
    last_id: u32,
    /// Answers that came while another one was waited for.
    early: HashMap<u32, Packet>,
}

/// An open file to which pieces are written without waiting for each.
pub(super) struct Writing {
    handle: Vec<u8>,
    offset: u64,
    sent: VecDeque<u32>,
    failed: Option<(u32, String)>,
}

impl Files {
    pub(super) async fn open(to_guard: mpsc::Sender<Bytes>, from_guard: mpsc::Receiver<Bytes>) -> Done<Self> {
        let mut files = Self { to_guard, from_guard, last_id: 0, early: HashMap::new() };
        files.send(Writer::new(kind::INIT, VERSION).finish()).await?;
        match files.receive().await?.kind() {
            kind::VERSION => Ok(files),
            _ => Err(Failure::Gone),
        }
    }

    async fn send(&self, packet: Bytes) -> Done<()> {
        self.to_guard.send(packet).await.map_err(|_| Failure::Gone)
    }

    async fn receive(&mut self) -> Done<Packet> {
        let bytes = self.from_guard.recv().await.ok_or(Failure::Gone)?;
        let mut frames = Frames::default();
        frames.push(&bytes);
        frames.next().ok().flatten().ok_or(Failure::Gone)
    }

    async fn answer(&mut self, id: u32) -> Done<Packet> {
        loop {
            if let Some(packet) = self.early.remove(&id) {
                return Ok(packet);
            }
            let packet = self.receive().await?;
            // There are never more of them than requests on their way.
            self.early.insert(packet.id().ok_or(Failure::Gone)?, packet);
        }
    }

    fn id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    async fn ask(&mut self, kind: u8, fill: impl FnOnce(Writer) -> Writer) -> Done<Packet> {
        let id = self.id();
        self.send(fill(Writer::new(kind, id)).finish()).await?;
        self.answer(id).await
    }

    pub(super) async fn stat(&mut self, path: &str) -> Done<About> {
        let answer = self.ask(kind::STAT, |packet| packet.string(path.as_bytes())).await?;
        about(&answer)
    }

    pub(super) async fn fstat(&mut self, handle: &[u8]) -> Done<About> {
        let answer = self.ask(kind::FSTAT, |packet| packet.string(handle)).await?;
        about(&answer)
    }

    /// Opens for reading.
    pub(super) async fn read(&mut self, path: &str) -> Done<Vec<u8>> {
        const READ: u32 = 0x1;
        handle(&self.ask(kind::OPEN, |packet| packet.string(path.as_bytes()).u32(READ).u32(0)).await?)
    }

    /// Opens an emptied or new file for writing.
    pub(super) async fn write(&mut self, path: &str, permissions: u32) -> Done<Writing> {
        const WRITE_CREAT_TRUNC: u32 = 0x2 | 0x8 | 0x10;
        let open = |packet: Writer| {
            packet.string(path.as_bytes()).u32(WRITE_CREAT_TRUNC).u32(Attrs::PERMISSIONS).u32(permissions)
        };
        let handle = handle(&self.ask(kind::OPEN, open).await?)?;
        Ok(Writing { handle, offset: 0, sent: VecDeque::new(), failed: None })
    }

    /// The next piece; what went wrong with earlier ones is said at the end.
    pub(super) async fn put(&mut self, file: &mut Writing, piece: &[u8]) -> Done<()> {
        if file.failed.is_some() {
            return Ok(());
        }
        if file.sent.len() >= PIPELINED {
            self.written(file).await?;
        }
        let id = self.id();
        let (high, low) = halves(file.offset);
        let packet = Writer::new(kind::WRITE, id).string(&file.handle).u32(high).u32(low).string(piece);
        self.send(packet.finish()).await?;
        file.sent.push_back(id);
        file.offset = file.offset.saturating_add(piece.len() as u64);
        Ok(())
    }

    async fn written(&mut self, file: &mut Writing) -> Done<()> {
        let Some(id) = file.sent.pop_front() else { return Ok(()) };
        if let Err(Failure::Refused(code, why)) = good(&self.answer(id).await?) {
            file.failed.get_or_insert((code, why));
        }
        Ok(())
    }

    /// Waits for all that was written, keeps times and mode where that is asked for, and closes.
    pub(super) async fn finish(
        &mut self,
        mut file: Writing,
        keep: Option<(u32, Option<(u32, u32)>)>,
    ) -> Done<()> {
        while !file.sent.is_empty() {
            self.written(&mut file).await?;
        }
        if let Some((mode, times)) = keep {
            let set =
                self.ask(kind::FSETSTAT, |packet| kept(packet.string(&file.handle), mode, times)).await?;
            if let Err(Failure::Refused(code, why)) = good(&set) {
                file.failed.get_or_insert((code, why));
            }
        }
        let closed = good(&self.close(&file.handle).await?);
        match file.failed {
            Some((code, why)) => Err(Failure::Refused(code, why)),
            None => closed,
        }
    }

    pub(super) async fn set(&mut self, path: &str, mode: u32, times: Option<(u32, u32)>) -> Done<()> {
        good(&self.ask(kind::SETSTAT, |packet| kept(packet.string(path.as_bytes()), mode, times)).await?)
    }

    pub(super) async fn close(&mut self, handle: &[u8]) -> Done<Packet> {
        self.ask(kind::CLOSE, |packet| packet.string(handle)).await
    }

    pub(super) async fn make_directory(&mut self, path: &str, permissions: u32) -> Done<()> {
        let make = |packet: Writer| packet.string(path.as_bytes()).u32(Attrs::PERMISSIONS).u32(permissions);
        good(&self.ask(kind::MKDIR, make).await?)
    }

    /// The next piece of a file; `None` once all of it was read.
    pub(super) async fn get(&mut self, handle: &[u8], reading: &mut Reading) -> Done<Option<Bytes>> {
        while reading.asked < reading.size && reading.sent.len() < PIPELINED {
            let left = reading.size.saturating_sub(reading.asked);
            let len = u32::try_from(left.min(PIECE_BYTES as u64)).unwrap_or(0);
            let id = self.ask_for(handle, reading.asked, len).await?;
            reading.sent.push_back((id, reading.asked, len));
            reading.asked = reading.asked.saturating_add(u64::from(len));
        }
        let Some((id, offset, len)) = reading.sent.pop_front() else { return Ok(None) };
        let packet = self.answer(id).await?;
        let data = match packet.kind() {
            kind::DATA => after_id(&packet).string().map(Bytes::copy_from_slice).unwrap_or_default(),
            _ => match good(&packet) {
                Err(Failure::Refused(status::EOF, _)) => Bytes::new(),
                Err(failure) => return Err(failure),
                Ok(()) => Bytes::new(),
            },
        };
        let got = u32::try_from(data.len()).unwrap_or(len);
        if got == 0 {
            return Err(refused("the file became shorter while it was read"));
        }
        if got < len {
            // A short piece: the rest of it comes before what was asked for next.
            let (offset, len) = (offset.saturating_add(u64::from(got)), len.saturating_sub(got));
            let id = self.ask_for(handle, offset, len).await?;
            reading.sent.push_front((id, offset, len));
        }
        Ok(Some(data))
    }

    async fn ask_for(&mut self, handle: &[u8], offset: u64, len: u32) -> Done<u32> {
        let id = self.id();
        let (high, low) = halves(offset);
        self.send(Writer::new(kind::READ, id).string(handle).u32(high).u32(low).u32(len).finish()).await?;
        Ok(id)
    }

    /// Takes the answers to what was asked for and is not wanted any more; then whether the file ends here.
    pub(super) async fn end(&mut self, handle: &[u8], reading: Reading) -> Done<()> {
        for (id, ..) in reading.sent {
            self.answer(id).await?;
        }
        // Seeing the end is what makes a transfer whole.
        let id = self.ask_for(handle, reading.size, 1).await?;
        self.answer(id).await?;
        self.close(handle).await.map(drop)
    }

    /// The names in a directory, without its own and its parent's; fails where paths of them would take more than `bytes_max`.
    pub(super) async fn names(
        &mut self,
        path: &str,
        entries_max: usize,
        bytes_max: usize,
    ) -> Done<Vec<String>> {
        let handle = handle(&self.ask(kind::OPENDIR, |packet| packet.string(path.as_bytes())).await?)?;
        let mut names: Vec<String> = Vec::new();
        let (mut pages, mut bytes) = (0_usize, 0_usize);
        let listed = loop {
            let packet = self.ask(kind::READDIR, |packet| packet.string(&handle)).await?;
            if packet.kind() != kind::NAME {
                break match status_of(&packet) {
                    Some(status::EOF) => Ok(names),
                    _ => good(&packet).map(|()| Vec::new()),
                };
            }
            let more = names_in(&packet).unwrap_or_default();
            pages = pages.saturating_add(1);
            for name in &more {
                bytes = bytes
                    .saturating_add(waiting_cost(path.len().saturating_add(1).saturating_add(name.len())));
            }
            let entries = names.len().saturating_add(more.len());
            if pages > entries_max || entries > entries_max || bytes > bytes_max {
                break Err(refused("the directory has too many entries"));
            }
            names.extend(more);
        };
        self.close(&handle).await?;
        listed
    }
}

/// What a path that waits takes.
pub(super) fn waiting_cost(path_bytes: usize) -> usize {
    path_bytes.saturating_add(64)
}

/// How far reading a file is.
pub(super) struct Reading {
    size: u64,
    asked: u64,
    sent: VecDeque<(u32, u64, u32)>,
}

impl Reading {
    pub(super) fn new(size: u64) -> Self {
        Self { size, asked: 0, sent: VecDeque::new() }
    }
}

fn halves(value: u64) -> (u32, u32) {
    (u32::try_from(value >> 32).unwrap_or(0), u32::try_from(value & 0xffff_ffff).unwrap_or(0))
}

fn kept(packet: Writer, mode: u32, times: Option<(u32, u32)>) -> Writer {
    match times {
        Some((accessed, modified)) => {
            packet.u32(Attrs::PERMISSIONS | Attrs::TIMES).u32(mode).u32(accessed).u32(modified)
        }
        None => packet.u32(Attrs::PERMISSIONS).u32(mode),
    }
}

fn after_id(packet: &Packet) -> Fields<'_> {
    let mut fields = packet.fields();
    let _ = fields.u32();
    fields
}

fn status_of(packet: &Packet) -> Option<u32> {
    match packet.kind() {
        kind::STATUS => after_id(packet).u32(),
        _ => None,
    }
}

fn refused(why: &str) -> Failure {
    Failure::Refused(status::FAILURE, why.to_owned())
}

/// Success, or what the status says.
fn good(packet: &Packet) -> Done<()> {
    let mut fields = after_id(packet);
    match (packet.kind(), fields.u32()) {
        (kind::STATUS, Some(status::OK)) => Ok(()),
        (kind::STATUS, Some(code)) => {
            let message = fields.string().map(String::from_utf8_lossy).unwrap_or_default();
            let message = if message.is_empty() { status::name(code).into() } else { message };
            Err(Failure::Refused(code, crate::event::cut_at_char(&message, 512).to_owned()))
        }
        _ => Err(refused("the target gave another answer than was asked for")),
    }
}

fn handle(packet: &Packet) -> Done<Vec<u8>> {
    match packet.kind() {
        kind::HANDLE => after_id(packet).string().map(<[u8]>::to_vec).ok_or(Failure::Gone),
        _ => Err(good(packet).err().unwrap_or(Failure::Gone)),
    }
}

fn about(packet: &Packet) -> Done<About> {
    if packet.kind() != kind::ATTRS {
        return Err(good(packet).err().unwrap_or(Failure::Gone));
    }
    read_about(&mut after_id(packet)).ok_or_else(|| refused("the target's attributes cannot be read"))
}

fn read_about(fields: &mut Fields<'_>) -> Option<About> {
    let mut about = About::default();
    let flags = fields.u32()?;
    if flags & Attrs::SIZE != 0 {
        about.size = fields.u64()?;
    }
    if flags & Attrs::UID_GID != 0 {
        fields.u64()?;
    }
    if flags & Attrs::PERMISSIONS != 0 {
        about.mode = fields.u32()?;
    }
    if flags & Attrs::TIMES != 0 {
        (about.accessed, about.modified) = (fields.u32()?, fields.u32()?);
    }
    if flags & Attrs::EXTENDED != 0 {
        for _ in 0..fields.u32()? {
            fields.string()?;
            fields.string()?;
        }
    }
    Some(about)
}

fn names_in(packet: &Packet) -> Option<Vec<String>> {
    let mut fields = after_id(packet);
    let mut names = Vec::new();
    for _ in 0..fields.u32()? {
        let name = fields.string()?;
        fields.string()?;
        read_about(&mut fields)?;
        // A name that the protocol cannot carry is left out; the guard would refuse it as well.
        if let Ok(name) = std::str::from_utf8(name)
            && !matches!(name, "" | "." | "..")
            && !name.contains('/')
            && !name.chars().any(char::is_control)
        {
            names.push(name.to_owned());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::wire::status_reply;

    #[tokio::test]
    async fn a_directory_of_endless_names_is_given_up() {
        let (to_guard, mut requests) = mpsc::channel::<Bytes>(QUEUE);
        let (answers, from_guard) = mpsc::channel::<Bytes>(QUEUE);
        let target = async {
            let mut pages = 0;
            while let Some(request) = requests.recv().await {
                let mut frames = Frames::default();
                frames.push(&request);
                let packet = frames.next().unwrap().unwrap();
                let id = packet.id().unwrap();
                let answer = match packet.kind() {
                    kind::OPENDIR => Writer::new(kind::HANDLE, id).string(b"h").finish(),
                    kind::READDIR if pages < 100 => {
                        pages += 1;
                        let name = format!("{pages:01000}");
                        let names = Writer::new(kind::NAME, id).u32(1).string(name.as_bytes());
                        names.string(b"").u32(0).finish()
                    }
                    kind::READDIR => status_reply(id, status::EOF, ""),
                    _ => status_reply(id, status::OK, ""),
                };
                answers.send(answer).await.unwrap();
            }
            pages
        };
        let client = async {
            let mut files = Files { to_guard, from_guard, last_id: 0, early: HashMap::new() };
            files.names("/d", 1000, 10_000).await
        };
        let (listed, pages) = tokio::join!(client, target);
        assert!(matches!(listed, Err(Failure::Refused(..))));
        assert_eq!(pages, 10, "no more is asked for than fits");
    }
}
