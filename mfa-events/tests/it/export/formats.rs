//! What an event becomes in each format.

use mfa_events::event::RiskLevel;
use mfa_events::export::{Format, Frame, OCSF_VERSION, Syslog, ecs, ocsf};
use serde_json::{Value, json};

use super::{acme, golden, read, record, samples};

#[test]
fn reads_as_the_golden_files_show() {
    for (name, format) in [("ocsf.json", Format::Ocsf), ("ecs.json", Format::Ecs)] {
        let values: Vec<Value> = samples()
            .iter()
            .map(|record| serde_json::from_str(&format.line(&acme(), record)).unwrap())
            .collect();
        golden(&format!("export/{name}"), &format!("{}\n", serde_json::to_string_pretty(&values).unwrap()));
    }
    let lines = |line: &dyn Fn(&mfa_events::store::Record) -> String| {
        samples().iter().map(|record| line(record) + "\n").collect::<String>()
    };
    golden("export/events.cef", &lines(&|record| Format::Cef.line(&acme(), record)));
    let syslog = Syslog::default().host_name("gateway-1.example.com").unwrap();
    golden("export/events.syslog", &lines(&|record| syslog.message(&acme(), record).unwrap()));
}

#[test]
fn ocsf_numbers_are_those_of_its_classes() {
    let expected = [
        (300_201, 2, Some(7)),
        (300_201, 2, Some(5)),
        (300_109, 1, None),
        (300_199, 1, None),
        (300_104, 2, None),
        (300_201, 1, Some(10)),
        (300_201, 2, Some(6)),
        (300_199, 2, None),
    ];
    for (record, (type_uid, status_id, factor)) in samples().iter().zip(expected) {
        let event = ocsf(&acme(), record);
        assert_eq!(event["type_uid"], type_uid, "{event:#}");
        assert_eq!(event["status_id"], status_id, "{event:#}");
        assert_eq!(event["auth_factors"][0]["factor_type_id"].as_u64(), factor, "{event:#}");
        assert_eq!(event["metadata"]["version"], OCSF_VERSION);
        // Required by the class, and one of service and destination.
        assert!(event["user"]["uid"].is_string());
        assert_eq!(event["service"].is_object(), event["class_uid"] == 3002);
    }
    assert_eq!(ocsf(&acme(), &samples()[0])["auth_factors"][0]["is_totp"], true);
}

#[test]
fn a_recovery_that_changes_a_factor_says_so_in_ocsf() {
    for (method, activity) in
        [("password_reset", 4), ("factor_enrollment", 10), ("factor_reset", 11), ("help_desk", 99)]
    {
        let event = read(&json!({
            "event_type": "recovery.attempted", "timestamp": "2026-01-31T09:15:27.042Z", "actor_id": "alice",
            "outcome": "failure", "recovery_method": method,
        }));
        assert_eq!(ocsf(&acme(), &record(1, event))["activity_id"], activity, "{method}");
    }
}

#[test]
fn the_level_of_a_risk_raises_a_severity_and_never_lowers_it() {
    let severity = |event_type: &str, level: &str| {
        let event = read(&json!({
            "event_type": event_type, "timestamp": "2026-01-31T09:15:27.042Z", "actor_id": "alice",
            "outcome": if event_type == "login.success" { "success" } else { "blocked" }, "risk_context": { "level": level },
        }));
        assert!(event.risk_context().unwrap().level >= Some(RiskLevel::Low));
        ocsf(&acme(), &record(1, event))["severity_id"].as_u64().unwrap()
    };
    assert_eq!(
        ["low", "medium", "high", "critical"].map(|level| severity("login.success", level)),
        [1, 3, 4, 5]
    );
    assert_eq!(
        ["low", "medium", "high", "critical"].map(|level| severity("account.locked", level)),
        [3, 3, 4, 5]
    );
}

#[test]
fn what_is_not_known_is_absent() {
    fn nothing(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Object(object) => object.is_empty() || object.values().any(nothing),
            Value::Array(values) => values.is_empty() || values.iter().any(nothing),
            _ => false,
        }
    }
    for record in samples() {
        for value in [ocsf(&acme(), &record), ecs(&acme(), &record)] {
            assert!(!nothing(&value), "{value:#}");
        }
    }
}

#[test]
fn nothing_of_an_event_is_lost_in_ocsf_and_ecs() {
    fn texts(value: &Value, all: &mut Vec<String>) {
        match value {
            Value::Object(object) => object.values().for_each(|value| texts(value, all)),
            Value::Array(values) => values.iter().for_each(|value| texts(value, all)),
            other => all.push(other.to_string()),
        }
    }
    for record in samples() {
        let mut own = Vec::new();
        let mut event = serde_json::to_value(&*record.event).unwrap();
        // Told by other words there: the type's name, the form of times, the version.
        for name in ["event_type", "timestamp", "schema_version"] {
            event.as_object_mut().unwrap().remove(name);
        }
        texts(&event, &mut own);
        for value in [ocsf(&acme(), &record), ecs(&acme(), &record)] {
            let mut there = Vec::new();
            texts(&value, &mut there);
            for text in &own {
                assert!(there.contains(text), "{text} is not in {value:#}");
            }
        }
    }
}

