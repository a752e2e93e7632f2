//! Keeping a sink up with a stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::position::{PositionError, Positions};
use super::sink::{Sink, SinkError};
use crate::id::TenantId;
use crate::log::{EventLog, PAGE_EVENTS_MAX, ReadError, Which};
use crate::store::{EventStore, Offset, Record};

/// Time until the first retry; doubled after each.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest time between two tries, save where a sink asks for more. They never end.
pub const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// Failures running after which a sink counts as stalled. One that needs a person is stalled at once.
pub const STALLED_AFTER: u32 = 3;

/// Longest time that a sink may ask to be left alone.
const ASKED_LONGEST: Duration = Duration::from_secs(3_600);

/// How long one send may take unless another time is said.
const SEND_LIMIT: Duration = Duration::from_secs(120);

/// Hears how sinks fare. It is called between two sends, and should not take long.
pub trait Told: Send + Sync {
    /// Something that somebody should know.
    fn told(&self, sink: &str, tenant: &TenantId, news: &News);
}

/// What became of a sink.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum News {
    /// It takes nothing any more; what comes waits in the log. Told once, and again where the reason changes.
    Stalled {
        /// The last event that it took.
        after: Offset,
        /// What happened the last time.
        why: SinkError,
    },
    /// It takes events again.
    Resumed {
        /// The last event that it took.
        after: Offset,
    },
    /// It will never take this event, which is passed over.
    Refused {
        /// Where it stands.
        offset: Offset,
        /// Its id.
        event_id: Uuid,
        /// What the sink answered.
        why: String,
    },
    /// Events were no longer retained when the sink came to them: it has not got those after `from` and up to `to`.
    Lost {
        /// The last event that it took.
        from: Offset,
        /// The last that is not retained.
        to: Offset,
    },
}

/// Why a follower stopped. Whatever a sink does is no reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// Where to begin is not known. To begin somewhere would send everything again, or pass something over.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// The position is of no event of this log: it belongs to another.
    #[error("the sink has come to {0}, where this log has never been")]
    Ahead(Offset),
}

/// Keeps one sink up with one tenant's stream, at least once: an event is sent again where it is not sure that it was taken.
///
/// The position is stored only after the sink has answered for everything before it. Followers share nothing but the log, from which they
/// read at their own pace: a sink that stands still holds up neither another nor a sender.
pub struct Follower<S> {
    log: EventLog<S>,
    tenant: TenantId,
    name: String,
    sink: Arc<dyn Sink>,
    positions: Arc<dyn Positions>,
    told: Arc<dyn Told>,
    batch: usize,
    send_limit: Duration,
}

impl<S> fmt::Debug for Follower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("sink", &self.name)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// How a [`Follower`] follows.
#[derive(Debug)]
#[must_use]
pub struct FollowerBuilder<S>(Follower<S>);

/// Nobody listens.
struct Deaf;

impl Told for Deaf {
    fn told(&self, _: &str, _: &TenantId, _: &News) {}
}

impl<S: EventStore> Follower<S> {
    /// Begins a follower of a tenant's stream. The sink's name is what its position is stored under: another name begins anew.
    pub fn builder(
        log: EventLog<S>,
        tenant: TenantId,
        name: impl Into<String>,
        sink: Arc<dyn Sink>,
        positions: Arc<dyn Positions>,
    ) -> FollowerBuilder<S> {
        FollowerBuilder(Self {
            log,
            tenant,
            name: name.into(),
            sink,
            positions,
            told: Arc::new(Deaf),
            batch: PAGE_EVENTS_MAX,
            send_limit: SEND_LIMIT,
        })
    }
}

impl<S: EventStore> FollowerBuilder<S> {
    /// Tells how the sink fares.
    pub fn tell(mut self, told: Arc<dyn Told>) -> Self {
        self.0.told = told;
        self
    }

    /// Most events of one send, at most [`PAGE_EVENTS_MAX`].
    pub fn batch(mut self, events: usize) -> Self {
        self.0.batch = events.clamp(1, PAGE_EVENTS_MAX);
        self
    }

    /// How long one send may take, 120 s unless said. A sink that waits for acknowledgements needs that time as well.
    pub fn send_limit(mut self, limit: Duration) -> Self {
        self.0.send_limit = limit;
        self
    }

    /// The follower.
    pub fn build(self) -> Follower<S> {
        self.0
    }
}

/// How a sink has fared of late.
#[derive(Default)]
struct Trouble {
    failures: u32,
    told: Option<SinkError>,
}

