//! Histories of a small company, an application, and what must hold of them in the end.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::connector::{Access, Leaving, MemoryAccount, MemoryConnector, Mode};
use connector_health::event::{Attribute, Attributes, Changes, Intent};
use connector_health::lane::EventState;
use connector_health::outbox::{MassLeaverGuard, Options, Outbox};
use connector_health::store::{Cut, MemoryStore, OutboxStore};
use connector_health::{ConnectorId, Connectors, EntitlementId, Event, EventId, PersonId};

pub(crate) fn at(second: i64) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(1_700_000_000 + second)
}

pub(crate) fn crm() -> ConnectorId {
    ConnectorId::new("crm").unwrap()
}

pub(crate) fn person(number: usize) -> PersonId {
    PersonId::new(format!("p{number}")).unwrap()
}

pub(crate) fn group(number: usize) -> EntitlementId {
    EntitlementId::new(format!("g{number}")).unwrap()
}

pub(crate) fn named(name: &str) -> Attributes {
    Attributes::from([("userName".to_owned(), Attribute::Unique(name.to_owned()))])
}

/// Virtual time: nothing waits.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

pub(crate) fn options() -> Options {
    // However slow the machine is, a pass is not cut short.
    let pass_time = std::time::Duration::from_secs(24 * 3_600);
    Options::default().guard(MassLeaverGuard::off()).leaver_reserve(0).pass_time(pass_time)
}

/// Passes until nothing is queued, time going on between them; the time of the last one.
pub(crate) async fn work_out<S: OutboxStore>(
    outbox: &Outbox<S>,
    connectors: &Connectors,
    mut now: DateTime<Utc>,
) -> Result<DateTime<Utc>, connector_health::outbox::OutboxError> {
    for _ in 0..10_000 {
        match outbox.work(connectors, now).await?.next_at {
            Some(next) => now = next.max(now + TimeDelta::milliseconds(1)),
            None => return Ok(now),
        }
    }
    panic!("the queue does not drain");
}

/// A choice of dice, so that the same generator serves random and exhaustive search.
pub(crate) trait Choose {
    /// Below `sides`.
    fn choose(&mut self, sides: usize) -> usize;
}

impl Choose for fastrand::Rng {
    fn choose(&mut self, sides: usize) -> usize {
        self.usize(..sides)
    }
}

/// What is lawful next, judged by a naive model of the application in the order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Company {
    people: BTreeMap<PersonId, Member>,
    groups: BTreeMap<EntitlementId, Attributes>,
    second: i64,
    pub(crate) has_groups: bool,
}

#[derive(Clone, Debug, Default)]
struct Member {
    is_active: bool,
    has_left: bool,
    attributes: Attributes,
    rights: BTreeSet<EntitlementId>,
}

pub(crate) const NAMES: [&str; 3] = ["smith", "jones", "miller"];

impl Company {
    /// Whether nobody else has this name. An account that was only disabled keeps its own.
    fn is_free(&self, name: &str, of: &PersonId, leaving: Leaving) -> bool {
        let taken = Attribute::Unique(name.to_owned());
        let keeps = |member: &Member| member.is_active || leaving == Leaving::Disables;
        let mut others = self.people.iter().filter(|(other, _)| *other != of);
        !others.any(|(_, other)| keeps(other) && other.attributes.get("userName") == Some(&taken))
    }

    /// All that may happen next to these people.
    pub(crate) fn lawful(&self, people: usize, leaving: Leaving) -> Vec<Event> {
        let mut events = Vec::new();
        let when = at(self.second + 1);
        for number in 0..people {
            let who = person(number);
            let member = self.people.get(&who).cloned().unwrap_or_default();
            if member.is_active {
                events.push(Event::deprovision(&crm(), &who).occurred_at(when));
                for name in NAMES.iter().filter(|name| self.is_free(name, &who, leaving)) {
                    events.push(Event::rename(&crm(), &who, "userName", name).occurred_at(when));
                }
                let title = Attribute::from(self.second);
                let changes = Changes::from([("title".to_owned(), Some(title))]);
                events.push(Event::update(&crm(), &who, changes).occurred_at(when));
                for (other, manager) in &self.people {
                    if manager.is_active && *other != who {
                        let manager = Some(Attribute::Person(other.clone()));
                        let changes = Changes::from([("manager".to_owned(), manager)]);
                        events.push(Event::update(&crm(), &who, changes).occurred_at(when));
                    }
                }
                let known =
                    (0..2).map(group).filter(|group| !self.has_groups || self.groups.contains_key(group));
                for right in known {
                    if member.rights.contains(&right) {
                        events.push(Event::revoke(&crm(), &who, &right).occurred_at(when));
                    } else {
                        events.push(Event::grant(&crm(), &who, &right).occurred_at(when));
                    }
                }
            } else {
                for name in NAMES.iter().filter(|name| self.is_free(name, &who, leaving)) {
                    let draft = if self.people.contains_key(&who) {
                        Event::reactivate(&crm(), &who, named(name))
                    } else {
                        Event::provision(&crm(), &who, named(name))
                    };
                    events.push(draft.occurred_at(when));
                }
            }
        }
        if self.has_groups {
            for number in 0..2 {
                let title = Changes::from([("title".to_owned(), Some(Attribute::from(self.second)))]);
                events.push(Event::group(&crm(), &group(number), title).occurred_at(when));
            }
        }
        events
    }

