//! Keeping a sink up with a stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::position::{PositionError, Positions, is_named};
use super::sink::{Sink, SinkError};
use crate::id::TenantId;
use crate::log::{EventLog, PAGE_EVENTS_MAX, Page, ReadError, Which};
use crate::store::{EventStore, Offset, Record};

/// Time until the first retry; doubled after each.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest time between two tries, save where a sink asks for more. They never end.
pub const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// Failures running after which a sink counts as stalled. One that needs a person is stalled at once.
pub const STALLED_AFTER: u32 = 3;

/// Events that a sink refuses one after the other, and takes none, before that counts as refusing all of them.
pub const REFUSED_RUNNING_MAX: usize = 10;

/// Events behind those that are tried in turn, one with each retry, while a sink refuses all of them. Then it begins with the first again.
pub const PROBED_MAX: usize = 1_000;

/// Failures running after which an event that is sent alone may be what the sink fails at.
pub const ALONE_AFTER: u32 = 10;

/// How often more a sink fails at such an event, and takes another one in between, before the event is passed over.
const FAILS_AGAIN: u32 = 3;

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
    /// It will never take this event, which is passed over: it took another one, and not this. It may be told again after a restart.
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
/// The position is stored only after the sink has answered for everything before it.
///
/// An event that is refused is passed over only once the sink has taken another, and refuses it again: where it refuses whatever comes, the
/// fault is not the event's. After [`REFUSED_RUNNING_MAX`] of them the sink is tried again and again with the first, and with one more
/// behind those that it has refused, and at the end of the stream with all of them, until it takes any; it counts as stalled
/// ([`SinkError::RefusesAll`]), and nothing is lost.
///
/// Where a sink fails, less is sent with each retry. An event at which it fails alone after [`ALONE_AFTER`] of them, and four times more in
/// turn with another one that it takes each time, is passed over as well. So no event keeps a sink from those behind it for good, and none
/// is given up because a sink is down. What is tried again like this may arrive behind events that came after it.
///
/// Followers share nothing but the log, from which they read at their own pace: a sink that stands still holds up neither another nor a
/// sender.
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
    /// Begins a follower of a tenant's stream. The sink's name, at most [`SINK_NAME_BYTES_MAX`](super::SINK_NAME_BYTES_MAX), is what its
    /// position is stored under: another name begins anew.
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

/// An event that was refused.
struct Refusal {
    record: Record,
    why: String,
    /// It did not refuse it, but failed, over and over.
    is_failure: bool,
}

/// Where a run is.
struct Run {
    /// Up to here the sink has answered, and that is stored.
    after: Offset,
    /// What it has refused since, and has taken nothing.
    refused: Vec<Refusal>,
    /// Most events of the next send.
    most: usize,
    trouble: Trouble,
}

/// What a sink made of a page.
enum Sent {
    /// The first so many were taken.
    Taken(usize),
    /// This one is refused; those before it were taken.
    Refused(usize, String),
    Failed(SinkError),
}

impl<S: EventStore> Follower<S> {
    /// Sends what comes, for ever.
    ///
    /// # Errors
    /// Where it is not known how far the sink has come, or its name is none.
    ///
    /// # Cancellation
    /// When the future is dropped, what was being sent is sent again by the next run.
    pub async fn run(&self) -> Result<std::convert::Infallible, FollowError> {
        is_named(&self.name)?;
        let after = self.positions.load(&self.name, &self.tenant).await?.unwrap_or(Offset::START);
        let (most, trouble) = (self.batch, Trouble::default());
        let mut run = Run { after, refused: Vec::new(), most, trouble };
        loop {
            let from = run.refused.last().map_or(run.after, |refusal| refusal.record.offset);
            let page = match self.log.read(&self.tenant, &Which::All, from, run.most).await {
                Ok(page) => page,
                Err(ReadError::Gone { earliest }) => {
                    run.refused.clear();
                    self.lost(&mut run, earliest).await;
                    continue;
                }
                Err(ReadError::Ahead(offset)) => return Err(FollowError::Ahead(offset)),
                Err(error) => {
                    self.failed(&mut run, SinkError::unavailable(error.to_string())).await;
                    continue;
                }
            };
            let refuses_all = run.refused.len() >= REFUSED_RUNNING_MAX;
            match page.records.first() {
                // None came to show whether it is the event's fault.
                _ if refuses_all => self.probe(&mut run, page.records.first()).await,
                None if !run.refused.is_empty() => self.probe(&mut run, None).await,
                None => {
                    run.after = page.next;
                    if let Err(error) = self.log.wait(&self.tenant, run.after).await {
                        self.failed(&mut run, SinkError::unavailable(error.to_string())).await;
                    }
                }
                Some(_) => self.send(&mut run, &page.records).await,
            }
        }
    }

