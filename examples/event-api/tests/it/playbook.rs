//! What is done about an attack, before whose eyes, and what is not.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use audit_log::{FileKeys, FileStore, Reader};
use chrono::{TimeDelta, Utc};
use mfa_events::respond::{Verified, Verifier};
use serde_json::{Value, json};
use testbed::Stub;
use testbed::http::{Answer, Request};

use crate::stage::{Api, Settings, Started, binary, event, now, until};

const SECRET: &str = "a secret of at least twenty-four bytes";

/// What an identity provider, or people, were told.
#[derive(Clone)]
struct Told {
    id: String,
    body: Value,
    /// Whether the stream had the lock at that moment.
    was_streamed: bool,
}

/// Somebody who is told, and answers as is wanted.
struct Receiver {
    stub: Stub,
    told: Arc<Mutex<Vec<Told>>>,
    status: Arc<AtomicU16>,
    /// What people answer instead, where it is not 0.
    people_status: Arc<AtomicU16>,
}

impl Receiver {
    fn start(api: Api) -> Self {
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let status = Arc::new(AtomicU16::new(200));
        let people_status = Arc::new(AtomicU16::new(0));
        let (seen, answers, people) = (Arc::clone(&told), Arc::clone(&status), Arc::clone(&people_status));
        let stub = Stub::start(move |request: &Request| {
            let value = |name: &str| {
                let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone()).unwrap()
            };
            // A verifier of its own for each, as the same may come again.
            let mut verifier = Verifier::new([SECRET.as_bytes().to_vec()]).unwrap();
            let (id, at, signed) =
                (value("webhook-id"), value("webhook-timestamp"), value("webhook-signature"));
            let verified = verifier.verify(&id, &at, &signed, &request.body, Utc::now()).unwrap();
            assert_eq!(verified, Verified::New);
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let was_streamed = api.read_on("-1".to_owned()).0.iter().any(|event| {
                event["event_type"] == "account.locked" && event["event_id"] == body["event_id"]
            });
            let is_for_people = body["type"] == "alert.escalated";
            seen.lock().unwrap().push(Told { id, body, was_streamed });
            let status = match people.load(Ordering::SeqCst) {
                status if is_for_people && status != 0 => status,
                _ => answers.load(Ordering::SeqCst),
            };
            Answer::new(status, "text/plain", "")
        });
        Self { stub: stub.unwrap(), told, status, people_status }
    }

    fn told(&self, kind: &str) -> Vec<Told> {
        self.told.lock().unwrap().iter().filter(|told| told.body["type"] == kind).cloned().collect()
    }

    fn wait(&self, kind: &str) -> Told {
        until(kind, || self.told(kind).first().cloned())
    }
}

/// A service with a playbook for `acme`.
fn settings(more: &str) -> (Settings, Receiver) {
    let settings = Settings::new("");
    let receiver = Receiver::start(settings.api());
    let secret = settings.dir.path().join("hook.secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let hook = format!(
        "{{ url = \"http://{}/hook\", secret_file = \"hook.secret\", inside = [\"127.0.0.0/8\"] }}",
        receiver.stub.addr()
    );
    let text = std::fs::read_to_string(&settings.config).unwrap();
    let playbook = format!("[[playbook]]\ntenant = \"acme\"\n{more}\nlock = {hook}\nescalate = {hook}\n");
    std::fs::write(&settings.config, format!("{text}{playbook}")).unwrap();
    (settings, receiver)
}

fn login(actor: &str, ip: &str, ago: TimeDelta) -> Value {
    let at = (Utc::now() - ago).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    json!({
        "event_type": "login.success", "timestamp": at, "actor_id": actor, "outcome": "success",
        "mfa_method": "push", "source_ip": ip,
    })
}

fn send(api: &Api, events: &[Value]) {
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    let (status, report) = api.post(&lines.join("\n"));
    assert_eq!((status, &report["rejected"]), (200, &json!([])), "{report}");
}

/// Asked until somebody says yes, who is not at home.
fn take_over(api: &Api, actor: &str) {
    let mut events = vec![login(actor, "198.51.100.10", TimeDelta::hours(30))];
    events.extend((0..8).map(|_| event(actor)));
    events.push(login(actor, "203.0.113.9", TimeDelta::zero()));
    send(api, &events);
}

