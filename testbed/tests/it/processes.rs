use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testbed::{Error, Running};

const LIMIT: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Running {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    Running::spawn(command).unwrap()
}

#[test]
fn collects_both_streams_and_the_exit_code() {
    let mut running = shell("cat; echo err >&2; exit 7");
    running.write(b"in").unwrap();
    running.close_stdin();
    let output = running.wait(LIMIT).unwrap();
    assert_eq!(
        (output.code(), output.stdout_text(), output.stderr_text()),
        (Some(7), "in".into(), "err\n".into())
    );
}

#[test]
fn sees_output_while_the_program_runs() {
    let mut running = shell("echo ready; read line; echo got $line");
    assert!(running.wait_for_stdout("ready", LIMIT));
    running.write(b"it\n").unwrap();
    assert!(running.wait_for_stdout("got it", LIMIT));
    assert!(!running.wait_for_stdout("never printed", LIMIT), "returns when the stream ends");
}

#[test]
fn kills_at_the_deadline_and_keeps_what_was_printed() {
    match shell("echo before; sleep 1000").wait(Duration::from_millis(300)) {
        Err(Error::TimedOut { output, .. }) => assert!(!output.status.success()),
        other => panic!("expected a timeout, got {other:?}"),
    }
}

#[test]
fn dropping_kills_the_whole_process_group() {
    let running = shell("sleep 1000 & echo $!; wait");
    assert!(running.wait_for_stdout("\n", LIMIT));
    let pid = String::from_utf8(running.stdout()).unwrap().trim().to_owned();
    assert!(is_alive(&pid));
    drop(running);
    assert!(gone_soon(&pid));
}

#[test]
fn does_not_block_on_a_program_that_never_reads() {
    let mut running = shell("exit 0");
    running.close_stdin();
    assert_eq!(running.wait(LIMIT).unwrap().code(), Some(0));
}

/// A killed process may stay as a zombie until its new parent waits for it; then it no longer runs.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

pub(crate) fn gone_soon(pid: &str) -> bool {
    let deadline = std::time::Instant::now() + LIMIT;
    while is_alive(pid) {
        if std::time::Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}