#[test]
fn a_message_that_is_too_long_loses_what_a_sender_added_and_says_so() {
    let records = samples();
    let whole = Syslog::default().message(&acme(), &records[0]).unwrap();
    assert!(whole.contains("\"ext\":{") && !whole.contains("is_shortened"));
    let shorter = Syslog::default().bytes_max(whole.len() - 1).message(&acme(), &records[0]).unwrap();
    assert!(
        !shorter.contains("\"ext\"")
            && shorter.contains("is_shortened=\"true\"")
            && shorter.contains("\"message\"")
    );
    let shortest = Syslog::default().bytes_max(shorter.len() - 1).message(&acme(), &records[0]).unwrap();
    assert!(!shortest.contains("\"message\"") && !shortest.contains("Berlin"));
    assert!(shortest.contains("\"country\":\"DE\""));
    assert_eq!(Syslog::default().bytes_max(shortest.len() - 1).message(&acme(), &records[0]), None);
}

#[test]
fn a_datagram_is_what_every_receiver_takes() {
    let mut event = crate::event::failure();
    event.insert("message".to_owned(), "m".repeat(512).into());
    event.insert("ext".to_owned(), json!({ "more": "x".repeat(3_000) }));
    let record = record(1, read(&event.into()));
    assert!(Syslog::default().message(&acme(), &record).unwrap().len() > 3_000);
    let datagram = Syslog::default().datagram(&acme(), &record).unwrap();
    assert!(
        datagram.len() <= mfa_events::export::SYSLOG_DATAGRAM_BYTES_MAX && datagram.contains("is_shortened")
    );
}

#[test]
fn frames_tell_messages_apart() {
    assert_eq!(Frame::OctetCounted.around("<86>1 é"), "8 <86>1 é".as_bytes());
    assert_eq!(Frame::LineFeed.around("<86>1 x"), b"<86>1 x\n");
}

#[test]
fn refuses_names_that_a_header_has_no_room_for() {
    for name in ["", "a b", "é", "a\nb", &"x".repeat(256)] {
        assert!(Syslog::default().host_name(name).is_err(), "{name}");
    }
    for name in ["a]b", "a=b", "a\"b", &"x".repeat(33)] {
        assert!(Syslog::default().element(name).is_err(), "{name}");
    }
    assert!(Syslog::default().app_name(&"x".repeat(49)).is_err());
    assert_eq!(
        Syslog::default().app_name("a b").unwrap_err().to_string(),
        "a name of an application of syslog is 1 to 48 visible ASCII characters"
    );
}

/// Ten people fail from one address, then nobody does.
pub(crate) fn alerts() -> Vec<mfa_events::Alert> {
    use mfa_events::{Detector, LoginFailure, Rules};

    let rules = Rules::published().only(|rule| rule.id.as_str() == "credential-stuffing");
    let mut detector = Detector::new(rules);
    let records: Vec<_> = (1..=20)
        .map(|number| {
            let at = crate::event::at() + chrono::TimeDelta::seconds(i64::try_from(number).unwrap());
            let failure =
                LoginFailure::new(&format!("person-{number:02}")).at(at).from("203.0.113.7".parse().unwrap());
            let failure = failure.id(uuid::Uuid::from_u128(u128::from(number)));
            record(number, failure.try_into().unwrap())
        })
        .collect();
    let mut alerts = Vec::new();
    detector.observe(&acme(), &records, &mut alerts);
    let last = records.last().unwrap().ingested_at.as_datetime();
    detector.tick(&acme(), last + chrono::TimeDelta::hours(2), &mut alerts);
    alerts
}

#[test]
fn an_alert_is_a_finding_that_is_created_updated_and_closed() {
    let alerts = alerts();
    let findings: Vec<Value> = alerts.iter().map(mfa_events::export::ocsf_alert).collect();
    let turns: Vec<_> = findings.iter().map(|finding| finding["type_uid"].as_u64().unwrap()).collect();
    assert_eq!(turns, [200_401, 200_402, 200_403]);
    assert!(
        findings.iter().all(|finding| finding["finding_info"]["uid"] == findings[0]["finding_info"]["uid"])
    );
    golden("export/ocsf-alert.json", &format!("{}\n", serde_json::to_string_pretty(&findings).unwrap()));
    let alerts_in_ecs: Vec<Value> = alerts.iter().map(mfa_events::export::ecs_alert).collect();
    assert!(alerts_in_ecs.iter().all(|alert| alert["event"]["kind"] == "alert"));
    golden("export/ecs-alert.json", &format!("{}\n", serde_json::to_string_pretty(&alerts_in_ecs).unwrap()));
    // Each turn is a notice of its own, the same one however often the log is read.
    let ids = |alerts: &[mfa_events::Alert]| -> Vec<String> {
        alerts.iter().map(|alert| mfa_events::respond::Notice::of(alert).unwrap().id().to_owned()).collect()
    };
    let once = ids(&alerts);
    assert_eq!(once, ids(&self::alerts()));
    assert!(once[0] != once[1] && once[1] != once[2] && once[0] != once[2]);
}
