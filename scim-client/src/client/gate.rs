//! What every request passes before it is sent: a place, a turn, a credential.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use tokio::sync::{MutexGuard as AsyncGuard, OwnedSemaphorePermit, Semaphore};

use crate::auth::Authorized;
use crate::client::Client;
use crate::error::{Authentication, Error, ErrorKind};
use crate::resilience::{Budget, CONCURRENCY, Classify, Grant, Pace, Retry, Standing, Turn};
use crate::transport::Connectivity;

/// What is set of it.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) retry: Retry,
    /// The first is asked first.
    pub(crate) classifiers: Vec<Arc<dyn Classify>>,
    pub(crate) deadline: Option<Duration>,
    places: Arc<Semaphore>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            classifiers: Vec::new(),
            deadline: None,
            places: Arc::new(Semaphore::new(CONCURRENCY)),
        }
    }
}

/// What the clones of a client share of it.
#[derive(Default)]
pub(crate) struct Gate {
    /// Held by whoever is next; the others stand behind, in the order in which they came.
    line: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) pace: Pace,
    pub(crate) budget: Budget,
    pub(crate) random: fastrand::Rng,
}

impl Gate {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that are under way. Dropping it makes room.
pub(super) struct Place {
    pub(super) grant: Grant,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A credential on a request.
pub(super) struct Shown<'a> {
    pub(super) authorized: Authorized,
    /// Held while nobody else shows it.
    _trial: Option<AsyncGuard<'a, ()>>,
}

impl Client {
    /// With this patience after failures. See [`resilience`](crate::resilience) for all defaults.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        Arc::make_mut(&mut self.shared).resilience.retry = retry;
        self
    }

    /// With this classifier in front of those that are there, the [`Standard`](crate::resilience::Standard) one behind all.
    #[must_use]
    pub fn classify(mut self, classifier: impl Classify + 'static) -> Self {
        Arc::make_mut(&mut self.shared).resilience.classifiers.insert(0, Arc::new(classifier));
        self
    }

    /// With so many requests under way at a time, at least one; the others wait in the order in which they came.
    /// [`CONCURRENCY`] where nothing is said. The place of a list's page is free once its first 4 MiB are read.
    #[must_use]
    pub fn concurrency(mut self, requests_max: usize) -> Self {
        let places = Semaphore::new(requests_max.clamp(1, Semaphore::MAX_PERMITS));
        Arc::make_mut(&mut self.shared).resilience.places = Arc::new(places);
        self
    }

    /// With this time for each call in all: waiting for a place, attempts, waits between them, redirects. No limit where nothing
    /// is said but those that attempts and waits have.
    ///
    /// When it is over, the error says whether something may have been sent. An operation of several requests (a list,
    /// `ensure_user`) has this time for each of them.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        Arc::make_mut(&mut self.shared).resilience.deadline = Some(deadline);
        self
    }

    /// With waits between attempts drawn from this seed, the same in each run.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.shared.gate.lock().random = fastrand::Rng::with_seed(seed);
        self
    }

    /// Says that what was refused may be tried again: the credential that a service answered with 401, and the one that a
    /// token endpoint did not take. For people who have corrected something on the other side.
    pub fn forgive(&self) {
        self.shared.state.latch.forgive();
        if let Some(auth) = &self.shared.auth {
            auth.forgive();
        }
    }

    /// When a call that begins now has to be over.
    pub(super) fn until(&self) -> Option<DateTime<Utc>> {
        let deadline = self.shared.resilience.deadline?;
        self.shared.clock.now().checked_add_signed(chrono::TimeDelta::from_std(deadline).ok()?)
    }

    /// The longest wait that a server can ask for.
    pub(super) fn patience(&self, until: Option<DateTime<Utc>>) -> Duration {
        let most = self.shared.resilience.retry.wait_max;
        until.map_or(most, |until| most.min((until - self.shared.clock.now()).to_std().unwrap_or_default()))
    }

    /// Waits for a place and a turn.
    ///
    /// # Cancellation
    /// Dropping it gives up the place in the line; nothing is left behind.
    pub(super) async fn enter(&self, until: Option<DateTime<Utc>>) -> Result<Place, Error> {
        let shared = &self.shared;
        // It is never closed.
        let permit = shared.resilience.places.clone().acquire_owned().await.ok();
        let _line = shared.gate.line.lock().await;
        loop {
            let now = shared.clock.now();
            if until.is_some_and(|until| now >= until) {
                return Err(Error::new(ErrorKind::NotSent(Connectivity::Timeout))
                    .detail("the time for the whole call was over before its turn came"));
            }
            let turn = shared.gate.lock().pace.turn(now, shared.dialect.requests_per_minute);
            match turn {
                Turn::Go(grant) => return Ok(Place { grant, _permit: permit }),
                Turn::Paused(wait) if wait > self.patience(until) => {
                    return Err(Error::new(ErrorKind::RateLimited { retry_after: Some(wait) })
                        .detail("the server asked for a pause, which is not over")
                        .not_sent());
                }
                Turn::Wait(wait) | Turn::Paused(wait) => shared.clock.sleep(wait).await,
            }
        }
    }

    /// Puts the credential on a request, unless it was refused before. `before` is what was just refused.
    pub(super) async fn show(
        &self,
        headers: &mut HeaderMap,
        before: Option<Authorized>,
    ) -> Result<Option<Shown<'_>>, Error> {
        let Some(auth) = &self.shared.auth else { return Ok(None) };
        let latch = &self.shared.state.latch;
        let mut trial = None;
        loop {
            let mut these = headers.clone();
            let authorized = auth.authorize(&mut these, &*self.shared.transport, &*self.shared.clock).await?;
            if let Some(before) = before {
                // What it was changed for is shown once; the same again would be a repetition.
                if authorized.credential != before.credential || authorized.shown == before.shown {
                    latch.refuse(before.credential);
                }
            }
            match latch.standing(authorized.credential) {
                Standing::Refused => {
                    return Err(Error::new(ErrorKind::Authentication(Authentication::Held)));
                }
                Standing::Unproven if trial.is_none() => trial = Some(latch.trial.lock().await),
                Standing::Unproven | Standing::Proven => {
                    let _trial = trial.filter(|_| latch.standing(authorized.credential) != Standing::Proven);
                    *headers = these;
                    return Ok(Some(Shown { authorized, _trial }));
                }
            }
        }
    }

    /// Fails at once where the credential at hand was refused before: without a place, a turn, a request.
    pub(super) async fn check_not_held(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(auth) = &self.shared.auth else { return Ok(()) };
        let latch = &self.shared.state.latch;
        if latch.is_set() {
            let mut headers = headers.clone();
            let authorized =
                auth.authorize(&mut headers, &*self.shared.transport, &*self.shared.clock).await?;
            if latch.standing(authorized.credential) == Standing::Refused {
                return Err(Error::new(ErrorKind::Authentication(Authentication::Held)));
            }
        }
        Ok(())
    }
}
