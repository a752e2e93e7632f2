//! Terminals: what is recorded of them, and what a watcher sees.

use base64::Engine as _;
use serde_json::Value;
use session_filter::recording::Cast;
use session_filter::registry::{Frame, WatchError};
use session_filter::screen::Screen;
use sha2::{Digest as _, Sha256};
use testbed::{Running, Ssh, SshdOptions};

use super::fixture::Fixture;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

const MANAGED: &str = r#"
    [[permit]]
    users    = ["alice"]
    targets  = ["box"]
    mode     = "managed"
    commands = ["echo ...", "sleep *", "cat", "sh -c ...", "head -c * /dev/zero", "seq *", "stty size"]
    acknowledge = ["sh grants a shell"]
"#;

fn tty(fixture: &Fixture) -> Ssh {
    fixture.ssh().arg("-tt").env("TERM", "xterm")
}

/// The bytes of `terminal.output` or `terminal.input` events, put together; offsets must follow each other.
pub(super) fn bytes_of(events: &[Value], recording_id: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events.iter().filter(|event| &event["recording_id"] == recording_id) {
        assert_eq!(event["offset"], bytes.len(), "a gap");
        match event["text"].as_str() {
            Some(text) => bytes.extend_from_slice(text.as_bytes()),
            None => bytes.extend(
                base64::engine::general_purpose::STANDARD.decode(event["base64"].as_str().unwrap()).unwrap(),
            ),
        }
    }
    bytes
}

pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn running(fixture: &Fixture) -> String {
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    fixture.registry.list()[0].session_id.clone()
}

/// A watcher with a terminal of its own: what frames draw there.
struct Watcher {
    watch: session_filter::registry::Watch,
    screen: Screen,
    drawn: String,
    ended: Option<String>,
}

impl Watcher {
    fn new(fixture: &Fixture, session_id: &str) -> Self {
        let watch = fixture.runtime.block_on(fixture.registry.watch(session_id, "olga")).unwrap();
        Self { watch, screen: Screen::new(80, 24), drawn: String::new(), ended: None }
    }

    fn see(&mut self, fixture: &Fixture) {
        let next = async { tokio::time::timeout(PATIENCE, self.watch.next()).await };
        match fixture.runtime.block_on(next).expect("a frame in time") {
            Some(Frame::Screen { cols, rows, bytes, .. }) => {
                self.screen.resize(cols.into(), rows.into());
                self.screen.feed(bytes.as_bytes());
                self.drawn.push_str(&bytes);
            }
            Some(Frame::Ended { reason }) => self.ended = Some(reason),
            Some(_) => {}
            None => panic!("nothing follows; on the screen: {}", self.screen.picture().text()),
        }
    }

