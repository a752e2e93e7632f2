//! The real OpenSSH client, told everything on its command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Error;
use crate::process::{Output, Running, poll_until};
use crate::program::{Program, run};
use crate::sshd::write_private;

/// A call of the real `ssh`, which reads no configuration of the user's: no config file, no agent, no known hosts, no
/// keys but the one given.
///
/// Clones are independent; each run has a temporary directory of its own.
#[derive(Clone)]
pub struct Ssh {
    host: String,
    port: u16,
    user: Option<String>,
    key: Option<PathBuf>,
    password: Option<String>,
    code: Option<String>,
    host_key: Option<String>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Ssh {
    /// A client of 127.0.0.1 on `port` that offers no credential yet, accepts whatever host key it is shown, and is
    /// killed after thirty seconds.
    pub fn new(port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            user: None,
            key: None,
            password: None,
            code: None,
            host_key: None,
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            limit: Duration::from_secs(30),
        }
    }

    /// The login name; the test's own user without it.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Offers the private key in this file, which only its owner may read.
    #[must_use]
    pub fn key(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(path.into());
        self
    }

    /// Offers the security key in this file, whose signatures come from that provider library.
    #[must_use]
    pub fn security_key(self, path: impl Into<PathBuf>, provider: &Path) -> Self {
        let mut option = OsString::from("SecurityKeyProvider=");
        option.push(provider);
        self.key(path).option(option)
    }

    /// Answers one password prompt (by `password` or `keyboard-interactive`), through `SSH_ASKPASS`.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Answers prompts for a one-time code, as [`password`](Self::password) answers others.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Connects only to a server with this public key (`ssh-ed25519 AAAA…`).
    #[must_use]
    pub fn host_key(mut self, public_key: impl Into<String>) -> Self {
        self.host_key = Some(public_key.into());
        self
    }

    /// Adds an argument before the destination, such as `-tt` or `-L…`.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds `-o option`, such as `SetEnv=NAME=value`. The first value given for an option wins, so this can change
    /// the ones set here.
    #[must_use]
    pub fn option(self, option: impl AsRef<OsStr>) -> Self {
        self.arg("-o").arg(option)
    }

    /// Sets an environment variable of the client itself.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What [`Ssh::run`] gives to the command on standard input; nothing without it.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long a run may take before it is killed.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs `command` on the server and waits for its end. The text goes over the wire as it is, as one exec request.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ssh`, [`Error::TimedOut`] past the limit. A command or client that fails is not an
    /// error: see `status` (255 when ssh itself failed) and `stderr`.
    pub fn run(&self, command: impl AsRef<OsStr>) -> Result<Output, Error> {
        self.finish(self.spawn(command)?)
    }

    /// Asks for a login shell instead of a command, gives it the standard input and waits for its end.
    ///
    /// # Errors
    /// As [`Ssh::run`].
    pub fn shell(&self) -> Result<Output, Error> {
        self.finish(self.spawn_shell()?)
    }

    /// Asks for a subsystem, such as `sftp`, and gives it the standard input.
    ///
    /// # Errors
    /// As [`Ssh::run`].
    pub fn subsystem(&self, name: impl AsRef<OsStr>) -> Result<Output, Error> {
        self.finish(self.spawn_subsystem(name)?)
    }

    /// Starts `command` on the server and returns while it runs, with standard input open.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ssh`.
    pub fn spawn(&self, command: impl AsRef<OsStr>) -> Result<Running, Error> {
        self.start(&[], Some(command.as_ref()))
    }

    /// Asks for a login shell and returns while it runs, with standard input open.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ssh`.
    pub fn spawn_shell(&self) -> Result<Running, Error> {
        self.start(&[], None)
    }

    /// Asks for a subsystem and returns while it runs, with standard input open.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ssh`.
    pub fn spawn_subsystem(&self, name: impl AsRef<OsStr>) -> Result<Running, Error> {
        self.start(&["-s".into()], Some(name.as_ref()))
    }

