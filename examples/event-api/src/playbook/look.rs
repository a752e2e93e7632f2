//! What the log says about the accounts of an alert.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::detect::{Alert, Group, Prefix};
use mfa_events::event::{Detail, Outcome, RiskLevel, Timestamp};
use mfa_events::log::{PAGE_EVENTS_MAX, ReadError, Which};
use mfa_events::store::Record;
use mfa_events::{ActorId, EventLog, Offset, RedbStore, TenantId};
use uuid::Uuid;

use super::decide::{Context, GotIn};

/// How far back it is looked for where somebody logs in otherwise.
const HISTORY_DAYS: i64 = 7;
/// Most events of an alert's accounts that are read.
const EVENTS_MAX: usize = 20_000;
/// Pages that are read on behind open alerts at once. What is left is read the next time.
const PAGES_MAX: usize = 20;
/// Most sources from which somebody got into one account that are kept in mind.
const SOURCES_MAX: usize = 8;
/// Most accounts of one alert that somebody got into and that are kept in mind. Far fewer are locked without people.
const GOT_IN_MAX: usize = 100;

/// An open alert, and who got in out of it so far.
pub(super) struct Behind {
    pub(super) alert: Alert,
    /// Events up to there were looked at.
    to: Offset,
    /// From each source once.
    got_in: BTreeMap<ActorId, Vec<Login>>,
}

/// A login that worked.
#[derive(Clone, Copy)]
struct Login {
    at: Timestamp,
    source: Option<Prefix>,
    risk: Option<RiskLevel>,
}

fn login(record: &Record) -> Option<Login> {
    let event = &record.event;
    matches!(event.detail(), Detail::LoginSuccess { .. }).then(|| Login {
        at: event.at(),
        source: event.source_ip().map(Prefix::source),
        risk: event.risk_context().and_then(|risk| risk.level),
    })
}

/// Reads on behind open alerts, once for all of them, at most [`PAGES_MAX`] pages. Says out of which somebody else got in.
pub(super) async fn read_on<'a>(
    log: &EventLog<RedbStore>,
    tenant: &TenantId,
    open: impl Iterator<Item = &'a mut Behind>,
) -> Result<Vec<Uuid>, ReadError> {
    let mut open: Vec<&mut Behind> = open.collect();
    let mut news = BTreeSet::new();
    for _ in 0..PAGES_MAX {
        let Some(from) = open.iter().map(|behind| behind.to).min() else { break };
        let page = match log.read(tenant, &Which::All, from, PAGE_EVENTS_MAX).await {
            Ok(page) => page,
            // Retention took what lies before.
            Err(ReadError::Gone { earliest }) if earliest > from => {
                open.iter_mut().for_each(|behind| behind.to = behind.to.max(earliest));
                continue;
            }
            Err(error) => return Err(error),
        };
        for record in &page.records {
            let Some(login) = login(record) else { continue };
            for behind in open.iter_mut().filter(|behind| behind.to < record.offset) {
                if behind.take(record.event.actor(), login) {
                    news.insert(behind.alert.id);
                }
            }
        }
        open.iter_mut().for_each(|behind| behind.to = behind.to.max(page.next));
        if page.is_up_to_date {
            break;
        }
    }
    Ok(news.into_iter().collect())
}

impl Behind {
    pub(super) fn new(alert: Alert) -> Self {
        let before = alert.first_offset.as_u64().saturating_sub(1);
        Self { alert, to: Offset::new(before), got_in: BTreeMap::new() }
    }

    /// The same alert, as it is now.
    pub(super) fn with(self, alert: Alert) -> Self {
        Self { alert, ..self }
    }

    /// Takes a login in; says whether it is news.
    fn take(&mut self, actor: &ActorId, login: Login) -> bool {
        let has_room = self.got_in.len() < GOT_IN_MAX || self.got_in.contains_key(actor);
        if !has_room || login.at < self.alert.first_event_at || !is_out_of(&self.alert, actor, login.source) {
            return false;
        }
        let known = self.got_in.entry(actor.clone()).or_default();
        let is_news = known.len() < SOURCES_MAX && !known.iter().any(|known| known.source == login.source);
        if is_news {
            known.push(login);
        }
        is_news
    }

