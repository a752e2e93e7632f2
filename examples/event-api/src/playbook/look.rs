//! What the log says about the accounts of an alert.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::detect::{Alert, Group, Prefix};
use mfa_events::event::{Detail, Outcome, RiskLevel, Timestamp};
use mfa_events::log::{PAGE_EVENTS_MAX, ReadError, Which};
use mfa_events::{ActorId, Event, EventLog, Offset, RedbStore, TenantId};
use uuid::Uuid;

use super::decide::{Context, GotIn, Lock};

/// How far back it is looked for where somebody logs in otherwise.
const HISTORY_DAYS: i64 = 7;
/// How long before an attack a login has to be for where it came from to be its owner's. Whoever attacks may have got in before he is seen.
const USUAL_HOURS: i64 = 24;
/// Most sources with failures that are kept in mind for one alert. Further ones are not told from anybody's.
const FAILING_MAX: usize = 4_096;
/// Most events of one account that are read. Beyond it, this account is for people, and no other.
const ACCOUNT_EVENTS_MAX: u64 = 5_000;
/// Most events of all accounts of an alert that are read.
const EVENTS_MAX: usize = 100_000;
/// Pages that are read on behind open alerts at once. What is left is read the next time.
const PAGES_MAX: usize = 20;
/// Most sources from which somebody got into one account that are kept in mind.
const SOURCES_MAX: usize = 64;
/// Most accounts of one alert that somebody got into and that are kept in mind. Far fewer are locked without people, who are told how
/// many more logins there were.
const GOT_IN_MAX: usize = 100;

/// An open alert, and who got in out of it so far.
pub(super) struct Behind {
    pub(super) alert: Alert,
    /// Events up to there were looked at.
    to: Offset,
    /// Logins from then on count.
    since: DateTime<Utc>,
    /// From each source once.
    got_in: BTreeMap<ActorId, Vec<Login>>,
    /// Logins into further accounts.
    pub(super) beyond: u64,
    /// Sources of failures, where an alert of the whole tenant has more than it names.
    failing: HashSet<Prefix>,
}

/// A login that worked.
#[derive(Clone, Copy)]
struct Login {
    at: Timestamp,
    source: Option<Prefix>,
    risk: Option<RiskLevel>,
}

impl Login {
    fn new(event: &Event) -> Self {
        Self {
            at: event.at(),
            source: event.source_ip().map(Prefix::source),
            risk: event.risk_context().and_then(|risk| risk.level),
        }
    }
}

/// Locks that playbooks made, by their events: since when each holds; nothing where it did not work.
pub(super) type OwnLocks = HashMap<Uuid, Option<Timestamp>>;

/// What is known besides the log.
pub(super) struct Beside<'a> {
    pub(super) own_locks: &'a OwnLocks,
    /// Sources from which accounts were taken over by earlier decisions.
    pub(super) taken_from: &'a HashSet<(ActorId, String)>,
    /// Whether the alert is of logins alone, without failures.
    pub(super) is_travel: bool,
}

/// Reads on behind open alerts, once for all of them, at most [`PAGES_MAX`] pages. Says out of which somebody else got in, and
/// whether that was all that there is.
pub(super) async fn read_on<'a>(
    log: &EventLog<RedbStore>,
    tenant: &TenantId,
    open: impl Iterator<Item = &'a mut Behind>,
) -> Result<(Vec<Uuid>, bool), ReadError> {
    let mut open: Vec<&mut Behind> = open.collect();
    let (mut news, mut is_all) = (BTreeSet::new(), open.is_empty());
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
            for behind in open.iter_mut().filter(|behind| behind.to < record.offset) {
                if behind.take(&record.event) {
                    news.insert(behind.alert.id);
                }
            }
        }
        open.iter_mut().for_each(|behind| behind.to = behind.to.max(page.next));
        is_all = page.is_up_to_date;
        if is_all {
            break;
        }
    }
    Ok((news.into_iter().collect(), is_all))
}

