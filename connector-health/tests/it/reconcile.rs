//! Reconciliation.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeZone, Utc};
use connector_health::reconcile::*;
use connector_health::{ConnectorId, EntitlementId, PersonId};

fn crm() -> ConnectorId {
    ConnectorId::new("crm").unwrap()
}

fn at() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

pub(crate) fn person(person: &str) -> Intended {
    Intended {
        person: PersonId::new(person).unwrap(),
        standing: Standing::Active,
        account_id: None,
        external_id: None,
        user_name: None,
        emails: Vec::new(),
        attributes: BTreeMap::new(),
        entitlements: BTreeSet::new(),
    }
}

fn known(name: &str, account_id: &str) -> Intended {
    Intended {
        account_id: Some(account_id.into()),
        external_id: Some(name.into()),
        user_name: Some(name.into()),
        ..person(name)
    }
}

fn gone(intended: Intended) -> Intended {
    Intended { standing: Standing::Revoked { confirmed_at: Some(at()) }, ..intended }
}

fn account(id: &str, user_name: &str) -> Account {
    Account { id: id.into(), user_name: Some(user_name.into()), active: true, ..Account::default() }
}

fn rights(names: &[&str]) -> BTreeSet<EntitlementId> {
    names.iter().map(|name| EntitlementId::new(name).unwrap()).collect()
}

fn whole(settings: Settings, intents: Vec<Intended>, accounts: Vec<Account>) -> Report {
    run(settings, intents, accounts, None)
}

fn run(settings: Settings, intents: Vec<Intended>, accounts: Vec<Account>, broken: Option<&str>) -> Report {
    let mut reconciliation = Reconciliation::new(crm(), settings, intents).unwrap();
    let mut listing = Listing::new(crm());
    for account in accounts {
        if let Some(received) = listing.receive(account) {
            reconciliation.account(received);
        }
    }
    if let Some(reason) = broken {
        listing.fail(reason);
    }
    reconciliation.finish(listing.end(None), at())
}

fn only(report: &Report) -> &Finding {
    assert_eq!(report.findings.len(), 1, "{report:?}");
    &report.findings[0]
}

#[test]
fn what_is_as_intended_is_counted_and_not_listed() {
    let mut intended = known("ada", "1");
    intended.attributes.insert("title".into(), "Engineer".into());
    intended.entitlements = rights(&["staff"]);
    let mut there = account("1", "ada");
    there.attributes.insert("title".into(), "Engineer".into());
    there.attributes.insert("unmanaged".into(), "x".into());
    there.entitlements = rights(&["staff"]);
    let report = whole(Settings::default(), vec![intended, gone(known("bob", "2"))], vec![there]);
    assert_eq!(report.findings, []);
    assert_eq!((report.counts.linked, report.counts.revoked), (1, 1));
}

#[test]
fn a_leaver_said_to_be_revoked_and_still_active_comes_first() {
    let intents = vec![known("ada", "1"), gone(known("bob", "2"))];
    let report = whole(
        Settings::default(),
        intents,
        vec![account("9", "stranger"), account("2", "bob"), account("1", "adam")],
    );
    let first = &report.findings[0];
    assert_eq!(first.situation, Situation::FalseCompletion);
    assert_eq!((first.priority, first.action), (Priority::Critical, Action::Disable));
    assert!(first.reason.contains("the application says active"), "{}", first.reason);
    assert_eq!(report.counts.false_completions, 1);
}

#[test]
fn a_leaver_is_found_by_name_when_no_identifier_is_on_record() {
    let leaver = Intended { user_name: Some("Bob".into()), ..gone(person("p2")) };
    let report = whole(Settings::default(), vec![leaver], vec![account("7", "bob")]);
    assert_eq!(only(&report).situation, Situation::FalseCompletion);
    assert_eq!(only(&report).action, Action::Disable);
}

#[test]
fn a_leaver_whose_account_is_not_certain_is_never_disabled_by_guess() {
    let leaver =
        Intended { user_name: Some("bob".into()), emails: vec!["bob@x".into()], ..gone(person("p2")) };
    let other = Account { emails: vec!["BOB@x".into()], ..account("8", "robert") };
    let report = whole(Settings::default(), vec![leaver], vec![account("7", "bob"), other]);
    let finding = only(&report);
    assert_eq!((finding.situation, finding.action), (Situation::FalseCompletion, Action::Ask));
    assert_eq!(finding.accounts.len(), 2);
}

#[test]
fn a_reused_name_is_not_the_account_on_record() {
    let report = whole(Settings::default(), vec![known("ada", "1")], vec![account("2", "ada")]);
    let finding = only(&report);
    assert_eq!((finding.situation, finding.action), (Situation::Disputed, Action::Ask));
}

