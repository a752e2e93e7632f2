//! What `demo --json` promises to outsiders.

use serde_json::{Value, json};

use super::demo_stage::{Demo, event, person, system};

const APPLICATIONS: [&str; 3] = ["crm", "payroll", "wiki"];

#[test]
fn who_leaves_while_two_applications_are_ill_is_out_of_all_when_they_are_well_and_the_gap_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let names = ["api", "token", "status_page", "events_url", "alerts_url", "offboardings_url", "data_dir"];
    for name in names {
        assert!(demo.line[name].is_string(), "{name}");
    }
    let ann = person("ann", &["staff", "finance"]);
    demo.send(&[event("joiner", "2026-01-05T08:00:00Z", ann.clone())]);
    demo.until_joined();
    assert!(APPLICATIONS.iter().all(|name| demo.is_active(name, "ann@example.com")), "positive control");

    demo.fault("payroll", "down");
    demo.fault("wiki", "unauthorized");
    let left = event("leaver", "2026-01-30T17:00:00Z", ann);
    let first = demo.send(std::slice::from_ref(&left));
    assert_eq!((&first["taken"][0]["queued"], &first["taken"][0]["already"]), (&json!(3), &json!(0)));
    let again = demo.send(&[left]);
    assert_eq!((&again["taken"][0]["queued"], &again["taken"][0]["already"]), (&json!(0), &json!(3)));

    let alerts = demo.until("two alerts", |demo| {
        let alerts = demo.open_alerts();
        let tell = |alert: &Value| alert["deprovisioning_queued"] == 1;
        (alerts.len() == 2 && alerts.iter().all(tell)).then_some(alerts)
    });
    for alert in &alerts {
        let failure = if alert["connector"] == "payroll" { "unreachable" } else { "credential_refused" };
        assert_eq!(alert["failure_type"], failure);
        assert!(alert["first_failure_at"].is_string(), "{alert}");
        for count in ["provisioning_queued", "provisioning_failed", "deprovisioning_failed"] {
            assert!(alert[count].is_u64(), "{count}: {alert}");
        }
    }
    assert_ne!(alerts[0]["connector"], alerts[1]["connector"]);
    let crm_done = |demo: &Demo| {
        let record = demo.offboarding("ann");
        (system(&record, "crm")["status"] == "confirmed").then_some(record)
    };
    let open = demo.until("the well application is done", crm_done);
    assert_eq!(open["state"], "open");
    assert!(!demo.is_active("crm", "ann@example.com"));

    demo.fault("payroll", "ok");
    demo.fault("wiki", "ok");
    let record = demo.until_complete("ann");
    for name in APPLICATIONS {
        assert!(!demo.is_active(name, "ann@example.com"), "{name}");
        assert_eq!(demo.accounts(name, "ann@example.com")[0].get("groups"), None, "{name}");
    }
    for name in ["payroll", "wiki"] {
        assert!(system(&record, name)["gap"].is_string(), "{record:#}");
    }
    demo.until("the all-clear", |demo| demo.open_alerts().is_empty().then_some(()));
    assert!(demo.alerts().iter().all(|alert| alert["resolution"]["resolved_at"].is_string()));

    // Standard output is the one line, and neither stream has what opens anything.
    let secrets: Vec<String> = std::iter::once(demo.text("token").to_owned())
        .chain(demo.line["applications"].as_array().unwrap().iter().flat_map(|application| {
            let key = application["fault_url"].as_str().unwrap().split('/').nth(3).unwrap();
            [application["token"].as_str().unwrap().to_owned(), key.to_owned()]
        }))
        .collect();
    let (out, err) = demo.kill();
    assert_eq!(out, "");
    assert!(secrets.iter().all(|secret| secret.len() >= 16 && !err.contains(secret)), "{err}");
}

