//! A program on the demo's target: started on a terminal or on pipes, told of signals, and gone with everything it started.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use russh::{Pty, Sig};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};

use super::modes;

/// Where Debian, Fedora, Arch, Alpine and the BSDs keep OpenSSH's file server.
const SFTP_SERVERS: &[&str] = &[
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// What is kept of the environment that the demo was started in; the rest belongs to another login.
fn is_kept(name: &str) -> bool {
    matches!(name, "PATH" | "TZ" | "LANG") || name.starts_with("LC_")
}

/// Whose rights programs run with, and how a login of theirs looks.
pub(super) struct Account {
    shell: OsString,
    home: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Account {
    /// The account that runs the demo. `connection` is what `SSH_CONNECTION` says.
    pub(super) fn of_this_process(connection: String) -> Self {
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_dir());
        let home = home.unwrap_or_else(|| PathBuf::from("/"));
        let user = OsString::from(crate::operators::name_of(rustix::process::geteuid().as_raw()));
        let mut environment: Vec<(OsString, OsString)> =
            std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_kept)).collect();
        if !environment.iter().any(|(name, _)| name == "PATH") {
            environment.push(("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()));
        }
        environment.extend([
            ("HOME".into(), home.clone().into_os_string()),
            ("LOGNAME".into(), user.clone()),
            ("SHELL".into(), shell.clone()),
            ("SSH_CONNECTION".into(), connection.into()),
            ("USER".into(), user),
        ]);
        Self { shell, home, environment }
    }
}

/// What is to run.
pub(super) enum Run {
    /// A line, by the shell.
    Command(Vec<u8>),
    /// The shell itself, as at a login.
    Shell,
    /// A program without arguments.
    Server(&'static Path),
}

/// OpenSSH's file server, where it is installed.
pub(super) fn sftp_server() -> Option<Run> {
    SFTP_SERVERS.iter().map(Path::new).find(|path| path.is_file()).map(Run::Server)
}

/// What was asked for before a program starts.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) terminal: Option<TerminalSetup>,
    pub(super) environment: Vec<(String, String)>,
}

/// The terminal that was asked for.
pub(super) struct TerminalSetup {
    pub(super) term: String,
    pub(super) size: Winsize,
    pub(super) modes: Vec<(Pty, u32)>,
}

/// A terminal's size, as far as the system can hold it.
pub(super) fn size(columns: u32, rows: u32, width: u32, height: u32) -> Winsize {
    let fit = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Winsize { ws_row: fit(rows), ws_col: fit(columns), ws_xpixel: fit(width), ws_ypixel: fit(height) }
}

pub(super) type Input = Pin<Box<dyn AsyncWrite + Send>>;

type Stream = Pin<Box<dyn AsyncRead + Send>>;

/// Where a program prints.
pub(super) enum Output {
    Terminal(Stream),
    Streams(Stream, Stream),
}

/// A running program. Dropped before it has ended, it is killed, with everything in its session or process group.
pub(super) struct Program {
    child: Child,
    control: Control,
    /// Once true, the process id may belong to somebody else.
    has_ended: bool,
}

/// Tells a program of signals and of its terminal's size.
#[derive(Clone)]
pub(super) struct Control {
    leader: Option<Pid>,
    terminal: Option<Arc<OwnedFd>>,
}

/// Starts a program, by the rights of this process.
pub(super) fn start(run: Run, setup: Setup, account: &Account) -> io::Result<(Program, Input, Output)> {
    let mut command = match &run {
        Run::Server(path) => Command::new(path),
        Run::Command(_) | Run::Shell => Command::new(&account.shell),
    };
    match run {
        Run::Command(line) => drop(command.arg("-c").arg(OsString::from_vec(line))),
        Run::Shell => drop(command.arg0(login_name(&account.shell))),
        Run::Server(_) => {}
    }
    command.current_dir(&account.home).env_clear().kill_on_drop(true);
    command.envs(account.environment.iter().map(|(name, value)| (name, value)));
    command.envs(setup.environment);
    match setup.terminal {
        Some(terminal) => on_terminal(command, terminal),
        None => on_pipes(command),
    }
}

/// A shell that finds a hyphen before its name behaves as at a login.
fn login_name(shell: &OsString) -> OsString {
    let mut name = OsString::from("-");
    name.push(Path::new(shell).file_name().unwrap_or(shell));
    name
}

fn on_pipes(mut command: Command) -> io::Result<(Program, Input, Output)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let program = Program::new(child, None);
    Ok((program, Box::pin(stdin), Output::Streams(Box::pin(stdout), Box::pin(stderr))))
}

