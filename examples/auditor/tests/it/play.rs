use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::made::{ALICE, BOB, Made, event};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use session_filter::StreamDigest;
use tempfile::TempDir;

const ONE: &str = "01980000-0000-7000-8000-0000000000e1";
const TWO: &str = "01980000-0000-7000-8000-0000000000e2";

/// Events of one terminal: when, and what; outputs count their own offsets.
fn terminal(session: &str, id: &str, moments: &[(u64, Value)]) -> Vec<Value> {
    let subject =
        json!({"actor_id": "alice", "target_id": "web-1", "session_id": session, "recording_id": id});
    let (mut offset, mut digest) = (0, StreamDigest::new());
    let mut events = Vec::new();
    for (at_ms, detail) in moments {
        let clock = format!("2026-01-31T09:15:{:02}.{:03}Z", at_ms / 1000, at_ms % 1000);
        let mut made = event(&subject, &clock, json!({"outcome": "success"}));
        let members = made.as_object_mut().unwrap();
        members.extend(detail.as_object().unwrap().clone());
        if members["event_type"] != "terminal.started" {
            members.extend([("at_ms".into(), (*at_ms).into()), ("offset".into(), offset.into())]);
        }
        match members["event_type"].as_str().unwrap() {
            "terminal.output" => {
                members.insert("sensitive".into(), json!(["text", "base64"]));
                let text = members["text"].as_str().unwrap();
                offset += text.len();
                digest.update(text.as_bytes());
            }
            "terminal.ended" => {
                let sha256 = std::mem::take(&mut digest).finish().sha256;
                members.extend([("sha256".into(), sha256.into()), ("input_bytes".into(), 0.into())]);
            }
            _ => {}
        }
        events.push(made);
    }
    events
}

fn started() -> Value {
    json!({"event_type": "terminal.started", "width": 40, "height": 6, "term": "xterm"})
}

fn output(text: &str) -> Value {
    json!({"event_type": "terminal.output", "text": text})
}

fn usual(id: &str) -> Vec<Value> {
    let command =
        |line: &str| json!({"event_type": "command.started", "command": line, "rule": "*", "rule_line": 1});
    terminal(
        ALICE,
        id,
        &[
            (0, started()),
            (0, output("$ ")),
            (1_000, command("df -h")),
            (1_200, output("df -h\r\n\x1b[1mFile\x1b[0msystem\r\n$ ")),
            (
                5_000,
                json!({"event_type": "command.blocked", "command": "rm -rf /hunter2", "sensitive": ["command"], "outcome": "blocked"}),
            ),
            (5_100, output("rm -rf /hunter2\r\nblocked\r\n$ ")),
            (9_000, command("uptime")),
            (9_500, output("uptime\r\n\x1b]52;c;aGk=\x07\x1b]0;owned\x07\x1b[6n\u{202e}up 3 da")),
            (9_600, output("ys\r\n")),
            (30_000, json!({"event_type": "terminal.ended"})),
        ],
    )
}

#[test]
fn a_recording_is_exported_as_asciicast() {
    let made = Made::of(&usual(ONE));
    let said = made.run(&["export", ALICE, "--cast"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[0],
        json!({"version": 2, "width": 40, "height": 6, "timestamp": 1_769_850_900, "env": {"TERM": "xterm"},
               "title": format!("alice on web-1, session {ALICE}")})
    );
    assert_eq!(
        lines[1..5],
        [
            json!([0.0, "o", "$ "]),
            json!([1.0, "m", "df -h"]),
            json!([1.2, "o", "df -h\r\n\x1b[1mFile\x1b[0msystem\r\n$ "]),
            json!([5.0, "m", "blocked: rm -rf /hunter2"]),
        ]
    );
    assert!(
        !said.out.contains(
            |character: char| character.is_control() && character != '\n' || character == '\u{202e}'
        )
    );
}

#[test]
fn a_file_is_written_once_and_for_its_owner_only() {
    let made = Made::of(&usual(ONE));
    let file = made.path().join("alice.cast");
    let name = file.to_str().unwrap();
    let (status, summary) = made.json(&["export", &ALICE[..30], "--cast", "-o", name]);
    assert_eq!(status, 0);
    assert_eq!(
        (&summary[0]["whole"], &summary[0]["duration_ms"], &summary[0]["commands"]),
        (&json!(true), &json!(30_000), &json!(3))
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), made.run(&["export", ALICE, "--cast"]).out);
    let said = made.run(&["export", ALICE, "--cast", "-o", name]);
    assert_eq!(said.status, 2, "an existing file is not overwritten: {said:?}");
    assert_eq!(made.run(&["export", ALICE]).status, 2, "the form must be named");
}