    fn wait_for(&mut self, fixture: &Fixture, text: &str) {
        while !self.screen.picture().text().contains(text) {
            self.see(fixture);
        }
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_a_terminal_showed_is_on_record_byte_for_byte() {
    let fixture = Fixture::with_policy(MANAGED);
    let line = "sh -c 'printf \"one\\033[31mtwo\\n\"; seq 20000; printf \"\\377\\376\"; exit 3'";
    let output = tty(&fixture).run(line).unwrap();
    assert_eq!(output.code(), Some(3));
    fixture.wait_for("the end", |f| !f.events_of("session.ended").is_empty());
    let started = fixture.events_of("terminal.started").pop().unwrap();
    assert_eq!(
        (&started["width"], &started["height"], &started["term"]),
        (&80.into(), &24.into(), &"xterm".into())
    );
    let shown = bytes_of(&fixture.events_of("terminal.output"), &started["recording_id"]);
    assert_eq!(shown, output.stdout);
    let ended = fixture.events_of("terminal.ended").pop().unwrap();
    assert_eq!((&ended["offset"], &ended["sha256"]), (&shown.len().into(), &hash(&shown).into()));
    let command = fixture.events_of("command.started").pop().unwrap();
    assert_eq!((&command["recording_id"], &command["offset"]), (&started["recording_id"], &0.into()));
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!(
        (&executed["recording_id"], &executed["offset"]),
        (&started["recording_id"], &shown.len().into())
    );
    assert_eq!((&executed["exit_status"], &executed["stdout"]["bytes"]), (&3.into(), &shown.len().into()));
    let order: Vec<&str> = fixture.events().iter().map(|event| event.event_type).collect();
    let place = |name| order.iter().position(|event| *event == name).unwrap();
    let last_output = order.iter().rposition(|event| *event == "terminal.output").unwrap();
    assert!(place("terminal.started") < place("command.started"));
    assert!(place("command.started") < place("terminal.output") && last_output < place("command.executed"));
    assert!(last_output < place("terminal.ended") && place("terminal.ended") < place("session.ended"));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_a_terminal_showed_can_be_played() {
    let fixture = Fixture::with_policy(MANAGED);
    let output = tty(&fixture)
        .run("sh -c 'stty raw; printf \"gr\\303\\274\\303\"; printf \"\\237e \\033[1m%s\\r\\n\" $(seq 3000)'")
        .unwrap();
    fixture.wait_for("the end", |f| !f.events_of("session.ended").is_empty());
    let id =
        fixture.events_of("terminal.started").pop().unwrap()["recording_id"].as_str().unwrap().to_owned();
    let mut cast = Cast::new(&id);
    let mut text = String::new();
    for event in fixture.events() {
        cast.take(serde_json::to_value(event).unwrap().as_object().unwrap(), &mut text);
    }
    let recording = cast.finish(&mut text).unwrap();
    assert!(recording.is_whole() && recording.commands == 1, "{recording:?}");
    let lines: Vec<Value> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let printed: String =
        lines.iter().filter(|line| line[1] == "o").map(|line| line[2].as_str().unwrap()).collect();
    assert!(printed.starts_with("grüße ") && printed.contains('\u{fffd}'));
    assert!(printed == String::from_utf8_lossy(&output.stdout), "a cast prints what was shown");
    assert!(lines[0][1] == "m" && lines[0][2].as_str().unwrap().starts_with("sh -c"), "{}", lines[0]);
}

/// Whoever finds a line can go to where it stands: right behind the keys of it, and before what was answered.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn lines_that_do_not_run_have_their_exact_place_in_the_recording() {
    let fixture = Fixture::with_policy(MANAGED);
    // Another channel without a terminal has no place in this one's recording.
    let master = fixture.ssh().master().unwrap();
    assert_eq!(master.run("id").unwrap().code(), Some(126));
    let mut seat = tty(&fixture).spawn_shell().unwrap();
    for (line, answer) in
        [("rm -rf /hunter2", "blocked: "), ("cd -", "cd: "), ("pwd", "/"), ("nosuch \\", "blocked: ")]
    {
        let before = seat.stdout().len();
        seat.write(format!("{line}\r").as_bytes()).unwrap();
        fixture.wait_for("the answer", |_| {
            let shown = seat.stdout();
            String::from_utf8_lossy(&shown[before..])
                .split_once("\r\n")
                .is_some_and(|(_, rest)| rest.contains(answer) && rest.ends_with("$ "))
        });
    }
    seat.write(b"exit\r").unwrap();
    assert_eq!(seat.wait(PATIENCE).unwrap().code(), Some(0));
    fixture.wait_for("the end", |f| !f.events_of("terminal.ended").is_empty());
    let elsewhere = &fixture.events_of("command.blocked")[0];
    assert_eq!((&elsewhere["command"], elsewhere.get("recording_id")), (&"id".into(), None));

    let started = fixture.events_of("terminal.started").pop().unwrap();
    let shown = bytes_of(&fixture.events_of("terminal.output"), &started["recording_id"]);
    let mut placed = 0;
    let mut reel = session_filter::recording::Reel::new();
    for event in fixture.events() {
        let event = serde_json::to_value(event).unwrap();
        if let Some(moment) = session_filter::recording::Moment::of(event.as_object().unwrap()) {
            reel.take(&moment);
        }
        if !matches!(event["event_type"].as_str(), Some("command.blocked" | "builtin.executed"))
            || event["command"] == "id"
        {
            continue;
        }
        placed += 1;
        assert_eq!(event["recording_id"], started["recording_id"]);
        let (before, after) = shown.split_at(usize::try_from(event["offset"].as_u64().unwrap()).unwrap());
        let before = String::from_utf8_lossy(before);
        let line = event["command"].as_str().unwrap();
        assert!(
            before.trim_end_matches("\x1b[?2004l").ends_with(&format!("{line}\r\n")),
            "{line}: {before:?}"
        );
        let answer = String::from_utf8_lossy(after);
        let answer = answer.trim_start_matches("\x1b[?2004l");
        let expected = match line {
            "pwd" => "/",
            "cd -" => "cd: ",
            "exit" => "",
            _ => "blocked: ",
        };
        assert!(answer.starts_with(expected), "{line}: {answer:?}");
    }
    assert_eq!(placed, 5);
    let recording = &reel.recordings()[0];
    assert!(recording.is_whole() && recording.commands == 5, "{recording:?}");
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_is_typed_to_a_program_is_counted_and_not_kept() {
    let fixture = Fixture::with_policy(MANAGED);
    let mut running =
        tty(&fixture).spawn("sh -c 'stty -echo; echo ready; read answer; echo $answer | wc -c'").unwrap();
    assert!(running.wait_for_stdout("ready", PATIENCE));
    running.write(b"hunter2 is the password\r").unwrap();
    let output = running.wait(PATIENCE).unwrap();
    assert!(output.stdout_text().contains("24"));
    fixture.wait_for("the end", |f| !f.events_of("terminal.ended").is_empty());
    assert_eq!(fixture.events_of("terminal.ended")[0]["input_bytes"], 24);
    assert!(fixture.events_of("terminal.input").is_empty());
    assert!(fixture.events_text().iter().all(|event| !event.contains("hunter2 is")));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn where_no_recording_is_asked_for_only_sizes_are_kept() {
    let fixture = Fixture::with_policy(&MANAGED.replace("acknowledge", "record = \"off\"\nacknowledge"));
    let output = tty(&fixture).run("seq 2000").unwrap();
    fixture.wait_for("the end", |f| !f.events_of("terminal.ended").is_empty());
    let ended = fixture.events_of("terminal.ended").pop().unwrap();
    assert_eq!((&ended["offset"], &ended["sha256"]), (&output.stdout.len().into(), &Value::Null));
    assert!(fixture.events_of("terminal.output").is_empty());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_recorder_that_fails_ends_the_session_in_the_middle_of_a_flood() {
    let fixture = Fixture::with_policy(MANAGED);
    let flood = tty(&fixture).spawn("head -c 20000000000 /dev/zero").unwrap();
    fixture.wait_for("it runs", |f| f.events_of("terminal.output").len() > 10);
    fixture.recorder.inner.break_now();
    let output = flood.wait(std::time::Duration::from_secs(30)).unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("can no longer be recorded"), "{}", output.stderr_text());
    fixture.wait_for("it is gone", |f| f.registry.list().is_empty());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn output_is_ahead_of_a_slow_disk_by_so_much_and_no_more() {
    let mut limits = session_filter::ssh::Limits::default();
    limits.output_ahead_max = 4;
    let fixture = Fixture::with(MANAGED, SshdOptions::new(), limits);
    let flood = tty(&fixture).spawn("head -c 3000000 /dev/zero").unwrap();
    fixture.wait_for("it runs", |f| f.events_of("terminal.output").len() > 2);
    let held = fixture.recorder.hold();
    let before = fixture.events_of("terminal.output").len();
    // Meanwhile a whole flood would have had the time to pass.
    for _ in 0..3 {
        assert_eq!(fixture.direct().run("head -c 3000000 /dev/zero").unwrap().stdout.len(), 3_000_000);
    }
    // Those that were under way, and the four that may be ahead.
    let seen = fixture.events_of("terminal.output").len();
    assert!(seen <= before + 8, "{before} {seen}");
    drop(held);
    assert_eq!(flood.wait(std::time::Duration::from_secs(60)).unwrap().stdout.len(), 3_000_000);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_late_watcher_sees_the_screen_as_it_is_and_what_follows() {
    let fixture = Fixture::with_policy(MANAGED);
    let program = "sh -c 'seq 500; printf \"\\033[?1049h\\033[2J\\033[5;10H\\033[1mfull screen\\033[0m\"; read x; \
                   printf \"\\033[7;1Hafter\"; read x; printf \"\\033[?1049lback\"; read x'";
    let mut shell = tty(&fixture).spawn(program).unwrap();
    assert!(shell.wait_for_stdout("full screen", PATIENCE));
    let session_id = running(&fixture);
    let mut watcher = Watcher::new(&fixture, &session_id);
    assert_eq!(fixture.events_of("session.watched")[0]["operator"], "olga");
    watcher.wait_for(&fixture, "full screen");
    assert!(watcher.screen.picture().text().starts_with("\n\n\n\n         full screen\n"));
    shell.write(b"\r").unwrap();
    watcher.wait_for(&fixture, "after");
    shell.write(b"\r").unwrap();
    watcher.wait_for(&fixture, "back");
    assert!(watcher.screen.picture().text().contains("\n500\n"));
    let live = fixture.registry.list().remove(0);
    assert_eq!((live.terminals[0].width, live.terminals[0].height), (80, 24));
    shell.write(b"\r").unwrap();
    assert_eq!(shell.wait(PATIENCE).unwrap().code(), Some(0));
    while watcher.ended.is_none() {
        watcher.see(&fixture);
    }
    assert_eq!(watcher.ended.as_deref(), Some("the client left"));
    drop(watcher);
    fixture.wait_for("it is on record", |f| !f.events_of("session.unwatched").is_empty());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn nothing_that_acts_on_a_terminal_reaches_the_watcher() {
    let fixture = Fixture::with_policy(MANAGED);
    let program = "sh -c 'printf \"\\033]52;c;cm0gLXJm\\007\\033]0;title\\007\\033[6n\\033[c\\033P+q544e\\033\\\\\\\\\\033[21tvisible\"; read x'";
    let mut shell = tty(&fixture).spawn(program).unwrap();
    assert!(shell.wait_for_stdout("visible", PATIENCE));
    // The user's own terminal gets what the program sent.
    assert!(String::from_utf8_lossy(&shell.stdout()).contains("\x1b]52;c;"));
    let session_id = running(&fixture);
    let mut watcher = Watcher::new(&fixture, &session_id);
    watcher.wait_for(&fixture, "visible");
    for acting in ["\x1b]", "\x1bP", "6n", "\x1b[c", "title", "cm0gLXJm", "21t", "\x07"] {
        assert!(!watcher.drawn.contains(acting), "{:?}", watcher.drawn);
    }
    shell.write(b"\r").unwrap();
    shell.wait(PATIENCE).unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_watcher_that_does_not_look_holds_up_nobody() {
    let fixture = Fixture::with_policy(MANAGED);
    let flood = tty(&fixture).spawn("sh -c 'echo begin; read x; seq 300000; echo the end; read x'").unwrap();
    let mut flood: Running = flood;
    assert!(flood.wait_for_stdout("begin", PATIENCE));
    let session_id = running(&fixture);
    let mut watcher = Watcher::new(&fixture, &session_id);
    watcher.wait_for(&fixture, "begin");
    flood.write(b"\r").unwrap();
    // Nobody asks for a frame meanwhile.
    assert!(flood.wait_for_stdout("the end", std::time::Duration::from_secs(60)));
    watcher.wait_for(&fixture, "the end");
    assert!(watcher.drawn.len() < 100_000, "states were queued up: {}", watcher.drawn.len());
    flood.write(b"\r").unwrap();
    flood.wait(PATIENCE).unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn of_several_terminals_a_watcher_sees_the_active_one_or_the_one_they_choose() {
    let fixture = Fixture::with_policy(MANAGED);
    let master = fixture.ssh().arg("-tt").env("TERM", "xterm").master().unwrap();
    let mut first = master.spawn("sh -c 'echo terminal one; read x; echo one again; read x'").unwrap();
    assert!(first.wait_for_stdout("terminal one", PATIENCE));
    let mut second = master.spawn("sh -c 'echo terminal two; read x'").unwrap();
    assert!(second.wait_for_stdout("terminal two", PATIENCE));
    let live = fixture.registry.list().remove(0);
    assert_eq!(live.terminals.len(), 2);
    let mut watcher = Watcher::new(&fixture, &live.session_id);
    watcher.watch.choose(&live.terminals[0].recording_id);
    watcher.wait_for(&fixture, "terminal one");
    watcher.watch.choose(&live.terminals[1].recording_id);
    watcher.wait_for(&fixture, "terminal two");
    assert!(!watcher.screen.picture().text().contains("terminal one"));
    // The chosen one is gone: the other takes its place.
    second.write(b"\n").unwrap();
    second.wait(PATIENCE).unwrap();
    watcher.wait_for(&fixture, "terminal one");
    first.write(b"\n").unwrap();
    watcher.wait_for(&fixture, "one again");
    first.write(b"\n").unwrap();
    first.wait(PATIENCE).unwrap();
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_session_without_a_terminal_shows_its_commands() {
    let fixture = Fixture::new();
    let master = fixture.ssh().master().unwrap();
    master.run("echo first").unwrap();
    let slow = master.spawn("sleep 4711").unwrap();
    let session_id = running(&fixture);
    let mut watcher = Watcher::new(&fixture, &session_id);
    watcher.wait_for(&fixture, "$ sleep 4711");
    assert!(watcher.screen.picture().text().contains("$ echo first"));
    master.run("echo second").unwrap();
    watcher.wait_for(&fixture, "\nsecond\n");
    master.stop().unwrap();
    slow.wait(PATIENCE).unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn nobody_watches_off_the_record() {
    let fixture = Fixture::with_policy(MANAGED);
    let shell = tty(&fixture).spawn("cat").unwrap();
    let session_id = running(&fixture);
    let watch = |id: &str| fixture.runtime.block_on(fixture.registry.watch(id, "olga"));
    assert!(matches!(watch("nobody's").unwrap_err(), WatchError::NoSession));
    let many: Vec<_> =
        (0..session_filter::registry::WATCHERS_MAX).map(|_| watch(&session_id).unwrap()).collect();
    assert!(matches!(watch(&session_id).unwrap_err(), WatchError::TooManyWatchers));
    drop(many);
    fixture.recorder.inner.break_now();
    assert!(matches!(watch(&session_id).unwrap_err(), WatchError::Recorder(_)));
    assert_eq!(shell.wait(PATIENCE).unwrap().code(), Some(255));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn asking_for_a_session_s_end_is_on_record_before_it_ends() {
    let fixture = Fixture::with_policy(MANAGED);
    let shell = tty(&fixture).spawn("cat").unwrap();
    let session_id = running(&fixture);
    let end = session_filter::registry::Termination::new("olga", "enough");
    assert!(fixture.registry.terminate(&session_id, end));
    assert_eq!(shell.wait(PATIENCE).unwrap().code(), Some(255));
    fixture.wait_for("the end", |f| !f.events_of("session.ended").is_empty());
    let order: Vec<&str> = fixture.events().iter().map(|event| event.event_type).collect();
    let place = |name| order.iter().position(|event| *event == name).unwrap();
    assert!(place("session.termination_asked") < place("command.executed"));
    assert!(
        place("command.executed") < place("terminal.ended")
            && place("terminal.ended") < place("session.ended")
    );
    let asked = fixture.events_of("session.termination_asked").pop().unwrap();
    assert_eq!(
        (&asked["operator"], &asked["actor_id"], &asked["message"]),
        (&"olga".into(), &"alice".into(), &"enough".into())
    );
}

/// Warnings and the reason for the end come from the proxy, not from the program; whoever plays the recording sees them where the user did.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_the_proxy_says_on_a_terminal_is_in_its_recording() {
    let hurried = MANAGED.replace("mode     =", "longest = \"4s\"\n    warn = \"2s\"\n    mode     =");
    for asked_for_a_shell in [true, false] {
        let fixture = Fixture::with_policy(&hurried);
        let program = "sh -c 'echo ready; read x'";
        let seat = if asked_for_a_shell {
            let mut seat = tty(&fixture).spawn_shell().unwrap();
            seat.write(format!("{program}\r").as_bytes()).unwrap();
            seat
        } else {
            tty(&fixture).spawn(program).unwrap()
        };
        let output = seat.wait(PATIENCE).unwrap();
        assert_eq!(output.code(), Some(255));
        let said = output.stderr_text();
        fixture.wait_for("the end", |f| !f.events_of("session.ended").is_empty());
        let recording = &fixture.events_of("terminal.started")[0]["recording_id"];
        let shown = bytes_of(&fixture.events_of("terminal.output"), recording);
        let text = String::from_utf8(shown.clone()).unwrap();
        let mut rest = text.as_str();
        for expected in ["ready\r\n", "proxy: this session ends in ", "proxy: session ended: the longest"] {
            let Some((_, after)) = rest.split_once(expected) else { panic!("{expected}: {text:?}") };
            rest = after;
            assert!(expected.starts_with("ready") || said.contains(expected), "{said}");
        }
        assert_eq!(text.matches("session ended").count(), 1, "{text:?}");
        // Both of the client's streams, and nothing else.
        assert_eq!(shown.len(), output.stdout.len() + output.stderr.len(), "{text:?} {said:?}");
        let ended = &fixture.events_of("terminal.ended")[0];
        assert_eq!((&ended["offset"], &ended["sha256"]), (&shown.len().into(), &hash(&shown).into()));
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn why_a_command_does_not_run_on_a_terminal_is_in_its_recording() {
    let fixture = Fixture::with_policy(MANAGED);
    let output = tty(&fixture).run("rm -rf /hunter2").unwrap();
    assert_eq!(output.code(), Some(126));
    fixture.wait_for("the end", |f| !f.events_of("terminal.ended").is_empty());
    let recording = &fixture.events_of("terminal.started")[0]["recording_id"];
    let shown = bytes_of(&fixture.events_of("terminal.output"), recording);
    assert!(output.stderr_text().contains("proxy: blocked: "));
    assert_eq!(shown, output.stderr);
}

/// The policy is tightened while a terminal is open: from then on its output is kept, and what was not kept before is not hidden.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_recording_begins_when_the_policy_wants_one() {
    let off = MANAGED.replace("mode     =", "record = \"off\"\n    mode     =");
    let fixture = Fixture::with_policy(&off);
    let mut seat = tty(&fixture).spawn_shell().unwrap();
    seat.write(b"echo unseen\r").unwrap();
    fixture.wait_for("it ran", |f| !f.events_of("command.executed").is_empty());
    assert!(fixture.events_of("terminal.output").is_empty());
    fixture.policy.set(session_filter::Policy::from_toml(MANAGED).unwrap());
    fixture.wait_for("the output is kept", |f| {
        let before = f.events_of("command.executed").len();
        seat.write(b"echo seen\r").unwrap();
        f.wait_for("it ran", |f| f.events_of("command.executed").len() > before);
        !f.events_of("terminal.output").is_empty()
    });
    seat.write(b"exit\r").unwrap();
    seat.wait(PATIENCE).unwrap();
    fixture.wait_for("the end", |f| !f.events_of("terminal.ended").is_empty());
    let mut reel = session_filter::recording::Reel::new();
    for event_type in ["terminal.started", "terminal.output", "terminal.ended"] {
        for event in fixture.events_of(event_type) {
            reel.take(&session_filter::recording::Moment::of(event.as_object().unwrap()).unwrap());
        }
    }
    let flaws = reel.recordings()[0].flaws();
    assert!(matches!(flaws[..], [session_filter::recording::Flaw::Missing { .. }]), "{flaws:?}");
}
