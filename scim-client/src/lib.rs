#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod asserted;
pub mod auth;
pub mod client;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dialect;
pub mod drift;
pub mod ensure;
pub mod error;
pub mod filter;
pub mod mapping;
pub mod message;
pub mod patch;
pub mod path;
pub mod read;
mod request;
pub mod resilience;
pub mod resource;
mod response;
pub mod trace;
pub mod transport;
pub mod urn;

pub use asserted::Asserted;
pub use client::{Client, Endpoint};
pub use dialect::Dialect;
pub use error::{Advice, Error, ErrorKind};

/// For [`attributes!`].
#[doc(hidden)]
pub mod __private {
    pub use serde;
}
