//! The provisioner at work: what arrives goes into the outbox, what is due goes out, and what happens is seen, told and kept.

mod charts;
mod duty;
mod intake;
mod ledger;
mod notices;
mod reconcile;
mod reviews;
mod status;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::{AppendError, AuditLog, Entry, EntryError, FileKeys, FileStore};
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::alert::{Alert, AlertDesk, AlertRules, AlertSink, AlertStoreError};
use connector_health::connector::Connectors;
use connector_health::event::{Lane, Subject};
use connector_health::fleet::FleetState;
use connector_health::monitor::Thresholds;
use connector_health::observe::{Attempted, Cycle, Gate, Observer, Stuck};
use connector_health::offboarding::{Offboarding, State, Status, System};
use connector_health::outbox::{MassLeaverGuard, Options, OutboxError, Worked};
use connector_health::sod::SodRules;
use connector_health::store::StoreError;
use connector_health::{ConnectorId, Fleet, Observation, Outbox, PersonId};
use data_encoding::HEXLOWER;
use futures::future::try_join_all;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};

use crate::files;
use crate::store::{OUTBOX, Place, Store, causes};
use charts::Charts;
pub(crate) use intake::TakeError;
use ledger::{AlertHistory, FileAlerts, OpenLeavers};
use notices::Notice;
pub(crate) use reconcile::Apply;
pub(crate) use reviews::{Form, Plan, Recurring, Refused, Which, waits};

/// Who waits for so long has a reason on record.
const WAITED_LONG: TimeDelta = TimeDelta::seconds(1);
/// How often health is written down where no alert asks for it.
const KEEP_EVERY: TimeDelta = TimeDelta::seconds(1);
/// Time between two looks at all leavers, where other services share the outbox.
const LOOK_AT_ALL_EVERY: TimeDelta = TimeDelta::seconds(30);
/// Longest time between two looks at what is due, whatever is known of it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Most bytes of one list in the audit trail; of a longer one its beginning and its hash are kept.
const LIST_BYTES_MAX: usize = 16 * 1024;
/// Most characters of what an entry is called that was too long.
const NAMED_CHARS_MAX: usize = 200;

/// How it works.
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) thresholds: Thresholds,
    pub(crate) rules: AlertRules,
    pub(crate) probe_every: TimeDelta,
    pub(crate) chart_step: TimeDelta,
    pub(crate) guard: MassLeaverGuard,
    pub(crate) sinks: Vec<(String, Arc<dyn AlertSink>)>,
}

/// The provisioner.
///
/// INVARIANT: whoever holds several of its locks took them in this order, so that nobody waits for somebody who waits: `turns` (of all
/// people of a request, see there), `reviews.campaigns`, `untold`. These are held while something is waited for, and nothing that holds
/// one asks for one before it: a step of a review takes nobody's turn, since a decision grants nothing, and alerts are told by the work
/// alone. All others (`duty`'s, `history`, `notices`, `settled`, `kept_at`, …) are held for as long as it takes to look or to write a
/// file, never while something else is waited for, and two of those at once nowhere but `duty.rules` (taken to read) around
/// `duty.violations` in what shows them.
pub(crate) struct Engine {
    outbox: Outbox<Store>,
    fleet: Arc<Fleet>,
    charts: Arc<Charts>,
    settled: Settled,
    /// When all open leavers were looked at, where others may settle them as well.
    looked_at: Option<Mutex<DateTime<Utc>>>,
    connectors: Connectors,
    desk: AlertDesk<FileAlerts>,
    history: Mutex<AlertHistory>,
    untold: tokio::sync::Mutex<Untold>,
    leavers: OpenLeavers,
    audit: AuditLog,
    fleet_file: PathBuf,
    kept_at: Mutex<Option<DateTime<Utc>>>,
    wake: Notify,
    /// Attributes that a connector's accounts show by the names that events use; those of [`PLAIN`] where nothing is said.
    compared: BTreeMap<ConnectorId, BTreeSet<String>>,
    turns: turns::Turns,
    duty: duty::Duty,
    reviews: reviews::Reviews,
    /// What sources wait for, or cannot follow.
    notices: Mutex<BTreeMap<String, Notice>>,
    reconciliations: reconcile::Running,
    /// Why nothing can go on, once it is so.
    broken: watch::Sender<Option<String>>,
    stopping: AtomicBool,
}

