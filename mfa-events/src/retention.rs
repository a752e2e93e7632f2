//! How long events are kept.

use chrono::{DateTime, TimeDelta, Utc};

use crate::id::TenantId;
use crate::log::{EventLog, PAGE_EVENTS_MAX, Page, ReadError, Which};
use crate::store::{EventStore, Offset, Record, StoreError};

/// Most events that are forgotten at once.
const TOGETHER_MAX: u64 = 10_000;

/// What of a tenant's events is kept. Unless something is said, everything is.
///
/// Where several things are said, an event is kept only as long as all of them allow it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Retention {
    age: Option<TimeDelta>,
    events: Option<u64>,
    bytes: Option<u64>,
}

impl Retention {
    /// Everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// What came less than this ago. The time when it happened is its sender's to say, and does not count.
    pub fn age(mut self, age: TimeDelta) -> Self {
        self.age = Some(age);
        self
    }

    /// Most events.
    pub fn events(mut self, events: u64) -> Self {
        self.events = Some(events);
        self
    }

    /// Most bytes, of events as JSON. A store needs more than that, for its indexes; a file of redb does not become smaller, what is free in
    /// it is used again.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Retained {
    /// Where reading can begin: readers from before are told [`Gone`](ReadError::Gone), over HTTP 410.
    pub earliest: Offset,
    /// How many events were forgotten this time.
    pub forgotten: u64,
}

/// Forgets what one tenant's [`Retention`] does not keep, the oldest first, each time that [`retain`](Self::retain) is called: a service
/// does so every few minutes.
///
/// Readers, sinks and detection that are behind what is forgotten are told that they missed it. Keep more than they may be behind.
///
/// ```
/// # use chrono::{TimeDelta, Utc};
/// use mfa_events::retention::{Retainer, Retention};
/// # use mfa_events::{EventLog, LoginFailure, MemoryStore, TenantId};
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let log = EventLog::open(MemoryStore::new());
/// # let acme = TenantId::new("acme")?;
/// let mut retainer = Retainer::new(log, acme, Retention::everything().age(TimeDelta::days(90)).events(100_000_000));
/// // Again and again:
/// let retained = retainer.retain(Utc::now()).await?;
/// println!("{} forgotten, reading begins after {}", retained.forgotten, retained.earliest);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Retainer<S> {
    log: EventLog<S>,
    tenant: TenantId,
    retention: Retention,
    kept: Option<Kept>,
}

impl<S> std::fmt::Debug for Retainer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retainer")
            .field("tenant", &self.tenant)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// What is kept, as far as it was counted: after an offset and up to another.
#[derive(Clone, Copy)]
struct Kept {
    events: u64,
    bytes: u64,
    after: Offset,
    to: Offset,
}

impl Kept {
    fn nothing(after: Offset) -> Self {
        Self { events: 0, bytes: 0, after, to: after }
    }

    fn with(&mut self, record: &Record) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes(record));
    }

    fn without(&mut self, record: &Record) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes(record));
        self.after = record.offset;
    }
}

fn bytes(record: &Record) -> u64 {
    let json = serde_json::to_vec(&*record.event).unwrap_or_default();
    u64::try_from(json.len()).unwrap_or(u64::MAX)
}

impl<S: EventStore> Retainer<S> {
    /// Of one tenant's events.
    pub fn new(log: EventLog<S>, tenant: TenantId, retention: Retention) -> Self {
        Self { log, tenant, retention, kept: None }
    }

    /// Forgets what is to be kept no longer.
    ///
    /// By age this reads what it forgets and little more. By number or bytes it counts first: the first time all that is kept, and then what
    /// has come since. Where a clock was wrong when events came, one that is to be kept keeps those behind it, too.
    ///
    /// # Errors
    /// Where the store fails. What was forgotten so far stays forgotten.
    ///
    /// # Cancellation
    /// When the future is dropped, some may be forgotten and others not; the next call goes on.
    pub async fn retain(&mut self, now: DateTime<Utc>) -> Result<Retained, StoreError> {
        let mut forgotten = 0_u64;
        loop {
            let begin = self.log.bounds(&self.tenant).await?.forgotten;
            let mut kept = self.counted(begin).await?;
            let (more, is_through) = self.look(&mut kept, now).await?;
            if more > 0 {
                // What is not sure to be forgotten is counted anew.
                self.kept = None;
                self.log.forget(&self.tenant, kept.after).await?;
                forgotten = forgotten.saturating_add(more);
            }
            self.kept = Some(kept);
            if is_through {
                return Ok(Retained { earliest: kept.after, forgotten });
            }
        }
    }

    /// Counts what is kept, where that matters.
    async fn counted(&mut self, begin: Offset) -> Result<Kept, StoreError> {
        // Where somebody else has forgotten some, nobody knows how much that was.
        let mut kept = self.kept.filter(|kept| kept.after == begin).unwrap_or(Kept::nothing(begin));
        while self.retention.events.is_some() || self.retention.bytes.is_some() {
            let Some(page) = self.page(kept.to).await? else {
                kept = Kept::nothing(self.log.bounds(&self.tenant).await?.forgotten);
                continue;
            };
            page.records.iter().for_each(|record| kept.with(record));
            kept.to = page.next;
            if page.is_up_to_date {
                break;
            }
        }
        Ok(kept)
    }

    /// Takes those away that go, the oldest first and at most [`TOGETHER_MAX`]. Answers how many, and whether these are all.
    async fn look(&self, kept: &mut Kept, now: DateTime<Utc>) -> Result<(u64, bool), StoreError> {
        let mut going = 0_u64;
        while going < TOGETHER_MAX {
            let Some(page) = self.page(kept.after).await? else { return Ok((0, false)) };
            for record in &page.records {
                if !self.goes(record, kept, now) {
                    return Ok((going, true));
                }
                kept.without(record);
                going = going.saturating_add(1);
            }
            if page.is_up_to_date {
                return Ok((going, true));
            }
        }
        Ok((going, false))
    }

    fn goes(&self, record: &Record, kept: &Kept, now: DateTime<Utc>) -> bool {
        let Retention { age, events, bytes } = self.retention;
        age.is_some_and(|age| now.signed_duration_since(record.ingested_at.as_datetime()) >= age)
            || events.is_some_and(|most| kept.events > most)
            || bytes.is_some_and(|most| kept.bytes > most)
    }

    /// A page; none where somebody else has forgotten some of it.
    async fn page(&self, after: Offset) -> Result<Option<Page>, StoreError> {
        match self.log.read(&self.tenant, &Which::All, after, PAGE_EVENTS_MAX).await {
            Ok(page) => Ok(Some(page)),
            Err(ReadError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