/// The decision about an account, wherever it is.
fn decision(api: &Api, actor: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until("a decision", || {
        let alerts = api.json("/v1/alerts");
        let decided = alerts["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|alert| alert["playbook"]["decisions"].as_array());
        let found = decided.flatten().find(|decision| decision["actor_id"] == actor && wanted(decision));
        found.cloned()
    })
}

/// Changes what is kept of the case with a lock of an account.
fn change_case(settings: &Settings, actor: &str, change: impl Fn(&mut Value)) {
    let tenants: Vec<_> = std::fs::read_dir(settings.data_dir().join("playbook")).unwrap().collect();
    let files = tenants.into_iter().flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap());
    let mut changed = 0;
    for path in files.map(|file| file.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let mut case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let decisions = case["decisions"].as_array().unwrap();
        if decisions.iter().any(|one| one["actor_id"] == actor && one["lock"].is_object()) {
            change(&mut case);
            std::fs::write(&path, case.to_string()).unwrap();
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
}

/// Killed while the identity provider answers that it cannot.
fn killed_under_way(settings: &Settings, receiver: &Receiver) -> Api {
    receiver.status.store(500, Ordering::SeqCst);
    let service = Started::serve(&settings.config);
    let api = settings.api();
    take_over(&api, "alice");
    receiver.wait("account.lock");
    service.process.kill().unwrap();
    receiver.told.lock().unwrap().clear();
    receiver.status.store(200, Ordering::SeqCst);
    api
}

fn locked_events(api: &Api) -> Vec<Value> {
    let events = api.read_on("-1".to_owned()).0;
    events.into_iter().filter(|event| event["event_type"] == "account.locked").collect()
}

#[test]
fn whoever_got_in_out_of_an_attack_is_locked_once_on_record_before_it_happens() {
    let (settings, receiver) = settings("mode = \"act\"");
    let service = Started::serve(&settings.config);
    let api = settings.api();
    take_over(&api, "alice");
    let told = receiver.wait("account.lock");
    assert!(told.was_streamed, "the event came before the effect");
    assert_eq!((&told.body["actor_id"], &told.body["reason"]), (&json!("alice"), &json!("taken_over")));
    let decided = decision(&api, "alice", |decision| decision["lock"]["state"] == "done");
    assert_eq!((&decided["act"], &decided["why"]), (&json!("lock"), &json!("taken_over")));
    assert_eq!(decided["context"]["got_in"]["source"], "203.0.113.9");
    assert_eq!(
        (&decided["context"]["usual_sources"], &decided["context"]["failures"]),
        (&json!(1), &json!(8))
    );
    let locked = locked_events(&api);
    assert_eq!(locked.len(), 1);
    assert_eq!(
        (&locked[0]["lock_reason"], &locked[0]["event_id"]),
        (&json!("playbook"), &told.body["event_id"])
    );
    assert_eq!(service.end().code(), Some(0));

    let store = FileStore::open(settings.data_dir().join("audit")).unwrap();
    let reader = Reader::open(store, FileKeys::open(settings.data_dir().join("keys")).unwrap());
    let entries: Vec<Value> = reader.read(..).unwrap().map(|entry| entry.unwrap().to_json()).collect();
    let place = |kind: &str| entries.iter().position(|entry| entry["event_type"] == kind).unwrap();
    assert!(
        place("playbook.decided") < place("account.locked")
            && place("account.locked") < place("playbook.locked")
    );
    let recorded = &entries[place("playbook.decided")]["decisions"];
    assert!(
        recorded
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["actor_id"] == "alice" && one["because"].is_string())
    );
    let done = &entries[place("playbook.locked")];
    assert_eq!((&done["target_id"], &done["outcome"]), (&json!("alice"), &json!("success")));

    // Found anew, and known.
    let again = Started::serve(&settings.config);
    decision(&api, "alice", |decision| decision["lock"]["state"] == "done");
    send(&api, &[event("bob")]);
    assert_eq!(again.end().code(), Some(0));
    assert_eq!(receiver.told("account.lock").len(), 1);
    let third = Started::serve(&settings.config);
    assert_eq!(locked_events(&api).len(), 1);
    drop(third);
}

#[test]
fn a_lock_under_way_when_the_service_is_killed_goes_on_under_the_same_id() {
    let (settings, receiver) = settings("mode = \"act\"");
    receiver.status.store(500, Ordering::SeqCst);
    let service = Started::serve(&settings.config);
    let api = settings.api();
    take_over(&api, "alice");
    let first = receiver.wait("account.lock");
    let decided = decision(&api, "alice", |decision| decision["act"] == "lock");
    assert_eq!(decided["lock"]["state"], "pending");
    service.process.kill().unwrap();
    receiver.status.store(200, Ordering::SeqCst);
    let service = Started::serve(&settings.config);
    decision(&api, "alice", |decision| decision["lock"]["state"] == "done");
    let ids: Vec<_> = receiver.told("account.lock").into_iter().map(|told| told.id).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == first.id), "{ids:?}");
    assert_eq!(locked_events(&api).len(), 1);
    drop(service);
}