#[test]
fn drift_says_what_differs() {
    let mut intended = known("ada", "1");
    intended.attributes = BTreeMap::from([
        ("title".to_owned(), "Engineer".to_owned()),
        ("mail".to_owned(), "Ada@x".to_owned()),
        ("phone".to_owned(), String::new()),
    ]);
    intended.entitlements = rights(&["staff", "build"]);
    let mut there = Account { active: false, ..account("1", "ada") };
    there.attributes = BTreeMap::from([("mail".to_owned(), "ada@X".to_owned())]);
    there.entitlements = rights(&["build", "admin"]);
    let settings =
        Settings { case_insensitive_attributes: BTreeSet::from(["mail".to_owned()]), ..Settings::default() };
    let report = whole(settings, vec![intended], vec![there]);
    let finding = only(&report);
    assert_eq!((finding.situation, finding.action), (Situation::Drifted, Action::Correct));
    assert_eq!(
        finding.differences.to_string(),
        "active: should be true; title: absent instead of `Engineer`; lacks staff; has admin besides"
    );
}

#[test]
fn link_adopt_recreate_and_orphan() {
    let by_external = Intended { external_id: Some("e1".into()), ..person("p1") };
    let by_name = Intended { user_name: Some("ÉVE".into()), ..person("p2") };
    let absent = known("kim", "77");
    let accounts = vec![
        Account { external_id: Some("e1".into()), ..account("1", "x") },
        account("2", "éve"),
        account("3", "root"),
    ];
    let report = whole(Settings::default(), vec![by_external, by_name, absent], accounts);
    let proposed: Vec<_> = report.findings.iter().map(|f| (f.situation, f.action)).collect();
    assert_eq!(
        proposed,
        [
            (Situation::Orphan, Action::Ask),
            (Situation::Missing, Action::Recreate),
            (Situation::Unlinked, Action::Link),
            (Situation::Unlinked, Action::Adopt),
        ]
    );
}

#[test]
fn one_account_claimed_by_two_is_given_to_neither() {
    let one = Intended { emails: vec!["shared@x".into()], ..person("p1") };
    let two = Intended { emails: vec!["SHARED@x".into()], ..person("p2") };
    let there = Account { emails: vec!["shared@x".into()], ..account("1", "desk") };
    let report = whole(Settings::default(), vec![one, two], vec![there]);
    assert_eq!(report.counts.colliding, 1);
    let collision = report.findings.iter().find(|f| f.situation == Situation::Colliding).unwrap();
    assert_eq!(collision.persons.len(), 2);
    // An account with the same address would be refused or be a second one.
    assert!(report.findings.iter().all(|f| f.action == Action::Ask), "{report:?}");
}

#[test]
fn identifiers_that_name_two_persons_collide() {
    let there = Account { external_id: Some("bob".into()), ..account("1", "ada") };
    let report = whole(Settings::default(), vec![known("ada", "1"), known("bob", "2")], vec![there]);
    assert_eq!(report.findings[0].situation, Situation::Colliding);
    assert_eq!(report.findings[0].action, Action::Ask);
}

#[test]
fn a_second_account_with_a_persons_name_is_an_orphan_that_says_whose() {
    for order in [["1", "2"], ["2", "1"]] {
        let accounts = order.map(|id| account(id, "ada")).to_vec();
        let report = whole(Settings::default(), vec![gone(known("ada", "1"))], accounts);
        let orphan = report.findings.iter().find(|f| f.situation == Situation::Orphan).unwrap();
        assert_eq!((orphan.priority, orphan.action), (Priority::High, Action::Ask));
        assert_eq!(orphan.persons[0].as_str(), "ada");
        assert_eq!(report.counts.false_completions, 1);
    }
}

#[test]
fn an_incomplete_listing_proposes_nothing_and_says_nobody_is_missing() {
    let settings = Settings { orphans: OrphanPolicy::Disable, ..Settings::default() };
    let intents = vec![known("ada", "1"), known("eve", "5"), gone(known("bob", "2"))];
    let accounts = vec![account("2", "bob"), account("3", "stranger")];
    let report = run(settings, intents, accounts, Some("page 3 of 9 answered 500"));
    assert_eq!(report.counts.missing, 0);
    assert_eq!(report.counts.false_completions, 1, "what was seen is still said");
    assert!(report.findings.iter().all(|finding| finding.action == Action::Ask));
    assert_eq!(report.incomplete.as_deref(), Some("page 3 of 9 answered 500"));
    assert!(report.table(10).contains("the listing is incomplete"));
}

#[test]
fn fewer_accounts_than_announced_are_incomplete() {
    let mut listing = Listing::new(crm());
    assert!(listing.receive(account("1", "a")).is_some());
    assert_eq!(
        listing.end(Some(2)).unwrap_err().to_string(),
        "the listing is incomplete: 2 accounts were announced and 1 came"
    );
}

#[test]
fn an_account_that_cannot_be_taken_breaks_the_listing() {
    let mut listing = Listing::new(crm());
    assert!(listing.receive(account("", "a")).is_none());
    assert!(listing.end(None).is_err());
    let mut listing = Listing::new(crm());
    assert!(listing.receive(account("1", &"a".repeat(ACCOUNT_BYTES_MAX))).is_none());
    assert!(listing.end(None).is_err());
}

