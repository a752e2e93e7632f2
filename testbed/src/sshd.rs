//! A real OpenSSH server.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::process::{kill_group, poll_until, read_text};
use crate::program::{Program, run};
use crate::{Error, free_port, sweep};

/// What a test may change about an [`Sshd`].
#[derive(Debug, Clone, Default)]
pub struct SshdOptions {
    lines: Vec<String>,
    set_env: Vec<(String, String)>,
    authorized_keys: Vec<String>,
    ordinary_account: bool,
}

impl SshdOptions {
    /// A server that accepts one generated client key and allows what OpenSSH allows by default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line to `sshd_config`. It comes before our own lines, so it wins where sshd takes the first value
    /// (nearly everywhere). A `Match` block is not possible here, as it would swallow the lines after it.
    #[must_use]
    pub fn config_line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Runs `command` for every session, whatever the client asked for; what it asked for is in
    /// `SSH_ORIGINAL_COMMAND`.
    #[must_use]
    pub fn force_command(self, command: impl AsRef<str>) -> Self {
        self.config_line(format!("ForceCommand {}", command.as_ref()))
    }

    /// Sets an environment variable in every session. A `SetEnv` line given through [`SshdOptions::config_line`] would
    /// be ignored by sshd, which reads only the first.
    #[must_use]
    pub fn set_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set_env.push((name.into(), value.into()));
        self
    }

    /// Lets in an ordinary account even where the test runs as root. OpenSSH treats root's sessions differently: it does not signal
    /// their commands. The account exists for this server alone (it sees another `/etc/passwd`, in a mount namespace of its own).
    #[must_use]
    pub fn ordinary_account(mut self) -> Self {
        self.ordinary_account = true;
        self
    }

    /// Lets another key in, as a line of `authorized_keys` (options allowed).
    #[must_use]
    pub fn authorize(mut self, line: impl Into<String>) -> Self {
        self.authorized_keys.push(line.into());
        self
    }
}

/// A real OpenSSH server on a free port of 127.0.0.1, with its own host key, configuration and authorised keys in a
/// temporary directory.
///
/// It lets in the user that runs the test, by key only. Dropping it kills the listener and every process that its
/// sessions started, background ones included, and removes the directory.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    port: u16,
    user: String,
    host_public_key: String,
    dir: TempDir,
}

