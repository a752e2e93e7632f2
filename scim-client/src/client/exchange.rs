//! The one way in which a request is sent: place, turn, credential, transport, class of the answer, another try.

use std::future::ready;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use http::{HeaderValue, Method, StatusCode};

use crate::auth::Authorized;
use crate::client::Client;
use crate::error::{Authentication, Error, ErrorKind};
use crate::resilience::{
    Classify as _, Effect, Failure, Grant, RETRY_COST, RETRY_COST_UNANSWERED, Standard, Verdict,
};
use crate::trace::{Attempt, AttemptOutcome, Exchange, Party, Trace};
use crate::transport::{Body, Connectivity, Stage};

/// The headers of a request that nobody is to see, which there are services that repeat.
pub(crate) type Sensitive = Arc<[HeaderValue]>;

/// What is below the base and often shown to anyone, so that an answer says nothing of the credential.
const PUBLIC: [&str; 4] = ["ServiceProviderConfig", "ServiceProviderConfigs", "Schemas", "ResourceTypes"];

impl Client {
    /// This client, with its attempts collected in `trace`; limits, credentials and connections stay shared.
    #[must_use]
    pub fn traced(&self, trace: &Trace) -> Self {
        Self { trace: Some(trace.clone()), ..self.clone() }
    }

    /// Sends a request and reads its answer by `read`, which is told the answer of each attempt and says what it is: the
    /// result, or an error with its kind and status. Tries again by that kind, so that an answer that breaks off halfway is
    /// one more failed attempt. Method, path and attempts are added to the error here.
    pub(super) async fn exchange<T, F, R>(
        &self,
        request: &http::Request<Bytes>,
        until: Option<DateTime<Utc>>,
        read: F,
    ) -> Result<(T, Exchange), Error>
    where
        F: Fn(http::Response<Body>) -> R + Send + Sync,
        R: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let record = Record::new(self, request);
        let call = Call { client: self, request, record: &record, until };
        let result = match until {
            None => call.run(&read).await,
            Some(until) => {
                let left = (until - self.shared.clock.now()).to_std().unwrap_or_default();
                tokio::select! {
                    biased;
                    result = call.run(&read) => result,
                    () = self.shared.clock.sleep(left) => Err(record.out_of_time()),
                }
            }
        };
        let exchange = record.finish();
        match result {
            Ok(value) => Ok((value, exchange)),
            // One of a token endpoint says so itself.
            Err(error) if error.method().is_some() => Err(error.after(exchange)),
            Err(error) => Err(error.about(request.method().clone(), request.uri().path()).after(exchange)),
        }
    }
}

/// One request and its attempts.
struct Call<'a> {
    client: &'a Client,
    request: &'a http::Request<Bytes>,
    record: &'a Record<'a>,
    until: Option<DateTime<Utc>>,
}

/// An attempt that failed.
struct Failed {
    error: Error,
    /// How the request ended, where one was sent or could not be.
    outcome: Option<AttemptOutcome>,
    shown: Option<Authorized>,
}

impl Failed {
    fn early(error: Error) -> Self {
        Self { error, outcome: None, shown: None }
    }

    /// Whether the service does not want what it was shown.
    fn is_refusal(&self) -> bool {
        self.shown.is_some()
            && matches!(
                self.error.kind(),
                ErrorKind::Authentication(Authentication::Refused | Authentication::LoginPage)
            )
    }
}

