//! `play`: a recording on the auditor's terminal, or as text where there is none.
//!
//! `film` found the recording; `player` knows what the screen was at any time, `controls` reads keys, `theatre` has the real terminal, and `transcript` is for those without one.

mod controls;
mod player;
mod theatre;
mod transcript;

use std::io::{IsTerminal as _, Write};

use session_filter::recording::{Moment, Scene};

use self::player::{Pace, Player, Source};
use crate::args;
use crate::failure::Failure;
use crate::film::Film;
use crate::trail::Trail;
use crate::{Answer, json};

/// Slowest and fastest.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// Plays a recording, beginning where that was asked for.
pub(crate) fn play(
    trail: &Trail,
    film: &Film,
    wanted: &args::Play,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let unusable = |text: String| Err(Failure::Unusable(text));
    if !SPEEDS.contains(&wanted.speed) {
        return unusable(format!(
            "a speed of {} is not between {} and {}",
            wanted.speed,
            SPEEDS.start(),
            SPEEDS.end()
        ));
    }
    if wanted.idle_limit.is_some_and(|limit| !(0.0..=1e6).contains(&limit)) {
        return unusable("`--idle-limit` wants seconds".into());
    }
    let reel = OnDisk { trail, film };
    let from_ms = start(&reel, film, wanted)?;
    if answer.json {
        return events(trail, film, from_ms, &mut answer.out);
    }
    if !std::io::stdout().is_terminal() {
        return transcript::print(&reel, film, from_ms, &mut answer.out);
    }
    let pace = Pace { speed: wanted.speed, idle_limit_ms: wanted.idle_limit.map(|seconds| seconds * 1000.0) };
    let mut player = Player::new(&reel, film, pace)?;
    player.seek(from_ms)?;
    theatre::run(&mut player, film)
}

/// Where to begin, in milliseconds.
fn start(reel: &OnDisk<'_>, film: &Film, wanted: &args::Play) -> Result<u64, Failure> {
    let unusable = |text: String| Err(Failure::Unusable(text));
    if let Some(seconds) = wanted.at {
        if !(0.0..=1e12).contains(&seconds) {
            return unusable("`--at` wants seconds since the recording's beginning".into());
        }
        // A float within these bounds has its whole milliseconds exactly.
        return Ok((seconds * 1000.0).round() as u64);
    }
    if let Some(number) = wanted.command {
        let mark = number.checked_sub(1).and_then(|place| film.marks.get(place));
        return match mark {
            Some(mark) => Ok(mark.at_ms),
            None => unusable(format!("there is no command {number}: the recording has {}", film.marks.len())),
        };
    }
    if let Some(text) = &wanted.search {
        return match player::find(reel, film, text)? {
            Some(at_ms) => Ok(at_ms),
            None => unusable(format!("`{text}` is not in the recording")),
        };
    }
    Ok(0)
}

/// The recording's events as they are in the log.
fn events(trail: &Trail, film: &Film, from_ms: u64, out: &mut dyn Write) -> Result<(), Failure> {
    for record in trail.read(film.seqs.0, film.seqs.1)? {
        let record = record?;
        let is_later = record.number("at_ms").is_none_or(|at_ms| at_ms >= from_ms);
        if record.str("recording_id") == Some(film.recording.id.as_str()) && is_later {
            json::write_line(out, &record.to_json())?;
        }
    }
    Ok(())
}

/// The recording in the log.
struct OnDisk<'a> {
    trail: &'a Trail,
    film: &'a Film,
}

impl Source for OnDisk<'_> {
    fn from(&self, seq: u64) -> Result<player::Moments<'_>, Failure> {
        let id = self.film.recording.id.as_str();
        let moments = self.trail.read(seq, self.film.seqs.1)?.filter_map(move |record| {
            let record = match record {
                Ok(record) => record,
                Err(failure) => return Some(Err(failure)),
            };
            if record.str("recording_id") != Some(id) {
                return None;
            }
            let moment = Moment::of(record.fields())?;
            match (&moment.place, moment.scene) {
                (_, Scene::Unreadable) | (None, _) => None,
                (Some(place), scene) => Some(Ok(player::Cue { seq: record.seq, at_ms: place.at_ms, scene })),
            }
        });
        Ok(Box::new(moments))
    }
}
