//! Real servers on free loopback ports, in temporary directories, gone when dropped.
//!
//! An unpublished development aid: it knows none of the library crates beside it, so any of them may use it
//! in its tests. Everything here blocks; call it from a blocking thread where a test is asynchronous.
//!
//! ```no_run
//! use testbed::{Ssh, Sshd, SshdOptions};
//!
//! # fn main() -> Result<(), testbed::Error> {
//! let server = Sshd::start(SshdOptions::new())?;
//! let output = Ssh::new(server.port())
//!     .user(server.user())
//!     .key(server.client_key_path())
//!     .host_key(server.host_public_key())
//!     .run("echo hello")?;
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok(())
//! # }
//! ```
//!
//! What it starts, it ends: a dropped [`Sshd`] takes every process with it that grew out of it, and a dropped or
//! overdue client takes its process group with it. Only processes that this crate started are ever signalled.
//!
//! [`ScimServer`] starts real SCIM servers out of environments that `cargo xtask test` makes from lock files ([`Toolbox`]);
//! [`fault::FaultProxy`] stands before any HTTP server, fails as its script says and knows what really happened. [`Slapd`] is a
//! real directory, [`Postgres`] a real database, [`SyslogServer`] a real log service, [`NatsServer`] a real message server; [`TcpRelay`] loses the answers of any server.
//!
//! A test that needs an installed program is `#[ignore = "needs sshd: cargo xtask test"]`; without the program the
//! constructors return [`Error::Needs`], which names the Debian package.

mod authority;
mod error;
pub mod fault;
pub mod http;
mod listener;
mod nats;
mod port;
mod postgres;
mod process;
mod program;
mod scim;
mod security_key;
mod slapd;
mod ssh;
mod sshd;
mod stub;
mod sweep;
mod syslog;
mod tcp;
mod toolbox;

pub use error::{Error, Needs};
pub use nats::{NatsOptions, NatsServer};
pub use port::free_port;
pub use postgres::{Postgres, PostgresOptions};
pub use process::{Output, Running};
pub use program::{Program, run};
pub use scim::ScimServer;
pub use security_key::{SecurityKeys, Touch};
pub use slapd::{Slapd, SlapdOptions};
pub use ssh::{Master, Ssh, SshProgram};
pub use sshd::{Sshd, SshdOptions};
pub use stub::Stub;
pub use syslog::{SyslogProgram, SyslogServer};
pub use tcp::{Loss, TcpRelay};
pub use toolbox::{Environment, Toolbox};
