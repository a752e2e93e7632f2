use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{
    Access, Confirmation, Connector, Failure, FailureKind, Found, ListedAccount, Operation, Right, Target,
};
use crate::event::{Attribute, Attributes, Changes};
use crate::id::{AccountId, EntitlementId, PersonId};

/// How an application in memory behaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// As it should.
    #[default]
    Ok,
    /// It cannot be reached.
    Down,
    /// It refuses the credential.
    Unauthorized,
    /// It asks to come back after so long.
    RateLimited(Duration),
    /// It does what it is asked, and the answer is lost.
    LostResponse,
    /// It says that it has done it, and has not.
    Lies,
    /// It never answers.
    Hangs,
    /// It does not take this.
    Refuses,
}

/// What it does with the account of somebody who leaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Leaving {
    /// Deletes it; its name is free.
    #[default]
    Deletes,
    /// Disables it; its name stays taken.
    Disables,
}

/// An application in memory, with its connector: for tests and examples. Clones are the same application.
#[derive(Clone, Debug, Default)]
pub struct MemoryConnector(Arc<Mutex<Application>>);

#[derive(Debug, Default)]
struct Application {
    mode: Mode,
    next_modes: VecDeque<Mode>,
    leaving: Leaving,
    accounts: BTreeMap<AccountId, MemoryAccount>,
    groups: Option<BTreeMap<EntitlementId, Attributes>>,
    requests: Option<Vec<Operation>>,
    created: u64,
}

/// An account of an application in memory.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MemoryAccount {
    /// Whose.
    pub person: PersonId,
    /// Whether its owner can log in.
    pub access: Access,
    /// Attributes.
    pub attributes: Attributes,
    /// Rights.
    pub rights: BTreeSet<EntitlementId>,
}

impl MemoryConnector {
    /// An application without accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it does with the account of somebody who leaves.
    #[must_use]
    pub fn leaving(self, leaving: Leaving) -> Self {
        self.application().leaving = leaving;
        self
    }

    /// Rights are groups, which must be there before somebody gets into one.
    #[must_use]
    pub fn with_groups(self) -> Self {
        self.application().groups = Some(BTreeMap::new());
        self
    }

    /// Keeps what it is asked for [`requests`](Self::requests).
    #[must_use]
    pub fn recording(self) -> Self {
        self.application().requests = Some(Vec::new());
        self
    }

    /// How it behaves from now on.
    pub fn set(&self, mode: Mode) {
        self.application().mode = mode;
    }

    /// How it behaves at the next operations, one each, before it behaves as set again.
    pub fn next(&self, modes: impl IntoIterator<Item = Mode>) {
        self.application().next_modes.extend(modes);
    }

    /// Accounts of a person.
    pub fn accounts_of(&self, person: &PersonId) -> Vec<MemoryAccount> {
        self.application().accounts.values().filter(|account| account.person == *person).cloned().collect()
    }

    /// Attributes of its groups.
    pub fn groups(&self) -> BTreeMap<EntitlementId, Attributes> {
        self.application().groups.clone().unwrap_or_default()
    }

    /// What it was asked, failures included.
    pub fn requests(&self) -> Vec<Operation> {
        self.application().requests.clone().unwrap_or_default()
    }

    fn application(&self) -> MutexGuard<'_, Application> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Application {
    fn account(&self, target: &Target) -> Result<Option<AccountId>, Failure> {
        let mut of_person = self.accounts.iter().filter(|(_, account)| account.person == target.person);
        match (of_person.next(), of_person.next()) {
            (None, _) => Ok(None),
            (Some((id, _)), None) => Ok(Some(id.clone())),
            (Some(_), Some(_)) => {
                Err(Failure::new(FailureKind::Ambiguous, "the person has several accounts"))
            }
        }
    }

    fn check(&self, of: Option<&AccountId>, attributes: &Attributes) -> Result<(), Failure> {
        for (name, value) in attributes {
            match value {
                Attribute::Unique(_) => {
                    let mut others = self.accounts.iter().filter(|(id, _)| Some(*id) != of);
                    if others.any(|(_, other)| other.attributes.get(name) == Some(value)) {
                        return Err(Failure::new(FailureKind::Conflict, format!("`{name}` is taken")));
                    }
                }
                Attribute::Person(person) => {
                    if !self.accounts.values().any(|account| account.person == *person) {
                        let message = format!("`{name}` refers to nobody");
                        return Err(Failure::new(FailureKind::SchemaMismatch, message));
                    }
                }
                Attribute::Plain(_) => {}
            }
        }
        Ok(())
    }

