//! The built `auditor` on logs made by the library: whole, altered, cut, live, hostile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    missing_docs,
    unreachable_pub
)]

mod agreement;
mod arguments;
mod hostile;
mod made;
mod play;
mod search;
mod show;
mod verify;
