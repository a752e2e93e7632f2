//! The log in a stream of NATS JetStream, for several processes at once.
//!
//! ```text
//!  append ──▶ publish, each under the subject of its id, refused where that has one ──▶ stream (replicated)
//!    ▲                                                                                     │
//!    └── answered when it is back ◀── copy in a file of this machine ◀── followed in order ┘
//!                                        └──▶ readers, queries by actor and time
//! ```
//!
//! The stream is what counts: an event is kept when the server has acknowledged it, and its sequence there is its offset, with the
//! stream's own number before it. The server compares and sets: it takes a message only where its subject has none yet, so an id stands
//! there once, however many processes append at a time and however long ago it came. Each process follows the stream into a copy, a
//! [`RedbStore`](super::RedbStore)'s tables in a file that it may lose, and answers everything out of it: a hundred readers cost the
//! server no more than one. A copy that is opened again goes on where it was; a new one reads the whole stream.
//!
//! # What acknowledged means
//!
//! A server acknowledges a message when it has handed it to its operating system, and syncs its files within two minutes (seen with
//! version 2.9.10: one `write` before each answer, no `fsync`). So what was acknowledged survives when a server is killed, and is lost
//! with the machine's power while it was not synced. A stream with three replicas acknowledges when two servers have it: it loses
//! nothing while no two machines lose power within these minutes. That is why three are demanded; where all of them stand on one power
//! supply, or there is but one ([`dangerously_unreplicated`](JetStreamOptions::dangerously_unreplicated)), configure
//! `sync_interval: always`, which servers know from 2.10 on.
//!
//! # What it notices
//!
//! When it opens, after every interruption and every minute, the store looks whether the stream is the one that it knows, is set to
//! lose nothing, and holds what was read from it. Where not, it stops with an error that says so: a stream that was deleted, made again,
//! restored from an older state, or set to make room is not read on as if nothing had happened. Offsets of a stream that was made again
//! are others, and one of the former stream is refused.
//!
//! While the server is away, appends end in [`StoreError::Unavailable`] within a limit, whether they were kept is unknown, and whoever
//! appends again under the same ids is told what stands there. Readers go on out of the copy, and wait for what comes then.
//!
//! A message under an event's subject that is none, which only somebody else can have put there, is an error of that tenant's readers, and
//! names its sequence. Take it out of the stream, and the readers go on.
//!
//! # What it costs
//!
//! * A server keeps the subject of every retained event in memory: about half a kilobyte each (version 2.9.10, over 300,000 events).
//!   Forgetting frees it.
//! * Each process needs the room of a file with all retained events. What it has not seen yet it reads when it opens.
//! * `ingested_at` is by the clock of the process that appended: over several, it grows as far as their clocks agree.

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::jetstream::{Context, ContextBuilder};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::{Appended, Bounds, Entry, EventStore, Moment, Offset, Record, StoreError, Take};
use crate::id::{ActorId, TenantId};
use file::{File, Position};

mod file;
mod follow;
pub mod message;
mod settings;

use follow::{Arrivals, Progress, Shared, follow};
pub use message::MESSAGE_BYTES_MAX;
use message::{event_payload, event_subject, forget_payload, forget_subject, tenant_key, tenant_subjects};
pub use settings::JetStreamOptions;
use settings::{Look, SEQUENCE_BITS, Trouble, base};

/// Messages that wait for the server's answer at a time.
const UNANSWERED_MAX: usize = 2048;

/// Questions about messages that were refused, at a time.
const QUESTIONS_MAX: usize = 64;

/// How often an append looks again where what it found was taken away meanwhile.
const ROUNDS_MAX: usize = 4;

