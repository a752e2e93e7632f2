//! An account that is there and as wanted.

use serde_json::Value;

use crate::client::Client;
use crate::ensure::account::{Account, Found};
use crate::ensure::confirm::{Divergence, Rule, divergences};
use crate::ensure::reach::{Reach, Written};
use crate::ensure::{FoundBy, Identity, Outcome, State};
use crate::error::{Error, ErrorKind};
use crate::resource::{Attributes, ResourceId, User, attribute};

impl Client {
    /// Sees to it that the account is there and has the attributes that `desired` speaks of, and confirms it by
    /// reading. What `desired` does not speak of is left as it is; `null` takes an attribute away.
    ///
    /// Safe to repeat at any time: it looks first, and writes only what is not as wanted.
    ///
    /// * An account that is there is taken over where exactly one fits and it bears the identity's `externalId` or none.
    /// * A create that meets a conflict looks again, by address too; a create of unknown outcome is looked for twice,
    ///   [`Care::settle`](crate::ensure::Care::settle) apart, before it is sent again.
    /// * A password is sent when the account is made, and not afterwards: no reading shows whether it is as wanted.
    /// * Names to sign in with and addresses that differ in case alone are as wanted.
    ///
    /// An `Ok` may hold [`Outcome::divergent`] attributes, which the server took and shows otherwise; `active` is never
    /// among them.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`] where several accounts fit; [`ErrorKind::OtherOwner`] where the one that fits is
    /// somebody else's; [`ErrorKind::ConflictInvisible`] where the server says that there is a conflict and shows none;
    /// [`ErrorKind::Unconfirmed`] where a reading does not show what was done; else what the requests met.
    ///
    /// # Cancellation
    /// Dropping the future leaves what was done; calling it again goes on from there.
    pub async fn ensure_user(&self, identity: &Identity, desired: &User) -> Result<Outcome, Error> {
        let reach = Reach::users(self);
        let result = async {
            let Ok(Value::Object(desired)) = serde_json::to_value(desired) else {
                return Err(Error::new(ErrorKind::Invalid).detail("the user cannot be written as JSON"));
            };
            let upsert = Upsert {
                reach: &reach,
                identity,
                desired: &desired,
                writes: 0,
                last: Last::None,
                made: false,
            };
            upsert.run().await
        }
        .await;
        result.map_err(|error| reach.with_evidence(error))
    }
}

struct Upsert<'a> {
    reach: &'a Reach,
    identity: &'a Identity,
    desired: &'a Attributes,
    writes: usize,
    last: Last,
    /// Whether a create was sent that may have worked.
    made: bool,
}

/// How the last write ended.
enum Last {
    /// There was none.
    None,
    /// It may have worked.
    Unanswered(Error),
    /// The server said that it worked.
    Answered,
}

