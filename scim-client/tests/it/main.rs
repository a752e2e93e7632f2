//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod auth;
mod bulk;
mod client;
#[cfg(feature = "conformance")]
mod conformance;
mod dialects;
mod drift;
mod ensure;
mod errors;
mod fakes;
mod faults;
mod filter;
mod hostile;
mod judges;
mod listing;
mod mapping;
mod messages;
mod patch;
mod path;
mod resilience;
mod servers;
mod stub;
mod suite;
#[cfg(feature = "reqwest")]
mod tls;
