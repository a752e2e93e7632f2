//! The provisioner at work: what arrives goes into the outbox, what is due goes out, and what happens is seen, told and kept.

mod charts;
mod duty;
mod ledger;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::{AppendError, AuditLog, Entry, FileKeys, FileStore};
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::alert::{
    Alert, AlertDesk, AlertRules, AlertSink, AlertState, AlertStoreError, Backlog,
};
use connector_health::connector::Connectors;
use connector_health::event::Subject;
use connector_health::fleet::FleetState;
use connector_health::monitor::Thresholds;
use connector_health::observe::{Attempted, Cycle, Gate, Observer};
use connector_health::offboarding::{Offboarding, State, Status, System};
use connector_health::outbox::{AcceptError, Accepted, MassLeaverGuard, Options, OutboxError};
use connector_health::sod::SodRules;
use connector_health::store::{OutboxStore as _, StoreError};
use connector_health::{ConnectorId, Fleet, Observation, Outbox, PersonId, RedbStore};
use futures::future::try_join_all;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::files;
use crate::people::{Happening, Kind, Mistake};
use charts::Charts;
use ledger::{AlertHistory, FileAlerts, OpenLeavers};
pub(crate) use reconcile::Apply;

/// Leavers of one connector that the status shows.
const LEAVERS_SHOWN_MAX: usize = 1_000;
/// Who waits for so long has a reason on record.
const WAITED_LONG: TimeDelta = TimeDelta::seconds(1);
/// Lines that are taken in together.
const LINES_TOGETHER_MAX: usize = 256;
/// How often health is written down where no alert asks for it.
const KEEP_EVERY: TimeDelta = TimeDelta::seconds(1);
/// Longest time between two looks at what is due, whatever is known of it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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
pub(crate) struct Engine {
    outbox: Outbox<RedbStore>,
    fleet: Arc<Fleet>,
    charts: Arc<Charts>,
    connectors: Connectors,
    desk: AlertDesk<FileAlerts>,
    history: Mutex<AlertHistory>,
    leavers: OpenLeavers,
    audit: AuditLog,
    fleet_file: PathBuf,
    kept_at: Mutex<Option<DateTime<Utc>>>,
    wake: Notify,
    /// Connectors whose accounts show other attributes than events have.
    mapped: BTreeSet<ConnectorId>,
    sod: Option<SodRules>,
    /// What sources wait for, or cannot follow.
    notices: Mutex<BTreeMap<String, Notice>>,
    reconciliations: reconcile::Running,
    /// Why nothing can go on, once it is so.
    broken: watch::Sender<Option<String>>,
    stopping: AtomicBool,
}

/// Something that a source has to say until it is settled.
struct Notice {
    text: String,
    /// Whether somebody can say that it is right; and whether that was said.
    asks: bool,
    approved: bool,
}

