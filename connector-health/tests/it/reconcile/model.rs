//! The same conclusions as the plainest reading of the rules, and in any order of accounts.

use std::collections::BTreeMap;

use connector_health::reconcile::*;
use proptest::prelude::*;

use super::{account, at, person};

fn small(prefix: &'static str) -> impl Strategy<Value = Option<String>> {
    prop_oneof![2 => Just(None), 3 => (0..4u8).prop_map(move |n| Some(format!("{prefix}{n}")))]
}

fn intents() -> impl Strategy<Value = Vec<Intended>> {
    let one = (small("a"), small("e"), small("n"), small("m"), 0..3u8);
    proptest::collection::vec(one, 0..5).prop_map(|all| {
        let each =
            all.into_iter().enumerate().map(|(n, (account_id, external_id, user_name, email, standing))| {
                Intended {
                    account_id,
                    external_id,
                    user_name,
                    emails: email.into_iter().collect(),
                    standing: match standing {
                        0 => Standing::Active,
                        1 => Standing::Revoked { confirmed_at: None },
                        _ => Standing::Revoked { confirmed_at: Some(at()) },
                    },
                    ..person(&format!("p{n}"))
                }
            });
        each.collect()
    })
}

fn accounts() -> impl Strategy<Value = Vec<Account>> {
    let one = (0..6u8, small("e"), small("N"), small("m"), any::<bool>());
    proptest::collection::vec(one, 0..6).prop_map(|all| {
        let each = all.into_iter().map(|(id, external_id, user_name, email, active)| Account {
            external_id,
            user_name,
            emails: email.into_iter().collect(),
            active,
            ..account(&format!("a{id}"), "")
        });
        // One account per identifier: what a listing repeats is another test.
        let by_id: BTreeMap<String, Account> = each.map(|account| (account.id.clone(), account)).collect();
        by_id.into_values().collect()
    })
}

fn reconcile(intents: Vec<Intended>, accounts: Vec<Account>, broken: bool) -> Report {
    super::run(Settings::default(), intents, accounts, broken.then_some("broken"))
}

/// Who fits an account: by a strong rule, or else by a weak one.
fn fits<'i>(account: &Account, intents: &'i [Intended]) -> (bool, Vec<&'i Intended>) {
    let strong = |intended: &&Intended| {
        intended.account_id.as_ref() == Some(&account.id)
            || (account.external_id.is_some() && intended.external_id == account.external_id)
    };
    let weak = |intended: &&Intended| {
        let name = |name: &Option<String>| name.as_ref().map(|name| name.to_lowercase());
        (account.user_name.is_some() && name(&intended.user_name) == name(&account.user_name))
            || account.emails.iter().any(|email| intended.emails.contains(email))
    };
    let by_strong: Vec<_> = intents.iter().filter(strong).collect();
    match by_strong.is_empty() {
        false => (true, by_strong),
        true => (false, intents.iter().filter(weak).collect()),
    }
}

fn expected(intents: &[Intended], accounts: &[Account]) -> BTreeMap<Situation, u64> {
    let mut counts: BTreeMap<Situation, u64> = BTreeMap::new();
    let mut add = |situation| *counts.entry(situation).or_default() += 1;
    for account in accounts {
        match fits(account, intents).1.len() {
            0 => add(Situation::Orphan),
            1 => {}
            _ => add(Situation::Colliding),
        }
    }
    for intended in intents {
        let mine = |by_strong: bool| {
            accounts.iter().filter(move |account| {
                let (strong, who) = fits(account, intents);
                strong == by_strong && who.len() == 1 && who[0].person == intended.person
            })
        };
        let (strong, weak): (Vec<_>, Vec<_>) = (mine(true).collect(), mine(false).collect());
        let owned = if strong.is_empty() {
            weak
        } else {
            weak.iter().for_each(|_| add(Situation::Orphan));
            strong
        };
        let contradicts = owned.iter().any(|account| {
            intended.account_id.as_ref().is_some_and(|id| *id != account.id)
                || matches!((&intended.external_id, &account.external_id), (Some(one), Some(other)) if one != other)
        });
        let active = owned.iter().any(|account| account.active);
        let sure = owned.len() == 1 && !contradicts;
        match intended.standing {
            Standing::Revoked { .. } if !active => {}
            Standing::Revoked { confirmed_at: Some(_) } => add(Situation::FalseCompletion),
            Standing::Revoked { confirmed_at: None } if sure => add(Situation::Drifted),
            Standing::Revoked { confirmed_at: None } => add(Situation::Disputed),
            Standing::Active if owned.is_empty() => add(Situation::Missing),
            Standing::Active if !sure => add(Situation::Disputed),
            Standing::Active if intended.account_id.as_ref() == Some(&owned[0].id) => {
                if !owned[0].active {
                    add(Situation::Drifted);
                }
            }
            Standing::Active => add(Situation::Unlinked),
        }
    }
    counts
}

proptest! {
    #[test]
    fn agrees_with_the_plain_reading(intents in intents(), accounts in accounts()) {
        let expected = expected(&intents, &accounts);
        let report = reconcile(intents, accounts, false);
        let mut found: BTreeMap<Situation, u64> = BTreeMap::new();
        for finding in &report.findings {
            *found.entry(finding.situation).or_default() += 1;
        }
        prop_assert_eq!(found, expected, "{:#?}", report);
    }

    #[test]
    fn the_order_of_accounts_changes_nothing(intents in intents(), accounts in accounts()) {
        let mut turned = accounts.clone();
        turned.reverse();
        let mut one = reconcile(intents.clone(), accounts, false);
        let mut other = reconcile(intents, turned, false);
        for report in [&mut one, &mut other] {
            for finding in &mut report.findings {
                finding.accounts.sort_by(|a, b| a.id.cmp(&b.id));
                finding.persons.sort();
                // Where several fit, the rule is that of any one.
                if finding.accounts.len() > 1 {
                    finding.rule = None;
                }
            }
            report.findings.sort_by_key(|finding| format!("{finding:?}"));
        }
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_broken_listing_proposes_nothing(intents in intents(), accounts in accounts()) {
        let report = reconcile(intents, accounts, true);
        prop_assert!(report.findings.iter().all(|f| f.action == Action::Ask && f.situation != Situation::Missing));
    }

    #[test]
    fn an_effect_is_proposed_only_for_one_account_of_one_person(intents in intents(), accounts in accounts()) {
        for finding in reconcile(intents, accounts, false).findings {
            if finding.action != Action::Ask && finding.situation != Situation::Missing {
                prop_assert_eq!((finding.persons.len(), finding.accounts.len()), (1, 1));
            }
        }
    }
}
