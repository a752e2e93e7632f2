//! x
mod redact;
pub use redact::{SAMPLE_BYTES_MAX, redact};
