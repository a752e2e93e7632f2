use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use session_filter::recording::{Acted, Moment, Reel};

/// A recording in memory.
struct InMemory(Vec<(u64, Scene)>);

impl Source for InMemory {
    fn from(&self, seq: u64) -> Result<Moments<'_>, Failure> {
        let moments = (0..).zip(&self.0).skip(usize::try_from(seq).unwrap());
        Ok(Box::new(
            moments.map(|(seq, (at_ms, scene))| Ok(Cue { seq, at_ms: *at_ms, scene: scene.clone() })),
        ))
    }
}

fn film(events: &[Value], marks: Vec<Mark>) -> Film {
    let mut reel = Reel::new();
    for event in events {
        reel.take(&Moment::of(event.as_object().unwrap()).unwrap());
    }
    let recording = reel.into_recordings().swap_remove(0);
    Film { number: 1, recording, seqs: (0, u64::MAX), marks, title: String::new(), session: String::new() }
}

/// Outputs at given times, on a terminal of 20 columns and 4 rows, ending at `duration_ms`.
fn recorded(outputs: &[(u64, &[u8])], duration_ms: u64) -> (InMemory, Film) {
    let events = [
        json!({"event_type": "terminal.started", "recording_id": "r", "width": 20, "height": 4}),
        json!({"event_type": "terminal.ended", "recording_id": "r", "at_ms": duration_ms, "offset": 0, "sha256": ""}),
    ];
    let mark = |at_ms, line: &str| Mark { at_ms, line: line.to_owned(), acted: Acted::Started };
    let marks = vec![mark(1_000, "one"), mark(5_000, "two"), mark(9_000, "three")];
    (
        InMemory(outputs.iter().map(|(at_ms, bytes)| (*at_ms, Scene::Output(bytes.to_vec()))).collect()),
        film(&events, marks),
    )
}

const PACE: Pace = Pace { speed: 1.0, idle_limit_ms: None };
const OUTPUTS: &[(u64, &[u8])] = &[(0, b"a"), (1_000, b"b"), (5_500, b"c"), (60_000, b"d")];

