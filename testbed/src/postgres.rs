//! A real database: PostgreSQL.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::authority::{CA_CERT, CERT, KEY_FILE, make_certificates};
use crate::process::{kill_group, pid_of, poll_until, read_text};
use crate::sweep::kill_descendants;
use crate::{Error, Needs, Running, free_port};

/// What a test may change about a [`Postgres`].
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    config: Vec<String>,
    hba: Vec<String>,
    is_durable: bool,
    has_tls: bool,
}

impl PostgresOptions {
    /// A server as [`Postgres`] describes it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line to `postgresql.conf`; of several for one setting, the last counts.
    #[must_use]
    pub fn config_line(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Adds a line to `pg_hba.conf` before the usual ones: the first that fits counts.
    #[must_use]
    pub fn hba_line(mut self, line: impl Into<String>) -> Self {
        self.hba.push(line.into());
        self
    }

    /// Waits for the disk at each commit, as a server in use does. Without it, a server that is killed still keeps everything; a
    /// machine that loses power does not.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// Speaks TLS to whoever asks for it, with a certificate for `localhost` and 127.0.0.1 out of its own authority. A line
    /// `hostnossl all all all reject` ([`hba_line`](Self::hba_line)) demands it.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.has_tls = true;
        self
    }
}

/// A real PostgreSQL server on a free port of 127.0.0.1 and on a Unix socket, with data of its own. [`USER`](Self::USER) is its superuser;
/// everybody logs in with SCRAM-SHA-256. Databases are UTF-8 with the collation `C`.
///
/// The server refuses to run as root: started by root, it runs as `postgres`, whom the package makes, or else as `nobody`.
///
/// Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    port: u16,
    bin: PathBuf,
    owner: Option<Owner>,
    databases: AtomicU32,
    dir: TempDir,
}

/// Whom the server runs as, where that is somebody else.
#[derive(Debug, Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Who may do everything.
    pub const USER: &'static str = "testbed";
    /// The password of [`USER`](Self::USER).
    pub const PASSWORD: &'static str = "testbed-password";
    /// A database that is there from the beginning.
    pub const DATABASE: &'static str = "postgres";

    /// Makes an empty server, starts it and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Needs`] without PostgreSQL, or without `openssl` where TLS is asked for; [`Error::Failed`] where its data cannot be
    /// made; [`Error::NotStarted`] with its log when it refuses its configuration or does not answer within a minute.
    pub fn start(options: PostgresOptions) -> Result<Self, Error> {
        let bin = newest()?;
        let dir = tempfile::Builder::new().prefix("testbed-postgres-").tempdir();
        let dir = dir.map_err(Error::io("create", "/tmp"))?;
        let owner = owner(dir.path())?;
        if options.has_tls {
            make_certificates(dir.path())?;
            let key = dir.path().join(KEY_FILE);
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).map_err(Error::io("guard", &key))?;
        }
        let mut server = Self { child: None, port: 0, bin, owner, databases: AtomicU32::new(0), dir };
        server.make_data()?;
        server.write_config(&options)?;
        for _ in 0..PORT_TRIES {
            server.port = free_port()?;
            match server.restart() {
                // Somebody else took the port between our look and its bind.
                Err(Error::NotStarted { log, .. }) if log.contains("Address already in use") => {}
                started => return started.map(|()| server),
            }
        }
        Err(server.not_started("no port was free".to_owned()))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How [`USER`](Self::USER) gets at a database, password included.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}:{}@{}/{database}", Self::USER, Self::PASSWORD, self.addr())
    }

    /// The directory that holds its Unix socket and files; whatever a test puts there goes with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate of the authority that its own comes from, as PEM.
    ///
    /// # Errors
    /// When it cannot be read, or when the server was started without [`PostgresOptions::tls`].
    pub fn ca_pem(&self) -> Result<String, Error> {
        let path = self.dir.path().join(CA_CERT);
        fs::read_to_string(&path).map_err(Error::io("read", path))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        read_text(&self.dir.path().join(LOG))
    }

    /// The process id of the server while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Makes an empty database that no other test has, and answers its name.
    ///
    /// # Errors
    /// As [`sql`](Self::sql).
    pub fn create_database(&self) -> Result<String, Error> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(Self::DATABASE, &format!("CREATE DATABASE {name}")).map(|_| name)
    }

    /// Has its own client run SQL as [`USER`](Self::USER), as somebody else would: rows are lines, columns are parted by `|`. Stops at
    /// the first error.
    ///
    /// # Errors
    /// [`Error::Failed`] with what the server said where it refuses; [`Error::TimedOut`] after a minute.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let mut command = Command::new(self.bin.join("psql"));
        command.env("PGPASSWORD", Self::PASSWORD).env("PGCONNECT_TIMEOUT", "10");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", database]);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", Self::USER]);
        finish("psql", command, sql)
    }

    /// Kills it and all of its processes at once, as a power cut or the kernel would. Its data stays; [`restart`](Self::restart) has it
    /// recover.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its processes have process groups of their own.
            kill_descendants(child.id());
            kill_group(&child);
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port with the same data, and waits until it answers. Ends it first where it runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with its log when it does not answer within a minute.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop();
        let path = self.dir.path().join(LOG);
        let log = fs::File::options().create(true).append(true).open(&path);
        let log = log.map_err(Error::io("open", &path))?;
        let logged = self.log().len();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        self.child = Some(command.spawn().map_err(Error::io("run", self.bin.join("postgres")))?);
        let outcome = poll_until(Instant::now() + START_LIMIT, || {
            let said = self.log().get(logged..).unwrap_or_default().to_owned();
            let listens = || TcpStream::connect(self.addr()).is_ok();
            if said.contains("database system is ready to accept connections") && listens() {
                return Some(Ok(()));
            }
            match self.child.as_mut()?.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(Err(format!("it ended with {status}"))),
                Err(error) => Some(Err(error.to_string())),
            }
        });
        match outcome.unwrap_or_else(|| Err(format!("it did not answer within {START_LIMIT:?}"))) {
            Ok(()) => Ok(()),
            Err(reason) => {
                let error = self.not_started(reason);
                self.kill();
                Err(error)
            }
        }
    }

    /// Ends it without waiting for its clients.
    fn stop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            if let Some(pid) = pid_of(child.id()) {
                // An immediate shutdown: its processes end with it, and the memory that they share is given back.
                let _ = kill_process(pid, Signal::QUIT);
            }
            let ended = poll_until(Instant::now() + STOP_LIMIT, || child.try_wait().ok()?.map(drop));
            if ended.is_some() {
                self.child = None;
            }
        }
        self.kill();
    }

    /// A server that was killed leaves a segment of shared memory behind, whose number is in its file.
    fn give_memory_back(&self) {
        let file = read_text(&self.data().join("postmaster.pid"));
        if let Some(id) = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            let mut command = Command::new("ipcrm");
            command.args(["-m", id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let _ = command.status();
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.dir.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        if let Some(Owner { user, group }) = self.owner {
            command.gid(group).uid(user);
        }
        command
    }

    fn make_data(&self) -> Result<(), Error> {
        let password = self.dir.path().join("password");
        fs::write(&password, Self::PASSWORD).map_err(Error::io("write", &password))?;
        self.give_to_owner(&[&password, self.dir.path()])?;
        let mut command = self.command("initdb");
        command.args(["-D".as_ref(), self.data().as_os_str()]);
        command.args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"]);
        command.args(["--auth=scram-sha-256", "-U", Self::USER, "--pwfile"]).arg(&password);
        finish("initdb", command, "").map(drop)
    }

    fn write_config(&self, options: &PostgresOptions) -> Result<(), Error> {
        let dir = self.dir.path().display();
        let durable = if options.is_durable { "on" } else { "off" };
        let mut config = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{dir}'\nfsync = {durable}\n\
             log_destination = 'stderr'\nlogging_collector = off\nmax_connections = 200\ntimezone = 'UTC'\n"
        );
        if options.has_tls {
            config += &format!(
                "ssl = on\nssl_cert_file = '{dir}/{CERT}'\nssl_key_file = '{dir}/{KEY_FILE}'\nssl_ca_file = '{dir}/{CA_CERT}'\n"
            );
            let files = [CERT, KEY_FILE, CA_CERT].map(|name| self.dir.path().join(name));
            self.give_to_owner(&files)?;
        }
        config += &(options.config.join("\n") + "\n");
        let mut hba = options.hba.join("\n");
        hba += "\nlocal all,replication all scram-sha-256\nhost all,replication all 127.0.0.1/32 scram-sha-256\n";
        for (name, text) in [("postgresql.conf", config), ("pg_hba.conf", hba)] {
            let path = self.data().join(name);
            fs::write(&path, text).map_err(Error::io("write", path))?;
        }
        Ok(())
    }

    fn give_to_owner(&self, paths: &[impl AsRef<Path>]) -> Result<(), Error> {
        let Some(Owner { user, group }) = self.owner else { return Ok(()) };
        for path in paths {
            chown(path, Some(user), Some(group)).map_err(Error::io("give away", path.as_ref()))?;
        }
        Ok(())
    }

    fn not_started(&self, reason: String) -> Error {
        Error::NotStarted { program: "postgres".into(), reason, log: self.log() }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        self.give_memory_back();
    }
}

