//! Which credentials were refused and which have worked: what is shown to a server that locks whoever repeats a mistake.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::auth::Fingerprint;

/// Most refused credentials that are remembered; beyond that the oldest is forgotten.
const REFUSED_KEPT_MAX: usize = 16;

/// How a credential stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It was refused and is not shown.
    Refused,
    /// It has worked.
    Proven,
    /// It has not worked yet, or is in doubt: one request at a time shows it.
    Unproven,
}

/// What is known of the credentials of one client.
#[derive(Default)]
pub(crate) struct Latch {
    known: Mutex<Known>,
    /// Held by the one request that shows a credential which has not worked yet.
    pub(crate) trial: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    proven: Option<Fingerprint>,
    refused: VecDeque<Fingerprint>,
}

impl Latch {
    pub(crate) fn standing(&self, credential: Fingerprint) -> Standing {
        let known = self.known();
        if known.refused.contains(&credential) {
            Standing::Refused
        } else if known.proven == Some(credential) {
            Standing::Proven
        } else {
            Standing::Unproven
        }
    }

    /// Whether any was refused.
    pub(crate) fn is_set(&self) -> bool {
        !self.known().refused.is_empty()
    }

    /// It worked. An answer that comes after a refusal may be older than it and changes nothing.
    pub(crate) fn prove(&self, credential: Fingerprint) {
        let mut known = self.known();
        if !known.refused.contains(&credential) {
            known.proven = Some(credential);
        }
    }

    /// What was shown in its name was refused, and something else may be shown once.
    pub(crate) fn doubt(&self, credential: Fingerprint) {
        let mut known = self.known();
        if known.proven == Some(credential) {
            known.proven = None;
        }
    }

    /// It is not shown again.
    pub(crate) fn refuse(&self, credential: Fingerprint) {
        self.doubt(credential);
        let mut known = self.known();
        if !known.refused.contains(&credential) {
            if known.refused.len() >= REFUSED_KEPT_MAX {
                known.refused.pop_front();
            }
            known.refused.push_back(credential);
        }
    }

    /// Somebody says that all may be tried again.
    pub(crate) fn forgive(&self) {
        self.known().refused.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_stays_so_until_it_is_forgiven() {
        let latch = Latch::default();
        let (old, new) = (Fingerprint::of(&[b"old"]), Fingerprint::of(&[b"new"]));
        assert_eq!(latch.standing(old), Standing::Unproven);
        latch.prove(old);
        assert_eq!(latch.standing(old), Standing::Proven);
        latch.refuse(old);
        latch.prove(old);
        assert_eq!((latch.standing(old), latch.is_set()), (Standing::Refused, true));
        latch.prove(new);
        assert_eq!(latch.standing(new), Standing::Proven);
        latch.doubt(new);
        assert_eq!(latch.standing(new), Standing::Unproven);
        latch.forgive();
        assert_eq!((latch.standing(old), latch.is_set()), (Standing::Unproven, false));
    }

    #[test]
    fn memory_of_refusals_is_bounded() {
        let latch = Latch::default();
        let of = |number: usize| Fingerprint::of(&[&number.to_ne_bytes()]);
        (0..100).for_each(|number| latch.refuse(of(number)));
        assert_eq!(latch.standing(of(99)), Standing::Refused);
        assert_eq!(latch.known().refused.len(), REFUSED_KEPT_MAX);
    }
}
