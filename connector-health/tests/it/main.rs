//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod alert;
mod burst;
mod company;
#[cfg(all(feature = "conformance", feature = "redb"))]
mod conformance;
#[cfg(all(feature = "conformance", feature = "http", feature = "ldap", feature = "sap"))]
mod connectors;
mod day;
mod export;
mod given_up;
#[cfg(feature = "http")]
mod http;
mod id;
mod intake;
mod intended;
#[cfg(feature = "redb")]
mod killed;
#[cfg(feature = "ldap")]
mod ldap;
mod lifecycle;
mod limits;
#[cfg(feature = "redb")]
mod many;
#[cfg(feature = "metrics")]
mod metrics;
mod monitor;
mod mortal;
#[cfg(all(feature = "conformance", feature = "postgres"))]
mod postgres;
mod reconcile;
mod replay;
mod review;
#[cfg(feature = "sap")]
mod sap;
mod sod;
mod standstill;
mod unreadable;
mod unsettled;
mod watched;
mod workers;
