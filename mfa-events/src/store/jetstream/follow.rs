//! What keeps the copy as current as the stream.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, Message as Delivered};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::JetStreamError;
use super::message::{Message, MessageError};
use super::settings::{JetStreamOptions, Look, Trouble};
use crate::id::TenantId;
use crate::store::jetstream::file::{Change, Position, Replica};

/// Messages that the server sends ahead.
const AHEAD_MESSAGES: usize = 2048;

/// Messages that are written into the copy together.
const TOGETHER_MESSAGES: usize = 1024;

/// Messages after which the copy is made durable. A process that was killed reads as many again.
const VOLATILE_MESSAGES_MAX: u64 = 1 << 16;

/// A server that is silent for two of these is taken for gone.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often it is looked whether there is anything to do besides.
const TICK: Duration = Duration::from_secs(1);

/// Ticks after which the stream's settings are looked at again.
const LOOK_TICKS: u32 = 60;

/// How often something must be seen in succession that a server may say of a stream that it does not know all of yet.
const DOUBTS_MAX: u32 = 3;

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// What the follower and those who ask share.
pub(super) struct Shared {
    pub(super) context: Context,
    pub(super) stream: Stream<()>,
    pub(super) options: JetStreamOptions,
    /// Which stream it is.
    pub(super) identity: String,
    pub(super) replica: Replica,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) arrivals: Arrivals,
}

/// How far the copy is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) position: Position,
    /// Whether it has once had all there was.
    pub(super) is_current: bool,
    /// What it was interrupted by the last time, and tries again after.
    pub(super) trouble: Option<Arc<Interruption>>,
    /// Why it goes on no more.
    pub(super) ended: Option<Arc<JetStreamError>>,
}

/// What kept the follower from going on, for a while.
#[derive(Debug, thiserror::Error)]
#[error("the stream cannot be followed for now")]
pub(super) struct Interruption(#[source] Box<dyn Error + Send + Sync>);

/// Tenants with new events that nobody was told of yet.
#[derive(Default)]
pub(super) struct Arrivals {
    tenants: Mutex<BTreeSet<TenantId>>,
    told: Notify,
}

impl Arrivals {
    fn add(&self, tenants: BTreeSet<TenantId>) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).extend(tenants);
        self.told.notify_one();
    }

    pub(super) fn take(&self) -> Vec<TenantId> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *tenants).into_iter().collect()
    }

    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}

/// Follows until the stream is not what it was.
pub(super) async fn follow(shared: Arc<Shared>) {
    let (mut pause, mut doubts) = (PAUSE_FIRST, 0_u32);
    let error = loop {
        let before = shared.progress.borrow().position;
        let trouble = match session(&shared, &mut doubts).await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        };
        if shared.progress.borrow().position != before {
            pause = PAUSE_FIRST;
        }
        match trouble {
            Trouble::Final(error) => break error,
            Trouble::Doubtful(error) => {
                doubts = doubts.saturating_add(1);
                if doubts >= DOUBTS_MAX {
                    break error;
                }
            }
            Trouble::Passing(error) => {
                doubts = 0;
                let trouble = Some(Arc::new(Interruption(error)));
                shared.progress.send_modify(|progress| progress.trouble = trouble);
            }
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_LAST);
    };
    shared.progress.send_modify(|progress| progress.ended = Some(Arc::new(error)));
    shared.arrivals.add(BTreeSet::new());
}

enum Never {}

/// One consumer, for as long as it lasts.
async fn session(shared: &Shared, doubts: &mut u32) -> Result<Never, Trouble> {
    let mut position = shared.progress.borrow().position;
    let client = shared.context.client();
    let statistics = client.statistics();
    let connects = statistics.connects.load(Ordering::Relaxed);
    Look::at(&shared.context, &shared.options).await?;
    let deliver_policy = match position.sequence {
        0 => DeliverPolicy::All,
        read => DeliverPolicy::ByStartSequence { start_sequence: read.saturating_add(1) },
    };
    let config = pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        inactive_threshold: Duration::from_secs(60),
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer = shared.context.create_consumer_on_stream(config, &shared.options.stream).await;
    let consumer = consumer.map_err(Trouble::passing)?;
    // Only now: a consumer is of the stream that was there before it, and is gone with it.
    check(shared, position).await?;
    *doubts = 0;
    if consumer.cached_info().num_pending == 0 {
        shared.progress.send_modify(|progress| progress.is_current = true);
    }
    shared.progress.send_modify(|progress| progress.trouble = None);
    let messages = consumer.stream().max_messages_per_batch(AHEAD_MESSAGES).heartbeat(HEARTBEAT);
    let messages = messages.messages().await.map_err(Trouble::passing)?;
    let mut chunks = messages.ready_chunks(TOGETHER_MESSAGES);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut delivered, mut volatile, mut ticked, mut damaged) = (0_u64, 0_u64, 0_u32, (0, 0));
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk.ok_or_else(|| Trouble::passing("the consumer has ended"))?,
            _ = ticks.tick() => {
                ticked = ticked.wrapping_add(1);
                if statistics.connects.load(Ordering::Relaxed) != connects {
                    // The consumer may have gone with the server, and what was on its way with the connection.
                    return Err(Trouble::passing("the connection is a new one"));
                }
                if volatile > 0 {
                    apply(shared, Vec::new(), position, true).await?;
                    volatile = 0;
                }
                damaged = mend(shared, damaged).await?;
                if ticked.is_multiple_of(LOOK_TICKS) {
                    check(shared, position).await?;
                }
                continue;
            }
        };
        let (mut batch, mut trouble, mut pending) = (Vec::new(), None, None);
        for message in chunk {
            let read = message.map_err(Trouble::passing).and_then(|message| place(message, &mut delivered));
            match read {
                Ok((read, left)) => {
                    pending = Some(left);
                    batch.push(read);
                }
                Err(error) => {
                    trouble = Some(error);
                    break;
                }
            }
        }
        if let Some(last) = batch.last() {
            position = Position { sequence: last.sequence, mark: mark(&last.subject, &last.payload) };
            volatile = volatile.saturating_add(u64::try_from(batch.len()).unwrap_or(u64::MAX));
            let is_durable = volatile >= VOLATILE_MESSAGES_MAX;
            if is_durable {
                volatile = 0;
            }
            apply(shared, batch, position, is_durable).await?;
            shared.progress.send_modify(|progress| {
                progress.position = position;
                progress.is_current |= pending == Some(0);
            });
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
    }
}

