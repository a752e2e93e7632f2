use chrono::TimeDelta;
use connector_health::alert::{
    Alert, AlertBook, AlertRules, AlertState, Backlog, Occasion, Priority, Remedy, ReplayTotals,
};
use connector_health::monitor::{FailureClass, Observation};
use connector_health::{Tier, monitor::Dimension};
use proptest::prelude::*;

use super::{Watched, an_alert, connector};

#[test]
fn a_single_transient_failure_alerts_nobody() {
    let mut watched = Watched::healthy();
    watched.bench.bad();
    assert_eq!(watched.update(), []);
    watched.bench.good();
    assert_eq!(watched.update(), []);
}

#[test]
fn one_alert_for_each_change_of_tier_and_one_when_it_is_over() {
    let mut watched = Watched::healthy();
    let mut said = Vec::new();
    for _ in 0..60 {
        watched.bench.pass(30).bad();
        said.extend(watched.update());
    }
    watched.queue.replayed = ReplayTotals { delivered: 40, superseded: 3, failed: 1 };
    said.extend(watched.heal());
    let short: Vec<_> = said.iter().map(|alert| (alert.occasion, alert.tier, alert.state)).collect();
    assert_eq!(
        short,
        [
            (Occasion::Opened, Tier::Degraded, AlertState::Open),
            (Occasion::TierChanged, Tier::Failed, AlertState::Open),
            (Occasion::Resolved, Tier::Failed, AlertState::Resolved),
        ]
    );
    assert!(said.iter().all(|alert| alert.alert_id == said[0].alert_id));
    assert!(said.is_sorted_by(|one, next| one.sequence < next.sequence));
    let resolution = said[2].resolution.unwrap();
    assert_eq!(resolution.duration_s, 59 * 30 + 30 + 300);
    assert_eq!(resolution.replay, ReplayTotals { delivered: 40, superseded: 3, failed: 1 });
    assert_eq!(watched.book.open().count(), 0);
}

