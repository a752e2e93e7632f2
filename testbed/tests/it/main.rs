//! The testbed against the real programs it wraps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod processes;
mod programs;
mod security_keys;
mod sshd;
