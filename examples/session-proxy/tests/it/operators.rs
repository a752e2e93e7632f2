//! People who look in and cut: each with the roles the settings give, each act and each refusal on record.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use testbed::{Sshd, SshdOptions};

use super::serve::{port, serve, ssh, stop, write_files};
use super::stage::{BINARY, entries, of_type, wait_for};

fn sessions(dir: &Path, args: &[&str]) -> Output {
    let socket = dir.join("data/control.sock");
    Command::new(BINARY).args(["sessions", "--socket"]).arg(socket).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The name of this process's account, as records have it.
fn own_name() -> String {
    let name = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(name.stdout).unwrap().trim().to_owned()
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn an_operator_without_the_role_is_refused_and_both_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let own = rustix::process::geteuid().as_raw();
    write_files(dir.path(), &sshd, &format!("[[operator]]\nuid = {own}\nroles = [\"list\"]\n"));
    let proxy = serve(dir.path());
    let port = port(&proxy);
    let master = ssh(port).master().unwrap();
    master.run("echo here").unwrap();

    let listed = sessions(dir.path(), &["list", "--json"]);
    assert!(listed.status.success(), "{}", said(&listed));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let session_id = listed["sessions"][0]["session_id"].as_str().unwrap();
    for act in ["terminate", "watch"] {
        let refused = sessions(dir.path(), &[act, session_id, "--json"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains(&format!("does not have the role `{act}`")), "{}", said(&refused));
    }
    // It goes on.
    assert_eq!(master.run("echo still").unwrap().stdout_text(), "still\n");
    drop(master);
    stop(proxy);

    let entries = entries(&dir.path().join("data"));
    let name = own_name();
    let looked = of_type(&entries, "sessions.listed");
    assert_eq!(
        (looked[0]["outcome"].as_str(), looked[0]["operator"].as_str()),
        (Some("success"), Some(&*name))
    );
    for event_type in ["session.termination_asked", "session.watched"] {
        let refused = of_type(&entries, event_type).pop().expect(event_type);
        assert_eq!(
            (refused["outcome"].as_str(), refused["reason"].as_str()),
            (Some("blocked"), Some("no_role"))
        );
        assert_eq!(
            (refused["operator"].as_str(), refused["actor_id"].as_str()),
            (Some(&*name), Some("alice"))
        );
        assert_eq!(refused["session_id"], session_id);
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn whoever_is_no_operator_learns_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let stranger = rustix::process::geteuid().as_raw().wrapping_add(1);
    write_files(
        dir.path(),
        &sshd,
        &format!("[[operator]]\nuid = {stranger}\nroles = [\"list\", \"terminate\"]\n"),
    );
    let proxy = serve(dir.path());
    let _ = port(&proxy);
    let refused = sessions(dir.path(), &["list"]);
    assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(1), b"".as_slice()));
    assert!(said(&refused).contains("is not an operator"), "{}", said(&refused));
    stop(proxy);
    let entries = entries(&dir.path().join("data"));
    let refused = of_type(&entries, "sessions.listed").pop().unwrap();
    assert_eq!(
        (refused["outcome"].as_str(), refused["reason"].as_str()),
        (Some("blocked"), Some("not_an_operator"))
    );
    assert_eq!(refused["actor_id"], own_name().as_str());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_termination_is_asked_for_on_record_before_it_ends_anything() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    write_files(dir.path(), &sshd, "");
    let proxy = serve(dir.path());
    let port = port(&proxy);
    let master = ssh(port).master().unwrap();
    master.run("echo here").unwrap();
    let listed: Value = serde_json::from_slice(&sessions(dir.path(), &["list", "--json"]).stdout).unwrap();
    let session_id = listed["sessions"][0]["session_id"].as_str().unwrap();
    let ended = sessions(dir.path(), &["terminate", session_id, "--reason", "lunch"]);
    assert!(ended.status.success(), "{}", said(&ended));
    wait_for("it is gone", || {
        String::from_utf8_lossy(&sessions(dir.path(), &["list"]).stdout).contains("nobody is in")
    });
    drop(master);
    stop(proxy);
    let entries = entries(&dir.path().join("data"));
    let at = |event_type: &str| entries.iter().position(|entry| entry["event_type"] == event_type).unwrap();
    let (asked, ended) = (at("session.termination_asked"), at("session.ended"));
    assert!(asked < ended);
    assert_eq!(entries[asked]["operator"], own_name().as_str());
    assert_eq!(entries[asked]["session_id"], session_id);
    assert_eq!(entries[ended]["ended_by"], own_name().as_str());
}

/// Whoever tries ids, or comes too late, is on record as well: with the account and the id as it was named.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn whoever_asks_for_a_session_that_does_not_live_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    write_files(dir.path(), &sshd, "");
    let proxy = serve(dir.path());
    let _ = port(&proxy);
    let named = format!("0\u{1b}[2J{}", "x".repeat(1000));
    for act in ["terminate", "watch"] {
        let failed = sessions(dir.path(), &[act, &named, "--json"]);
        assert_eq!(failed.status.code(), Some(1));
        assert!(said(&failed).contains("no such session"), "{}", said(&failed));
    }
    stop(proxy);
    let entries = entries(&dir.path().join("data"));
    for event_type in ["session.termination_asked", "session.watched"] {
        let asked = of_type(&entries, event_type);
        let [asked] = asked.as_slice() else { panic!("{event_type}: {asked:?}") };
        let text = |field: &str| asked[field].as_str();
        assert_eq!((text("outcome"), text("reason")), (Some("failure"), Some("no_such_session")));
        let name = own_name();
        assert_eq!((text("operator"), text("actor_id")), (Some(&*name), Some(&*name)));
        assert_eq!((text("asked"), text("session_id")), (Some(&named[..256]), None));
    }
}