#[test]
fn whoever_gets_in_later_while_the_attack_goes_on_is_found_also_where_others_tried_in_vain() {
    let (settings, receiver) = settings("mode = \"act\"");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    send(&api, &[login("bob", "198.51.100.10", TimeDelta::hours(30))]);
    let tried: Vec<Value> = (0..12)
        .map(|number| {
            json!({
                "event_type": "login.failure", "timestamp": now(), "actor_id": format!("person-{number}"), "outcome": "failure",
                "source_ip": "203.0.113.9",
            })
        })
        .collect();
    send(&api, &tried);
    decision(&api, "person-1", |decision| decision["why"] == "only_failures");
    // One of those whom the alert never named: a success takes whoever it is out of what is counted.
    send(&api, &[login("bob", "203.0.113.9", TimeDelta::zero())]);
    let told = receiver.wait("account.lock");
    assert_eq!((&told.body["actor_id"], &told.body["rule"]), (&json!("bob"), &json!("credential-stuffing")));
    // Her own place is no attack.
    send(&api, &[login("person-1", "203.0.113.9", TimeDelta::zero())]);
    decision(&api, "person-1", |decision| decision["why"] == "no_history");
    assert_eq!(receiver.told("account.lock").len(), 1);
}

#[test]
fn a_lock_whose_id_is_taken_is_in_the_log_under_another_before_it_happens() {
    let (settings, receiver) = settings("mode = \"act\"");
    let api = killed_under_way(&settings, &receiver);
    let mut taken = Value::Null;
    {
        let reading = Started::serve(&settings.config);
        // Of somebody else's event.
        until("events", || (!api.read_on("-1".to_owned()).0.is_empty()).then_some(()));
        taken.clone_from(&api.read_on("-1".to_owned()).0[0]["event_id"]);
        decision(&api, "alice", |decision| decision["lock"]["state"] == "done");
        reading.process.kill().unwrap();
    }
    change_case(&settings, "alice", |case| {
        for decision in case["decisions"].as_array_mut().unwrap() {
            decision["event_id"] = taken.clone();
            decision["lock"] = json!({"state": "pending"});
        }
    });
    receiver.told.lock().unwrap().clear();
    let _service = Started::serve(&settings.config);
    let told = receiver.wait("account.lock");
    assert!(told.was_streamed && told.body["event_id"] != taken, "{:?}", told.body);
    assert_eq!(locked_events(&api).len(), 2);
}

#[test]
fn a_lock_that_was_under_way_long_ago_is_for_people() {
    let (settings, receiver) = settings("mode = \"act\"");
    let api = killed_under_way(&settings, &receiver);
    let old = Mutex::new(Value::Null);
    change_case(&settings, "alice", |case| {
        case["alert"]["last_met_at"] = json!("2026-01-31T09:15:27.042Z");
        old.lock().unwrap().clone_from(&case["alert"]["id"]);
    });
    let service = Started::serve(&settings.config);
    let decided = decision(&api, "alice", |decision| decision["lock"]["state"] == "failed");
    assert!(decided["lock"]["why"].as_str().unwrap().contains("too long ago"), "{decided}");
    until("people are told", || (!receiver.told("alert.escalated").is_empty()).then_some(()));
    assert_eq!(service.end().code(), Some(0));
    // Another alert of the same is still of now, and may have her locked.
    let old = old.into_inner().unwrap();
    assert!(old.is_string() && receiver.told("account.lock").iter().all(|told| told.body["alert_id"] != old));
}

