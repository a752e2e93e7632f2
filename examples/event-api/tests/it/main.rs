//! The binary as an outsider meets it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]
#![allow(unreachable_pub)]

mod config;
mod crash;
mod demo;
mod hostile;
mod judges;
mod page;
mod playbook;
mod retention;
mod stage;
mod verbs;
