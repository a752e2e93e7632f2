#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod id;

pub use id::{ConnectorId, EntitlementId, PersonId};
