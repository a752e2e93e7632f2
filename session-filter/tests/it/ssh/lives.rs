//! A session's life: what changes under it, and how it ends.

use std::time::{Duration, Instant};

use session_filter::Policy;
use session_filter::registry::Termination;
use session_filter::ssh::Limits;
use testbed::SshdOptions;

use super::fixture::{Fixture, POLICY, assert_blocked};

fn policy(text: &str) -> Policy {
    Policy::from_toml(text).unwrap()
}

const OTHER: &str = "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"echo ...\", \"uptime\"]\n";
const NOBODY: &str = "[[permit]]\nusers=[\"carol\"]\ntargets=[\"box\"]\ncommands=[\"echo ...\"]\n";

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_policy_change_reaches_the_next_command_of_a_running_session() {
    let fixture = Fixture::new();
    let master = fixture.ssh().master().unwrap();
    assert_eq!(master.run("cat /etc/os-release").unwrap().code(), Some(0));
    assert_blocked(&master.run("uptime").unwrap());
    fixture.policy.set(policy(OTHER));
    assert_blocked(&master.run("cat /etc/os-release").unwrap());
    assert_eq!(master.run("uptime").unwrap().code(), Some(0));
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_change_between_check_and_send_is_noticed() {
    let fixture = Fixture::new();
    let master = fixture.ssh().master().unwrap();
    master.run("echo warm").unwrap();
    let held = fixture.recorder.hold();
    let before = fixture.events_of("command.started").len();
    let running = master.spawn("cat /etc/os-release").unwrap();
    // Checked and handed to the recorder, which has not written it yet.
    let checked = |f: &Fixture| f.events_of("command.started").len() > before;
    fixture.wait_for("the command is checked", checked);
    fixture.policy.set(policy(OTHER));
    drop(held);
    assert_blocked(&running.wait(Duration::from_secs(20)).unwrap());
    let reasons: Vec<_> = fixture.events_of("command.executed").iter().map(|e| e["reason"].clone()).collect();
    assert!(reasons.contains(&"policy_changed".into()), "{reasons:?}");
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn nothing_is_sent_before_its_record_is_durable() {
    let fixture = Fixture::new();
    let mark = fixture.mark();
    fixture.policy.set(policy(&format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"touch {}\", \"echo ...\"]\n",
        mark.display()
    )));
    let master = fixture.ssh().master().unwrap();
    master.run("echo warm").unwrap();
    let held = fixture.recorder.hold();
    let running = master.spawn(format!("touch {}", mark.display())).unwrap();
    fixture.wait_for("the command is with the recorder", |f| f.events_of("command.started").len() == 2);
    // The disk does not answer; another command on the bare target takes its whole round trip meanwhile.
    fixture.direct().run("true").unwrap();
    assert!(!mark.exists());
    drop(held);
    assert_eq!(running.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    assert!(mark.exists());
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn removing_the_user_ends_the_session_and_its_command() {
    let fixture = Fixture::new();
    let running = fixture.ssh().spawn("sleep 4242").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| s.running == ["sleep 4242"]));
    let removed = Instant::now();
    fixture.policy.set(policy(NOBODY));
    let output = running.wait(Duration::from_secs(20)).unwrap();
    println!("the user was out {:?} after the change", removed.elapsed());
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("access was withdrawn"), "{}", output.stderr_text());
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    let ended = &fixture.events_of("session.ended")[0];
    assert!(ended["reason"].as_str().unwrap().starts_with("access_withdrawn"), "{ended}");
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!(executed["outcome"], "unknown");
    assert_stopped(&fixture, "4242");
}

/// The process on the target is gone. OpenSSH refuses to signal the commands of an account that is root (it has no
/// privilege separation there), and nothing else ends a process without a terminal; then at least it was asked to.
fn assert_stopped(fixture: &Fixture, seconds: &str) {
    if fixture.sshd.user() == "root" {
        let executed = fixture.events_of("command.executed").pop().unwrap();
        assert!(executed["message"].as_str().unwrap().contains("may still be running"), "{executed}");
    }
    fixture.wait_for("the process is gone", |f| {
        !sleeping(seconds)
            || (f.sshd.user() == "root"
                && f.sshd.log().contains("session signalling requires privilege separation"))
    });
}

