//! What holds in every history.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Decide { item: usize, by: usize, decision: u8, to: usize, stale: bool },
    Assign { item: usize, to: usize },
    Confirm(usize),
    Fail(usize),
    Change { item: usize, by: usize },
    Gone(usize),
    Tick(i64),
    Sign(usize),
    Allow(u64),
    Restart,
}

const PERSONS: [&str; 6] = ["ada", "bob", "boss", "app owner", "desk", "ciso"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (item, who) = (0..4usize, 0..PERSONS.len());
    let step = prop_oneof![
        8 => (item.clone(), who.clone(), 0..4u8, who.clone(), proptest::bool::weighted(0.1))
            .prop_map(|(item, by, decision, to, stale)| Step::Decide { item, by, decision, to, stale }),
        2 => (item.clone(), who.clone()).prop_map(|(item, to)| Step::Assign { item, to }),
        3 => item.clone().prop_map(Step::Confirm),
        1 => item.clone().prop_map(Step::Fail),
        2 => (item.clone(), who.clone()).prop_map(|(item, by)| Step::Change { item, by }),
        1 => item.prop_map(Step::Gone),
        2 => (0..20i64).prop_map(Step::Tick),
        1 => who.prop_map(Step::Sign),
        1 => (1..5u64).prop_map(Step::Allow),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn no_history_breaks_the_rules(steps in steps()) {
        let mut all = vec![access("ada", "PAY"), access("ada", "VIEW"), access("bob", "PAY"), access("boss", "PAY")];
        let settings = Settings {
            escalations: vec![Escalation { after_days: 1, to: person("ciso") }],
            undecided: Undecided::Revoked { after_days: 15 },
            guard: RevokeGuard { revokes_max: 2, percent_max: 100, always_allowed: 0 },
            ..settings()
        };
        let mut campaign = with(settings, all.clone());
        let mut allowed = 0;
        for step in steps {
            let before = campaign.clone();
            let states: Vec<ItemState> = campaign.items().map(|item| item.state.clone()).collect();
            let mut given = Vec::new();
            let refused = match step {
                Step::Decide { item, by, decision, to, stale } => {
                    let key = all[item].key();
                    let (by, to) = (person(PERSONS[by]), person(PERSONS[to]));
                    let shown = if stale { access("x", "x").snapshot() } else { campaign.item(&key).unwrap().snapshot };
                    let reason = "because".to_owned();
                    let decision = match decision {
                        0 => Decision::Approve { reason: Some(reason) },
                        1 => Decision::Revoke { reason },
                        2 => Decision::Reassign { to, reason },
                        _ => Decision::Delegate { to, reason },
                    };
                    let done = campaign.decide(&key, &by, &shown, decision, start());
                    if let Ok((record, intent)) = &done {
                        prop_assert!(!stale);
                        prop_assert_eq!(&record.snapshot, &before.item(&key).unwrap().snapshot);
                        prop_assert_ne!(&by, &key.person, "nobody reviews their own access");
                        prop_assert_ne!(Some(&by), all[item].granted_by.as_ref());
                        given.extend(intent.clone());
                    }
                    done.is_err()
                }
                Step::Assign { item, to } => {
                    campaign.assign(&all[item].key(), &person(PERSONS[to]), &person("ciso"), "why", start()).is_err()
                }
                Step::Confirm(item) => campaign.revoke_confirmed(&all[item].key(), start()).is_err(),
                Step::Fail(item) => campaign.revoke_failed(&all[item].key(), "down", start()).is_err(),
                Step::Change { item, by } => {
                    let changed = Access { granted_by: Some(person(PERSONS[by])), ..all[item].clone() };
                    let seen = campaign.observe(changed.clone(), start());
                    if matches!(seen, Observed::PresentedAgain(_)) {
                        all[item] = changed;
                        prop_assert!(campaign.item(&all[item].key()).unwrap().state.is_undecided());
                    }
                    false
                }
                Step::Gone(item) => campaign.observe_gone(&all[item].key(), start()).is_err(),
                Step::Tick(days) => {
                    let now = due() + Duration::days(days);
                    given.extend(campaign.tick(now).into_iter().filter_map(|notice| match notice {
                        Notice::Revoked(intent) => Some(intent),
                        _ => None,
                    }));
                    prop_assert_eq!(campaign.tick(now), []);
                    false
                }
                Step::Allow(revokes) => {
                    let done = campaign.approve_revokes(&person("ciso"), revokes, "because");
                    if done.is_ok() {
                        allowed = revokes;
                    }
                    done.is_err()
                }
                Step::Sign(who) => campaign.sign(&person(PERSONS[who]), start()).is_err(),
                Step::Restart => {
                    campaign = serde_json::from_str(&serde_json::to_string(&campaign).unwrap()).unwrap();
                    prop_assert_eq!(&campaign, &before);
                    false
                }
            };
            if refused {
                prop_assert_eq!(&campaign, &before, "a refused step changes nothing");
            }
            // Each revocation that begins is given out, and is among those to be done until it is confirmed.
            for (item, state) in campaign.items().zip(states) {
                if matches!((&item.state, &state), (ItemState::Revoking { by: None, .. }, ItemState::Unassigned)) {
                    prop_assert!(false, "nobody was asked");
                }
                let begins = matches!(item.state, ItemState::Revoking { .. }) && !matches!(state, ItemState::Revoking { .. });
                prop_assert_eq!(begins, given.iter().any(|intent| intent.item == item.access.key()));
                let waits = campaign.revokes().iter().any(|intent| intent.item == item.access.key());
                prop_assert_eq!(waits, matches!(item.state, ItemState::Revoking { .. }));
                if matches!(state, ItemState::Revoking { .. }) {
                    prop_assert!(
                        matches!(item.state, ItemState::Revoking { .. } | ItemState::Revoked { .. }),
                        "only a confirmation ends a revocation"
                    );
                }
                for who in item.reviewer.iter().chain(&item.delegate) {
                    prop_assert_ne!(who, &item.access.person);
                    prop_assert_ne!(Some(who), item.access.granted_by.as_ref());
                }
                prop_assert_eq!(item.snapshot, item.access.snapshot());
                prop_assert!(item.reviewer.is_some() || item.delegate.is_none());
            }
            let lapsed = campaign.items().filter(|item| {
                matches!(item.state, ItemState::Revoking { by: None, .. } | ItemState::Revoked { by: None, .. })
            });
            let lapsed = lapsed.count() as u64;
            prop_assert!(lapsed <= 2 || lapsed <= allowed, "{} of {}", lapsed, allowed);
            let closed = campaign.items().all(|item| item.state.is_closed());
            prop_assert_eq!(closed, campaign.phase() == Phase::Complete);
            let progress = campaign.progress(start());
            prop_assert_eq!(progress.completed_at.is_some(), closed);
            prop_assert_eq!(progress.decisions_total, 4);
            prop_assert_eq!(progress.entities_completed == progress.entities_total, closed);
            // What is complete stays as it is.
            if before.phase() == Phase::Complete {
                prop_assert!(before.items().eq(campaign.items()));
            }
        }
    }
}
