//! Why a connector is as it is, in one sentence.

use chrono::{DateTime, SecondsFormat, Utc};

use super::track::Track;
use super::{Dimension, Monitor, Tier};

impl Monitor {
    /// Why the connector is as it is, and what is missing for it to be healthy: one sentence with numbers, for people.
    pub fn explain(&self, now: DateTime<Utc>) -> String {
        let t = self.state.elapsed.at(now);
        let worst = self.worst().dimension;
        let Some(track) = self.state.tracks.iter().find(|track| track.dimension == worst) else {
            return String::new();
        };
        let confirmed = match self.state.confirmed {
            Some(at) => format!("last confirmed success {} ago", span(t.since(at))),
            None => "nothing was ever confirmed".to_owned(),
        };
        match track.tier {
            Tier::Healthy => format!("healthy: {confirmed}"),
            Tier::Unknown => {
                let watched = self.state.began.map_or(0, |began| t.since(began));
                let missing: Vec<&str> = Dimension::ALL
                    .into_iter()
                    .filter(|dimension| {
                        self.state
                            .tracks
                            .iter()
                            .any(|track| track.dimension == *dimension && track.tier == Tier::Unknown)
                    })
                    .map(Dimension::code)
                    .collect();
                format!(
                    "unknown: no success seen yet in {} of {}; {confirmed}",
                    span(watched),
                    missing.join(", ")
                )
            }
            Tier::Degraded | Tier::Failed => self.explain_bad(track, t, &confirmed),
        }
    }

    fn explain_bad(&self, track: &Track, t: super::Moment, confirmed: &str) -> String {
        let class = track.class.map_or("", |class| class.code());
        let since = track.first_failure_at.map_or_else(String::new, |at| {
            format!(" since {}", at.to_rfc3339_opts(SecondsFormat::Secs, true))
        });
        let failures = if track.failures == 1 { "1 failure" } else { "failures" };
        let count = if track.failures == 1 { String::new() } else { format!("{} ", track.failures) };
        let begin = format!("{}: {} {class}{since}, {count}{failures}", track.tier, track.dimension);
        if self.state.expired && track.dimension == Dimension::Authentication {
            return format!(
                "{begin}; the credential is past its end, and healthy again needs one that is not"
            );
        }
        let hold_down = self.thresholds.hold_down_ms(track.flaps);
        let wanted = self.thresholds.recovery_successes.max(1);
        let flaps = match track.flaps {
            0 => String::new(),
            1 => ", longer for 1 flap".to_owned(),
            flaps => format!(", longer for {flaps} flaps"),
        };
        match track.recovering {
            Some(since) => format!(
                "{begin}; well again for {} with {} of {wanted} successes, and healthy at the first success after {} more (hold-down {}{flaps})",
                span(t.since(since)),
                track.successes.min(wanted),
                span(hold_down.saturating_sub(t.since(since)).max(0)),
                span(hold_down),
            ),
            None => {
                let fails = match track.fails_at(&self.thresholds) {
                    Some(at) if at > t => format!("; failed in {}", span(at.since(t))),
                    _ => String::new(),
                };
                format!(
                    "{begin}; {confirmed}; healthy again needs {wanted} successes over {} without a failure{flaps}{fails}",
                    span(hold_down),
                )
            }
        }
    }
}

/// The two largest units.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.div_euclid(1_000);
    let (days, hours) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400).div_euclid(3_600));
    let (minutes, rest) = (seconds.rem_euclid(3_600).div_euclid(60), seconds.rem_euclid(60));
    let pair = |large: i64, one: &str, small: i64, other: &str| match small {
        0 => format!("{large} {one}"),
        small => format!("{large} {one} {small} {other}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, minutes) => pair(minutes, "min", rest, "s"),
        (0, hours, minutes) => pair(hours, "h", minutes, "min"),
        (days, hours, _) => pair(days, "d", hours, "h"),
    }
}