#[test]
fn what_a_dry_run_would_have_locked_is_locked_once_it_acts() {
    let (settings, receiver) = settings("mode = \"dry-run\"\nlocks_per_hour_max = 1");
    let service = Started::serve(&settings.config);
    let api = settings.api();
    take_over(&api, "alice");
    decision(&api, "alice", |decision| decision["act"] == "lock");
    assert_eq!(service.end().code(), Some(0));
    assert!(receiver.told.lock().unwrap().is_empty());
    let text = std::fs::read_to_string(&settings.config).unwrap();
    std::fs::write(&settings.config, text.replace("\"dry-run\"", "\"act\"")).unwrap();
    let _service = Started::serve(&settings.config);
    // The hour's only lock was not used up.
    assert_eq!(receiver.wait("account.lock").body["actor_id"], "alice");
    decision(&api, "alice", |decision| decision["lock"]["state"] == "done");
}

#[test]
fn while_people_cannot_be_reached_accounts_are_locked_all_the_same() {
    let (settings, receiver) = settings("mode = \"act\"");
    receiver.people_status.store(503, Ordering::SeqCst);
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    for source in 0..40 {
        let tried: Vec<Value> = (0..12)
            .map(|number| {
                json!({
                    "event_type": "login.failure", "timestamp": now(), "actor_id": format!("p-{source}-{number}"),
                    "outcome": "failure", "source_ip": format!("203.0.{source}.5"),
                })
            })
            .collect();
        send(&api, &tried);
    }
    let waiting = || {
        let mut ids: Vec<_> = receiver.told("alert.escalated").into_iter().map(|told| told.id).collect();
        ids.sort();
        ids.dedup();
        (ids.len() >= 32).then_some(())
    };
    until("all turns are taken", waiting);
    take_over(&api, "alice");
    assert_eq!(receiver.wait("account.lock").body["actor_id"], "alice");
}

#[test]
fn whoever_floods_one_account_keeps_no_other_from_being_locked() {
    let (settings, receiver) = settings("mode = \"act\"");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    send(&api, &[login("bob", "198.51.100.10", TimeDelta::hours(30))]);
    let tried: Vec<Value> = (0..6_500)
        .map(|number| {
            json!({
                "event_type": "login.failure", "timestamp": now(), "actor_id": format!("person-{}", if number < 12 { number } else { 0 }),
                "outcome": "failure", "source_ip": "203.0.113.9",
            })
        })
        .collect();
    send(&api, &tried);
    send(&api, &[login("bob", "203.0.113.9", TimeDelta::zero())]);
    assert_eq!(receiver.wait("account.lock").body["actor_id"], "bob");
    decision(&api, "person-0", |decision| decision["why"] == "unreadable");
    decision(&api, "person-5", |decision| decision["why"] == "only_failures");
}

#[test]
fn people_hear_of_a_lock_that_is_refused() {
    let (settings, receiver) = settings("mode = \"act\"");
    receiver.status.store(410, Ordering::SeqCst);
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    take_over(&api, "alice");
    decision(&api, "alice", |decision| decision["lock"]["state"] == "failed");
    let failed = |told: &Told| {
        let decisions = told.body["playbook"]["decisions"].as_array().unwrap();
        decisions
            .iter()
            .any(|one| one["actor_id"] == "alice" && one["lock"]["why"] == "it was refused: it answered 410")
    };
    until("people hear of it", || receiver.told("alert.escalated").iter().any(failed).then_some(()));
}

#[test]
fn whoever_only_fails_is_not_locked_and_accounts_for_emergencies_never_are() {
    let (settings, receiver) =
        settings("mode = \"act\"\nbreak_glass = [\"emergency\"]\nservice_accounts = [\"backup\"]");
    let service = Started::serve(&settings.config);
    let api = settings.api();
    let tried: Vec<Value> = (0..12)
        .map(|number| {
            json!({
                "event_type": "login.failure", "timestamp": now(), "actor_id": format!("person-{number}"), "outcome": "failure",
                "source_ip": "203.0.113.77",
            })
        })
        .collect();
    send(&api, &tried);
    take_over(&api, "emergency");
    take_over(&api, "backup");
    for (actor, why) in
        [("person-3", "only_failures"), ("emergency", "break_glass"), ("backup", "service_account")]
    {
        let decided = decision(&api, actor, |decision| decision["why"] == why);
        assert_eq!(decided["act"], "escalate");
    }
    let people = |actor: &str| {
        until("people are told", || {
            let told = receiver.told("alert.escalated");
            let named = |told: &Told| told.body["playbook"]["decisions"].to_string().contains(actor);
            told.iter().any(named).then_some(())
        });
    };
    ["person-3", "emergency", "backup"].into_iter().for_each(people);
    assert_eq!(service.end().code(), Some(0));
    assert!(receiver.told("account.lock").is_empty());
    let _again = Started::serve(&settings.config);
    assert!(locked_events(&api).is_empty());
}