/// Why the provisioner cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("the outbox: {}", causes(.0))]
    Outbox(#[from] OutboxError),
    #[error("the outbox: {}", causes(.0))]
    Store(#[from] StoreError),
    #[error("what is known of {0} cannot be read")]
    Unreadable(Lane),
    #[error("the audit log: {0}")]
    Audit(String),
    #[error(transparent)]
    Alerts(#[from] AlertStoreError),
    #[error("{0}")]
    Broken(String),
    #[error("the reconciliation: {0}")]
    Reconcile(String),
    #[error("{0}")]
    Review(String),
    #[error("{what} `{path}`: {source}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
}

impl EngineError {
    /// Whether it is about what is stored of somebody, which cannot be read: others go on.
    fn is_of_record(&self) -> bool {
        match self {
            Self::Unreadable(_) => true,
            Self::Store(error) => error.is_of_record(),
            Self::Outbox(error) => error.is_of_lane(),
            _ => false,
        }
    }

    /// Whether the same may go well later, without anybody doing something.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Outbox(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            // Others have all file descriptors, and will give some back.
            Self::File { source, .. } => files::is_scarce(source),
            Self::Alerts(error) => std::error::Error::source(error)
                .and_then(|source| source.downcast_ref::<Self>())
                .is_some_and(Self::is_retryable),
            Self::Unreadable(_) | Self::Audit(_) | Self::Broken(_) | Self::Reconcile(_) | Self::Review(_) => {
                false
            }
        }
    }
}

/// What came up and could not be told yet: it is told by the next pass.
#[derive(Default)]
struct Untold {
    alerts: Vec<Alert>,
    /// How many of them are in the audit trail.
    recorded: usize,
}

/// People whose offboarding may be over since it was last looked at.
type Settled = Arc<Mutex<BTreeSet<PersonId>>>;

/// Tells all who have to know.
struct Told {
    fleet: Arc<Fleet>,
    charts: Arc<Charts>,
    settled: Settled,
}

impl Observer for Told {
    fn attempted(&self, attempted: &Attempted<'_>) {
        self.fleet.attempted(attempted);
        self.charts.attempted(attempted);
    }

    fn cycle(&self, cycle: &Cycle<'_>) {
        self.fleet.cycle(cycle);
    }

    fn stuck(&self, stuck: &Stuck<'_>) {
        self.fleet.stuck(stuck);
    }

    fn held(&self, connector: &ConnectorId, leavers: u64) {
        self.fleet.held(connector, leavers);
    }

    fn settled(&self, lane: &Lane) {
        if let Subject::Person(person) = &lane.subject {
            self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(person.clone());
        }
    }
}

impl Engine {
    /// Opens everything, the outbox in its data directory; what an earlier run left goes on.
    pub(crate) async fn open(settings: Settings, connectors: Connectors) -> Result<Self, EngineError> {
        let place = Place::File(settings.data_dir.join(OUTBOX));
        Self::open_with(place, settings, connectors).await
    }

    /// Opens everything, the outbox elsewhere.
    pub(crate) async fn open_with(
        place: Place,
        settings: Settings,
        connectors: Connectors,
    ) -> Result<Self, EngineError> {
        let dir = &settings.data_dir;
        let now = Utc::now();
        let audit = open_audit(dir).await?;
        let fleet_file = dir.join("health.json");
        let known: FleetState = files::kept(&fleet_file)?.unwrap_or_default();
        let ids: Vec<ConnectorId> = connectors.iter().map(|(id, _)| id.clone()).collect();
        let fleet = Fleet::restore(ids.iter().cloned(), settings.thresholds, settings.rules, known);
        let fleet = Arc::new(fleet.probe_every(settings.probe_every));
        let charts = Arc::new(Charts::new(ids, settings.chart_step));
        let settled = Settled::default();
        let options = Options::default()
            .guard(settings.guard)
            .operation_timeout(Duration::from_secs(30))
            .gate(Arc::clone(&fleet) as Arc<dyn Gate>)
            .observer(Told {
                fleet: Arc::clone(&fleet),
                charts: Arc::clone(&charts),
                settled: Arc::clone(&settled),
            });
        let looked_at = matches!(place, Place::Postgres(_)).then(|| Mutex::new(now));
        let outbox = Outbox::open_with(place.open().await?, options).await?;
        let desk =
            AlertDesk::open(FileAlerts::open(dir.join("alerts-pending.json"))?, settings.sinks, now).await?;
        Ok(Self {
            outbox,
            fleet,
            charts,
            settled,
            looked_at,
            connectors,
            desk,
            history: Mutex::new(AlertHistory::open(dir.join("alerts.json"))?),
            untold: tokio::sync::Mutex::default(),
            leavers: OpenLeavers::open(dir.join("leavers.jsonl"))?,
            audit,
            fleet_file,
            kept_at: Mutex::new(None),
            wake: Notify::new(),
            compared: BTreeMap::new(),
            turns: turns::Turns::default(),
            duty: duty::Duty::open(dir.join("duty.json"))?,
            reviews: reviews::Reviews::open(dir.join("reviews"))?,
            notices: Mutex::default(),
            reconciliations: reconcile::Running::default(),
            broken: watch::Sender::new(None),
            stopping: AtomicBool::new(false),
        })
    }