    /// Sends a page, or its first part.
    async fn send(&self, run: &mut Run, records: &[Record]) {
        match self.sent(records).await {
            Sent::Taken(taken) => {
                if let Some(last) = taken.checked_sub(1).and_then(|last| records.get(last)) {
                    self.took(run, last).await;
                }
            }
            Sent::Refused(index, why) => {
                let Some(record) = records.get(index) else { return };
                let refusal = Refusal { record: record.clone(), why, is_failure: false };
                match index.checked_sub(1).and_then(|last| records.get(last)) {
                    None => run.refused.push(refusal),
                    // Those before it were taken.
                    Some(last) => {
                        if self.took(run, last).await {
                            self.passed_over(&refusal);
                            self.moved(run, record.offset).await;
                        }
                    }
                }
            }
            Sent::Failed(why) => {
                let failures = run.trouble.failures;
                if failures >= STALLED_AFTER || run.most < self.batch {
                    run.most = (records.len() / 2).max(1);
                }
                let text = why.to_string();
                self.failed(run, why).await;
                if let ([record], ALONE_AFTER..) = (records, failures)
                    && self.page(record.offset).await.is_ok_and(|page| !page.records.is_empty())
                {
                    // Perhaps it is the event: what comes behind it will tell.
                    run.refused.push(Refusal { record: record.clone(), why: text, is_failure: true });
                }
            }
        }
    }

    /// The sink has refused whatever it was sent of late. It is tried again, after a pause, with the first of these; and with the next one
    /// behind them, which may show that it is they that are bad.
    async fn probe(&self, run: &mut Run, next: Option<&Record>) {
        let (count, why) = (run.refused.len(), run.refused.last().map(|refusal| refusal.why.clone()));
        let from = run.refused.last().map_or(run.after, |refusal| refusal.record.offset);
        let why = SinkError::RefusesAll { count, why: why.unwrap_or_default() };
        let pause = self.told_of_failure(run, why);
        let Some(next) = next else {
            match timeout(pause, self.log.wait(&self.tenant, from)).await {
                // What comes meanwhile is tried at once.
                Ok(Ok(())) if count < REFUSED_RUNNING_MAX => return,
                Ok(Err(_)) => sleep(pause).await,
                Ok(Ok(())) | Err(_) => {}
            }
            // There is no other: all of them go out again.
            run.refused.clear();
            return;
        };
        sleep(pause).await;
        let first = match self.page(run.after).await {
            Ok(page) => page.records.into_iter().next(),
            Err(ReadError::Gone { earliest }) => {
                run.refused.retain(|refusal| refusal.record.offset > earliest);
                return self.lost(run, earliest).await;
            }
            Err(_) => None,
        };
        let Some(first) = first else { return };
        let is_failure = run.refused.first().is_some_and(|refusal| refusal.is_failure);
        match self.sent(std::slice::from_ref(&first)).await {
            Sent::Taken(_) => {
                // It was not the events: what was refused goes out again.
                run.refused.clear();
                self.took(run, &first).await;
                return;
            }
            Sent::Failed(why) if !is_failure => {
                if let (Some(first), ALONE_AFTER..) = (run.refused.first_mut(), run.trouble.failures) {
                    first.is_failure = true;
                }
                return self.failed(run, why).await;
            }
            Sent::Refused(..) | Sent::Failed(_) => {}
        }
        let (why, is_failure) = match self.sent(std::slice::from_ref(next)).await {
            Sent::Taken(_) => {
                self.took(run, next).await;
                return;
            }
            Sent::Refused(_, why) => (why, false),
            // Whether it is down shows with the first. If it is not, what comes behind this one may be taken.
            Sent::Failed(why) => (why.to_string(), true),
        };
        match count < REFUSED_RUNNING_MAX.saturating_add(PROBED_MAX) {
            true => run.refused.push(Refusal { record: next.clone(), why, is_failure }),
            // From the first again: some of them may be taken by now.
            false => run.refused.clear(),
        }
    }