    /// It happens.
    pub(crate) fn happen(&mut self, event: &Event) {
        self.second += 1;
        if let connector_health::event::Subject::Group(group) = &event.lane().subject {
            if let Intent::Group(changes) = event.intent() {
                for (name, value) in changes {
                    self.groups
                        .entry(group.clone())
                        .or_default()
                        .insert(name.clone(), value.clone().unwrap());
                }
            }
            return;
        }
        let member = self.people.entry(who(event)).or_default();
        match event.intent() {
            Intent::Provision(attributes) | Intent::Reactivate(attributes) => {
                member.is_active = true;
                member.attributes = attributes.clone();
            }
            Intent::Update(changes) => {
                for (name, value) in changes {
                    match value {
                        Some(value) => member.attributes.insert(name.clone(), value.clone()),
                        None => member.attributes.remove(name),
                    };
                }
            }
            Intent::Grant(right) => {
                member.rights.insert(right.clone());
            }
            Intent::Revoke(right) => {
                member.rights.remove(right);
            }
            Intent::Deprovision => {
                member.is_active = false;
                member.has_left = true;
                member.rights.clear();
            }
            Intent::Group(_) => unreachable!("handled above"),
        }
    }

    /// How the application should look, an account that is disabled and has no rights being as good as none.
    pub(crate) fn differs(&self, application: &MemoryConnector) -> Option<String> {
        for (who, member) in &self.people {
            let accounts = application.accounts_of(who);
            if accounts.len() > 1 {
                return Some(format!("{who} has {} accounts", accounts.len()));
            }
            let account = accounts.first();
            if !member.is_active {
                if account
                    .is_some_and(|account| account.access == Access::Active || !account.rights.is_empty())
                {
                    return Some(format!("LEFT ACTIVE: {who} {account:?}"));
                }
                continue;
            }
            let wanted = MemoryAccount::clone(match account {
                Some(account) if account.access == Access::Active => account,
                _ => return Some(format!("{who} should be active: {account:?}")),
            });
            // Whether a reference to somebody who has left since is kept is up to the application.
            let stays = |value: &Attribute| match value {
                Attribute::Person(other) => self.people.get(other).is_some_and(|other| !other.has_left),
                Attribute::Plain(_) | Attribute::Unique(_) => true,
            };
            let is: BTreeMap<_, _> = wanted.attributes.iter().filter(|(_, value)| stays(value)).collect();
            let should: BTreeMap<_, _> = member.attributes.iter().filter(|(_, value)| stays(value)).collect();
            if is != should || wanted.rights != member.rights {
                let (is, should) = (serde_json::to_string(&is), serde_json::to_string(&should));
                return Some(format!(
                    "{who}: {is:?} {:?} rather than {should:?} {:?}",
                    wanted.rights, member.rights
                ));
            }
        }
        (self.has_groups && self.groups != application.groups()).then(|| "groups differ".to_owned())
    }
}

pub(crate) fn who(event: &Event) -> PersonId {
    match &event.lane().subject {
        connector_health::event::Subject::Person(person) => person.clone(),
        connector_health::event::Subject::Group(_) => panic!("a group"),
    }
}

/// A lawful history, and the state in which it ends.
pub(crate) fn history(
    dice: &mut impl Choose,
    people: usize,
    length: usize,
    leaving: Leaving,
    has_groups: bool,
) -> (Vec<Event>, Company) {
    let mut company = Company { has_groups, ..Company::default() };
    let mut events = Vec::new();
    for number in 0..length {
        let lawful = company.lawful(people, leaving);
        if lawful.is_empty() {
            break;
        }
        let event = lawful[dice.choose(lawful.len())].clone();
        let event = event.named(EventId::new(format!("e{number}")).unwrap());
        company.happen(&event);
        events.push(event);
    }
    (events, company)
}