    /// Opens one connection that later commands share (`ControlMaster`), and waits until it is up.
    ///
    /// # Errors
    /// [`Error::Failed`] with the client's words when it ends instead, [`Error::TimedOut`] when it does neither.
    pub fn master(&self) -> Result<Master, Error> {
        let dir = tempdir()?;
        let socket = dir.path().join("master");
        let own = [OsString::from("-M"), "-N".into(), "-S".into(), socket.clone().into()];
        let mut running = self.start(&own, None)?;
        // The socket appears, by an atomic link, once the connection is authenticated and the master listens.
        let deadline = Instant::now() + self.limit;
        let up = poll_until(deadline, || match running.has_ended() {
            Ok(false) => socket.exists().then_some(Ok(true)),
            Ok(true) => Some(Ok(false)),
            Err(error) => Some(Err(error)),
        });
        match up {
            Some(Ok(true)) => Ok(Master { ssh: self.clone(), running: Some(running), socket, _dir: dir }),
            Some(Ok(false)) => {
                let output = running.wait(self.limit)?;
                Err(Error::Failed { program: "ssh".to_owned(), stderr: output.stderr_text() })
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::TimedOut {
                program: "ssh".to_owned(),
                limit: self.limit,
                output: Box::new(running.kill()?),
            }),
        }
    }

    /// A program that other tools call in place of `ssh` (`rsync -e`, `scp -S`, `GIT_SSH_COMMAND`, …): it passes its arguments to
    /// `ssh` after everything that was set here, so that ours win.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ssh`.
    pub fn program(&self) -> Result<SshProgram, Error> {
        let dir = tempdir()?;
        let command = self.command(dir.path())?;
        let mut body = String::from("#!/bin/sh\n");
        for (name, value) in command.get_envs() {
            let name = name.to_string_lossy();
            match value {
                Some(value) => body.push_str(&format!("export {name}={}\n", quoted(value))),
                None => body.push_str(&format!("unset {name}\n")),
            }
        }
        body.push_str(&format!("exec {}", quoted(command.get_program())));
        for arg in command.get_args() {
            body.push_str(&format!(" {}", quoted(arg)));
        }
        body.push_str(" \"$@\"\n");
        let path = dir.path().join("ssh");
        write_script(&path, &body)?;
        Ok(SshProgram { path, _dir: dir })
    }

    fn finish(&self, mut running: Running) -> Result<Output, Error> {
        running.feed_stdin(self.stdin.clone());
        running.wait(self.limit)
    }

    fn start(&self, own: &[OsString], remote: Option<&OsStr>) -> Result<Running, Error> {
        let dir = tempdir()?;
        let mut command = self.command(dir.path())?;
        command.args(own).arg(&self.host);
        if let Some(remote) = remote {
            command.arg(remote);
        }
        Running::spawn_with(command, Some(dir))
    }