impl Upsert<'_> {
    async fn run(mut self) -> Result<Outcome, Error> {
        let account = match self.reach.look_up(self.identity).await? {
            Found::One(account) => account,
            Found::Many(matches) => return Err(Error::new(ErrorKind::Ambiguous { matches })),
            Found::Stranger(_) => return Err(strange()),
            Found::Nobody => self.create().await?,
        };
        self.update(account).await
    }

    /// Makes the account; hands back how a reading shows it.
    async fn create(&mut self) -> Result<Account, Error> {
        loop {
            self.writes += 1;
            let failure = match self.reach.create(self.desired).await {
                Ok(id) => {
                    self.made = true;
                    self.last = Last::Answered;
                    return self.read_created(&id).await;
                }
                Err(error) => error,
            };
            if *failure.kind() == ErrorKind::Conflict {
                return self.explain_conflict(failure).await;
            }
            if !failure.may_have_happened() {
                return Err(failure);
            }
            self.made = true;
            // It may have happened, or may be happening now.
            for look in 0..2 {
                if look > 0 {
                    self.reach.settle().await;
                }
                match self.reach.look_up(self.identity).await? {
                    Found::One(account) => {
                        self.last = Last::Unanswered(failure);
                        return Ok(account);
                    }
                    Found::Many(matches) => return Err(Error::new(ErrorKind::Ambiguous { matches })),
                    Found::Stranger(_) => return Err(strange()),
                    Found::Nobody => {}
                }
            }
            if self.writes >= self.reach.care().writes_max {
                return Err(failure);
            }
        }
    }

    async fn read_created(&self, id: &ResourceId) -> Result<Account, Error> {
        for look in 0..2 {
            if look > 0 {
                self.reach.settle().await;
            }
            if let Some(account) = self.reach.account(id, FoundBy::Id).await? {
                // There are services that answer a create with whoever they take for the same.
                if account.is_strange_to(self.identity) {
                    return Err(strange());
                }
                return Ok(account);
            }
        }
        Err(Error::new(ErrorKind::Unconfirmed)
            .detail("the service said that it made the account, and a reading does not find it"))
    }

    /// Something is in the way: perhaps the account itself.
    async fn explain_conflict(&mut self, conflict: Error) -> Result<Account, Error> {
        let found = self.reach.look_up_widely(self.identity).await?;
        // Where look-ups do not find what is there, the first one did not say that the account is new.
        self.made &= self.reach.filter_trust() != Some(false);
        match found {
            Found::One(account) => Ok(account),
            Found::Many(matches) => Err(Error::new(ErrorKind::Ambiguous { matches }).because(conflict)),
            Found::Stranger(_) => Err(strange().because(conflict)),
            Found::Nobody => Err(Error::new(ErrorKind::ConflictInvisible).because(conflict)),
        }
    }

    /// Changes the account until a reading shows it as wanted.
    async fn update(mut self, mut account: Account) -> Result<Outcome, Error> {
        let found_by = account.found_by;
        let bore = account.bears(self.identity);
        let mut changed = false;
        let divergent = loop {
            // Before a write every difference counts; after one that was answered, only what was really lost.
            let answered = matches!(self.last, Last::Answered);
            let rule = if answered { Rule::Confirm } else { Rule::Change };
            let divergent = divergences(self.desired, &account.attributes, rule);
            if divergent.is_empty() || (answered && !divergent.iter().any(concerns_access)) {
                break divergent;
            }
            if self.writes >= self.reach.care().writes_max {
                return Err(match self.last {
                    Last::Unanswered(error) => error,
                    Last::None | Last::Answered => Error::new(ErrorKind::Unconfirmed).detail(
                        "the service said that it changed the account, and a reading does not show it",
                    ),
                });
            }
            self.writes += 1;
            changed = true;
            let target = overlaid(&account.attributes, self.desired);
            self.last = match self.reach.change(&account.id, &account.attributes, &target).await {
                Written::Done => Last::Answered,
                Written::LookAgain(error) => Last::Unanswered(error),
                Written::Refused(error) => return Err(error),
            };
            account = self.reach.account(&account.id, found_by).await?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound).detail("the account went away while it was changed")
            })?;
        };
        let is_ours = found_by == FoundBy::Id || bore || self.identity.external_id.is_none();
        let state = match (self.made, changed) {
            (true, _) if is_ours => State::Created,
            (_, _) if !is_ours => State::Adopted,
            (_, true) => State::Updated,
            (_, false) => State::Unchanged,
        };
        let outcome = self.reach.outcome(state, Some(account.id), Some(found_by), self.reach.now());
        Ok(Outcome { divergent, ..outcome })
    }
}

/// Whether somebody could sign in who should not, or the other way round.
fn concerns_access(divergence: &Divergence) -> bool {
    divergence.path.eq_ignore_ascii_case("active")
}

fn strange() -> Error {
    Error::new(ErrorKind::OtherOwner).detail("the account that fits bears another external identifier")
}

/// What a change of an account is to lead to.
fn overlaid(current: &Attributes, desired: &Attributes) -> Attributes {
    let mut target = current.clone();
    for (name, value) in desired {
        if ["password", "id", "meta", "schemas"].iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
            continue;
        }
        let merged = match (attribute(current, name), value) {
            // A complex attribute is merged part by part: what is not spoken of stays.
            (Some(Value::Object(there)), Value::Object(wanted)) => Value::Object(overlaid(there, wanted)),
            _ => value.clone(),
        };
        target.retain(|candidate, _| !candidate.eq_ignore_ascii_case(name));
        target.insert(name.clone(), merged);
    }
    target
}
