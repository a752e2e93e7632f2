#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod batch;
pub mod event;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod schema;

pub use batch::Batch;
pub use event::{
    AccountLocked, AccountUnlocked, Detail, Event, EventType, LoginFailure, LoginSuccess, MfaFailure,
    Outcome, RecoveryAttempted,
};
pub use id::{ActorId, TenantId};
pub use metrics::LoginMetrics;
