//! Running a command while its lines are shown as they come.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::console::{Console, Stream};
use crate::failure::Failure;
use crate::workspace::Workspace;

/// One command, run in the workspace root.
#[derive(Debug)]
pub(crate) struct Invocation {
    command: Command,
    shown: Vec<String>,
}

impl Invocation {
    pub(crate) fn program(workspace: &Workspace, program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.current_dir(workspace.root());
        for (name, _) in std::env::vars_os() {
            // `cargo run` describes xtask to us in these. Some build scripts (ring's) ask cargo to run them again when
            // such a variable changes, so handing them on would rebuild half the tree at each turn.
            let of_xtask = name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
            });
            if of_xtask {
                command.env_remove(name);
            }
        }
        Self { command, shown: vec![program.to_string_lossy().into_owned()] }
    }

    /// The cargo that runs this task.
    pub(crate) fn cargo(workspace: &Workspace) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { shown: vec!["cargo".to_owned()], ..Self::program(workspace, cargo) }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(arg.as_ref().to_string_lossy().into_owned());
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.shown.insert(0, format!("{name}={}", quoted(&value.as_ref().to_string_lossy())));
        self.command.env(name, value);
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn dir(mut self, dir: &std::path::Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// The command as a person would type it.
    pub(crate) fn shown(&self) -> String {
        self.shown.join(" ")
    }

    /// Shows the command, runs it to its end and shows its lines; each line of standard output also goes to `see`.
    pub(crate) fn run_seeing(mut self, console: &Console, mut see: impl FnMut(&str)) -> Result<(), Failure> {
        let shown = self.shown();
        console.say(&format!("$ {shown}"));
        if console.on_terminal()
            && std::env::var_os("CARGO_TERM_COLOR").is_none()
            && std::env::var_os("NO_COLOR").is_none()
        {
            self.command.env("CARGO_TERM_COLOR", "always");
        }
        self.follow(|stream, line| {
            if stream == Stream::Out {
                see(line);
            }
            console.command_line(stream, line);
        })
    }

    /// Runs it to its end and hands on each line as it comes; shows nothing.
    pub(crate) fn follow(mut self, mut each: impl FnMut(Stream, &str)) -> Result<(), Failure> {
        let shown = self.shown();
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = self.command.spawn();
        let mut child = spawned.map_err(|source| Failure::Spawn { command: shown.clone(), source })?;

        let (sender, lines) = channel();
        forward(Stream::Out, child.stdout.take(), sender.clone());
        forward(Stream::Err, child.stderr.take(), sender);
        for (stream, line) in lines {
            each(stream, &line);
        }
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::Command { command: shown, status }),
            Err(source) => Err(Failure::Spawn { command: shown, source }),
        }
    }

    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        self.run_seeing(console, |_| ())
    }

    /// Runs it without a word and says whether it succeeded. A program that cannot be run has not.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Runs it without a word and returns its standard output; nothing when it fails.
    pub(crate) fn quiet_output(mut self) -> Option<String> {
        let output = self.command.stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn quoted(value: &str) -> String {
    if value.contains(' ') { format!("'{value}'") } else { value.to_owned() }
}

fn forward(stream: Stream, pipe: Option<impl Read + Send + 'static>, lines: Sender<(Stream, String)>) {
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line);
            if lines.send((stream, text.trim_end_matches(['\n', '\r']).to_owned())).is_err() {
                return;
            }
            line.clear();
        }
    });
}