    /// What is known of everybody whom the alert names, and of those who got in.
    pub(super) async fn contexts(
        &self,
        log: &EventLog<RedbStore>,
        tenant: &TenantId,
        now: DateTime<Utc>,
    ) -> Result<Vec<(ActorId, Context)>, ReadError> {
        let alert = &self.alert;
        let actors: BTreeSet<ActorId> = alert.actor_ids.iter().chain(self.got_in.keys()).cloned().collect();
        let mut histories: BTreeMap<ActorId, History> =
            actors.iter().map(|actor| (actor.clone(), History::default())).collect();
        if actors.is_empty() {
            return Ok(Vec::new());
        }
        let which = Which::Actors(actors.into_iter().collect());
        let mut after = since(log, tenant, alert).await?;
        let (mut read, mut is_complete) = (0_usize, true);
        loop {
            let page = match log.read(tenant, &which, after, PAGE_EVENTS_MAX).await {
                Ok(page) => page,
                Err(ReadError::Gone { earliest }) if earliest > after => {
                    after = earliest;
                    continue;
                }
                Err(error) => return Err(error),
            };
            after = page.next;
            read = read.saturating_add(page.records.len());
            for record in &page.records {
                if let Some(history) = histories.get_mut(record.event.actor()) {
                    history.take(record, alert);
                }
            }
            if page.is_up_to_date {
                break;
            }
            if read >= EVENTS_MAX {
                is_complete = false;
                break;
            }
        }
        let known = histories.into_iter().map(|(actor, history)| {
            let is_usual =
                |login: &&Login| login.source.is_some_and(|source| history.usual.contains(&source));
            let logins = self.got_in.get(&actor).map(Vec::as_slice).unwrap_or_default();
            // The one that its owner made least likely.
            let strange = logins.iter().find(|login| !is_usual(login)).or(logins.first());
            let got_in = strange.map(|login| GotIn {
                at: login.at,
                source: login.source.map(|source| source.to_string()),
                is_usual_source: is_usual(&login),
                risk: login.risk,
            });
            let context = Context {
                events: history.events,
                failures: history.failures,
                locks: history.locks,
                usual_sources: history.usual.len(),
                got_in,
                is_locked: history
                    .locked
                    .is_some_and(|until| until.is_none_or(|until| until.as_datetime() > now)),
                is_complete,
            };
            (actor, context)
        });
        Ok(known.collect())
    }
}

/// Whether a login comes from where an attack does.
fn is_out_of(alert: &Alert, actor: &ActorId, source: Option<Prefix>) -> bool {
    match &alert.group {
        // Wherever it comes from, it is about this account.
        Group::Actor(of) => of == actor,
        Group::Source(of) => source == Some(*of),
        _ => source.is_some_and(|source| alert.source_ips.contains(&source)),
    }
}

/// Behind which offset what happened within [`HISTORY_DAYS`] before an alert begins.
async fn since(log: &EventLog<RedbStore>, tenant: &TenantId, alert: &Alert) -> Result<Offset, ReadError> {
    let first = alert.first_event_at.as_datetime();
    let span = first - TimeDelta::days(HISTORY_DAYS)..first;
    let page = log.read_time(tenant, span, None, 1).await?;
    let begin =
        page.records.first().map_or(alert.first_offset, |record| record.offset.min(alert.first_offset));
    Ok(Offset::new(begin.as_u64().saturating_sub(1)))
}

/// What happened to one account.
#[derive(Default)]
struct History {
    events: u64,
    failures: u64,
    locks: u64,
    usual: HashSet<Prefix>,
    /// Locked, and until when.
    locked: Option<Option<Timestamp>>,
}

impl History {
    fn take(&mut self, record: &Record, alert: &Alert) {
        let event = &record.event;
        let is_since = event.at() >= alert.first_event_at;
        self.events = self.events.saturating_add(1);
        match event.detail() {
            Detail::LoginSuccess { .. } if !is_since => {
                self.usual.extend(event.source_ip().map(Prefix::source));
            }
            Detail::LoginFailure { .. } | Detail::MfaFailure { .. } if is_since => {
                self.failures = self.failures.saturating_add(1);
            }
            Detail::AccountLocked { lock_until, .. } => {
                self.locked = Some(*lock_until);
                self.locks = self.locks.saturating_add(u64::from(is_since));
            }
            Detail::AccountUnlocked { .. } if event.outcome() == Outcome::Success => self.locked = None,
            _ => {}
        }
    }
}
