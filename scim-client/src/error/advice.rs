//! What follows from a failure.

use std::fmt;
use std::time::Duration;

use super::{Authentication, Error, ErrorKind, ScimType};
use crate::drift::Drift;
use crate::resilience::Effect;

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Advice {
    /// The same again, after a wait: it did not happen, or happening twice changes nothing.
    Retry {
        /// How long, where the server said.
        after: Option<Duration>,
    },
    /// It may have happened, or what was known is out of date: look before doing anything.
    ResolveByReading,
    /// What is in the way may be it: look it up and adopt it.
    Adopt,
    /// Throw away what was listed so far and list anew, in smaller pages where the server said `tooMany`. Nothing may be
    /// concluded from what is missing in the part.
    RestartListing,
    /// No request of this connector can work before a person acts.
    StopConnector,
    /// The server's schema and the mapping do not agree.
    FixMapping {
        /// Where, if schemas and mapping were compared ([`Error::drifted`]); empty where they were not, or agree.
        drifts: Vec<Drift>,
    },
    /// Nothing helps but a person who looks at this one case.
    Escalate,
}

impl Advice {
    /// As one word for programs, the same in every release.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::ResolveByReading => "resolve_by_reading",
            Self::Adopt => "adopt",
            Self::RestartListing => "restart_listing",
            Self::StopConnector => "stop_connector",
            Self::FixMapping { .. } => "fix_mapping",
            Self::Escalate => "escalate",
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry { after: Some(after) } => {
                return write!(f, "try again in {} s", after.as_secs_f64().ceil());
            }
            Self::Retry { after: None } => "try again later",
            Self::ResolveByReading => "read what is there before doing anything",
            Self::Adopt => "look up what is in the way, and adopt it if it is the one",
            Self::RestartListing => "discard what was listed and start again",
            Self::StopConnector => "stop this connector until someone has corrected its settings",
            Self::FixMapping { drifts } => {
                f.write_str("correct the mapping")?;
                // The severe come first.
                return match drifts.split_first() {
                    None => Ok(()),
                    Some((first, [])) => write!(f, " ({first})"),
                    Some((first, more)) => write!(f, " ({first}; and {} more)", more.len()),
                };
            }
            Self::Escalate => "someone has to look at this case",
        })
    }
}

pub(super) fn of(error: &Error) -> Advice {
    // Without a request the worst is assumed: that it changes something each time.
    let effect = match (error.method(), error.path()) {
        (Some(method), path) => Effect::of(method, path.unwrap_or_default()),
        (None, _) => Effect::EachTime,
    };
    // What was sent, and could not be seen to fail, is looked at first; a read has nothing to look at.
    let look_first = |otherwise| match effect {
        Effect::None => otherwise,
        _ if error.was_sent() => Advice::ResolveByReading,
        _ => otherwise,
    };
    match error.kind() {
        ErrorKind::NotSent(_) | ErrorKind::Unconfirmed => Advice::Retry { after: None },
        ErrorKind::UnknownOutcome(_) => look_first(Advice::Retry { after: None }),
        ErrorKind::RateLimited { retry_after } => Advice::Retry { after: *retry_after },
        ErrorKind::Server => match effect {
            Effect::EachTime if error.was_sent() => Advice::ResolveByReading,
            _ => Advice::Retry { after: None },
        },
        ErrorKind::Authentication(Authentication::Unavailable) => Advice::Retry { after: None },
        ErrorKind::Authentication(_) | ErrorKind::BaseUrl => Advice::StopConnector,
        ErrorKind::SchemaMismatch(ScimType::TooMany | ScimType::Cursor) | ErrorKind::Paging => {
            Advice::RestartListing
        }
        ErrorKind::SchemaMismatch(_) | ErrorKind::Invalid => {
            Advice::FixMapping { drifts: error.drifts().to_vec() }
        }
        ErrorKind::Conflict => Advice::Adopt,
        ErrorKind::NotFound | ErrorKind::Concurrency => Advice::ResolveByReading,
        // A write whose answer cannot be read may well have happened; one that the server calls too large did not.
        ErrorKind::Protocol => look_first(Advice::Escalate),
        ErrorKind::TooLarge if error.http_status() == Some(413) => Advice::Escalate,
        ErrorKind::TooLarge => look_first(Advice::Escalate),
        ErrorKind::ConflictInvisible
        | ErrorKind::Ambiguous { .. }
        | ErrorKind::OtherOwner
        | ErrorKind::Authorization
        | ErrorKind::Unsupported => Advice::Escalate,
    }
}
