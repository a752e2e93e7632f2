//! Polling for Security Event Tokens (RFC 8936).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::keys::{Caller, Reader};
use super::{LONG_POLL, PAGE_BYTES_MAX, Problem, Shared, body};
use crate::log::{PAGE_EVENTS_MAX, Which};
use crate::set::{Issuer, Positions, PositionsError, Receiver, SignError, WINDOW_EVENTS_MAX};
use crate::store::{EventStore, Offset};

/// Most bytes of a request for tokens.
pub const POLL_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Tokens, and how far each receiver is.
pub(super) struct Sets {
    issuer: Issuer,
    positions: Box<dyn Positions>,
    /// Each is asked by one at a time.
    receivers: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Receiver>>>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    max_events: Option<u32>,
    #[serde(default)]
    return_immediately: bool,
    #[serde(default)]
    ack: Vec<Uuid>,
    #[serde(default, rename = "setErrs")]
    set_errs: BTreeMap<Uuid, Value>,
}

/// Tokens by their `jti`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    sets: BTreeMap<Uuid, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more_available: bool,
}

impl From<SignError> for Problem {
    fn from(_: SignError) -> Self {
        Self::unavailable("unavailable", "tokens cannot be signed")
    }
}

impl From<PositionsError> for Problem {
    fn from(_: PositionsError) -> Self {
        Self::unavailable("unavailable", "it is not known what this receiver has")
    }
}

impl Sets {
    pub(super) fn new(issuer: Issuer, positions: impl Positions) -> Self {
        Self { issuer, positions: Box::new(positions), receivers: Mutex::default() }
    }

    fn receiver(&self, name: &str) -> Arc<tokio::sync::Mutex<Option<Receiver>>> {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(receivers.entry(name.to_owned()).or_default())
    }

    /// A receiver that is new gets what comes from now on, or goes on from where its key was for itself.
    async fn known(&self, name: &str, key: &str, now: Offset) -> Result<Receiver, PositionsError> {
        if let Some(position) = self.positions.load(name).await? {
            return Ok(Receiver::at(position));
        }
        let begin = self.positions.load(key).await?.unwrap_or(now);
        self.positions.keep(name, begin).await?;
        Ok(Receiver::at(begin))
    }
}

/// Takes answers, and gives tokens that have none, or waits for them.
pub(super) async fn poll<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(caller): Reader,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    let Some(sets) = &api.sets else {
        let status = axum::http::StatusCode::NOT_IMPLEMENTED;
        return Err(Problem::new(status, "no_tokens", "this service makes no tokens"));
    };
    let body = body::read(&headers, body, POLL_BODY_BYTES_MAX, None).await?;
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("no request for tokens: {error}")))?;
    let Caller { tenant, .. } = &caller;
    let bounds = api.log.bounds(tenant).await?;
    let key = format!("{tenant}\n{}", caller.name());
    // Tenants have no line ends in them.
    let name = caller.receiver().map_or_else(|| key.clone(), |name| format!("{tenant}\nreceiver\n{name}"));
    let receiver = sets.receiver(&name);
    let max = asked.max_events.and_then(|max| usize::try_from(max).ok()).unwrap_or(WINDOW_EVENTS_MAX);
    let waits = !asked.return_immediately && max > 0;
    let deadline = Instant::now() + LONG_POLL;
    let mut answers: Vec<Uuid> = asked.ack.into_iter().chain(asked.set_errs.into_keys()).collect();
    let mut place = None;
    loop {
        let page = {
            // Nobody holds it while waiting: answers may come by another request.
            let mut receiver = receiver.lock().await;
            let receiver = match &mut *receiver {
                Some(receiver) => receiver,
                empty => empty.insert(sets.known(&name, &key, bounds.last).await?),
            };
            // What is no longer kept cannot be sent any more.
            if receiver.position() < bounds.forgotten {
                *receiver = Receiver::at(bounds.forgotten);
            }
            if receiver.answered(answers.drain(..)) {
                sets.positions.keep(&name, receiver.position()).await?;
            }
            let page = api.log.read(tenant, &Which::All, receiver.position(), PAGE_EVENTS_MAX).await?;
            let (sent, is_cut) = receiver.send(&page.records, max);
            if !sent.is_empty() || !waits {
                let (mut tokens, mut bytes) = (BTreeMap::new(), 0_usize);
                let mut is_cut = is_cut || !page.is_up_to_date;
                for record in sent {
                    let token = sets.issuer.token(record, tenant)?;
                    bytes = bytes.saturating_add(token.jwt.len());
                    if bytes > PAGE_BYTES_MAX && !tokens.is_empty() {
                        // The rest has no answer, so it comes again.
                        is_cut = true;
                        break;
                    }
                    tokens.insert(token.jti, token.jwt);
                }
                return Ok(Json(Answer { sets: tokens, more_available: is_cut }));
            }
            page
        };
        if place.is_none() {
            place = Some(caller.waits()?);
        }
        // All that was read is answered for, and more may come behind it.
        match tokio::time::timeout_at(deadline, api.log.wait(tenant, page.next)).await {
            Ok(woken) => woken?,
            Err(_) => return Ok(Json(Answer { sets: BTreeMap::new(), more_available: false })),
        }
    }
}