/// A message, out of what the client makes of it.
struct Raw {
    sequence: u64,
    subject: String,
    payload: bytes::Bytes,
}

/// A message with its sequence, and how many come after it. Each must be the one after the last that was delivered.
fn place(message: Delivered, delivered: &mut u64) -> Result<(Raw, u64), Trouble> {
    let (sequence, place, pending) = {
        let info = message.info().map_err(Trouble::Passing)?;
        (info.stream_sequence, info.consumer_sequence, info.pending)
    };
    if place != delivered.saturating_add(1) {
        return Err(Trouble::passing("messages were lost on their way"));
    }
    *delivered = place;
    let (message, _) = message.split();
    Ok((Raw { sequence, subject: message.subject.to_string(), payload: message.payload }, pending))
}

async fn apply(shared: &Shared, batch: Vec<Raw>, to: Position, is_durable: bool) -> Result<(), Trouble> {
    let prefix = shared.options.prefix.clone();
    let read = move || batch.iter().filter_map(|raw| change(&prefix, raw)).collect();
    let tenants = shared.replica.apply(read, to, is_durable).await;
    let tenants = tenants.map_err(|error| Trouble::Final(JetStreamError::Copy(error)))?;
    if !tenants.is_empty() {
        shared.arrivals.add(tenants);
    }
    Ok(())
}

fn change(prefix: &str, raw: &Raw) -> Option<Change> {
    let sequence = raw.sequence;
    match Message::read(prefix, &raw.subject, &raw.payload) {
        Ok(Message::Event(entry)) => Some(Change::Event { sequence, entry }),
        Ok(Message::Forget { tenant, to }) => {
            let key = super::message::tenant_key(&tenant);
            // Nobody forgets what is not there yet.
            match to < sequence {
                true => Some(Change::Forget { key, tenant, to }),
                false => Some(Change::Damaged { key, sequence }),
            }
        }
        Err(MessageError::Damaged { key }) => Some(Change::Damaged { key, sequence }),
        Err(MessageError::Subject) => None,
    }
}

/// Whether the stream is the one that was read, keeps what it takes, and holds what was read from it.
pub(super) async fn check(shared: &Shared, position: Position) -> Result<(), Trouble> {
    let look = Look::at(&shared.context, &shared.options).await?;
    let found = look.identity(&shared.options);
    if found != shared.identity {
        return Err(Trouble::Final(JetStreamError::Other { expected: shared.identity.clone(), found }));
    }
    look.check(&shared.options).map_err(Trouble::Final)?;
    let diverged = JetStreamError::Diverged { sequence: position.sequence };
    if look.state.last < position.sequence {
        // One server of a cluster may have delivered what another has not come to yet.
        return Err(Trouble::Doubtful(diverged));
    }
    if position.sequence == 0 {
        return Ok(());
    }
    match shared.stream.get_raw_message(position.sequence).await {
        Ok(message) if mark(&message.subject, &message.payload) == position.mark => Ok(()),
        Ok(_) => Err(Trouble::Final(diverged)),
        // It may have been forgotten, or taken out.
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
        Err(error) => Err(Trouble::passing(error)),
    }
}

/// Looks whether damaged messages were taken out of the stream: some, behind those of the last time.
async fn mend(shared: &Shared, behind: (u128, u64)) -> Result<(u128, u64), Trouble> {
    let copy = |error| Trouble::Final(JetStreamError::Copy(error));
    let damaged = shared.replica.damaged_behind(behind).await.map_err(copy)?;
    for damaged in &damaged {
        let found = shared.stream.get_raw_message(damaged.1).await;
        if found.is_err_and(|error| error.kind() == RawMessageErrorKind::NoMessageFound) {
            shared.replica.mend(*damaged).await.map_err(copy)?;
        }
    }
    Ok(damaged.last().copied().unwrap_or_default())
}

/// What tells a message from another at the same place.
fn mark(subject: &str, payload: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(subject).chain_update([0]).chain_update(payload).finalize();
    digest.iter().take(8).fold(0, |mark, byte| (mark << 8) | u64::from(*byte))
}
