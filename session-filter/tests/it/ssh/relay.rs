//! What goes through, goes through whole.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::fixture::{Fixture, POLICY};

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn streams_and_exit_statuses_arrive_as_they_are() {
    let fixture = Fixture::new();
    let output = fixture.ssh().run("sh -c 'echo out; echo err >&2'").unwrap();
    assert_eq!(output.stdout_text(), "out\n");
    assert!(output.stderr_text().contains("err\n"));
    assert_eq!(output.code(), Some(0));
    assert_eq!(fixture.ssh().run("sh -c 'exit 7'").unwrap().code(), Some(7));
    // A shell killed by a signal: sshd reports a signal, ssh exits with 255.
    assert_eq!(fixture.ssh().run("sh -c 'kill -TERM $$'").unwrap().code(), Some(255));
    let executed = fixture.events_of("command.executed");
    assert_eq!(executed[0]["stdout"]["head"]["text"], "out\n");
    assert_eq!(executed[0]["stderr"]["head"]["text"], "err\n");
    assert_eq!((&executed[1]["exit_status"], &executed[1]["outcome"]), (&7.into(), &"failure".into()));
    assert_eq!((&executed[2]["exit_signal"], &executed[2]["outcome"]), (&"TERM".into(), &"failure".into()));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn input_is_relayed_and_counted_but_not_kept() {
    let fixture = Fixture::new();
    let secret = "hunter2-typed-into-a-program\n".repeat(10_000);
    let output = fixture.ssh().stdin(secret.clone()).run("wc -c").unwrap();
    assert_eq!(output.stdout_text().trim(), secret.len().to_string());
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!(executed["stdin_bytes"], secret.len());
    assert!(fixture.events_text().iter().all(|event| !event.contains("hunter2")));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn large_output_is_relayed_whole_and_recorded_by_hash() {
    let fixture = Fixture::new();
    let size = 20 * 1024 * 1024;
    let output = fixture.ssh().run(format!("head -c {size} /dev/zero")).unwrap();
    assert_eq!(output.stdout.len(), size);
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!(executed["stdout"]["bytes"], size);
    let hash: String = Sha256::digest(&output.stdout).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(executed["stdout"]["sha256"], hash.as_str());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn full_recording_keeps_every_byte_in_order() {
    let policy = POLICY.replace("acknowledge", "record = \"full\"\nacknowledge");
    let fixture = Fixture::with_policy(&policy);
    let size = 3 * 1024 * 1024;
    let output = fixture.ssh().run(format!("head -c {size} /dev/zero")).unwrap();
    assert_eq!(output.stdout.len(), size);
    let mut expected = 0;
    for piece in fixture.events_of("command.output") {
        assert_eq!(piece["offset"], expected);
        expected += match piece["text"].as_str() {
            Some(text) => text.len(),
            None => piece["base64"].as_str().unwrap().trim_end_matches('=').len() * 3 / 4,
        };
    }
    assert_eq!(expected, size);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn commands_of_one_connection_run_side_by_side() {
    let fixture = Fixture::new();
    let master = fixture.ssh().master().unwrap();
    let slow = master.spawn("sleep 4747").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    assert_eq!(master.run("echo meanwhile").unwrap().stdout_text(), "meanwhile\n");
    master.stop().unwrap();
    assert_eq!(slow.wait(Duration::from_secs(20)).unwrap().code(), Some(255));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn every_command_has_a_record_before_and_after() {
    let fixture = Fixture::new();
    for n in 0..5 {
        fixture.ssh().run(format!("echo {n}")).unwrap();
    }
    fixture.wait_for("all ended", |f| f.events_of("session.ended").len() == 5);
    let (started, executed) = (fixture.events_of("command.started"), fixture.events_of("command.executed"));
    for (before, after) in started.iter().zip(&executed) {
        assert_eq!(before["correlation_id"], after["correlation_id"]);
        assert_eq!(before["rule"], "echo ...");
        assert_eq!(before["actor_id"], "alice");
        assert_eq!(before["source_ip"], "127.0.0.1");
    }
    assert_eq!((started.len(), executed.len()), (5, 5));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_stalled_reader_does_not_keep_its_session_from_ending() {
    let fixture = Fixture::new();
    let running = fixture.ssh().spawn("head -c 2000000000 /dev/zero").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    let live = fixture.registry.list().remove(0);
    let end = session_filter::registry::Termination::new("bob", "enough");
    assert!(fixture.registry.terminate(&live.session_id, end));
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    drop(running.wait(Duration::from_secs(30)));
}
