//! Names that the account of somebody who left gives up.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Account, Accounts, Managed, ValueChanges};
use crate::connector::{Confirmation, Failure, FailureKind, Found, Target};
use crate::id::AccountId;

/// A name that nobody will claim, for an account that has to give up the one that it has: `left-` and 15 digits that follow from
/// the account, so that it is the same each time and fits where 20 characters are the most, at the same domain where the name
/// has one.
pub fn given_up(account: &AccountId, name: &str) -> String {
    let digest = Sha256::digest(account.as_str().as_bytes());
    let mut free: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    free.truncate(15);
    match name.rsplit_once('@') {
        Some((_, domain)) if !domain.is_empty() => format!("left-{free}@{domain}"),
        Some(_) | None => format!("left-{free}"),
    }
}

/// Has an account that is disabled let go of unique values that are not its own any more. Its owner cannot sign in, whatever it is
/// called: what cannot be changed is a residual. The account as it was read afterwards.
pub(super) async fn give_up<A: Accounts + ?Sized>(
    app: &A,
    target: &Target,
    account: &Account,
    confirmation: &mut Confirmation,
) -> Option<Account> {
    let mut changes = ValueChanges::new();
    let mut left = |name: &str, why: &str| {
        confirmation.residuals.push(format!("`{name}` of {} is not its own any more: {why}", account.id));
    };
    for (name, own) in &target.unique {
        let Some(has) = account.attributes.get(name) else { continue };
        if app.manages(name) != Managed::Yes || app.agrees(name, &Value::from(own.as_str()), has) {
            continue;
        }
        match app.given_up(name, has, account) {
            Some(free) if app.agrees(name, &free, has) => {}
            Some(free) => drop(changes.insert(name.clone(), Some(free))),
            None => left(name, "it cannot be changed"),
        }
    }
    if changes.is_empty() {
        return Some(account.clone());
    }
    let mut failure = app.change(account, &changes).await.err();
    let read = match app.by_account(&account.id).await {
        Ok(read) => read,
        Err(unread) => {
            failure.get_or_insert(unread);
            Some(account.clone())
        }
    };
    for (name, free) in changes.iter().filter_map(|(name, free)| Some((name, free.as_ref()?))) {
        let has = read.as_ref().and_then(|read| read.attributes.get(name));
        if has.is_none_or(|has| app.agrees(name, free, has)) {
            confirmation.found = Found::Changed;
        } else {
            let kept = || Failure::new(FailureKind::Divergent, "a read shows it still");
            left(name, failure.get_or_insert_with(kept).message());
        }
    }
    read
}