/// Why a stream is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JetStreamError {
    /// A name cannot stand in a subject.
    #[error("the {what} is no name of 1 to 64 letters, digits, `-` and `_`")]
    Name {
        /// Which.
        what: &'static str,
    },
    /// The server did not answer, or not as it should. It may do so later.
    #[error("the server does not answer as it should")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// It takes smaller messages than events may be.
    #[error(
        "the server takes messages of {max_payload} bytes (`max_payload`) where {MESSAGE_BYTES_MAX} are needed"
    )]
    MaxPayload {
        /// Most bytes that it takes.
        max_payload: usize,
    },
    /// The stream that was read is no longer there.
    #[error("the stream is gone")]
    Missing,
    /// It is not the stream that was read: another one, or one that was made again.
    #[error("the file is a copy of the stream `{expected}`, and there is `{found}`")]
    Other {
        /// Name, prefix and time of the one that was read.
        expected: String,
        /// Of the one that is there.
        found: String,
    },
    /// The stream has lost what was read from it: it was restored from an older state, or a server lost what it had acknowledged.
    #[error("the stream does not hold at {sequence} what was read there")]
    Diverged {
        /// The last message that was read.
        sequence: u64,
    },
    /// The stream is set so that it loses events, or takes none.
    #[error("the stream's `{setting}` is {found}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it is.
        found: String,
    },
    /// The copy cannot be read or written.
    #[error("the copy of the stream failed")]
    Copy(#[source] StoreError),
}

/// A store in a stream of NATS JetStream; see the [module](self). Dropping it ends what follows the stream.
pub struct JetStreamStore {
    shared: Arc<Shared>,
    following: AbortHandle,
}

impl std::fmt::Debug for JetStreamStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamStore").field("stream", &self.shared.identity).finish_non_exhaustive()
    }
}

