#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod account;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connector;
pub mod event;
pub mod evidence;
pub mod export;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
pub mod intended;
pub mod lane;
#[cfg(feature = "ldap")]
pub mod ldap;
pub mod observe;
pub mod offboarding;
pub mod outbox;
pub mod replay;
#[cfg(feature = "sap")]
pub mod sap;
pub mod store;
#[cfg(any(feature = "http", feature = "sap"))]
pub mod transport;

pub use connector::{
    Confirmation, Connector, Connectors, Failure, FailureKind, Found, MemoryConnector, Operation,
};
pub use event::{Attribute, Event, Intent};
pub use id::{AccountId, ConnectorId, EntitlementId, EventId, PersonId};
pub use outbox::{Options, Outbox};
#[cfg(feature = "redb")]
pub use store::RedbStore;
pub use store::{MemoryStore, OutboxStore};
