//! The demo, and what it accepts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stage::{Api, Started, assert_each_once, audited, event, id, until};

#[test]
fn the_line_has_what_a_program_needs_and_events_go_in_and_come_out() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Started::demo(&dir.path().join("demo"), &["--quiet"]);
    let names: BTreeSet<&str> = demo.line.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["api", "api_key", "ingest_url", "stream_url", "alerts_url", "metrics_url", "page", "data_dir"];
    assert_eq!(names, expected.into());
    let api = demo.api();
    for name in ["ingest_url", "stream_url", "alerts_url", "metrics_url", "page"] {
        assert!(demo.text(name).starts_with(demo.text("api")), "{name}");
    }
    assert!(api.ids().is_empty(), "nothing is simulated");
    let one = event("alice").to_string();
    let array = json!([event("bob"), event("carol")]).to_string();
    let lines = format!("{}\n\n{}\n", event("dave"), event("erin"));
    for (body, count) in [(one, 1), (array, 2), (lines, 2)] {
        let (status, report) = api.post(&body);
        assert_eq!((status, &report["accepted"]), (200, &json!(count)), "{report}");
    }
    let page = api.get("/v1/stream?offset=-1");
    assert_eq!(page.value("stream-up-to-date"), Some("true"));
    assert!(page.value("stream-next-offset").is_some_and(|offset| !offset.is_empty()));
    let actors: Vec<String> = String::from_utf8(page.body)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["actor_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actors, ["alice", "bob", "carol", "dave", "erin"]);
    let metrics = api.json("/v1/metrics");
    assert_eq!(metrics["total"]["all"]["mfa_failures"], 5);
    assert_eq!(metrics["total"]["by_country"]["DE"]["mfa_failures"], 5);
    assert_eq!(api.json("/v1/alerts"), json!({"alerts": []}));
    assert_eq!(Api { key: "ev_nobody0123456789".to_owned(), ..api.clone() }.get("/v1/stream").status, 401);
    assert_eq!(demo.end().code(), Some(0));
}

#[test]
fn what_streams_begins_now_and_comes_as_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Started::demo(&dir.path().join("demo"), &["--quiet"]);
    let api = demo.api();
    api.post(&event("before").to_string());
    let request = api.request("GET", "/v1/stream").header("accept", "text/event-stream");
    let mut lines = api.lines(&request);
    // The first that is told is where it begins.
    assert!(lines.any(|line| line.starts_with("data:") && line.contains("streamNextOffset")));
    api.post(&event("after").to_string());
    let data = lines.find(|line| line.starts_with("data: {\"schema_version\"")).unwrap();
    let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["actor_id"], "after");
}

#[test]
fn every_event_stands_in_the_audit_log_under_its_id_once() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("demo");
    let demo = Started::demo(&data_dir, &["--quiet"]);
    let api = demo.api();
    let known = "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60";
    let mut with_id = event("alice");
    with_id["event_id"] = known.into();
    for _ in 0..2 {
        assert_eq!(api.post(&with_id.to_string()).0, 200);
    }
    let mut other = with_id.clone();
    other["actor_id"] = "mallory".into();
    assert_eq!(api.post(&other.to_string()).0, 422, "another event with a known id is refused");
    api.post(&format!("{}\n{{\"broken\n{}\n", event("bob"), event("carol")));
    let streamed = api.ids();
    assert_eq!(streamed.len(), 3);
    // Killed at once: what was answered is there.
    demo.process.kill().unwrap();
    assert_eq!(audited(&data_dir), streamed);
    let again = Started::demo(&data_dir, &["--quiet"]);
    let api = again.api();
    api.post(&event("dave").to_string());
    let streamed = api.ids();
    assert_eq!(again.end().code(), Some(0));
    assert_eq!(audited(&data_dir), streamed);
    assert_each_once(&streamed);
    assert!(streamed.contains(&known.to_owned()));
}

