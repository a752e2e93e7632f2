#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod batch;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "http")]
pub mod cursor;
pub mod detect;
pub mod event;
pub mod export;
pub mod follow;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
pub mod limits;
pub mod log;
pub mod metrics;
#[cfg(any(feature = "export-http", feature = "webhook"))]
pub mod outlet;
pub mod render;
pub mod respond;
pub mod retention;
pub mod risk;
pub mod schema;
#[cfg(feature = "set")]
pub mod set;
pub mod store;

pub use batch::Batch;
pub use detect::{Alert, Detector, Rule, Rules};
pub use event::{
    AccountLocked, AccountUnlocked, Detail, Event, EventType, LoginFailure, LoginSuccess, MfaFailure,
    Outcome, RecoveryAttempted,
};
pub use follow::Follow;
pub use id::{ActorId, TenantId};
pub use log::EventLog;
pub use metrics::{CurrentMetrics, LoginMetrics};
#[cfg(feature = "jetstream")]
pub use store::JetStreamStore;
#[cfg(feature = "redb")]
pub use store::RedbStore;
pub use store::{Appended, EventStore, MemoryStore, Offset};