#[test]
fn what_is_missing_is_said_and_is_exit_status_3() {
    let whole = usual(ONE);
    for (left_out, complaint) in [
        (3, "29 bytes that were shown before 5.100 s are not on record"),
        (9, "its end is not on record"),
        (0, "its beginning is not on record"),
    ] {
        let mut events = whole.clone();
        events.remove(left_out);
        let made = Made::of(&events);
        for command in [&["export", ALICE, "--cast"][..], &["play", ALICE]] {
            let said = made.run(command);
            assert_eq!(said.status, 3, "{said:?}");
            assert!(said.err.contains(complaint) && !said.out.is_empty(), "{said:?}");
        }
    }
    let mut events = whole;
    events[8].as_object_mut().unwrap().insert("text".into(), "xx\r\n".into());
    let said = Made::of(&events).run(&["play", ALICE]);
    assert!(said.status == 3 && said.err.contains("SHA-256 differs"), "{said:?}");
}

#[test]
fn an_altered_log_is_neither_played_nor_exported() {
    let made = Made::of(&usual(ONE));
    made.edit("segment-00000000.log", |bytes| bytes[2048 + 200] ^= 1);
    let file = made.path().join("alice.cast");
    for command in [
        &["play", ALICE][..],
        &["--json", "play", ALICE],
        &["export", ALICE, "--cast", "-o", file.to_str().unwrap()],
    ] {
        let said = made.run(command);
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.err.contains("tampered"), "{said:?}");
    }
    assert!(!file.exists());
}

#[test]
fn without_a_terminal_a_recording_is_text() {
    let made = Made::of(&usual(ONE));
    let said = made.run(&["play", ALICE]);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    assert_eq!(
        said.out.lines().skip(2).collect::<Vec<_>>(),
        [
            "     1.000 ▸ $ df -h",
            "     1.200   $ df -h",
            "     1.200   Filesystem",
            "     5.000 ▸ ✗ rm -rf /hunter2",
            "     5.100   $ rm -rf /hunter2",
            "     5.100   blocked",
            "     9.000 ▸ $ uptime",
            "     9.500   $ uptime",
            "     9.600   up 3 days",
        ]
    );
    let from = |arguments: &[&str]| {
        made.run(&[&["play", ALICE], arguments].concat()).out.lines().nth(2).unwrap().to_owned()
    };
    assert_eq!(from(&["--at", "5.05"]), "     5.100   $ rm -rf /hunter2");
    assert_eq!(from(&["--command", "3"]), "     9.000 ▸ $ uptime");
    assert_eq!(from(&["--search", "3 days"]), "     9.600   up 3 days");
    let (status, events) = made.json(&["play", ALICE, "--at", "9"]);
    let types: Vec<&str> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(
        (status, types),
        (
            0,
            vec![
                "terminal.started",
                "command.started",
                "terminal.output",
                "terminal.output",
                "terminal.ended"
            ]
        )
    );
}

#[test]
fn places_that_are_not_there_are_refused() {
    let made = Made::of(&usual(ONE));
    for arguments in [
        &["--command", "4"][..],
        &["--command", "0"],
        &["--search", "never shown"],
        &["--at", "-1"],
        &["--speed", "0"],
        &["--speed", "NaN"],
        &["--idle-limit", "-1"],
        &["--recording", "2"],
        &["--recording", ""],
        &["--at", "1", "--command", "1"],
    ] {
        let said = made.run(&[&["play", ALICE], arguments].concat());
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{arguments:?}: {said:?}");
    }
    let said = Made::usual().run(&["play", BOB]);
    assert!(said.status == 2 && said.err.contains("nothing was recorded"), "{said:?}");
}

