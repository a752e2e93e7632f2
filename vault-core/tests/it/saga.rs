//! Recovery: every cell of its table, and every way in which a crash can leave a credential.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use proptest::prelude::*;
use vault_core::Standing;
use vault_core::saga::{Action, Finding, Purpose, Reason, State, is_final, recover};

const STATES: [State; 7] = [
    State::Intent,
    State::Applied,
    State::Verified,
    State::Active,
    State::Revoking,
    State::Revoked,
    State::Quarantined,
];

const FINDINGS: [Finding; 7] = [
    Finding::Absent,
    Finding::AbsentSoFar,
    Finding::OldWorks,
    Finding::NewWorks,
    Finding::BothWork,
    Finding::NeitherWorks,
    Finding::Unknown,
];

/// The table as it is meant, written down for itself: a row for each state, a column for each finding.
#[rustfmt::skip]
fn table(purpose: Purpose) -> [[Action; 7]; 7] {
    use Action::{Advance, Apply, LetOldGo, Nothing, Quarantine, Remove, Wait};
    use State::{Active, Revoked, Revoking, Verified};
    let gone = Quarantine(Reason::AccountGone);
    let refused = Quarantine(Reason::SecretRefused);
    let end = Advance(Revoking);
    match purpose {
        //                      absent            so far   old      new                both               neither   unknown
        Purpose::Session => [
            /* Intent */      [Advance(Revoked), Wait,    end,     end,               end,               end,      Wait],
            /* Applied */     [Advance(Revoked), Wait,    end,     end,               end,               end,      Wait],
            /* Verified */    [Advance(Revoked), Wait,    end,     end,               end,               end,      Wait],
            /* Active */      [Advance(Revoked), Wait,    end,     Nothing,           Nothing,           end,      Wait],
            /* Revoking */    [Advance(Revoked), Wait,    Remove,  Remove,            Remove,            Remove,   Wait],
            /* Revoked */     [Nothing,          Nothing, end,     end,               end,               end,      Nothing],
            /* Quarantined */ [Nothing,          Nothing, Nothing, Nothing,           Nothing,           Nothing,  Nothing],
        ],
        Purpose::Rotation => [
            /* Intent */      [gone,             Wait,    Apply,   Advance(Verified), Advance(Verified), refused,  Wait],
            /* Applied */     [gone,             Wait,    Apply,   Advance(Verified), Advance(Verified), refused,  Wait],
            /* Verified */    [gone,             Wait,    Apply,   Advance(Active),   LetOldGo,          refused,  Wait],
            /* Active */      [gone,             Wait,    Apply,   Nothing,           LetOldGo,          refused,  Wait],
            /* Revoking */    [Advance(Revoked), Wait,    Remove,  Remove,            Remove,            Remove,   Wait],
            /* Revoked */     [Nothing,          Nothing, end,     end,               end,               end,      Nothing],
            /* Quarantined */ [Nothing,          Nothing, Nothing, Nothing,           Nothing,           Nothing,  Nothing],
        ],
    }
}

#[test]
fn every_cell_of_the_table() {
    for purpose in [Purpose::Session, Purpose::Rotation] {
        for (state, row) in STATES.into_iter().zip(table(purpose)) {
            for (finding, action) in FINDINGS.into_iter().zip(row) {
                let found = recover(purpose, state, finding, Standing::Confirmed);
                assert_eq!(found, action, "{purpose:?} {state:?} {finding:?}");
            }
        }
    }
}

#[test]
fn a_restored_vault_changes_nothing_on_targets_and_gives_nothing_up() {
    for purpose in [Purpose::Session, Purpose::Rotation] {
        for state in STATES {
            for finding in FINDINGS {
                let confirmed = recover(purpose, state, finding, Standing::Confirmed);
                let restored = recover(purpose, state, finding, Standing::Restored);
                let changes = matches!(
                    confirmed,
                    Action::Apply | Action::LetOldGo | Action::Remove | Action::Advance(State::Revoking)
                );
                let expected = if changes { Action::Hold } else { confirmed };
                assert_eq!(restored, expected, "{purpose:?} {state:?} {finding:?}");
            }
        }
    }
}

#[test]
fn nothing_that_is_not_known_is_acted_upon() {
    for purpose in [Purpose::Session, Purpose::Rotation] {
        for state in STATES {
            for finding in [Finding::Unknown, Finding::AbsentSoFar] {
                let action = recover(purpose, state, finding, Standing::Confirmed);
                let expected = if is_final(state) { Action::Nothing } else { Action::Wait };
                assert_eq!(action, expected, "{purpose:?} {state:?} {finding:?}");
            }
        }
    }
}

/// What an account on a target lets in with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Account {
    Absent,
    Old,
    New,
    Both,
}

/// What was asked of a target and may still happen.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Late {
    Apply,
    LetOldGo,
    Remove,
}