impl Call<'_> {
    async fn run<T, F, R>(&self, read: &F) -> Result<T, Error>
    where
        F: Fn(http::Response<Body>) -> R + Send + Sync,
        R: Future<Output = Result<T, Error>> + Send,
    {
        let effect = Effect::of(self.request.method(), self.request.uri().path());
        let mut number = 1_u32;
        let mut refusal: Option<(Authorized, Error)> = None;
        // The first attempt that may have done something.
        let mut unknown: Option<Error> = None;
        loop {
            let before = refusal.as_ref().map(|(shown, _)| *shown);
            let failed = match self.attempt(before, read).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            if let Some(shown) = failed.shown
                && failed.is_refusal()
            {
                let says_nothing_done = failed.error.http_status() == Some(401);
                let may_repeat = says_nothing_done || effect != Effect::EachTime;
                if self.another_credential(shown, refusal.is_none() && may_repeat).await {
                    refusal = Some((shown, failed.error));
                    continue;
                }
                return Err(failed.error);
            }
            if let (ErrorKind::Authentication(Authentication::Held), Some((_, error))) =
                (failed.error.kind(), refusal.take())
            {
                return Err(error);
            }
            let failure = Failure::new(&failed.error, effect, number, failed.outcome);
            let wait = self.wait_before_retry(&failure);
            let error = failed.error;
            let Some(wait) = wait else {
                return Err(match (error.kind(), unknown) {
                    // It did nothing this time, which says nothing of the time before.
                    (ErrorKind::NotSent(_) | ErrorKind::RateLimited { .. }, Some(unknown)) => unknown,
                    _ => error,
                });
            };
            if failed.outcome.is_some_and(AttemptOutcome::was_sent)
                && matches!(error.kind(), ErrorKind::UnknownOutcome(_) | ErrorKind::Server)
                && effect != Effect::None
                && unknown.is_none()
            {
                unknown = Some(error);
            }
            self.client.shared.clock.sleep(wait).await;
            number = number.saturating_add(1);
        }
    }

    /// How long to wait before the next attempt; `None` where there is none.
    fn wait_before_retry(&self, failure: &Failure<'_>) -> Option<Duration> {
        let settings = &self.client.shared.resilience;
        let verdict = settings
            .classifiers
            .iter()
            .find_map(|classifier| classifier.classify(failure))
            .or_else(|| Standard.classify(failure));
        let Some(Verdict::Retry { after }) = verdict.filter(|_| failure.is_safe_to_repeat()) else {
            return None;
        };
        if failure.attempt >= settings.retry.attempts_max {
            return None;
        }
        let mut inner = self.client.shared.gate.lock();
        let random = inner.random.f64();
        let wait = after.unwrap_or_else(|| settings.retry.backoff(failure.attempt, random));
        if wait > self.client.patience(self.until) {
            return None;
        }
        let cost = match failure.error.kind() {
            ErrorKind::UnknownOutcome(_) => RETRY_COST_UNANSWERED,
            _ => RETRY_COST,
        };
        inner.budget.pay(cost, settings.retry.budget).then_some(wait)
    }

    /// Sees to a credential that was refused: whether another one is to be shown.
    async fn another_credential(&self, refused: Authorized, may_show: bool) -> bool {
        let shared = &self.client.shared;
        let Some(auth) = &shared.auth else { return false };
        // From here on it is shown by one request at a time, whatever becomes of this call.
        shared.state.latch.doubt(refused.credential);
        // Some services show what they say of themselves to no one: that refusal says nothing of the credential.
        let is_asides = shared.aside && self.is_public();
        // No token, but the credential itself was refused: also where this call is dropped while its source is asked.
        if refused.shown == refused.credential && !is_asides {
            shared.state.latch.refuse(refused.credential);
        }
        let there_is = auth.refused(&refused).await;
        if !(there_is && may_show || is_asides) {
            shared.state.latch.refuse(refused.credential);
        }
        there_is && may_show
    }

    async fn attempt<T, F, R>(&self, before: Option<Authorized>, read: &F) -> Result<T, Failed>
    where
        F: Fn(http::Response<Body>) -> R + Send + Sync,
        R: Future<Output = Result<T, Error>> + Send,
    {
        let shared = &self.client.shared;
        self.client.check_not_held(self.request.headers()).await.map_err(Failed::early)?;
        let (place, request, shown) = loop {
            let place = self.client.enter(self.until).await.map_err(Failed::early)?;
            let mut request = self.request.clone();
            let shown = self.client.show(request.headers_mut(), before).await.map_err(Failed::early)?;
            // The server may have asked for a pause while the credential was waited for.
            if !shared.gate.lock().pace.is_paused(shared.clock.now()) {
                break (place, request, shown);
            }
        };
        let sensitive: Sensitive =
            request.headers().values().filter(|value| value.is_sensitive()).cloned().collect();
        let underway = self.record.begin();
        let answer = match shared.transport.send(request, shared.timeout).await {
            Ok(mut answer) => {
                answer.extensions_mut().insert(sensitive.clone());
                answer
            }
            Err(error) => {
                let outcome = AttemptOutcome::Failed { stage: error.stage, kind: error.kind };
                underway.end(outcome);
                return Err(Failed {
                    error: error.into(),
                    outcome: Some(outcome),
                    shown: shown.map(|shown| shown.authorized),
                });
            }
        };
        let status = answer.status();
        self.note_wish_for_time(place.grant, status, &answer);
        let broken = Arc::new(OnceLock::new());
        let result = read(answer.map(|body| watched(body, broken.clone()))).await;
        let outcome = match broken.get() {
            // A refusal is one, whether its explanation arrives or not.
            Some(kind) if status.is_success() && result.is_err() => {
                AttemptOutcome::Interrupted { status: status.as_u16(), kind: *kind }
            }
            _ => AttemptOutcome::Answered { status: status.as_u16() },
        };
        underway.end(outcome);
        let is_error_of_server = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || matches!(outcome, AttemptOutcome::Interrupted { .. });
        if !is_error_of_server {
            shared.gate.lock().budget.earn();
        }
        let authorized = shown.as_ref().map(|shown| shown.authorized);
        match result {
            Ok(value) => {
                if let Some(authorized) = authorized.filter(|_| self.shows_that_it_works(status)) {
                    shared.state.latch.prove(authorized.credential);
                }
                Ok(value)
            }
            Err(error) => {
                let error = error.concealing_headers(&sensitive);
                Err(Failed { error, outcome: Some(outcome), shown: authorized })
            }
        }
    }

    fn note_wish_for_time(&self, grant: Grant, status: StatusCode, answer: &http::Response<Body>) {
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let shared = &self.client.shared;
            let now = shared.clock.now();
            let after = crate::resilience::retry_after(answer.headers(), now);
            shared.gate.lock().pace.throttled(grant, after, now, shared.dialect.requests_per_minute);
        }
    }

    /// Whether an answer comes only to who is let in.
    fn shows_that_it_works(&self, status: StatusCode) -> bool {
        (status.is_success() || status == StatusCode::NOT_MODIFIED) && !self.is_public()
    }

    fn is_public(&self) -> bool {
        self.request.uri().path().split('/').any(|segment| PUBLIC.contains(&segment))
    }
}

