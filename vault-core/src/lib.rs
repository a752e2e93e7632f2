#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod audit;
#[cfg(feature = "conformance")]
pub mod conformance;
mod crypto;
pub mod id;
pub mod kind;
pub mod limits;
pub mod memory;
pub mod saga;
pub mod seal;
pub mod secret;
pub mod store;
pub mod vault;

pub use audit::{AuditError, AuditEvent, AuditSink, MemoryAudit};
pub use id::{ActorId, Caller, SecretPath, VaultId};
pub use kind::{Kind, Secret};
#[cfg(feature = "postgres")]
pub use saga::PostgresIssuer;
pub use saga::{Issuer, MemoryIssuer};
pub use seal::{Argon2Cost, KeyFile, KeyProvider, Passphrase, Shamir, Share};
pub use secret::SecretString;
#[cfg(feature = "redb")]
pub use store::RedbStore;
pub use store::{Effect, MemoryStore, Store, StoreError};
pub use vault::{Expected, Handle, SealedVault, Standing, Vault, VaultError, Write};
