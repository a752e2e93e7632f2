//! Suites that implementors of [`Transport`], [`Authenticate`] and [`Credentials`] run over what they made. Each panics with what
//! is wrong.
//!
//! They are to be awaited within a tokio runtime whose clock runs. [`transport`] opens servers of its own on 127.0.0.1, which
//! refuse, hang, break off and answer nonsense; so it is for transports that connect to where the URI says, and says nothing
//! of [`MemoryTransport`](crate::transport::MemoryTransport), which connects to nowhere. What it cannot see: TLS, names,
//! proxies, HTTP/2, and how much memory is taken.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # use scim_client::transport::MemoryTransport as MyTransport;
//! # let my_transport = MyTransport::scripted([]);
//! scim_client::conformance::transport(&my_transport).await;
//! # }
//! ```
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite says by panicking what does not conform"
)]

use std::fmt::Debug;
use std::time::Duration;

use crate::auth::{Authenticate, Credentials};
use crate::clock::Clock;
use crate::transport::Transport;

mod answers;
mod auth;
mod failures;
mod requests;
mod server;

/// How long anything may take before it counts as never ending.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs every check of a transport. Takes some seconds at the most; nothing but loopback is connected to.
///
/// # Panics
/// With the promise of [`Transport`] that is not kept.
pub async fn transport(transport: &dyn Transport) {
    requests::check(transport).await;
    answers::check(transport).await;
    failures::check(transport).await;
}

/// Runs every check of a way to show a credential. `fresh` makes one that was not asked before; `transport` is what a token
/// endpoint is reached by, and has to give a new token each time; none of `secrets` may appear anywhere but in the header.
///
/// # Panics
/// With the promise of [`Authenticate`] that is not kept.
pub async fn authenticate<A: Authenticate + Debug>(
    fresh: impl Fn() -> A,
    transport: &dyn Transport,
    clock: &dyn Clock,
    secrets: &[&str],
) {
    auth::authenticate(&fresh, transport, clock, secrets).await;
}

/// Runs every check of a source of credentials, which must have one.
///
/// # Panics
/// With the promise of [`Credentials`] that is not kept.
pub async fn credentials(source: &dyn Credentials) {
    auth::credentials(source).await;
}

/// The result of what has to end.
async fn ends<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("does not end within {PATIENCE:?}: {what}"),
    }
}