fn shown(player: &Player<'_, InMemory>) -> String {
    player.screen().picture().text().trim_end().to_owned()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn plays_at_its_speed_and_stops_at_the_end() {
    let (source, film) = recorded(OUTPUTS, 61_000);
    let mut player = Player::new(&source, &film, Pace { speed: 2.0, ..PACE }).unwrap();
    player.pass(Duration::ZERO).unwrap();
    assert_eq!(shown(&player), "a");
    assert_eq!(player.until_next().unwrap(), Some(seconds(0.5)));
    player.pass(seconds(0.5)).unwrap();
    assert_eq!((shown(&player).as_str(), player.position_ms()), ("ab", 1_000));
    player.pass(seconds(1.0)).unwrap();
    assert_eq!((shown(&player).as_str(), player.position_ms()), ("ab", 3_000));
    player.is_playing = false;
    assert!(!player.pass(seconds(100.0)).unwrap());
    assert_eq!(player.position_ms(), 3_000);
    player.is_playing = true;
    player.pass(seconds(100.0)).unwrap();
    assert_eq!((shown(&player).as_str(), player.position_ms(), player.is_playing), ("abcd", 61_000, false));
}

#[test]
fn long_pauses_are_cut() {
    let (source, film) = recorded(OUTPUTS, 60_000);
    let mut player = Player::new(&source, &film, Pace { idle_limit_ms: Some(2_000.0), ..PACE }).unwrap();
    for (passes, expected) in [(0.0, "a"), (1.0, "ab"), (1.9, "ab"), (0.2, "abc"), (2.1, "abcd")] {
        player.pass(seconds(passes)).unwrap();
        assert_eq!(shown(&player), expected, "after {passes} s more");
    }
    assert!(!player.is_playing);
}

#[test]
fn commands_are_jumped_to() {
    let (source, film) = recorded(OUTPUTS, 61_000);
    let mut player = Player::new(&source, &film, PACE).unwrap();
    let at = |player: &Player<'_, InMemory>| (player.position_ms(), player.command().0);
    player.next_command().unwrap();
    assert_eq!((at(&player), shown(&player).as_str()), ((1_000, 1), "ab"));
    player.next_command().unwrap();
    player.next_command().unwrap();
    assert_eq!((at(&player), player.command().1.unwrap().line.as_str()), ((9_000, 3), "three"));
    player.next_command().unwrap();
    assert_eq!(at(&player), (9_000, 3), "the last one");
    player.previous_command().unwrap();
    assert_eq!((at(&player), shown(&player).as_str()), ((5_000, 2), "ab"));
    player.seek(8_000).unwrap();
    player.previous_command().unwrap();
    assert_eq!(at(&player), (5_000, 2), "the one that is running");
    player.previous_command().unwrap();
    player.previous_command().unwrap();
    assert_eq!((at(&player), shown(&player).as_str()), ((0, 0), "a"));
}

#[test]
fn steps_from_output_to_output() {
    let (source, film) = recorded(OUTPUTS, 61_000);
    let mut player = Player::new(&source, &film, PACE).unwrap();
    for (expected, at_ms) in [("a", 0), ("ab", 1_000), ("abc", 5_500), ("abcd", 60_000), ("abcd", 60_000)] {
        player.step().unwrap();
        assert_eq!(
            (shown(&player).as_str(), player.position_ms(), player.is_playing),
            (expected, at_ms, false)
        );
    }
}

#[test]
fn text_is_found_where_it_was_first_to_be_seen() {
    let flood = "x\r\n".repeat(50) + "needle" + &"\r\ny".repeat(50);
    let outputs: &[(u64, &[u8])] = &[
        (100, b"pass"),
        (200, b"word: "),
        (300, b"\x1b[2J\x1b[1;3Hscreen\x1b[1;1Hthe"),
        (400, flood.as_bytes()),
        (20_000, b"late two"),
    ];
    let (source, film) = recorded(outputs, 30_000);
    for (text, at_ms) in [
        ("password", Some(200)),
        ("thecreen", Some(300)),
        ("needle", Some(400)),
        ("two", Some(5_000)),
        ("late", Some(20_000)),
        ("nowhere", None),
        ("", Some(0)),
    ] {
        assert_eq!(find(&source, &film, text).unwrap(), at_ms, "{text}");
    }
}

#[test]
fn snapshots_stay_within_their_limit() {
    let line = [b'x'; 1024];
    let outputs: Vec<(u64, &[u8])> = (0..4_000).map(|at_ms| (at_ms, &line[..])).collect();
    let (source, film) = recorded(&outputs, 4_000);
    let mut player = Player::new(&source, &film, PACE).unwrap();
    player.output_between = 4_096;
    player.seek(4_000).unwrap();
    assert!(
        (SNAPSHOTS_MAX / 4..=SNAPSHOTS_MAX).contains(&player.snapshots.len()),
        "{}",
        player.snapshots.len()
    );
    assert_eq!(player.snapshots[0].next_seq, 0, "the beginning is never dropped");
}

proptest! {
    /// However one got to a time, the screen is what it is when everything is played from the beginning.
    #[test]
    fn the_way_to_a_time_does_not_matter(
        pieces in prop::collection::vec((0u64..400, prop_oneof![
            "[a-z\r\n]{0,30}",
            "(\x1b\\[[0-9;]{0,3}[ABCDHJKm]|\x1b\\[|[a-z]){0,6}",
        ]), 1..40),
        seeks in prop::collection::vec(0u64..9_000, 1..12),
    ) {
        let mut at_ms = 0;
        let outputs: Vec<(u64, Vec<u8>)> = pieces.iter().map(|(pause, text)| {
            at_ms += pause;
            (at_ms, text.clone().into_bytes())
        }).collect();
        let borrowed: Vec<(u64, &[u8])> = outputs.iter().map(|(at_ms, bytes)| (*at_ms, bytes.as_slice())).collect();
        let (source, film) = recorded(&borrowed, at_ms + 10);
        let mut player = Player::new(&source, &film, PACE).unwrap();
        // So that there are snapshots to go back to.
        player.output_between = 16;
        player.snapshots_max = 8;
        for to_ms in seeks {
            player.seek(to_ms).unwrap();
            let mut expected = Screen::new(20, 4);
            outputs.iter().filter(|(at_ms, _)| *at_ms <= to_ms).for_each(|(_, bytes)| expected.feed(bytes));
            prop_assert!(player.screen().picture() == expected.picture(), "at {}", to_ms);
            prop_assert!(player.snapshots.len() <= 8);
        }
    }
}
