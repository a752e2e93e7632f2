//! Where the policy in force comes from, and how those who depend on it hear that it changed.

mod file;
mod signal;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

pub use file::{FileError, FileEvent, FilePolicy};
use signal::Signal;

use crate::Policy;

/// Where the policy in force comes from.
///
/// Implementors promise:
/// * `policy` answers at once (it is asked for every command) and never fails: when the place that policies come
///   from cannot be reached, the last good one stays in force, or one that denies, as the implementor documents.
/// * `version` grows with every change, and is read *before* the policy that it belongs to could be used.
/// * `changed` is cancellation safe: dropping its future loses nothing.
///
/// A stale answer means that someone who was removed can go on.
#[async_trait]
pub trait PolicySource: Send + Sync {
    /// The policy in force now.
    fn policy(&self) -> Arc<Policy>;

    /// Counts changes of the policy in force.
    fn version(&self) -> u64;

    /// Resolves with the version in force once it differs from `seen`; at once if it already does.
    async fn changed(&self, seen: u64) -> u64;
}

/// One policy for ever.
#[derive(Debug)]
pub struct StaticPolicy(Arc<Policy>);

impl StaticPolicy {
    /// Keeps `policy` in force.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(policy))
    }
}

#[async_trait]
impl PolicySource for StaticPolicy {
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0)
    }

    fn version(&self) -> u64 {
        0
    }

    async fn changed(&self, seen: u64) -> u64 {
        if seen != 0 {
            return 0;
        }
        std::future::pending().await
    }
}

/// A policy in memory that can be replaced while sessions run.
#[derive(Debug)]
pub struct SharedPolicy {
    policy: RwLock<Arc<Policy>>,
    signal: Signal,
}

impl SharedPolicy {
    /// Starts with `policy` in force, at version 0.
    pub fn new(policy: Policy) -> Self {
        Self { policy: RwLock::new(Arc::new(policy)), signal: Signal::new() }
    }

    /// Puts `policy` in force for the next command of every session.
    pub fn set(&self, policy: Policy) {
        // A poisoned lock means that another thread panicked while holding it; the value is replaced whole anyway.
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.signal.raise();
    }
}

#[async_trait]
impl PolicySource for SharedPolicy {
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn version(&self) -> u64 {
        self.signal.version()
    }

    async fn changed(&self, seen: u64) -> u64 {
        self.signal.changed(seen).await
    }
}
