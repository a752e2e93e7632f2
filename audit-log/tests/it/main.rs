//! Behaviour of the log through its public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod alteration;
mod crash;
mod logs;
mod python_reader;
mod round_trip;
mod simulated;
