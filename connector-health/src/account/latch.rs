//! A refused credential is not shown again.

use std::sync::{Mutex, PoisonError};

use crate::connector::{Failure, FailureKind};

/// Shut by a refused credential, opened by a probe that is good. Many applications lock who fails a few times; lanes
/// that work side by side would get there at once.
#[derive(Debug, Default)]
pub(crate) struct Latch(Mutex<Option<Failure>>);

impl Latch {
    /// # Errors
    /// The refusal that shut it.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Shuts where the credential was refused, and opens where a probe was good.
    pub(crate) fn note<T>(&self, outcome: &Result<T, Failure>, probe: bool) {
        let mut shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(failure) if failure.kind() == FailureKind::Authentication => *shut = Some(failure.clone()),
            Ok(_) if probe => *shut = None,
            Ok(_) | Err(_) => {}
        }
    }
}