impl Behind {
    /// Of an alert of a rule that looks back so far.
    pub(super) async fn new(
        log: &EventLog<RedbStore>,
        tenant: &TenantId,
        alert: Alert,
        window: TimeDelta,
    ) -> Result<Self, ReadError> {
        // Whoever tries many accounts from one place may have got into one before he is seen.
        let window = if matches!(alert.group, Group::Actor(_)) { TimeDelta::zero() } else { window };
        let before = begin(log, tenant, &alert, window).await?;
        Ok(Self::from(alert, window, before))
    }

    fn from(alert: Alert, window: TimeDelta, to: Offset) -> Self {
        let first = alert.first_event_at.as_datetime();
        let since = first.checked_sub_signed(window).unwrap_or(first);
        Self { alert, to, since, got_in: BTreeMap::new(), beyond: 0, failing: HashSet::new() }
    }

    /// The same alert, as it is now.
    pub(super) fn with(self, alert: Alert) -> Self {
        Self { alert, ..self }
    }

    /// Takes an event in; says whether it is a login that is news.
    fn take(&mut self, event: &Event) -> bool {
        match event.detail() {
            Detail::LoginSuccess { .. } => {}
            Detail::LoginFailure { .. } | Detail::MfaFailure { .. } => {
                let is_wanted = event.at() >= self.alert.first_event_at && self.has_more_sources();
                if is_wanted && self.failing.len() < FAILING_MAX {
                    self.failing.extend(event.source_ip().map(Prefix::source));
                }
                return false;
            }
            _ => return false,
        }
        let (actor, login) = (event.actor(), Login::new(event));
        let has_room = self.got_in.len() < GOT_IN_MAX || self.got_in.contains_key(actor);
        if login.at.as_datetime() < self.since || !self.is_out_of(event) {
            return false;
        }
        if !has_room {
            self.beyond = self.beyond.saturating_add(1);
            return self.beyond == 1;
        }
        let known = self.got_in.entry(actor.clone()).or_default();
        let is_news = known.len() < SOURCES_MAX && !known.iter().any(|known| known.source == login.source);
        if is_news {
            known.push(login);
        }
        is_news
    }

    /// Whether a login may come from where an attack does.
    fn is_out_of(&self, event: &Event) -> bool {
        let source = event.source_ip().map(Prefix::source);
        match &self.alert.group {
            // Wherever it comes from, it is about this account.
            Group::Actor(of) => of == event.actor(),
            Group::Source(of) => source == Some(*of),
            Group::Network(of) => event.source_ip().map(Prefix::network) == Some(*of),
            _ => source.is_some_and(|source| {
                self.alert.source_ips.contains(&source) || self.failing.contains(&source)
            }),
        }
    }

    fn has_more_sources(&self) -> bool {
        let named = u64::try_from(self.alert.source_ips.len()).unwrap_or(u64::MAX);
        self.alert.group == Group::Tenant && self.alert.sources > named
    }

    /// Whether a login is one of the attacker, and not only one while an attack goes on.
    fn is_from_attack(&self, login: &Login, failing: &HashSet<Prefix>, is_travel: bool) -> bool {
        let Some(source) = login.source else { return false };
        match &self.alert.group {
            // Its owner may log in meanwhile, wherever she is. What a rule of steps names has her logins in it.
            Group::Actor(_) => !is_travel && failing.contains(&source),
            Group::Tenant => self.alert.source_ips.contains(&source),
            _ => true,
        }
    }

