use crate::made::{ALICE, BOB, Made, auditor, usual};
use serde_json::Value;

fn types(hits: &[Value]) -> Vec<&str> {
    hits.iter().map(|hit| hit["event_type"].as_str().unwrap()).collect()
}

#[test]
fn finds_what_ran_and_what_was_blocked_in_order() {
    let made = Made::usual();
    let (status, hits) = made.json(&["search", "uptime"]);
    assert_eq!((status, types(&hits)), (0, vec!["command.started", "command.executed"]));
    assert_eq!(hits[0]["actor_id"], "alice");
    assert_eq!(hits[0]["argv"], serde_json::json!([["uptime", "-p"]]));
    assert!(hits[0]["seq"].as_u64() < hits[1]["seq"].as_u64());

    let said = made.run(&["search", "rm -rf"]);
    assert_eq!((said.status, said.out.lines().count()), (0, 1), "{said:?}");
    for word in [
        "2026-01-31T09:15:30.000Z",
        "alice",
        "web-1",
        ALICE,
        "command.blocked",
        "blocked",
        "rm -rf /hunter2",
        "no_rule",
    ] {
        assert!(said.out.contains(word), "{word} in {said:?}");
    }
    assert!(said.out.contains("(may hold a secret)"), "{said:?}");
}

#[test]
fn filters_narrow_what_is_found() {
    let made = Made::usual();
    let found = |arguments: &[&str]| {
        let (status, hits) = made.json(&[&["search"], arguments].concat());
        assert_eq!(status, 0);
        hits.len()
    };
    assert_eq!(found(&["", "--actor", "bob"]), 2);
    assert_eq!(found(&["", "--target", "web-1"]), 6);
    assert_eq!(found(&["", "--session", BOB]), 2);
    assert_eq!(found(&["", "--type", "command.blocked"]), 1);
    assert_eq!(found(&["", "--outcome", "blocked"]), 2);
    assert_eq!(found(&["", "--actor", "alice", "--since", "2026-01-31T09:15:30Z"]), 3);
    assert_eq!(found(&["", "--actor", "alice", "--until", "2026-01-31T09:15:30Z"]), 3);
    assert_eq!(found(&["", "--since", "2026-01-31T09:15:30Z", "--until", "2026-01-31T10:00"]), 2);
    assert_eq!(found(&["", "--since", "2026-02-01", "--until", "2026-02-02"]), 1);
    assert_eq!(found(&["", "--limit", "3"]), 3);
    assert_eq!(found(&["", "--limit", "0"]), 0);
    assert_eq!(found(&["", "--session", ALICE, "--limit", "99"]), 6);
}

#[test]
fn nothing_found_is_said_and_is_no_failure() {
    let made = Made::usual();
    let said = made.run(&["search", "never typed"]);
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (0, "", "nothing found\n"));
}

#[test]
fn what_may_be_a_secret_can_be_hidden_and_is_still_found() {
    let made = Made::usual();
    let said = made.run(&["--hide-sensitive", "search", "hunter2"]);
    assert!(said.out.contains("command.blocked") && said.out.contains("[hidden]"), "{said:?}");
    assert!(!said.out.contains("hunter2"), "{said:?}");
    let (_, hits) = made.json(&["search", "hunter2", "--hide-sensitive"]);
    assert_eq!((&hits[0]["command"], &hits[0]["reason"]), (&"[hidden]".into(), &"no_rule".into()));
    let said = made.run(&["--hide-sensitive", "show", ALICE]);
    assert!(said.out.contains("uptime -p") && !said.out.contains("hunter2"), "{said:?}");
}

#[test]
fn searching_needs_keys() {
    let made = Made::usual();
    std::fs::rename(made.path().join("keys"), made.path().join("elsewhere")).unwrap();
    let said = made.run(&["search", "uptime"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.err.contains("keys"), "{said:?}");
    let keys = made.path().join("elsewhere");
    assert_eq!(made.run(&["search", "uptime", "--keys", keys.to_str().unwrap()]).status, 0);
}

#[test]
fn a_log_directory_itself_will_do() {
    let made = Made::usual();
    let log = made.path().join("audit");
    let said = auditor(&["--data-dir", log.to_str().unwrap(), "search", "uptime"], "");
    assert_eq!((said.status, said.out.lines().count()), (0, 2), "{said:?}");
}

#[test]
fn an_altered_log_is_not_searched_as_if_nothing_had_happened() {
    let made = Made::usual();
    made.append(&usual());
    // In the first frame, so that whatever is found after it comes too late.
    made.edit("segment-00000000.log", |bytes| bytes[2048 + 200] ^= 1);
    let said = made.run(&["search", "uptime"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("tampered") && said.err.contains("segment-00000000.log"), "{said:?}");
    let said = made.run(&["--json", "search", "uptime"]);
    assert_eq!(serde_json::from_str::<Value>(said.err.trim()).unwrap()["result"], "tampered");
}
