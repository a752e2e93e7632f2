//! Behaviour of the log through its public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod alteration;
#[cfg(feature = "conformance")]
mod conformance;
mod crash;
mod keys;
mod live;
mod logs;
mod properties;
mod python_reader;
mod round_trip;
mod simulated;
mod sinks;
mod torn;
mod tree;
