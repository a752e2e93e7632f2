//! The answer to "may this line run": a permit that carries what to send, or a denial that says why not.

mod denial;
mod permit;

pub use denial::{Denial, DenialReason, Refusal};
pub(crate) use permit::PermitRule;
pub use permit::{OutputRecord, Permit};

/// The answer to "may this line run".
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// Yes: send [`Permit::bytes`], and nothing else.
    Allow(Permit),
    /// No, and why.
    Deny(Denial),
}

impl Verdict {
    /// The permit, if there is one.
    pub fn permit(self) -> Option<Permit> {
        match self {
            Self::Allow(permit) => Some(permit),
            Self::Deny(_) => None,
        }
    }

    /// The denial, if it is one.
    pub fn denial(self) -> Option<Denial> {
        match self {
            Self::Allow(_) => None,
            Self::Deny(denial) => Some(denial),
        }
    }

    /// Whether the line may run.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}
