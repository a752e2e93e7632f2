//! Packets of version 3 and the fields in them (draft-ietf-secsh-filexfer-02 §3 to §7).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Violation;
use super::limits::{HANDLE_BYTES_MAX, PACKET_BYTES_MAX};

/// Packet types.
pub(crate) mod kind {
    pub(crate) const INIT: u8 = 1;
    pub(crate) const VERSION: u8 = 2;
    pub(crate) const OPEN: u8 = 3;
    pub(crate) const CLOSE: u8 = 4;
    pub(crate) const READ: u8 = 5;
    pub(crate) const WRITE: u8 = 6;
    pub(crate) const LSTAT: u8 = 7;
    pub(crate) const FSTAT: u8 = 8;
    pub(crate) const SETSTAT: u8 = 9;
    pub(crate) const FSETSTAT: u8 = 10;
    pub(crate) const OPENDIR: u8 = 11;
    pub(crate) const READDIR: u8 = 12;
    pub(crate) const REMOVE: u8 = 13;
    pub(crate) const MKDIR: u8 = 14;
    pub(crate) const RMDIR: u8 = 15;
    pub(crate) const REALPATH: u8 = 16;
    pub(crate) const STAT: u8 = 17;
    pub(crate) const RENAME: u8 = 18;
    pub(crate) const READLINK: u8 = 19;
    pub(crate) const SYMLINK: u8 = 20;
    pub(crate) const STATUS: u8 = 101;
    pub(crate) const HANDLE: u8 = 102;
    pub(crate) const DATA: u8 = 103;
    pub(crate) const NAME: u8 = 104;
    pub(crate) const ATTRS: u8 = 105;
    pub(crate) const EXTENDED: u8 = 200;
    pub(crate) const EXTENDED_REPLY: u8 = 201;
}

/// Codes of `SSH_FXP_STATUS`.
pub(crate) mod status {
    pub(crate) const OK: u32 = 0;
    pub(crate) const EOF: u32 = 1;
    pub(crate) const NO_SUCH_FILE: u32 = 2;
    pub(crate) const PERMISSION_DENIED: u32 = 3;
    pub(crate) const FAILURE: u32 = 4;
    pub(crate) const BAD_MESSAGE: u32 = 5;
    pub(crate) const OP_UNSUPPORTED: u32 = 8;

    pub(crate) fn name(code: u32) -> &'static str {
        match code {
            OK => "SSH_FX_OK",
            EOF => "SSH_FX_EOF",
            NO_SUCH_FILE => "SSH_FX_NO_SUCH_FILE",
            PERMISSION_DENIED => "SSH_FX_PERMISSION_DENIED",
            BAD_MESSAGE => "SSH_FX_BAD_MESSAGE",
            OP_UNSUPPORTED => "SSH_FX_OP_UNSUPPORTED",
            _ => "SSH_FX_FAILURE",
        }
    }
}

/// The version that both sides speak.
pub(crate) const VERSION: u32 = 3;

/// One packet as it came, its length included.
#[derive(Clone)]
pub struct Packet(BytesMut);

/// Packets carry files: only type and size are shown.
impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet").field("kind", &self.kind()).field("bytes", &self.0.len()).finish()
    }
}

impl Packet {
    /// The packet's type.
    pub fn kind(&self) -> u8 {
        self.0.get(4).copied().unwrap_or(0)
    }

    /// What follows the type.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields(self.0.get(5..).unwrap_or_default())
    }

    /// The request that it is or answers. `SSH_FXP_INIT` and `SSH_FXP_VERSION` have none.
    pub(crate) fn id(&self) -> Option<u32> {
        self.fields().u32()
    }

    /// The same packet under another request id; nothing else moves.
    pub(crate) fn with_id(mut self, id: u32) -> Self {
        self.put(5, &id.to_be_bytes());
        self
    }

    /// Overwrites bytes at `at`, counted from the packet's start; nothing where they do not fit.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    pub(crate) fn freeze(self) -> Bytes {
        self.0.freeze()
    }
}