    fn check_group(&self, group: &EntitlementId) -> Result<(), Failure> {
        match &self.groups {
            Some(groups) if !groups.contains_key(group) => {
                Err(Failure::new(FailureKind::SchemaMismatch, "there is no such group"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes it so, and answers what was found.
    fn ensure(&mut self, operation: &Operation) -> Result<Confirmation, Failure> {
        match operation {
            Operation::Deprovision { target } => {
                let Some(id) = self.account(target)? else { return Ok(Confirmation::read(Found::Absent)) };
                if self.leaving == Leaving::Deletes {
                    self.accounts.remove(&id);
                    return Ok(Confirmation::read(Found::Changed));
                }
                let given_up = Attribute::Unique(format!("left {}", target.person));
                self.write(id, |account| {
                    account.access = Access::Disabled;
                    account.rights.clear();
                    for (name, value) in &mut account.attributes {
                        let Some(own) = target.unique.get(name) else { continue };
                        if matches!(value, Attribute::Unique(value) if value != own) {
                            *value = given_up.clone();
                        }
                    }
                })
            }
            Operation::Account { target, attributes, rights } => {
                let known = self.account(target)?;
                self.check(known.as_ref(), attributes)?;
                rights.iter().try_for_each(|group| self.check_group(group))?;
                let id = match known {
                    Some(id) => id,
                    None => self.create(target)?,
                };
                self.write(id, |account| {
                    account.access = Access::Active;
                    account.attributes.clone_from(attributes);
                    account.rights.extend(rights.iter().cloned());
                })
            }
            Operation::Attributes { target, changes } => {
                let id = self.account(target)?;
                let id = id.ok_or_else(|| Failure::new(FailureKind::Missing, "there is no account"))?;
                let set = changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
                self.check(Some(&id), &set.collect())?;
                self.write(id, |account| change(&mut account.attributes, changes))
            }
            Operation::Entitlement { target, entitlement, right: Right::Granted } => {
                self.check_group(entitlement)?;
                let id = self.account(target)?;
                let id = id.ok_or_else(|| Failure::new(FailureKind::Missing, "there is no account"))?;
                self.write(id, |account| {
                    account.rights.insert(entitlement.clone());
                })
            }
            Operation::Entitlement { target, entitlement, right: Right::Revoked } => {
                let Some(id) = self.account(target)? else { return Ok(Confirmation::read(Found::Absent)) };
                self.write(id, |account| {
                    account.rights.remove(entitlement);
                })
            }
            Operation::Strip { target, keep } => {
                let Some(id) = self.account(target)? else { return Ok(Confirmation::read(Found::Absent)) };
                self.write(id, |account| account.rights.retain(|right| keep.contains(right)))
            }
            Operation::Group { group, changes } => {
                if let Some(groups) = &mut self.groups {
                    change(groups.entry(group.clone()).or_default(), changes);
                }
                Ok(Confirmation::read(Found::Changed))
            }
        }
    }

    fn create(&mut self, target: &Target) -> Result<AccountId, Failure> {
        self.created = self.created.saturating_add(1);
        let id = AccountId::new(format!("account-{}", self.created));
        let id = id.map_err(|error| Failure::new(FailureKind::Server, error.to_string()))?;
        let account = MemoryAccount {
            person: target.person.clone(),
            access: Access::Disabled,
            attributes: Attributes::new(),
            rights: BTreeSet::new(),
        };
        self.accounts.insert(id.clone(), account);
        Ok(id)
    }

    fn write(
        &mut self,
        id: AccountId,
        write: impl FnOnce(&mut MemoryAccount),
    ) -> Result<Confirmation, Failure> {
        let Some(account) = self.accounts.get_mut(&id) else {
            return Err(Failure::new(FailureKind::Missing, "there is no account"));
        };
        let before = account.clone();
        write(account);
        let found = if *account == before { Found::AlreadySo } else { Found::Changed };
        Ok(Confirmation::read(found).of(id))
    }
}

fn change(attributes: &mut Attributes, changes: &Changes) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(attributes.insert(name.clone(), value.clone())),
            None => drop(attributes.remove(name)),
        }
    }
}

fn answer(mode: Mode) -> Result<(), Failure> {
    match mode {
        Mode::Ok | Mode::LostResponse | Mode::Lies | Mode::Hangs | Mode::Refuses => Ok(()),
        Mode::Down => Err(Failure::new(FailureKind::Connectivity, "connection refused")),
        Mode::Unauthorized => Err(Failure::new(FailureKind::Authentication, "401")),
        Mode::RateLimited(wait) => Err(Failure::new(FailureKind::RateLimited, "429").retry_after(wait)),
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    async fn probe(&self) -> Result<(), Failure> {
        let mode = self.application().mode;
        if mode == Mode::Hangs {
            std::future::pending::<()>().await;
        }
        answer(mode)
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        let mode = {
            let mut application = self.application();
            if let Some(requests) = &mut application.requests {
                requests.push(operation.clone());
            }
            let set = application.mode;
            application.next_modes.pop_front().unwrap_or(set)
        };
        if mode == Mode::Hangs {
            std::future::pending::<()>().await;
        }
        answer(mode)?;
        if mode == Mode::Refuses {
            return Err(Failure::new(FailureKind::SchemaMismatch, "400"));
        }
        let mut application = self.application();
        if mode == Mode::Lies {
            // The read shows it, unless nothing was to be changed.
            let (accounts, groups) = (application.accounts.clone(), application.groups.clone());
            let confirmation = application.ensure(operation)?;
            let was_so = accounts == application.accounts && groups == application.groups;
            application.accounts = accounts;
            application.groups = groups;
            let lied =
                || Failure::new(FailureKind::Divergent, "200, and nothing changed").perhaps_effective();
            return if was_so { Ok(confirmation) } else { Err(lied()) };
        }
        let ensured = application.ensure(operation);
        if mode == Mode::LostResponse { Err(Failure::unknown("the answer was lost")) } else { ensured }
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        let application = self.application();
        if let Err(failure) = answer(application.mode) {
            return stream::iter([Err(failure)]).boxed();
        }
        let listed = application.accounts.iter().map(|(id, account)| {
            Ok(ListedAccount {
                account: id.clone(),
                person: Some(account.person.clone()),
                access: account.access,
                attributes: account.attributes.clone(),
                entitlements: account.rights.clone(),
                last_use: None,
            })
        });
        stream::iter(listed.collect::<Vec<_>>()).boxed()
    }
}
