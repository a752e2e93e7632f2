//! Places outside the log where checkpoints are kept, so that a log that was cut short cannot pass for whole.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::OpenOptionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::note::Checkpoint;

const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes checkpoints, on a thread of its own, at most about one per second and the last one on a clean close. Each is of entries
/// that are durable. Calls block, and hold up other sinks but not the log; a sink that fails or panics is called
/// again with the next checkpoint. Closing the log waits two seconds at most for sinks.
pub trait CheckpointSink: Send {
    /// Takes a checkpoint.
    fn take(&mut self, checkpoint: &Checkpoint, now: DateTime<Utc>) -> io::Result<()>;
}

/// Appends signed notes to a file, one after the other, separated by an empty line. Put it on another machine or medium than the log.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    file: File,
}

impl FileSink {
    /// Opens the file for appending; makes it (mode 0600) where it is missing.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl CheckpointSink for FileSink {
    fn take(&mut self, checkpoint: &Checkpoint, _: DateTime<Utc>) -> io::Result<()> {
        self.file.write_all(format!("{checkpoint}\n").as_bytes())?;
        self.file.sync_data()
    }
}

/// Sends checkpoints to the system log as one line each (RFC 5424, facility `authpriv`, severity `notice`), with `\n` written as `|`.
#[derive(Debug)]
pub struct SyslogSink {
    socket: UnixDatagram,
    path: PathBuf,
    app_name: String,
}

impl SyslogSink {
    /// Socket of the system log on most systems.
    pub const DEV_LOG: &'static str = "/dev/log";

    /// Sends to the datagram socket at `path`, under the given program name (printable ASCII without spaces, at most 48 characters; others are left out).
    pub fn new(path: impl Into<PathBuf>, app_name: &str) -> io::Result<Self> {
        let app_name: String = app_name.chars().filter(char::is_ascii_graphic).take(48).collect();
        let socket = UnixDatagram::unbound()?;
        // A system log that is full is not waited for without end.
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket, path: path.into(), app_name })
    }

    /// The line that is sent.
    pub fn line(&self, checkpoint: &Checkpoint, now: DateTime<Utc>) -> String {
        const AUTHPRIV_NOTICE: u8 = 10 * 8 + 5;
        let name = if self.app_name.is_empty() { "-" } else { &self.app_name };
        let time = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let note = checkpoint.as_str().replace('\n', "|");
        format!("<{AUTHPRIV_NOTICE}>1 {time} - {name} {} audit-checkpoint - {note}", std::process::id())
    }
}

impl CheckpointSink for SyslogSink {
    fn take(&mut self, checkpoint: &Checkpoint, now: DateTime<Utc>) -> io::Result<()> {
        self.socket.send_to(self.line(checkpoint, now).as_bytes(), &self.path).map(|_| ())
    }
}
