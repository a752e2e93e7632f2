use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::TimeDelta;

use super::issuer::{Issuer, IssuerError, Order};
use super::{Finding, Purpose};
use crate::id::AccountName;
use crate::secret::SecretString;

/// A target in memory, for tests and examples. Clones share it. It can be told to go wrong.
#[derive(Clone, Debug, Default)]
pub struct MemoryIssuer(Arc<Mutex<Target>>);

#[derive(Debug, Default)]
struct Target {
    accounts: BTreeMap<AccountName, Vec<SecretString>>,
    takes_two: bool,
    faults: VecDeque<Fault>,
    late: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Apply(Purpose, AccountName, SecretString),
    LetOldGo(AccountName, SecretString),
    Remove(AccountName),
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// It goes well.
    None,
    /// It is refused, and not done.
    Refuse,
    /// It is not done, and not answered.
    Hang,
    /// It is done, and not answered.
    LoseAnswer,
    /// It is not answered, and done [later](MemoryIssuer::catch_up).
    Late,
}

impl MemoryIssuer {
    /// A target without accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// A target that lets in with a second secret until it is told to let the first go.
    pub fn taking_two() -> Self {
        let issuer = Self::default();
        issuer.target().takes_two = true;
        issuer
    }

    /// What becomes of the next calls, one after another. Looks count as well.
    pub fn go_wrong(&self, faults: impl IntoIterator<Item = Fault>) {
        self.target().faults.extend(faults);
    }

    /// What was late happens, and calls go well from now on.
    pub fn catch_up(&self) {
        let mut target = self.target();
        target.faults.clear();
        for change in std::mem::take(&mut target.late) {
            target.change(change);
        }
    }

    /// Makes an account behind the vault's back, or gives it this secret and no other.
    pub fn plant(&self, account: AccountName, secret: impl Into<SecretString>) {
        self.target().accounts.insert(account, vec![secret.into()]);
    }

    /// Takes an account away behind the vault's back.
    pub fn lose(&self, account: &AccountName) {
        self.target().accounts.remove(account);
    }

    /// All accounts.
    pub fn names(&self) -> Vec<AccountName> {
        self.target().accounts.keys().cloned().collect()
    }

    /// Whether a login works.
    pub fn lets_in(&self, account: &AccountName, secret: &SecretString) -> bool {
        self.target().accounts.get(account).is_some_and(|secrets| secrets.contains(secret))
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, change: Change) -> Result<(), IssuerError> {
        let mut target = self.target();
        let unanswered = || Err(IssuerError::Unanswered("planted".into()));
        match target.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => {
                let is_done = target.change(change);
                if is_done { Ok(()) } else { Err(IssuerError::Refused("there is no such account".into())) }
            }
            Fault::Refuse => Err(IssuerError::Refused("planted".into())),
            Fault::Hang => unanswered(),
            Fault::LoseAnswer => {
                target.change(change);
                unanswered()
            }
            Fault::Late => {
                target.late.push(change);
                unanswered()
            }
        }
    }
}

impl Target {
    fn change(&mut self, change: Change) -> bool {
        match change {
            Change::Apply(Purpose::Rotation, account, _) if !self.accounts.contains_key(&account) => {
                return false;
            }
            Change::Apply(_, account, new) => {
                let takes_two = self.takes_two;
                let secrets = self.accounts.entry(account).or_default();
                if !takes_two {
                    secrets.clear();
                }
                if !secrets.contains(&new) {
                    secrets.push(new);
                }
            }
            Change::LetOldGo(account, old) => {
                if let Some(secrets) = self.accounts.get_mut(&account) {
                    secrets.retain(|secret| *secret != old);
                }
            }
            Change::Remove(account) => drop(self.accounts.remove(&account)),
        }
        true
    }
}

#[async_trait]
impl Issuer for MemoryIssuer {
    async fn apply(&self, order: &Order<'_>) -> Result<(), IssuerError> {
        self.ask(Change::Apply(order.purpose, order.account.clone(), order.new.clone()))
    }

    async fn probe(&self, order: &Order<'_>) -> Finding {
        let mut target = self.target();
        if target.faults.pop_front().is_some_and(|fault| fault != Fault::None) {
            return Finding::Unknown;
        }
        let Some(secrets) = target.accounts.get(order.account) else { return Finding::Absent };
        let old = order.old.is_some_and(|old| secrets.contains(old));
        match (old, secrets.contains(order.new)) {
            (true, true) => Finding::BothWork,
            (true, false) => Finding::OldWorks,
            (false, true) => Finding::NewWorks,
            (false, false) => Finding::NeitherWorks,
        }
    }

    async fn let_old_go(&self, order: &Order<'_>) -> Result<(), IssuerError> {
        match order.old {
            Some(old) => self.ask(Change::LetOldGo(order.account.clone(), old.clone())),
            None => Ok(()),
        }
    }

    async fn remove(&self, account: &AccountName) -> Result<(), IssuerError> {
        self.ask(Change::Remove(account.clone()))
    }

    async fn accounts(&self, prefix: &str) -> Result<Vec<AccountName>, IssuerError> {
        let names = self.names();
        Ok(names.into_iter().filter(|name| name.as_str().starts_with(prefix)).collect())
    }

    fn settle(&self) -> TimeDelta {
        TimeDelta::seconds(30)
    }
}
