//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod alert;
mod company;
mod id;
mod intended;
#[cfg(feature = "metrics")]
mod metrics;
mod monitor;
mod replay;
