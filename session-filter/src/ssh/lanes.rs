//! A session's connections to its target.
//!
//! A channel that runs has a connection for itself. The protocol library reads a connection in order and gives windows back on
//! receipt, so whoever shared one with a download that its client does not read would have to wait with it. A connection whose
//! channel has ended is kept for the next one; commands in turn use a single connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::link::{Link, LinkError};
use super::proxy::Shared;
use super::session::Session;
use super::target::Destination;
use crate::event::{Detail, Outcome, TargetAddress};
use crate::gate::SessionRequest;
use crate::record::RecordError;

/// Connections that wait for the next command; further ones are closed.
const IDLE_MAX: usize = 2;

#[derive(Default)]
pub(crate) struct Lanes {
    state: Mutex<State>,
    /// One after the other: channels that begin together do not each make a connection before the first is free again.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    idle: Vec<Held>,
    open: Vec<Weak<Link>>,
    closed: bool,
}

struct Held {
    link: Arc<Link>,
    lease: Lease,
    place: OwnedSemaphorePermit,
}

/// A connection in use by one channel. Dropping it gives it back.
pub(crate) struct Lane {
    held: Option<Held>,
    session: Arc<Session>,
    /// Not for anybody else afterwards.
    retired: AtomicBool,
}

/// Whether what runs on a connection relies on quoting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Checked words are sent: the target's shell must have been seen to keep quoted words as they are.
    Quoting,
    /// No shell reads what is sent, or everything is permitted anyway.
    Nothing,
}

impl Lane {
    /// A connection for one channel: one that is idle, or a new one.
    pub(crate) async fn open(session: &Arc<Session>, needs: Needs) -> Result<Self, LinkFailure> {
        let lanes = &session.lanes;
        let idle = || {
            let mut state = lanes.lock();
            while let Some(held) = state.idle.pop() {
                if !held.link.is_closed() {
                    return Some(held);
                }
                // Its lease is released as it is dropped.
            }
            None
        };
        let held = match idle() {
            Some(held) => held,
            None => {
                let _turn = lanes.connecting.lock().await;
                match idle() {
                    Some(held) => held,
                    None => {
                        // On the heap while it lasts: whoever waits for a lane would otherwise carry the room for it, 10 KiB, for as
                        // long as the channel lives.
                        let held = Box::pin(connect(session, needs)).await?;
                        let mut state = lanes.lock();
                        if state.closed {
                            return Err(LinkFailure::Closing);
                        }
                        state.open.retain(|link| link.strong_count() > 0);
                        state.open.push(Arc::downgrade(&held.link));
                        held
                    }
                }
            }
        };
        let lane = Self { held: Some(held), session: Arc::clone(session), retired: AtomicBool::new(false) };
        lane.assure(needs).await?;
        Ok(lane)
    }

    /// A connection that was made for something else may not have been tested yet.
    async fn assure(&self, needs: Needs) -> Result<(), LinkFailure> {
        let Some(held) = &self.held else { return Ok(()) };
        if needs == Needs::Nothing || held.link.is_tested() {
            return Ok(());
        }
        let timeout = self.session.shared.limits.target_timeout;
        let tested = tokio::time::timeout(timeout, held.link.self_test()).await;
        match tested.unwrap_or(Err(LinkError::Timeout(timeout))) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.retire();
                let journal = &self.session.journal;
                let failure = LinkFailure::Link(error);
                let address = TargetAddress::new(self.session.destination().address());
                let event = journal.event(Outcome::Failure, Detail::TargetFailed(address));
                journal.submit(event.because(failure.code(), failure.to_string())).await;
                Err(failure)
            }
        }
    }

    /// Something was asked for that lasts as long as the connection: it is closed after this use.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Nothing of the sort is left.
    pub(crate) fn reuse(&self) {
        self.retired.store(false, Ordering::Relaxed);
    }

    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.held.as_ref().map(|held| &held.link)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut state = self.session.lanes.lock();
        let is_retired = self.retired.load(Ordering::Relaxed);
        if !is_retired && !state.closed && state.idle.len() < IDLE_MAX && !held.link.is_closed() {
            state.idle.push(held);
            return;
        }
        drop(state);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let patience = self.session.shared.limits.farewell;
            runtime.spawn(async move {
                let _ = tokio::time::timeout(patience, held.link.close()).await;
                drop(held.place);
                held.lease.release().await;
            });
        }
    }
}

