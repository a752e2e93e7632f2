//! The one way in which a request is sent: credential, limits, transport, class of the answer, another try.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::client::Client;
use crate::error::Error;
use crate::trace::{Attempt, AttemptOutcome, Exchange, Party, Trace};
use crate::transport::Body;

impl Client {
    /// This client, with its attempts collected in `trace`; limits, credentials and connections stay shared.
    #[must_use]
    pub fn traced(&self, trace: &Trace) -> Self {
        Self { trace: Some(trace.clone()), ..self.clone() }
    }

    /// Sends a request; an answer of any status comes back, with its body still unread and its [`Exchange`] among its
    /// extensions. Tries again by status and connectivity.
    #[expect(dead_code, reason = "lists are being written")]
    pub(crate) async fn exchange(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>, Error> {
        self.exchange_as(request, |answer| ready(Ok(answer))).await
    }

    /// Sends a request and reads its answer by `read`, which is told the answer of each attempt and says what it is: the
    /// result, or an error with its kind and status. Tries again by that kind, so that an answer that breaks off halfway is
    /// one more failed attempt. Method, path and attempts are added to the error here.
    pub(crate) async fn exchange_as<T, F, R>(
        &self,
        mut request: http::Request<Bytes>,
        read: F,
    ) -> Result<T, Error>
    where
        F: Fn(http::Response<Body>) -> R + Send + Sync,
        R: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let shared = &self.shared;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if let Some(auth) = &shared.auth {
            auth.authorize(request.headers_mut(), &*shared.transport, &*shared.clock).await?;
        }
        let at = shared.clock.now();
        let sent = shared.transport.send(request, shared.timeout).await;
        let outcome = match &sent {
            Ok(answer) => AttemptOutcome::Answered { status: answer.status().as_u16() },
            Err(error) => AttemptOutcome::Failed { stage: error.stage, kind: error.kind },
        };
        let attempt = Attempt {
            at,
            to: Party::Service,
            method: method.clone(),
            path: path.clone(),
            outcome,
            duration: elapsed(at, shared.clock.now()),
        };
        if let Some(trace) = &self.trace {
            trace.push(attempt.clone());
        }
        let mut exchange = Exchange::default();
        exchange.push(attempt);
        let result = match sent {
            Ok(mut answer) => {
                answer.extensions_mut().insert(exchange.clone());
                read(answer).await
            }
            Err(error) => Err(Error::from(error)),
        };
        result.map_err(|error| error.about(method, path).after(exchange))
    }
}

fn elapsed(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}