/// Is a `sleep` with this argument running on this machine?
pub(crate) fn sleeping(seconds: &str) -> bool {
    let wanted = format!("sleep\0{seconds}\0");
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_terminated_session_tells_its_user_why_and_the_record_by_whom() {
    let fixture = Fixture::new();
    let running = fixture.ssh().spawn("sleep 4343").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| s.running == ["sleep 4343"]));
    let live = fixture.registry.list().remove(0);
    assert_eq!((live.actor_id.as_str(), live.target_id.as_str(), live.commands), ("alice", "box", 1));
    assert!(fixture.registry.terminate(&live.session_id, Termination::new("bob", "maintenance at noon")));
    let output = running.wait(Duration::from_secs(20)).unwrap();
    assert!(output.stderr_text().contains("ended by bob: maintenance at noon"), "{}", output.stderr_text());
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    let ended = &fixture.events_of("session.ended")[0];
    assert_eq!((&ended["reason"], &ended["ended_by"]), (&"terminated".into(), &"bob".into()));
    // It leaves the list once its record is durable, which is after the event was taken.
    fixture.wait_for("it is off the list", |f| f.registry.list().is_empty());
    assert_stopped(&fixture, "4343");
}

#[test]
#[ignore = "needs sshd and unshare: cargo xtask test"]
fn a_command_of_an_ordinary_account_is_gone_when_its_session_is_cut() {
    let text = "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\nmode=\"managed\"\ncommands=[\"sleep *\"]\n";
    for (seconds, terminal) in [("4848", false), ("4949", true)] {
        for cut_by in ["termination", "policy"] {
            let options = SshdOptions::new().ordinary_account();
            let fixture = Fixture::with(text, options, Limits::default());
            let ssh = if terminal { fixture.ssh().arg("-tt") } else { fixture.ssh() };
            let running = ssh.spawn(format!("sleep {seconds}")).unwrap();
            fixture.wait_for("it runs", |_| sleeping(seconds));
            let cut = Instant::now();
            match cut_by {
                "policy" => fixture.policy.set(policy(NOBODY)),
                _ => {
                    let live = fixture.registry.list().remove(0);
                    fixture.registry.terminate(&live.session_id, Termination::new("bob", "maintenance"));
                }
            }
            fixture.wait_for("the process is gone", |_| !sleeping(seconds));
            println!("cut by {cut_by}, terminal {terminal}: the process was gone after {:?}", cut.elapsed());
            assert_eq!(running.wait(Duration::from_secs(20)).unwrap().code(), Some(255));
            fixture.wait_for("its end is on record", |f| !f.events_of("command.executed").is_empty());
            let executed = fixture.events_of("command.executed").pop().unwrap();
            let message = executed["message"].as_str().unwrap();
            assert!(!message.contains("may still be running"), "{executed}");
        }
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn nothing_is_sent_after_the_end_of_its_session() {
    let fixture = Fixture::new();
    let mark = fixture.mark();
    fixture.policy.set(policy(&format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"touch {}\", \"echo ...\"]\n",
        mark.display()
    )));
    let master = fixture.ssh().master().unwrap();
    master.run("echo warm").unwrap();
    let held = fixture.recorder.hold();
    let running = master.spawn(format!("touch {}", mark.display())).unwrap();
    fixture.wait_for("the command is with the recorder", |f| f.events_of("command.started").len() == 2);
    let live = fixture.registry.list().remove(0);
    assert!(fixture.registry.terminate(&live.session_id, Termination::new("bob", "enough")));
    fixture.wait_for("it is given up", |f| f.events_of("command.executed").len() == 2);
    drop(held);
    assert_eq!(running.wait(Duration::from_secs(20)).unwrap().code(), Some(255));
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    // Whatever had been sent would have run before this.
    fixture.direct().run("true").unwrap();
    assert!(!mark.exists());
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!((&executed["outcome"], &executed["reason"]), (&"blocked".into(), &"terminated".into()));
    drop(master);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn idle_and_longest_cut_after_a_warning() {
    for (rule, warned, code) in [
        ("idle=\"2s\" warn=\"1s\"", "idle", "idle_limit"),
        ("idle=\"1h\" longest=\"2s\" warn=\"1s\"", "ends in", "longest_duration"),
    ] {
        let rule = rule.replace(' ', "\n");
        let text =
            format!("[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"sleep *\"]\n{rule}\n");
        let fixture = Fixture::with(&text, SshdOptions::new(), Limits::default());
        let output = fixture.ssh().run("sleep 600").unwrap();
        assert_eq!(output.code(), Some(255));
        let said = output.stderr_text();
        let (warning, cut) = (said.find(warned), said.find("session ended"));
        assert!(warning.is_some() && warning < cut, "{said}");
        fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
        assert_eq!(fixture.events_of("session.ended")[0]["reason"], code);
        assert_eq!(fixture.events_of("session.warned").len(), 1);
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_recorder_that_fails_ends_the_session_and_nothing_runs() {
    let fixture = Fixture::new();
    let mark = fixture.mark();
    fixture.policy.set(policy(&format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"touch {}\", \"echo ...\", \"sleep *\"]\n",
        mark.display()
    )));
    let master = fixture.ssh().master().unwrap();
    let running = master.spawn("sleep 4444").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    fixture.recorder.inner.break_now();
    let output = master.run(format!("touch {}", mark.display())).unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(!mark.exists());
    assert_eq!(running.wait(Duration::from_secs(20)).unwrap().code(), Some(255));
    fixture.wait_for("the session is over", |f| f.registry.list().is_empty());
    let output = fixture.ssh().run("echo x").unwrap();
    assert_eq!((output.code(), output.stdout_text().as_str()), (Some(255), ""));
    assert!(output.stderr_text().contains("cannot record"), "{}", output.stderr_text());
    drop(master);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn shutdown_ends_sessions_with_a_reason_and_a_complete_record() {
    let fixture = Fixture::new();
    let running = fixture.ssh().spawn("sleep 4545").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    fixture.stop.lock().unwrap().take().unwrap().send(()).unwrap();
    let served = fixture.served.lock().unwrap().take().unwrap();
    fixture.runtime.block_on(served).unwrap().unwrap();
    let output = running.wait(Duration::from_secs(20)).unwrap();
    assert!(output.stderr_text().contains("shutting down"), "{}", output.stderr_text());
    let last = fixture.events_of("session.ended").pop().unwrap();
    assert_eq!(last["reason"], "proxy_shutdown");
    assert_eq!(fixture.events_of("command.executed").len(), 1);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_client_that_vanishes_ends_its_session() {
    let fixture = Fixture::new();
    let running = fixture.ssh().spawn("sleep 4646").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    running.kill().unwrap();
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    assert_eq!(fixture.events_of("session.ended")[0]["reason"], "client_left");
    assert_stopped(&fixture, "4646");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn who_is_not_admitted_hears_why_and_gets_nowhere() {
    let fixture = Fixture::with_policy(NOBODY);
    let output = fixture.ssh().run("echo x").unwrap();
    assert_eq!((output.code(), output.stdout_text().as_str()), (Some(255), ""));
    assert!(output.stderr_text().contains("refused"), "{}", output.stderr_text());
    assert_eq!(fixture.events_of("session.refused").len(), 1);
    assert!(fixture.events_of("target.connecting").is_empty());
    for name in ["alice+box", "alice+nowhere"] {
        let output = fixture.ssh().user(name).run("echo x").unwrap();
        assert_eq!(output.code(), Some(255), "{name}");
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_target_may_be_named_at_login() {
    let fixture = Fixture::with_policy(POLICY);
    let output = fixture.ssh().user("alice+box").run("echo named").unwrap();
    assert_eq!(output.stdout_text(), "named\n", "{}", output.stderr_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn connections_to_targets_have_a_limit_of_their_own() {
    let mut limits = Limits::default();
    limits.target_connections_max = 1;
    let fixture = Fixture::with(POLICY, SshdOptions::new(), limits);
    let running = fixture.ssh().spawn("sleep 600").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    let other = fixture.ssh().run("echo in").unwrap();
    assert_eq!(other.code(), Some(255));
    assert!(other.stderr_text().contains("too many connections to targets"), "{}", other.stderr_text());
    assert_eq!(fixture.events_of("target.failed")[0]["reason"], "too_many_target_connections");
    running.kill().unwrap();
    fixture.wait_for("the first one ends", |f| !f.events_of("session.ended").is_empty());
    fixture.wait_for("its place is free", |f| f.ssh().run("echo in").unwrap().code() == Some(0));
}