/// Events, one a line.
pub(crate) fn story(events: &[Event]) -> String {
    let lines = events.iter().map(|event| {
        let intent = serde_json::to_string(event.intent()).unwrap();
        format!("\n  {} {} {} {intent}", event.id(), event.time().timestamp() - 1_700_000_000, event.lane())
    });
    lines.collect()
}

/// What is not done, for a failing test to show.
pub(crate) async fn waiting<S: OutboxStore>(outbox: &Outbox<S>, events: &[Event]) -> String {
    let mut shown = String::new();
    for event in events {
        let record = outbox.event(event.id()).await.unwrap().unwrap();
        if !record.state.is_closed() {
            let lane = outbox.store().load(event.lane()).await.unwrap().unwrap().record;
            let (place, waits_for) = (lane.place, lane.waits_for);
            shown += &format!(
                "{} {:?} {:?} {place:?} {waits_for:?}\n",
                event.id(),
                record.state,
                record.last_failure
            );
        }
    }
    shown
}

/// P4: every event has exactly one outcome, and the lane's chain of evidence counts each once.
pub(crate) async fn has_one_outcome_each<S: OutboxStore>(outbox: &Outbox<S>, events: &[Event]) {
    let mut lanes = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        let record = outbox.event(event.id()).await.unwrap().expect("an accepted event is there");
        assert!(record.state.is_closed(), "{event:?} is {:?}", record.state);
        assert_eq!(record.hash, connector_health::evidence::digest(&record), "{event:?}");
        if let EventState::Superseded { by, .. } = &record.state {
            assert!(by != event.id(), "{event:?} is superseded by itself");
        }
        lanes.entry(event.lane().clone()).or_default().push(record);
    }
    for (lane, records) in lanes {
        let all = outbox.store().history(&lane, None, 10_000).await.unwrap();
        assert_eq!(all.len(), records.len(), "{lane}");
        let mut links: BTreeMap<_, _> =
            records.iter().map(|record| (record.prev_hash.clone(), record.hash.clone())).collect();
        assert_eq!(links.len(), records.len(), "{lane}: one link each");
        let mut at = None;
        while let Some(next) = links.remove(&at) {
            at = next;
        }
        assert!(links.is_empty(), "{lane}: the chain is whole");
        let record = outbox.store().load(&lane).await.unwrap().unwrap().record;
        assert_eq!(record.evidence_hash, at);
        assert_eq!(record.intended, record.delivered, "{lane}");
        assert_eq!((record.open, record.place, record.in_flight), (0, None, None), "{lane}");
    }
}

/// Random answers of an application that is not well.
pub(crate) fn moods(dice: &mut fastrand::Rng, count: usize) -> Vec<Mode> {
    let mut mood = || match dice.u8(..10) {
        0..3 => Mode::LostResponse,
        3 => Mode::Down,
        4 => Mode::Lies,
        _ => Mode::Ok,
    };
    (0..count).map(|_| mood()).collect()
}

/// Restarts wherever a store was cut.
pub(crate) async fn until_done(
    store: &mut MemoryStore,
    application: &MemoryConnector,
    events: &[Event],
    cuts: &[Cut],
    mut now: DateTime<Utc>,
) -> Outbox<MemoryStore> {
    let connectors = Connectors::new().with(crm(), application.clone());
    for cut in cuts.iter().copied().map(Some).chain([None]) {
        if let Some(cut) = cut {
            store.cut(cut);
        }
        let outbox = Outbox::open_with(store.clone(), options()).await;
        let done = match outbox {
            Ok(outbox) => try_all(&outbox, &connectors, events, &mut now).await.map(|()| outbox),
            Err(_) => Err(()),
        };
        match done {
            Ok(outbox) => return outbox,
            Err(()) => {
                assert!(cut.is_some(), "only a cut fails");
                *store = store.restart();
            }
        }
    }
    panic!("never done");
}

async fn try_all(
    outbox: &Outbox<MemoryStore>,
    connectors: &Connectors,
    events: &[Event],
    now: &mut DateTime<Utc>,
) -> Result<(), ()> {
    for event in events {
        outbox.accept(event.clone(), *now).await.map_err(drop)?;
    }
    *now = work_out(outbox, connectors, *now).await.map_err(drop)?;
    Ok(())
}