    /// Knows what accounts of each connector show, and which rights nobody may have together.
    #[must_use]
    pub(crate) fn with_rules(
        self,
        compared: BTreeMap<ConnectorId, BTreeSet<String>>,
        sod: Option<SodRules>,
    ) -> Self {
        Self { compared, duty: self.duty.with(sod), ..self }
    }

    /// Works until dropped or [stopped](Self::stop), or until something cannot be kept: then nothing goes on.
    pub(crate) async fn run(&self) -> Result<(), EngineError> {
        let mut broken = self.broken.subscribe();
        tokio::select! {
            worked = self.work() => worked,
            why = broken.wait_for(Option::is_some) => {
                let why = why.ok().and_then(|why| why.clone());
                Err(EngineError::Broken(why.unwrap_or_default()))
            }
        }
    }

    /// Ends [`run`](Self::run) after the pass that is under way.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Writes down what is known and closes the audit log.
    pub(crate) async fn close(&self) -> Result<(), EngineError> {
        files::keep(&self.fleet_file, &self.fleet.state())?;
        self.record(Entry::new("service.stopped").outcome("success")).await?;
        self.audit.clone().close().await.map_err(|error| EngineError::Audit(error.to_string()))
    }

    async fn work(&self) -> Result<(), EngineError> {
        // Whatever an earlier run did not come to.
        self.close_offboardings(self.leavers.all(), Utc::now()).await?;
        while !self.stopping.load(Ordering::Acquire) {
            let (worked, now) = match self.pass().await {
                Ok(worked) => (worked, Utc::now()),
                // Nothing is lost: the database comes back, or the next one answers. Who is not served meanwhile is told of.
                Err(error) if error.is_retryable() => {
                    crate::say(&format!("{error}; it is tried again"));
                    match self.tell(Utc::now()).await {
                        Err(error) if !error.is_retryable() => return Err(error),
                        _ => (Worked::default(), Utc::now()),
                    }
                }
                Err(error) => return Err(error),
            };
            let deadline = self.fleet.next_deadline(now);
            let due = worked.next_at.map_or(deadline, |next| next.min(deadline));
            let wait = due.signed_duration_since(Utc::now()).to_std().unwrap_or_default();
            // A pass that could do nothing is not repeated at once.
            let wait = wait.clamp(Duration::from_millis(20), LOOK_EVERY);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
            }
        }
        Ok(())
    }

    async fn pass(&self) -> Result<Worked, EngineError> {
        let worked = self.outbox.work(&self.connectors, Utc::now()).await?;
        let now = Utc::now();
        self.tell(now).await?;
        let lock = || self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = std::mem::take(&mut *lock());
        let closed = self.close_offboardings(self.to_close(&settled, now), now).await;
        if closed.is_err() {
            // They are looked at again when the database is back.
            lock().extend(settled);
        }
        closed.map(|()| worked)
    }

    /// Whose offboarding may be over. What a service with the same database has settled is not told here: now and then, all are looked
    /// at.
    fn to_close(&self, settled: &BTreeSet<PersonId>, now: DateTime<Utc>) -> BTreeSet<PersonId> {
        let Some(looked_at) = &self.looked_at else { return self.leavers.among(settled.clone()) };
        let mut looked_at = looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if now.signed_duration_since(*looked_at) < LOOK_AT_ALL_EVERY {
            return self.leavers.among(settled.clone());
        }
        *looked_at = now;
        self.leavers.all()
    }

    /// Delivers alerts until dropped: apart from the work, which must not wait for a webhook.
    pub(crate) async fn deliver_alerts(&self) {
        loop {
            self.desk.pass(Utc::now()).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn tell(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        let mut untold = self.untold.lock().await;
        untold.alerts.extend(self.fleet.advance(now));
        let Untold { alerts, recorded } = &mut *untold;
        while let Some(alert) = alerts.get(*recorded) {
            self.record_event(alert).await?;
            *recorded += 1;
        }
        if !alerts.is_empty() {
            self.history().add(alerts)?;
            self.desk.accept(alerts, now).await?;
        }
        let Untold { alerts, .. } = std::mem::take(&mut *untold);
        // After the alerts: what was not told is told again after a crash. What a second adds to latencies may be lost.
        let mut kept_at = self.kept_at.lock().unwrap_or_else(PoisonError::into_inner);
        if !alerts.is_empty() || kept_at.is_none_or(|at| now.signed_duration_since(at) >= KEEP_EVERY) {
            files::keep(&self.fleet_file, &self.fleet.state())?;
            *kept_at = Some(now);
        }
        Ok(())
    }

    /// One entry in the audit trail for each of these offboardings that is over, listing every system with its time.
    async fn close_offboardings(
        &self,
        people: BTreeSet<PersonId>,
        now: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        let (mut over, mut entries) = (Vec::new(), Vec::new());
        for person in people {
            let offboarding = match self.offboarding(&person).await {
                Ok(offboarding) => offboarding,
                // Theirs stays open; the others' end.
                Err(EngineError::Outbox(error)) if error.is_of_lane() => {
                    crate::say(&format!("the offboarding of {person} stays open: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let came_back = |system: &System| matches!(system.status, Status::Returned { .. });
            let event_type = match offboarding.state {
                State::Complete => "offboarding.completed",
                // Nobody waits for the end of what somebody's return has ended.
                _ if offboarding.systems.iter().all(|system| system.is_done() || came_back(system))
                    && offboarding.systems.iter().any(came_back) =>
                {
                    "offboarding.ended_by_return"
                }
                _ => continue,
            };
            let systems: BTreeMap<&str, Value> = offboarding
                .systems
                .iter()
                .map(|system| {
                    let said = json!({
                        "status": system.status,
                        "time_to_revoke_ms": system.time_to_revoke_ms,
                        "gap": system.gap,
                    });
                    (system.connector.as_str(), said)
                })
                .collect();
            let entry = Entry::new(event_type)
                .target(person.as_str())
                .outcome("success")
                .field("effective_at", offboarding.effective_at.map(rfc3339))
                .field("completed_at", offboarding.completed_at.map(rfc3339))
                .field("systems", capped(&systems));
            entries.push(entry.timestamp(now));
            over.push(person);
        }
        try_join_all(entries.into_iter().map(|entry| self.record(entry))).await?;
        self.leavers.remove(&over)
    }

    /// Everything about somebody's leaving. Who could not be taken out because nothing went to an application has its outage as the reason.
    pub(crate) async fn offboarding(&self, person: &PersonId) -> Result<Offboarding, EngineError> {
        let mut offboarding = self.outbox.offboarding(person, Utc::now()).await?;
        let now = Utc::now();
        let history = self.history();
        for system in offboarding.systems.iter_mut().filter(|system| system.gap.is_none()) {
            let Some(evidence) = &system.evidence else { continue };
            let until = evidence.confirmed_at.unwrap_or(now);
            let waited = until.signed_duration_since(evidence.accepted_at);
            if waited >= WAITED_LONG {
                system.gap = history.outage(&system.connector, evidence.accepted_at, until);
            }
        }
        Ok(offboarding)
    }

    /// Says when a credential ends.
    pub(crate) fn credential_ends(&self, connector: &ConnectorId, at: Option<DateTime<Utc>>) {
        self.fleet.observe(connector, Observation::credential_ends(at), Utc::now());
    }

    /// Whether a connector is known.
    pub(crate) fn knows(&self, connector: &ConnectorId) -> bool {
        self.connectors.iter().any(|(id, _)| id == connector)
    }

    /// There is a new credential: the connector is tried at once.
    pub(crate) async fn credential_replaced(&self, connector: &ConnectorId) -> Result<(), EngineError> {
        self.record(Entry::new("credential.replaced").target(connector.as_str()).outcome("success")).await?;
        self.fleet.observe(connector, Observation::credential_replaced(), Utc::now());
        self.wake.notify_one();
        Ok(())
    }

    /// Tries a connector again now, as after a new credential; whether it is known.
    pub(crate) async fn replay(&self, connector: &ConnectorId) -> Result<bool, EngineError> {
        if !self.knows(connector) {
            return Ok(false);
        }
        self.record(Entry::new("replay.requested").target(connector.as_str()).outcome("success")).await?;
        self.fleet.observe(connector, Observation::credential_replaced(), Utc::now());
        self.wake.notify_one();
        Ok(true)
    }

    /// Those who left and are not confirmed to be out everywhere.
    pub(crate) fn open_leavers(&self) -> BTreeSet<PersonId> {
        self.leavers.all()
    }

    async fn record_event(&self, event: &impl Serialize) -> Result<(), EngineError> {
        let entry = match serde_json::to_value(event) {
            Ok(Value::Object(fields)) => {
                Entry::from_event(fields).map_err(|error| EngineError::Audit(error.to_string()))?
            }
            Ok(_) => return Err(EngineError::Audit("an event is not a JSON object".to_owned())),
            Err(error) => return Err(EngineError::Audit(error.to_string())),
        };
        self.record(entry).await
    }

    /// Records something that others do.
    pub(crate) async fn note(&self, entry: Entry) -> Result<(), EngineError> {
        self.record(entry).await
    }

    async fn record(&self, entry: Entry) -> Result<(), EngineError> {
        let named = format!("{entry:?}");
        let error = match self.audit.append(entry).await {
            Ok(_) => return Ok(()),
            // That something happened is on record, however much there was to say of it.
            Err(AppendError::Entry(EntryError::TooLong(bytes))) => {
                crate::say(&format!("an audit entry is too long to be kept whole: {named}"));
                let short = Entry::new("entry.too_long").outcome("failure").field("bytes", bytes);
                let short = short.field("message", named.chars().take(NAMED_CHARS_MAX).collect::<String>());
                let Err(error) = self.audit.append(short).await else { return Ok(()) };
                error
            }
            Err(error) => error,
        };
        // What cannot be taken as it is, is one request's affair.
        let is_broken = matches!(error, AppendError::Poisoned { .. } | AppendError::Closed);
        let error = EngineError::Audit(error.to_string());
        if is_broken {
            self.broke(&error.to_string());
        }
        Err(error)
    }

    /// Nothing may happen any more, since it could not be kept.
    fn broke(&self, why: &str) {
        self.broken.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(why.to_owned());
            }
            is_first
        });
    }

    fn history(&self) -> MutexGuard<'_, AlertHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open_audit(dir: &Path) -> Result<AuditLog, EngineError> {
    let failed = |error: &dyn std::fmt::Display| EngineError::Audit(error.to_string());
    let store = FileStore::open(dir.join("audit")).map_err(|error| failed(&error))?;
    let keys = FileKeys::open(dir.join("keys")).map_err(|error| failed(&error))?;
    AuditLog::open(store, keys).await.map_err(|error| failed(&error))
}

/// A list or map as an audit entry has room for it: whole, or how many there are, the first of them, and the SHA-256 of all as JSON.
fn capped(list: &impl Serialize) -> Value {
    let list = serde_json::to_value(list).unwrap_or_default();
    let text = list.to_string();
    if text.len() <= LIST_BYTES_MAX {
        return list;
    }
    let mut room = LIST_BYTES_MAX / 2;
    let mut fits = |bytes: usize| {
        let left = room.checked_sub(bytes);
        room = left.unwrap_or_default();
        left.is_some()
    };
    let (count, first) = match list {
        Value::Array(all) => {
            let count = all.len();
            (count, all.into_iter().take_while(|one| fits(one.to_string().len())).collect())
        }
        Value::Object(all) => {
            let first = all.iter().take_while(|(name, one)| fits(name.len() + one.to_string().len()));
            let first = first.map(|(name, one)| (name.clone(), one.clone())).collect();
            (all.len(), Value::Object(first))
        }
        _ => (1, Value::Null),
    };
    json!({"count": count, "first": first, "sha256": HEXLOWER.encode(&Sha256::digest(text.as_bytes()))})
}

pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
