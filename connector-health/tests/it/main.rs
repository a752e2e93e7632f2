//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod alert;
mod company;
#[cfg(all(feature = "conformance", feature = "redb"))]
mod conformance;
mod export;
mod id;
mod intake;
mod intended;
#[cfg(feature = "redb")]
mod killed;
mod lifecycle;
#[cfg(feature = "redb")]
mod many;
#[cfg(feature = "metrics")]
mod metrics;
mod monitor;
mod reconcile;
mod replay;
mod review;
mod sod;
