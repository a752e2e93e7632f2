#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod cell;
pub mod id;
pub mod lifecycle;
pub mod mistake;
pub mod reconcile;
pub mod review;
pub mod sod;

pub use id::{CampaignId, ConnectorId, EntitlementId, FunctionId, PersonId, Right, RiskId};