/// Everything that there is. The record is all that a crash leaves of the vault.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct World {
    purpose: Purpose,
    /// Whether the target takes a second secret beside the first.
    takes_two: bool,
    state: State,
    account: Account,
    late: BTreeSet<Late>,
    /// Whether a session was given it, and has not ended.
    in_use: bool,
}

impl World {
    fn first(purpose: Purpose, takes_two: bool) -> Self {
        let account = match purpose {
            Purpose::Session => Account::Absent,
            Purpose::Rotation => Account::Old,
        };
        Self { purpose, takes_two, state: State::Intent, account, late: BTreeSet::new(), in_use: false }
    }

    fn happens(&self, what: Late) -> Self {
        let mut world = self.clone();
        world.late.remove(&what);
        world.account = match (what, self.account, self.purpose) {
            (Late::Apply, Account::Old | Account::Both, _) if self.takes_two => Account::Both,
            // An account that is not there has no secret to change.
            (Late::Apply, Account::Absent, Purpose::Rotation) => Account::Absent,
            (Late::Apply, _, _) => Account::New,
            (Late::LetOldGo, Account::Both, _) => Account::New,
            (Late::LetOldGo, account, _) => account,
            (Late::Remove, _, _) => Account::Absent,
        };
        world
    }

    /// Asked: it happens at once and is answered, happens and is not answered, happens later or never, or is refused.
    fn asked(&self, what: Late) -> Vec<(Self, bool)> {
        let mut late = self.clone();
        late.late.insert(what);
        vec![(self.happens(what), true), (self.happens(what), false), (late, false), (self.clone(), false)]
    }

    fn written(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }

    /// What a look can find: the truth, or nothing.
    fn looks(&self) -> Vec<Finding> {
        vec![self.truth(), Finding::Unknown]
    }

    fn truth(&self) -> Finding {
        match self.account {
            Account::Absent if self.late.contains(&Late::Apply) => Finding::AbsentSoFar,
            Account::Absent => Finding::Absent,
            Account::Old => Finding::OldWorks,
            Account::New => Finding::NewWorks,
            Account::Both => Finding::BothWork,
        }
    }

    /// Does what recovery says, in every way that it can go.
    fn recovered(&self, finding: Finding) -> Vec<Self> {
        match recover(self.purpose, self.state, finding, Standing::Confirmed) {
            Action::Wait | Action::Hold | Action::Nothing => vec![self.clone()],
            Action::Advance(state) => vec![self.written(state)],
            Action::Quarantine(_) => vec![self.written(State::Quarantined)],
            Action::LetOldGo => self.asked(Late::LetOldGo).into_iter().map(|(world, _)| world).collect(),
            Action::Remove => self.asked(Late::Remove).into_iter().map(|(world, _)| world).collect(),
            Action::Apply => {
                let asked = self.asked(Late::Apply).into_iter();
                // Answered, and written down or crashed before.
                asked
                    .flat_map(|(world, answered)| {
                        let written = answered.then(|| world.written(State::Applied));
                        [Some(world), written].into_iter().flatten()
                    })
                    .collect()
            }
        }
    }

    /// What the vault does that is not recovery: the way from intent to use, and the end of the session. A crash is to stop anywhere.
    fn lived(&self) -> Vec<Self> {
        let mut next = Vec::new();
        match self.state {
            State::Intent => {
                for (world, answered) in self.asked(Late::Apply) {
                    if answered {
                        next.push(world.written(State::Applied));
                    }
                    next.push(world);
                }
            }
            State::Applied if matches!(self.account, Account::New | Account::Both) => {
                next.push(self.written(State::Verified));
            }
            State::Verified => match (self.purpose, self.account) {
                (Purpose::Rotation, Account::Both) => {
                    next.extend(self.asked(Late::LetOldGo).into_iter().map(|(world, _)| world));
                }
                _ => {
                    let mut active = self.written(State::Active);
                    // The session gets it once it is written down, if nothing crashes before.
                    next.push(active.clone());
                    active.in_use = self.purpose == Purpose::Session;
                    next.push(active);
                }
            },
            // The session ends. What was withdrawn by a person ends in the same way.
            State::Active if self.purpose == Purpose::Session => {
                next.push(Self { in_use: false, ..self.written(State::Revoking) });
            }
            State::Revoking => next.extend(self.asked(Late::Remove).into_iter().map(|(world, _)| world)),
            State::Applied | State::Active | State::Revoked | State::Quarantined => {}
        }
        next
    }

    fn happenings(&self) -> Vec<Self> {
        let late = self.late.iter();
        late.flat_map(|what| {
            let mut never = self.clone();
            never.late.remove(what);
            [self.happens(*what), never]
        })
        .collect()
    }

    fn next(&self) -> Vec<Self> {
        let recovered = self.looks().into_iter().flat_map(|finding| self.recovered(finding));
        recovered.chain(self.lived()).chain(self.happenings()).collect()
    }

