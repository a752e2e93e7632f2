//! Why something was not done, and which exit status says so.

use std::error::Error as _;
use std::io;

use http::Method;
use scim_client::error::Authentication;
use scim_client::filter::SyntaxError;
use scim_client::transport::{Connectivity, TransportError};
use scim_client::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::json;
use crate::terminal::inert;

/// Exit status: wrong usage, a mistake in a filter, path or file.
pub(crate) const USAGE: u8 = 2;

/// Why a verb ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller is at fault.
    Usage { what: String, mistake: Option<Mistake> },
    /// The service, or the way to it.
    Service { base: String, error: Box<Error>, cause: Cause, hint: Option<String> },
    /// The running provisioner that was asked.
    Remote { base: String, what: String, cause: Cause },
    /// Something that the provisioner needs for itself.
    Stopped(String),
    /// Standard output failed. A reader that went away (`| head`) is no failure: see [`Failure::report`].
    Output(io::Error),
}

/// Where in a text something is wrong.
#[derive(Debug)]
pub(crate) struct Mistake {
    text: String,
    /// From 1, in characters.
    column: usize,
}

/// What a failure of the service comes down to for whoever called; each has its exit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// Something else: the server failed, refused this one request, or wants fewer.
    Other,
    /// Nothing answers at the address.
    Unreachable,
    /// The credential is refused, or may not do this.
    Credential,
    /// Something answers, and it is no SCIM service.
    NoService,
    /// The service is there, and what was asked for is not.
    NotFound,
    /// A change was sent, and nobody knows what became of it.
    Unknown,
    /// The resource is not in the version that the change was meant for.
    Changed,
}

impl Cause {
    /// What an error comes down to.
    pub(crate) fn of(error: &Error) -> Self {
        let reads = matches!(error.method(), Some(&Method::GET))
            || error.path().is_some_and(|path| path.ends_with("/.search"));
        match error.kind() {
            ErrorKind::NotSent(_) => Self::Unreachable,
            ErrorKind::UnknownOutcome(_) if !reads => Self::Unknown,
            // A gateway's 502 or 504 is an answer; else there was none.
            ErrorKind::UnknownOutcome(_) if error.http_status().is_none() => Self::Unreachable,
            ErrorKind::Authentication(Authentication::Unavailable) => Self::Other,
            ErrorKind::Authentication(_) | ErrorKind::Authorization => Self::Credential,
            ErrorKind::BaseUrl => Self::NoService,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Concurrency => Self::Changed,
            _ => Self::Other,
        }
    }

    fn status(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Unreachable => 3,
            Self::Credential => 4,
            Self::NoService => 5,
            Self::NotFound => 6,
            Self::Unknown => 7,
            Self::Changed => 8,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Other => "failed",
            Self::Unreachable => "unreachable",
            Self::Credential => "credential_refused",
            Self::NoService => "no_scim_service",
            Self::NotFound => "not_found",
            Self::Unknown => "outcome_unknown",
            Self::Changed => "changed_meanwhile",
        }
    }
}