#[test]
fn the_proof_of_another_listing_proves_nothing() {
    let other = Listing::new(ConnectorId::new("erp").unwrap()).end(None);
    let reconciliation = Reconciliation::new(crm(), Settings::default(), [known("ada", "1")]).unwrap();
    let report = reconciliation.finish(other, at());
    assert!(report.incomplete.is_some());
    assert_eq!(report.counts.missing, 0);

    let mut counted = Listing::new(crm());
    counted.receive(account("1", "ada"));
    let reconciliation = Reconciliation::new(crm(), Settings::default(), [known("ada", "1")]).unwrap();
    assert!(
        reconciliation.finish(counted.end(None), at()).incomplete.is_some(),
        "an account was counted and not taken"
    );
}

#[test]
fn an_empty_but_well_ended_listing_recreates_nobody() {
    let intents: Vec<_> = (0..100).map(|n| known(&format!("p{n}"), &n.to_string())).collect();
    let report = whole(Settings::default(), intents, Vec::new());
    assert_eq!(report.counts.missing, 100);
    assert!(report.findings.iter().all(|finding| finding.action == Action::Ask));
    assert!(report.findings[0].reason.contains("unusually many"));
}

#[test]
fn empty_intents_disable_nobody() {
    let accounts: Vec<_> = (0..100).map(|n| account(&n.to_string(), &format!("u{n}"))).collect();
    let settings = Settings { orphans: OrphanPolicy::Disable, ..Settings::default() };
    let report = whole(settings, Vec::new(), accounts);
    assert_eq!(report.counts.orphans, 100);
    assert!(report.findings.iter().all(|finding| finding.action == Action::Ask));
}

#[test]
fn protected_accounts_are_left_alone() {
    let settings = Settings {
        orphans: OrphanPolicy::Disable,
        protected: BTreeSet::from(["SAP*".to_owned(), "id-7".to_owned()]),
        ..Settings::default()
    };
    let report =
        whole(settings, Vec::new(), vec![account("1", "SAP*"), account("id-7", "x"), account("3", "y")]);
    assert_eq!(report.counts.protected, 2);
    assert_eq!(only(&report).action, Action::Disable);
}

#[test]
fn pages_that_overlap_change_nothing() {
    let report =
        whole(Settings::default(), vec![known("ada", "1")], vec![account("1", "ada"), account("1", "ada")]);
    assert_eq!(report.findings, []);
    assert_eq!((report.counts.accounts, report.counts.repeated), (2, 1));
}

#[test]
fn empty_keys_have_nothing_in_common() {
    let nameless =
        Intended { user_name: Some(String::new()), external_id: Some(String::new()), ..person("p") };
    let there = Account { external_id: Some(String::new()), ..account("1", "") };
    let report = whole(Settings::default(), vec![nameless], vec![there]);
    assert_eq!((report.counts.orphans, report.counts.missing), (1, 1));
}

#[test]
fn a_person_has_one_intent() {
    let twice = Reconciliation::new(crm(), Settings::default(), [person("a"), person("a")]).err();
    assert_eq!(twice, Some(ReconcileError::PersonTwice(PersonId::new("a").unwrap())));
}

#[test]
fn a_key_that_everyone_shares_does_not_make_the_pass_slow() {
    // Quadratic would be 4 × 10^10 comparisons; the test would not end.
    let intents = (0..200_000).map(|n| Intended { emails: vec!["desk@x".into()], ..person(&n.to_string()) });
    let mut reconciliation = Reconciliation::new(crm(), Settings::default(), intents).unwrap();
    let mut listing = Listing::new(crm());
    for n in 0..20_000 {
        let there = Account { emails: vec!["desk@x".into()], ..account(&format!("a{n}"), "") };
        reconciliation.account(listing.receive(there).unwrap());
    }
    let report = reconciliation.finish(listing.end(None), at());
    assert_eq!(report.counts.colliding, 20_000);
    assert!(report.findings.iter().all(|f| f.action == Action::Ask && f.persons.len() <= CANDIDATES_MAX));
}

#[test]
fn csv_computes_nothing_and_json_is_read_back() {
    let evil = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\tx", "\rx", " =1", "＝1"];
    let accounts = evil.iter().enumerate().map(|(n, name)| account(&n.to_string(), name)).collect();
    let report = whole(Settings::default(), Vec::new(), accounts);
    let mut written = Vec::new();
    report.write_csv(&mut written).unwrap();
    let mut reader = csv::Reader::from_reader(written.as_slice());
    let mut rows = 0;
    for row in reader.records() {
        rows += 1;
        for cell in &row.unwrap() {
            let first = cell.trim_start_matches(' ').chars().next();
            assert!(!matches!(first, Some('=' | '+' | '-' | '@' | '\t' | '\r' | '＝')), "{cell:?}");
        }
    }
    assert_eq!(rows, evil.len());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    assert!(report.table(3).contains("and 5 more"));
    assert!(report.table(99).chars().all(|c| c == '\n' || !c.is_control()));
}
