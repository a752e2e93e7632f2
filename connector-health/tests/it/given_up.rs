//! Names that the accounts of leavers give up, through what an application can do with accounts.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use connector_health::account::{Account, Accounts, Leaver, Managed, ValueChanges, Values, ensure, given_up};
use connector_health::connector::{Access, FailureKind, Found, Operation, Right, Target};
use connector_health::{AccountId, EntitlementId, Failure, PersonId};
use proptest::prelude::*;
use serde_json::Value;

use crate::company::run;

/// What comes of a change of attributes.
#[derive(Clone, Copy, Debug)]
enum Change {
    Works,
    Refused,
    Ignored,
    /// It works, and nothing can be read afterwards.
    Blinds,
    /// It lets the owner in again.
    Revives,
    Fixed,
}

struct App {
    account: Mutex<Account>,
    is_blind: Mutex<bool>,
    change: Change,
}

impl App {
    fn new(names: &[(&str, &str)], change: Change) -> Self {
        let attributes = names.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
        let account = Account {
            id: AccountId::new("a1").unwrap(),
            person: Some(PersonId::new("p1").unwrap()),
            access: Access::Active,
            attributes: attributes.collect(),
            entitlements: [EntitlementId::new("staff").unwrap()].into(),
            last_use: None,
        };
        Self { account: Mutex::new(account), is_blind: Mutex::new(false), change }
    }

    fn read(&self) -> Result<Account, Failure> {
        match *self.is_blind.lock().unwrap() {
            true => Err(Failure::new(FailureKind::Connectivity, "connection refused")),
            false => Ok(self.account.lock().unwrap().clone()),
        }
    }

    fn name(&self) -> Value {
        self.account.lock().unwrap().attributes["name"].clone()
    }
}

#[async_trait]
impl Accounts for App {
    fn leaver(&self) -> Leaver {
        Leaver::Disable
    }

    fn manages(&self, attribute: &str) -> Managed {
        if attribute == "passed_by" { Managed::PassedBy } else { Managed::Yes }
    }

    async fn by_account(&self, account: &AccountId) -> Result<Option<Account>, Failure> {
        Ok(Some(self.read()?).filter(|read| read.id == *account))
    }

    async fn by_person(&self, person: &PersonId) -> Result<Vec<Account>, Failure> {
        Ok(Some(self.read()?).into_iter().filter(|read| read.person.as_ref() == Some(person)).collect())
    }

    async fn by_unique(&self, _: &str, _: &str) -> Result<Vec<Account>, Failure> {
        Ok(Vec::new())
    }

    async fn create(&self, _: &PersonId, _: &Values) -> Result<Option<AccountId>, Failure> {
        Err(Failure::new(FailureKind::Unsupported, "nobody joins"))
    }

    async fn link(&self, _: &Account, _: &PersonId) -> Result<(), Failure> {
        Ok(())
    }

    async fn change(&self, _: &Account, changes: &ValueChanges) -> Result<(), Failure> {
        let mut account = self.account.lock().unwrap();
        assert_eq!(account.access, Access::Disabled, "nobody is renamed who can still sign in");
        match self.change {
            Change::Refused => return Err(Failure::new(FailureKind::SchemaMismatch, "400")),
            Change::Ignored => return Ok(()),
            Change::Blinds => *self.is_blind.lock().unwrap() = true,
            Change::Revives => account.access = Access::Active,
            Change::Works | Change::Fixed => {}
        }
        let set = changes.iter().map(|(name, value)| (name.clone(), value.clone().unwrap()));
        account.attributes.extend(set);
        Ok(())
    }

    async fn set_access(&self, _: &Account, access: Access) -> Result<(), Failure> {
        self.account.lock().unwrap().access = access;
        Ok(())
    }

    async fn set_right(&self, _: &Account, of: &EntitlementId, _: Right) -> Result<(), Failure> {
        self.account.lock().unwrap().entitlements.remove(of);
        Ok(())
    }

    async fn delete(&self, _: &Account) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Unsupported, "nobody is deleted"))
    }

    fn given_up(&self, _: &str, value: &Value, account: &Account) -> Option<Value> {
        match self.change {
            Change::Fixed => None,
            _ => Some(given_up(&account.id, value.as_str().unwrap()).into()),
        }
    }
}

fn leave(unique: &[(&str, &str)]) -> Operation {
    let unique: BTreeMap<_, _> =
        unique.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Operation::Deprovision { target: Target { person: PersonId::new("p1").unwrap(), account: None, unique } }
}

#[test]
fn whatever_comes_of_the_rename_the_leaver_is_confirmed_and_a_name_that_is_kept_is_said() {
    for (change, residual) in [
        (Change::Works, None),
        (Change::Refused, Some("`name` of a1 is not its own any more: 400")),
        (Change::Ignored, Some("`name` of a1 is not its own any more: a read shows it still")),
        (Change::Blinds, Some("`name` of a1 is not its own any more: connection refused")),
        (Change::Fixed, Some("`name` of a1 is not its own any more: it cannot be changed")),
    ] {
        let app = App::new(&[("name", "old@example.com")], change);
        let left = run(ensure(&app, &leave(&[("name", "new@example.com")]))).unwrap();
        assert_eq!(left.residuals, Vec::from_iter(residual), "{change:?}");
        assert_eq!(left.found, Found::Changed);
        let account = app.account.lock().unwrap();
        assert_eq!((account.access, account.entitlements.len()), (Access::Disabled, 0));
    }
}

#[test]
fn a_rename_that_lets_somebody_in_again_is_no_success_and_the_next_attempt_puts_it_right() {
    let app = App::new(&[("name", "old")], Change::Revives);
    let failure = run(ensure(&app, &leave(&[("name", "new")]))).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Divergent);
    assert_eq!(run(ensure(&app, &leave(&[("name", "new")]))).unwrap().found, Found::Changed);
    assert_eq!(app.account.lock().unwrap().access, Access::Disabled);
}

#[test]
fn only_names_in_place_of_which_there_is_another_are_given_up_and_only_once() {
    let app = App::new(&[("name", "own"), ("badge", "7"), ("passed_by", "x")], Change::Works);
    run(ensure(&app, &leave(&[("name", "own"), ("passed_by", "y"), ("absent", "z")]))).unwrap();
    assert_eq!(app.account.lock().unwrap().attributes.len(), 3);
    assert_eq!(
        (app.name(), app.account.lock().unwrap().attributes["badge"].clone()),
        ("own".into(), "7".into())
    );
    let again = leave(&[("name", "other")]);
    assert_eq!(run(ensure(&app, &again)).unwrap().found, Found::Changed);
    let free = app.name();
    assert_eq!(run(ensure(&app, &again)).unwrap().found, Found::AlreadySo);
    assert_eq!(app.name(), free);
}

proptest! {
    #[test]
    fn a_name_that_was_given_up_stays_as_it_is_and_keeps_its_domain(id in "[!-~]{1,40}", name in ".{0,40}") {
        let id = AccountId::new(id).unwrap();
        let free = given_up(&id, &name);
        prop_assert_eq!(given_up(&id, &free), free.clone());
        let (own, domain) = free.split_once('@').map_or((&*free, None), |(own, domain)| (own, Some(domain)));
        prop_assert_eq!(own.len(), 20);
        let had = name.rsplit_once('@').map(|(_, domain)| domain).filter(|domain| !domain.is_empty());
        prop_assert_eq!(domain, had);
    }
}
