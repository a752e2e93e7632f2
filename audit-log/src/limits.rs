//! Named limits: whatever a caller or a hostile file can grow ends here.

/// Smallest unit that storage writes whole, in bytes. Frames start and end on it.
pub const SECTOR_BYTES: usize = 512;
/// Size of a segment header, in bytes.
pub const HEADER_BYTES: usize = 2048;
/// Longest commit frame, in bytes. A longer one is refused on reading; a fuller queue is cut into several on writing.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most entries in one commit frame.
pub const FRAME_ENTRIES_MAX: usize = 4096;
/// Longest entry, in bytes of its encoded content. A longer one is refused by `append`.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of arrays and objects in the value of a field. A deeper one is refused by `append`.
pub const FIELD_DEPTH_MAX: usize = 64;
/// Longest event type, in bytes.
pub const EVENT_TYPE_BYTES_MAX: usize = 128;
/// Longest actor, target, session or subject id, in bytes.
pub const ID_BYTES_MAX: usize = 1024;
/// Most subjects of one entry, the actor included.
pub const ENTRY_SUBJECTS_MAX: usize = 16;
/// Most subjects that one log knows. Beyond it, entries that name a new subject are refused; the others go on.
pub const SUBJECTS_MAX: usize = 1 << 20;
/// Bytes of entries that may wait to be written, unless set with [`Options::queue_bytes_max`](crate::Options::queue_bytes_max).
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Size at which a segment is followed by a new one, unless set with [`Options::segment_bytes`](crate::Options::segment_bytes).
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Zeros that are written ahead of the frames, so that a commit changes no file metadata.
pub const PREALLOCATED_BYTES: u64 = 4 << 20;
/// Longest signed note that is read.
pub const NOTE_BYTES_MAX: usize = 8 * 1024;
/// Fewest non-zero bytes in a sector that belongs to a frame.
pub(crate) const DENSE_BYTES_MIN: usize = 32;
