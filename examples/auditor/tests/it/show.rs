use crate::made::{ALICE, BOB, Made};
use serde_json::json;

#[test]
fn a_session_is_told_from_beginning_to_end() {
    let made = Made::usual();
    let said = made.run(&["show", ALICE]);
    assert_eq!(said.status, 0, "{said:?}");
    for line in [
        "  who      alice from 203.0.113.7",
        "  target   web-1",
        "  mode     exec-only",
        "  start    2026-01-31T09:15:27.042Z",
        "  end      2026-01-31T10:15:00.000Z, after 59 min 32 s: client_closed",
        "09:15:28.000Z  $ uptime -p",
        "    permitted by `uptime *` (policy line 12)",
        "    exit 0, 100 ms, stdin 0 B, stdout 10 B, stderr 0 B",
        "    | up 3 days",
        "09:15:30.000Z  ✗ rm -rf /hunter2 (may hold a secret)",
        "    blocked, never sent: no_rule, no rule permits `rm`",
        "09:15:31.000Z  ✗ request.refused pty-req: blocked: not_opened",
    ] {
        assert!(said.out.lines().any(|told| told == line), "{line:?} in {}", said.out);
    }
    assert!(!said.out.contains("bob"), "{}", said.out);
}

#[test]
fn a_session_is_found_by_the_beginning_of_its_id() {
    let made = Made::usual();
    let said = made.run(&["show", &BOB[..ALICE.len() - 3]]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("bob") && said.out.contains("no end recorded"), "{said:?}");

    let said = made.run(&["show", "0198"]);
    assert_eq!((said.status, said.out.as_str()), (2, ""), "{said:?}");
    assert!(said.err.contains(ALICE) && said.err.contains(BOB), "both are named: {said:?}");
    let said = made.run(&["show", "ffff"]);
    assert_eq!(said.status, 2);
    assert!(said.err.contains("no session"), "{said:?}");
    assert_eq!(made.run(&["show", ""]).status, 2);
}

#[test]
fn an_id_that_begins_another_is_still_found() {
    let started = |id: &str| json!({"event_type": "session.started", "session_id": id, "actor_id": id, "outcome": "success"});
    let made = Made::of(&[started("s-1"), started("s-10")]);
    let (status, events) = made.json(&["show", "s-1"]);
    assert_eq!((status, events.len(), &events[0]["actor_id"]), (0, 1, &"s-1".into()));
}

#[test]
fn as_json_a_session_is_its_events() {
    let made = Made::usual();
    let (status, events) = made.json(&["show", ALICE]);
    assert_eq!((status, events.len()), (0, 6));
    assert!(events.iter().all(|event| event["session_id"] == ALICE));
}

#[test]
fn sessions_are_listed() {
    let made = Made::usual();
    let said = made.run(&["sessions"]);
    assert_eq!((said.status, said.out.lines().count()), (0, 2), "{said:?}");
    let (_, sessions) = made.json(&["sessions"]);
    assert_eq!(
        sessions[0],
        json!({"session_id": ALICE, "actor_id": "alice", "target_id": "web-1", "started_at": "2026-01-31T09:15:27.042Z",
               "ended_at": "2026-01-31T10:15:00.000Z", "commands": 1, "commands_blocked": 1, "requests_refused": 1})
    );
    assert_eq!(sessions[1].get("ended_at"), None);
    let count = |arguments: &[&str]| made.json(&[&["sessions"], arguments].concat()).1.len();
    assert_eq!(count(&["--actor", "alice"]), 1);
    assert_eq!(count(&["--target", "db-1"]), 1);
    assert_eq!(count(&["--since", "2026-01-31T11:00"]), 1, "the one that goes on");
    assert_eq!(count(&["--until", "2026-01-31T09:30"]), 1);
    assert_eq!(count(&["--actor", "carol"]), 0);
}