    /// What is known of everybody whom the alert names, and of those who got in.
    pub(super) async fn contexts(
        &self,
        log: &EventLog<RedbStore>,
        tenant: &TenantId,
        beside: &Beside<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<(ActorId, Context)>, ReadError> {
        let alert = &self.alert;
        let actors: BTreeSet<ActorId> = alert.actor_ids.iter().chain(self.got_in.keys()).cloned().collect();
        let mut histories: BTreeMap<ActorId, History> =
            actors.iter().map(|actor| (actor.clone(), History::default())).collect();
        if actors.is_empty() {
            return Ok(Vec::new());
        }
        let mut after = begin(log, tenant, alert, TimeDelta::days(HISTORY_DAYS)).await?;
        let mut wanted = actors;
        let mut unread = BTreeSet::new();
        let mut read = 0_usize;
        loop {
            let which = Which::Actors(wanted.iter().cloned().collect());
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
                    history.take(&record.event, alert, beside.own_locks);
                }
            }
            if page.is_up_to_date {
                break;
            }
            let flooded = |actor: &ActorId| {
                histories.get(actor).is_some_and(|history| history.events >= ACCOUNT_EVENTS_MAX)
            };
            unread.extend(wanted.iter().filter(|actor| flooded(actor)).cloned());
            wanted.retain(|actor| !flooded(actor));
            if read >= EVENTS_MAX || wanted.is_empty() {
                unread.append(&mut wanted);
                break;
            }
        }
        let known = histories.into_iter().map(|(actor, history)| {
            let context = self.context(&actor, &history, beside, !unread.contains(&actor), now);
            (actor, context)
        });
        Ok(known.collect())
    }

    fn context(
        &self,
        actor: &ActorId,
        history: &History,
        beside: &Beside<'_>,
        is_complete: bool,
        now: DateTime<Utc>,
    ) -> Context {
        let is_his = |source: &Prefix| beside.taken_from.contains(&(actor.clone(), source.to_string()));
        let usual: HashSet<Prefix> = history.usual.iter().copied().filter(|source| !is_his(source)).collect();
        let is_usual = |login: &Login| login.source.is_some_and(|source| usual.contains(&source));
        let is_from_attack = |login: &Login| self.is_from_attack(login, &history.failing, beside.is_travel);
        let logins = self.got_in.get(actor).map(Vec::as_slice).unwrap_or_default();
        // The one that its owner made least likely.
        let strange = logins.iter().min_by_key(|login| (is_usual(login), !is_from_attack(login)));
        Context {
            events: history.events,
            failures: history.failures,
            locks: history.locks,
            usual_sources: usual.len(),
            got_in: strange.map(|login| GotIn {
                // A lock has to come after all of them.
                at: logins.iter().map(|login| login.at).max().unwrap_or(login.at),
                source: login.source.map(|source| source.to_string()),
                is_usual_source: is_usual(login),
                is_from_attack: is_from_attack(login),
                risk: login.risk,
            }),
            lock: history.lock(now),
            is_complete,
        }
    }
}

/// Behind which offset what happened within a span before an alert begins.
async fn begin(
    log: &EventLog<RedbStore>,
    tenant: &TenantId,
    alert: &Alert,
    span: TimeDelta,
) -> Result<Offset, ReadError> {
    let first = alert.first_event_at.as_datetime();
    let before = first.checked_sub_signed(span).unwrap_or(first);
    let page = log.read_time(tenant, before..first, None, 1).await?;
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
    /// From where somebody failed since the alert's first event.
    failing: HashSet<Prefix>,
    /// The last login that worked.
    last_in: Option<Timestamp>,
    locked: Option<Locked>,
}

struct Locked {
    at: Timestamp,
    until: Option<Timestamp>,
    is_own: bool,
}

impl History {
    fn take(&mut self, event: &Event, alert: &Alert, own_locks: &OwnLocks) {
        let is_since = event.at() >= alert.first_event_at;
        self.events = self.events.saturating_add(1);
        let source = event.source_ip().map(Prefix::source);
        match event.detail() {
            Detail::LoginSuccess { .. } => {
                self.last_in = self.last_in.max(Some(event.at()));
                let before = alert.first_event_at.as_datetime() - event.at().as_datetime();
                if before >= TimeDelta::hours(USUAL_HOURS) {
                    self.usual.extend(source);
                }
            }
            Detail::LoginFailure { .. } | Detail::MfaFailure { .. } if is_since => {
                self.failures = self.failures.saturating_add(1);
                self.failing.extend(source);
            }
            Detail::AccountLocked { lock_until, .. } => {
                let own = own_locks.get(&event.id());
                // What could not be locked is not taken for locked.
                if own == Some(&None) {
                    return;
                }
                let at = own.copied().flatten().map_or(event.at(), |holds| holds.max(event.at()));
                self.locked = Some(Locked { at, until: *lock_until, is_own: own.is_some() });
                self.locks = self.locks.saturating_add(u64::from(is_since && own.is_none()));
            }
            Detail::AccountUnlocked { .. } if event.outcome() == Outcome::Success => self.locked = None,
            _ => {}
        }
    }

