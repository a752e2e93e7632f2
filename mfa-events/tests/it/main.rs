//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod batch;
mod event;
mod log;
mod metrics;
#[cfg(feature = "redb")]
mod redb;
mod schema;