    /// Everything up to, and not including, the destination.
    fn command(&self, dir: &Path) -> Result<Command, Error> {
        let mut command = Program::find("ssh", "openssh-client")?.command();
        command.args(["-F", "none", "-p"]).arg(self.port.to_string());
        command.args(&self.args);

        let known_hosts = dir.join("known_hosts");
        let (strict, line) = match &self.host_key {
            Some(key) => ("yes", format!("[{}]:{} {key}\n{} {key}\n", self.host, self.port, self.host)),
            None => ("no", String::new()),
        };
        write_private(&known_hosts, line.as_bytes())?;
        option(&mut command, "UserKnownHostsFile", &known_hosts);
        option(&mut command, "StrictHostKeyChecking", strict);
        for (name, value) in [
            ("GlobalKnownHostsFile", "/dev/null"),
            ("UpdateHostKeys", "no"),
            ("IdentitiesOnly", "yes"),
            ("IdentityAgent", "none"),
            ("ConnectTimeout", "10"),
            ("LogLevel", "ERROR"),
        ] {
            option(&mut command, name, value);
        }

        match &self.key {
            Some(key) => option(&mut command, "IdentityFile", key),
            None => option(&mut command, "IdentityFile", "none"),
        }
        if let Some(user) = &self.user {
            option(&mut command, "User", user);
        }
        command.env_remove("SSH_AUTH_SOCK").env_remove("DISPLAY");
        match (&self.password, &self.code) {
            // Without a password there is nothing to answer prompts with, so there must be none.
            (None, None) => option(&mut command, "BatchMode", "yes"),
            (password, code) => {
                let script = askpass(dir, password.as_deref().unwrap_or(""), code.as_deref().unwrap_or(""))?;
                option(&mut command, "NumberOfPasswordPrompts", "1");
                command.env("SSH_ASKPASS", script).env("SSH_ASKPASS_REQUIRE", "force");
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

impl std::fmt::Debug for Ssh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ssh")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// An executable that behaves like `ssh` with everything set; gone when dropped.
#[derive(Debug)]
pub struct SshProgram {
    path: PathBuf,
    _dir: TempDir,
}

impl SshProgram {
    /// Where it is. The path has no characters that a shell would take for its own.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// One authenticated connection over which commands run without logging in again. Dropping it closes the connection.
#[derive(Debug)]
pub struct Master {
    ssh: Ssh,
    running: Option<Running>,
    socket: PathBuf,
    _dir: TempDir,
}

impl Master {
    /// Runs `command` over the shared connection.
    ///
    /// # Errors
    /// As [`Ssh::run`].
    pub fn run(&self, command: impl AsRef<OsStr>) -> Result<Output, Error> {
        self.ssh.finish(self.spawn(command)?)
    }

    /// Starts `command` over the shared connection and returns while it runs, with standard input open.
    ///
    /// # Errors
    /// As [`Ssh::spawn`].
    pub fn spawn(&self, command: impl AsRef<OsStr>) -> Result<Running, Error> {
        self.ssh.start(&self.attach(), Some(command.as_ref()))
    }

    /// Sends a control command, such as `check`, `exit` or `cancel`, to the master (`ssh -O`).
    ///
    /// # Errors
    /// As [`Ssh::run`].
    pub fn control(&self, verb: &str) -> Result<Output, Error> {
        self.control_with(verb, [""; 0])
    }

    /// Sends a control command that takes arguments: `forward` or `cancel`, with `-L`, `-R` or `-D` and what follows it.
    ///
    /// # Errors
    /// As [`Ssh::run`].
    pub fn control_with<A: AsRef<OsStr>>(
        &self,
        verb: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Output, Error> {
        let mut own = self.attach().to_vec();
        own.extend(["-O".into(), verb.into()]);
        own.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.ssh.finish(self.ssh.start(&own, None)?)
    }

    /// Asks the master to close the connection and waits for its end.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it does not end within the client's limit.
    pub fn stop(mut self) -> Result<Output, Error> {
        self.control("exit")?;
        match self.running.take() {
            Some(running) => running.wait(self.ssh.limit),
            None => Err(Error::Failed { program: "ssh".to_owned(), stderr: "stopped already".to_owned() }),
        }
    }

    /// Whether the connection is still there.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn is_up(&mut self) -> Result<bool, Error> {
        self.running.as_mut().map_or(Ok(false), |running| running.has_ended().map(|ended| !ended))
    }

    /// Where the control socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn attach(&self) -> [OsString; 4] {
        // Without `ProxyCommand=false`, ssh would quietly open a connection of its own when the master is gone.
        ["-S".into(), self.socket.clone().into(), "-o".into(), "ProxyCommand=false".into()]
    }
}

/// A program that prints the password or code, as `SSH_ASKPASS` wants it: the prompt is its argument.
fn askpass(dir: &Path, password: &str, code: &str) -> Result<PathBuf, Error> {
    write_private(&dir.join("password"), format!("{password}\n").as_bytes())?;
    write_private(&dir.join("code"), format!("{code}\n").as_bytes())?;
    let script = dir.join("askpass");
    let body =
        "#!/bin/sh\ncase $1 in *[Cc]ode*) cat \"${0%/*}/code\" ;; *) cat \"${0%/*}/password\" ;; esac\n";
    write_script(&script, body)?;
    Ok(script)
}

/// The script is written by a shell rather than by us: a test runs many threads, and a process that another thread
/// forks while we hold the file open for writing would make executing it fail with "text file busy".
fn write_script(path: &Path, body: &str) -> Result<(), Error> {
    let write = r#"umask 077 && printf %s "$2" >"$1" && chmod 700 "$1""#;
    run(
        "sh",
        "dash",
        ["-c", write, "sh"].map(OsStr::new).into_iter().chain([path.as_os_str(), OsStr::new(body)]),
    )?;
    Ok(())
}

/// One word of a shell script.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

fn option(command: &mut Command, name: &str, value: impl AsRef<OsStr>) {
    let mut pair = OsString::from(format!("{name}="));
    pair.push(value);
    command.arg("-o").arg(pair);
}

fn tempdir() -> Result<TempDir, Error> {
    tempfile::Builder::new().prefix("testbed-ssh-").tempdir().map_err(Error::io("create", "/tmp"))
}
