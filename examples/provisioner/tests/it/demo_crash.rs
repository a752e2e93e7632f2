//! The demo killed in the middle of its work.

use serde_json::Value;

use super::demo_stage::{Demo, event, person, system};

#[test]
fn a_killed_demo_goes_on_where_it_was_and_nobody_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("demo");
    let demo = Demo::start(&data_dir);
    let people: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let events = |kind: &str, at: &str| -> Vec<Value> {
        people.iter().map(|id| event(kind, at, person(id, &["staff"]))).collect()
    };
    demo.send(&events("joiner", "2026-01-05T08:00:00Z"));
    demo.until_joined();
    demo.fault("payroll", "down");
    demo.until("an alert", |demo| demo.open_alerts().first().cloned());
    demo.send(&events("leaver", "2026-01-30T17:00:00Z"));
    let waiting = demo.alerts();
    assert_eq!(waiting[0]["deprovisioning_queued"], 12);
    // In the middle of what the two others are told.
    let token = demo.text("token").to_owned();
    demo.kill();

    let demo = Demo::start(&data_dir);
    assert_ne!(demo.text("token"), token, "tokens are made anew for each run");
    // The applications are well again, with the accounts that they had.
    assert_eq!(demo.alerts()[0]["first_failure_at"], waiting[0]["first_failure_at"]);
    for id in &people {
        let record = demo.until_complete(id);
        for name in ["crm", "payroll", "wiki"] {
            assert!(!demo.is_active(name, &format!("{id}@example.com")), "{id} in {name}");
            assert_eq!(system(&record, name)["status"], "confirmed");
        }
        assert!(system(&record, "payroll")["gap"].is_string(), "{record:#}");
    }
    demo.until("the all-clear", |demo| demo.open_alerts().is_empty().then_some(()));
    assert_eq!(demo.get(demo.text("offboardings_url"))["open"], serde_json::json!([]));
}
