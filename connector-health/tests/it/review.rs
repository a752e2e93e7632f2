//! Access review.

mod histories;

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use connector_health::review::*;
use connector_health::{AccountId, CampaignId, ConnectorId, EntitlementId, PersonId, Right};

fn person(name: &str) -> PersonId {
    PersonId::new(name).unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn start() -> DateTime<Utc> {
    utc("2026-04-01T00:00:00Z")
}

fn due() -> DateTime<Utc> {
    utc("2026-05-01T00:00:00Z")
}

fn settings() -> Settings {
    Settings {
        name: "Q2".into(),
        owner: person("ciso"),
        due_at: due(),
        reviewers: vec![ReviewerRule::Manager, ReviewerRule::Owner],
        remind_days: BTreeSet::new(),
        escalations: Vec::new(),
        undecided: Undecided::Waits,
        guard: RevokeGuard::default(),
    }
}

fn access(of: &str, entitlement: &str) -> Access {
    Access {
        person: person(of),
        right: Right {
            connector: ConnectorId::new("sap").unwrap(),
            entitlement: EntitlementId::new(entitlement).unwrap(),
        },
        account: None,
        justification: Some("works in accounts".into()),
        granted_by: Some(person("desk")),
        granted_at: Some(utc("2025-01-01T00:00:00Z")),
        valid_until: None,
        last_review: None,
        last_use: None,
        manager: Some(person("boss")),
        owner: Some(person("app owner")),
    }
}

fn campaign(access: Vec<Access>) -> Campaign {
    with(settings(), access)
}

fn with(settings: Settings, access: Vec<Access>) -> Campaign {
    Campaign::start(CampaignId::new("c1").unwrap(), settings, access, start()).unwrap()
}

fn decide(
    campaign: &mut Campaign,
    of: &Access,
    by: &str,
    decision: Decision,
) -> Result<Option<RevokeIntent>, ReviewError> {
    let snapshot = campaign.item(&of.key()).unwrap().snapshot;
    campaign.decide(&of.key(), &person(by), &snapshot, decision, start()).map(|(_, intent)| intent)
}

fn approve() -> Decision {
    Decision::Approve { reason: None }
}

fn revoke() -> Decision {
    Decision::Revoke { reason: "moved to sales".into() }
}

fn reassign(to: &str) -> Decision {
    Decision::Reassign { to: person(to), reason: "knows better".into() }
}

fn delegate(to: &str) -> Decision {
    Decision::Delegate { to: person(to), reason: "on leave".into() }
}

#[test]
fn is_complete_only_when_revocations_are_confirmed() {
    let (keep, drop) = (access("ada", "VIEW"), access("bob", "PAY"));
    let mut campaign = campaign(vec![keep.clone(), drop.clone()]);
    assert_eq!(campaign.phase(), Phase::Active);
    assert_eq!(decide(&mut campaign, &keep, "boss", approve()), Ok(None));
    let intent = decide(&mut campaign, &drop, "boss", revoke()).unwrap().unwrap();
    assert_eq!((intent.item.clone(), intent.decided_by.clone()), (drop.key(), Some(person("boss"))));
    assert_eq!(campaign.phase(), Phase::Remediation);
    assert_eq!(campaign.revokes(), std::slice::from_ref(&intent));

    campaign.revoke_failed(&drop.key(), "the application is down", start()).unwrap();
    assert_eq!((campaign.phase(), campaign.progress(start()).has_errors), (Phase::Remediation, true));
    // A restart loses nothing.
    let mut campaign: Campaign = serde_json::from_str(&serde_json::to_string(&campaign).unwrap()).unwrap();
    assert_eq!(campaign.revokes(), [intent]);

    let later = start() + Duration::hours(1);
    campaign.revoke_confirmed(&drop.key(), later).unwrap();
    assert_eq!((campaign.phase(), campaign.progress(later).completed_at), (Phase::Complete, Some(later)));
    assert_eq!(campaign.revokes(), []);
    assert_eq!(campaign.revoke_confirmed(&drop.key(), later), Err(ReviewError::NotRevoking));
    assert_eq!(decide(&mut campaign, &keep, "boss", revoke()), Err(ReviewError::Over));
}

#[test]
fn nobody_reviews_their_own_access_or_what_they_granted() {
    let own = Access { manager: Some(person("ada")), ..access("ada", "PAY") };
    let granted = Access { granted_by: Some(person("boss")), ..access("bob", "PAY") };
    let neither = Access { manager: Some(person("eve")), owner: Some(person("eve")), ..access("eve", "PAY") };
    let mut campaign = campaign(vec![own.clone(), granted.clone(), neither.clone()]);
    let reviewer = |campaign: &Campaign, of: &Access| campaign.item(&of.key()).unwrap().reviewer.clone();
    assert_eq!(reviewer(&campaign, &own), Some(person("app owner")));
    assert_eq!(reviewer(&campaign, &granted), Some(person("app owner")));
    assert_eq!(campaign.item(&neither.key()).unwrap().state, ItemState::Unassigned);
    assert!(campaign.progress(start()).has_errors);

    for decision in [reassign, delegate] {
        let refused = decide(&mut campaign, &own, "app owner", decision("ada"));
        assert!(matches!(refused, Err(ReviewError::NotIndependent { why: NotIndependent::Own, .. })));
        let refused = decide(&mut campaign, &granted, "app owner", decision("boss"));
        assert!(matches!(refused, Err(ReviewError::NotIndependent { why: NotIndependent::Granted, .. })));
    }
    let assign = |campaign: &mut Campaign, to, by| {
        campaign.assign(&neither.key(), &person(to), &person(by), "nobody else", start()).map(|_| ())
    };
    assert_eq!(assign(&mut campaign, "mallory", "mallory"), Err(ReviewError::NotOwner(person("mallory"))));
    assert!(matches!(assign(&mut campaign, "eve", "ciso"), Err(ReviewError::NotIndependent { .. })));
    assert!(assign(&mut campaign, "boss", "ciso").is_ok());
    assert_eq!(decide(&mut campaign, &neither, "boss", approve()), Ok(None));
}

#[test]
fn what_was_passed_on_does_not_come_back() {
    let item = access("ada", "PAY");
    let mut campaign = campaign(vec![item.clone()]);
    decide(&mut campaign, &item, "boss", reassign("kim")).unwrap();
    assert_eq!(
        decide(&mut campaign, &item, "boss", approve()),
        Err(ReviewError::NotReviewer(person("boss")))
    );
    let back = decide(&mut campaign, &item, "kim", reassign("boss"));
    assert!(matches!(back, Err(ReviewError::NotIndependent { why: NotIndependent::Before, .. })));
    let mut last = "kim".to_owned();
    for n in 2..CHAIN_MAX {
        decide(&mut campaign, &item, &last, reassign(&format!("r{n}"))).unwrap();
        last = format!("r{n}");
    }
    assert_eq!(decide(&mut campaign, &item, &last, reassign("one more")), Err(ReviewError::PassedOnTooOften));
    assert_eq!(decide(&mut campaign, &item, &last, approve()), Ok(None));
}

#[test]
fn a_delegate_decides_and_passes_nothing_on() {
    let item = access("ada", "PAY");
    let mut campaign = campaign(vec![item.clone()]);
    decide(&mut campaign, &item, "boss", delegate("kim")).unwrap();
    assert_eq!(campaign.open_for(&person("kim")).count(), 1);
    let refused = decide(&mut campaign, &item, "kim", reassign("lee"));
    assert_eq!(refused, Err(ReviewError::NotReviewer(person("kim"))));
    assert!(decide(&mut campaign, &item, "kim", revoke()).unwrap().is_some());
    // Who delegated still answers for it.
    assert_eq!(campaign.item(&item.key()).unwrap().reviewer, Some(person("boss")));
    assert_eq!(decide(&mut campaign, &item, "boss", approve()), Err(ReviewError::Decided));
}

#[test]
fn reasons_are_needed() {
    let bare = Access { justification: None, ..access("ada", "PAY") };
    let mut campaign = campaign(vec![bare.clone()]);
    assert_eq!(decide(&mut campaign, &bare, "boss", approve()), Err(ReviewError::Reason));
    assert_eq!(
        decide(&mut campaign, &bare, "boss", Decision::Revoke { reason: " ".into() }),
        Err(ReviewError::Reason)
    );
    let long = Decision::Approve { reason: Some("x".repeat(REASON_BYTES_MAX + 1)) };
    assert_eq!(decide(&mut campaign, &bare, "boss", long), Err(ReviewError::Reason));
    let said = Decision::Approve { reason: Some("pays suppliers".into()) };
    assert_eq!(decide(&mut campaign, &bare, "boss", said), Ok(None));
}

#[test]
fn a_decision_is_about_what_was_shown() {
    let (one, other) = (access("ada", "PAY"), access("bob", "PAY"));
    let mut campaign = campaign(vec![one.clone(), other.clone()]);
    let shown = campaign.item(&one.key()).unwrap().snapshot;
    let changed = Access { valid_until: Some(utc("2030-01-01T00:00:00Z")), ..one.clone() };
    let Observed::PresentedAgain(record) = campaign.observe(changed, start()) else { panic!() };
    assert_eq!(record.step, "presented_again");
    let refused = campaign.decide(&one.key(), &person("boss"), &shown, approve(), start());
    assert_eq!(refused, Err(ReviewError::Changed { snapshot: record.snapshot }));
    assert_eq!(decide(&mut campaign, &one, "boss", approve()), Ok(None));
}

#[test]
fn what_changed_after_its_approval_is_presented_again() {
    let (one, other) = (access("ada", "PAY"), access("bob", "PAY"));
    let mut campaign = campaign(vec![one.clone(), other.clone()]);
    decide(&mut campaign, &one, "boss", approve()).unwrap();
    assert_eq!(campaign.sign(&person("boss"), start()), Err(ReviewError::Undecided(1)));
    let used = Access { last_use: Some(start()), ..one.clone() };
    assert_eq!(campaign.observe(used, start()), Observed::Same, "use goes on while people decide");
    // It was granted anew by its reviewer, who is no longer independent.
    let regranted = Access { granted_by: Some(person("boss")), granted_at: Some(start()), ..one.clone() };
    assert!(matches!(campaign.observe(regranted, start()), Observed::PresentedAgain(_)));
    let item = campaign.item(&one.key()).unwrap();
    assert_eq!((&item.state, item.presented), (&ItemState::Open, 2));
    assert_eq!(item.reviewer, Some(person("app owner")));
    assert_eq!(campaign.progress(start()).presented_again, 1);
    assert_eq!(campaign.observe(access("new", "PAY"), start()), Observed::NotReviewed);
}

#[test]
fn a_right_that_comes_back_after_its_revocation_is_presented_again() {
    let (one, other) = (access("ada", "PAY"), access("bob", "PAY"));
    let mut campaign = campaign(vec![one.clone(), other]);
    decide(&mut campaign, &one, "boss", revoke()).unwrap();
    let changed = Access { granted_at: Some(start()), ..one.clone() };
    assert_eq!(
        campaign.observe(changed, start()),
        Observed::Revoking,
        "a revocation is not called off by a change"
    );
    campaign.revoke_confirmed(&one.key(), start()).unwrap();
    assert!(matches!(campaign.observe(one, start()), Observed::PresentedAgain(_)));
}

#[test]
fn what_is_gone_is_closed() {
    let (open, revoking) = (access("ada", "PAY"), access("bob", "PAY"));
    let mut campaign = campaign(vec![open.clone(), revoking.clone()]);
    decide(&mut campaign, &revoking, "boss", revoke()).unwrap();
    assert_eq!(campaign.observe_gone(&revoking.key(), start()).unwrap().step, "revoked");
    assert_eq!(campaign.observe_gone(&open.key(), start()).unwrap().step, "gone");
    assert_eq!(campaign.phase(), Phase::Complete);
    assert_eq!(campaign.observe_gone(&open.key(), start()), Err(ReviewError::Decided));
}

#[test]
fn reminds_escalates_and_revokes_what_nobody_decides() {
    let settings = Settings {
        remind_days: BTreeSet::from([7, 1]),
        escalations: vec![
            Escalation { after_days: 0, to: person("director") },
            Escalation { after_days: 3, to: person("ada") },
            Escalation { after_days: 5, to: person("ciso") },
        ],
        undecided: Undecided::Revoked { after_days: 10 },
        ..settings()
    };
    let item = access("ada", "PAY");
    let mut campaign = with(settings, vec![item.clone()]);
    let day = |days: i64| due() + Duration::days(days);
    let mut tick = |days: i64| campaign.tick(day(days));
    assert_eq!(tick(-8), []);
    let reminder = Notice::Reminder { reviewer: person("boss"), open: 1, due_at: due() };
    assert_eq!(tick(-7), std::slice::from_ref(&reminder));
    assert_eq!(tick(-6), []);
    assert_eq!(tick(-1), [reminder]);
    let escalated = tick(0);
    assert!(
        matches!(escalated.as_slice(), [Notice::Escalated(record)] if record.to == Some(person("director")))
    );
    assert_eq!(tick(1), []);
    let refused = Notice::NotEscalated { item: item.key(), to: person("ada"), why: NotIndependent::Own };
    assert_eq!(tick(3), [refused]);
    assert!(matches!(tick(5).as_slice(), [Notice::Escalated(record)] if record.to == Some(person("ciso"))));
    let revoked = tick(10);
    assert!(
        matches!(revoked.as_slice(), [Notice::Revoked(intent)] if intent.decided_by.is_none()),
        "{revoked:?}"
    );
    assert_eq!(tick(11), []);
    assert_eq!(campaign.phase(), Phase::Remediation);
    assert!(campaign.progress(day(11)).overdue);
}

#[test]
fn what_nobody_was_asked_about_is_not_revoked() {
    let day = |days: i64| due() + Duration::days(days);
    // Nobody can review it but its owner's own self.
    let nobodys = Access { manager: None, owner: None, ..access("ada", "PAY") };
    let asked = access("bob", "PAY");
    let settings = Settings {
        escalations: vec![Escalation { after_days: 9, to: person("director") }],
        undecided: Undecided::Revoked { after_days: 5 },
        ..settings()
    };
    let mut campaign = with(settings.clone(), vec![nobodys.clone(), asked.clone()]);
    let revoked = |notices: &[Notice]| -> Vec<ItemKey> {
        let revoked = notices.iter().filter_map(|notice| match notice {
            Notice::Revoked(intent) => Some(intent.item.clone()),
            _ => None,
        });
        revoked.collect()
    };
    let all = campaign.tick(day(5));
    assert_eq!(revoked(&all), [asked.key()]);
    assert_eq!(campaign.tick(day(8)), []);
    // Whoever is asked so late has as long as the others had after it was due.
    assert!(matches!(campaign.tick(day(9)).as_slice(), [Notice::Escalated(_)]));
    assert_eq!(campaign.tick(day(13)), []);
    assert_eq!(revoked(&campaign.tick(day(14))), [nobodys.key()]);

    // The same where somebody is named late; and never at once, after a pause either.
    let at_once = Settings { undecided: Undecided::Revoked { after_days: 0 }, ..settings };
    let mut campaign = with(at_once, vec![nobodys.clone()]);
    assert!(matches!(campaign.tick(day(30)).as_slice(), [Notice::Escalated(_)]));
    assert_eq!(campaign.tick(day(30)), []);
    campaign.assign(&nobodys.key(), &person("eve"), &person("ciso"), "knows it", day(30)).unwrap();
    assert_eq!(revoked(&campaign.tick(day(31))), [nobodys.key()]);
}

#[test]
fn too_much_that_nobody_decided_on_is_held_until_it_is_approved() {
    let day = |days: i64| due() + Duration::days(days);
    let all: Vec<Access> = (0..50).map(|n| access(&format!("p{n}"), "PAY")).collect();
    let guard = RevokeGuard { revokes_max: 100, percent_max: 50, always_allowed: 3 };
    let settings = Settings { undecided: Undecided::Revoked { after_days: 5 }, guard, ..settings() };
    let mut campaign = with(settings, all.clone());
    for decided in &all[..20] {
        decide(&mut campaign, decided, "boss", approve()).unwrap();
    }
    assert_eq!(campaign.tick(day(5)), [Notice::RevokesHeld { revokes: 30, items: 50 }]);
    assert_eq!(campaign.tick(day(6)), []);
    let progress = campaign.progress(day(6));
    assert_eq!((progress.revokes_held, progress.revokes_waiting, progress.has_errors), (30, 0, true));
    // A restart holds them still, and they can be decided on.
    let mut campaign: Campaign = serde_json::from_str(&serde_json::to_string(&campaign).unwrap()).unwrap();
    decide(&mut campaign, &all[20], "boss", approve()).unwrap();
    let boss = person("boss");
    assert_eq!(campaign.approve_revokes(&boss, 30, "fine"), Err(ReviewError::NotOwner(boss)));
    assert_eq!(campaign.tick(day(6)), [Notice::RevokesHeld { revokes: 29, items: 50 }]);
    let ciso = person("ciso");
    assert_eq!(campaign.approve_revokes(&ciso, 30, "fine"), Err(ReviewError::HeldOthers(29)));
    assert_eq!(campaign.approve_revokes(&ciso, 29, " "), Err(ReviewError::Reason));
    campaign.approve_revokes(&ciso, 29, "they were told").unwrap();
    assert_eq!(campaign.tick(day(6)).len(), 29);
    assert_eq!((campaign.phase(), campaign.progress(day(6)).revokes_held), (Phase::Remediation, 0));
    assert_eq!(campaign.approve_revokes(&ciso, 29, "again"), Err(ReviewError::NotHeld));
    // Those that go on one after the other count together.
    let guard = RevokeGuard { revokes_max: 3, percent_max: 100, always_allowed: 0 };
    let settings = Settings { guard, ..campaign.settings().clone() };
    let nobodys: Vec<Access> =
        ["x", "y"].map(|of| Access { manager: None, owner: None, ..access(of, "PAY") }).to_vec();
    let mut campaign = with(settings, [&all[..2], &nobodys].concat());
    assert_eq!(campaign.tick(day(5)).len(), 2);
    for late in &nobodys {
        campaign.assign(&late.key(), &person("eve"), &ciso, "late", day(5)).unwrap();
    }
    assert_eq!(campaign.tick(day(10)), [Notice::RevokesHeld { revokes: 4, items: 4 }]);
}

#[test]
fn two_accounts_of_one_person_are_decided_on_each_by_itself() {
    let account = |name: &str| AccountId::new(name).unwrap();
    let first = Access { account: Some(account("ada")), ..access("ada", "PAY") };
    let second = Access { account: Some(account("ada-admin")), ..access("ada", "PAY") };
    assert_ne!(first.snapshot(), second.snapshot());
    let mut campaign = campaign(vec![first.clone(), second.clone()]);
    decide(&mut campaign, &first, "boss", approve()).unwrap();
    let shown = campaign.item(&first.key()).unwrap().snapshot;
    let by_the_other = campaign.decide(&second.key(), &person("boss"), &shown, revoke(), start());
    assert!(matches!(by_the_other, Err(ReviewError::Changed { .. })));
    let intent = decide(&mut campaign, &second, "boss", revoke()).unwrap().unwrap();
    assert_eq!(intent.item.account, Some(account("ada-admin")));
    campaign.observe_gone(&second.key(), start()).unwrap();
    assert_eq!(campaign.phase(), Phase::Complete);
    let sheet = export::csv(&campaign);
    assert!(sheet.contains("\"ada-admin\""), "{sheet}");
}

#[test]
fn counts_by_campaign_and_by_reviewer() {
    let all = vec![
        access("ada", "PAY"),
        access("ada", "VIEW"),
        Access { manager: Some(person("kim")), ..access("bob", "PAY") },
    ];
    let mut campaign = campaign(all.clone());
    decide(&mut campaign, &all[0], "boss", approve()).unwrap();
    decide(&mut campaign, &all[1], "boss", revoke()).unwrap();
    decide(&mut campaign, &all[2], "kim", reassign("boss")).unwrap();
    let progress = campaign.progress(start());
    assert_eq!((progress.decisions_made, progress.decisions_total), (2, 3));
    assert_eq!(
        (progress.entities_completed, progress.entities_total),
        (0, 2),
        "a revocation is not confirmed"
    );
    assert_eq!((progress.revokes_waiting, progress.reassigned), (1, 1));
    campaign.revoke_confirmed(&all[1].key(), start()).unwrap();
    let progress = campaign.progress(start());
    assert_eq!((progress.entities_completed, progress.revokes_confirmed), (1, 1));
    assert_eq!(progress.certifications.len(), 1);
    let boss = &progress.certifications[0];
    assert_eq!(
        (boss.decisions_made, boss.decisions_total, boss.reassigned, boss.completed),
        (2, 3, 1, false)
    );
    decide(&mut campaign, &all[2], "boss", approve()).unwrap();
    campaign.sign(&person("boss"), start()).unwrap();
    assert_eq!(campaign.progress(start()).certifications[0].signed_at, Some(start()));
}

#[test]
fn a_cancelled_campaign_goes_on_revoking() {
    let (one, other) = (access("ada", "PAY"), access("bob", "PAY"));
    let mut campaign = campaign(vec![one.clone(), other.clone()]);
    decide(&mut campaign, &one, "boss", revoke()).unwrap();
    assert_eq!(campaign.cancel(&person("boss"), "why not"), Err(ReviewError::NotOwner(person("boss"))));
    campaign.cancel(&person("ciso"), "wrong scope").unwrap();
    assert_eq!(decide(&mut campaign, &other, "boss", approve()), Err(ReviewError::Over));
    assert_eq!(campaign.revokes().len(), 1);
    campaign.revoke_confirmed(&one.key(), start()).unwrap();
    assert_eq!(campaign.phase(), Phase::Cancelled);
}

#[test]
fn the_hash_is_that_of_the_canonical_form() {
    let snapshot = campaign(vec![access("ada", "PAY")]).item(&access("ada", "PAY").key()).unwrap().snapshot;
    // From the form that the documentation gives, by Python's hashlib.
    assert_eq!(snapshot.to_string(), "48552f4ea8fbd013e405ca2e09abcd079bd09986e8bb2e6b95d43ff4bc80edd3");
    assert_eq!(snapshot.to_string().parse(), Ok(snapshot));
    // Nothing flows from one field into the next.
    let hash = |justification: Option<&str>, by: Option<&str>| {
        let access = Access {
            justification: justification.map(str::to_owned),
            granted_by: by.map(person),
            ..access("ada", "PAY")
        };
        access.snapshot()
    };
    let all = [
        hash(None, None),
        hash(Some(""), None),
        hash(Some("ab"), Some("c")),
        hash(Some("a"), Some("bc")),
        hash(None, Some("a")),
        hash(Some("a"), None),
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}

#[test]
fn refuses_nothing_and_the_same_twice() {
    let start_of = |access| Campaign::start(CampaignId::new("c").unwrap(), settings(), access, start()).err();
    assert_eq!(start_of(vec![]), Some(ReviewError::Empty));
    let one = access("ada", "PAY");
    assert_eq!(start_of(vec![one.clone(), one.clone()]), Some(ReviewError::Twice(one.key())));
}

#[test]
fn campaigns_recur() {
    let quarterly = Recurrence { first: utc("2026-01-31T00:00:00Z"), every_months: 3, days: 30 };
    let first = quarterly.due(None, utc("2026-02-01T00:00:00Z")).unwrap();
    assert_eq!(first, (utc("2026-01-31T00:00:00Z"), utc("2026-03-02T00:00:00Z")));
    assert_eq!(quarterly.due(Some(first.0), utc("2026-04-29T00:00:00Z")), None);
    assert_eq!(quarterly.next_after(first.0), Some(utc("2026-04-30T00:00:00Z")));
    assert_eq!(quarterly.next_after(utc("2026-05-01T00:00:00Z")), Some(utc("2026-07-31T00:00:00Z")));
    // After a year out of use one begins, not four.
    let late = quarterly.due(Some(first.0), utc("2027-02-01T00:00:00Z")).unwrap();
    assert_eq!(late.0, utc("2027-01-31T00:00:00Z"));
    assert_eq!(quarterly.due(Some(late.0), utc("2027-02-01T00:00:00Z")), None);
}
