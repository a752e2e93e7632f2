//! The testbed against the real programs it wraps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod fault;
mod nats;
mod postgres;
mod processes;
mod programs;
mod scim;
mod security_keys;
mod slapd;
mod sshd;
mod syslog;