impl Lanes {
    /// Closes every connection, in use or not, and gives no more out. The leases of idle ones are for the caller to release.
    pub(crate) async fn close(&self, patience: Duration) -> Vec<Lease> {
        let (idle, open) = {
            let mut state = self.lock();
            state.closed = true;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.open))
        };
        let open: Vec<Arc<Link>> = open.iter().filter_map(Weak::upgrade).collect();
        let _ =
            tokio::time::timeout(patience, futures::future::join_all(open.iter().map(|link| link.close())))
                .await;
        idle.into_iter().map(|held| held.lease).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(session: &Arc<Session>, needs: Needs) -> Result<Held, LinkFailure> {
    let journal = &session.journal;
    let mut address = TargetAddress::new(session.destination().address());
    // Durable before the target sees a login.
    journal
        .record(journal.event(Outcome::Success, Detail::TargetConnecting(address.clone())))
        .await
        .map_err(LinkFailure::Recorder)?;
    match try_connect(session, needs, &mut address).await {
        Ok(held) => {
            address.host_key = Some(held.link.host_key.clone());
            journal.submit(journal.event(Outcome::Success, Detail::TargetConnected(address))).await;
            Ok(held)
        }
        Err(failure) => {
            let event = journal.event(Outcome::Failure, Detail::TargetFailed(address));
            journal.submit(event.because(failure.code(), failure.to_string())).await;
            Err(failure)
        }
    }
}

async fn try_connect(
    session: &Arc<Session>,
    needs: Needs,
    address: &mut TargetAddress,
) -> Result<Held, LinkFailure> {
    let (shared, destination) = (&session.shared, session.destination());
    let timeout = shared.limits.target_timeout;
    let place = Arc::clone(&shared.target_connections).try_acquire_owned();
    let place = place.map_err(|_| LinkFailure::TooMany)?;
    // Before dialling: a target without a known key is not even contacted.
    let accepted = destination
        .host_keys
        .accepted(&destination.host, destination.port)
        .map_err(|e| LinkFailure::Link(e.into()))?;
    // Before it is asked for: one that was given to nobody, because the answer came too late, has to be released as well.
    let lease = Lease::new(shared, &session.request, destination);
    let asked = shared.credentials.credential(&session.request, destination);
    let credential = match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(credential)) => credential,
        Ok(Err(error)) => {
            lease.void();
            return Err(LinkFailure::Credential(error.to_string()));
        }
        Err(_) => {
            return Err(LinkFailure::Credential("no credential: its source does not answer".to_owned()));
        }
    };
    address.account = Some(credential.account.clone());
    let opened = async {
        let stream = tokio::time::timeout(timeout, shared.dialer.dial(destination))
            .await
            .map_err(|_| LinkError::Timeout(timeout))?
            .map_err(LinkError::Dial)?;
        Link::open(stream, accepted, credential, needs, timeout).await
    };
    match opened.await {
        Ok(link) => Ok(Held { link: Arc::new(link), lease, place }),
        Err(error) => {
            lease.release().await;
            Err(LinkFailure::Link(error))
        }
    }
}

/// A credential that was given for this session, and has to be released once, whatever becomes of the task that holds it.
pub(crate) struct Lease(Option<(Arc<Shared>, SessionRequest, Destination)>);

impl Lease {
    fn new(shared: &Arc<Shared>, request: &SessionRequest, destination: &Destination) -> Self {
        Self(Some((Arc::clone(shared), request.clone(), destination.clone())))
    }

    /// On a task of its own, so that whoever waits may stop waiting.
    pub(crate) async fn release(mut self) {
        if let Some((shared, request, destination)) = self.0.take() {
            let released =
                tokio::spawn(async move { Self::release_now(&shared, &request, &destination).await });
            let _ = released.await;
        }
    }

    /// No credential was given after all.
    fn void(mut self) {
        self.0 = None;
    }

    /// A source that does not answer is not waited for: the session's end must not depend on it.
    async fn release_now(shared: &Shared, request: &SessionRequest, destination: &Destination) {
        let released = shared.credentials.release(request, destination);
        let _ = tokio::time::timeout(shared.limits.target_timeout, released).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((shared, request, destination)) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { Self::release_now(&shared, &request, &destination).await });
        }
    }
}

/// Why there is no connection to the target.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkFailure {
    #[error(transparent)]
    Link(LinkError),
    #[error("{0}")]
    Credential(String),
    #[error(transparent)]
    Recorder(RecordError),
    #[error("too many connections to targets at the same time")]
    TooMany,
    #[error("the session is ending")]
    Closing,
}

impl LinkFailure {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Link(e) => e.code(),
            Self::Credential(_) => "no_credential",
            Self::Recorder(_) => "recorder_failed",
            Self::TooMany => "too_many_target_connections",
            Self::Closing => "session_ended",
        }
    }
}
