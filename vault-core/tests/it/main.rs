//! Behaviour through the public API. Time is an argument; nothing here waits for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod audit;
#[cfg(feature = "conformance")]
mod conformance;
mod credentials;
mod data_keys;
mod faults;
mod fixture;
mod handles;
mod hostile;
#[cfg(all(feature = "conformance", feature = "postgres"))]
mod postgres;
#[cfg(feature = "redb")]
mod redb;
mod restored;
mod saga;
mod seal;
mod secrets;
mod shares;
mod silence;
