//! What is to be done about an account in an alert: a pure function of what is known.
//!
//! An account is locked where somebody got into it out of an attack: a login that worked, from where the attack comes, and from where
//! this person never logged in before. Whoever only failed is not locked: that is what somebody who wants people out of their
//! accounts would have us do.

use std::collections::BTreeSet;

use mfa_events::ActorId;
use mfa_events::event::{RiskLevel, Timestamp};
use serde::{Deserialize, Serialize};

/// What the log knows of an account.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Context {
    /// Events of it that were read: of a week, until now.
    pub(crate) events: u64,
    /// Failed logins and second factors since the alert's first event.
    pub(crate) failures: u64,
    /// Times that it was locked since then, by others than a playbook.
    pub(crate) locks: u64,
    /// Different sources from which its owner logged in long before.
    pub(crate) usual_sources: usize,
    /// The login out of the attack.
    pub(crate) got_in: Option<GotIn>,
    /// The lock behind which nobody logged in since.
    pub(crate) lock: Option<Lock>,
    /// Whether all was read that there is.
    pub(crate) is_complete: bool,
}

/// A lock that holds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Lock {
    pub(crate) at: Timestamp,
    /// A playbook made it. What others call a lock may keep people out of one door only.
    pub(crate) is_own: bool,
}

/// A login that worked, while an attack went on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct GotIn {
    /// Of several, the last.
    pub(crate) at: Timestamp,
    /// From where; nobody knows where the event does not say so.
    pub(crate) source: Option<String>,
    /// Whether its owner logged in from there before.
    pub(crate) is_usual_source: bool,
    /// Whether the attack itself came from there.
    #[serde(default)]
    pub(crate) is_from_attack: bool,
    pub(crate) risk: Option<RiskLevel>,
}

/// What an account is, by the settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Accounts {
    pub(crate) break_glass: BTreeSet<String>,
    pub(crate) service: BTreeSet<String>,
    pub(crate) privileged: BTreeSet<String>,
}

/// How far the playbook may go by itself at this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    /// Locks that the hour has left.
    pub(crate) locks_left: usize,
    /// Most accounts of one alert that are locked without people.
    pub(crate) accounts_max: usize,
    /// The alert is of now, and not of a time when nobody listened.
    pub(crate) is_fresh: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// Nobody gets in any more.
    Lock,
    /// People decide.
    Escalate,
    /// It is done already.
    Leave,
}

/// Why.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    TakenOver,
    LockedAlready,
    OnlyFailures,
    DenialByLock,
    UsualSource,
    Elsewhere,
    NoHistory,
    LowRisk,
    BreakGlass,
    ServiceAccount,
    PrivilegedAccount,
    TooManyAccounts,
    TooManyLocks,
    NotOfNow,
    Unreadable,
}

impl Why {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::TakenOver => "taken_over",
            Self::LockedAlready => "locked_already",
            Self::OnlyFailures => "only_failures",
            Self::DenialByLock => "denial_by_lock",
            Self::UsualSource => "usual_source",
            Self::Elsewhere => "elsewhere",
            Self::NoHistory => "no_history",
            Self::LowRisk => "low_risk",
            Self::BreakGlass => "break_glass",
            Self::ServiceAccount => "service_account",
            Self::PrivilegedAccount => "privileged_account",
            Self::TooManyAccounts => "too_many_accounts",
            Self::TooManyLocks => "too_many_locks",
            Self::NotOfNow => "not_of_now",
            Self::Unreadable => "unreadable",
        }
    }

    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::TakenOver => "somebody got in out of the attack, from where its owner never logged in",
            Self::LockedAlready => "it is locked already",
            Self::OnlyFailures => "nobody got in; a lock would keep out its owner alone",
            Self::DenialByLock => "locks are what this attack is after; one more would be its work",
            Self::UsualSource => "somebody got in, from where its owner logs in otherwise",
            Self::Elsewhere => {
                "somebody got in, from where nobody is known to have failed: it may be its owner"
            }
            Self::NoHistory => "somebody got in, and it is not known from where its owner logs in otherwise",
            Self::LowRisk => "somebody got in, and everything else looks like its owner",
            Self::BreakGlass => "it is for emergencies, and is never locked by a machine",
            Self::ServiceAccount => "a service runs under it",
            Self::PrivilegedAccount => "without it, others may be helpless",
            Self::TooManyAccounts => "more accounts of one attack than are locked without people",
            Self::TooManyLocks => "more locks within an hour than are made without people",
            Self::NotOfNow => "the attack was found long after it happened",
            Self::Unreadable => "more happened to it than could be looked at",
        }
    }
}

