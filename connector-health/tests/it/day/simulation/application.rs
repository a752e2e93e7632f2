//! An application with accounts, as its own administrators would see it: what is true there, and what it answers while something is
//! wrong with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use connector_health::account::{self, Account, Accounts, Leaver, Managed, ValueChanges, Values};
use connector_health::connector::{Access, ListedAccount, Right};
use connector_health::{
    AccountId, Confirmation, Connector, EntitlementId, Failure, FailureKind, Operation, PersonId,
};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde_json::Value;

use super::clock::Clock;
use super::fault::{Fault, Kind};

/// Accounts that are nobody's whom the company knows.
const STRANGERS: usize = 20;

/// A lie for the oracle to find.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Honesty {
    /// Confirms what a read has shown.
    #[default]
    Reads,
    /// Confirms that somebody has no access and does nothing.
    SaysSo,
}

/// Whether somebody can log in, from then on.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) at: DateTime<Utc>,
    pub(crate) person: PersonId,
    pub(crate) access: Access,
}

/// What an application was really like, and is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Who could log in since when, in order.
    pub(crate) turns: Vec<Turn>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) accounts: Vec<Account>,
    /// Whether the accounts that are nobody's are as they were.
    pub(crate) strangers_are_untouched: bool,
}

/// Clones are the same application.
#[derive(Clone)]
pub(crate) struct Application {
    clock: Clock,
    latency_ms: u64,
    leaver: Leaver,
    honesty: Honesty,
    state: Arc<Mutex<State>>,
}

struct State {
    accounts: BTreeMap<AccountId, Account>,
    people: HashMap<PersonId, AccountId>,
    names: HashMap<String, AccountId>,
    groups: BTreeSet<EntitlementId>,
    made: u64,
    faults: Vec<Fault>,
    /// When a single request fails, soonest last.
    blips: Vec<DateTime<Utc>>,
    journal: Vec<Turn>,
    dice: fastrand::Rng,
}