#[test]
fn an_attack_that_has_accounts_locked_gets_no_more_locks_out_of_it() {
    let (settings, receiver) = settings("mode = \"act\"");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    let locked: Vec<Value> = (0..12)
        .map(|number| {
            json!({
                "event_type": "account.locked", "timestamp": now(), "actor_id": format!("person-{number}"), "outcome": "blocked",
                "lock_reason": "too_many_failures", "source_ip": "203.0.113.88",
            })
        })
        .collect();
    send(&api, &locked);
    let decided = decision(&api, "person-5", |decision| decision["why"] == "denial_by_lock");
    assert_eq!((&decided["act"], &decided["context"]["lock"]["is_own"]), (&json!("escalate"), &json!(false)));
    until("people are told", || (!receiver.told("alert.escalated").is_empty()).then_some(()));
    assert!(receiver.told("account.lock").is_empty());
    assert_eq!(locked_events(&api).len(), 12);
}

#[test]
fn an_hour_has_only_so_many_locks() {
    let (settings, receiver) = settings("mode = \"act\"\nlocks_per_hour_max = 2");
    let service = Started::serve(&settings.config);
    let api = settings.api();
    for actor in ["one", "two", "three"] {
        take_over(&api, actor);
        decision(&api, actor, |decision| decision["context"]["got_in"].is_object());
    }
    decision(&api, "three", |decision| decision["why"] == "too_many_locks");
    assert_eq!(service.end().code(), Some(0));
    // The count is kept.
    let _again = Started::serve(&settings.config);
    take_over(&api, "four");
    decision(&api, "four", |decision| decision["why"] == "too_many_locks");
    let mut locked: Vec<_> =
        receiver.told("account.lock").into_iter().map(|told| told.body["actor_id"].to_string()).collect();
    locked.sort();
    locked.dedup();
    assert_eq!(locked, ["\"one\"", "\"two\""]);
}

#[test]
fn unless_it_is_told_to_act_it_only_says_what_it_would_do() {
    let (settings, receiver) = settings("");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    take_over(&api, "alice");
    let decided = decision(&api, "alice", |decision| decision["act"] == "lock");
    assert!(decided.get("lock").is_none());
    let alerts = api.json("/v1/alerts");
    let modes: Vec<_> =
        alerts["alerts"].as_array().unwrap().iter().map(|alert| &alert["playbook"]["mode"]).collect();
    assert!(modes.contains(&&json!("dry-run")), "{modes:?}");
    assert!(receiver.told.lock().unwrap().is_empty() && locked_events(&api).is_empty());
}

#[test]
fn mistakes_in_a_playbook_are_told_with_their_place() {
    let settings = Settings::new(
        "[[playbook]]\ntenant = \"acme\"\nmode = \"act\"\nrules = [\"nothing\"]\n\
         lock = { url = \"http://soar.example.com/x\", secret_file = \"hook.secret\" }\n\
         [[playbook]]\ntenant = \"nobody\"\n",
    );
    let secret = settings.dir.path().join("hook.secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let check = || {
        let said = binary().args(["check", "--config"]).arg(&settings.config).output().unwrap();
        assert_eq!(said.status.code(), Some(2));
        String::from_utf8(said.stdout).unwrap()
    };
    let said = check();
    for part in [
        "line 10, column 8: to act it needs `lock` and `escalate`",
        "line 11, column 10: there is no such rule",
        "line 12, column 59: `",
        "chmod 600",
        "line 14, column 10: no key is for this tenant",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = check();
    assert!(said.contains("line 12, column 16: address must begin with `https://`"), "{said}");
}