    /// The lock that holds now. Where somebody logs in behind it, it does not, whatever locks this account.
    fn lock(&self, now: DateTime<Utc>) -> Option<Lock> {
        let locked = self.locked.as_ref()?;
        let holds = locked.until.is_none_or(|until| until.as_datetime() > now)
            && self.last_in.is_none_or(|last| last < locked.at);
        holds.then_some(Lock { at: locked.at, is_own: locked.is_own })
    }
}

#[cfg(test)]
mod tests {
    use mfa_events::{AccountLocked, LoginFailure, LoginSuccess};
    use serde_json::{Value, json};

    use super::*;

    const HIS: &str = "203.0.113.9";
    const HERS: &str = "198.51.100.10";
    const MOBILE: &str = "192.0.2.77";

    /// So many minutes after noon.
    fn at(minute: i64) -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minute)
    }

    fn time(minute: i64) -> Timestamp {
        Timestamp::new(at(minute)).unwrap()
    }

    /// An alert that began at noon.
    fn alert(group: &Value, sources: u64) -> Alert {
        serde_json::from_value(json!({
            "id": "019aa2b0-5d3c-8c1e-9f00-2b1d5c3e4f60", "tenant_id": "acme", "rule": "some", "name": "Some",
            "severity": "high", "state": "opened", "group": group, "at": time(5), "first_event_at": time(0),
            "first_offset": 1, "opened_at": time(5), "last_met_at": time(5), "events": 9, "late_events": 0,
            "actors": 1, "is_exact": true, "sources": sources, "actor_ids": ["alice"],
            "source_ips": [HIS],
        }))
        .unwrap()
    }

    fn behind(group: Group, sources: u64) -> Behind {
        let alert = alert(&serde_json::to_value(group).unwrap(), sources);
        Behind::from(alert, TimeDelta::hours(1), Offset::new(0))
    }

    fn of_alice() -> Behind {
        behind(Group::Actor(actor("alice")), 1)
    }

    fn actor(name: &str) -> ActorId {
        ActorId::new(name).unwrap()
    }

    fn login(name: &str, ip: &str, minute: i64) -> Event {
        LoginSuccess::new(name).from(ip.parse().unwrap()).at(at(minute)).try_into().unwrap()
    }

    fn failure(name: &str, ip: &str, minute: i64) -> Event {
        LoginFailure::new(name).from(ip.parse().unwrap()).at(at(minute)).try_into().unwrap()
    }

    fn lock(minute: i64) -> Event {
        AccountLocked::new("alice").at(at(minute)).try_into().unwrap()
    }

    #[derive(Default)]
    struct Known {
        own_locks: OwnLocks,
        taken_from: HashSet<(ActorId, String)>,
        is_travel: bool,
    }

    /// What is known of alice after these events.
    fn context(mut behind: Behind, events: &[Event], known: &Known) -> Context {
        let mut history = History::default();
        for event in events {
            behind.take(event);
            history.take(event, &behind.alert, &known.own_locks);
        }
        let Known { own_locks, taken_from, is_travel } = known;
        let beside = Beside { own_locks, taken_from, is_travel: *is_travel };
        behind.context(&actor("alice"), &history, &beside, true, at(30))
    }

    #[test]
    fn a_lock_behind_which_somebody_logs_in_does_not_hold_in_whatever_order_it_is_told() {
        let known = Known::default();
        let held = context(of_alice(), &[login("alice", HIS, 1), lock(2)], &known).lock;
        assert_eq!(held.map(|lock| lock.is_own), Some(false));
        for events in [[lock(2), login("alice", HIS, 3)], [login("alice", HERS, 3), lock(2)]] {
            assert_eq!(context(of_alice(), &events, &known).lock, None);
        }
    }

    #[test]
    fn a_lock_of_its_own_holds_from_when_it_is_made_and_counts_for_nobodys_attack() {
        let event = lock(2);
        let with = |holds: Option<i64>| {
            let holds = holds.map(time);
            let own_locks = OwnLocks::from([(event.id(), holds)]);
            let known = Known { own_locks, ..Known::default() };
            context(of_alice(), &[event.clone(), login("alice", HIS, 3)], &known)
        };
        let pending = with(Some(30));
        assert_eq!((pending.lock.map(|lock| lock.is_own), pending.locks), (Some(true), 0));
        assert!(with(Some(4)).lock.is_some());
        assert_eq!(with(Some(2)).lock, None);
        assert_eq!(with(None).lock, None);
        // Whoever calls his a playbook's makes it none.
        assert_eq!(context(of_alice(), &[event], &Known::default()).locks, 1);
    }

    #[test]
    fn who_logs_in_elsewhere_while_others_fail_is_not_taken_for_them() {
        let got_in = |ip: &str, is_travel: bool| {
            let events = [failure("alice", HIS, 0), login("alice", ip, 2)];
            let known = Known { is_travel, ..Known::default() };
            context(of_alice(), &events, &known).got_in.unwrap()
        };
        assert!(got_in(HIS, false).is_from_attack);
        assert!(!got_in(MOBILE, false).is_from_attack);
        assert!(!got_in(HIS, true).is_from_attack);
        // Both: the worse one counts.
        let both = [failure("alice", HIS, 0), login("alice", MOBILE, 1), login("alice", HIS, 2)];
        let got_in = context(of_alice(), &both, &Known::default()).got_in.unwrap();
        assert_eq!((got_in.source.as_deref(), got_in.is_from_attack), (Some(HIS), true));
    }

    #[test]
    fn where_an_attacker_came_from_before_does_not_become_usual() {
        let day = 24 * 60;
        let known = Known::default();
        let usual = |events: &[Event], known: &Known| {
            let context = context(of_alice(), events, known);
            (context.usual_sources, context.got_in.unwrap().is_usual_source)
        };
        let last = [failure("alice", HIS, 0), login("alice", HIS, 2)];
        let after = |first: Event| -> Vec<Event> { std::iter::once(first).chain(last.clone()).collect() };
        assert_eq!(usual(&after(login("alice", HIS, 1 - day)), &known), (0, false));
        let old = after(login("alice", HIS, -day));
        assert_eq!(usual(&old, &known), (1, true));
        let taken_from = HashSet::from([(actor("alice"), HIS.to_owned())]);
        assert_eq!(usual(&old, &Known { taken_from, ..Known::default() }), (0, false));
    }

    #[test]
    fn whoever_gets_in_before_his_attempts_on_others_is_found() {
        let source = || behind(Group::Source(HIS.parse().unwrap()), 1);
        let got_in = |minute| context(source(), &[login("alice", HIS, minute)], &Known::default()).got_in;
        assert!(got_in(-60).is_some_and(|got_in| got_in.is_from_attack));
        assert!(got_in(-61).is_none());
    }

    #[test]
    fn further_accounts_that_somebody_got_into_are_news_once_and_counted() {
        let mut source = behind(Group::Source(HIS.parse().unwrap()), 1);
        let news = (0..GOT_IN_MAX + 3).filter(|number| source.take(&login(&format!("p{number}"), HIS, 1)));
        assert_eq!((news.count(), source.beyond), (GOT_IN_MAX + 1, 3));
    }

    #[test]
    fn an_attack_from_a_network_is_all_of_it() {
        let network = || behind(Group::Network("203.0.113.0/24".parse().unwrap()), 1);
        let got_in = |ip| context(network(), &[login("alice", ip, 1)], &Known::default()).got_in;
        assert!(got_in("203.0.113.200").is_some_and(|got_in| got_in.is_from_attack));
        assert!(got_in("203.0.114.9").is_none());
    }

    #[test]
    fn where_an_attack_has_more_sources_than_are_named_those_of_failures_are_for_people() {
        let events = [failure("bob", MOBILE, 1), login("alice", MOBILE, 2)];
        let got_in = |sources| context(behind(Group::Tenant, sources), &events, &Known::default()).got_in;
        assert!(got_in(1).is_none());
        assert!(got_in(2).is_some_and(|got_in| !got_in.is_from_attack));
        let named = [login("alice", HIS, 2)];
        let got_in = context(behind(Group::Tenant, 2), &named, &Known::default()).got_in;
        assert!(got_in.is_some_and(|got_in| got_in.is_from_attack));
    }
}