impl Sshd {
    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// [`Error::Needs`] without `sshd` or `ssh-keygen`; [`Error::NotStarted`] with sshd's log when it refuses its
    /// configuration or does not listen within twenty seconds.
    pub fn start(options: SshdOptions) -> Result<Self, Error> {
        let sshd = Program::find("sshd", "openssh-server")?;
        let dir = tempfile::Builder::new()
            .prefix("testbed-sshd-")
            .tempdir()
            .map_err(Error::io("create", "/tmp"))?;
        keygen(&dir.path().join(HOST_KEY))?;
        keygen(&dir.path().join(CLIENT_KEY))?;
        let host_public_key = public_half(&dir.path().join(HOST_KEY))?;
        let mut authorized = format!("{}\n", public_half(&dir.path().join(CLIENT_KEY))?);
        for line in &options.authorized_keys {
            let _ = writeln!(authorized, "{line}");
        }
        write_private(&dir.path().join(AUTHORIZED_KEYS), authorized.as_bytes())?;
        let makes_account = options.ordinary_account && geteuid().is_root();
        let user = match makes_account {
            true => ORDINARY.to_owned(),
            false => run("id", "coreutils", ["-un"])?.stdout_text().trim().to_owned(),
        };
        if geteuid().is_root() {
            make_separation_dir()?;
        }

        let mut refused = None;
        for _ in 0..PORT_TRIES {
            let port = free_port()?;
            write_config(&sshd, dir.path(), port, &options)?;
            if makes_account {
                write_account(dir.path())?;
            }
            let mut child = spawn(&sshd, dir.path(), makes_account)?;
            match wait_ready(&mut child, dir.path(), port) {
                Ok(()) => return Ok(Self { child, port, user, host_public_key, dir }),
                Err(error) => {
                    end(&mut child, dir.path());
                    // Somebody else took the port between our look and sshd's bind.
                    if !read_text(&dir.path().join(LOG)).contains("Address already in use") {
                        return Err(error);
                    }
                    refused = Some(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| Error::NotStarted {
            program: "sshd".into(),
            reason: "no port was free".into(),
            log: String::new(),
        }))
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The login name that is let in: the user that runs the test.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The private key that is let in, an unencrypted OpenSSH ed25519 key file.
    pub fn client_key_path(&self) -> PathBuf {
        self.dir.path().join(CLIENT_KEY)
    }

    /// The server's public key, `ssh-ed25519 AAAA…`, without a comment.
    pub fn host_public_key(&self) -> &str {
        &self.host_public_key
    }

    /// The directory that holds its files; whatever a test puts there goes with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged so far, at level `VERBOSE`.
    pub fn log(&self) -> String {
        read_text(&self.dir.path().join(LOG))
    }

    /// Waits until its log holds `text`, at most for `limit`; says whether it came.
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> bool {
        poll_until(Instant::now() + limit, || self.log().contains(text).then_some(())).is_some()
    }

    /// Lets another key in from now on, as a line of `authorized_keys`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn authorize(&self, line: &str) -> Result<(), Error> {
        let path = self.dir.path().join(AUTHORIZED_KEYS);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .map_err(Error::io("write", path))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        end(&mut self.child, self.dir.path());
    }
}

/// Kills the listener and everything that grew out of it. Sessions leave the listener's process group (sshd calls
/// `setsid` for each), so they are found as descendants and by the mark in their environment.
fn end(child: &mut Child, dir: &Path) {
    sweep::kill_descendants(child.id());
    kill_group(child);
    let _ = child.wait();
    sweep::kill_marked(&mark(dir));
}

/// The environment entry by which processes of this server's sessions are known. The directory's name is unique.
fn mark(dir: &Path) -> String {
    format!("{MARK}={}", dir.display())
}

fn spawn(sshd: &Program, dir: &Path, with_account: bool) -> Result<Child, Error> {
    let path = dir.join(LOG);
    let log = fs::File::create(&path).map_err(Error::io("create", &path))?;
    let mut command = match with_account {
        false => sshd.command(),
        true => {
            let mut command = Program::find("unshare", "util-linux")?.command();
            command.args(["--mount", "--propagation", "private", "sh", "-c"]);
            command.arg("mount --bind \"$0\" /etc/passwd && exec \"$@\"");
            command.arg(dir.join(PASSWD)).arg(sshd.path());
            command
        }
    };
    command
        .arg("-D")
        .arg("-e")
        .arg("-f")
        .arg(dir.join(CONFIG))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(Error::io("run", sshd.path()))
}

/// An account that only a server in its own mount namespace sees, and that can read what it needs.
fn write_account(dir: &Path) -> Result<(), Error> {
    let home = dir.join("home");
    let line = format!("{ORDINARY}:x:{ORDINARY_ID}:{ORDINARY_ID}::{}:/bin/bash\n", home.display());
    let path = dir.join(PASSWD);
    fs::write(&path, read_text(Path::new("/etc/passwd")) + &line).map_err(Error::io("write", &path))?;
    for (path, mode) in [(dir.to_path_buf(), 0o755), (dir.join(AUTHORIZED_KEYS), 0o644), (path, 0o644)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(Error::io("open", &path))?;
    }
    std::os::unix::fs::chown(&home, Some(ORDINARY_ID), Some(ORDINARY_ID)).map_err(Error::io("own", &home))
}

/// Waits for sshd's own word that it listens: it writes it after `listen(2)`, and unlike a successful connection it
/// cannot come from another server that took the port first. It also leaves no stray connection in the log.
fn wait_ready(child: &mut Child, dir: &Path, port: u16) -> Result<(), Error> {
    let log = dir.join(LOG);
    let ready = format!("Server listening on 127.0.0.1 port {port}.");
    let not_started = |reason| Error::NotStarted { program: "sshd".into(), reason, log: read_text(&log) };
    let outcome = poll_until(Instant::now() + START_LIMIT, || {
        if read_text(&log).contains(&ready) {
            return Some(Ok(()));
        }
        match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(Err(not_started(format!("it ended with {status}")))),
            Err(error) => Some(Err(not_started(error.to_string()))),
        }
    });
    outcome.unwrap_or_else(|| Err(not_started(format!("it did not listen within {START_LIMIT:?}"))))
}

fn write_config(sshd: &Program, dir: &Path, port: u16, options: &SshdOptions) -> Result<(), Error> {
    // The dotfiles of whoever runs the tests are not part of the test: bash reads `.bashrc` under sshd even for a single
    // command, and what it finds there may be slow, chatty or interactive.
    let home = dir.join("home");
    std::fs::create_dir_all(&home).map_err(Error::io("create", &home))?;
    let mut set_env = format!("SetEnv {} \"HOME={}\"", mark(dir), home.display());
    for (name, value) in &options.set_env {
        let _ = write!(set_env, " \"{name}={value}\"");
    }
    let directory = dir.display();
    let use_pam = if account_is_locked() { "yes" } else { "no" };
    let config = format!(
        "{set_env}\n\
         LogLevel VERBOSE\n\
         ListenAddress 127.0.0.1\n\
         Port {port}\n\
         {lines}\n\
         HostKey {directory}/{HOST_KEY}\n\
         AuthorizedKeysFile {directory}/{AUTHORIZED_KEYS}\n\
         PidFile {directory}/pid\n\
         UsePAM {use_pam}\n\
         StrictModes no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin yes\n\
         UseDNS no\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         MaxStartups 500:30:1000\n\
         MaxSessions 100\n\
         Subsystem sftp internal-sftp\n",
        lines = options.lines.join("\n"),
    );
    let path = dir.join(CONFIG);
    // Newer servers slow down an address after failures, which is what tests make on purpose; older ones do not know
    // the word.
    write_private(&path, format!("{config}PerSourcePenalties no\n").as_bytes())?;
    let knows_penalties = sshd
        .command()
        .arg("-t")
        .arg("-f")
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run", sshd.path()))?;
    if !knows_penalties.status.success() {
        write_private(&path, config.as_bytes())?;
    }
    Ok(())
}

/// Without PAM, sshd refuses an account whose shadow entry is locked (`!…`), as some images have it for root. Only
/// root can read the entry, and only for root's own server does it matter.
fn account_is_locked() -> bool {
    geteuid().is_root() && read_text(Path::new("/etc/shadow")).lines().any(|line| line.starts_with("root:!"))
}

/// Where sshd run by root confines its unprivileged half; Debian makes it at boot, containers often do not.
fn make_separation_dir() -> Result<(), Error> {
    let dir = Path::new("/run/sshd");
    if !dir.exists() {
        fs::create_dir_all(dir)
            .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)))
            .map_err(Error::io("create", dir))?;
    }
    Ok(())
}

fn keygen(path: &Path) -> Result<(), Error> {
    let args = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"].map(std::ffi::OsStr::new);
    run("ssh-keygen", "openssh-client", args.into_iter().chain([path.as_os_str()])).map(drop)
}

fn public_half(private: &Path) -> Result<String, Error> {
    let path = private.with_extension("pub");
    fs::read_to_string(&path).map(|line| line.trim().to_owned()).map_err(Error::io("read", path))
}

pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(Error::io("write", path))
}

const HOST_KEY: &str = "host_key";
const CLIENT_KEY: &str = "client_key";
const AUTHORIZED_KEYS: &str = "authorized_keys";
const PASSWD: &str = "passwd";
const ORDINARY: &str = "testbed";
const ORDINARY_ID: u32 = 54_321;
const CONFIG: &str = "sshd_config";
const LOG: &str = "log";
const MARK: &str = "TESTBED_SSHD";
const PORT_TRIES: usize = 8;
const START_LIMIT: Duration = Duration::from_secs(20);
