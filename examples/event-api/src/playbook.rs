//! The lock-account playbook: what is done about an alert.
//!
//! For each alert it looks at what the log knows of every account in it, decides (`decide`), and puts decision and reasons into the
//! audit log. Then, where it may act, it writes `account.locked` by the way that every event goes, waits until the audit log has it, and
//! only then asks the identity provider, or a SOAR system, to lock; people are told of whatever it does not decide by itself. What was
//! decided is kept (`cases`): after a restart nothing is decided twice, and what was under way goes on under the same ids.

mod cases;
mod decide;
mod look;
mod settings;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::Entry;
use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::detect::rule::Kind;
use mfa_events::detect::{Alert, AlertState, RuleId, Rules};
use mfa_events::event::Timestamp;
use mfa_events::http::Journal as _;
use mfa_events::respond::{Notice, Patience, RespondError, Responder, Webhook, deliver};
use mfa_events::store::Appended;
use mfa_events::{AccountLocked, ActorId, Event, EventLog, EventType, RedbStore};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

pub(crate) use cases::Mode;
pub(crate) use settings::{PlaybookToml, Settings, check};

use crate::journal::Journal;
use crate::say;
use cases::{Case, Cases, Decision, Step};
use decide::{Act, Attack, Room, decide};
use look::{Behind, Beside, read_on};

/// Alerts that wait for a decision. Detection waits where there are more.
const WAITING_MAX: usize = 1_000;
/// Open alerts behind which it is read on for those who get in. Beyond it, the least severe go, and of those what opened first.
const OPEN_MAX: usize = 1_000;
/// How often it is read on behind open alerts.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Webhooks to people that are under way at once, and as many that lock.
const UNDER_WAY_MAX: usize = 32;
/// Decisions of one entry of the audit log, so that it is none too long.
const DECISIONS_PER_ENTRY: usize = 50;
/// How long it is tried to have an account locked, before people are told that it does not work.
const LOCK_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How often events of locks get new ids.
const ANNOUNCED_MAX: usize = 3;