/// Whom a server runs as that is made in `dir`: somebody else only where this is root.
fn owner(dir: &Path) -> Result<Option<Owner>, Error> {
    use std::os::unix::fs::MetadataExt;
    let made = dir.metadata().map_err(Error::io("look at", dir))?;
    if made.uid() != 0 {
        return Ok(None);
    }
    let users = read_text(Path::new("/etc/passwd"));
    let find = |name: &str| {
        let fields: Vec<_> = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).collect();
        let user = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
        let number = |at: usize| user.get(at)?.parse().ok();
        Some(Owner { user: number(2)?, group: number(3)? })
    };
    let owner = find("postgres").or_else(|| find("nobody"));
    Ok(Some(owner.unwrap_or(Owner { user: NOBODY, group: NOBODY })))
}

/// Where the programs of the newest installed version are: Debian keeps one directory for each.
fn newest() -> Result<PathBuf, Needs> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().filter_map(|entry| {
        let path = entry.ok()?.path();
        let version: u32 = path.file_name().and_then(OsStr::to_str)?.parse().ok()?;
        let bin = path.join("bin");
        ["postgres", "initdb", "psql"].iter().all(|name| bin.join(name).is_file()).then_some((version, bin))
    });
    let missing = || Needs { program: "postgres".to_owned(), package: "postgresql".to_owned() };
    versions.max().map(|(_, bin)| bin).ok_or_else(missing)
}

fn finish(program: &str, command: Command, input: &str) -> Result<String, Error> {
    let mut running = Running::spawn(command)?;
    running.feed_stdin(input.as_bytes().to_vec());
    let output = running.wait(START_LIMIT)?;
    match output.status.success() {
        true => Ok(output.stdout_text()),
        false => Err(Error::Failed { program: program.to_owned(), stderr: output.stderr_text() }),
    }
}

const VERSIONS: &str = "/usr/lib/postgresql";
const NOBODY: u32 = 65_534;
const LOG: &str = "log";
const PORT_TRIES: usize = 5;
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(10);
