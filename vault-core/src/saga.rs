//! The life of a credential on a target, one durable step at a time, and what is done about one that was left half done.
//!
//! ```text
//! Intent ──▶ Applied ──▶ Verified ──▶ Active ──▶ Revoking ──▶ Revoked
//!    name and secret       a login       │
//!    are stored            worked        └─ somebody has to look at it: Quarantined
//! ```
//!
//! A step is written down after it was done, and the secret before the target sees it. So after a crash the state says what was done at
//! least, the target may be one step further, and a look at it tells. [`recover`] is the decision that follows: a pure function, and
//! the whole of it a table. Whatever crashes and whenever, it leaves no account on a target that no record knows, and no account whose
//! secret is not stored; the tests walk through all ways to get there.
//!
//! [`Vault::issue`](crate::Vault::issue), [`Vault::rotate_account`](crate::Vault::rotate_account) and
//! [`Vault::recover_credentials`](crate::Vault::recover_credentials) carry it out on whatever implements [`Issuer`].

use serde::{Deserialize, Serialize};

use crate::vault::Standing;

mod credential;
mod issuer;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;

pub use credential::Credential;
pub(crate) use credential::{ID_BYTES, Stored, account_name, account_prefix, id_in};
pub use issuer::{Issuer, IssuerError, Order};
pub use memory::{Fault, MemoryIssuer};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresIssuer, PostgresIssuerError};

/// What a credential is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// An account of its own for one session. It is made, and it is gone when the session is.
    Session,
    /// A new secret for an account that stays.
    Rotation,
}

/// How far a credential has come, as it is written down.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Name and secret are stored. The target may have been asked.
    Intent,
    /// The target said that it is done.
    Applied,
    /// A login with it worked.
    Verified,
    /// It is in use.
    Active,
    /// It is to be taken away. The target may have been asked.
    Revoking,
    /// It is gone.
    Revoked,
    /// Somebody has to look at it.
    Quarantined,
}

/// What a look at the target found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Finding {
    /// The target says that there is no such account, and nothing that was asked of it before can still make one.
    Absent,
    /// The target says that there is no such account; but what was asked of it before may still make one.
    AbsentSoFar,
    /// The account lets in with the old secret, not with the new one.
    OldWorks,
    /// The account lets in with the new secret, not with an old one, if there is one.
    NewWorks,
    /// The account lets in with both.
    BothWork,
    /// The account is there, and refuses both.
    NeitherWorks,
    /// The target hangs, half-answers, or does not let us look.
    Unknown,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Have the target take the new secret. Where it says that it has, the state is [`State::Applied`]; where it does not answer, look again.
    Apply,
    /// Have the target refuse the old secret, and look again.
    LetOldGo,
    /// Have the target take the account away, end its connections, and look again.
    Remove,
    /// Write down this state. The target is not asked.
    Advance(State),
    /// Write down [`State::Quarantined`], and alert.
    Quarantine(Reason),
    /// Look again later.
    Wait,
    /// Nothing, until the vault's [restore](Standing::Restored) is confirmed.
    Hold,
    /// Nothing.
    Nothing,
}

/// Why somebody has to look at it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// An account that was to stay is gone.
    AccountGone,
    /// An account refuses every secret that is known: somebody else has changed it, or it was restored from a backup.
    SecretRefused,
}

/// What to do about a credential that nobody is working at: after a crash, or when one is looked at again.
///
/// Whoever asked for a session's credential that had not become [`State::Active`] has not got it, and is gone: it is taken away. A rotation
/// goes on to the new secret; it never goes back, since the new one may be in use already, and both stay stored until the next one.
///
/// While the vault's standing is [`Standing::Restored`], nothing on a target is changed and nothing is given up: what the store says may be
/// older than what the target has.
pub fn recover(purpose: Purpose, state: State, finding: Finding, standing: Standing) -> Action {
    let action = match (purpose, state) {
        (_, State::Quarantined) => Action::Nothing,
        (_, State::Revoking) => revoking(finding),
        (_, State::Revoked) => revoked(finding),
        (Purpose::Session, State::Intent | State::Applied | State::Verified) => unclaimed(finding),
        (Purpose::Session, State::Active) => in_session(finding),
        (Purpose::Rotation, State::Intent | State::Applied) => {
            rotating(finding, Action::Advance(State::Verified))
        }
        (Purpose::Rotation, State::Verified) => rotating(finding, Action::Advance(State::Active)),
        (Purpose::Rotation, State::Active) => rotating(finding, Action::Nothing),
    };
    match (standing, action) {
        (
            Standing::Restored,
            Action::Apply | Action::LetOldGo | Action::Remove | Action::Advance(State::Revoking),
        ) => Action::Hold,
        (Standing::Restored | Standing::Confirmed, action) => action,
    }
}

/// Whether recovery would do nothing more, whatever it found.
pub fn is_final(state: State) -> bool {
    match state {
        State::Revoked | State::Quarantined => true,
        State::Intent | State::Applied | State::Verified | State::Active | State::Revoking => false,
    }
}

fn unclaimed(finding: Finding) -> Action {
    match finding {
        Finding::Absent => Action::Advance(State::Revoked),
        Finding::AbsentSoFar | Finding::Unknown => Action::Wait,
        Finding::OldWorks | Finding::NewWorks | Finding::BothWork | Finding::NeitherWorks => {
            Action::Advance(State::Revoking)
        }
    }
}

fn in_session(finding: Finding) -> Action {
    match finding {
        Finding::NewWorks | Finding::BothWork => Action::Nothing,
        // Somebody else took it away, or the target was restored from a backup of before.
        Finding::Absent => Action::Advance(State::Revoked),
        Finding::AbsentSoFar | Finding::Unknown => Action::Wait,
        // It is of no use to its session, and could be of use to whoever changed it.
        Finding::OldWorks | Finding::NeitherWorks => Action::Advance(State::Revoking),
    }
}

fn rotating(finding: Finding, where_it_works: Action) -> Action {
    match (finding, where_it_works) {
        (Finding::NewWorks, done) => done,
        // A login with the new secret is what is needed to let the old one go.
        (Finding::BothWork, Action::Advance(State::Verified)) => where_it_works,
        (Finding::BothWork, _) => Action::LetOldGo,
        (Finding::OldWorks, _) => Action::Apply,
        (Finding::Absent, _) => Action::Quarantine(Reason::AccountGone),
        (Finding::NeitherWorks, _) => Action::Quarantine(Reason::SecretRefused),
        (Finding::AbsentSoFar | Finding::Unknown, _) => Action::Wait,
    }
}

fn revoking(finding: Finding) -> Action {
    match finding {
        Finding::Absent => Action::Advance(State::Revoked),
        Finding::AbsentSoFar | Finding::Unknown => Action::Wait,
        Finding::OldWorks | Finding::NewWorks | Finding::BothWork | Finding::NeitherWorks => Action::Remove,
    }
}

fn revoked(finding: Finding) -> Action {
    match finding {
        Finding::Absent | Finding::AbsentSoFar | Finding::Unknown => Action::Nothing,
        // It came back with a backup of the target.
        Finding::OldWorks | Finding::NewWorks | Finding::BothWork | Finding::NeitherWorks => {
            Action::Advance(State::Revoking)
        }
    }
}
