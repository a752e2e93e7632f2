//! Child processes that never outlive their owner.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::Error;

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All bytes from its standard output.
    pub stdout: Vec<u8>,
    /// All bytes from its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The exit code, unless a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text, with replacement characters where it is not UTF-8.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, with replacement characters where it is not UTF-8.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A running program in a process group of its own, which is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    program: PathBuf,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Captured,
    stderr: Captured,
    status: Option<ExitStatus>,
    /// Files that the program needs while it lives.
    _dir: Option<TempDir>,
}

impl Running {
    /// Starts `command` with its three standard streams piped.
    ///
    /// # Errors
    /// When the program cannot be executed.
    pub fn spawn(command: Command) -> Result<Self, Error> {
        Self::spawn_with(command, None)
    }

    pub(crate) fn spawn_with(mut command: Command, dir: Option<TempDir>) -> Result<Self, Error> {
        let program = PathBuf::from(command.get_program());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(Error::io("run", &program))?;
        let stdin = child.stdin.take();
        let stdout = Captured::from(child.stdout.take());
        let stderr = Captured::from(child.stderr.take());
        Ok(Self { program, child, stdin, stdout, stderr, status: None, _dir: dir })
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input. Blocks while the pipe is full.
    ///
    /// # Errors
    /// When the program has closed its standard input, or [`Running::close_stdin`] was called before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = match self.stdin.as_mut() {
            Some(stdin) => stdin.write_all(bytes).and_then(|()| stdin.flush()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(Error::io("write to", &self.program))
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Writes `bytes` and then ends standard input, from a thread, so that a program which answers before it has read
    /// everything cannot block its owner. What a program does not want to read is dropped.
    pub(crate) fn feed_stdin(&mut self, bytes: Vec<u8>) {
        if let Some(mut stdin) = self.stdin.take() {
            thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.bytes()
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> Vec<u8> {
        self.stderr.bytes()
    }

    /// Waits until standard output holds `text`, at most for `limit`; says whether it came. Returns early when the
    /// stream ends.
    pub fn wait_for_stdout(&self, text: &str, limit: Duration) -> bool {
        self.stdout.wait_for(text.as_bytes(), limit)
    }

    /// Waits until standard error holds `text`, at most for `limit`; says whether it came. Returns early when the
    /// stream ends.
    pub fn wait_for_stderr(&self, text: &str, limit: Duration) -> bool {
        self.stderr.wait_for(text.as_bytes(), limit)
    }

    /// Whether the program itself has ended.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn has_ended(&mut self) -> Result<bool, Error> {
        if self.status.is_none() {
            self.status = self.child.try_wait().map_err(Error::io("wait for", &self.program))?;
        }
        Ok(self.status.is_some())
    }

    /// Waits for the program's end and the end of its output, at most for `limit`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] with what was printed so far; its process group has been killed then.
    pub fn wait(mut self, limit: Duration) -> Result<Output, Error> {
        let deadline = Instant::now() + limit;
        while !self.has_ended()? || !self.stdout.is_ended() || !self.stderr.is_ended() {
            if Instant::now() >= deadline {
                let status = self.end()?;
                let output = Box::new(self.output(status));
                return Err(Error::TimedOut { program: self.program.display().to_string(), limit, output });
            }
            thread::sleep(POLL);
        }
        let status = self.end()?;
        self.stdout.join();
        self.stderr.join();
        Ok(self.output(status))
    }

    /// Kills its process group at once and returns what it had printed.
    ///
    /// # Errors
    /// When the operating system does not say how it ended.
    pub fn kill(mut self) -> Result<Output, Error> {
        let status = self.end()?;
        Ok(self.output(status))
    }

    fn output(&self, status: ExitStatus) -> Output {
        Output { status, stdout: self.stdout.bytes(), stderr: self.stderr.bytes() }
    }

    fn end(&mut self) -> Result<ExitStatus, Error> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Until the child is waited for, its id is its own, so the group that is killed is certainly ours.
        kill_group(&self.child);
        let status = self.child.wait().map_err(Error::io("wait for", &self.program))?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Kills the process group that `child` leads. `child` must not have been waited for.
pub(crate) fn kill_group(child: &Child) {
    if let Some(pid) = pid_of(child.id()) {
        // The group may be gone already, which is what was wanted.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

pub(crate) fn pid_of(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

/// Runs `step` every few milliseconds until it returns something, at most until `deadline`.
pub(crate) fn poll_until<T>(deadline: Instant, mut step: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(found) = step() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// Reads a file that another process is writing; nothing yet counts as empty.
pub(crate) fn read_text(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// One output stream, read by a thread as it comes.
#[derive(Debug)]
struct Captured {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stream: Mutex<Stream>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    ended: bool,
}

impl Captured {
    fn from(pipe: Option<impl Read + Send + 'static>) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            if let Some(mut pipe) = pipe {
                while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                    writer.lock().bytes.extend(chunk.iter().take(length));
                    writer.grown.notify_all();
                }
            }
            writer.lock().ended = true;
            writer.grown.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    fn bytes(&self) -> Vec<u8> {
        self.shared.lock().bytes.clone()
    }

    fn is_ended(&self) -> bool {
        self.shared.lock().ended
    }

    fn wait_for(&self, needle: &[u8], limit: Duration) -> bool {
        let holds = |stream: &Stream| {
            needle.is_empty() || stream.bytes.windows(needle.len()).any(|window| window == needle)
        };
        let waited =
            self.shared.grown.wait_timeout_while(self.shared.lock(), limit, |s| !holds(s) && !s.ended);
        let (stream, _) = waited.unwrap_or_else(PoisonError::into_inner);
        holds(&stream)
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // The thread cannot panic; if it did, what it had read is still there.
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const POLL: Duration = Duration::from_millis(3);
const CHUNK_BYTES: usize = 16 * 1024;
