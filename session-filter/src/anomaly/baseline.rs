//! A detector that compares each person with their own past.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::past::Past;
use super::{Anomaly, AnomalyDetector, AnomalyKind, Happening, Observation, Response};
use crate::event::cut_at_char;
use crate::grammar::escape_into;

/// Most people who are remembered by default; beyond, who was not seen for longest is forgotten.
pub const USERS_MAX: usize = 10_000;
/// Bytes of a name by which a person is told apart.
const USER_BYTES_MAX: usize = 256;

/// What [`Baseline`] looks at, and how closely. The defaults alert and end nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BaselineSettings {
    /// For so many days after somebody was first seen, nothing of theirs counts as unusual. Default 14.
    pub learning_days: u32,
    /// And for so many of their sessions. Default 10.
    pub learning_sessions: u64,
    /// On a program that somebody never ran before. Default `alert`; absent or `off`: nothing.
    #[serde(with = "reaction")]
    pub first_seen_command: Option<Response>,
    /// On a session at an unusual hour. Default `alert`.
    #[serde(with = "reaction")]
    pub unusual_hour: Option<Response>,
    /// An hour is unusual when less than this share of sessions begins then, smoothed. Default 0.01: an hour without any session is
    /// unusual once there were about forty at others.
    pub hour_share: f64,
    /// On a session with unusually many commands or unusually much output. Default `alert`.
    #[serde(with = "reaction")]
    pub unusual_volume: Option<Response>,
    /// So many robust standard deviations above the median of the last sessions, in logarithms, is unusual. Default 6.
    pub volume_deviations: f64,
    /// Fewer commands than this in a session are never unusual. Default 50.
    pub commands_min: u64,
    /// Less output than this in a session is never unusual, in bytes. Default 10 MiB.
    pub output_bytes_min: u64,
    /// On a burst of blocked lines and refused requests, of one person in all their sessions; needs no learning. Default `alert`.
    #[serde(with = "reaction")]
    pub blocked_burst: Option<Response>,
    /// So many of them are a burst, when they fall within the window; 1 to 1000. Default 10.
    pub blocked_max: usize,
    /// The window, in seconds. It slides: any stretch of this length counts. Default 60.
    pub blocked_window_s: u64,
    /// Most people who are remembered. Default [`USERS_MAX`].
    pub users_max: usize,
}

impl Default for BaselineSettings {
    fn default() -> Self {
        let alert = Some(Response::Alert);
        Self {
            learning_days: 14,
            learning_sessions: 10,
            first_seen_command: alert,
            unusual_hour: alert,
            hour_share: 0.01,
            unusual_volume: alert,
            volume_deviations: 6.0,
            commands_min: 50,
            output_bytes_min: 10 * 1024 * 1024,
            blocked_burst: alert,
            blocked_max: 10,
            blocked_window_s: 60,
            users_max: USERS_MAX,
        }
    }
}

/// `off`, `alert` or `terminate`.
mod reaction {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Response;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Written {
        Off,
        Alert,
        Terminate,
    }

    pub(super) fn serialize<S: Serializer>(response: &Option<Response>, to: S) -> Result<S::Ok, S::Error> {
        match response {
            None => Written::Off,
            Some(Response::Alert) => Written::Alert,
            Some(Response::Terminate) => Written::Terminate,
        }
        .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Response>, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Off => None,
            Written::Alert => Some(Response::Alert),
            Written::Terminate => Some(Response::Terminate),
        })
    }
}

/// Compares each person with their own past: programs, hours of the day, sizes of sessions, bursts of blocked lines.
///
/// * Each thing is raised once: a program when it is new, an hour when the session begins, a size when the session passes it, a burst
///   until it has calmed down to less than half.
/// * What is repeated becomes usual. So what is learned can be shifted by whoever is patient, and by an attacker who is not noticed.
/// * Hours are those of UTC. Where clocks are set for summer, habits move by one hour, which smoothing over neighbouring hours forgives.
/// * It knows nobody when it begins. Keep a [`snapshot`](Self::snapshot), and begin with that.
pub struct Baseline {
    settings: BaselineSettings,
    people: Mutex<People>,
}

/// Everybody who is remembered, and in which order they were last seen.
#[derive(Default)]
struct People {
    pasts: HashMap<String, (u64, Past)>,
    seen: BTreeMap<u64, String>,
    turn: u64,
}

/// What a [`Baseline`] has learned, to be kept where it survives a restart. It holds names of people and of the programs they run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    /// In the order in which they were last seen.
    people: Vec<(String, Past)>,
}

/// Whom it is about is nobody's business.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("people", &self.people.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baseline").field("settings", &self.settings).finish_non_exhaustive()
    }
}

const SNAPSHOT_VERSION: u32 = 1;

impl Baseline {
    /// Knows nobody yet.
    pub fn new(settings: BaselineSettings) -> Self {
        Self { settings, people: Mutex::default() }
    }

    /// Goes on from a snapshot. Sessions that were live when it was taken are not followed. A snapshot of another version than this
    /// crate writes is not used, and whatever goes beyond the limits is left out.
    pub fn restore(settings: BaselineSettings, snapshot: Snapshot) -> Self {
        let baseline = Self::new(settings);
        if snapshot.version == SNAPSHOT_VERSION {
            let mut people = baseline.people();
            for (user, past) in snapshot.people.into_iter().filter(|(user, _)| user.len() <= USER_BYTES_MAX) {
                people.put(user, past.bounded(), baseline.settings.users_max);
            }
        }
        baseline
    }

    /// What was learned so far.
    pub fn snapshot(&self) -> Snapshot {
        let people = self.people();
        let in_order = people.seen.values();
        let pasts = in_order.filter_map(|user| Some((user.clone(), people.pasts.get(user)?.1.clone())));
        Snapshot { version: SNAPSHOT_VERSION, people: pasts.collect() }
    }

    fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_learned(&self, past: &Past, now: DateTime<Utc>) -> bool {
        let days = Duration::from_secs(u64::from(self.settings.learning_days).saturating_mul(24 * 60 * 60));
        past.is_learned(now, days, self.settings.learning_sessions)
    }

    fn begin(&self, past: &mut Past, session: &str, now: DateTime<Utc>) -> Option<Anomaly> {
        let settings = &self.settings;
        let is_learned = self.is_learned(past, now);
        let share = past.hour_share(now);
        past.begin(session, now, |past| match is_learned && settings.unusual_volume.is_some() {
            true => past.limits(settings.volume_deviations, settings.commands_min, settings.output_bytes_min),
            false => (None, None),
        });
        let response = settings.unusual_hour.filter(|_| is_learned && share < settings.hour_share)?;
        let message = format!(
            "a session that begins at {} UTC, when this person's hardly ever do",
            now.format("%H:%M")
        );
        Some(
            Anomaly::new(AnomalyKind::UnusualHour, share, message)
                .usual(settings.hour_share)
                .response(response),
        )
    }

    fn program(&self, past: &mut Past, program: &str, now: DateTime<Utc>) -> Option<Anomaly> {
        let known = past.programs_known();
        let is_new = past.program(program);
        let response = self.settings.first_seen_command.filter(|_| is_new && self.is_learned(past, now))?;
        let mut message = String::from("ran `");
        escape_into(cut_at_char(program, 64), 64, &mut message);
        message.push_str(&format!("` for the first time, having run {known} others so far"));
        Some(Anomaly::new(AnomalyKind::FirstSeenCommand, known as f64, message).response(response))
    }

    fn blocked(&self, past: &mut Past, now: DateTime<Utc>) -> Option<Anomaly> {
        let most = self.settings.blocked_max.clamp(1, 1000);
        let window = Duration::from_secs(self.settings.blocked_window_s);
        // A moment in the future is one from before the clock was set back: it still counts.
        past.blocked
            .retain(|at| now.signed_duration_since(at).to_std().is_ok_and(|age| age < window) || *at > now);
        if past.blocked.len().saturating_mul(2) < most {
            past.in_burst = false;
        }
        if past.blocked.len() >= most {
            past.blocked.pop_front();
        }
        past.blocked.push_back(now);
        let response = self.settings.blocked_burst?;
        if past.in_burst || past.blocked.len() < most {
            return None;
        }
        past.in_burst = true;
        let message =
            format!("{most} lines or requests were refused within {} s", self.settings.blocked_window_s);
        Some(Anomaly::new(AnomalyKind::BlockedBurst, most as f64, message).response(response))
    }

    fn volume(&self, past: &mut Past, session: &str, kind: AnomalyKind, more: u64) -> Option<Anomaly> {
        let open = past.session(session)?;
        let (running, what) = match kind {
            AnomalyKind::UnusualCommands => (&mut open.commands, "commands"),
            _ => (&mut open.bytes, "bytes of output"),
        };
        let passed = running.add(more)?;
        let response = self.settings.unusual_volume?;
        let message = format!(
            "{} {what} in this session, where {:.0} are usual and {:.0} would still be",
            running.count, passed.usual, passed.above
        );
        Some(Anomaly::new(kind, running.count as f64, message).usual(passed.usual).response(response))
    }
}

impl AnomalyDetector for Baseline {
    fn observe(&self, observation: &Observation<'_>, now: DateTime<Utc>) -> Vec<Anomaly> {
        let mut people = self.people();
        let user = cut_at_char(observation.user, USER_BYTES_MAX);
        let past = people.past(user, now, self.settings.users_max);
        let session = observation.session;
        match observation.happening {
            Happening::SessionStarted => self.begin(past, session, now).into_iter().collect(),
            Happening::CommandStarted { program } => {
                let volume = self.volume(past, session, AnomalyKind::UnusualCommands, 1);
                let first = program.and_then(|program| self.program(past, program, now));
                first.into_iter().chain(volume).collect()
            }
            Happening::Blocked => self.blocked(past, now).into_iter().collect(),
            Happening::Output { bytes } => {
                self.volume(past, session, AnomalyKind::UnusualOutput, bytes).into_iter().collect()
            }
            Happening::SessionEnded => {
                past.end(session);
                Vec::new()
            }
        }
    }
}

impl People {
    /// This person's past, which is now the one seen last.
    fn past(&mut self, user: &str, now: DateTime<Utc>, users_max: usize) -> &mut Past {
        self.turn = self.turn.saturating_add(1);
        match self.pasts.get(user).map(|(seen, _)| *seen) {
            Some(seen) => {
                self.seen.remove(&seen);
            }
            None => self.make_room(users_max),
        }
        self.seen.insert(self.turn, user.to_owned());
        let (seen, past) = self.pasts.entry(user.to_owned()).or_insert_with(|| (self.turn, Past::since(now)));
        *seen = self.turn;
        past
    }

    fn put(&mut self, user: String, past: Past, users_max: usize) {
        self.turn = self.turn.saturating_add(1);
        if let Some((seen, _)) = self.pasts.remove(&user) {
            self.seen.remove(&seen);
        }
        self.make_room(users_max);
        self.seen.insert(self.turn, user.clone());
        self.pasts.insert(user, (self.turn, past));
    }

    /// Forgets whoever was not seen for longest, until one more fits.
    fn make_room(&mut self, users_max: usize) {
        while self.pasts.len() >= users_max.max(1) {
            let Some((_, user)) = self.seen.pop_first() else { return };
            self.pasts.remove(&user);
        }
    }
}
