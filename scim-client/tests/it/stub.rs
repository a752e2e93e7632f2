//! A transport whose answers may wait for something, and a clock that is tokio's paused one.

use std::collections::VecDeque;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use scim_client::clock::Clock;
use scim_client::transport::{Body, Connectivity, Stage, Transport, TransportError};
use tokio::time::Instant;

pub(crate) type Answer = Result<Response<Body>, TransportError>;
type Handler = dyn Fn(&Request<Bytes>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// Answers by a closure, and keeps what was asked. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Stub {
    handler: Arc<Handler>,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl Stub {
    pub(crate) fn new<F>(handler: impl Fn(&Request<Bytes>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self { handler: Arc::new(move |request| Box::pin(handler(request))), requests: Arc::default() }
    }

    /// These answers, one after the other; then none ever comes.
    pub(crate) fn scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        Self::new(move |_| {
            let next = answers.lock().unwrap().pop_front();
            async move {
                match next {
                    Some(answer) => answer,
                    None => pending().await,
                }
            }
        })
    }

    /// The same answer to everything.
    pub(crate) fn always(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        Self::new(move |_| ready(answer()))
    }

    pub(crate) fn requests(&self) -> Vec<Request<Bytes>> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[async_trait]
impl Transport for Stub {
    async fn send(&self, request: Request<Bytes>, _timeout: Duration) -> Answer {
        let answer = (self.handler)(&request);
        self.requests.lock().unwrap().push(request);
        answer.await
    }
}

/// An answer with this status, these headers and this body.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let body = Bytes::from(body.to_owned());
    Ok(response.body(stream::once(ready(Ok(body))).boxed()).unwrap())
}

/// An answer whose body never ends.
pub(crate) fn endless(status: u16) -> Answer {
    Ok(Response::builder().status(status).body(stream::pending().boxed()).unwrap())
}

/// No answer.
pub(crate) fn failure(stage: Stage, kind: Connectivity) -> Answer {
    Err(TransportError { stage, kind, message: "as the test says".into() })
}

/// Tokio's clock, which tests pause: time passes at once when everybody waits.
#[derive(Clone, Copy)]
pub(crate) struct Virtual {
    start: Instant,
}

impl Virtual {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Since this clock was made.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

#[async_trait]
impl Clock for Virtual {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