impl Failure {
    /// The caller is at fault.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), mistake: None }
    }

    /// The caller is at fault, at a place in `text`, which was given as `what`.
    pub(crate) fn syntax(what: &str, text: &str, error: &SyntaxError) -> Self {
        Self::mistake(what, text, &error.to_string(), error.column())
    }

    /// The same for a mistake that is ours to find.
    pub(crate) fn mistake(what: &str, text: &str, why: &str, column: usize) -> Self {
        Self::Usage {
            what: format!("{what}: {why}"),
            mistake: Some(Mistake { text: text.to_owned(), column }),
        }
    }

    /// The provisioner itself cannot go on.
    pub(crate) fn stopped(why: impl std::fmt::Display) -> Self {
        Self::Stopped(why.to_string())
    }

    /// The service at `base` is at fault; `hint` says what to try.
    pub(crate) fn service(base: &str, error: Error, cause: Cause, hint: Option<String>) -> Self {
        Self::Service { base: base.to_owned(), error: Box::new(error), cause, hint }
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
        let _ = if as_json { json::write_line(&mut err, &self.to_json()) } else { self.tell(&mut err) };
        self.status()
    }

    fn tell(&self, err: &mut dyn io::Write) -> io::Result<()> {
        for line in self.sentence().lines() {
            writeln!(err, "provisioner: {}", inert(line))?;
        }
        match self {
            Self::Usage { mistake: Some(Mistake { text, column }), .. } => {
                // The text as it is shown may be wider than it was typed.
                let before: String = text.chars().take(column.saturating_sub(1)).collect();
                let width = unicode_width::UnicodeWidthStr::width(&*inert(&before));
                writeln!(err, "  {}\n  {:width$}^", inert(text), "")
            }
            Self::Service { hint: Some(hint), .. } => writeln!(err, "  {}", inert(hint)),
            _ => Ok(()),
        }
    }

    /// The exit status that says so.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage { .. } => USAGE,
            Self::Service { cause, .. } | Self::Remote { cause, .. } => cause.status(),
            Self::Stopped(_) | Self::Output(_) => 1,
        }
    }

    fn to_json(&self) -> Value {
        let mut object = json!({
            "result": "error", "exit_status": self.status(), "message": self.sentence(),
        });
        let Some(members) = object.as_object_mut() else { return object };
        match self {
            Self::Usage { mistake, .. } => {
                members.insert("cause".into(), "usage".into());
                if let Some(Mistake { text, column }) = mistake {
                    members.insert("text".into(), text.as_str().into());
                    members.insert("column".into(), (*column).into());
                }
            }
            Self::Service { error, cause, hint, .. } => {
                members.insert("cause".into(), cause.code().into());
                members.insert("error".into(), serde_json::to_value(error).unwrap_or_default());
                if let Some(hint) = hint {
                    members.insert("hint".into(), hint.as_str().into());
                }
            }
            Self::Remote { cause, .. } => {
                let code = if *cause == Cause::NoService { "no_provisioner" } else { cause.code() };
                members.insert("cause".into(), code.into());
            }
            Self::Stopped(_) => {
                members.insert("cause".into(), "stopped".into());
            }
            Self::Output(_) => {
                members.insert("cause".into(), "output".into());
            }
        }
        object
    }

    /// What happened, in words.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Usage { what, .. } => what.clone(),
            Self::Service { base, error, cause, .. } => service_sentence(base, error, *cause),
            Self::Remote { base, what, cause: Cause::Unreachable } => {
                format!("cannot reach the provisioner at {base}: {what}")
            }
            Self::Remote { base, what, .. } => format!("the provisioner at {base}: {what}"),
            Self::Stopped(why) => why.clone(),
            Self::Output(error) => format!("cannot write to standard output: {error}"),
        }
    }
}

/// What happened, without what machines are advised to do.
fn service_sentence(base: &str, error: &Error, cause: Cause) -> String {
    let mut text = String::new();
    if cause == Cause::NoService && !matches!(error.kind(), ErrorKind::BaseUrl) {
        text.push_str(&format!("there is no SCIM service at {base}: a web page came in place of an answer"));
    } else {
        text.push_str(&match (error.kind(), cause) {
            (ErrorKind::NotSent(why) | ErrorKind::UnknownOutcome(why), Cause::Unreachable) => {
                format!("cannot reach {base}: {}", connectivity(*why))
            }
            (ErrorKind::BaseUrl, _) => format!("there is no SCIM service at {base}"),
            (kind, _) => kind.to_string(),
        });
    }
    match (error.method(), error.path(), error.http_status()) {
        (Some(method), Some(path), Some(status)) => {
            text.push_str(&format!(" ({method} {path}: status {status})"));
        }
        (Some(method), Some(path), None) => text.push_str(&format!(" ({method} {path})")),
        _ => {}
    }
    if let Some(explanation) = error.explanation() {
        text.push_str(": ");
        text.push_str(explanation);
    }
    // The innermost cause names the address, the certificate or the byte.
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    if let Some(innermost) = causes.last() {
        let innermost = match innermost.downcast_ref::<TransportError>() {
            Some(error) => error.message.clone(),
            // The answer behind a verdict on the whole address says no more than that.
            None if innermost.is::<Error>() => String::new(),
            None => innermost.to_string(),
        };
        if !innermost.is_empty() && !text.contains(&innermost) {
            text.push_str(": ");
            text.push_str(&innermost);
        }
    }
    text
}

fn connectivity(why: Connectivity) -> &'static str {
    match why {
        Connectivity::Dns => "the name has no address",
        Connectivity::Connect => "no connection",
        Connectivity::Tls => "no TLS with this server",
        Connectivity::Timeout => "nothing came in time",
        Connectivity::Reset => "the connection ended without an answer",
        _ => "what came is not HTTP",
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
