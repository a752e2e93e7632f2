#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod alert;
pub mod id;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod monitor;

pub use id::{ConnectorId, EntitlementId, PersonId};
pub use monitor::{Monitor, Observation, Thresholds, Tier};
