//! What was found out.

use serde_json::{Value, json};

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// For programs and for the choice of a dialect: `filter.or`.
    pub(super) code: &'static str,
    /// For people.
    pub(super) what: &'static str,
    /// What RFC 7644 says.
    pub(super) rfc: &'static str,
    pub(super) standing: Standing,
    /// What this server does.
    pub(super) seen: String,
}

/// How it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// As RFC 7644 says.
    Conforms,
    /// Otherwise.
    Deviates,
    /// Left out, as RFC 7644 lets a server do.
    Absent,
    /// It could not be seen: nobody there to try it on, no answer.
    Unclear,
}

impl Standing {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Conforms => "conforms",
            Self::Deviates => "deviates",
            Self::Absent => "not_offered",
            Self::Unclear => "unclear",
        }
    }
}

/// All of them, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn note(
        &mut self,
        code: &'static str,
        what: &'static str,
        rfc: &'static str,
        (standing, seen): (Standing, impl Into<String>),
    ) {
        self.0.push(Finding { code, what, rfc, standing, seen: seen.into() });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }

    pub(super) fn find(&self, code: &str) -> Option<&Finding> {
        self.0.iter().find(|finding| finding.code == code)
    }

    /// Whether it can be relied on; `None` where nobody knows.
    pub(super) fn works(&self, code: &str) -> Option<bool> {
        match self.find(code)?.standing {
            Standing::Conforms => Some(true),
            Standing::Deviates | Standing::Absent => Some(false),
            Standing::Unclear => None,
        }
    }
}

impl Finding {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "check": self.code, "what": self.what, "rfc7644": self.rfc,
            "standing": self.standing.code(), "seen": self.seen,
        })
    }
}
