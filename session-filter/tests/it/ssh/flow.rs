//! Channels side by side: one that stalls does not hold up the others, and nothing grows without limit.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use session_filter::ssh::Limits;
use testbed::{Master, SshdOptions};

use super::fixture::{Fixture, POLICY};

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.pending_bytes_max = 1024 * 1024;
    limits.upload_stall = Duration::from_secs(2);
    limits
}

/// `ssh` through a master, with its standard streams left to the test.
fn through(master: &Master, line: &str, input: Stdio) -> Child {
    Command::new("ssh")
        .args(["-F", "none", "-o", "ControlMaster=no", "-S"])
        .arg(master.socket())
        .args(["alice@proxy", line])
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn downloads_that_nobody_reads_leave_the_others_alone() {
    let fixture = Fixture::new();
    let master = fixture.ssh().master().unwrap();
    // Their output fills every buffer on the way and stands still.
    let mut stalled: Vec<Child> =
        (0..3).map(|_| through(&master, "head -c 2000000000 /dev/zero", Stdio::null())).collect();
    let all = |f: &Fixture| f.registry.list().iter().any(|s| s.running.len() == 3);
    fixture.wait_for("they run", all);
    for n in 0..20 {
        let output = master.run(format!("echo {n}")).unwrap();
        assert_eq!(output.stdout_text(), format!("{n}\n"), "{}", output.stderr_text());
    }
    assert_eq!(master.run("head -c 20000000 /dev/zero").unwrap().stdout.len(), 20_000_000);
    assert!(all(&fixture), "they still stand");
    for child in &mut stalled {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    fixture.wait_for("their ends are on record", |f| {
        f.events_of("command.executed").iter().filter(|e| e["reason"] == "client_left").count() == 3
    });
    fixture.assert_alive();
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn an_upload_that_nobody_takes_waits_up_to_the_limit_and_is_then_given_up_alone() {
    let fixture = Fixture::with(POLICY, SshdOptions::new(), limits());
    let master = fixture.ssh().master().unwrap();
    let mut small = through(&master, "sleep 5151", Stdio::piped());
    let mut large = through(&master, "sleep 5252", Stdio::piped());
    fixture.wait_for("they run", |f| f.registry.list().iter().any(|s| s.running.len() == 2));
    // What fits the limit waits, and goes on waiting.
    std::io::Write::write_all(small.stdin.as_mut().unwrap(), &vec![0; 512 * 1024]).unwrap();
    assert_eq!(master.run("echo beside").unwrap().stdout_text(), "beside\n");
    // What does not fit is given up.
    let mut stdin = large.stdin.take().unwrap();
    let writing =
        std::thread::spawn(move || while std::io::Write::write_all(&mut stdin, &[0; 64 * 1024]).is_ok() {});
    let output = large.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("takes no more input"), "{said}");
    writing.join().unwrap();
    fixture.wait_for("it is on record", |f| {
        f.events_of("command.executed").iter().any(|e| e["reason"] == "upload_stalled")
    });
    for n in 0..5 {
        assert_eq!(master.run(format!("echo {n}")).unwrap().stdout_text(), format!("{n}\n"));
    }
    assert!(small.try_wait().unwrap().is_none(), "the other one still runs");
    small.kill().unwrap();
    small.wait().unwrap();
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_slow_reader_gets_a_large_upload_whole() {
    let policy = POLICY
        .replace("\"wc -c\"", "\"sh -c 'for i in 1 2 3; do sleep 1; head -c 4000000 | wc -c; done; wc -c'\"");
    let fixture = Fixture::with(&policy, SshdOptions::new(), limits());
    let output = fixture
        .ssh()
        .stdin(vec![0; 40_000_000])
        .run("sh -c 'for i in 1 2 3; do sleep 1; head -c 4000000 | wc -c; done; wc -c'")
        .unwrap();
    let sizes: Vec<usize> = output.stdout_text().lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(sizes.len(), 4, "{} / {}", output.stdout_text(), output.stderr_text());
    assert_eq!(sizes.iter().sum::<usize>(), 40_000_000, "{sizes:?}");
    assert_eq!(fixture.events_of("command.executed")[0]["stdin_bytes"], 40_000_000);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_gibibyte_goes_through_while_keys_are_renewed_every_64_mebibytes() {
    const SIZE: u64 = 1 << 30;
    let fixture = Fixture::new();
    let line = format!("head -c {SIZE} /dev/zero");
    let master = fixture.ssh().option("RekeyLimit=64M").master().unwrap();
    let mut download = through(&master, &line, Stdio::null());
    let got = std::io::copy(download.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!((got, download.wait().unwrap().code()), (SIZE, Some(0)));
    let mut zeros = Command::new("head")
        .args(["-c", &SIZE.to_string(), "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let upload = through(&master, "wc -c", zeros.stdout.take().unwrap().into()).wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&upload.stdout).trim(), SIZE.to_string());
    assert!(zeros.wait().unwrap().success());
    fixture.wait_for("both are on record", |f| f.events_of("command.executed").len() == 2);
    let executed = fixture.events_of("command.executed");
    assert_eq!((&executed[0]["stdout"]["bytes"], &executed[1]["stdin_bytes"]), (&SIZE.into(), &SIZE.into()));
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn one_connection_to_the_target_serves_commands_in_turn_and_each_beside_it_has_its_own() {
    let fixture = Fixture::new();
    let master = fixture.ssh().master().unwrap();
    for n in 0..4 {
        master.run(format!("echo {n}")).unwrap();
    }
    assert_eq!(fixture.events_of("target.connected").len(), 1);
    let slow = master.spawn("sleep 5353").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    for n in 0..4 {
        master.run(format!("echo {n}")).unwrap();
    }
    assert_eq!(fixture.events_of("target.connected").len(), 2);
    master.stop().unwrap();
    drop(slow.kill());
}
