//! From look-ups and writes to confirmed states.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::names::give_up;
use super::{Account, Accounts, Leaver, MATCHES_MAX, Managed, ValueChanges, Values, is_blank};
use crate::connector::{Access, Confirmation, Failure, FailureKind, Found, Operation, Right, Target};
use crate::event::{Attribute, Attributes, Changes};
use crate::id::{AccountId, EntitlementId, PersonId};

/// Makes it so, and confirms it by reading.
///
/// Cancellation: dropping the future leaves the outcome unknown, as a lost answer does; the operation may be repeated.
///
/// # Errors
/// Those of the application; [`FailureKind::Divergent`] where a read after accepted writes shows something else,
/// [`FailureKind::Ambiguous`] and [`FailureKind::Conflict`] where it cannot be told whose account it is. Where something was written before, the
/// failure says that something may have happened.
pub async fn ensure<A: Accounts + ?Sized>(app: &A, operation: &Operation) -> Result<Confirmation, Failure> {
    let confirmation = match operation {
        Operation::Deprovision { target } => deprovision(app, target).await,
        Operation::Account { target, attributes, rights } => account(app, target, attributes, rights).await,
        Operation::Attributes { target, changes } => attributes(app, target, changes).await,
        Operation::Entitlement { target, entitlement, right } => {
            entitlement_of(app, target, entitlement, *right).await
        }
        Operation::Strip { target, keep } => strip(app, target, keep).await,
        Operation::Group { group, changes } => {
            // Names of a group's attributes are for the application to check.
            let values = changes.iter().map(|(name, value)| (name, value.as_ref()));
            let changes = resolve(app, |_| Managed::Yes, values).await?;
            let changed = app.ensure_group(group, &changes).await?;
            Ok(Confirmation::read(if changed { Found::Changed } else { Found::AlreadySo }))
        }
    }?;
    Ok(Confirmation { request_hash: Some(hash(operation)), ..confirmation })
}

