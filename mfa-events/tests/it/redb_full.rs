//! A disk that is full: nobody is told that an event is kept which is not, and what was told is there afterwards.

use std::path::Path;
use std::process::{Command, Output};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use mfa_events::cursor::CursorKey;
use mfa_events::http::{HashedKeys, Right, Scope, router};
use mfa_events::log::Which;
use mfa_events::store::StoreError;
use mfa_events::{EventLog, Offset, RedbStore};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::http::{ACME, request, tenant, told};

/// What a sender knows.
#[derive(Default)]
struct Sent {
    kept: Vec<String>,
    uncertain: Vec<String>,
}

async fn served(path: &Path) -> (EventLog<RedbStore>, Router) {
    // The file is free once the task that commits has seen that nobody is left.
    let store = loop {
        match RedbStore::open(path) {
            Err(StoreError::Locked) => tokio::task::yield_now().await,
            opened => break opened.unwrap(),
        }
    };
    let log = EventLog::open(store);
    let scope = Scope::new(tenant("acme"), [Right::Ingest, Right::Read]);
    let keys = HashedKeys::new().with(ACME, scope).unwrap();
    (log.clone(), router(log, keys, CursorKey::new([7; 32])))
}

async fn post(router: &Router, ids: &[String]) -> (StatusCode, Value) {
    let event = |id: &String| {
        json!({
            "event_id": id, "event_type": "login.failure", "timestamp": "2026-01-31T09:15:27.042Z",
            "actor_id": format!("actor-{id}"), "outcome": "failure", "ext": { "text": "x".repeat(1_000) },
        })
    };
    let body: Vec<String> = ids.iter().map(|id| event(id).to_string()).collect();
    let request = request(ACME, "/v1/events").method("POST").body(Body::from(body.join("\n"))).unwrap();
    told(router.clone().oneshot(request).await.unwrap()).await
}

/// Sends until there is no room.
async fn fill(path: &Path) -> Sent {
    let (_log, router) = served(path).await;
    let mut sent = Sent::default();
    let problem = loop {
        let ids: Vec<String> = (0..50).map(|_| uuid::Uuid::now_v7().to_string()).collect();
        let (status, answer) = post(&router, &ids).await;
        if status != StatusCode::OK {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
            sent.uncertain = ids;
            break answer;
        }
        assert_eq!(answer["accepted"], 50);
        sent.kept.extend(ids);
        assert!(sent.kept.len() < 100_000, "it never was full");
    };
    assert_eq!(problem["code"], "unknown");
    let uncertain = problem["uncertain"].as_array().unwrap().iter();
    let uncertain: Vec<_> = uncertain.map(|one| one["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(uncertain, sent.uncertain);
    // Nothing is known of the disk any more: senders and readers are told to come again.
    assert_eq!(post(&router, &sent.uncertain).await.0, StatusCode::SERVICE_UNAVAILABLE);
    let read = request(ACME, "/v1/stream").body(Body::empty()).unwrap();
    let (status, problem) = told(router.oneshot(read).await.unwrap()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));
    sent
}

/// There is room again: everything that was told is there, and what was not sure is sent again and is there once.
async fn check(path: &Path, sent: &Sent) {
    let (log, router) = served(path).await;
    let (status, answer) = post(&router, &sent.uncertain).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["accepted"].as_u64().unwrap() + answer["known"].as_u64().unwrap(), 50);
    let (mut found, mut after) = (Vec::new(), Offset::START);
    loop {
        let page = log.read(&tenant("acme"), &Which::All, after, 1_000).await.unwrap();
        found.extend(page.records.iter().map(|record| record.event.id().to_string()));
        after = page.next;
        if page.is_up_to_date {
            break;
        }
    }
    let expected: Vec<String> = sent.kept.iter().chain(&sent.uncertain).cloned().collect();
    assert_eq!(found, expected);
}

const INSIDE: &str = "MFA_EVENTS_FULL";
const KEPT: &str = "kept ";
const UNCERTAIN: &str = "uncertain ";

/// Runs this very test again in a shell with a smaller disk.
fn smaller(script: &str, test: &str, dir: &Path, first: &[&str]) -> Output {
    let mut command = match first {
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg("sh");
            command
        }
        [] => Command::new("sh"),
    };
    command.args(["-c", script]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--include-ignored"]);
    command.env(INSIDE, dir).output().unwrap()
}

fn lines(output: &Output, prefix: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
}

#[cfg(unix)]
#[allow(clippy::print_stderr, reason = "that is how it tells")]
#[tokio::test]
async fn a_file_that_may_not_grow_costs_no_event_that_was_told_as_kept() {
    const TEST: &str = "redb_full::a_file_that_may_not_grow_costs_no_event_that_was_told_as_kept";
    if let Some(dir) = std::env::var_os(INSIDE) {
        let sent = fill(&Path::new(&dir).join("events.redb")).await;
        sent.kept.iter().for_each(|id| eprintln!("{KEPT}{id}"));
        sent.uncertain.iter().for_each(|id| eprintln!("{UNCERTAIN}{id}"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // In units of 512 bytes: 5 MiB. What goes beyond is an error rather than the end.
    let output = smaller("trap '' XFSZ; ulimit -f 10240; exec \"$0\" \"$@\"", TEST, dir.path(), &[]);
    let sent = Sent { kept: lines(&output, KEPT), uncertain: lines(&output, UNCERTAIN) };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(sent.kept.len() > 100 && sent.uncertain.len() == 50, "{}", sent.kept.len());
    check(&dir.path().join("events.redb"), &sent).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "needs unshare: cargo xtask test"]
async fn a_disk_that_is_full_costs_no_event_that_was_told_as_kept() {
    const TEST: &str = "redb_full::a_disk_that_is_full_costs_no_event_that_was_told_as_kept";
    if let Some(dir) = std::env::var_os(INSIDE) {
        let path = Path::new(&dir).join("events.redb");
        let sent = fill(&path).await;
        assert!(sent.kept.len() > 100, "{}", sent.kept.len());
        let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&dir).status().unwrap();
        assert!(grown.success());
        return check(&path, &sent).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=5m tmpfs \"${INSIDE}\" && exec \"$0\" \"$@\"");
    let output = smaller(&script, TEST, dir.path(), &["unshare", "--map-root-user", "--mount"]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
