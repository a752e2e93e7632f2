//! Events of terminals become asciicast v2, and nothing that is missing goes unsaid.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use session_filter::StreamDigest;
use session_filter::event::{Detail, Event, Outcome, RecordingPosition, Subject};
use session_filter::event::{TerminalBytes, TerminalEnded, TerminalResized, TerminalStarted};
use session_filter::recording::{Cast, FLAWS_MAX, Flaw, Moment, Recording, Reel};

const ID: &str = "01980000-0000-7000-8000-00000000ca57";

/// The events of one terminal, made as the engine makes them.
struct Made {
    events: Vec<Map<String, Value>>,
    at_ms: u64,
    offset: u64,
    digest: StreamDigest,
}

impl Made {
    fn new() -> Self {
        let mut made = Self { events: Vec::new(), at_ms: 0, offset: 0, digest: StreamDigest::new() };
        made.push(Detail::TerminalStarted(TerminalStarted::new(ID, 80, 24, Some("xterm".into()))));
        made
    }

    fn push(&mut self, detail: Detail) {
        let now = "2026-01-31T09:15:27.042Z".parse().unwrap();
        let event = Event::new(Subject::default(), Outcome::Success, detail, now);
        self.events.push(serde_json::to_value(event).unwrap().as_object().unwrap().clone());
    }

    fn position(&self) -> RecordingPosition {
        RecordingPosition::new(ID, self.at_ms, self.offset)
    }

    fn after(mut self, ms: u64) -> Self {
        self.at_ms += ms;
        self
    }

    fn output(mut self, bytes: &[u8]) -> Self {
        self.push(Detail::TerminalOutput(TerminalBytes::new(self.position(), bytes)));
        self.offset += bytes.len() as u64;
        self.digest.update(bytes);
        self
    }

    fn input(mut self, bytes: &[u8]) -> Self {
        self.push(Detail::TerminalInput(TerminalBytes::new(self.position(), bytes)));
        self
    }

    fn resized(mut self, width: u32, height: u32) -> Self {
        self.push(Detail::TerminalResized(TerminalResized::new(self.position(), width, height)));
        self
    }

    fn raw(mut self, event: Value) -> Self {
        self.events.push(event.as_object().unwrap().clone());
        self
    }

    fn ended(mut self) -> Self {
        let sha256 = std::mem::take(&mut self.digest).finish().sha256;
        self.push(Detail::TerminalEnded(TerminalEnded::new(self.position(), sha256, 0)));
        self
    }
}

fn cast(events: &[Map<String, Value>]) -> (String, Recording) {
    let mut cast = Cast::new(ID);
    let mut text = String::new();
    for event in events {
        cast.take(event, &mut text);
    }
    let recording = cast.finish(&mut text).unwrap();
    (text, recording)
}

fn flaws(events: &[Map<String, Value>]) -> Vec<Flaw> {
    cast(events).1.flaws()
}

/// What `o` events of a cast print.
fn printed(cast: &str) -> String {
    let lines = cast.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line[1] == "o").map(|line| line[2].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_recording_becomes_a_cast_with_exact_times() {
    let made = Made::new()
        .output(b"$ ")
        .after(1_234)
        .input(b"df\r")
        .raw(json!({"event_type": "command.started", "command": "df", "recording_id": ID, "at_ms": 1234, "offset": 2}))
        .after(70)
        .output(b"\x1b[1mFilesystem\x1b[0m\r\n")
        .resized(132, 43)
        .after(3_600_000)
        .output(b"bye")
        .ended();
    let (text, recording) = cast(&made.events);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        serde_json::from_str::<Value>(lines[0]).unwrap(),
        json!({"version": 2, "width": 80, "height": 24, "timestamp": 1_769_850_927, "env": {"TERM": "xterm"}})
    );
    assert_eq!(
        lines[1..],
        [
            r#"[0.000,"o","$ "]"#,
            r#"[1.234,"i","df\r"]"#,
            r#"[1.234,"m","df"]"#,
            r#"[1.304,"o","\u001b[1mFilesystem\u001b[0m\r\n"]"#,
            r#"[1.304,"r","132x43"]"#,
            r#"[3601.304,"o","bye"]"#,
        ]
    );
    assert!(recording.is_whole(), "{recording:?}");
    assert_eq!((recording.duration_ms, recording.output_bytes, recording.commands), (3_601_304, 25, 1));
}

#[test]
fn a_character_that_is_split_between_events_is_whole_in_the_later_one() {
    let made = Made::new()
        .output(b"a\xe2\x82")
        .after(5)
        .input("ü".as_bytes())
        .after(5)
        .output(b"\xac\xf0\x9f")
        .ended();
    let (text, recording) = cast(&made.events);
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [r#"[0.000,"o","a"]"#, r#"[0.005,"i","ü"]"#, r#"[0.010,"o","€"]"#, "[0.010,\"o\",\"\u{fffd}\"]"]
    );
    assert!(recording.is_whole());
}

