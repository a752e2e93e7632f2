//! Events are kept for as long as the settings say, and the audit log has them all.

use serde_json::{Value, json};

use crate::stage::{Api, Settings, Started, audited, binary, event, until};

#[test]
fn only_the_latest_events_are_kept_and_the_audit_log_has_all() {
    let settings = Settings::new(
        "[[key]]\nname = \"sender\"\ntenant = \"acme\"\nmay = [\"ingest\"]\nsha256 = \"97f9b3bbd8eaa23d25e8f706903da099061868bc8e638cf1a0e3dd2625fffa75\"\n[retention]\nmax_events = 10\n",
    );
    let service = Started::serve(&settings.config);
    let api = settings.api();
    for number in 0..30 {
        assert_eq!(api.post(&event(&format!("person-{number}")).to_string()).0, 200);
    }
    let shown = until("the first go", || {
        let shown = api.json("/v1/retention");
        (shown["forgotten_total"] == 20).then_some(shown)
    });
    assert_eq!(
        (&shown["max_events"], &shown["kept"], &shown["days"]),
        (&json!(10), &json!(10), &Value::Null)
    );
    assert!(shown["forgotten_at"].is_string());
    let gone = api.get("/v1/stream?offset=-1");
    assert!([200, 410].contains(&gone.status), "{}", gone.status);
    let actors = api.json("/v1/actors/person-29/events");
    assert!(actors.to_string().contains("person-29"));
    assert_eq!(
        Api { key: "ev_nobody01234567890123456".to_owned(), ..api.clone() }.get("/v1/retention").status,
        401
    );
    assert_eq!(service.end().code(), Some(0));
    assert_eq!(audited(&settings.data_dir()).len(), 30);
    // What is gone is no reason not to start, and to look for attacks on.
    let _again = Started::serve(&settings.config);
    assert_eq!(api.json("/v1/retention")["kept"], 10);
    assert_eq!(api.post(&event("late").to_string()).0, 200);
}

#[test]
fn too_few_days_are_a_mistake() {
    let settings = Settings::new("[retention]\ndays = 1\n");
    let said = binary().args(["check", "--config"]).arg(&settings.config).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains(": line 8, column 1: `days` is 2 or more"), "{said}");
}