impl Application {
    pub(crate) fn new(clock: Clock, number: usize, seed: u64, honesty: Honesty) -> Self {
        let mut dice =
            fastrand::Rng::with_seed(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let latency_ms = dice.u64(15..120);
        let leaver = match number % 3 {
            0 => Leaver::Disable,
            1 => Leaver::Delete,
            _ => Leaver::DisableThenDelete,
        };
        let mut state = State {
            accounts: BTreeMap::new(),
            people: HashMap::new(),
            names: HashMap::new(),
            groups: BTreeSet::new(),
            made: 0,
            faults: Vec::new(),
            blips: Vec::new(),
            journal: Vec::new(),
            dice,
        };
        for stranger in 0..STRANGERS {
            state.put(stranger_at(stranger));
        }
        Self { clock, latency_ms, leaver, honesty, state: Arc::new(Mutex::new(state)) }
    }

    /// Whether it keeps the accounts of leavers, with their names.
    pub(crate) fn keeps_leavers(&self) -> bool {
        self.leaver == Leaver::Disable
    }

    /// What will go wrong.
    pub(crate) fn plan(&self, faults: Vec<Fault>, mut blips: Vec<DateTime<Utc>>) {
        blips.sort_unstable_by(|one, other| other.cmp(one));
        let mut state = self.state();
        (state.faults, state.blips) = (faults, blips);
    }

    /// Somebody put it right.
    pub(crate) fn mend(&self, kind: Kind) {
        let now = self.clock.now();
        for fault in &mut self.state().faults {
            if fault.kind == kind && fault.is_on(now) {
                fault.ends = now;
            }
        }
    }

    pub(crate) fn truth(&self) -> Truth {
        let state = self.state();
        let untouched = |stranger: Account| state.accounts.get(&stranger.id) == Some(&stranger);
        let nobodys = state.accounts.values().filter(|account| account.person.is_none()).count();
        Truth {
            turns: state.journal.clone(),
            faults: state.faults.clone(),
            accounts: state.accounts.values().cloned().collect(),
            strangers_are_untouched: nobodys == STRANGERS && (0..STRANGERS).map(stranger_at).all(untouched),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is on its way; what is wrong when it arrives.
    async fn send(&self) -> Result<Option<Kind>, Failure> {
        let (wrong, latency_ms) = {
            let mut state = self.state();
            let latency_ms = state.dice.u64(self.latency_ms / 2..=self.latency_ms * 3 / 2);
            let wrong = state.wrong(self.clock.now());
            let latency_ms = match wrong {
                Some(Kind::Down) => 5,
                Some(Kind::Slow) => latency_ms * 8 + 250,
                Some(Kind::OverCeiling) => state.dice.u64(10_500..13_000),
                _ => latency_ms,
            };
            (wrong, latency_ms)
        };
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        let now = self.clock.now();
        let mut state = self.state();
        if state.blips.last().is_some_and(|at| *at <= now) {
            state.blips.pop();
            return Err(match state.dice.u8(..3) {
                0 => Failure::new(FailureKind::Connectivity, "connection reset before anything was sent"),
                1 => Failure::new(FailureKind::Server, "500"),
                _ => Failure::unknown("the answer was lost"),
            });
        }
        if wrong.is_some_and(|kind| kind.is_total() || kind == Kind::Slow) {
            state.feel(now);
        }
        match wrong {
            Some(Kind::Down) => Err(Failure::new(FailureKind::Connectivity, "connection refused")),
            Some(Kind::Expired) => Err(Failure::new(FailureKind::Authentication, "401")),
            Some(Kind::Limited) => {
                let wait = Duration::from_secs(state.dice.u64(20..120));
                Err(Failure::new(FailureKind::RateLimited, "429").retry_after(wait))
            }
            wrong => Ok(wrong),
        }
    }

    async fn read<T>(
        &self,
        whom: Option<&PersonId>,
        read: impl FnOnce(&State) -> T + Send,
    ) -> Result<T, Failure> {
        let wrong = self.send().await?;
        let now = self.clock.now();
        let mut state = self.state();
        if wrong == Some(Kind::Partial) && whom.is_some_and(is_in_the_broken_part) {
            state.feel(now);
            return Err(Failure::new(FailureKind::Server, "503 from a part of it"));
        }
        if wrong == Some(Kind::LostAnswers) && state.dice.u8(..10) < 6 {
            state.feel(now);
            return Err(Failure::unknown("the answer was lost"));
        }
        Ok(read(&state))
    }

    async fn write<T: Default>(
        &self,
        whom: Option<&PersonId>,
        schema: bool,
        write: impl FnOnce(&mut State, DateTime<Utc>) -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let wrong = self.send().await?;
        let now = self.clock.now();
        let mut state = self.state();
        match wrong {
            Some(Kind::Partial) if whom.is_some_and(is_in_the_broken_part) => {
                state.feel(now);
                Err(Failure::new(FailureKind::Server, "503 from a part of it"))
            }
            Some(Kind::Refuses) if schema => {
                state.feel(now);
                Err(Failure::new(FailureKind::SchemaMismatch, "400: `costCenter` is required"))
            }
            Some(Kind::Lies) => {
                state.feel(now);
                Ok(T::default())
            }
            Some(Kind::LostAnswers) if state.dice.u8(..10) < 6 => {
                state.feel(now);
                let _ = write(&mut state, now);
                Err(Failure::unknown("the answer was lost"))
            }
            _ => write(&mut state, now),
        }
    }
}

/// A third of all people.
fn is_in_the_broken_part(person: &PersonId) -> bool {
    person.as_str().bytes().map(usize::from).sum::<usize>() % 3 == 0
}

fn stranger_at(number: usize) -> Account {
    Account {
        id: AccountId::new(format!("s{number}")).unwrap(),
        person: None,
        access: Access::Active,
        attributes: Values::from([("userName".to_owned(), Value::from(format!("stranger-{number}")))]),
        entitlements: BTreeSet::new(),
        last_use: None,
    }
}

fn name_of(values: &Values) -> Option<String> {
    values.get("userName").and_then(Value::as_str).map(str::to_owned)
}

impl State {
    fn wrong(&self, now: DateTime<Utc>) -> Option<Kind> {
        self.faults.iter().find(|fault| fault.is_on(now)).map(|fault| fault.kind)
    }

    /// A request is the worse for what is wrong now.
    fn feel(&mut self, now: DateTime<Utc>) {
        if let Some(fault) = self.faults.iter_mut().find(|fault| fault.is_on(now)) {
            fault.felt_at.get_or_insert(now);
        }
    }

    fn put(&mut self, account: Account) {
        if let Some(name) = name_of(&account.attributes) {
            self.names.insert(name, account.id.clone());
        }
        if let Some(person) = &account.person {
            self.people.insert(person.clone(), account.id.clone());
        }
        self.accounts.insert(account.id.clone(), account);
    }

    fn turn(&mut self, person: Option<&PersonId>, access: Access, at: DateTime<Utc>) {
        if let Some(person) = person {
            self.journal.push(Turn { at, person: person.clone(), access });
        }
    }

    fn is_taken(&self, name: &str, by: &AccountId) -> bool {
        self.names.get(name).is_some_and(|holder| holder != by)
    }

    fn change(&mut self, id: &AccountId, changes: &ValueChanges) -> Result<(), Failure> {
        let taken = Failure::new(FailureKind::Conflict, "409: `userName` is taken");
        let wanted = changes.get("userName").and_then(Option::as_ref).and_then(Value::as_str);
        if wanted.is_some_and(|name| self.is_taken(name, id)) {
            return Err(taken);
        }
        let Some(account) = self.accounts.get_mut(id) else { return Err(gone()) };
        let before = name_of(&account.attributes);
        for (name, value) in changes {
            match value {
                Some(value) => drop(account.attributes.insert(name.clone(), value.clone())),
                None => drop(account.attributes.remove(name)),
            }
        }
        let after = name_of(&account.attributes);
        if before != after {
            before.map(|name| self.names.remove(&name));
            after.map(|name| self.names.insert(name, id.clone()));
        }
        Ok(())
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::Missing, "404")
}

#[async_trait]
impl Accounts for Application {
    fn leaver(&self) -> Leaver {
        self.leaver
    }

    fn manages(&self, attribute: &str) -> Managed {
        if matches!(attribute, "userName" | "title" | "manager") { Managed::Yes } else { Managed::No }
    }

    async fn by_account(&self, id: &AccountId) -> Result<Option<Account>, Failure> {
        let whose = self.state().accounts.get(id).and_then(|account| account.person.clone());
        self.read(whose.as_ref(), |state| state.accounts.get(id).cloned()).await
    }

    async fn by_person(&self, person: &PersonId) -> Result<Vec<Account>, Failure> {
        self.read(Some(person), |state| {
            let found = state.people.get(person).and_then(|id| state.accounts.get(id));
            found.cloned().into_iter().collect()
        })
        .await
    }

    async fn by_unique(&self, attribute: &str, value: &str) -> Result<Vec<Account>, Failure> {
        assert_eq!(attribute, "userName");
        self.read(None, |state| {
            let found = state.names.get(value).and_then(|id| state.accounts.get(id));
            found.cloned().into_iter().collect()
        })
        .await
    }

    async fn create(&self, person: &PersonId, attributes: &Values) -> Result<Option<AccountId>, Failure> {
        self.write(Some(person), true, |state, now| {
            if state.people.contains_key(person) {
                return Err(Failure::new(FailureKind::Conflict, "409: the person has an account"));
            }
            if name_of(attributes).is_some_and(|name| state.names.contains_key(&name)) {
                return Err(Failure::new(FailureKind::Conflict, "409: `userName` is taken"));
            }
            state.made += 1;
            let id = AccountId::new(format!("a{}", state.made)).unwrap();
            state.put(Account {
                id: id.clone(),
                person: Some(person.clone()),
                access: Access::Active,
                attributes: attributes.clone(),
                entitlements: BTreeSet::new(),
                last_use: None,
            });
            state.turn(Some(person), Access::Active, now);
            Ok(Some(id))
        })
        .await
    }

    async fn link(&self, account: &Account, person: &PersonId) -> Result<(), Failure> {
        // Of nobody here is an account known by its name alone: the oracle sees who was taken for somebody else.
        self.write(Some(person), false, |state, _| {
            let Some(account) = state.accounts.get_mut(&account.id) else { return Err(gone()) };
            account.person = Some(person.clone());
            Ok(())
        })
        .await
    }

    async fn change(&self, account: &Account, changes: &ValueChanges) -> Result<(), Failure> {
        self.write(account.person.as_ref(), true, |state, _| state.change(&account.id, changes)).await
    }

    async fn set_access(&self, account: &Account, access: Access) -> Result<(), Failure> {
        self.write(account.person.as_ref(), false, |state, now| {
            let Some(account) = state.accounts.get_mut(&account.id) else { return Err(gone()) };
            account.access = access;
            let person = account.person.clone();
            state.turn(person.as_ref(), access, now);
            Ok(())
        })
        .await
    }

    async fn set_right(&self, account: &Account, right: &EntitlementId, to: Right) -> Result<(), Failure> {
        self.write(account.person.as_ref(), false, |state, _| {
            if !state.groups.contains(right) {
                return Err(Failure::new(FailureKind::SchemaMismatch, "400: there is no such group"));
            }
            let Some(account) = state.accounts.get_mut(&account.id) else { return Err(gone()) };
            match to {
                Right::Granted => account.entitlements.insert(right.clone()),
                Right::Revoked => account.entitlements.remove(right),
            };
            Ok(())
        })
        .await
    }

    async fn delete(&self, account: &Account) -> Result<(), Failure> {
        self.write(account.person.as_ref(), false, |state, now| {
            let Some(account) = state.accounts.remove(&account.id) else { return Err(gone()) };
            name_of(&account.attributes).map(|name| state.names.remove(&name));
            account.person.as_ref().map(|person| state.people.remove(person));
            state.turn(account.person.as_ref(), Access::Disabled, now);
            Ok(())
        })
        .await
    }

    async fn ensure_group(&self, group: &EntitlementId, _: &ValueChanges) -> Result<bool, Failure> {
        self.write(None, false, |state, _| Ok(state.groups.insert(group.clone()))).await
    }
}

#[async_trait]
impl Connector for Application {
    async fn probe(&self) -> Result<(), Failure> {
        self.read(None, |_| ()).await
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        if self.honesty == Honesty::SaysSo && matches!(operation, Operation::Deprovision { .. }) {
            return Ok(Confirmation::read(connector_health::Found::Changed));
        }
        account::ensure(self, operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        stream::iter(self.truth().accounts).map(|account| Ok(account.into())).boxed()
    }
}
