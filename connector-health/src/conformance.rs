//! Suites that implementors of [`Connector`](crate::Connector) and [`OutboxStore`](crate::OutboxStore) run over what they made. Each
//! panics with what is wrong.
//!
//! What a suite cannot see is whether something is durable; cut the power for that.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite says by panicking what does not conform"
)]

mod connector;
mod store;

pub use connector::{Loss, Renaming, Seen, Subject, connector};
pub use store::store;