#[test]
fn whatever_is_wrong_no_record_is_complete_before_the_account_is_out() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let modes = [
        ("down", Some("unreachable")),
        ("unauthorized", Some("credential_refused")),
        ("rate_limited", Some("rate_limited")),
        ("html_login", Some("login_page")),
        // What is done and not answered is looked up: that takes a while, and no person.
        ("lost_response", None),
    ];
    let joiners: Vec<Value> = modes
        .iter()
        .map(|(mode, _)| event("joiner", "2026-01-05T08:00:00Z", person(mode, &["staff"])))
        .collect();
    demo.send(&joiners);
    demo.until_joined();
    for (mode, failure) in modes {
        demo.fault("payroll", mode);
        demo.send(&[event("leaver", "2026-01-30T17:00:00Z", person(mode, &[]))]);
        if let Some(failure) = failure {
            let alert = demo.until("an alert", |demo| {
                let alerts = demo.open_alerts();
                let counts = |alert: &Value| alert["deprovisioning_queued"] == 1;
                alerts.into_iter().find(|alert| alert["failure_type"] == failure && counts(alert))
            });
            assert_eq!(alert["connector"], "payroll");
            assert_eq!(demo.offboarding(mode)["state"], "open", "{mode}");
            demo.fault("payroll", "ok");
        }
        let record = demo.until_complete(mode);
        assert!(!demo.is_active("payroll", &format!("{mode}@example.com")), "{mode}: {record:#}");
        demo.fault("payroll", "ok");
        demo.until("the all-clear", |demo| demo.open_alerts().is_empty().then_some(()));
    }
}

#[test]
fn the_name_that_somebody_was_about_to_give_up_before_they_left_is_free_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    demo.send(&[event("joiner", "2026-01-05T08:00:00Z", person("di", &["staff"]))]);
    demo.until_joined();
    demo.fault("payroll", "down");
    let renamed = json!({"id": "di", "user_name": "di.new@example.com"});
    let heir = json!({"id": "ed", "user_name": "di@example.com", "display_name": "Ed"});
    demo.send(&[
        event("mover", "2026-01-06T08:00:00Z", renamed),
        event("leaver", "2026-01-07T08:00:00Z", json!({"id": "di"})),
        event("joiner", "2026-01-08T08:00:00Z", heir),
    ]);
    demo.fault("payroll", "ok");
    demo.until_complete("di");
    demo.until_joined();
    for name in APPLICATIONS {
        assert!(demo.is_active(name, "di@example.com"), "{name}");
        assert_eq!(demo.accounts(name, "di@example.com")[0]["externalId"], "ed", "{name}");
    }
}

#[test]
fn movers_rename_and_change_groups_and_who_comes_back_has_access_again() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    demo.send(&[event("joiner", "2026-01-05T08:00:00Z", person("bo", &["staff", "eng"]))]);
    demo.until_joined();
    let moved = json!({"id": "bo", "user_name": "bo.new@example.com", "groups": ["staff", "sales"]});
    demo.send(&[event("mover", "2026-01-06T08:00:00Z", moved)]);
    demo.until_joined();
    for name in APPLICATIONS {
        assert!(demo.accounts(name, "bo@example.com").is_empty(), "{name}");
        let account = &demo.accounts(name, "bo.new@example.com")[0];
        assert_eq!(account["displayName"], "Person bo", "what nobody spoke of stays");
        let mut groups: Vec<_> =
            account["groups"].as_array().unwrap().iter().map(|group| group["display"].clone()).collect();
        groups.sort_by_key(Value::to_string);
        assert_eq!(groups, ["sales", "staff"], "{name}");
    }

    let (status, said) =
        demo.try_send(&[event("mover", "2026-01-06T08:00:00Z", json!({"id": "no", "display_name": "x"}))]);
    assert_eq!(status, 422, "{said}");
    // Nobody has heard of them, and that they have no account is looked up all the same.
    demo.send(&[event("leaver", "2026-01-06T08:00:00Z", json!({"id": "ghost"}))]);
    demo.until_complete("ghost");

    let back = json!({"id": "bo", "user_name": "bo.new@example.com", "groups": ["staff"]});
    demo.send(&[event("leaver", "2026-01-07T08:00:00Z", json!({"id": "bo"}))]);
    demo.until_complete("bo");
    demo.send(&[event("joiner", "2026-02-01T08:00:00Z", back)]);
    demo.until_joined();
    assert!(APPLICATIONS.iter().all(|name| demo.is_active(name, "bo.new@example.com")));
    let open = demo.get(demo.text("offboardings_url"));
    assert_eq!(open["open"], json!([]), "who came back is no open leaver");

    let events_url = demo.text("events_url");
    let (status, said) = demo.ask("POST", events_url, demo.text("token"), "{\"type\":\"joiner\"}\n{");
    assert_eq!((status, said["mistakes"][1]["line"].as_u64()), (400, Some(2)), "{said}");
    for url in [events_url, demo.text("alerts_url")] {
        let method = if url == events_url { "POST" } else { "GET" };
        assert_eq!(demo.ask(method, url, "wrong", "").0, 401);
    }
}
