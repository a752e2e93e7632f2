//! Behaviour through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod company;
#[cfg(all(feature = "conformance", feature = "http", feature = "ldap", feature = "sap"))]
mod conformance;
#[cfg(feature = "http")]
mod http;
mod id;
mod intended;
#[cfg(feature = "ldap")]
mod ldap;
mod replay;
#[cfg(feature = "sap")]
mod sap;
