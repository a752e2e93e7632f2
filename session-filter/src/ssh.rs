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
//! One connection is one session: one user on one target. Whoever may enter several targets names one at login:
//! `ssh alice+web-1@proxy`. Every `exec` request is checked, recorded and only then sent, on one connection to the target that
//! is made at the first command and lasts as long as the session. Everything else that a client may ask for is refused and
//! recorded: shells, terminals, environment variables, subsystems, forwards, agent and X11.

mod algorithms;
mod command;
mod journal;
mod limits;
mod link;
mod login;
mod proxy;
mod relay;
mod server;
mod session;
mod target;
mod text;

pub use command::{EXIT_BLOCKED, EXIT_NO_SHELL, EXIT_UNAVAILABLE};
pub use limits::Limits;
pub use login::{Authenticator, NoAuthenticator};
pub use proxy::{Proxy, ProxyBuilder};
pub use russh::keys;
pub use target::{
    Connection, Credential, CredentialError, CredentialSource, Destination, Dialer, HostKeyError, HostKeys,
    Inventory, TargetResolver, TcpDialer,
};
