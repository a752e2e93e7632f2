#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod anomaly;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod digest;
pub mod directory;
pub mod door;
pub mod event;
pub mod facts;
pub mod gate;
pub mod grammar;
pub mod identity;
pub mod limits;
#[cfg(feature = "ssh")]
pub mod marks;
pub mod policy;
pub mod quote;
pub mod record;
pub mod recording;
pub mod registry;
pub mod scp;
#[cfg(feature = "screen")]
pub mod screen;
pub mod sftp;
#[cfg(feature = "ssh")]
pub mod shell;
pub mod source;
#[cfg(feature = "ssh")]
pub mod ssh;
#[cfg(feature = "screen")]
mod text;
#[cfg(feature = "totp")]
pub mod totp;
pub mod verdict;

pub use anomaly::{Anomaly, AnomalyDetector, Baseline};
pub use clock::{ClockEvent, SessionClock, SessionLimits};
pub use digest::{StreamDigest, StreamSummary};
pub use directory::{AbsolutePath, Directory};
pub use door::{Door, FileAccess};
pub use facts::{FactSource, Facts, NoFacts};
pub use gate::{Admission, Decision, DenyAll, Gatekeeper, PolicyGate, SessionRequest};
pub use identity::{Target, User};
pub use policy::{Grant, Mode, Policy, PolicyError, Redacted};
pub use source::{FilePolicy, PolicySource, SharedPolicy, StaticPolicy};
pub use verdict::{Denial, OutputRecord, Permit, Refusal, Verdict};