/// Cuts a stream of bytes into packets.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Takes the next bytes of the stream. Call [`next`](Self::next) until it has nothing before giving more, or the
    /// buffer grows.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole packet, if it is there.
    ///
    /// # Errors
    /// [`Violation`] for a length that is zero or above [`PACKET_BYTES_MAX`]; nothing of such a stream can be read any more.
    #[allow(clippy::should_implement_trait, reason = "it may have more after it had none")]
    pub fn next(&mut self) -> Result<Option<Packet>, Violation> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > PACKET_BYTES_MAX {
            return Err(Violation::new("a packet's length is out of bounds"));
        }
        let whole = length.saturating_add(4);
        if self.buffer.len() < whole {
            self.buffer.reserve(whole.saturating_sub(self.buffer.len()));
            return Ok(None);
        }
        Ok(Some(Packet(self.buffer.split_to(whole))))
    }

    /// Whether the stream ended between two packets.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Reads fields from the front of what is left.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'p>(&'p [u8]);

impl<'p> Fields<'p> {
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    pub(crate) fn string(&mut self) -> Option<&'p [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    pub(crate) fn handle(&mut self) -> Option<&'p [u8]> {
        self.string().filter(|handle| handle.len() <= HANDLE_BYTES_MAX)
    }

    pub(crate) fn rest(self) -> &'p [u8] {
        self.0
    }

    /// Nothing is left.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Attributes of a file, as a request states them (§5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attrs<'p> {
    pub(crate) flags: u32,
    pub(crate) size: Option<u64>,
    pub(crate) permissions: Option<u32>,
    /// All of it as it came.
    pub(crate) raw: &'p [u8],
}

impl<'p> Attrs<'p> {
    pub(crate) const SIZE: u32 = 0x1;
    pub(crate) const UID_GID: u32 = 0x2;
    pub(crate) const PERMISSIONS: u32 = 0x4;
    pub(crate) const TIMES: u32 = 0x8;
    pub(crate) const EXTENDED: u32 = 0x8000_0000;
    const KNOWN: u32 = Self::SIZE | Self::UID_GID | Self::PERMISSIONS | Self::TIMES;

    /// Attributes to the end of the packet. With flags that version 3 does not define nothing can be said about what follows.
    pub(crate) fn read(fields: Fields<'p>) -> Option<Self> {
        let raw = fields.rest();
        let mut fields = fields;
        let flags = fields.u32()?;
        if flags & !(Self::KNOWN | Self::EXTENDED) != 0 {
            return None;
        }
        let size = if flags & Self::SIZE != 0 { Some(fields.u64()?) } else { None };
        if flags & Self::UID_GID != 0 {
            fields.u64()?;
        }
        let permissions = if flags & Self::PERMISSIONS != 0 { Some(fields.u32()?) } else { None };
        if flags & Self::TIMES != 0 {
            fields.u64()?;
        }
        if flags & Self::EXTENDED != 0 {
            for _ in 0..fields.u32()? {
                fields.string()?;
                fields.string()?;
            }
        }
        fields.end()?;
        Some(Self { flags, size, permissions, raw })
    }

    pub(crate) fn has_extensions(&self) -> bool {
        self.flags & Self::EXTENDED != 0
    }

    /// Whether they change the size.
    pub(crate) fn changes_size(&self) -> bool {
        self.size.is_some()
    }

    /// Whether they change anything but the size. Attributes that change nothing count.
    pub(crate) fn changes_mode(&self) -> bool {
        self.flags != Self::SIZE
    }
}

/// Writes one packet.
pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn new(kind: u8, id: u32) -> Self {
        let mut buffer = BytesMut::with_capacity(64);
        buffer.put_u32(0);
        buffer.put_u8(kind);
        buffer.put_u32(id);
        Self(buffer)
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.put_u32(value);
        self
    }

    pub(crate) fn string(mut self, value: &[u8]) -> Self {
        // What is written was read from a packet or is a path, so its length fits.
        self.0.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn raw(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn finish(mut self) -> Bytes {
        let length = u32::try_from(self.0.len().saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(place) = self.0.first_chunk_mut::<4>() {
            *place = length.to_be_bytes();
        }
        self.0.freeze()
    }
}

/// `SSH_FXP_STATUS`.
pub(crate) fn status_reply(id: u32, code: u32, message: &str) -> Bytes {
    Writer::new(kind::STATUS, id).u32(code).string(message.as_bytes()).string(b"en").finish()
}

/// `SSH_FXP_NAME` with one name, as `SSH_FXP_REALPATH` is answered.
pub(crate) fn name_reply(id: u32, name: &str) -> Bytes {
    let name = name.as_bytes();
    Writer::new(kind::NAME, id).u32(1).string(name).string(name).u32(0).finish()
}
