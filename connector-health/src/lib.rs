#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod account;
pub mod alert;
mod cell;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connector;
pub mod event;
pub mod evidence;
pub mod export;
pub mod fleet;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
pub mod intended;
pub mod lane;
#[cfg(feature = "ldap")]
pub mod ldap;
pub mod lifecycle;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod mistake;
pub mod monitor;
pub mod observe;
pub mod offboarding;
pub mod outbox;
pub mod reconcile;
pub mod replay;
pub mod review;
#[cfg(feature = "sap")]
pub mod sap;
pub mod sod;
pub mod store;
#[cfg(any(feature = "http", feature = "sap"))]
pub mod transport;

pub use connector::{
    Confirmation, Connector, Connectors, Failure, FailureKind, Found, MemoryConnector, Operation,
};
pub use event::{Attribute, Event, Intent};
pub use fleet::Fleet;
pub use id::{
    AccountId, CampaignId, ConnectorId, EntitlementId, EventId, FunctionId, PersonId, Right, RiskId,
};
pub use monitor::{Monitor, Observation, Thresholds, Tier};
pub use outbox::{Options, Outbox};
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
#[cfg(feature = "redb")]
pub use store::RedbStore;
pub use store::{MemoryStore, OutboxStore};