#[test]
fn one_of_several_recordings_is_named_by_number_or_id() {
    let made = Made::of(&usual(ONE));
    made.append(&terminal(
        ALICE,
        TWO,
        &[(0, started()), (10, output("second")), (20, json!({"event_type": "terminal.ended"}))],
    ));
    let said = made.run(&["play", ALICE]);
    assert_eq!(said.status, 2);
    assert!(
        said.err.contains(ONE) && said.err.contains(TWO) && said.err.contains("2 recordings"),
        "{said:?}"
    );
    for (wanted, shown) in [("1", "uptime"), ("2", "second"), (ONE, "uptime"), (&TWO[..36], "second")] {
        let said = made.run(&["play", ALICE, "--recording", wanted]);
        assert!(said.status == 0 && said.out.contains(shown), "{wanted}: {said:?}");
    }
    assert_eq!(made.run(&["play", ALICE, "--recording", &ONE[..8]]).status, 2, "both begin so");
    let said = made.run(&["search", "second"]);
    assert!(said.out.contains(&format!("--recording {TWO} --at 0.010")), "{said:?}");
}

#[test]
fn a_search_hit_says_where_it_can_be_watched() {
    let made = Made::of(&usual(ONE));
    made.append(&crate::made::usual()[..2]);
    let played = |text: &str| {
        let said = made.run(&["search", text, "--session", ALICE]);
        said.out
            .lines()
            .map(|line| line.split_once("play: ").map(|(_, command)| command.to_owned()))
            .collect::<Vec<_>>()
    };
    let at = |seconds: &str| Some(format!("auditor play {ALICE} --at {seconds}"));
    assert_eq!(
        played("Filesystem"),
        Vec::new(),
        "what a terminal shows is searched as it was sent, not as it looks"
    );
    assert_eq!(played("system"), [at("1.200")]);
    assert_eq!(played("df -h"), [at("1.000"), at("1.200")]);
    // A refusal has its place like everything else.
    assert_eq!(played("hunter2"), [at("5.000"), at("5.100")]);
    // Another session's command ran on no terminal.
    assert_eq!(made.run(&["search", "mode", "--session", BOB]).out, "");
    let (_, hits) = made.json(&["search", "hunter2"]);
    assert_eq!((&hits[0]["recording_id"], &hits[0]["at_ms"]), (&json!(ONE), &json!(5_000)));
}

#[test]
fn what_may_be_a_secret_is_not_played_where_that_is_not_wanted() {
    let made = Made::of(&usual(ONE));
    for command in
        [&["--hide-sensitive", "play", ALICE][..], &["--hide-sensitive", "export", ALICE, "--cast"]]
    {
        let said = made.run(command);
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{said:?}");
    }
    let said = made.run(&["--hide-sensitive", "search", "hunter2"]);
    assert!(said.status == 0 && !said.out.contains("hunter2") && said.out.contains("[hidden]"), "{said:?}");
}

#[test]
fn a_story_tells_of_terminals_and_not_of_every_character() {
    let made = Made::of(&usual(ONE));
    let said = made.run(&["show", ALICE]);
    for line in [
        "09:15:00.000Z  · terminal 1: 40x6 xterm, 30.0 s, 107 B shown",
        &format!("    play: auditor play {ALICE}"),
        "    permitted by `*` (policy line 1), at 9.000 s of terminal 1",
        "    blocked, never sent, at 5.000 s of terminal 1",
    ] {
        assert!(said.out.lines().any(|told| told == line), "{line:?} in {}", said.out);
    }
    assert!(!said.out.contains("terminal.output"), "{}", said.out);
}

