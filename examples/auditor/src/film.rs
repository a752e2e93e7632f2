//! The recordings of a session: found, counted, chosen.

use std::fmt::Write as _;

use audit_log::Query;
use session_filter::recording::{Acted, Moment, Recording, Reel, Scene};

use crate::failure::Failure;
use crate::story::{duration, size, time};
use crate::terminal::inert;
use crate::trail::Trail;

/// Most commands of one recording that can be jumped to.
const MARKS_MAX: usize = 100_000;
/// Characters of a command that are kept for the status line.
const MARK_CHARS_MAX: usize = 200;

/// One recording, and where in the log it stands.
pub(crate) struct Film {
    /// Its number in the session, from 1.
    pub(crate) number: usize,
    pub(crate) recording: Recording,
    /// The first and last event of the session that belong to it.
    pub(crate) seqs: (u64, u64),
    /// Its commands, in order.
    pub(crate) marks: Vec<Mark>,
    /// Who and where, for a title.
    pub(crate) title: String,
    pub(crate) session: String,
}

/// A command in a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at_ms: u64,
    pub(crate) line: String,
    pub(crate) acted: Acted,
}

impl Mark {
    /// The line with a sign for what became of it, inert.
    pub(crate) fn shown(&self) -> String {
        let sign = match self.acted {
            Acted::Blocked => "✗",
            Acted::Observed => "?",
            _ => "$",
        };
        format!("{sign} {}", inert(&self.line))
    }
}

/// All recordings of a session, from one pass over the log.
pub(crate) fn films(trail: &Trail, session: &str) -> Result<Vec<Film>, Failure> {
    let mut reel = Reel::new();
    let mut places: Vec<((u64, u64), Vec<Mark>)> = Vec::new();
    let (mut actor, mut target) = (None, None);
    for record in trail.search(Query::all().session(session))? {
        let record = record?;
        let own = |name| record.str(name).map(str::to_owned);
        actor = actor.or_else(|| own("actor_id"));
        target = target.or_else(|| own("target_id"));
        let Some(moment) = Moment::of(record.fields()) else { continue };
        let Some(shown) = reel.take(&moment) else { continue };
        if places.len() <= shown.recording {
            places.resize(shown.recording + 1, ((record.seq, record.seq), Vec::new()));
        }
        let Some(((_, last), marks)) = places.get_mut(shown.recording) else { continue };
        *last = record.seq;
        if let Scene::Command { line, acted } = moment.scene
            && marks.len() < MARKS_MAX
        {
            let line = line.chars().take(MARK_CHARS_MAX).collect();
            marks.push(Mark { at_ms: shown.at_ms, line, acted });
        }
    }
    let title = match (actor, target) {
        (Some(actor), Some(target)) => format!("{actor} on {target}"),
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => "session".to_owned(),
    };
    let recordings = reel.into_recordings().into_iter().zip(places);
    Ok((1..)
        .zip(recordings)
        .map(|(number, (recording, (seqs, marks)))| Film {
            number,
            recording,
            seqs,
            marks,
            title: format!("{title}, session {session}"),
            session: session.to_owned(),
        })
        .collect())
}

/// The one that was asked for, by number or id; the only one, where none was named.
pub(crate) fn choose(mut films: Vec<Film>, wanted: Option<&str>) -> Result<Film, Failure> {
    let unusable = |text: String| Err(Failure::Unusable(text));
    if films.is_empty() {
        return unusable(
            "nothing was recorded from a terminal in this session; `auditor show` tells what happened".into(),
        );
    }
    let Some(wanted) = wanted else {
        return match films.len() {
            1 => Ok(films.swap_remove(0)),
            count => unusable(format!("{count} recordings, say which with `--recording`:{}", listed(&films))),
        };
    };
    let by_number =
        wanted.parse().ok().and_then(|number: usize| films.iter().position(|film| film.number == number));
    let exact = || films.iter().position(|film| film.recording.id == wanted);
    let place = match by_number.or_else(exact) {
        Some(place) => place,
        None => {
            let mut fitting = (0..).zip(&films).filter(|(_, film)| film.recording.id.starts_with(wanted));
            match (fitting.next(), fitting.next()) {
                (Some((place, _)), None) if !wanted.is_empty() => place,
                (Some(_), Some(_)) => {
                    return unusable(format!("several recordings begin with `{wanted}`:{}", listed(&films)));
                }
                _ => return unusable(format!("there is no recording `{wanted}`:{}", listed(&films))),
            }
        }
    };
    Ok(films.swap_remove(place))
}

/// `; 1: 80x24 from …, 12.0 s (id)`, on one line.
fn listed(films: &[Film]) -> String {
    let mut text = String::new();
    for (turn, film) in films.iter().enumerate() {
        let between = if turn == 0 { " " } else { "; " };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{between}{}: {} ({})", film.number, film.summary(), film.recording.id);
    }
    text
}

impl Film {
    /// Size, beginning, length.
    pub(crate) fn summary(&self) -> String {
        let Recording { width, height, started_at, duration_ms, output_bytes, .. } = &self.recording;
        let begun = started_at.map(|at| format!(" from {}", time(at))).unwrap_or_default();
        format!("{width}x{height}{begun}, {}, {}", duration(*duration_ms), size(*output_bytes))
    }

    /// What is wrong with it, as sentences.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let recording = &self.recording;
        let mut complaints: Vec<String> = recording.flaws().iter().map(ToString::to_string).collect();
        if recording.flaws_left_out() > 0 {
            complaints.push(format!("and {} more like these", recording.flaws_left_out()));
        }
        complaints
    }
}