    /// The event behind this offset.
    async fn page(&self, after: Offset) -> Result<Page, ReadError> {
        self.log.read(&self.tenant, &Which::All, after, 1).await
    }

    async fn sent(&self, records: &[Record]) -> Sent {
        let sent = timeout(self.send_limit, self.sink.send(&self.tenant, records)).await;
        match sent.unwrap_or_else(|_| Err(SinkError::unavailable("it did not answer in time"))) {
            Ok(taken) if (1..=records.len()).contains(&taken) => Sent::Taken(taken),
            Ok(_) => {
                let why = "it answered for none of the events, or for more than there were";
                Sent::Failed(SinkError::unavailable(why))
            }
            Err(SinkError::Refused { index, why }) if index < records.len() => Sent::Refused(index, why),
            Err(SinkError::Refused { why, .. }) => Sent::Failed(SinkError::unavailable(why)),
            Err(error) => Sent::Failed(error),
        }
    }

    /// The sink has taken events up to this one, and so it does take events: what it refused or failed at before them, and does now, is bad.
    /// Answers whether that is sure; where it is not, what was taken goes out again behind those.
    async fn took(&self, run: &mut Run, last: &Record) -> bool {
        run.most = run.most.saturating_mul(2).min(self.batch);
        for Refusal { record, is_failure, .. } in std::mem::take(&mut run.refused) {
            let why = match self.sent(std::slice::from_ref(&record)).await {
                Sent::Taken(_) => continue,
                Sent::Refused(_, why) => why,
                Sent::Failed(why) if is_failure && self.fails_at(&record, last).await => why.to_string(),
                Sent::Failed(why) => {
                    self.failed(run, why).await;
                    return false;
                }
            };
            self.passed_over(&Refusal { record, why, is_failure });
        }
        self.moved(run, last.offset).await;
        if std::mem::take(&mut run.trouble).told.is_some() {
            self.tell(&News::Resumed { after: last.offset });
        }
        true
    }

    /// Whether the sink fails at one event each time, and takes another one each time in between: it is not down, and it is not chance.
    async fn fails_at(&self, record: &Record, other: &Record) -> bool {
        for _ in 0..FAILS_AGAIN {
            let takes_other = matches!(self.sent(std::slice::from_ref(other)).await, Sent::Taken(_));
            sleep(RETRY_FIRST).await;
            if !takes_other || !matches!(self.sent(std::slice::from_ref(record)).await, Sent::Failed(_)) {
                return false;
            }
        }
        true
    }

    /// Said before it is so: whoever looks for these events learns that they are missing.
    async fn lost(&self, run: &mut Run, to: Offset) {
        self.tell(&News::Lost { from: run.after, to });
        self.moved(run, to).await;
    }

    fn passed_over(&self, refusal: &Refusal) {
        let Refusal { record, why, .. } = refusal;
        let (offset, event_id) = (record.offset, record.event.id());
        self.tell(&News::Refused { offset, event_id, why: why.clone() });
    }

    /// Stores how far the sink has come. Nothing is sent before that is stored: what is not would be sent again, and ever more of it.
    async fn moved(&self, run: &mut Run, to: Offset) {
        while let Err(error) = self.positions.save(&self.name, &self.tenant, to).await {
            self.failed(run, SinkError::unavailable(error.to_string())).await;
        }
        run.after = to;
    }

    async fn failed(&self, run: &mut Run, why: SinkError) {
        sleep(self.told_of_failure(run, why)).await;
    }

    /// Counts a failure, tells it where it is time to, and answers how long to wait.
    fn told_of_failure(&self, run: &mut Run, why: SinkError) -> Duration {
        let asked = match &why {
            SinkError::Unavailable { after, .. } => *after,
            _ => None,
        };
        let pause = run.trouble.pause(asked);
        let refuses_all =
            matches!(&why, SinkError::RefusesAll { count, .. } if *count >= REFUSED_RUNNING_MAX);
        let is_stalled = refuses_all || why.needs_a_person() || run.trouble.failures >= STALLED_AFTER;
        if is_stalled && run.trouble.told.as_ref().is_none_or(|told| !told.is_like(&why)) {
            self.tell(&News::Stalled { after: run.after, why: why.clone() });
            run.trouble.told = Some(why);
        }
        pause
    }

    fn tell(&self, news: &News) {
        self.told.told(&self.name, &self.tenant, news);
    }
}
