//! People on terminals: a prompt, a raw shell, an operator who looks over the shoulder, and the end of it.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::{Running, Ssh};

use super::on_terminal::OnTerminal;
use super::stage::{BINARY, Demo, entries, mark, of_type, running_with, verify, wait_for};

fn sessions(demo: &Demo, args: &[&str]) -> std::process::Output {
    Command::new(BINARY).args(["sessions", "--socket", demo.socket()]).args(args).output().unwrap()
}

/// The id of the only session, once there is one.
fn session_id(demo: &Demo) -> String {
    let mut id = None;
    wait_for("a session", || {
        let listed = sessions(demo, &["list", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        id = listed["sessions"][0]["session_id"].as_str().map(str::to_owned);
        id.is_some()
    });
    id.unwrap()
}

fn watch(demo: &Demo, id: &str, size: (u16, u16)) -> OnTerminal {
    OnTerminal::spawn(BINARY, &["sessions", "--socket", demo.socket(), "watch", id], size)
}

/// Waits until a program has shown `text` on its terminal.
fn shows(running: &Running, text: &str) {
    let came = running.wait_for_stdout(text, Duration::from_secs(20));
    assert!(came, "no `{text}` in: {}", String::from_utf8_lossy(&running.stdout()).escape_debug());
}

fn on_terminal(ssh: Ssh) -> Running {
    ssh.arg("-tt").env("TERM", "xterm").spawn_shell().unwrap()
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_managed_user_has_a_prompt_a_directory_and_nothing_that_is_not_permitted() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let room = dir.path().join("room");
    std::fs::create_dir(&room).unwrap();
    std::fs::write(room.join("seen-from-here"), "").unwrap();
    let touched = dir.path().join("touched");

    let mut prompt = on_terminal(demo.ssh_as("maria"));
    // What is typed while a command runs belongs to the command, so each line waits for its prompt.
    let prompted = |prompt: &Running, times: usize| {
        let count = || String::from_utf8_lossy(&prompt.stdout()).matches("$ ").count();
        wait_for("a prompt", || count() == times);
    };
    prompted(&prompt, 1);
    shows(&prompt, "maria@demo-target:~$ ");
    prompt.write(b"echo one   two\r").unwrap();
    shows(&prompt, "one two\r\n");
    prompted(&prompt, 2);
    prompt.write(format!("cd {}\r", room.display()).as_bytes()).unwrap();
    shows(&prompt, "/room$ ");
    prompt.write(b"ls\r").unwrap();
    shows(&prompt, "seen-from-here");
    prompted(&prompt, 4);
    prompt.write(format!("touch {}\r", touched.display()).as_bytes()).unwrap();
    shows(&prompt, "blocked: ");
    prompted(&prompt, 5);
    prompt.write(b"exit\r").unwrap();
    assert_eq!(prompt.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    assert!(!touched.exists());

    let data_dir = demo.data_dir.clone();
    demo.terminate();
    verify(&data_dir).unwrap();
    let entries = entries(&data_dir);
    let commands: Vec<_> =
        of_type(&entries, "command.started").iter().map(|e| e["command"].clone()).collect();
    assert_eq!(commands, ["echo one   two", "ls"]);
    assert_eq!(of_type(&entries, "command.blocked").len(), 1);
    assert_eq!(of_type(&entries, "terminal.started").len(), 1);
    assert_eq!(of_type(&entries, "terminal.ended").len(), 1);
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn an_unrestricted_user_has_a_shell_that_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let mut shell = on_terminal(demo.ssh_as("ursula"));
    shell.write(b"PS1='raw> '\r").unwrap();
    shows(&shell, "raw> ");
    // A pipe, a variable, arithmetic: whatever the shell can.
    shell.write(b"x=6; echo answer-$((x*7)) | tr a-z A-Z\r").unwrap();
    shows(&shell, "ANSWER-42\r\n");
    shell.write(b"exit 5\r").unwrap();
    assert_eq!(shell.wait(Duration::from_secs(20)).unwrap().code(), Some(5));
    let data_dir = demo.data_dir.clone();
    demo.terminate();
    let entries = entries(&data_dir);
    let recorded: String = of_type(&entries, "terminal.output")
        .iter()
        .filter_map(|entry| entry["text"].as_str().map(str::to_owned))
        .collect();
    assert!(recorded.contains("ANSWER-42"), "{recorded}");
    let ended = of_type(&entries, "terminal.ended").pop().unwrap();
    assert!(ended["input_bytes"].as_u64().unwrap() > 10, "{ended}");
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_late_watcher_sees_the_screen_as_it_is_and_leaves_no_trace_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let mut shell = on_terminal(demo.ssh_as("ursula"));
    shell.write(b"PS1='raw> '\r").unwrap();
    shows(&shell, "raw> ");
    shell.write(b"clear; echo before-anybody-$((40+2))\r").unwrap();
    shows(&shell, "before-anybody-42");
    let id = session_id(&demo);

    let watcher = watch(&demo, &id, (90, 30));
    wait_for("it is seen", || watcher.text(90, 30).contains("before-anybody-42"));
    assert!(watcher.text(90, 30).contains("watching ursula on demo-target"));
    shell.write(b"echo while-watched-$((40+3))\r").unwrap();
    wait_for("changes are seen", || watcher.text(90, 30).contains("while-watched-43"));
    watcher.press("q");
    let (status, bytes) = watcher.wait();
    assert_eq!(status, Some(0));
    assert!(bytes.ends_with(b"\x1b[?1049l"), "the terminal is given back");
    // The session is untouched.
    shell.write(b"echo still-$((40+4)); exit\r").unwrap();
    shows(&shell, "still-44");
    shell.wait(Duration::from_secs(20)).unwrap();

    let data_dir = demo.data_dir.clone();
    demo.terminate();
    let entries = entries(&data_dir);
    let (watched, unwatched) = (of_type(&entries, "session.watched"), of_type(&entries, "session.unwatched"));
    assert_eq!((watched.len(), unwatched.len()), (1, 1));
    assert_eq!(
        (watched[0]["actor_id"].as_str(), watched[0]["outcome"].as_str()),
        (Some("ursula"), Some("success"))
    );
    assert!(watched[0]["operator"].is_string());
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_session_without_a_terminal_is_watched_as_its_commands_and_their_output() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let master = demo.ssh_as("alice").master().unwrap();
    let id = session_id(&demo);
    let watcher = watch(&demo, &id, (90, 30));
    wait_for("it begins", || watcher.text(90, 30).contains("watching alice on demo-target"));
    assert_eq!(master.run("echo printed").unwrap().code(), Some(0));
    wait_for("both are seen", || {
        let text = watcher.text(90, 30);
        text.contains("echo printed") && text.lines().any(|line| line == "printed")
    });
    // A key that means nothing does nothing; the end of the session ends the watching.
    watcher.press("x");
    assert!(sessions(&demo, &["terminate", &id, "--reason", "lunch"]).status.success());
    let (status, bytes) = watcher.wait();
    assert_eq!(status, Some(0));
    assert!(String::from_utf8_lossy(&bytes).ends_with("lunch\r\n"), "{}", String::from_utf8_lossy(&bytes));
    drop(master);
    demo.terminate();
}

/// What a program prints to harm whoever looks: clipboard, title, device queries, mouse, paste mode, character sets.
const HOSTILE: &str = r"printf '\033]52;c;ZXZpbA==\007\033]0;owned\007\033[c\033[6n\033[>0q\033P+q544e\033\\\033[?1000h\033[?2004h\033[21t\033[5i\033(0\033c\033[?1049h'; echo harm''less\r";

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn hostile_output_never_acts_on_the_watcher_s_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let mut shell = on_terminal(demo.ssh_as("ursula"));
    shell.write(b"PS1='raw> '\r").unwrap();
    shows(&shell, "raw> ");
    let id = session_id(&demo);
    let watcher = watch(&demo, &id, (90, 30));
    wait_for("it is seen", || watcher.text(90, 30).contains("raw> "));
    shell.write(HOSTILE.replace("\\r", "\r").as_bytes()).unwrap();
    shows(&shell, "\u{1b}]52;c;");
    shows(&shell, "harmless\r\n");
    wait_for("it is seen", || watcher.text(90, 30).contains("harmless"));
    // One who comes later, too, and one who reads JSON.
    let late = watch(&demo, &id, (90, 30));
    wait_for("it is seen", || late.text(90, 30).contains("harmless"));
    let mut json = Command::new(BINARY);
    json.args(["sessions", "--json", "--socket", demo.socket(), "watch", &id]);
    let json = Running::spawn(json).unwrap();
    assert!(json.wait_for_stdout("harmless", Duration::from_secs(20)));
    watcher.press("\x03");
    late.press("q");
    let seen = [watcher.wait().1, late.wait().1, json.kill().unwrap().stdout];
    for (bytes, of_json) in seen.iter().zip([false, false, true]) {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let (text, escape) = if of_json { (text, "\\u001b") } else { (text, "\u{1b}") };
        for sequence in ["]", "P", "[c", "[6n", "[>", "[?1000", "[?2004", "[21t", "[5i", "(0", "c"] {
            assert!(!text.contains(&format!("{escape}{sequence}")), "{sequence} in {text:?}");
        }
        assert!(!text.contains('\u{7}') && !text.contains('\u{9b}'));
        if of_json {
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        }
    }
    drop(shell);
    demo.terminate();
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn termination_ends_what_runs_on_the_target_within_a_second_and_says_who_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let mut shell = on_terminal(demo.ssh_as("ursula"));
    shell.write(b"PS1='raw> '\r").unwrap();
    shows(&shell, "raw> ");
    let (behind, before) = (mark(77_711), mark(77_712));
    shell.write(format!("sleep {behind} & trap '' TERM HUP; sleep {before}\r").as_bytes()).unwrap();
    wait_for("both run", || running_with(&behind) == 1 && running_with(&before) == 1);
    let id = session_id(&demo);
    let asked = Instant::now();
    assert!(sessions(&demo, &["terminate", &id, "--reason", "lunch"]).status.success());
    wait_for("both are gone", || running_with(&behind) == 0 && running_with(&before) == 0);
    println!("what ran on the target was gone {:?} after the termination was asked for", asked.elapsed());
    let output = shell.wait(Duration::from_secs(20)).unwrap();
    let said = output.stdout_text() + &output.stderr_text();
    assert!(said.contains("lunch"), "{said}");
    let data_dir = demo.data_dir.clone();
    demo.terminate();
    let ended = of_type(&entries(&data_dir), "session.ended").pop().unwrap();
    assert_eq!(ended["reason"], "terminated");
    assert!(ended["ended_by"].is_string(), "{ended}");
}