#[test]
fn a_gap_is_said_and_no_character_reaches_over_it() {
    let mut made = Made::new().output(b"one\xe2\x82").after(7);
    made.events.push(Made::new().output(b"").events.remove(1));
    made.offset += 100;
    let made = made.output(b"\xacthree").ended();
    assert_eq!(flaws(&made.events), [Flaw::Overlapping { at_ms: 0 }, Flaw::Missing { at_ms: 7, bytes: 105 }]);
    assert_eq!(printed(&cast(&made.events).0), "one\u{fffd}\u{fffd}three");
}

#[test]
fn an_event_that_was_left_out_is_missed() {
    let whole = Made::new().output(b"one").after(1).output(b"two").after(1).output(b"three").ended();
    for (left_out, at_ms, bytes) in [(1, 1, 3), (2, 2, 3), (3, 2, 5)] {
        let mut events = whole.events.clone();
        events.remove(left_out);
        assert_eq!(flaws(&events), [Flaw::Missing { at_ms, bytes }]);
    }
    let mut swapped = whole.events.clone();
    swapped.swap(1, 2);
    assert!(flaws(&swapped).contains(&Flaw::Backwards { at_ms: 1 }));
}

#[test]
fn output_that_is_not_what_was_shown_is_found_by_its_hash() {
    let mut made = Made::new().output(b"transferred 100").ended();
    made.events[1].insert("text".into(), "transferred 999".into());
    assert_eq!(flaws(&made.events), [Flaw::Altered]);
}

#[test]
fn a_recording_without_an_end_says_so_and_is_a_cast_all_the_same() {
    let made = Made::new().output(b"crash");
    let (text, recording) = cast(&made.events);
    assert_eq!(recording.flaws(), [Flaw::NoEnd]);
    assert_eq!(printed(&text), "crash");
}

#[test]
fn what_the_policy_did_not_want_kept_is_not_called_a_gap() {
    let mut made = Made::new();
    made.offset = 4_000;
    // As the proxy writes it: without a hash of what it does not keep.
    let unkept =
        |made: &mut Made| made.push(Detail::TerminalEnded(TerminalEnded::new(made.position(), None, 0)));
    unkept(&mut made);
    assert_eq!(flaws(&made.events), [Flaw::NotKept { bytes: 4_000 }]);
    let mut silent = Made::new();
    unkept(&mut silent);
    assert_eq!(flaws(&silent.events), []);
    let mut kept = Made::new().output(b"kept, and its hash taken out");
    unkept(&mut kept);
    assert_eq!(flaws(&kept.events), [Flaw::Unreadable { at_ms: kept.at_ms }]);
}

#[test]
fn events_that_lack_what_they_must_have_are_counted() {
    let mut made = Made::new().output(b"x");
    for event in [
        json!({"event_type": "terminal.output", "recording_id": ID, "at_ms": 1, "offset": 1}),
        json!({"event_type": "terminal.output", "recording_id": ID, "at_ms": 1, "offset": 1, "base64": "not base64"}),
        json!({"event_type": "terminal.output", "recording_id": ID, "at_ms": -1, "offset": 1, "text": "y"}),
        json!({"event_type": "terminal.resized", "recording_id": ID, "at_ms": 1, "offset": 1, "width": 5_000_000_000_u64}),
    ] {
        made = made.raw(event);
    }
    assert_eq!(
        flaws(&made.ended().events).iter().filter(|flaw| matches!(flaw, Flaw::Unreadable { .. })).count(),
        4
    );
    let made = Made { events: Vec::new(), ..Made::new() }.output(b"late").ended();
    assert_eq!(flaws(&made.events), [Flaw::NoBeginning]);
}

#[test]
fn flaws_beyond_the_limit_are_counted_only() {
    let mut made = Made::new();
    for _ in 0..FLAWS_MAX + 5 {
        made.offset += 1;
        made = made.output(b"x");
    }
    let (_, recording) = cast(&made.ended().events);
    assert_eq!((recording.flaws().len(), recording.flaws_left_out()), (FLAWS_MAX, 5));
}

#[test]
fn terminals_of_one_session_are_kept_apart() {
    let other = |mut event: Map<String, Value>| {
        event.insert("recording_id".into(), "another".into());
        event
    };
    let (one, two) = (Made::new().output(b"one").ended(), Made::new().output(b"two").ended());
    let events: Vec<_> =
        one.events.into_iter().zip(two.events.into_iter().map(other)).flat_map(|(a, b)| [a, b]).collect();
    let (text, recording) = cast(&events);
    assert_eq!((printed(&text).as_str(), recording.is_whole()), ("one", true));
    let mut reel = Reel::new();
    let places: Vec<usize> =
        events.iter().map(|event| reel.take(&Moment::of(event).unwrap()).unwrap().recording).collect();
    assert_eq!(places, [0, 1, 0, 1, 0, 1]);
    assert!(reel.recordings().iter().all(Recording::is_whole));
}

