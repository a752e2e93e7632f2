#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connector;
pub mod event;
pub mod evidence;
pub mod export;
pub mod id;
pub mod intended;
pub mod lane;
pub mod observe;
pub mod offboarding;
pub mod outbox;
pub mod replay;
pub mod store;

pub use connector::{
    Confirmation, Connector, Connectors, Failure, FailureKind, Found, MemoryConnector, Operation,
};
pub use event::{Attribute, Event, Intent};
pub use id::{AccountId, ConnectorId, EntitlementId, EventId, PersonId};
pub use outbox::{Options, Outbox};
#[cfg(feature = "redb")]
pub use store::RedbStore;
pub use store::{MemoryStore, OutboxStore};
