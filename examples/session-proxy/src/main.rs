//! An SSH proxy that checks, records and cuts privileged sessions.
//!
//! This binary is wiring: `session-filter` decides and relays, `audit-log` keeps the record. Each file beside this one holds
//! one concern; what would be worth reusing belongs in those crates instead.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a terminal")]

/// Says a line on standard error, in one write, so that lines of several threads do not mix.
macro_rules! say {
    ($($text:tt)*) => {{
        let line = format!("session-proxy: {}\n", format_args!($($text)*));
        // Nobody reads it any more: that is no reason to stop.
        let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
    }};
}
pub(crate) use say;

mod anomalies;
mod codes;
mod config;
mod control;
mod demo;
mod door;
mod events;
mod files;
mod limits;
mod logins;
mod operators;
mod recorder;
mod serve;
mod sessions;
mod users;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The system's allocator gives memory back to the system between packets and asks for it again: a sixth of what a bulk transfer costs.
/// This one asks for huge pages, which [`keep_pages_small`] does not let it have.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An SSH proxy that refuses before anything runs, and records what did.
///
/// Users connect with any SSH client to this proxy; the proxy connects to the target with a credential that they never see.
/// Each command is checked against a policy, recorded durably, and only then sent.
#[derive(Parser)]
#[command(name = "session-proxy", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Examples:
  session-proxy demo                                   see it work, nothing to set up
  session-proxy check --config proxy.toml              what is wrong with these files?
  session-proxy serve --config proxy.toml              the real thing
  ssh -p 2222 alice@proxy 'systemctl status nginx'     as a user, with one target
  ssh -p 2222 alice+web-1@proxy 'df -h'                as a user, naming the target
  ssh -t -p 2222 maria@proxy                           as a user with a prompt, where the policy says `managed`
  session-proxy sessions list --socket DIR/control.sock
  session-proxy sessions watch ID --socket DIR/control.sock
  auditor --data-dir DIR search nginx                  find it again";

#[derive(Subcommand)]
enum Verb {
    /// Start everything on loopback, show the main job happening, and keep serving.
    ///
    /// Brings its own SSH target, which runs what it is sent with your shell and your rights, and accepts only keys of this run.
    Demo {
        /// Where to keep the log, keys, policy and users; stays when the demo ends.
        #[arg(long, value_name = "DIR", default_value = "session-proxy-demo")]
        data_dir: PathBuf,
        /// Print one line of JSON on standard output when ready, log to standard error.
        #[arg(long)]
        json: bool,
    },
    /// Serve until told to stop (SIGTERM or SIGINT ends all sessions with a reason).
    Serve {
        /// Settings; `session-proxy example-config` prints one to start from.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say what is wrong with a configuration, with places, and start nothing.
    Check {
        /// Settings, as for `serve`.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a commented configuration, users file and policy to start from.
    ExampleConfig,
    /// Read a password from standard input and print its Argon2id hash for the users file.
    HashPassword,
    /// Make the secret of a user's one-time codes, and print it once, for their authenticator app.
    ///
    /// Codes are asked for where the users file says `second_factor = "totp"`. May be done while the proxy runs.
    EnrollTotp {
        /// Settings, as for `serve`.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Make a new secret for somebody who has one already; the old one ends.
        #[arg(long)]
        replace: bool,
        /// As in the users file.
        name: String,
    },
    /// List, watch or end the sessions of a running proxy, through its control socket.
    ///
    /// Who asks is known by the account that asks, and needs the role of the act (`[[operator]]` in the settings). Each act, and each
    /// refusal, is recorded.
    Sessions {
        /// The control socket of the running proxy.
        #[arg(long, value_name = "PATH", global = true, default_value = "session-proxy-demo/control.sock")]
        socket: PathBuf,
        /// Print JSON.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        act: Act,
    },
}

#[derive(Subcommand)]
enum Act {
    /// Who is in, on what, since when, and what runs right now.
    List,
    /// See what a session's terminal shows, as it is now and as it changes. `q` or Ctrl-C leaves; the session is not touched.
    Watch {
        /// The session's id, as `list` prints it.
        session_id: String,
        /// The terminal to stay with, by its recording as `list` prints it; without it, the one that was active last.
        #[arg(long, value_name = "RECORDING")]
        terminal: Option<String>,
    },
    /// End a session. Its user sees the reason; the record says who ended it.
    Terminate {
        /// The session's id, as `list` prints it.
        session_id: String,
        /// What the user is told.
        #[arg(long, default_value = "ended by an administrator")]
        reason: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    keep_pages_small();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::say!("cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let result = runtime.block_on(async {
        match cli.verb {
            Verb::Demo { data_dir, json } => demo::run(data_dir, json).await,
            Verb::Serve { config } => serve::run(&config).await,
            Verb::Check { config, json } => return serve::check(&config, json),
            Verb::ExampleConfig => {
                print!("{}", config::EXAMPLE);
                Ok(())
            }
            Verb::HashPassword => users::hash_from_stdin(),
            Verb::EnrollTotp { config, replace, name } => codes::enroll(&config, &name, replace),
            Verb::Sessions { socket, json, act: Act::List } => sessions::list(&socket, json).await,
            Verb::Sessions { socket, json, act: Act::Watch { session_id, terminal } } => {
                watch::run(&socket, json, session_id, terminal).await
            }
            Verb::Sessions { socket, json, act: Act::Terminate { session_id, reason } } => {
                sessions::terminate(&socket, json, session_id, reason).await
            }
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // Tasks that still hold a dead peer's connection are not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result.unwrap_or_else(|error| {
        crate::say!("{error}");
        ExitCode::FAILURE
    })
}

/// Gives up huge pages, which the allocator asks for: a page of 2 MiB is in memory whole as soon as one byte of it is used, and of what a
/// quiet session holds a quarter is room that is never written to.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    // Where it is not permitted, sessions take a third more memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Why a verb failed, as the person at the terminal reads it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// `what`: `error`.
    pub(crate) fn because<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self(format!("{what}: {error}"))
    }
}