fn on_terminal(mut command: Command, terminal: TerminalSetup) -> io::Result<(Program, Input, Output)> {
    let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
    let held = Arc::new(pty.as_fd().try_clone_to_owned()?);
    tcsetwinsize(&held, terminal.size)?;
    modes::apply(&pts, &terminal.modes)?;
    if !terminal.term.is_empty() && !terminal.term.contains('\0') {
        command.env("TERM", &terminal.term);
    }
    if let Ok(name) = rustix::termios::ttyname(&pts, Vec::new()) {
        command.env("SSH_TTY", OsString::from_vec(name.into_bytes()));
    }
    let child = pty_process::Command::from(command).spawn(pts).map_err(io::Error::other)?;
    let (read, write) = pty.into_split();
    Ok((Program::new(child, Some(held)), Box::pin(write), Output::Terminal(Box::pin(read))))
}

impl Program {
    fn new(child: Child, terminal: Option<Arc<OwnedFd>>) -> Self {
        let leader = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        Self { child, control: Control { leader, terminal }, has_ended: false }
    }

    pub(super) fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for the program's end. What it left running in the background stays, unless a signal ended it. Cancellation safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // As a number of a session or group, the process id is not given to anybody else while members are left.
        if status.code().is_none() && !self.has_ended {
            self.control.kill_all();
        }
        self.has_ended = true;
        Ok(status)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.has_ended {
            self.control.kill_all();
        }
    }
}

impl Control {
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    pub(super) fn resize(&self, size: Winsize) {
        if let Some(terminal) = &self.terminal {
            // The kernel tells the foreground group.
            let _ = tcsetwinsize(terminal, size);
        }
    }

    /// Signals what runs in the foreground of the terminal, or the program and its children.
    pub(super) fn signal(&self, signal: &Sig) {
        let same = |name: &Sig| std::mem::discriminant(name) == std::mem::discriminant(signal);
        let Some((_, signal)) = SIGNALS.iter().find(|(name, _)| same(name)) else { return };
        if let Some(group) = self.foreground().or(self.leader) {
            // Gone already is just as well.
            let _ = kill_process_group(group, *signal);
        }
    }

    /// As a terminal that is taken away: its shell and what runs in the foreground get SIGHUP.
    pub(super) fn hang_up(&self) {
        for group in [self.leader, self.foreground()].into_iter().flatten() {
            let _ = kill_process_group(group, Signal::HUP);
        }
    }

    fn foreground(&self) -> Option<Pid> {
        self.terminal.as_ref().and_then(|terminal| tcgetpgrp(terminal).ok())
    }

    fn kill_all(&self) {
        let Some(leader) = self.leader else { return };
        let _ = kill_process_group(leader, Signal::KILL);
        if self.is_terminal() {
            // Jobs of a shell have groups of their own.
            for pid in members_of(leader) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The processes of a session.
fn members_of(session: Pid) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| session_of(*pid) == Some(session.as_raw_nonzero().get()))
        .filter_map(Pid::from_raw)
        .collect()
}

fn session_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): the name in parentheses may hold anything; after it come state, parent, group and session.
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = String::from_utf8_lossy(stat.get(after..)?).into_owned();
    fields.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// RFC 4254 §6.10.
const SIGNALS: &[(Sig, Signal)] = &[
    (Sig::ABRT, Signal::ABORT),
    (Sig::ALRM, Signal::ALARM),
    (Sig::FPE, Signal::FPE),
    (Sig::HUP, Signal::HUP),
    (Sig::ILL, Signal::ILL),
    (Sig::INT, Signal::INT),
    (Sig::KILL, Signal::KILL),
    (Sig::PIPE, Signal::PIPE),
    (Sig::QUIT, Signal::QUIT),
    (Sig::SEGV, Signal::SEGV),
    (Sig::TERM, Signal::TERM),
    (Sig::USR1, Signal::USR1),
];

/// The name under which SSH reports a signal.
pub(super) fn signal_name(number: i32) -> Option<Sig> {
    SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number).map(|(name, _)| name.clone())
}