#[test]
fn a_refused_line_stands_where_its_event_says_and_one_without_a_terminal_nowhere() {
    let blocked = json!({"event_type": "command.blocked", "command": "rm -rf /", "position": 3, "recording_id": ID, "at_ms": 10, "offset": 2});
    let elsewhere = json!({"event_type": "command.blocked", "command": "id", "position": 0, "timestamp": "2026-01-31T09:15:28.542Z"});
    let made =
        Made::new().after(10).output(b"$ ").raw(blocked).raw(elsewhere).after(20).output(b"no").ended();
    let (text, recording) = cast(&made.events);
    assert!(text.contains(r#"[0.010,"m","blocked: rm -rf /"]"#) && !text.contains("id\""), "{text}");
    assert!(text.ends_with("[0.030,\"o\",\"no\"]\n"), "{text}");
    assert!(recording.is_whole() && recording.commands == 1, "{recording:?}");
}

#[test]
fn neither_moment_nor_recording_shows_what_was_printed() {
    let made = Made::new().output(b"hunter2").ended();
    let (_, recording) = cast(&made.events);
    let moments: Vec<_> = made.events.iter().filter_map(Moment::of).collect();
    assert!(!format!("{moments:?} {recording:?}").contains("hunter2"));
}

proptest! {
    /// However output is cut into events, a cast prints what it would print in one piece.
    #[test]
    fn cuts_do_not_change_what_is_printed(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            any::<String>().prop_map(String::into_bytes),
            "[aé€😀\u{9b}\x1b]{0,60}".prop_map(String::into_bytes),
        ],
        cuts in prop::collection::vec(1usize..9, 0..60),
    ) {
        let mut made = Made::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            made = made.output(piece).after(1);
            rest = after;
        }
        let (text, recording) = cast(&made.output(rest).ended().events);
        prop_assert!(recording.is_whole(), "{recording:?}");
        prop_assert_eq!(printed(&text), String::from_utf8_lossy(&bytes));
        prop_assert_eq!(recording.output_bytes, bytes.len() as u64);
    }

    /// Whatever events hold, times never run backwards and every line is JSON.
    #[test]
    fn odd_events_make_no_odd_cast(events in prop::collection::vec((0usize..8, 0u64..50, 0u64..50, any::<String>()), 0..40)) {
        let mut cast = Cast::new(ID);
        let mut text = String::new();
        let types = ["terminal.started", "terminal.output", "terminal.input", "terminal.resized", "terminal.ended",
                     "command.started", "command.blocked", "builtin.executed"];
        for (kind, at_ms, offset, string) in &events {
            let event = json!({"event_type": types[*kind], "recording_id": ID, "at_ms": at_ms, "offset": offset, "text": string,
                               "command": string, "width": at_ms, "height": offset, "sha256": string});
            cast.take(event.as_object().unwrap(), &mut text);
        }
        let recording = cast.finish(&mut text);
        prop_assert_eq!(recording.is_some(), !events.is_empty());
        let mut last = 0.0;
        for line in text.lines().skip(1) {
            let line: Value = serde_json::from_str(line).unwrap();
            prop_assert!(line[0].as_f64().unwrap() >= last);
            last = line[0].as_f64().unwrap();
        }
    }
}

#[test]
#[ignore = "needs asciinema: cargo xtask test"]
fn asciinema_prints_what_was_shown() {
    let shown = "\x1b[1mgrüße €\x1b[0m 😀\r\n\x1b]0;title\x07\x1b[2J done \u{9b}1m\r\n";
    let made =
        shown.as_bytes().chunks(3).fold(Made::new(), |made, piece| made.output(piece).input(b"k").after(1));
    let made = made.resized(100, 30).raw(
        json!({"event_type": "command.started", "command": "ls", "recording_id": ID, "at_ms": 99_999, "offset": shown.len()}),
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session.cast");
    std::fs::write(&file, cast(&made.ended().events).0).unwrap();
    // It wants a terminal to read from, even where it prints to a file.
    let printed = directory.path().join("printed");
    let asciinema = format!("asciinema cat '{}' > '{}'", file.display(), printed.display());
    let script = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &asciinema, "/dev/null"])
        .env("HOME", directory.path())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stdout));
    assert_eq!(std::fs::read_to_string(printed).unwrap(), shown);
}