/// Accounts that are the person's, by identifiers alone.
async fn identified<A: Accounts + ?Sized>(app: &A, target: &Target) -> Result<Vec<Account>, Failure> {
    let mut found = app.by_person(&target.person).await?;
    if found.iter().any(|account| account.person.as_ref() != Some(&target.person)) {
        return Err(Failure::new(
            FailureKind::Divergent,
            "a look-up by person found somebody else's account",
        ));
    }
    if let Some(known) = &target.account
        && found.iter().all(|account| account.id != *known)
        && let Some(account) = app.by_account(known).await?
    {
        if account.id != *known {
            return Err(Failure::new(FailureKind::Divergent, "a look-up of an account found another one"));
        }
        match &account.person {
            Some(other) if *other != target.person => {
                return Err(Failure::new(
                    FailureKind::Ambiguous,
                    format!(
                        "account {known} was confirmed as this person's and now carries another person's identifier"
                    ),
                ));
            }
            _ => found.push(account),
        }
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.dedup_by(|one, other| one.id == other.id);
    match found.len() > MATCHES_MAX {
        true => Err(Failure::new(FailureKind::Ambiguous, "too many accounts carry this person's identifier")),
        false => Ok(found),
    }
}

/// Somebody has a unique value that is wanted.
enum Holder {
    Nobody,
    /// The only match, and it carries nobody's identifier.
    Unclaimed(Account),
    Stranger,
}

async fn holder<A: Accounts + ?Sized>(app: &A, unique: &BTreeMap<String, String>) -> Result<Holder, Failure> {
    let mut found: Vec<Account> = Vec::new();
    for (attribute, value) in unique {
        if app.manages(attribute) == Managed::Yes {
            found.extend(app.by_unique(attribute, value).await?);
        }
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.dedup_by(|one, other| one.id == other.id);
    let claimed = found.iter().any(|account| account.person.is_some());
    let count = found.len();
    match found.into_iter().next() {
        None => Ok(Holder::Nobody),
        Some(_) if claimed => Ok(Holder::Stranger),
        Some(account) if count == 1 => Ok(Holder::Unclaimed(account)),
        Some(_) => {
            Err(Failure::new(FailureKind::Ambiguous, "several accounts have this person's unique values"))
        }
    }
}

/// All accounts that are the person's; one found by unique values alone counts where nothing speaks against it.
async fn all<A: Accounts + ?Sized>(app: &A, target: &Target) -> Result<Vec<Account>, Failure> {
    let found = identified(app, target).await?;
    if !found.is_empty() {
        return Ok(found);
    }
    match holder(app, &target.unique).await? {
        Holder::Unclaimed(account) => Ok(vec![account]),
        Holder::Nobody | Holder::Stranger => Ok(Vec::new()),
    }
}

async fn one<A: Accounts + ?Sized>(app: &A, target: &Target) -> Result<Option<Account>, Failure> {
    let mut found = all(app, target).await?.into_iter();
    match (found.next(), found.next()) {
        (first, None) => Ok(first),
        _ => Err(Failure::new(FailureKind::Ambiguous, "the person has several accounts")),
    }
}

/// Writes that belong together, and how they went.
#[derive(Default)]
struct Writes {
    sent: bool,
    accepted: bool,
    failure: Option<Failure>,
}

impl Writes {
    /// Notes how a write went; a refused credential ends everything, so that it is not shown again and again.
    fn note(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        self.sent = true;
        match outcome {
            Ok(()) => self.accepted = true,
            Err(failure) if failure.kind() == FailureKind::Authentication => {
                return Err(self.tinged(failure));
            }
            Err(failure) => {
                self.failure.get_or_insert(failure);
            }
        }
        Ok(())
    }

    fn failed(&self) -> bool {
        self.failure.is_some()
    }

    fn tinged(&self, failure: Failure) -> Failure {
        if self.accepted { failure.perhaps_effective() } else { failure }
    }

    fn read_failed(&self, failure: Failure) -> Failure {
        if self.sent { failure.perhaps_effective() } else { failure }
    }

    /// After the read: what it showed decides, whatever the answers to the writes were.
    fn conclude(mut self, is_so: bool, what: &str) -> Result<Found, Failure> {
        match (is_so, self.failure.take()) {
            (true, _) if self.sent => Ok(Found::Changed),
            (true, _) => Ok(Found::AlreadySo),
            (false, Some(failure)) => Err(self.tinged(failure)),
            (false, None) => Err(self.tinged(Failure::new(FailureKind::Divergent, what))),
        }
    }
}

async fn deprovision<A: Accounts + ?Sized>(app: &A, target: &Target) -> Result<Confirmation, Failure> {
    let found = all(app, target).await?;
    if found.is_empty() {
        return Ok(Confirmation::read(Found::Absent));
    }
    let mut writes = Writes::default();
    for account in &found {
        if app.leaver() != Leaver::Delete {
            if account.access == Access::Active {
                writes.note(app.set_access(account, Access::Disabled).await)?;
            }
            // One right that stays does not keep the others.
            for entitlement in &account.entitlements {
                writes.note(app.set_right(account, entitlement, Right::Revoked).await)?;
            }
        }
        match app.leaver() {
            Leaver::Disable => {}
            Leaver::Delete => writes.note(app.delete(account).await)?,
            Leaver::DisableThenDelete => {
                let now = app.by_account(&account.id).await.map_err(|failure| writes.read_failed(failure))?;
                match now {
                    Some(now) if now.access == Access::Disabled => writes.note(app.delete(&now).await)?,
                    Some(_) if writes.failed() => {}
                    Some(_) => {
                        let failure = Failure::new(FailureKind::Divergent, "the account is still active");
                        return Err(writes.tinged(failure));
                    }
                    None => {}
                }
            }
        }
    }
    let mut now = Vec::new();
    for account in &found {
        let read = app.by_account(&account.id).await.map_err(|failure| writes.read_failed(failure))?;
        now.extend(read);
    }
    // An account that another way of asking still finds is not gone.
    for account in app.by_person(&target.person).await.map_err(|failure| writes.read_failed(failure))? {
        if now.iter().all(|known| known.id != account.id) {
            now.push(account);
        }
    }
    let deletes = app.leaver() != Leaver::Disable;
    let is_out = |accounts: &[Account]| {
        accounts
            .iter()
            .all(|account| !deletes && account.access == Access::Disabled && account.entitlements.is_empty())
    };
    let what = "a read shows an account that is active, has rights or is still there";
    let mut confirmation = Confirmation::read(writes.conclude(is_out(&now), what)?);
    let mut named = Vec::with_capacity(now.len());
    for account in &now {
        named.extend(give_up(app, target, account, &mut confirmation).await);
    }
    if !is_out(&named) {
        let failure = Failure::new(FailureKind::Divergent, "to be called otherwise brought an account back");
        return Err(failure.perhaps_effective());
    }
    confirmation.response_hash = Some(hash(&named));
    match found.as_slice() {
        [only] => Ok(confirmation.of(only.id.clone())),
        _ => Ok(confirmation),
    }
}

async fn account<A: Accounts + ?Sized>(
    app: &A,
    target: &Target,
    wanted: &Attributes,
    rights: &BTreeSet<EntitlementId>,
) -> Result<Confirmation, Failure> {
    let wanted =
        resolve(app, |name| app.manages(name), wanted.iter().map(|(name, value)| (name, Some(value))))
            .await?;
    let mut writes = Writes::default();
    let existing = match identified(app, target).await?.as_slice() {
        [] => match holder(app, &target.unique).await? {
            Holder::Unclaimed(account) => Some(account),
            Holder::Nobody => None,
            Holder::Stranger => {
                return Err(Failure::new(
                    FailureKind::Conflict,
                    "somebody else's account has a unique value",
                ));
            }
        },
        [only] => Some(only.clone()),
        _ => return Err(Failure::new(FailureKind::Ambiguous, "the person has several accounts")),
    };
    let current = match existing {
        Some(account) => account,
        None => {
            let values = wanted.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
            let made = app.create(&target.person, &values.collect::<Values>()).await;
            let named = made.as_ref().ok().cloned().flatten();
            writes.note(made.map(drop))?;
            match made_account(app, target, named.as_ref(), &writes).await? {
                Some(account) => account,
                None => {
                    return Err(writes
                        .conclude(false, "the account was accepted, and a read does not find it")
                        .err()
                        .unwrap_or_else(|| Failure::unknown("the account is not found")));
                }
            }
        }
    };
    writes.failure = None;
    if current.person.is_none() {
        writes.note(app.link(&current, &target.person).await)?;
    }
    let changes = differing(app, &wanted, &current, true);
    if !changes.is_empty() && !writes.failed() {
        writes.note(app.change(&current, &changes).await)?;
    }
    for entitlement in rights.difference(&current.entitlements) {
        if !writes.failed() {
            writes.note(app.set_right(&current, entitlement, Right::Granted).await)?;
        }
    }
    if current.access != Access::Active && !writes.failed() {
        writes.note(app.set_access(&current, Access::Active).await)?;
    }
    let now = reread(app, &current.id, &writes).await?;
    let is_so = |account: &Account| {
        account.access == Access::Active
            && account.person.as_ref() == Some(&target.person)
            && rights.is_subset(&account.entitlements)
            && differing(app, &wanted, account, true).is_empty()
    };
    finish(writes, now, is_so, "a read does not show the account as it was written")
}

/// The account after a create, whatever the answer to it was.
async fn made_account<A: Accounts + ?Sized>(
    app: &A,
    target: &Target,
    named: Option<&AccountId>,
    writes: &Writes,
) -> Result<Option<Account>, Failure> {
    let read = async {
        match named {
            Some(account) => app.by_account(account).await,
            None => match app.by_person(&target.person).await?.as_slice() {
                [] => Ok(None),
                [only] => Ok(Some(only.clone())),
                _ => Err(Failure::new(FailureKind::Ambiguous, "the person has several accounts")),
            },
        }
    };
    match read.await {
        Ok(Some(account)) if account.person.as_ref() != Some(&target.person) => Err(Failure::new(
            FailureKind::Divergent,
            "the account that was made does not carry the person's identifier",
        )
        .perhaps_effective()),
        Ok(found) => Ok(found),
        // The write's own failure says more than that of the read after it.
        Err(failure) => Err(writes.failure.clone().unwrap_or_else(|| writes.read_failed(failure))),
    }
}

async fn attributes<A: Accounts + ?Sized>(
    app: &A,
    target: &Target,
    changes: &Changes,
) -> Result<Confirmation, Failure> {
    let wanted =
        resolve(app, |name| app.manages(name), changes.iter().map(|(name, value)| (name, value.as_ref())))
            .await?;
    let current = existing(app, target).await?;
    let mut writes = Writes::default();
    let changes = differing(app, &wanted, &current, false);
    if !changes.is_empty() {
        writes.note(app.change(&current, &changes).await)?;
    }
    let now = reread(app, &current.id, &writes).await?;
    let is_so = |account: &Account| differing(app, &wanted, account, false).is_empty();
    finish(writes, now, is_so, "a read does not show the attributes as written")
}

async fn entitlement_of<A: Accounts + ?Sized>(
    app: &A,
    target: &Target,
    entitlement: &EntitlementId,
    right: Right,
) -> Result<Confirmation, Failure> {
    if right == Right::Revoked {
        return take(app, target, |had| had == entitlement).await;
    }
    let current = existing(app, target).await?;
    let mut writes = Writes::default();
    if !current.entitlements.contains(entitlement) {
        writes.note(app.set_right(&current, entitlement, Right::Granted).await)?;
    }
    let now = reread(app, &current.id, &writes).await?;
    let is_so = |account: &Account| account.entitlements.contains(entitlement);
    finish(writes, now, is_so, "a read does not show the right that was given")
}

async fn strip<A: Accounts + ?Sized>(
    app: &A,
    target: &Target,
    keep: &BTreeSet<EntitlementId>,
) -> Result<Confirmation, Failure> {
    take(app, target, |had| !keep.contains(had)).await
}

/// Takes rights from every account of the person.
async fn take<A: Accounts + ?Sized>(
    app: &A,
    target: &Target,
    goes: impl Fn(&EntitlementId) -> bool,
) -> Result<Confirmation, Failure> {
    let found = all(app, target).await?;
    if found.is_empty() {
        return Ok(Confirmation::read(Found::Absent));
    }
    let mut writes = Writes::default();
    for account in &found {
        for entitlement in account.entitlements.iter().filter(|had| goes(had)) {
            writes.note(app.set_right(account, entitlement, Right::Revoked).await)?;
        }
    }
    let mut now = Vec::new();
    for account in &found {
        now.extend(app.by_account(&account.id).await.map_err(|failure| writes.read_failed(failure))?);
    }
    let is_so = now.iter().all(|account| !account.entitlements.iter().any(&goes));
    let mut confirmation = Confirmation::read(writes.conclude(is_so, "a read shows a right that was taken")?);
    confirmation.response_hash = Some(hash(&now));
    match found.as_slice() {
        [only] => Ok(confirmation.of(only.id.clone())),
        _ => Ok(confirmation),
    }
}

async fn existing<A: Accounts + ?Sized>(app: &A, target: &Target) -> Result<Account, Failure> {
    one(app, target).await?.ok_or_else(|| Failure::new(FailureKind::Missing, "there is no such account"))
}

async fn reread<A: Accounts + ?Sized>(
    app: &A,
    account: &AccountId,
    writes: &Writes,
) -> Result<Option<Account>, Failure> {
    match app.by_account(account).await {
        Ok(Some(read)) if read.id != *account => {
            Err(Failure::new(FailureKind::Divergent, "a look-up of an account found another one"))
        }
        read => read,
    }
    .map_err(|failure| writes.failure.clone().unwrap_or_else(|| writes.read_failed(failure)))
}

fn finish(
    writes: Writes,
    now: Option<Account>,
    is_so: impl Fn(&Account) -> bool,
    what: &str,
) -> Result<Confirmation, Failure> {
    let found = writes.conclude(now.as_ref().is_some_and(is_so), what)?;
    let mut confirmation = Confirmation::read(found);
    confirmation.response_hash = Some(hash(&now));
    Ok(match now {
        Some(account) => confirmation.of(account.id),
        None => confirmation,
    })
}

/// What has to be written so that the account has these attributes, and where `only` is said no others.
fn differing<A: Accounts + ?Sized>(
    app: &A,
    wanted: &ValueChanges,
    account: &Account,
    only: bool,
) -> ValueChanges {
    let agrees = |name: &String, wanted: &Option<Value>| match (wanted, account.attributes.get(name)) {
        (None, None) => true,
        (Some(wanted), Some(found)) => app.agrees(name, wanted, found),
        (None, Some(_)) | (Some(_), None) => false,
    };
    let mut changes: ValueChanges = wanted
        .iter()
        .filter(|(name, value)| !agrees(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let others = account.attributes.keys().filter(|name| only && !wanted.contains_key(*name));
    changes.extend(others.map(|name| (name.clone(), None)));
    changes
}

/// Values as the application is to have them; blank ones become none, and persons what stands for their accounts.
async fn resolve<'a, A: Accounts + ?Sized>(
    app: &A,
    manages: impl Fn(&str) -> Managed,
    attributes: impl Iterator<Item = (&'a String, Option<&'a Attribute>)>,
) -> Result<ValueChanges, Failure> {
    let mut resolved = ValueChanges::new();
    for (name, attribute) in attributes {
        match manages(name) {
            Managed::PassedBy => continue,
            Managed::Yes => {}
            Managed::No => {
                return Err(Failure::new(
                    FailureKind::SchemaMismatch,
                    format!("the mapping has no `{name}`"),
                ));
            }
        }
        let value = match attribute {
            None => None,
            Some(Attribute::Plain(value)) => Some(value.clone()),
            Some(Attribute::Unique(value)) => Some(Value::String(value.clone())),
            Some(Attribute::Person(person)) => Some(referred(app, person).await?),
        };
        resolved.insert(name.clone(), value.filter(|value| !is_blank(value)));
    }
    Ok(resolved)
}

async fn referred<A: Accounts + ?Sized>(app: &A, person: &PersonId) -> Result<Value, Failure> {
    match app.by_person(person).await?.as_slice() {
        [only] if only.person.as_ref() == Some(person) => Ok(app.reference(only)),
        [] => Err(Failure::new(FailureKind::Missing, "a person who is referred to has no account yet")),
        [_] => Err(Failure::new(FailureKind::Divergent, "a look-up by person found somebody else's account")),
        _ => Err(Failure::new(FailureKind::Ambiguous, "a person who is referred to has several accounts")),
    }
}

fn hash(of: &impl Serialize) -> String {
    use std::fmt::Write as _;
    // What cannot be written as JSON does not occur: keys are texts.
    let digest = Sha256::digest(serde_json::to_vec(of).unwrap_or_default());
    digest.iter().fold(String::with_capacity(64), |mut hexed, byte| {
        let _ = write!(hexed, "{byte:02x}");
        hexed
    })
}