/// Why nothing more is decided.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("cases cannot be kept: {0}")]
    Cases(#[from] std::io::Error),
    #[error("{0}")]
    Audit(#[from] crate::journal::JournalError),
    #[error("the log cannot be read: {0}")]
    Read(#[from] mfa_events::log::ReadError),
    #[error("the log takes no event: {0}")]
    Append(#[from] mfa_events::log::AppendError),
    #[error("an event cannot be made: {0}")]
    Event(#[from] mfa_events::event::EventError),
    #[error("{0}")]
    Other(String),
}

fn other(error: impl std::fmt::Display) -> Broken {
    Broken::Other(error.to_string())
}

/// The playbook of one tenant. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Playbook {
    alerts: mpsc::Sender<Alert>,
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    rules: HashMap<RuleId, Looks>,
    log: EventLog<RedbStore>,
    journal: Journal,
    cases: Mutex<Cases>,
    /// Apart: where people cannot be reached, accounts are locked all the same.
    locks_under_way: Semaphore,
    people_under_way: Semaphore,
    failed: watch::Sender<Option<String>>,
}

/// What a rule looks at.
#[derive(Clone, Copy, Default)]
struct Looks {
    at_locks: bool,
    at_travel: bool,
    /// How far back.
    window: TimeDelta,
}

impl Playbook {
    /// Takes up what was under way, and waits for alerts.
    pub(crate) fn open(
        settings: Settings,
        rules: &Rules,
        data_dir: &Path,
        log: EventLog<RedbStore>,
        journal: Journal,
    ) -> std::io::Result<Self> {
        let name = data_encoding::HEXLOWER.encode(Sha256::digest(settings.tenant.as_str()).split_at(8).0);
        let cases = Cases::open(data_dir.join("playbook").join(name), Utc::now())?;
        let looks = rules.iter().map(|rule| {
            let at_locks = matches!(rule.kind, Kind::RepeatAfterUnlock { .. })
                || rule.select.event_type.contains(&EventType::AccountLocked);
            let at_travel = matches!(rule.kind, Kind::ImpossibleTravel { .. });
            (rule.id.clone(), Looks { at_locks, at_travel, window: rule.window })
        });
        let inner = Arc::new(Inner {
            settings,
            rules: looks.collect(),
            log,
            journal,
            cases: Mutex::new(cases),
            locks_under_way: Semaphore::new(UNDER_WAY_MAX),
            people_under_way: Semaphore::new(UNDER_WAY_MAX),
            failed: watch::channel(None).0,
        });
        let (alerts, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(Arc::clone(&inner), waiting));
        Ok(Self { alerts, inner })
    }

    /// The same for a time that has passed already, as the demo's day.
    pub(crate) fn since(&self, since: DateTime<Utc>) {
        let mut cases = self.inner.cases();
        cases.since = cases.since.min(since);
    }

    /// Takes an alert in, in whatever state it is.
    pub(crate) async fn take(&self, alert: &Alert) {
        let is_wanted = self.inner.settings.rules.as_ref().is_none_or(|rules| rules.contains(&alert.rule));
        if is_wanted {
            // Where it has stopped, `failed` says why.
            let _ = self.alerts.send(alert.clone()).await;
        }
    }

    /// What was decided about an alert.
    pub(crate) fn shown(&self, alert: Uuid) -> Option<Value> {
        self.inner.cases().known.get(&alert).map(Case::shown)
    }

    /// Returns when nothing more can be decided, and says why.
    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.inner.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

async fn run(inner: Arc<Inner>, waiting: mpsc::Receiver<Alert>) {
    if let Err(error) = inner.work(waiting).await {
        inner.fail(&error);
    }
}

impl Inner {
    fn cases(&self) -> MutexGuard<'_, Cases> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: &Broken) {
        let why = format!("the playbook of {} has stopped: {error}", self.settings.tenant);
        self.failed.send_replace(Some(why));
    }

    async fn work(self: &Arc<Self>, mut waiting: mpsc::Receiver<Alert>) -> Result<(), Broken> {
        if self.settings.mode == Mode::Act {
            let under_way: Vec<Case> = self.cases().known.values().cloned().collect();
            for mut case in under_way.into_iter().filter(|case| case.mode == Mode::Act) {
                if case.give_up(!self.is_fresh(&case.alert)) {
                    self.record_given_up(&case).await?;
                    self.cases().keep(case.clone())?;
                }
                let is_told = case.escalation == Some(Step::Pending);
                self.carry_out(&case, &case.decisions, is_told).await?;
            }
        }
        let mut open: HashMap<Uuid, Behind> = HashMap::new();
        let mut beat = tokio::time::interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                alert = waiting.recv() => match alert {
                    Some(alert) => self.look(alert, &mut open).await?,
                    None => return Ok(()),
                },
                _ = beat.tick() => {
                    for alert in read_on(&self.log, &self.settings.tenant, open.values_mut()).await?.0 {
                        if let Some(behind) = open.get(&alert) {
                            self.decide(behind).await?;
                        }
                    }
                }
            }
        }
    }

    /// An alert opened, grew or closed.
    async fn look(self: &Arc<Self>, alert: Alert, open: &mut HashMap<Uuid, Behind>) -> Result<(), Broken> {
        let before = open.remove(&alert.id);
        let is_over = alert.state == AlertState::Closed;
        let is_known = {
            let cases = self.cases();
            let case = cases.known.get(&alert.id);
            // What began before there was a playbook, or is over without one, is not its own.
            if alert.at.as_datetime() < cases.since || (is_over && case.is_none() && before.is_none()) {
                return Ok(());
            }
            // What was only looked at is done now, where that still makes sense.
            case.is_some_and(|case| {
                case.has_seen(&alert) && (case.mode == self.settings.mode || !self.is_fresh(&alert))
            })
        };
        let looks = self.looks(&alert);
        let mut behind = match before {
            Some(before) => before.with(alert),
            None => Behind::new(&self.log, &self.settings.tenant, alert, looks.window).await?,
        };
        // Of what is found anew after a restart, only that is read again which could still lead to something.
        if is_known && !self.is_fresh(&behind.alert) {
            return Ok(());
        }
        let mut is_news = false;
        loop {
            let alone = std::iter::once(&mut behind);
            let (news, is_all) = read_on(&self.log, &self.settings.tenant, alone).await?;
            is_news |= !news.is_empty();
            // What is over is not looked at again.
            if is_all || !is_over {
                break;
            }
        }
        if is_news || !is_known {
            self.decide(&behind).await?;
        }
        if !is_over {
            if open.len() >= OPEN_MAX
                && let Some(first) =
                    open.values().min_by_key(|behind| (behind.alert.severity, behind.alert.opened_at))
            {
                let first = first.alert.id;
                say(&format!("alert {first} is no longer looked at: more than {OPEN_MAX} are open"));
                open.remove(&first);
            }
            open.insert(behind.alert.id, behind);
        }
        Ok(())
    }

    fn looks(&self, alert: &Alert) -> Looks {
        self.rules.get(&alert.rule).copied().unwrap_or_default()
    }

    fn is_fresh(&self, alert: &Alert) -> bool {
        Utc::now() - alert.last_met_at.as_datetime() <= self.settings.fresh
    }

    async fn decide(self: &Arc<Self>, behind: &Behind) -> Result<(), Broken> {
        let alert = &behind.alert;
        let now = Utc::now();
        let at = Timestamp::new(now).map_err(other)?;
        let Settings { tenant, mode, accounts, .. } = &self.settings;
        let looks = self.looks(alert);
        let (before, locks, own_locks, taken_from) = {
            let cases = self.cases();
            let before = cases.known.get(&alert.id).cloned();
            let locks = cases.locks_since(now - TimeDelta::hours(1), *mode);
            (before, locks, cases.own_locks(at), cases.taken_from())
        };
        let beside = Beside { own_locks: &own_locks, taken_from: &taken_from, is_travel: looks.at_travel };
        let mut known = behind.contexts(&self.log, tenant, &beside, now).await?;
        let earlier = before.as_ref().map(|case| case.decisions.as_slice()).unwrap_or_default();
        let (locked, others): (Vec<_>, Vec<_>) =
            earlier.iter().cloned().partition(|decision| decision.is_lock(*mode));
        // What is to be locked stays so.
        known.retain(|(actor, _)| !locked.iter().any(|decision| decision.actor_id == *actor));
        let room = Room {
            locks_left: self.settings.locks_per_hour_max.saturating_sub(locks),
            accounts_max: self.settings.accounts_max.saturating_sub(locked.len()),
            is_fresh: self.is_fresh(alert),
        };
        let attack = Attack { is_about_locks: looks.at_locks };
        let decided = decide(attack, accounts, &known, room);
        let mut decisions = Vec::new();
        let mut news = Vec::new();
        for ((actor_id, context), (act, why)) in known.into_iter().zip(decided) {
            let lock = (act == Act::Lock && *mode == Mode::Act).then_some(Step::Pending);
            // What a dry run would have locked is locked now.
            let same = others.iter().find(|other| {
                other.actor_id == actor_id && (other.act, other.why) == (act, why) && lock.is_none()
            });
            // Nobody knows it before the event is in the log.
            let event_id = lock.is_some().then(Uuid::now_v7);
            let at = same.map_or(at, |same| same.at);
            let decision = Decision { actor_id, act, why, context, lock, event_id, at };
            if same.is_none() {
                news.push(decision.clone());
            }
            decisions.push(decision);
        }
        let is_worse = before.as_ref().is_none_or(|before| {
            before.alert.severity < alert.severity
                || before.mode != *mode
                || (before.unnamed == 0 && behind.beyond > 0)
        });
        if news.is_empty() && !is_worse {
            let Some(before) = before else { return Ok(()) };
            return Ok(self.cases().keep(Case { alert: alert.clone(), ..before })?);
        }
        decisions.extend(locked);
        let for_people = decisions.iter().any(|decision| decision.act == Act::Escalate);
        let named = u64::try_from(alert.actor_ids.len()).unwrap_or(u64::MAX);
        let unnamed = alert.actors.saturating_sub(named).saturating_add(behind.beyond);
        let is_told = for_people || unnamed > 0 || decisions.is_empty();
        let round = before.as_ref().map_or(0, |case| case.round).saturating_add(1);
        let mut case = Case {
            alert: alert.clone(),
            mode: *mode,
            round,
            told_round: round,
            at,
            decisions,
            unnamed,
            escalation: (is_told && *mode == Mode::Act).then_some(Step::Pending),
        };
        self.record(&case, &news).await?;
        {
            let mut cases = self.cases();
            // What was under way may be done meanwhile.
            if let Some(now) = cases.known.get(&alert.id) {
                case.take_over(now);
            }
            cases.keep(case.clone())?;
        }
        if *mode == Mode::Act {
            self.carry_out(&case, &news, is_told).await?;
        }
        Ok(())
    }

    /// Decisions are on record before anything follows from them.
    async fn record(&self, case: &Case, news: &[Decision]) -> Result<(), Broken> {
        let none: &[Decision] = &[];
        let parts: Vec<&[Decision]> =
            if news.is_empty() { vec![none] } else { news.chunks(DECISIONS_PER_ENTRY).collect() };
        for part in parts {
            let said: Vec<Value> = part
                .iter()
                .map(|decision| {
                    json!({
                        "actor_id": decision.actor_id, "act": decision.act, "why": decision.why,
                        "because": decision.why.text(), "context": decision.context,
                    })
                })
                .collect();
            let entry = self.entry("playbook.decided", case).outcome("success").field("decisions", said);
            self.journal.note(entry).await?;
        }
        Ok(())
    }

    /// Locks that were under way for too long.
    async fn record_given_up(&self, case: &Case) -> Result<(), Broken> {
        let given_up = case.decisions.iter().filter_map(|decision| Some((decision, decision.given_up()?)));
        for (decision, why) in given_up {
            let entry = self.entry("playbook.locked", case).target(decision.actor_id.as_str());
            self.journal.note(entry.outcome("failure").field("message", why)).await?;
        }
        Ok(())
    }

    fn entry(&self, event_type: &str, case: &Case) -> Entry {
        Entry::new(event_type)
            .field("tenant_id", self.settings.tenant.as_str())
            .field("alert_id", case.alert.id.to_string())
            .field("rule", case.alert.rule.as_str())
            .field("severity", case.alert.severity.as_str())
            .field("mode", case.mode)
            .field("round", case.round)
    }

    /// Begins those of these decisions that are locks not made yet, and tells people where they are to be told.
    async fn carry_out(
        self: &Arc<Self>,
        case: &Case,
        decisions: &[Decision],
        is_told: bool,
    ) -> Result<(), Broken> {
        let mut locks: Vec<Decision> =
            decisions.iter().filter(|decision| decision.lock == Some(Step::Pending)).cloned().collect();
        self.announce(case, &mut locks).await?;
        for decision in locks {
            let (inner, case) = (Arc::clone(self), case.clone());
            tokio::spawn(async move {
                if let Err(error) = inner.lock(&case, &decision).await {
                    inner.fail(&error);
                }
            });
        }
        if is_told {
            let (inner, case) = (Arc::clone(self), case.clone());
            tokio::spawn(async move {
                if let Err(error) = inner.escalate(&case).await {
                    inner.fail(&error);
                }
            });
        }
        Ok(())
    }

    /// Has the events of locks in the log and on record. Where an id is another event's already, a lock gets a new one.
    async fn announce(&self, case: &Case, locks: &mut [Decision]) -> Result<(), Broken> {
        let tenant = &self.settings.tenant;
        for _ in 0..ANNOUNCED_MAX {
            let events: Vec<Event> =
                locks.iter().map(|decision| self.event(case, decision)).collect::<Result<_, Broken>>()?;
            // The same events again after a crash: the log knows them by their ids.
            let appended = self.log.append(tenant, events, Utc::now()).await?;
            let taken: Vec<bool> =
                appended.iter().map(|appended| matches!(appended, Appended::Conflict(_))).collect();
            if !taken.contains(&true) {
                if let Some(last) = appended.iter().map(|appended| appended.offset()).max() {
                    self.journal.holds(tenant, last).await.map_err(other)?;
                }
                return Ok(());
            }
            for (decision, _) in locks.iter_mut().zip(taken).filter(|(_, is_taken)| *is_taken) {
                decision.event_id = Some(Uuid::now_v7());
            }
            self.update(case.alert.id, |case| case.renumber(locks))?;
        }
        Err(other("the ids of its events are taken, however often it makes new ones"))
    }

    fn event(&self, case: &Case, decision: &Decision) -> Result<Event, Broken> {
        let failures = u32::try_from(decision.context.failures).unwrap_or(u32::MAX);
        let locked = AccountLocked::new(decision.actor_id.as_str())
            .id(decision.event_id.ok_or_else(|| other("a lock without an id"))?)
            .at(decision.at.as_datetime())
            .attempts(failures)
            .because("playbook")
            .reason(decision.why.code())
            .correlation(&case.alert.id.to_string())
            .message(&format!("asked for by a playbook: {}", decision.why.text()));
        Ok(locked.try_into()?)
    }

    async fn lock(&self, case: &Case, decision: &Decision) -> Result<(), Broken> {
        let Some(webhook) = &self.settings.lock else { return Ok(()) };
        let (tenant, actor) = (&self.settings.tenant, &decision.actor_id);
        let body = json!({
            "type": "account.lock",
            "tenant_id": tenant,
            "actor_id": actor,
            "alert_id": case.alert.id,
            "rule": case.alert.rule,
            "severity": case.alert.severity,
            "reason": decision.why,
            "because": decision.why.text(),
            "event_id": decision.event_id,
            "at": decision.at,
        });
        let notice = Notice::new(format!("{}:lock:{}", case.alert.id, short(actor)), &body).map_err(other)?;
        let mut patience = Patience::default();
        patience.give_up_after = LOCK_PATIENCE;
        let step = Step::from(self.tell(&self.locks_under_way, webhook, &notice, patience).await?);
        let outcome = if matches!(step, Step::Done { .. }) { "success" } else { "failure" };
        let mut entry = self.entry("playbook.locked", case).target(actor.as_str()).outcome(outcome);
        if let Step::Failed { why } = &step {
            entry = entry.field("message", why);
        }
        self.journal.note(entry).await?;
        let is_failed = matches!(step, Step::Failed { .. });
        let case = self.update(case.alert.id, |case| {
            let own = case.decisions.iter_mut().find(|other| other.actor_id == *actor);
            if let Some(own) = own {
                own.lock = Some(step);
            }
            if is_failed {
                // People hear that it did not work; what they hear now has it in it.
                case.tell_again();
            }
        })?;
        match case {
            Some(case) if is_failed => self.escalate(&case).await,
            _ => Ok(()),
        }
    }

    async fn escalate(&self, case: &Case) -> Result<(), Broken> {
        let Some(webhook) = &self.settings.escalate else { return Ok(()) };
        let body = json!({
            "type": "alert.escalated",
            "tenant_id": self.settings.tenant,
            "alert": case.alert,
            "playbook": case.shown(),
        });
        let round = case.told_round;
        let notice = Notice::new(format!("{}:people:{round}", case.alert.id), &body).map_err(other)?;
        let told = loop {
            match self.tell(&self.people_under_way, webhook, &notice, Patience::default()).await? {
                // Nobody has heard of it yet: that is no end.
                Err(error @ RespondError::Unavailable { .. }) => {
                    say(&format!("people cannot be told of alert {}: {error}", case.alert.id));
                }
                other => break other,
            }
        };
        let step = Step::from(told);
        let outcome = if matches!(step, Step::Done { .. }) { "success" } else { "failure" };
        let mut entry = self.entry("playbook.escalated", case).outcome(outcome);
        if let Step::Failed { why } = &step {
            say(&format!("people cannot be told of alert {}: {why}", case.alert.id));
            entry = entry.field("message", why);
        }
        self.journal.note(entry).await?;
        self.update(case.alert.id, |case| {
            if case.told_round == round {
                case.escalation = Some(step);
            }
        })?;
        Ok(())
    }

    async fn tell(
        &self,
        under_way: &Semaphore,
        webhook: &Arc<Webhook>,
        notice: &Notice,
        patience: Patience,
    ) -> Result<Result<Timestamp, RespondError>, Broken> {
        let _turn = under_way.acquire().await.map_err(other)?;
        let webhook: Arc<dyn Responder> = Arc::<Webhook>::clone(webhook);
        let told = deliver(&[("webhook".to_owned(), webhook)], notice, patience, Utc::now).await;
        let told = told.into_iter().next().ok_or_else(|| other("nobody was told"))?;
        let now = Timestamp::new(Utc::now()).map_err(other)?;
        Ok(told.outcome.map(|()| now))
    }

    fn update(&self, alert: Uuid, change: impl FnOnce(&mut Case)) -> Result<Option<Case>, Broken> {
        let mut cases = self.cases();
        let Some(mut case) = cases.known.get(&alert).cloned() else { return Ok(None) };
        change(&mut case);
        cases.keep(case.clone())?;
        Ok(Some(case))
    }
}

fn short(actor: &ActorId) -> String {
    data_encoding::HEXLOWER.encode(Sha256::digest(actor.as_str()).split_at(16).0)
}
