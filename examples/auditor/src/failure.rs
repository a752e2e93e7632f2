//! Why a command did not do what it was asked, and which exit status says so.

use std::error::Error;
use std::io::{self, Write as _};

use audit_log::{Fault, ReadError, VerifyError};
use serde_json::{Value, json};

use crate::json;
use crate::terminal::inert;

/// Exit status: the log was tampered with.
pub(crate) const TAMPERED: u8 = 1;
/// Exit status: wrong usage, no such log, wrong keys, a newer format.
pub(crate) const UNUSABLE: u8 = 2;
/// Exit status: whole, but for a write at the very end that was never finished.
pub(crate) const TORN: u8 = 3;
/// Exit status: a recording of which something is not on record.
pub(crate) const INCOMPLETE: u8 = 3;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The log was altered, here.
    Tampered(Box<Fault>),
    /// Nothing can be said about the log: the caller, the keys or the files are at fault.
    Unusable(String),
    /// Standard output failed. A reader that went away (`| head`) is no failure: see [`Failure::report`].
    Output(io::Error),
}

impl Failure {
    /// Anything else that went wrong, with its causes.
    pub(crate) fn unusable(error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        Self::Unusable(text)
    }

    /// Tells it on standard error, in JSON where that was asked for, and returns the exit status.
    pub(crate) fn report(&self, as_json: bool) -> u8 {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return 0;
        }
        let mut err = io::stderr().lock();
        // Where standard error is gone, too, nobody is left to tell.
        let _ = if as_json {
            json::write_line(&mut err, &self.to_json())
        } else {
            writeln!(err, "auditor: {}", inert(&self.sentence()))
        };
        self.status()
    }

    /// The exit status that says so.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Tampered(_) => TAMPERED,
            Self::Unusable(_) | Self::Output(_) => UNUSABLE,
        }
    }

    /// `{"result": "tampered", "place": …}` or `{"result": "error", …}`.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Tampered(fault) => {
                json!({"result": "tampered", "place": place(fault), "message": fault.what})
            }
            Self::Unusable(_) | Self::Output(_) => json!({"result": "error", "message": self.sentence()}),
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Tampered(fault) => format!("tampered: {fault}"),
            Self::Unusable(text) => text.clone(),
            Self::Output(error) => format!("cannot write to standard output: {error}"),
        }
    }
}

/// Where in the log, for JSON.
pub(crate) fn place(fault: &Fault) -> Value {
    let mut place = json!({"file": fault.file, "offset": fault.offset});
    if let Some(members) = place.as_object_mut() {
        if let Some(frame) = fault.frame {
            members.insert("frame".into(), frame.into());
        }
        if let Some(seq) = fault.seq {
            members.insert("seq".into(), seq.into());
        }
    }
    place
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Tampered(fault) => Self::Tampered(Box::new(fault)),
            other => Self::unusable(&other),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Tampered(fault) => Self::Tampered(Box::new(fault)),
            other => Self::unusable(&other),
        }
    }
}
