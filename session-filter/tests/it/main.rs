//! Behaviour of session-filter through its public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod access;
mod anomaly;
mod builtins;
mod check;
mod conditions;
#[cfg(feature = "conformance")]
mod conformance;
mod differential;
mod digest;
mod gate;
mod grammar;
mod lint;
mod model;
mod other_shells;
mod policy_text;
mod quoting;
mod record;
mod recording;
mod redaction;
mod scp;
#[cfg(feature = "screen")]
mod screen;
mod session_clock;
mod sftp;
#[cfg(feature = "ssh")]
mod shell;
mod sources;
#[cfg(feature = "ssh")]
mod ssh;
