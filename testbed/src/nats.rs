//! A real message server with streams on disk: NATS with JetStream.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::authority::{CA_CERT, CERT, KEY_FILE, make_certificates};
use crate::process::{Running, poll_until};
use crate::{Error, Program, free_port};

/// What a test may change about a [`NatsServer`].
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    config: Vec<String>,
    has_tls: bool,
}

impl NatsOptions {
    /// A server as [`NatsServer`] describes it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line to its configuration: `max_payload: 4096`, `authorization { user: …, password: … }`.
    #[must_use]
    pub fn config_line(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Demands TLS, with a certificate for `localhost` and 127.0.0.1 out of its own authority.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.has_tls = true;
        self
    }
}

/// A real `nats-server` on a free port of 127.0.0.1, with JetStream and files of its own. Everybody may do everything, where the
/// configuration does not say otherwise.
///
/// Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct NatsServer {
    program: Program,
    running: Option<Running>,
    port: u16,
    options: NatsOptions,
    dir: TempDir,
}

impl NatsServer {
    /// Starts it and waits until it takes clients.
    ///
    /// # Errors
    /// [`Error::Needs`] without `nats-server`, or without `openssl` where TLS is asked for; [`Error::NotStarted`] with its log when it
    /// refuses its configuration or does not listen within half a minute.
    pub fn start(options: NatsOptions) -> Result<Self, Error> {
        let program = Program::find("nats-server", "nats-server")?;
        let dir = tempfile::Builder::new().prefix("testbed-nats-").tempdir();
        let dir = dir.map_err(Error::io("create", "/tmp"))?;
        if options.has_tls {
            make_certificates(dir.path())?;
        }
        let mut server = Self { program, running: None, port: 0, options, dir };
        for _ in 0..PORT_TRIES {
            server.port = free_port()?;
            match server.restart() {
                // Somebody else took the port between our look and its bind.
                Err(Error::NotStarted { log, .. }) if log.contains("address already in use") => {}
                started => return started.map(|()| server),
            }
        }
        Err(server.not_started("no port was free", String::new()))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How clients name it.
    pub fn url(&self) -> String {
        let scheme = if self.options.has_tls { "tls" } else { "nats" };
        format!("{scheme}://localhost:{}", self.port)
    }

    /// The process id of the server while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// What it has logged since it was last started.
    pub fn log(&self) -> String {
        self.running
            .as_ref()
            .map(|running| String::from_utf8_lossy(&running.stderr()).into_owned())
            .unwrap_or_default()
    }

    /// The file with the certificate of the authority that its own comes from, where it was started with [`NatsOptions::tls`].
    pub fn ca_path(&self) -> std::path::PathBuf {
        self.dir.path().join(CA_CERT)
    }

    /// Where it keeps its streams.
    pub fn store_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// Kills it at once, as the kernel would. Its files stay.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            // However it ended, it has ended.
            let _ = running.kill();
        }
    }

    /// Starts it again on the same port with the same files, and waits until it takes clients. Kills it first where it runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with its log when it does not listen within half a minute.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        let path = self.dir.path().join(CONFIG);
        fs::write(&path, self.config()).map_err(Error::io("write", &path))?;
        let mut command = self.program.command();
        command.arg("-c").arg(&path);
        let mut running = Running::spawn(command)?;
        let outcome = poll_until(Instant::now() + START_LIMIT, || {
            let is_ready = String::from_utf8_lossy(&running.stderr()).contains("Server is ready");
            if is_ready && TcpStream::connect(self.addr()).is_ok() {
                return Some(None);
            }
            running.has_ended().ok().filter(|ended| *ended).map(|_| Some("it ended"))
        });
        let reason = match outcome {
            Some(None) => {
                self.running = Some(running);
                return Ok(());
            }
            Some(Some(reason)) => reason,
            None => "it did not listen in time",
        };
        let log = String::from_utf8_lossy(&running.stderr()).into_owned();
        Err(self.not_started(reason, log))
    }

    fn config(&self) -> String {
        let dir = Path::display(self.dir.path());
        let mut config = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{dir}/store\", max_mem: 64MB, max_file: 4GB }}\n",
            self.port
        );
        if self.options.has_tls {
            config += &format!(
                "tls {{ cert_file: \"{dir}/{CERT}\", key_file: \"{dir}/{KEY_FILE}\", timeout: 10 }}\n"
            );
        }
        config + &self.options.config.join("\n") + "\n"
    }

    fn not_started(&self, reason: &str, log: String) -> Error {
        Error::NotStarted {
            program: self.program.path().display().to_string(),
            reason: reason.to_owned(),
            log,
        }
    }
}

const CONFIG: &str = "nats.conf";
const PORT_TRIES: usize = 5;
const START_LIMIT: Duration = Duration::from_secs(30);
