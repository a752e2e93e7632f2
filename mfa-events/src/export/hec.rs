//! Splunk's HTTP Event Collector.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;
use uuid::Uuid;

use super::Format;
use super::sink::{Sink, SinkError};
use crate::id::TenantId;
use crate::outlet::{Answer, Outlet, OutletError, Way};
use crate::store::{Offset, Record};

/// Most bytes of one request: what Splunk Cloud advises.
pub const HEC_BATCH_BYTES_MAX: usize = 1_000_000;

/// How often it is asked whether events were indexed.
const ACK_EVERY: Duration = Duration::from_secs(2);

/// How long that is asked before it counts as a failure.
const ACK_LIMIT: Duration = Duration::from_secs(90);

/// How long that may take in all before events are sent again: as long as Splunk keeps what it knows of a channel that is not asked.
const ACK_LOST: Duration = Duration::from_secs(600);

/// Longest such time; it doubles with each time that events are sent again.
const ACK_LOST_LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// Numbers that are asked for at once: of the latest times that the same events were sent.
const ACKS_MAX: usize = 8;

/// Sends events to a Splunk HTTP Event Collector, many in one request.
///
/// With [`ack`](HecBuilder::ack), events count as taken when Splunk says that they are indexed. Without, they count when it has received
/// them: an indexer that is killed then may lose them. Splunk Cloud has no acknowledgements save for its Firehose endpoint.
///
/// An indexer that is slow is asked on, by the same number, and gets nothing twice for it; only what it has not acknowledged for ten minutes
/// is sent again, and then each time after twice as long. Where one event of a request is refused, those before it go out again in a
/// request of their own: Splunk may have kept them, and does not say so. Splunk keeps what comes twice: search with `| dedup event_id`.
pub struct HecSink {
    way: Way,
    events: Url,
    acks: Url,
    headers: HeaderMap,
    settings: Settings,
    /// What was sent and is not said to be indexed yet.
    waiting: Mutex<HashMap<TenantId, Waiting>>,
}

/// Events that are not said to be indexed yet.
struct Waiting {
    first: Offset,
    last: Offset,
    count: usize,
    /// The numbers to ask for, one for each time that they were sent.
    acks: Vec<u64>,
    sent: Instant,
    /// When they count as lost.
    lost_after: Duration,
}

/// How a [`HecSink`] sends.
#[must_use]
pub struct HecBuilder {
    url: String,
    token: String,
    outlet: Outlet,
    settings: Settings,
}

struct Settings {
    format: Format,
    host: Option<String>,
    source: String,
    sourcetype: String,
    index: Option<String>,
    channel: Option<Uuid>,
    ack_every: Duration,
    ack_limit: Duration,
    ack_lost: Duration,
    batch_bytes: usize,
}

impl HecSink {
    /// Begins a sink for a collector, `https://splunk.example.com:8088`, with its token.
    pub fn builder(url: impl Into<String>, token: impl Into<String>) -> HecBuilder {
        HecBuilder {
            url: url.into(),
            token: token.into(),
            outlet: Outlet::default(),
            settings: Settings {
                format: Format::Native,
                host: None,
                source: "mfa-events".to_owned(),
                sourcetype: "mfa:event".to_owned(),
                index: None,
                channel: None,
                ack_every: ACK_EVERY,
                ack_limit: ACK_LIMIT,
                ack_lost: ACK_LOST,
                batch_bytes: HEC_BATCH_BYTES_MAX,
            },
        }
    }
}

impl fmt::Debug for HecSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HecSink").field("host", &self.events.host_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for HecBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HecBuilder").field("outlet", &self.outlet).finish_non_exhaustive()
    }
}

impl HecBuilder {
    /// How it may be reached.
    pub fn outlet(mut self, outlet: Outlet) -> Self {
        self.outlet = outlet;
        self
    }

    /// How events are written.
    pub fn format(mut self, format: Format) -> Self {
        self.settings.format = format;
        self
    }