impl Drop for JetStreamStore {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl JetStreamStore {
    /// Opens a stream, or makes it where neither it nor its copy is there yet, and reads on until the copy at `path` has all of it. The
    /// copy belongs to this process alone, and is made readable by its owner alone. Needs a tokio runtime.
    ///
    /// How to connect, and with which credentials, is the client's affair. It needs to publish to the subjects of the stream and to
    /// `$JS.API.` requests about it; whoever else may publish there writes events.
    ///
    /// # Errors
    /// Where the server does not answer, takes too small messages, the stream is set to lose events, is not the one that the copy is of,
    /// or the copy fails.
    ///
    /// # Cancellation
    /// Nothing is lost: opening again goes on.
    pub async fn open(
        client: Client,
        options: JetStreamOptions,
        path: impl AsRef<Path>,
    ) -> Result<Self, JetStreamError> {
        options.check()?;
        let context = context(client, &options);
        let max_payload = context.client().max_payload();
        let path = path.as_ref().to_owned();
        let file = blocking(move || File::open(&path)).await?;
        let look = match Look::at(&context, &options).await {
            Err(Trouble::Doubtful(JetStreamError::Missing)) if file.head.is_none() => {
                Look::make(&context, &options).await?
            }
            looked => looked?,
        };
        if max_payload < MESSAGE_BYTES_MAX {
            return Err(JetStreamError::MaxPayload { max_payload });
        }
        look.check(&options)?;
        let found = look.identity(&options);
        let (identity, position) = file.head.clone().unwrap_or_else(|| (found.clone(), Position::default()));
        if identity != found {
            return Err(JetStreamError::Other { expected: identity, found });
        }
        let (named, base) = (identity.clone(), base(&identity));
        let replica = blocking(move || file.follow(&named, base)).await?;
        let stream = context.get_stream_no_info(&options.stream).await;
        let stream = stream.map_err(|error| JetStreamError::Unavailable(error.into()))?;
        let progress = watch::Sender::new(Progress { position, ..Progress::default() });
        let arrivals = Arrivals::default();
        let shared = Arc::new(Shared { context, stream, options, identity, replica, progress, arrivals });
        // Said at once rather than by the follower, which would try again.
        follow::check(&shared, position).await?;
        let following = tokio::spawn(follow(Arc::clone(&shared))).abort_handle();
        let store = Self { shared, following };
        let mut progress = store.shared.progress.subscribe();
        let is_over = |progress: &Progress| {
            progress.is_current || progress.ended.is_some() || progress.trouble.is_some()
        };
        let seen = progress.wait_for(is_over).await.map(|progress| progress.clone());
        match seen {
            Ok(Progress { ended: Some(error), .. }) => {
                // What was told to nobody else is this caller's own.
                store.shared.progress.send_modify(|progress| progress.ended = None);
                Err(Arc::try_unwrap(error).unwrap_or_else(|error| JetStreamError::Unavailable(error.into())))
            }
            Ok(Progress { is_current: true, .. }) => Ok(store),
            Ok(Progress { trouble: Some(trouble), .. }) => Err(JetStreamError::Unavailable(trouble.into())),
            _ => Err(JetStreamError::Unavailable("what follows the stream has ended".into())),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match &self.shared.progress.borrow().ended {
            Some(error) => Err(failed(Arc::clone(error))),
            // It panicked, or its runtime is gone.
            None if self.following.is_finished() => Err(StoreError::Stopped),
            None => Ok(()),
        }
    }

    /// An offset of another stream says nothing here. The greatest of all is after everything, and those of no stream are before it.
    fn check_offset(&self, offset: Offset) -> Result<(), StoreError> {
        let own = self.shared.replica.offset(0).as_u64() >> SEQUENCE_BITS;
        match offset.as_u64() >> SEQUENCE_BITS {
            epoch if epoch == own || epoch == 0 || offset.as_u64() == u64::MAX => Ok(()),
            _ => Err(StoreError::Foreign(offset)),
        }
    }

    /// Waits until the copy reaches a message.
    async fn reach(&self, sequence: u64) -> Result<(), StoreError> {
        let mut progress = self.shared.progress.subscribe();
        let reached = progress
            .wait_for(|progress| progress.position.sequence >= sequence || progress.ended.is_some())
            .await
            .map_err(|_| StoreError::Stopped)?
            .ended
            .clone();
        match reached {
            None => Ok(()),
            Some(error) => Err(failed(error)),
        }
    }

    async fn within<T>(&self, done: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.check()?;
        match tokio::time::timeout(self.shared.options.limit, done).await {
            Ok(done) => done,
            Err(elapsed) => {
                self.check()?;
                Err(match self.shared.progress.borrow().trouble.clone() {
                    Some(trouble) => unavailable(trouble),
                    None => unavailable(elapsed),
                })
            }
        }
    }

    async fn append_all(&self, entries: &[Entry]) -> Result<Vec<Appended>, StoreError> {
        let mut told: Vec<Option<Appended>> = vec![None; entries.len()];
        for _ in 0..ROUNDS_MAX {
            self.tell_known(entries, &mut told, &HashMap::new()).await?;
            // Of several with one id, the first is published; the others are held against it in the next round.
            let mut seen = HashSet::new();
            let open = entries.iter().zip(&told).enumerate().filter(|(_, (_, told))| told.is_none());
            let first: Vec<(usize, &Entry)> = open
                .map(|(index, (entry, _))| (index, entry))
                .filter(|(_, entry)| seen.insert((&entry.tenant, entry.event.id())))
                .collect();
            if first.is_empty() {
                break;
            }
            let (stored, refused) = self.publish(&first).await?;
            let standing = self.standing(&refused).await?;
            let last = stored.values().chain(standing.values()).copied().max();
            self.reach(last.unwrap_or(0)).await?;
            self.tell_known(entries, &mut told, &stored).await?;
            for (index, sequence) in stored.iter().chain(&standing) {
                let (Some(entry), Some(told)) = (entries.get(*index), told.get_mut(*index)) else { continue };
                if told.is_some() {
                    continue;
                }
                // The copy has read it and does not know it.
                let offset = self.shared.replica.offset(*sequence);
                let is_forgotten = offset <= self.own_bounds(&entry.tenant).await?.forgotten;
                match stored.contains_key(index) {
                    true if is_forgotten => *told = Some(Appended::New(offset)),
                    true => return Err(failed(JetStreamError::Diverged { sequence: *sequence })),
                    // Whoever forgot it has not come to taking it away. The next round appends.
                    false if is_forgotten => {
                        let gone = self.shared.stream.delete_message(*sequence).await;
                        gone.map_err(unavailable)?;
                    }
                    false => *told = Some(Appended::Conflict(offset)),
                }
            }
        }
        let told: Option<Vec<Appended>> = told.into_iter().collect();
        told.ok_or_else(|| unavailable("messages of the same ids come and go"))
    }

    /// Tells what became of entries whose ids the copy knows. `stored` are those that were published just now.
    async fn tell_known(
        &self,
        entries: &[Entry],
        told: &mut [Option<Appended>],
        stored: &HashMap<usize, u64>,
    ) -> Result<(), StoreError> {
        let open: Vec<usize> =
            told.iter().enumerate().filter(|(_, told)| told.is_none()).map(|(index, _)| index).collect();
        if open.is_empty() {
            return Ok(());
        }
        let ids: Vec<(TenantId, Uuid)> = open
            .iter()
            .filter_map(|index| entries.get(*index))
            .map(|entry| (entry.tenant.clone(), entry.event.id()))
            .collect();
        let known = self.shared.replica.known(ids).await?;
        // Whose publication is the event that stands there: the others came later, in whatever order they are here.
        for (index, record) in open.into_iter().zip(known) {
            let (Some(record), Some(entry), Some(told)) = (record, entries.get(index), told.get_mut(index))
            else {
                continue;
            };
            let is_new = stored
                .get(&index)
                .is_some_and(|sequence| self.shared.replica.offset(*sequence) == record.offset);
            *told = Some(match *record.event == entry.event {
                _ if is_new => Appended::New(record.offset),
                true => Appended::Known(record.offset),
                false => Appended::Conflict(record.offset),
            });
        }
        Ok(())
    }

    /// Publishes in this order. Answers at which sequences they are stored, and which were refused, because something stands there.
    async fn publish<'e>(
        &self,
        entries: &[(usize, &'e Entry)],
    ) -> Result<(HashMap<usize, u64>, Vec<(usize, &'e Entry)>), StoreError> {
        let options = &self.shared.options;
        let (mut stored, mut refused) = (HashMap::new(), Vec::new());
        let mut unanswered = VecDeque::new();
        let mut answer =
            |(index, entry), outcome: Result<_, async_nats::jetstream::context::PublishError>| {
                match outcome {
                    Ok(acknowledged) => _ = stored.insert(index, acknowledged),
                    Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                        refused.push((index, entry))
                    }
                    Err(error) => return Err(unavailable(error)),
                }
                Ok(())
            };
        for (index, entry) in entries {
            let payload =
                event_payload(entry).ok_or_else(|| failed("the event is too long when it is written"))?;
            let subject = event_subject(&options.prefix, &entry.tenant, entry.event.id());
            let message = PublishMessage::build()
                .payload(payload.into())
                .expected_last_subject_sequence(0)
                .expected_stream(&options.stream);
            let sent = self.shared.context.send_publish(subject, message).await.map_err(unavailable)?;
            unanswered.push_back(((*index, *entry), sent));
            if unanswered.len() >= UNANSWERED_MAX
                && let Some((which, sent)) = unanswered.pop_front()
            {
                answer(which, sent.await.map(|acknowledged| acknowledged.sequence))?;
            }
        }
        for (which, sent) in unanswered {
            answer(which, sent.await.map(|acknowledged| acknowledged.sequence))?;
        }
        if stored.values().any(|sequence| *sequence >> SEQUENCE_BITS != 0) {
            return Err(failed("the stream has used up its offsets"));
        }
        Ok((stored, refused))
    }

    /// At which sequences those stand that entries were refused for. What was taken away meanwhile is left out.
    async fn standing(&self, refused: &[(usize, &Entry)]) -> Result<HashMap<usize, u64>, StoreError> {
        // Each question owns what it asks for.
        let subjects: Vec<(usize, String)> = refused
            .iter()
            .map(|(index, entry)| {
                (*index, event_subject(&self.shared.options.prefix, &entry.tenant, entry.event.id()))
            })
            .collect();
        let mut questions = futures::stream::iter(subjects)
            .map(|(index, subject)| {
                let stream = self.shared.stream.clone();
                async move { (index, stream.get_last_raw_message_by_subject(&subject).await) }
            })
            .buffer_unordered(QUESTIONS_MAX);
        let mut standing = HashMap::new();
        while let Some((index, found)) = questions.next().await {
            match found {
                Ok(message) => _ = standing.insert(index, message.sequence),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Ok(standing)
    }

    async fn own_bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        self.shared.replica.bounds(tenant_key(tenant), tenant).await
    }

    async fn forget_all(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        let replica = &self.shared.replica;
        let bounds = self.own_bounds(tenant).await?;
        let to = to.min(bounds.last);
        let sequence_of = |offset: Offset| offset.as_u64().saturating_sub(replica.offset(0).as_u64());
        let sequence = sequence_of(to);
        if sequence == 0 {
            return Ok(());
        }
        if to > bounds.forgotten {
            let message = PublishMessage::build()
                .payload(forget_payload(tenant, sequence).into())
                .expected_stream(&self.shared.options.stream);
            let subject = forget_subject(&self.shared.options.prefix, tenant);
            let sent = self.shared.context.send_publish(subject, message).await.map_err(unavailable)?;
            self.reach(sent.await.map_err(unavailable)?.sequence).await?;
        }
        // Every copy knows by now, or will before it reads on. Notes of former times go with what they are about, and what somebody wrote
        // down and did not come to take away goes now.
        let sequence = sequence.max(sequence_of(bounds.forgotten));
        let filter = tenant_subjects(&self.shared.options.prefix, tenant_key(tenant));
        let purge = self.shared.stream.purge().filter(filter).sequence(sequence.saturating_add(1));
        purge.await.map(drop).map_err(unavailable)
    }
}

/// A context whose limits are those of the options.
fn context(client: Client, options: &JetStreamOptions) -> Context {
    let builder = ContextBuilder::new()
        .timeout(options.limit)
        .ack_timeout(options.limit)
        .max_ack_inflight(8 * UNANSWERED_MAX)
        .backpressure_on_inflight(true);
    match &options.domain {
        None => builder.build(client),
        Some(domain) => builder.domain(domain).build(client),
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, JetStreamError> {
    let done = tokio::task::spawn_blocking(run).await.unwrap_or_else(|error| Err(failed(error)));
    done.map_err(JetStreamError::Copy)
}

fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(error.into())
}

fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}

impl EventStore for JetStreamStore {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.within(self.append_all(&entries)).await
    }

    async fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        self.check()?;
        self.check_offset(after)?;
        self.shared.replica.read(tenant_key(tenant), tenant, after, take).await
    }

    async fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.check()?;
        self.check_offset(after)?;
        self.shared.replica.of_actors(tenant_key(tenant), tenant, actors, after, take).await
    }

    async fn of_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.check()?;
        if let Some(after) = after {
            self.check_offset(after.offset)?;
        }
        self.shared.replica.of_time(tenant_key(tenant), tenant, span, after, take).await
    }

    async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        self.check()?;
        self.own_bounds(tenant).await
    }

    async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        self.check_offset(to)?;
        self.within(self.forget_all(tenant, to)).await
    }

    async fn arrived(&self) -> Result<Vec<TenantId>, StoreError> {
        loop {
            self.check()?;
            let tenants = self.shared.arrivals.take();
            if !tenants.is_empty() {
                return Ok(tenants);
            }
            self.shared.arrivals.told().await;
        }
    }
}
