//! Named limits of the SFTP guard. They hold for each channel.

/// Longest packet in either direction, without its length field. OpenSSH's own limit is 256 KiB.
pub const PACKET_BYTES_MAX: usize = 256 * 1024 + 1024;
/// Most bytes that one `SSH_FXP_READ` asks the target for; a request for more is cut, as servers do.
pub const READ_BYTES_MAX: u32 = 255 * 1024;
/// Longest handle that a target may give.
pub const HANDLE_BYTES_MAX: usize = 256;
/// Open files and directories; `SSH_FXP_OPEN` and `SSH_FXP_OPENDIR` fail beyond.
pub const HANDLES_MAX: usize = 256;
/// Requests without an answer; further ones are not read from the client until answers have come.
pub const REQUESTS_MAX: usize = 1024;
/// Bytes, of all files together, that are kept because they came out of order. Beyond, a file has no hash.
pub const REORDER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How often one operation is checked again because the policy changed before it could be sent.
pub const RECHECKS_MAX: u32 = 3;
