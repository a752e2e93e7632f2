//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod batch;
mod detect;
mod detect_hostile;
mod detect_replay;
#[cfg(feature = "http")]
mod durable_streams;
mod event;
mod export;
mod hooked;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_idle;
#[cfg(feature = "http")]
mod http_limits;
#[cfg(feature = "http")]
mod http_reads;
#[cfg(feature = "jetstream")]
mod jetstream;
#[cfg(feature = "jetstream")]
mod jetstream_message;
mod log;
mod metrics;
mod metrics_current;
#[cfg(all(feature = "http", feature = "set"))]
mod openapi;
mod oracle;
#[cfg(feature = "redb")]
mod redb;
#[cfg(all(feature = "http", feature = "redb"))]
mod redb_full;
mod render;
mod respond;
mod retention;
mod risk;
mod rules;
mod schema;
#[cfg(feature = "set")]
mod set;
#[cfg(all(feature = "http", feature = "set"))]
mod set_poll;
#[cfg(all(feature = "export-http", feature = "set"))]
mod set_push;
