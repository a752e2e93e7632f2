//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod batch;
mod detect;
mod event;
mod export;
#[cfg(feature = "http")]
mod http;
mod log;
mod metrics;
mod oracle;
#[cfg(feature = "redb")]
mod redb;
mod render;
mod respond;
mod risk;
mod rules;
mod schema;
