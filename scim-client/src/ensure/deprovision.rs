//! An account taken away, and a reading that says so.

use serde_json::Value;

use crate::client::Client;
use crate::dialect::{DeleteEffect, DisableEffect};
use crate::ensure::account::{Account, Found};
use crate::ensure::lookup::Absence;
use crate::ensure::reach::{Reach, Written};
use crate::ensure::{Deprovision, Identity, Outcome, State};
use crate::error::{Error, ErrorKind};

/// One of the two things that a deprovisioning does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Disable,
    Delete,
}

impl Client {
    /// Sees to it that the account cannot be used any more, or is gone, and confirms it by reading.
    ///
    /// Safe to repeat at any time: it looks first. There is an `Ok` only where a reading showed `active: false` or
    /// found nothing while the service itself answered.
    ///
    /// * An account that is not there is a success ([`State::AlreadyAbsent`]), once the service has answered for
    ///   something else and, where only a filter said so, once filters are known to find what is there. Where it cannot
    ///   look for the `externalId`, every account is read.
    /// * A user name that by now is another person's (it bears another `externalId`) is left alone: the account that
    ///   was meant is absent.
    /// * With [`Deprovision::DisableThenDelete`] a deletion that fails leaves the account disabled. The same goes for
    ///   [`Deprovision::Delete`] where the [`Dialect`](crate::Dialect) says that a deletion is for ever.
    /// * [`Deprovision::Disable`] is refused where the dialect says that `active: false` deletes.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`] where several accounts fit; [`ErrorKind::Unconfirmed`] where the service says that it
    /// did it and a reading does not show it; [`ErrorKind::Invalid`] where the identity says nothing or the
    /// [`Dialect`](crate::Dialect) says that the service cannot do it; else what the requests met.
    ///
    /// # Cancellation
    /// Dropping the future leaves what was done; calling it again goes on from there.
    pub async fn ensure_deprovisioned(
        &self,
        identity: &Identity,
        how: Deprovision,
    ) -> Result<Outcome, Error> {
        let reach = Reach::users(self);
        let result = deprovision(&reach, identity, how).await;
        result.map_err(|error| reach.with_evidence(error))
    }
}

async fn deprovision(reach: &Reach, identity: &Identity, how: Deprovision) -> Result<Outcome, Error> {
    let effect = reach.dialect().deprovision;
    let steps: &[Step] = match how {
        Deprovision::Disable if effect.disable == DisableEffect::Unsupported => {
            return Err(invalid("this service cannot disable an account"));
        }
        // Whoever asks for this wants to be able to take it back.
        Deprovision::Disable if effect.disable == DisableEffect::Deletes => {
            return Err(invalid("this service deletes an account that is disabled: ask for a deletion"));
        }
        Deprovision::Delete if effect.delete == DeleteEffect::Unsupported => {
            return Err(invalid("this service cannot delete an account"));
        }
        // What cannot be taken back comes after what can.
        Deprovision::Delete
            if effect.delete == DeleteEffect::DeletesForever && effect.disable == DisableEffect::Disables =>
        {
            &[Step::Disable, Step::Delete]
        }
        Deprovision::DisableThenDelete if effect.disable == DisableEffect::Unsupported => &[Step::Delete],
        Deprovision::DisableThenDelete if effect.delete == DeleteEffect::Unsupported => &[Step::Disable],
        Deprovision::Disable => &[Step::Disable],
        Deprovision::Delete => &[Step::Delete],
        Deprovision::DisableThenDelete => &[Step::Disable, Step::Delete],
    };
    let mut account = match reach.look_up(identity).await? {
        Found::One(account) => account,
        Found::Many(matches) => return Err(Error::new(ErrorKind::Ambiguous { matches })),
        // The name is somebody else's by now, so the account that was meant is not there.
        Found::Nobody | Found::Stranger(_) => match reach.prove_absence(identity).await? {
            Absence::Refuted(account) => account,
            Absence::Proven(at) => return Ok(reach.outcome(State::AlreadyAbsent, None, None, at)),
        },
    };
    let found_by = account.found_by;
    let mut state = State::AlreadyDisabled;
    for step in steps {
        let after = match take(reach, &account, *step).await {
            // Not even disabled: the deletion that follows is the stronger of the two.
            Err(error) if *step == Step::Disable && steps.len() > 1 && leaves_deletion(&error) => continue,
            other => other?,
        };
        match after {
            After::Gone => {
                let confirmed_at = reach.now();
                return Ok(reach.outcome(State::Deleted, Some(account.id), Some(found_by), confirmed_at));
            }
            After::Disabled(read, changed) => {
                account = read;
                if changed {
                    state = State::Disabled;
                }
            }
        }
    }
    Ok(reach.outcome(state, Some(account.id), Some(found_by), reach.now()))
}

enum After {
    /// A reading found nothing, and the service answers otherwise.
    Gone,
    /// A reading shows that it cannot be used; whether we made it so.
    Disabled(Account, bool),
}

/// Takes one step until a reading confirms it.
async fn take(reach: &Reach, account: &Account, step: Step) -> Result<After, Error> {
    let mut account = account.clone();
    let disabled_by_deletion = reach.dialect().deprovision.delete == DeleteEffect::Disables;
    let mut failure = None;
    for write in 0..=reach.care().writes_max {
        let is_disabled = account.shows_active() && !account.is_active();
        let done = match step {
            Step::Disable => is_disabled,
            Step::Delete => disabled_by_deletion && write > 0 && is_disabled,
        };
        if done {
            return Ok(After::Disabled(account, write > 0));
        }
        if write == reach.care().writes_max {
            break;
        }
        let written = match step {
            Step::Disable => {
                let mut wanted = account.attributes.clone();
                wanted.retain(|name, _| !name.eq_ignore_ascii_case("active"));
                wanted.insert("active".to_owned(), Value::Bool(false));
                reach.change(&account.id, &account.attributes, &wanted).await
            }
            Step::Delete => reach.delete(&account.id).await,
        };
        match written {
            Written::Done => failure = None,
            Written::LookAgain(error) => failure = Some(error),
            Written::Refused(error) => return Err(error),
        }
        match reach.account(&account.id, account.found_by).await? {
            None => return Ok(After::Gone),
            Some(read) => account = read,
        }
    }
    Err(failure.unwrap_or_else(|| {
        Error::new(ErrorKind::Unconfirmed).detail(match step {
            Step::Disable if !account.shows_active() => {
                "the service does not show whether the account can be used"
            }
            Step::Disable => "the service said that it disabled the account, and shows it as active",
            Step::Delete => "the service said that it deleted the account, and shows it still",
        })
    }))
}

/// Whether the account could not be disabled for a reason that does not keep it from being deleted.
fn leaves_deletion(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::SchemaMismatch(_)
            | ErrorKind::Unsupported
            | ErrorKind::Unconfirmed
            | ErrorKind::Authorization
            | ErrorKind::Conflict
            | ErrorKind::Server
            | ErrorKind::Invalid
    )
}

fn invalid(detail: &str) -> Error {
    Error::new(ErrorKind::Invalid).detail(detail)
}