    /// Where a target that answers and a vault that does not crash come to.
    fn settled(&self) -> Result<Self, String> {
        let mut world = self.clone();
        for _ in 0..50 {
            // What is late has happened or never will, in order.
            while let Some(what) = world.late.first().copied() {
                world = world.happens(what);
            }
            let finding = world.truth();
            let next = match recover(world.purpose, world.state, finding, Standing::Confirmed) {
                Action::Nothing => return Ok(world),
                Action::Advance(state) => world.written(state),
                Action::Quarantine(_) => world.written(State::Quarantined),
                Action::Apply => world.happens(Late::Apply).written(State::Applied),
                Action::LetOldGo => world.happens(Late::LetOldGo),
                Action::Remove => world.happens(Late::Remove),
                other => return Err(format!("{other:?} where the target answers: {world:?}")),
            };
            world = next;
        }
        Err(format!("recovery does not come to an end: {self:?}"))
    }

    fn check(&self) {
        // Whoever is given a credential is given one that was active.
        assert!(
            !self.in_use
                || self.state == State::Active
                || self.state == State::Revoking
                || self.account == Account::Absent,
            "{self:?}"
        );
        // INVARIANT: what is on the target is in a record that recovery still looks at, or something there is about to take it away.
        if self.purpose == Purpose::Session && self.account != Account::Absent {
            assert_ne!(self.state, State::Revoked, "an orphan: {self:?}");
        }
        // No rotation ends before the new secret is in, and none loses an account.
        if self.purpose == Purpose::Rotation {
            assert_ne!(self.account, Account::Absent, "{self:?}");
            if self.state == State::Active {
                assert_eq!(self.account, Account::New, "{self:?}");
            }
        }
        let settled = self.settled().unwrap();
        match self.purpose {
            Purpose::Session => {
                let is_used = settled.state == State::Active && settled.account == Account::New;
                let is_gone = settled.state == State::Revoked && settled.account == Account::Absent;
                assert!(is_used || is_gone, "{self:?} ends as {settled:?}");
                if self.in_use && self.state == State::Active {
                    assert!(
                        is_used || self.late.contains(&Late::Remove),
                        "a session lost its credential: {self:?}"
                    );
                }
            }
            Purpose::Rotation => {
                assert_eq!((settled.state, settled.account), (State::Active, Account::New), "{self:?}");
            }
        }
    }
}

#[test]
fn from_everywhere_recovery_ends_with_no_orphan_and_no_lost_secret() {
    let firsts = [(Purpose::Session, false), (Purpose::Rotation, false), (Purpose::Rotation, true)];
    let mut seen: HashSet<World> = HashSet::new();
    let firsts = firsts.map(|(purpose, two)| World::first(purpose, two));
    let mut queue: VecDeque<World> = firsts.clone().into();
    let mut from: HashMap<World, World> = HashMap::new();
    while let Some(world) = queue.pop_front() {
        if !seen.insert(world.clone()) {
            continue;
        }
        if std::panic::catch_unwind(|| world.check()).is_err() {
            let mut way = vec![world.clone()];
            while let Some(before) = way.last().and_then(|last| from.get(last)) {
                way.push(before.clone());
            }
            way.reverse();
            panic!("the way there: {way:#?}");
        }
        for next in world.next() {
            if !firsts.contains(&next) {
                from.entry(next.clone()).or_insert_with(|| world.clone());
            }
            queue.push_back(next);
        }
    }
    // All states of both purposes were come by.
    let states: HashSet<_> = seen.iter().map(|world| (world.purpose, world.state)).collect();
    for state in
        [State::Intent, State::Applied, State::Verified, State::Active, State::Revoking, State::Revoked]
    {
        assert!(states.contains(&(Purpose::Session, state)), "{state:?}");
    }
    for state in [State::Intent, State::Applied, State::Verified, State::Active] {
        assert!(states.contains(&(Purpose::Rotation, state)), "{state:?}");
    }
}

proptest! {
    /// As above, by chance, and with a target that is put back to an older state in between: accounts come back and secrets turn old.
    #[test]
    fn whatever_happens_no_account_is_left_that_recovery_does_not_end_or_show(
        purpose in prop_oneof![Just(Purpose::Session), Just(Purpose::Rotation)],
        takes_two in any::<bool>(),
        choices in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        backup_at in 0usize..40,
        restored_at in 0usize..40,
    ) {
        let mut world = World::first(purpose, takes_two && purpose == Purpose::Rotation);
        let mut backup = world.account;
        for (step, choice) in choices.iter().enumerate() {
            if step == backup_at {
                backup = world.account;
            }
            if step == restored_at && restored_at > backup_at {
                world.account = backup;
            }
            let next = world.next();
            world = choice.get(&next).clone();
        }
        let settled = world.settled().unwrap();
        match (purpose, settled.state) {
            // A person is told.
            (_, State::Quarantined) => {}
            (Purpose::Session, State::Revoked) => prop_assert_eq!(settled.account, Account::Absent),
            (_, State::Active) => prop_assert_eq!(settled.account, Account::New),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