/// A tmux server of its own with one window, in which the player runs.
struct Window {
    directory: TempDir,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Window {
    fn open(made: &Made, arguments: &str) -> Self {
        let window = Self { directory: tempfile::tempdir().unwrap() };
        let auditor = env!("CARGO_BIN_EXE_auditor");
        let data = made.path().display();
        // Shows the terminal's settings before and after, and whether anything reached the clipboard's query or the title.
        let script = format!(
            r#"stty -a > before; sh -c 'echo $$ > pid; exec "$@"' - '{auditor}' --data-dir '{data}' {arguments}; echo left with $?; stty -a > after; cat"#
        );
        let size = ["-x", "60", "-y", "8"];
        assert!(window.tmux(&[&["new-session", "-d"][..], &size, &[&script]].concat()).status.success());
        window
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let socket = self.directory.path().join("tmux");
        Command::new("tmux")
            .args(["-f", "/dev/null", "-S", socket.to_str().unwrap()])
            .args(arguments)
            .current_dir(&self.directory)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .output()
            .unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        assert!(self.tmux(&[&["send-keys"], keys].concat()).status.success());
    }

    fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// Waits until the screen is as wanted.
    fn shows(&self, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what} in {screen}");
            std::thread::yield_now();
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

fn has(text: &'static str) -> impl Fn(&str) -> bool {
    move |screen| screen.contains(text)
}

#[test]
#[ignore = "needs tmux: cargo xtask test"]
fn a_recording_is_played_on_a_terminal() {
    let made = Made::of(&usual(ONE));
    let window = Window::open(&made, &format!("play {ALICE} --at 3"));
    let screen = window.shows(has("00:03"), "the time");
    assert!(
        screen.contains("Filesystem") && !screen.contains("hunter2") && screen.contains("/ 00:30.0"),
        "{screen}"
    );
    window.keys(&["Space"]);
    window.shows(has("‖"), "standing still");
    window.keys(&["]"]);
    window.shows(has("2/3"), "the second command");
    window.keys(&["."]);
    window.shows(|screen| screen.contains("blocked") && screen.contains("00:05.1"), "one output further");
    window.keys(&["]"]);
    window.shows(has("3/3 $ uptime"), "the third command");
    window.keys(&["Right"]);
    window.shows(|screen| screen.contains("up 3 days") && screen.contains("00:14.0"), "5 s on");
    let title = window.tmux(&["display-message", "-p", "#{pane_title} #{buffer_size}"]);
    assert!(!String::from_utf8_lossy(&title.stdout).contains("owned"), "{title:?}");
    assert!(window.tmux(&["list-buffers"]).stdout.is_empty(), "nothing came into the clipboard");
    window.keys(&["Left", "Left"]);
    window.shows(|screen| screen.contains("00:04.0") && !screen.contains("hunter2"), "10 s back");
    window.keys(&["["]);
    window.shows(has("1/3 $ df -h"), "the first command");
    window.keys(&["+"]);
    window.shows(has("2×"), "twice as fast");
    window.keys(&["q"]);
    window.shows(has("left with 0"), "the end");
    window.shows(|_| !window.read("after").is_empty(), "settings");
    assert_eq!(window.read("before"), window.read("after"), "the terminal is as it was");
}

#[test]
#[ignore = "needs tmux: cargo xtask test"]
fn a_signal_gives_the_terminal_back() {
    let made = Made::of(&usual(ONE));
    let window = Window::open(&made, &format!("play {ALICE} --speed 0.01"));
    window.shows(has("00:00"), "the time");
    let pid = Pid::from_raw(window.read("pid").trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    window.shows(has("left with 0"), "the end");
    window.shows(|_| !window.read("after").is_empty(), "settings");
    assert_eq!(window.read("before"), window.read("after"));
}

#[test]
#[ignore = "needs tmux: cargo xtask test"]
fn pauses_are_cut_and_the_end_is_reached() {
    let made = Made::of(&usual(ONE));
    let window = Window::open(&made, &format!("play {ALICE} --speed 16 --idle-limit 0.1"));
    let screen = window.shows(has("00:30.0 / 00:30.0"), "the end");
    assert!(screen.contains("up 3 days") && screen.contains("‖"), "{screen}");
    window.keys(&["q"]);
    window.shows(has("left with 0"), "the end");
}
