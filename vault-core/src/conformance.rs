//! Suites that implementors of [`Store`](crate::Store), [`KeyProvider`](crate::KeyProvider), [`AuditSink`](crate::AuditSink) and
//! [`Issuer`](crate::Issuer) run over what they made.
//! Each panics with what is wrong.
//!
//! What a suite cannot see is whether something is durable; cut the power for that.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite says by panicking what does not conform"
)]

mod audit;
mod issuer;
mod keys;
mod store;

pub use audit::audit;
pub use issuer::{issuer, rotating};
pub use keys::keys;
pub use store::store;
