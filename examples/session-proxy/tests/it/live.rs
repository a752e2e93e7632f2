//! A running proxy: files that change under it, people who look in, the signal to stop.

use std::process::Command;
use std::time::{Duration, Instant};

use super::stage::{BINARY, Demo, entries, of_type, verify, wait_for};

fn sessions(demo: &Demo, args: &[&str]) -> std::process::Output {
    Command::new(BINARY).args(["sessions", "--socket", demo.socket()]).args(args).output().unwrap()
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn an_edited_policy_reaches_the_next_command_and_a_mistake_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let policy = demo.data_dir.join("policy.toml");
    let master = demo.ssh().master().unwrap();
    assert_eq!(master.run("uname").unwrap().code(), Some(126));

    demo.permit("uname");
    assert_eq!(master.run("uname").unwrap().code(), Some(0));

    std::fs::write(&policy, "[[permit]]\nusers = [\"alice\"]\ntargets = 7\n").unwrap();
    wait_for("the mistake is told", || demo.stderr().contains("policy not changed"));
    assert!(demo.stderr().contains("line 3, column"), "{}", demo.stderr());
    assert_eq!(master.run("uname").unwrap().code(), Some(0), "the old policy stays in force");
    master.stop().unwrap();
    let data_dir = demo.data_dir.clone();
    demo.terminate();
    let entries = entries(&data_dir);
    assert_eq!(
        (of_type(&entries, "policy.changed").len(), of_type(&entries, "policy.rejected").len()),
        (1, 1)
    );
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_user_removed_from_the_list_is_out() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    demo.permit("sleep *");
    let running = demo.ssh().spawn("sleep 600").unwrap();
    wait_for("it runs", || String::from_utf8_lossy(&sessions(&demo, &["list"]).stdout).contains("sleep 600"));

    let removed = Instant::now();
    std::fs::write(demo.data_dir.join("users.toml"), "# nobody\n").unwrap();
    let output = running.wait(Duration::from_secs(20)).unwrap();
    let took = removed.elapsed();
    assert!(output.stderr_text().contains("access was withdrawn"), "{}", output.stderr_text());
    println!("the user was out {took:?} after the file changed");
    assert_ne!(demo.ssh().run("echo x").unwrap().code(), Some(0));
    demo.terminate();
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn sessions_are_listed_and_ended_through_the_control_socket() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let master = demo.ssh().master().unwrap();
    master.run("echo x").unwrap();
    let listed = sessions(&demo, &["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let session = &listed["sessions"][0];
    assert_eq!((session["actor_id"].as_str(), session["commands"].as_u64()), (Some("alice"), Some(1)));
    let id = session["session_id"].as_str().unwrap();

    let none = sessions(&demo, &["terminate", "no-such-session"]);
    assert!(!none.status.success());
    assert!(String::from_utf8_lossy(&none.stderr).contains("no such session"));
    let ended = sessions(&demo, &["terminate", id, "--reason", "lunch"]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    wait_for("the session is gone", || {
        String::from_utf8_lossy(&sessions(&demo, &["list"]).stdout).contains("nobody is in")
    });
    drop(master);
    let data_dir = demo.data_dir.clone();
    demo.terminate();
    let ended = of_type(&entries(&data_dir), "session.ended").pop().unwrap();
    assert_eq!(ended["reason"], "terminated");
    assert!(ended["message"].as_str().unwrap().contains("lunch"));
    assert!(ended["ended_by"].is_string(), "{ended}");
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn sigterm_in_mid_session_leaves_a_reason_and_a_complete_log() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    demo.permit("sleep *");
    let running = demo.ssh().spawn("sleep 600").unwrap();
    wait_for("it runs", || String::from_utf8_lossy(&sessions(&demo, &["list"]).stdout).contains("sleep 600"));
    let data_dir = demo.data_dir.clone();
    let stopped = demo.terminate();
    assert_eq!(stopped.code(), Some(0), "{}", stopped.stderr_text());
    let output = running.wait(Duration::from_secs(20)).unwrap();
    assert!(output.stderr_text().contains("shutting down"), "{}", output.stderr_text());
    let entries = entries(&data_dir);
    assert_eq!(of_type(&entries, "session.ended").pop().unwrap()["reason"], "proxy_shutdown");
    assert_eq!(of_type(&entries, "command.executed").len(), 1);
    let report = verify(&data_dir).unwrap();
    assert_eq!(report.end, audit_log::End::Closed);
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn the_log_verifies_while_the_proxy_writes() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let master = demo.ssh().master().unwrap();
            for n in 0..60 {
                assert_eq!(master.run(format!("echo {n}")).unwrap().code(), Some(0));
            }
            master.stop().unwrap();
        });
        let mut verified = 0;
        while !writing.is_finished() {
            verify(&demo.data_dir).unwrap();
            verified += 1;
        }
        assert!(verified > 3);
        writing.join().unwrap();
    });
    demo.terminate();
}

/// Output that grows when it is written as JSON still fits the log, digest and full recording alike.
#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn output_of_any_bytes_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let bytes = dir.path().join("bytes");
    let mut content = vec![0_u8; 100_000];
    content.extend((0..=255).cycle().take(100_000));
    content.extend(b"\x1b]0;title\x07".repeat(5_000));
    std::fs::write(&bytes, &content).unwrap();
    let policy = demo.data_dir.join("policy.toml");
    let text = std::fs::read_to_string(&policy).unwrap();
    for (changes, record) in ["digest", "full"].into_iter().enumerate() {
        let rule = format!("\"ls ...\", \"cat {}\"]\nrecord = \"{record}\"\n#", bytes.display());
        std::fs::write(&policy, text.replace("\"ls ...\"", &rule)).unwrap();
        wait_for("the change is taken", || demo.stderr().matches("policy changed").count() > changes);
        let output = demo.ssh().run(format!("cat {}", bytes.display())).unwrap();
        assert_eq!((output.code(), output.stdout == content), (Some(0), true), "{}", output.stderr_text());
    }
    let data_dir = demo.data_dir.clone();
    demo.terminate();
    let entries = entries(&data_dir);
    let recorded: u64 = of_type(&entries, "command.output")
        .iter()
        .map(|piece| match piece["text"].as_str() {
            Some(text) => text.len() as u64,
            None => (piece["base64"].as_str().unwrap().trim_end_matches('=').len() * 3 / 4) as u64,
        })
        .sum();
    assert_eq!(recorded, content.len() as u64);
    assert_eq!(of_type(&entries, "command.executed").len(), 2);
}