/// Why the provisioner cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("the outbox: {0}")]
    Outbox(#[from] OutboxError),
    #[error("the outbox: {0}")]
    Store(#[from] StoreError),
    #[error("the audit log: {0}")]
    Audit(String),
    #[error(transparent)]
    Alerts(#[from] AlertStoreError),
    #[error("{0}")]
    Broken(String),
    #[error("the reconciliation: {0}")]
    Reconcile(String),
    #[error("{what} `{path}`: {source}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
}

/// What became of one line of a source.
#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    pub(crate) person: PersonId,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// Changes that wait for their turn.
    pub(crate) queued: usize,
    /// Changes that had been accepted before.
    pub(crate) already: usize,
    /// Leavers that wait for somebody's approval.
    pub(crate) held: usize,
    /// Why something of it was not accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<String>,
}

/// Tells both who has to know.
struct Both {
    fleet: Arc<Fleet>,
    charts: Arc<Charts>,
}

impl Observer for Both {
    fn attempted(&self, attempted: &Attempted<'_>) {
        self.fleet.attempted(attempted);
        self.charts.attempted(attempted);
    }

    fn cycle(&self, cycle: &Cycle<'_>) {
        self.fleet.cycle(cycle);
    }

    fn held(&self, connector: &ConnectorId, leavers: u64, at: DateTime<Utc>) {
        self.fleet.held(connector, leavers, at);
    }
}

impl Engine {
    /// Opens everything; what an earlier run left goes on.
    pub(crate) async fn open(settings: Settings, connectors: Connectors) -> Result<Self, EngineError> {
        let dir = &settings.data_dir;
        let now = Utc::now();
        let audit = open_audit(dir).await?;
        let fleet_file = dir.join("health.json");
        let known: FleetState = files::kept(&fleet_file)?.unwrap_or_default();
        let ids: Vec<ConnectorId> = connectors.iter().map(|(id, _)| id.clone()).collect();
        let fleet = Fleet::restore(ids.iter().cloned(), settings.thresholds, settings.rules, known);
        let fleet = Arc::new(fleet.probe_every(settings.probe_every));
        let charts = Arc::new(Charts::new(ids, settings.chart_step));
        let options = Options::default()
            .guard(settings.guard)
            .operation_timeout(Duration::from_secs(30))
            .gate(Arc::clone(&fleet) as Arc<dyn Gate>)
            .observer(Both { fleet: Arc::clone(&fleet), charts: Arc::clone(&charts) });
        let outbox = Outbox::open_with(RedbStore::open(dir.join("outbox.redb"))?, options).await?;
        let desk =
            AlertDesk::open(FileAlerts::open(dir.join("alerts-pending.json"))?, settings.sinks, now).await?;
        Ok(Self {
            outbox,
            fleet,
            charts,
            connectors,
            desk,
            history: Mutex::new(AlertHistory::open(dir.join("alerts.json"))?),
            leavers: OpenLeavers::open(dir.join("leavers.jsonl"))?,
            audit,
            fleet_file,
            kept_at: Mutex::new(None),
            wake: Notify::new(),
            mapped: BTreeSet::new(),
            sod: None,
            notices: Mutex::default(),
            reconciliations: reconcile::Running::default(),
            broken: watch::Sender::new(None),
            stopping: AtomicBool::new(false),
        })
    }

    /// Knows which connectors map attributes, and which rights nobody may have together.
    #[must_use]
    pub(crate) fn with_rules(self, mapped: BTreeSet<ConnectorId>, sod: Option<SodRules>) -> Self {
        Self { mapped, sod, ..self }
    }

    /// Takes in what a source says. Durable on return.
    pub(crate) async fn take(&self, happening: &Happening) -> Result<Taken, TakeError> {
        let mut taken = self.take_together(std::slice::from_ref(happening)).await?;
        taken.pop().unwrap_or_else(|| Err(TakeError::Failed("nothing was taken".to_owned())))
    }

    /// Takes many lines in, in their order, and answers for each. Durable on return; after an error nothing is known: give them again.
    pub(crate) async fn take_all(
        &self,
        happenings: &[Happening],
    ) -> Result<Vec<Result<Taken, TakeError>>, EngineError> {
        let mut taken = Vec::with_capacity(happenings.len());
        let mut rest = happenings;
        while !rest.is_empty() {
            // What a line means follows from what was said of the same person before; other people have no part in it.
            let mut people = BTreeSet::new();
            let next = rest.iter().take(LINES_TOGETHER_MAX);
            let together = next.take_while(|next| people.insert(&next.person.id)).count();
            let (first, later) = rest.split_at(together.max(1));
            taken.extend(self.take_together(first).await?);
            rest = later;
        }
        Ok(taken)
    }

    /// Lines of different people: with one wait for the disk instead of one for each.
    async fn take_together(
        &self,
        happenings: &[Happening],
    ) -> Result<Vec<Result<Taken, TakeError>>, EngineError> {
        let now = Utc::now();
        let ids: Vec<ConnectorId> = self.connectors.iter().map(|(id, _)| id.clone()).collect();
        let (mut answers, mut events) = (Vec::new(), Vec::new());
        let (mut entries, mut leavers) = (Vec::new(), Vec::new());
        for happening in happenings {
            let meant = match happening.events(&self.outbox, &ids, now).await {
                Ok(meant) => meant,
                Err(mistake) => {
                    answers.push(Err(mistake.into()));
                    continue;
                }
            };
            let (meant, violations) = self.within_duty(&happening.person.id, meant, now).await?;
            let at = happening.at.unwrap_or(now);
            let entry = Entry::new(happening.kind.event_type())
                .target(happening.person.id.as_str())
                .outcome("success")
                .field("correlation_id", happening.correlation(at))
                .field("occurred_at", rfc3339(at))
                .field("changes", meant.len());
            entries.push(if violations.is_empty() { entry } else { entry.field("violations", &violations) });
            if happening.kind == Kind::Leaver {
                leavers.push(happening.person.id.clone());
            }
            events.extend(meant.into_iter().map(|event| (answers.len(), event)));
            answers.push(Ok(Taken {
                person: happening.person.id.clone(),
                kind: happening.kind,
                queued: 0,
                already: 0,
                held: 0,
                refused: violations,
            }));
        }
        // Recorded first: nothing happens to anybody that is not on record.
        try_join_all(entries.into_iter().map(|entry| self.record(entry))).await?;
        self.leavers.add(&leavers)?;
        let (whose, events): (Vec<usize>, Vec<_>) = events.into_iter().unzip();
        for (whose, accepted) in whose.into_iter().zip(self.outbox.accept_all(events, now).await) {
            let Some(Ok(taken)) = answers.get_mut(whose) else { continue };
            match accepted {
                Ok(Accepted::Queued) => taken.queued += 1,
                Ok(Accepted::Already) => taken.already += 1,
                Ok(Accepted::Held) => taken.held += 1,
                Err(AcceptError::Outbox(error)) => {
                    let why = format!("the outbox: {error}");
                    self.broke(&why);
                    return Err(EngineError::Broken(why));
                }
                Err(error) => taken.refused.push(error.to_string()),
            }
        }
        self.wake.notify_one();
        Ok(answers)
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
        // What was confirmed just before an earlier run ended.
        self.close_offboardings(Utc::now()).await?;
        while !self.stopping.load(Ordering::Acquire) {
            let now = Utc::now();
            let worked = self.outbox.work(&self.connectors, now).await?;
            let now = Utc::now();
            self.tell(now).await?;
            if worked.delivered > 0 || worked.superseded > 0 {
                self.close_offboardings(now).await?;
            }
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

    /// Delivers alerts until dropped: apart from the work, which must not wait for a webhook.
    pub(crate) async fn deliver_alerts(&self) {
        loop {
            self.desk.pass(Utc::now()).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn tell(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        let alerts = self.fleet.advance(now);
        if !alerts.is_empty() {
            for alert in &alerts {
                self.record_event(alert).await?;
            }
            self.history().add(&alerts)?;
            self.desk.accept(&alerts, now).await?;
        }
        // After the alerts: what was not told is told again after a crash. What a second adds to latencies may be lost.
        let mut kept_at = self.kept_at.lock().unwrap_or_else(PoisonError::into_inner);
        if !alerts.is_empty() || kept_at.is_none_or(|at| now.signed_duration_since(at) >= KEEP_EVERY) {
            files::keep(&self.fleet_file, &self.fleet.state())?;
            *kept_at = Some(now);
        }
        Ok(())
    }

    /// One entry in the audit trail for each offboarding that is over, listing every system with its time.
    async fn close_offboardings(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        let (mut over, mut entries) = (Vec::new(), Vec::new());
        for person in self.leavers.all() {
            let offboarding = self.offboarding(&person).await?;
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
                .field("systems", systems);
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

    /// Lets held leavers go on.
    pub(crate) async fn approve(&self, connector: &ConnectorId) -> Result<u64, EngineError> {
        self.record(Entry::new("leavers.approved").target(connector.as_str()).outcome("success")).await?;
        let approved = self.outbox.approve(connector).await?;
        self.wake.notify_one();
        Ok(approved)
    }

    /// Says when a credential ends.
    pub(crate) fn credential_ends(&self, connector: &ConnectorId, at: Option<DateTime<Utc>>) {
        self.fleet.observe(connector, Observation::credential_ends(at), Utc::now());
    }

    /// Whether a connector is known.
    pub(crate) fn knows(&self, connector: &ConnectorId) -> bool {
        self.connectors.iter().any(|(id, _)| id == connector)
    }

    /// Goes on a source's way only after somebody's word: said, recorded and shown until it is settled.
    pub(crate) async fn wait_for_word(&self, source: &str, text: String) -> Result<(), EngineError> {
        if self.notices().get(source).is_some_and(|known| known.asks && known.text == text) {
            return Ok(());
        }
        self.record(Entry::new("source.waits").target(source).outcome("failure").field("reason", &text))
            .await?;
        crate::say(&format!("{source} waits for approval (`provisioner approve --source {source}`): {text}"));
        self.notices().insert(source.to_owned(), Notice { text, asks: true, approved: false });
        Ok(())
    }

    /// Something that a source cannot follow; said once.
    pub(crate) fn trouble(&self, source: &str, text: String) {
        let mut notices = self.notices();
        if notices.get(source).is_none_or(|known| known.text != text) {
            for line in text.lines() {
                crate::say(&format!("{source}: {line}"));
            }
            notices.insert(source.to_owned(), Notice { text, asks: false, approved: false });
        }
    }

    /// Nothing is to be said of a source any more.
    pub(crate) fn settled(&self, source: &str) {
        self.notices().remove(source);
    }

    /// Whether somebody said that what a source waits for is right.
    pub(crate) fn approved(&self, source: &str) -> bool {
        self.notices().get(source).is_some_and(|notice| notice.approved)
    }

    /// Says that what a source waits for is right. Whether it waits.
    pub(crate) async fn approve_source(&self, source: &str) -> Result<bool, EngineError> {
        let asked = self.notices().get(source).filter(|notice| notice.asks).map(|notice| notice.text.clone());
        let Some(text) = asked else { return Ok(false) };
        self.record(Entry::new("source.approved").target(source).outcome("success").field("reason", &text))
            .await?;
        // Nothing else than what was asked: it may have changed meanwhile.
        let mut notices = self.notices();
        let notice = notices.get_mut(source).filter(|notice| notice.text == text);
        Ok(notice.map(|notice| notice.approved = true).is_some())
    }

    fn notices(&self) -> MutexGuard<'_, BTreeMap<String, Notice>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Open alerts with what waits now, and those that are over, newest last.
    pub(crate) async fn alerts(&self) -> Result<Vec<Alert>, EngineError> {
        let mut alerts = self.history().all();
        for alert in alerts.iter_mut().filter(|alert| alert.state == AlertState::Open) {
            let counts = self.outbox.counts(&alert.connector).await?;
            alert.queue = Backlog { replayed: alert.queue.replayed, ..Backlog::from(&counts) };
        }
        Ok(alerts)
    }

    /// Everything that the status page shows.
    pub(crate) async fn status(&self) -> Result<Value, EngineError> {
        let now = Utc::now();
        let mut held = 0;
        let mut connectors = Vec::new();
        let mut missing: BTreeMap<PersonId, Vec<Value>> = BTreeMap::new();
        let mut about: BTreeMap<PersonId, (DateTime<Utc>, Option<Value>)> = BTreeMap::new();
        for health in self.fleet.health(now) {
            // As it is now: the fleet knows what waited at the end of the last pass.
            let counts = self.outbox.counts(&health.connector).await?;
            held += counts.held;
            for lane in self.outbox.store().leavers(&health.connector, LEAVERS_SHOWN_MAX).await? {
                let Subject::Person(person) = &lane.subject else { continue };
                let Some(loaded) = self.outbox.store().load(&lane).await? else { continue };
                let reason = match loaded.open.iter().find_map(|event| event.last_failure.as_ref()) {
                    Some(failure) => failure.message().to_owned(),
                    None => "waits".to_owned(),
                };
                let entry = json!({"connector": health.connector, "reason": reason});
                missing.entry(person.clone()).or_default().push(entry);
                let left = loaded.record.intended.last_deprovision().map_or(now, |order| order.occurred_at);
                let name = loaded.record.intended.attributes().get("display_name").map(|name| match name {
                    connector_health::Attribute::Plain(value) => value.clone(),
                    _ => Value::Null,
                });
                let known = about.entry(person.clone()).or_insert((left, None));
                known.0 = known.0.min(left);
                known.1 = known.1.take().or(name);
            }
            let (latency_ms, failures) = self.charts.of(&health.connector, now);
            let backlog = Backlog::from(&counts);
            let age =
                backlog.oldest_deprovision_at.map(|at| now.signed_duration_since(at).num_seconds().max(0));
            connectors.push(json!({
                "id": health.connector,
                "state": health.tier,
                "reason": health.explanation,
                "last_success_at": health.last_success_at.map(rfc3339),
                "provisioning_queued": backlog.provisioning_queued,
                "provisioning_failed": backlog.provisioning_failed,
                "deprovisioning_queued": backlog.deprovisioning_queued,
                "deprovisioning_failed": backlog.deprovisioning_failed,
                "oldest_deprovision_age_s": age,
                "held": counts.held,
                "latency_ms": latency_ms,
                "failures": failures,
            }));
        }
        let leavers_open = missing.len().max(self.leavers.len());
        let mut leavers: Vec<(DateTime<Utc>, Value)> = missing
            .into_iter()
            .map(|(person, systems)| {
                let (left, name) = about.remove(&person).unwrap_or((now, None));
                let shown = json!({
                    "person": person, "display_name": name, "left_at": rfc3339(left), "missing": systems,
                });
                (left, shown)
            })
            .collect();
        leavers.sort_by_key(|(left, _)| *left);
        let leavers: Vec<Value> = leavers.into_iter().take(100).map(|(_, shown)| shown).collect();
        let open: Vec<Alert> =
            self.alerts().await?.into_iter().filter(|alert| alert.state == AlertState::Open).collect();
        let alerts: Vec<Value> = open
            .iter()
            .map(|alert| {
                let mut shown = serde_json::to_value(alert).unwrap_or_default();
                // For people, in words.
                if let Some(shown) = shown.as_object_mut() {
                    shown.insert("remedy".to_owned(), json!(alert.remedy.to_string()));
                }
                shown
            })
            .collect();
        Ok(json!({
            "now": rfc3339(now),
            "connectors": connectors,
            "leavers_open": leavers_open,
            "leavers": leavers,
            "held": held,
            "alerts": alerts,
            "sources": self.notices().iter().map(|(source, notice)| {
                json!({"source": source, "message": notice.text, "waits_for_approval": notice.asks && !notice.approved})
            }).collect::<Vec<_>>(),
        }))
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
        let Err(error) = self.audit.append(entry).await else { return Ok(()) };
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

/// Why a line of a source was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    #[error(transparent)]
    Mistake(#[from] Mistake),
    #[error("{0}")]
    Failed(String),
}

impl From<EngineError> for TakeError {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn open_audit(dir: &Path) -> Result<AuditLog, EngineError> {
    let failed = |error: &dyn std::fmt::Display| EngineError::Audit(error.to_string());
    let store = FileStore::open(dir.join("audit")).map_err(|error| failed(&error))?;
    let keys = FileKeys::open(dir.join("keys")).map_err(|error| failed(&error))?;
    AuditLog::open(store, keys).await.map_err(|error| failed(&error))
}

pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use connector_health::MemoryConnector;

    use super::*;
    use crate::people::Person;

    #[tokio::test]
    async fn where_nothing_can_be_recorded_nothing_is_taken_and_the_work_stops() {
        let dir = tempfile::tempdir().unwrap();
        let crm = ConnectorId::new("crm").unwrap();
        let settings = Settings {
            data_dir: dir.path().to_owned(),
            thresholds: Thresholds::default(),
            rules: AlertRules::default(),
            probe_every: TimeDelta::hours(1),
            chart_step: TimeDelta::minutes(1),
            guard: MassLeaverGuard::off(),
            sinks: Vec::new(),
        };
        let connectors = Connectors::new().with(crm.clone(), MemoryConnector::default());
        let engine = Engine::open(settings, connectors).await.unwrap();
        engine.audit.clone().close().await.unwrap();
        let person =
            Person { user_name: Some("ann".to_owned()), ..Person::named(PersonId::new("emp-1").unwrap()) };
        let joins = Happening { kind: Kind::Joiner, at: None, person };
        assert!(matches!(engine.take(&joins).await, Err(TakeError::Failed(_))));
        assert_eq!(engine.outbox.counts(&crm).await.unwrap().provisioning_queued, 0);
        let why = engine.run().await.unwrap_err().to_string();
        assert!(why.contains("audit log"), "{why}");
    }
}
