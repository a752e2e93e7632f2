//! The SSH engine: a proxy that refuses before anything runs.
//!
//! ```text
//!  ssh client ──▶ login ──▶ admission ──▶ session ─────────────────┐
//!                 Authenticator  Gatekeeper   │ every channel       │ watch: policy, clock,
//!                                             ▼                     │ registry, recorder
//!                          check ──▶ record (durable) ──▶ send ─────┴──▶ target
//!                          Gatekeeper  Recorder           exactly the checked bytes
//!                                                         Dialer, HostKeys, CredentialSource
//! ```
//!
//! One connection is one session: one user on one target. Whoever may enter several targets names one at login,
//! `ssh alice+web-1@proxy`, or is shown a menu of them on a terminal. Every `exec` request is checked, recorded and only then sent. Each
//! channel that runs has a connection to the target for itself, which is kept for the next one. Whatever else a client may ask for
//! (variables, subsystems, forwards, agent, X11) is refused and recorded, unless the policy opens that [`Door`](crate::Door): then it is
//! recorded first, counted, and closed when the policy no longer opens it.
//!
//! ```
//! use session_filter::record::MemoryRecorder;
//! use session_filter::ssh::{self, Inventory, NoAuthenticator, keys};
//! use session_filter::Policy;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let host_key = keys::PrivateKey::random(&mut keys::key::safe_rng(), keys::Algorithm::Ed25519)?;
//! # let (users, inventory, recorder) = (NoAuthenticator, Inventory::new(), MemoryRecorder::default());
//! # let policy = Policy::from_toml("")?;
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let shutdown = async {};
//! ssh::Proxy::builder(host_key)
//!     .authenticator(users)      // who is it
//!     .gatekeeper(policy)        // may they enter, from there, now; which commands
//!     .targets(inventory)        // where to, with which injected credential
//!     .recorder(recorder)        // nothing runs unrecorded
//!     .build()
//!     .serve_until(listener, shutdown)
//!     .await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! What is left out denies: without an authenticator nobody logs in, without a recorder nothing runs.
//!
//! # What a user sees
//!
//! | exit status | meaning |
//! |---|---|
//! | of the command | it ran; its own status or signal is passed on |
//! | [`EXIT_BLOCKED`] (126) | a rule is missing or the line is outside the grammar; standard error says which |
//! | [`EXIT_UNAVAILABLE`] (255) | not admitted, target not reached, session ended; standard error says why |
//! | [`EXIT_NO_SHELL`] (1) | a shell was asked for; standard output lists what may be run |
//!
//! # Cancellation
//!
//! Dropping the future of [`Proxy::serve`] drops the listener and every connection at once, without farewell and without records
//! of the end. Use [`Proxy::serve_until`] to stop.

mod algorithms;
mod anomalies;
mod asked;
mod channel;
mod command;
mod doors;
mod entry;
mod journal;
mod lanes;
mod limits;
mod link;
mod login;
mod managed;
mod menu;
mod notice;
mod proxy;
mod read_ahead;
mod relay;
mod scp;
mod server;
mod session;
mod sftp;
mod target;
mod terminal;
mod unrestricted;

pub(crate) use crate::text;
pub use asked::{EXIT_BLOCKED, EXIT_NO_SHELL, EXIT_UNAVAILABLE};
pub use limits::Limits;
pub use login::{Authenticator, CodeCheck, NoAuthenticator, SecondFactor};
pub use proxy::{Proxy, ProxyBuilder};
pub use russh::keys;
pub use target::{
    Connection, Credential, CredentialError, CredentialSource, Destination, Dialer, HostKeyError, HostKeys,
    Inventory, TargetResolver, TcpDialer,
};