    /// The machine that events are said to come from.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.settings.host = Some(host.into());
        self
    }

    /// The index, where it is not the token's.
    pub fn index(mut self, index: impl Into<String>) -> Self {
        self.settings.index = Some(index.into());
        self
    }

    /// The source type, `mfa:event` unless said.
    pub fn sourcetype(mut self, sourcetype: impl Into<String>) -> Self {
        self.settings.sourcetype = sourcetype.into();
        self
    }

    /// Waits until events are indexed. The token must have acknowledgement switched on, and no other sink may use this channel.
    pub fn ack(mut self, channel: Uuid) -> Self {
        self.settings.channel = Some(channel);
        self
    }

    /// How often it is asked whether events are indexed, 2 s unless said, and after how long a send has failed, 90 s unless said: the next
    /// one asks on.
    pub fn ack_times(mut self, every: Duration, limit: Duration) -> Self {
        self.settings.ack_every = every;
        self.settings.ack_limit = limit;
        self
    }

    /// After how long without an acknowledgement events count as lost and are sent again, 10 minutes unless said. Each time it takes twice
    /// as long, up to a day.
    pub fn ack_lost(mut self, after: Duration) -> Self {
        self.settings.ack_lost = after;
        self
    }

    /// Most bytes of one request, at most [`HEC_BATCH_BYTES_MAX`].
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch_bytes = bytes.min(HEC_BATCH_BYTES_MAX);
        self
    }

    /// The sink.
    ///
    /// # Errors
    /// Where address or token are none, or the address may not be reached.
    pub fn build(self) -> Result<HecSink, OutletError> {
        let way = self.outlet.open(&self.url)?;
        let mut headers = HeaderMap::new();
        let mut token = HeaderValue::from_str(&format!("Splunk {}", self.token))
            .map_err(|_| OutletError::Setting("the token of a collector is visible ASCII"))?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(channel) = self.settings.channel
            && let Ok(channel) = HeaderValue::from_str(&channel.to_string())
        {
            headers.insert("x-splunk-request-channel", channel);
        }
        let at = |path: &str| {
            let mut url = way.url().clone();
            let base = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{base}{path}"));
            url
        };
        let (events, acks) = (at("/services/collector/event"), at("/services/collector/ack"));
        Ok(HecSink { events, acks, way, headers, settings: self.settings, waiting: Mutex::default() })
    }
}

/// One event as a collector takes it.
#[derive(Serialize)]
struct Entry<'e> {
    time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'e str>,
    source: &'e str,
    sourcetype: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'e str>,
    event: Value,
}

/// What a collector says.
#[derive(Deserialize)]
struct Said {
    code: Option<u32>,
    #[serde(rename = "ackId")]
    ack: Option<u64>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
}

#[derive(Serialize)]
struct Ask<'a> {
    acks: &'a [u64],
}

#[derive(Deserialize)]
struct Acked {
    acks: HashMap<String, bool>,
}

#[async_trait]
impl Sink for HecSink {
    async fn send(&self, tenant: &TenantId, records: &[Record]) -> Result<usize, SinkError> {
        let before = self.waiting_for(tenant, records);
        if let Some((count, acks, false)) = &before {
            return self.indexed(tenant, acks).await.map(|()| *count);
        }
        let (mut budget, mut most) = (self.settings.batch_bytes, records.len());
        if let Some((count, _, _)) = before {
            most = count;
        }
        let (taken, ack) = loop {
            let (body, taken) = self.batch(tenant, records.get(..most).unwrap_or(records), budget)?;
            let half = body.len() / 2;
            let answer = self.post(self.events.clone(), body).await?;
            let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
            match read(&answer, said.as_ref(), taken)? {
                Read::Taken(ack) => break (taken, ack),
                Read::TooMuch => budget = half,
                Read::Before(count) => most = count,
            }
        };
        match (self.settings.channel, ack) {
            (None, _) => Ok(taken),
            (Some(_), Some(ack)) => {
                let acks = self.wait_for(tenant, records.get(..taken).unwrap_or_default(), ack);
                self.indexed(tenant, &acks).await.map(|()| taken)
            }
            (Some(_), None) => Err(SinkError::Misconfigured {
                why: "the token has no acknowledgement switched on".to_owned(),
            }),
        }
    }
}

impl HecSink {
    fn waiting(&self) -> MutexGuard<'_, HashMap<TenantId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of these were sent before and what to ask for, and whether they count as lost.
    fn waiting_for(&self, tenant: &TenantId, records: &[Record]) -> Option<(usize, Vec<u64>, bool)> {
        let mut all = self.waiting();
        let waiting = all.get(tenant)?;
        // Where fewer are sent this time, they were among these, and are answered for when all of them are.
        let count = waiting.count.min(records.len());
        let last = count.checked_sub(1).and_then(|last| records.get(last)).map(|last| last.offset);
        let are_these = records.first().map(|first| first.offset) == Some(waiting.first)
            && (last == Some(waiting.last) || count < waiting.count);
        if !are_these {
            all.remove(tenant);
            return None;
        }
        Some((count, waiting.acks.clone(), waiting.sent.elapsed() >= waiting.lost_after))
    }