impl Trouble {
    /// How long to wait after one more failure.
    fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = RETRY_FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1).min(31);
        let own = doubled.min(RETRY_LONGEST);
        asked.map_or(own, |asked| asked.min(ASKED_LONGEST).max(own))
    }
}

impl<S: EventStore> Follower<S> {
    /// Sends what comes, for ever.
    ///
    /// # Errors
    /// Where it is not known how far the sink has come.
    ///
    /// # Cancellation
    /// When the future is dropped, what was being sent is sent again by the next run.
    pub async fn run(&self) -> Result<std::convert::Infallible, FollowError> {
        let mut after = self.positions.load(&self.name, &self.tenant).await?.unwrap_or(Offset::START);
        let mut trouble = Trouble::default();
        loop {
            let page = match self.log.read(&self.tenant, &Which::All, after, self.batch).await {
                Ok(page) => page,
                Err(ReadError::Gone { earliest }) => {
                    // Said before it is so: whoever looks for these events learns that they are missing.
                    self.tell(&News::Lost { from: after, to: earliest });
                    after = self.moved(&mut trouble, after, earliest).await;
                    continue;
                }
                Err(ReadError::Ahead(offset)) => return Err(FollowError::Ahead(offset)),
                Err(error) => {
                    let why = SinkError::Unavailable { why: error.to_string(), after: None };
                    self.failed(&mut trouble, after, why).await;
                    continue;
                }
            };
            if page.records.is_empty() {
                after = page.next;
                if let Err(error) = self.log.wait(&self.tenant, after).await {
                    let why = SinkError::Unavailable { why: error.to_string(), after: None };
                    self.failed(&mut trouble, after, why).await;
                }
                continue;
            }
            after = self.send(&mut trouble, after, &page.records).await;
        }
    }

    /// Sends a page, or its first part; answers how far the sink has come then.
    async fn send(&self, trouble: &mut Trouble, after: Offset, records: &[Record]) -> Offset {
        let sent = timeout(self.send_limit, self.sink.send(&self.tenant, records)).await;
        let answer = sent.unwrap_or_else(|_| {
            Err(SinkError::Unavailable { why: "it did not answer in time".to_owned(), after: None })
        });
        match answer {
            Ok(taken) => match taken.checked_sub(1).and_then(|last| records.get(last)) {
                Some(last) => {
                    let to = self.moved(trouble, after, last.offset).await;
                    self.well(trouble, to);
                    to
                }
                None => {
                    let why = "it answered for none of the events, or for more than there were".to_owned();
                    self.failed(trouble, after, SinkError::Unavailable { why, after: None }).await;
                    after
                }
            },
            Err(SinkError::Refused { index, why }) => match records.get(index) {
                Some(record) => {
                    let (offset, event_id) = (record.offset, record.event.id());
                    self.tell(&News::Refused { offset, event_id, why });
                    let to = self.moved(trouble, after, offset).await;
                    self.well(trouble, to);
                    to
                }
                None => {
                    self.failed(trouble, after, SinkError::Unavailable { why, after: None }).await;
                    after
                }
            },
            Err(error) => {
                self.failed(trouble, after, error).await;
                after
            }
        }
    }

    /// Stores how far the sink has come. Nothing is sent before that is stored: what is not would be sent again, and ever more of it.
    async fn moved(&self, trouble: &mut Trouble, from: Offset, to: Offset) -> Offset {
        while let Err(error) = self.positions.save(&self.name, &self.tenant, to).await {
            let why = SinkError::Unavailable { why: error.to_string(), after: None };
            self.failed(trouble, from, why).await;
        }
        to
    }

    fn well(&self, trouble: &mut Trouble, after: Offset) {
        if std::mem::take(trouble).told.is_some() {
            self.tell(&News::Resumed { after });
        }
    }

    async fn failed(&self, trouble: &mut Trouble, after: Offset, why: SinkError) {
        let asked = match &why {
            SinkError::Unavailable { after, .. } => *after,
            _ => None,
        };
        let pause = trouble.pause(asked);
        let is_stalled = why.needs_a_person() || trouble.failures >= STALLED_AFTER;
        if is_stalled && trouble.told.as_ref() != Some(&why) {
            self.tell(&News::Stalled { after, why: why.clone() });
            trouble.told = Some(why);
        }
        sleep(pause).await;
    }

    fn tell(&self, news: &News) {
        self.told.told(&self.name, &self.tenant, news);
    }
}