/// The body, with a note of how it broke off. Whatever is in it came after the request was sent.
fn watched(body: Body, broken: Arc<OnceLock<Connectivity>>) -> Body {
    Box::pin(body.then(move |piece| {
        ready(piece.map_err(|mut error| {
            error.stage = Stage::MaybeSent;
            let _ = broken.set(error.kind);
            error
        }))
    }))
}

/// What was tried of one call.
struct Record<'a> {
    client: &'a Client,
    method: &'a Method,
    path: &'a str,
    exchange: Mutex<Exchange>,
}

impl<'a> Record<'a> {
    fn new(client: &'a Client, request: &'a http::Request<Bytes>) -> Self {
        let (method, path) = (request.method(), request.uri().path());
        Self { client, method, path, exchange: Mutex::default() }
    }

    fn begin(&self) -> Underway<'_> {
        Underway { record: self, at: self.client.shared.clock.now(), is_open: true }
    }

    fn push(&self, attempt: Attempt) {
        if let Some(trace) = &self.client.trace {
            trace.push(attempt.clone());
        }
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    /// The call was given up because its time is over.
    fn out_of_time(&self) -> Error {
        let exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = match exchange.was_sent() {
            true => ErrorKind::UnknownOutcome(Connectivity::Timeout),
            false => ErrorKind::NotSent(Connectivity::Timeout),
        };
        Error::new(kind).detail("the time for the whole call is over")
    }

    fn finish(self) -> Exchange {
        self.exchange.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was sent and has not ended. Dropped before it has, it was abandoned.
struct Underway<'a> {
    record: &'a Record<'a>,
    at: DateTime<Utc>,
    is_open: bool,
}

impl Underway<'_> {
    fn end(mut self, outcome: AttemptOutcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: AttemptOutcome) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let record = self.record;
        record.push(Attempt {
            at: self.at,
            to: Party::Service,
            method: record.method.clone(),
            path: record.path.to_owned(),
            outcome,
            duration: (record.client.shared.clock.now() - self.at).to_std().unwrap_or_default(),
        });
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.close(AttemptOutcome::Abandoned);
    }
}