    /// Notes what was sent before it is waited for: whoever gives up waiting asks on the next time. Answers what to ask for.
    fn wait_for(&self, tenant: &TenantId, records: &[Record], ack: u64) -> Vec<u64> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return vec![ack] };
        let mut all = self.waiting();
        let before = all.remove(tenant).filter(|before| before.last == last.offset);
        let (mut acks, lost_after) = match before {
            Some(before) => (before.acks, before.lost_after.saturating_mul(2).min(ACK_LOST_LONGEST)),
            None => (Vec::new(), self.settings.ack_lost),
        };
        acks.push(ack);
        acks.drain(..acks.len().saturating_sub(ACKS_MAX));
        let told = acks.clone();
        let (first, last, count, sent) = (first.offset, last.offset, records.len(), Instant::now());
        all.insert(tenant.clone(), Waiting { first, last, count, acks, sent, lost_after });
        told
    }

    /// As many of the first as fit, at least one.
    fn batch(
        &self,
        tenant: &TenantId,
        records: &[Record],
        budget: usize,
    ) -> Result<(Vec<u8>, usize), SinkError> {
        let (mut body, mut taken) = (Vec::new(), 0_usize);
        for record in records {
            let entry = self.entry(tenant, record)?;
            if taken > 0 && body.len().saturating_add(entry.len()) > budget {
                break;
            }
            // Entries follow each other with nothing between them.
            body.extend(entry);
            taken = taken.saturating_add(1);
        }
        Ok((body, taken))
    }

    fn entry(&self, tenant: &TenantId, record: &Record) -> Result<Vec<u8>, SinkError> {
        // A millisecond of any year is exact enough in a number of 53 bits.
        #[allow(clippy::cast_precision_loss)]
        let time = record.event.at().as_datetime().timestamp_millis() as f64 / 1_000.0;
        let settings = &self.settings;
        let entry = Entry {
            time,
            host: settings.host.as_deref(),
            source: &settings.source,
            sourcetype: &settings.sourcetype,
            index: settings.index.as_deref(),
            event: settings.format.value(tenant, record),
        };
        serde_json::to_vec(&entry).map_err(|_| SinkError::unavailable("an event cannot be written"))
    }

    async fn post(&self, url: Url, body: Vec<u8>) -> Result<Answer, SinkError> {
        let posted = self.way.post(url, self.headers.clone(), body).await;
        posted.map_err(|silence| SinkError::unavailable(silence.as_str()))
    }

    /// Asks until they are indexed, whichever time they were sent. A channel's acknowledgements are told once: what is true is not asked
    /// again.
    async fn indexed(&self, tenant: &TenantId, acks: &[u64]) -> Result<(), SinkError> {
        let begun = Instant::now();
        let ask = serde_json::to_vec(&Ask { acks }).unwrap_or_default();
        loop {
            let answer = self.post(self.acks.clone(), ask.clone()).await?;
            let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
            if answer.status != 200 {
                return Err(match read(&answer, said.as_ref(), 0) {
                    // The question is refused, not an event.
                    Ok(_) | Err(SinkError::Refused { .. }) => SinkError::Misconfigured {
                        why: format!("asked for its answer, it said {}", answer.status),
                    },
                    Err(error) => error,
                });
            }
            let acked: Option<Acked> = serde_json::from_slice(&answer.body).ok();
            let is_acked =
                |acked: Acked| acks.iter().any(|ack| acked.acks.get(&ack.to_string()) == Some(&true));
            if acked.is_some_and(is_acked) {
                self.waiting().remove(tenant);
                return Ok(());
            }
            if begun.elapsed() >= self.settings.ack_limit {
                return Err(SinkError::unavailable("it did not say that the events are indexed"));
            }
            sleep(self.settings.ack_every).await;
        }
    }
}

/// What an answer means.
enum Read {
    /// Events were taken; the number to ask for.
    Taken(Option<u64>),
    /// To be sent again in smaller requests: they are too many, or one of them is bad and it is not said which.
    TooMuch,
    /// The event behind so many is bad; these go out by themselves.
    Before(usize),
}

fn read(answer: &Answer, said: Option<&Said>, taken: usize) -> Result<Read, SinkError> {
    let code = said.and_then(|said| said.code);
    let why = match code {
        Some(code) => format!("it answered {}, code {code}", answer.status),
        None => format!("it answered {}", answer.status),
    };
    match (answer.status, code) {
        (200, Some(0)) => Ok(Read::Taken(said.and_then(|said| said.ack))),
        // A token that is missing, not known or switched off.
        (401 | 403, _) => Err(SinkError::Denied { why }),
        // An index that the token may not write to, a channel that is none, acknowledgement that is off, a token in the address.
        (400, Some(7 | 10 | 11 | 14 | 16)) | (404 | 405 | 415, _) => Err(SinkError::Misconfigured { why }),
        // Malformed, blank, without a body, or whatever else it has against what was sent: one event, and perhaps every one.
        (400 | 422, _) => match said.and_then(|said| said.invalid) {
            Some(index) if index > 0 && index < taken => Ok(Read::Before(index)),
            Some(0) => Err(SinkError::Refused { index: 0, why }),
            _ if taken <= 1 => Err(SinkError::Refused { index: 0, why }),
            _ => Ok(Read::TooMuch),
        },
        // One event is too long for it.
        (413, _) if taken <= 1 => Err(SinkError::Refused { index: 0, why }),
        (413, _) => Ok(Read::TooMuch),
        // Busy (503, code 9), shutting down, a queue that is full (429), and whatever else.
        _ => Err(SinkError::Unavailable { why, after: answer.after }),
    }
}
