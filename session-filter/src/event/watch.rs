//! Who watched, and what stood out.

use serde::Serialize;

use super::cut_at_char;

/// Fields of `session.watched`, `session.unwatched` and `session.termination_asked`: an operator's act on somebody's session.
/// The subject is the session's; `operator` is who acted.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct OperatorActed {
    /// Who acted.
    pub operator: String,
    /// The session as it was named, where no such session lives; cut at 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    #[serde(skip)]
    pub(crate) act: Act,
}

/// What an operator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Began to watch.
    Watch,
    /// Stopped watching.
    Unwatch,
    /// Asked for the session's end.
    Terminate,
    /// Asked who is in.
    List,
}

impl OperatorActed {
    /// `operator` did `act`.
    pub fn new(operator: &str, act: Act) -> Self {
        Self { operator: cut_at_char(operator, 256).to_owned(), asked: None, act }
    }

    /// The same, of a session that does not live.
    #[must_use]
    pub fn asked(mut self, named: &str) -> Self {
        self.asked = Some(cut_at_char(named, 256).to_owned()).filter(|named| !named.is_empty());
        self
    }
}

/// Fields of `anomaly.detected`: something stood out against this person's own past. `reason` has the kind.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct AnomalyDetected {
    /// What was seen, in the kind's own unit (commands, hours, bytes, refusals).
    pub observed: f64,
    /// What was usual, in the same unit, where there is something usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual: Option<f64>,
    /// Whether the session was ended for it.
    pub terminated: bool,
}

impl AnomalyDetected {
    /// `observed` where `usual` was expected.
    pub fn new(observed: f64, usual: Option<f64>, terminated: bool) -> Self {
        Self { observed, usual, terminated }
    }
}
