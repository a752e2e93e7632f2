//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod alert;
mod company;
mod id;
mod intended;
mod lifecycle;
#[cfg(feature = "metrics")]
mod metrics;
mod monitor;
mod reconcile;
mod replay;
mod review;
mod sod;
