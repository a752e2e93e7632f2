#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod account;
pub mod connector;
pub mod event;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
pub mod intended;
pub mod lane;
#[cfg(feature = "ldap")]
pub mod ldap;
pub mod replay;
#[cfg(any(feature = "http", feature = "sap"))]
pub mod transport;

pub use connector::{Confirmation, Connector, Connectors, Failure, FailureKind, Found, Operation};
pub use event::{Attribute, Event, Intent};
pub use id::{AccountId, ConnectorId, EntitlementId, EventId, PersonId};