#[test]
fn the_day_has_three_attacks_in_it_and_is_simulated_once() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("demo");
    let demo = Started::demo(&data_dir, &[]);
    let metrics = demo.api().json("/v1/metrics");
    let (logins, nowhere) = (&metrics["logins"], &metrics["total"]["by_country"]["ZZ"]);
    assert!(logins.as_u64().unwrap() > 2_000, "{logins}");
    assert_eq!((&nowhere["failures"], &nowhere["mfa_failures"]), (&json!(70), &json!(16)));
    assert_eq!(nowhere["recoveries"], 60);
    assert!(metrics["before"]["successes"].as_u64().unwrap() > 2_000, "the day before is there, too");
    let alerts = demo.api().json("/v1/alerts");
    let alert = |rule: &str| {
        alerts["alerts"].as_array().unwrap().iter().find(|alert| alert["rule"] == rule).cloned().unwrap()
    };
    let stuffing = alert("credential-stuffing");
    assert_eq!((&stuffing["group"]["value"], &stuffing["actors"]), (&json!("203.0.113.7"), &json!(70)));
    assert_eq!(alert("mfa-fatigue")["actor_ids"], json!(["person-0042"]));
    assert_eq!(alert("recovery-volume")["group"]["by"], "tenant");
    let (person, decided) = until("what would be done", || {
        let alerts = demo.api().json("/v1/alerts");
        let fatigue = alerts["alerts"].as_array()?.iter().find(|alert| alert["rule"] == "mfa-fatigue")?;
        let playbook = &fatigue["playbook"];
        let decision = playbook["decisions"].get(0).filter(|decision| decision["act"] == "lock")?;
        Some((decision["actor_id"].clone(), (playbook["mode"].clone(), decision["why"].clone())))
    });
    assert_eq!((person, decided), (json!("person-0042"), (json!("dry-run"), json!("taken_over"))));
    let (asked, _) = demo.api().read_on("-1".to_owned());
    let fatigue = asked.iter().filter(|event| event["actor_id"] == "person-0042");
    assert!(fatigue.filter(|event| event["source_ip"] == "203.0.113.66").count() == 17);
    let count = asked.len();
    assert_eq!(demo.end().code(), Some(0));
    assert_eq!(audited(&data_dir), asked.iter().map(id).collect::<Vec<_>>());

    let again = Started::demo(&data_dir, &[]);
    assert_eq!(again.api().ids().len(), count);
    assert!(String::from_utf8_lossy(&again.process.stderr()).contains("no day is simulated"));
    // Alerts are found anew, under the same ids.
    let id = &stuffing["id"];
    until("the alert", || {
        let alerts = again.api().json("/v1/alerts");
        alerts["alerts"].as_array().unwrap().iter().any(|alert| alert["id"] == *id).then_some(())
    });
}

#[test]
fn an_attack_that_is_sent_opens_an_alert_with_its_actors_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Started::demo(&dir.path().join("demo"), &["--quiet"]);
    let api = demo.api();
    for _ in 0..12 {
        assert_eq!(api.post(&event("alice").to_string()).0, 200);
    }
    let alert = until("an alert", || {
        let alerts = api.json("/v1/alerts");
        alerts["alerts"].as_array().unwrap().iter().find(|alert| alert["rule"] == "mfa-fatigue").cloned()
    });
    assert_eq!((&alert["actor_ids"], &alert["tenant_id"]), (&json!(["alice"]), &json!("acme")));
    assert!(["opened", "updated"].contains(&alert["state"].as_str().unwrap()), "{alert}");
}

#[test]
fn a_day_for_people_says_what_happens_and_what_to_try() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = crate::stage::binary();
    command.args(["demo", "--data-dir"]).arg(dir.path().join("demo"));
    let demo = testbed::Running::spawn(command).unwrap();
    assert!(demo.wait_for_stdout("Ctrl-C ends it.", crate::stage::WITHIN));
    let said = String::from_utf8(demo.stdout()).unwrap();
    for part in [
        "credential stuffing",
        "MFA fatigue",
        "recovery wave",
        "ALERT [high] Credential stuffing",
        "ALERT [medium] More account recoveries",
        "/v1/metrics",
        "curl -N",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