/// What is known about an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Attack {
    /// Its rule looks at locks: who causes them wants them.
    pub(crate) is_about_locks: bool,
}

/// Decides about the accounts of an alert, in their order. Locks are counted against the room that there is.
pub(crate) fn decide(
    attack: Attack,
    accounts: &Accounts,
    known: &[(ActorId, Context)],
    room: Room,
) -> Vec<(Act, Why)> {
    let wanted =
        known.iter().filter(|(actor, context)| judge(attack, accounts, actor, context, room).0 == Act::Lock);
    let is_too_many = wanted.count() > room.accounts_max;
    let mut left = room.locks_left;
    let decided = known.iter().map(|(actor, context)| match judge(attack, accounts, actor, context, room) {
        (Act::Lock, _) if is_too_many => (Act::Escalate, Why::TooManyAccounts),
        (Act::Lock, why) => match left.checked_sub(1) {
            Some(rest) => {
                left = rest;
                (Act::Lock, why)
            }
            None => (Act::Escalate, Why::TooManyLocks),
        },
        other => other,
    });
    decided.collect()
}

fn judge(attack: Attack, accounts: &Accounts, actor: &ActorId, context: &Context, room: Room) -> (Act, Why) {
    let is_denial = attack.is_about_locks || context.locks > 0;
    let Some(got_in) = &context.got_in else {
        return match context.lock {
            _ if !context.is_complete => (Act::Escalate, Why::Unreadable),
            // Locked by the attack itself, it is for people to see whose doing that is.
            _ if is_denial => (Act::Escalate, Why::DenialByLock),
            Some(lock) if lock.is_own => (Act::Leave, Why::LockedAlready),
            _ => (Act::Escalate, Why::OnlyFailures),
        };
    };
    let is_done = context.lock.is_some_and(|lock| lock.is_own && lock.at >= got_in.at);
    if is_done && context.is_complete && !is_denial {
        return (Act::Leave, Why::LockedAlready);
    }
    let is_among = |names: &BTreeSet<String>| names.contains(actor.as_str());
    let guard = match () {
        () if is_among(&accounts.break_glass) => Why::BreakGlass,
        () if is_among(&accounts.service) => Why::ServiceAccount,
        () if is_among(&accounts.privileged) => Why::PrivilegedAccount,
        () if !context.is_complete => Why::Unreadable,
        () if is_denial => Why::DenialByLock,
        // Of another's lock nobody here knows what it keeps out, and whether sessions ended with it.
        () if context.lock.is_some() => Why::LockedAlready,
        () if got_in.is_usual_source => Why::UsualSource,
        () if !got_in.is_from_attack => Why::Elsewhere,
        () if context.usual_sources == 0 => Why::NoHistory,
        () if got_in.risk == Some(RiskLevel::Low) => Why::LowRisk,
        () if !room.is_fresh => Why::NotOfNow,
        () => return (Act::Lock, Why::TakenOver),
    };
    (Act::Escalate, guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> Context {
        let at = Timestamp::parse("2026-01-31T09:15:27.042Z").unwrap();
        let source = Some("203.0.113.7".to_owned());
        let got_in = Some(GotIn { at, source, is_usual_source: false, is_from_attack: true, risk: None });
        Context { events: 9, failures: 4, locks: 0, usual_sources: 2, got_in, lock: None, is_complete: true }
    }

    fn accounts() -> Accounts {
        let names = |name: &str| BTreeSet::from([name.to_owned()]);
        Accounts { break_glass: names("glass"), service: names("svc"), privileged: names("root") }
    }

    const ROOM: Room = Room { locks_left: 10, accounts_max: 3, is_fresh: true };
    const ATTACK: Attack = Attack { is_about_locks: false };

    fn one(attack: Attack, name: &str, context: Context, room: Room) -> (Act, Why) {
        decide(attack, &accounts(), &[(ActorId::new(name).unwrap(), context)], room)[0]
    }

    #[test]
    fn who_got_in_from_a_strange_place_is_locked_and_whoever_only_failed_is_not() {
        assert_eq!(one(ATTACK, "alice", taken(), ROOM), (Act::Lock, Why::TakenOver));
        let failed = Context { got_in: None, ..taken() };
        assert_eq!(one(ATTACK, "alice", failed.clone(), ROOM), (Act::Escalate, Why::OnlyFailures));
        let locks = Attack { is_about_locks: true };
        assert_eq!(one(locks, "alice", failed.clone(), ROOM), (Act::Escalate, Why::DenialByLock));
        assert_eq!(
            one(ATTACK, "alice", Context { locks: 1, ..failed }, ROOM),
            (Act::Escalate, Why::DenialByLock)
        );
    }

    #[test]
    fn only_a_lock_of_its_own_after_all_that_happened_leaves_nothing_to_do() {
        let got_in_at = taken().got_in.unwrap().at;
        let early = Timestamp::parse("2026-01-31T09:15:27.041Z").unwrap();
        let with = |at, is_own| Context { lock: Some(Lock { at, is_own }), ..taken() };
        let locks = Attack { is_about_locks: true };
        assert_eq!(one(ATTACK, "alice", with(got_in_at, true), ROOM), (Act::Leave, Why::LockedAlready));
        for (attack, context, why) in [
            (ATTACK, with(early, true), Why::LockedAlready),
            (ATTACK, with(got_in_at, false), Why::LockedAlready),
            (ATTACK, Context { is_complete: false, ..with(got_in_at, true) }, Why::Unreadable),
            (ATTACK, Context { locks: 1, ..with(got_in_at, true) }, Why::DenialByLock),
            (locks, with(got_in_at, true), Why::DenialByLock),
            (ATTACK, Context { got_in: None, ..with(got_in_at, false) }, Why::OnlyFailures),
        ] {
            assert_eq!(one(attack, "alice", context, ROOM), (Act::Escalate, why));
        }
    }

    #[test]
    fn whoever_may_be_its_owner_or_is_to_be_locked_out_by_the_attack_is_not_locked() {
        let got_in = GotIn { is_from_attack: false, ..taken().got_in.unwrap() };
        let elsewhere = Context { got_in: Some(got_in), ..taken() };
        assert_eq!(one(ATTACK, "alice", elsewhere, ROOM), (Act::Escalate, Why::Elsewhere));
        assert_eq!(
            one(ATTACK, "alice", Context { locks: 1, ..taken() }, ROOM),
            (Act::Escalate, Why::DenialByLock)
        );
        let locks = Attack { is_about_locks: true };
        assert_eq!(one(locks, "alice", taken(), ROOM), (Act::Escalate, Why::DenialByLock));
    }

    #[test]
    fn what_speaks_for_its_owner_or_is_not_known_is_for_people() {
        let with = |got_in: GotIn| Context { got_in: Some(got_in), ..taken() };
        let got_in = taken().got_in.unwrap();
        for (context, room, why) in [
            (with(GotIn { is_usual_source: true, ..got_in.clone() }), ROOM, Why::UsualSource),
            (with(GotIn { risk: Some(RiskLevel::Low), ..got_in }), ROOM, Why::LowRisk),
            (Context { usual_sources: 0, ..taken() }, ROOM, Why::NoHistory),
            (Context { is_complete: false, ..taken() }, ROOM, Why::Unreadable),
            (taken(), Room { is_fresh: false, ..ROOM }, Why::NotOfNow),
            (taken(), Room { locks_left: 0, ..ROOM }, Why::TooManyLocks),
            (taken(), Room { accounts_max: 0, ..ROOM }, Why::TooManyAccounts),
        ] {
            assert_eq!(one(ATTACK, "alice", context, room), (Act::Escalate, why));
        }
    }

    #[test]
    fn accounts_that_others_depend_on_are_never_locked() {
        for (name, why) in
            [("glass", Why::BreakGlass), ("svc", Why::ServiceAccount), ("root", Why::PrivilegedAccount)]
        {
            assert_eq!(one(ATTACK, name, taken(), ROOM), (Act::Escalate, why));
        }
    }

    #[test]
    fn an_hour_has_so_many_locks_and_an_attack_on_many_is_for_people() {
        let people = |count: usize| -> Vec<_> {
            (0..count).map(|number| (ActorId::new(format!("p{number}")).unwrap(), taken())).collect()
        };
        let decided = decide(ATTACK, &accounts(), &people(3), Room { locks_left: 2, ..ROOM });
        assert_eq!(decided[..2], [(Act::Lock, Why::TakenOver); 2]);
        assert_eq!(decided[2], (Act::Escalate, Why::TooManyLocks));
        assert_eq!(decide(ATTACK, &accounts(), &people(4), ROOM), [(Act::Escalate, Why::TooManyAccounts); 4]);
    }
}