#[test]
fn says_everything_that_is_needed_to_act() {
    let mut watched = Watched::healthy();
    let worked_at = watched.bench.now;
    watched.bench.pass(60).see(Observation::authentication_failed("401 for ann@example.com"));
    let failed_at = watched.bench.now;
    watched.queue = Backlog {
        provisioning_queued: 7,
        provisioning_failed: 2,
        deprovisioning_queued: 3,
        deprovisioning_failed: 1,
        oldest_deprovision_at: Some(watched.bench.now - TimeDelta::seconds(90)),
        ..Backlog::default()
    };
    let alert = watched.update().pop().unwrap();
    assert_eq!(alert.remedy, Remedy::RotateCredential);
    let json = serde_json::to_value(&alert).unwrap();
    let expected = serde_json::json!({
        "connector": "crm", "target_id": "crm", "dimension": "authentication", "failure_type": "credential_refused",
        "reason": "credential_refused", "event_type": "connector.degraded", "outcome": "failure",
        "tier": "degraded", "state": "open", "priority": "high", "remedy": "rotate_credential", "occasion": "opened",
        "alert_id": "crm/authentication/credential_refused", "sample": "401 for …", "provisioning_queued": 7, "provisioning_failed": 2,
        "deprovisioning_queued": 3, "deprovisioning_failed": 1, "oldest_deprovision_age_s": 90,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&json[name], value, "{name}");
    }
    let at = |name: &str| json[name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!(
        (at("first_failure_at"), at("last_success_at"), at("timestamp")),
        (failed_at, worked_at, failed_at)
    );
    assert_eq!(json["timestamp"].as_str().unwrap().len(), "2026-01-31T09:15:27.042Z".len());
    assert_eq!(
        alert.to_string(),
        "crm is degraded: authentication credential_refused for 0 s; put a new credential in; \
         3 deprovisionings wait, the oldest for 1 min 30 s"
    );
    assert_eq!(serde_json::from_value::<Alert>(json).unwrap(), alert);
}

#[test]
fn priority_rises_while_an_offboarding_waits() {
    let mut watched = Watched::healthy();
    watched.bench.see(Observation::authentication_failed("401"));
    assert_eq!(watched.update()[0].priority, Priority::Normal);

    watched.queue.deprovisioning_queued = 1;
    watched.queue.oldest_deprovision_at = Some(watched.bench.now);
    let raised = watched.update();
    assert_eq!((raised[0].priority, raised[0].occasion), (Priority::High, Occasion::PriorityRaised));
    assert_eq!(watched.update(), []);

    watched.bench.pass(301).tick();
    assert_eq!(watched.update()[0].priority, Priority::Urgent);
    // It falls without a word: nobody need be told in the night that it is less urgent.
    watched.queue = Backlog::default();
    assert_eq!(watched.update(), []);
}

#[test]
fn is_said_again_by_rule() {
    let mut watched = Watched::healthy();
    let mut said = Vec::new();
    for _ in 0..24 * 60 {
        watched.bench.pass(60).bad();
        said.extend(watched.update());
    }
    let reminders = said.iter().filter(|alert| alert.occasion == Occasion::Reminder).count();
    assert_eq!((said.len(), reminders), (7, 5));
}

#[test]
fn another_class_is_another_alert_and_the_first_is_over() {
    let mut watched = Watched::healthy();
    watched.bench.bad();
    watched.bench.bad();
    let first = watched.update().pop().unwrap();
    for _ in 0..2 {
        watched.bench.see(Observation::probe_failed(FailureClass::Tls, "certificate expired"));
    }
    let said = watched.update();
    assert_eq!(said.len(), 2);
    assert_eq!((&said[0].alert_id, said[0].state), (&first.alert_id, AlertState::Resolved));
    assert_eq!(said[0].resolution.unwrap().superseded_by, Some(FailureClass::Tls));
    assert_eq!((said[1].failure_type, said[1].first_failure_at), (FailureClass::Tls, first.first_failure_at));
    assert_eq!(watched.book.open().count(), 1);
}

#[test]
fn the_end_of_a_credential_is_a_notice_and_then_an_alert() {
    let mut watched = Watched::healthy();
    let ends = watched.bench.now + TimeDelta::days(10);
    watched.bench.see(Observation::credential_ends(Some(ends)));
    let mut said = watched.update();
    while watched.bench.now < ends {
        watched.bench.pass(600).good();
        said.extend(watched.update());
    }
    let short: Vec<_> =
        said.iter().map(|alert| (alert.failure_type, alert.occasion, alert.priority)).collect();
    assert_eq!(
        short,
        [
            (FailureClass::CredentialExpiring, Occasion::Opened, Priority::Notice),
            (FailureClass::CredentialExpiring, Occasion::Reminder, Priority::Notice),
            (FailureClass::CredentialExpiring, Occasion::Reminder, Priority::Notice),
            (FailureClass::CredentialExpiring, Occasion::Resolved, Priority::Notice),
            (FailureClass::CredentialExpired, Occasion::Opened, Priority::Normal),
        ]
    );
    assert_eq!(said[0].to_string(), "crm: the credential ends in 10 d; put a new credential in");
    assert_eq!(said[3].resolution.unwrap().superseded_by, Some(FailureClass::CredentialExpired));
}

#[test]
fn a_restart_says_nothing_twice_and_resolves_what_it_opened() {
    let mut watched = Watched::healthy();
    watched.bench.see(Observation::authentication_failed("401"));
    let opened = watched.update().pop().unwrap();
    let kept = serde_json::to_string(watched.book.state()).unwrap();
    let state = serde_json::from_str(&kept).unwrap();
    watched.book = AlertBook::restore(connector(), AlertRules::default(), state);
    assert_eq!(watched.update(), []);
    let resolved = watched.heal().pop().unwrap();
    assert_eq!((resolved.alert_id, resolved.state), (opened.alert_id, AlertState::Resolved));
}

#[test]
fn a_book_that_was_lost_does_not_number_its_messages_as_before() {
    let mut watched = Watched::healthy();
    watched.bench.see(Observation::authentication_failed("401"));
    let opened = watched.update().pop().unwrap();
    watched.book = AlertBook::new(connector(), AlertRules::default());
    watched.bench.pass(1);
    let again = watched.update().pop().unwrap();
    assert_eq!(again.alert_id, opened.alert_id);
    assert!(again.sequence > opened.sequence);
}

#[test]
fn a_message_has_the_same_id_wherever_it_is_sent_and_each_another() {
    let (one, same) = (an_alert(), an_alert());
    assert_eq!(one.event_id(), same.event_id());
    assert_eq!(one.event_id().get_version_num(), 7);
    let mut next = one.clone();
    next.sequence += 1;
    assert_ne!(one.event_id(), next.event_id());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_open_is_what_is_wrong(acts in prop::collection::vec((0_i64..400, 0_u8..8), 1..150)) {
        let mut watched = Watched::healthy();
        let mut open = std::collections::BTreeMap::new();
        for (seconds, what) in acts {
            watched.bench.pass(seconds);
            match what {
                0..4 => watched.bench.good(),
                4 => watched.bench.bad(),
                5 => watched.bench.see(Observation::authentication_failed("401")),
                6 => watched.bench.see(Observation::probe_failed(FailureClass::SchemaMismatch, "400")),
                _ => watched.bench.tick(),
            };
            for alert in watched.update() {
                let identity = (alert.connector.clone(), alert.dimension, alert.failure_type);
                match alert.state {
                    // At most one open alert of each identity, and its messages in order.
                    AlertState::Open => match open.insert(identity, (alert.alert_id.clone(), alert.sequence)) {
                        None => prop_assert_eq!(alert.occasion, Occasion::Opened),
                        Some((id, sequence)) => {
                            prop_assert_eq!(&id, &alert.alert_id);
                            prop_assert!(sequence < alert.sequence);
                        }
                    },
                    AlertState::Resolved => {
                        let (id, sequence) = open.remove(&identity).unwrap();
                        prop_assert_eq!(id, alert.alert_id);
                        prop_assert!(sequence < alert.sequence);
                    }
                }
            }
            let wrong: Vec<(Dimension, FailureClass)> = watched
                .bench.monitor.dimensions()
                .filter(|status| status.tier.is_bad())
                .map(|status| (status.dimension, status.class.unwrap()))
                .collect();
            let said: Vec<(Dimension, FailureClass)> = open.keys().map(|(_, dimension, class)| (*dimension, *class)).collect();
            prop_assert_eq!(said, wrong);
        }
    }
}
