//! What is remembered of one person.

use std::collections::{BTreeMap, HashMap, VecDeque};

use chrono::{DateTime, Timelike, Utc};
use serde::{Deserialize, Serialize};

use crate::event::cut_at_char;

/// Most programs that are remembered of one person; beyond, the one that was not used for longest is forgotten.
pub(super) const PROGRAMS_MAX: usize = 256;
/// Bytes of a program's name by which it is told apart.
const PROGRAM_BYTES_MAX: usize = 64;
/// How many of the last sessions are remembered, by their sizes.
pub(super) const SESSIONS_MAX: usize = 64;
/// Most sessions of one person that are followed at a time; beyond, the oldest is taken for ended.
pub(super) const SESSIONS_OPEN_MAX: usize = 64;
/// After so many sessions, hours count half: habits change.
const HOUR_SESSIONS_MAX: u32 = 1024;

/// One person's past. Everything in it is bounded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Past {
    first_seen: DateTime<Utc>,
    sessions: u64,
    /// When each program was used last, by our own count.
    programs: BTreeMap<String, u64>,
    uses: u64,
    /// Sessions that began in each hour of the day, UTC.
    hours: [u32; 24],
    commands: Sizes,
    bytes: Sizes,
    #[serde(skip)]
    open: HashMap<String, Open>,
    #[serde(skip)]
    opened: u64,
    /// The last moments at which lines were blocked.
    #[serde(skip)]
    pub(super) blocked: VecDeque<DateTime<Utc>>,
    #[serde(skip)]
    pub(super) in_burst: bool,
}

/// A session that goes on.
#[derive(Debug, Clone)]
pub(super) struct Open {
    number: u64,
    pub(super) commands: Running,
    pub(super) bytes: Running,
}

/// Something that is counted up in a session.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) count: u64,
    /// Above this it stands out; nothing once it has.
    limit: Option<Limit>,
}

/// A size above which a session stands out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) usual: f64,
    pub(super) above: f64,
}

impl Running {
    fn new(limit: Option<Limit>) -> Self {
        Self { count: 0, limit }
    }

    /// Counts on. The limit, if it is passed now for the first time.
    pub(super) fn add(&mut self, more: u64) -> Option<Limit> {
        self.count = self.count.saturating_add(more);
        let passed = self.limit.filter(|limit| self.count as f64 > limit.above)?;
        self.limit = None;
        Some(passed)
    }
}

impl Past {
    pub(super) fn since(now: DateTime<Utc>) -> Self {
        Self {
            first_seen: now,
            sessions: 0,
            programs: BTreeMap::new(),
            uses: 0,
            hours: [0; 24],
            commands: Sizes::default(),
            bytes: Sizes::default(),
            open: HashMap::new(),
            opened: 0,
            blocked: VecDeque::new(),
            in_burst: false,
        }
    }

    /// Cuts what a snapshot may hold beyond the limits.
    pub(super) fn bounded(mut self) -> Self {
        while self.programs.len() > PROGRAMS_MAX {
            self.forget_program();
        }
        self.programs.retain(|program, _| program.len() <= PROGRAM_BYTES_MAX);
        self.uses = self.programs.values().copied().max().unwrap_or(0).max(self.uses);
        self.hours = self.hours.map(|count| count.min(HOUR_SESSIONS_MAX));
        self.commands.bound();
        self.bytes.bound();
        self
    }

    /// Whether enough is known to say what is usual.
    pub(super) fn is_learned(
        &self,
        now: DateTime<Utc>,
        learning: std::time::Duration,
        sessions: u64,
    ) -> bool {
        let age = now.signed_duration_since(self.first_seen).to_std().unwrap_or_default();
        age >= learning && self.sessions >= sessions
    }

    pub(super) fn programs_known(&self) -> usize {
        self.programs.len()
    }

    /// Remembers the program. Whether it is new.
    pub(super) fn program(&mut self, program: &str) -> bool {
        self.uses = self.uses.saturating_add(1);
        let program = cut_at_char(program, PROGRAM_BYTES_MAX);
        if let Some(used) = self.programs.get_mut(program) {
            *used = self.uses;
            return false;
        }
        if self.programs.len() >= PROGRAMS_MAX {
            self.forget_program();
        }
        self.programs.insert(program.to_owned(), self.uses);
        true
    }

    fn forget_program(&mut self) {
        let oldest = self.programs.iter().min_by_key(|(_, used)| **used).map(|(program, _)| program.clone());
        if let Some(oldest) = oldest {
            self.programs.remove(&oldest);
        }
    }

    /// The share of sessions that begin at this hour, smoothed over the hours beside it, with half a session more for every hour: so
    /// that an hour without any is not impossible, only rare, and the rarer the more is known.
    pub(super) fn hour_share(&self, now: DateTime<Utc>) -> f64 {
        let at = |hour: u32| self.hours.get(hour as usize % 24).map_or(0.0, |count| f64::from(*count));
        let hour = now.hour();
        let near = 0.5 * at(hour) + 0.25 * at(hour.wrapping_add(1)) + 0.25 * at(hour.wrapping_add(23));
        let all: f64 = self.hours.iter().map(|count| f64::from(*count)).sum();
        (near + 0.5) / (all + 12.0)
    }

    /// Follows a new session.
    pub(super) fn begin(
        &mut self,
        session: &str,
        now: DateTime<Utc>,
        limits: impl Fn(&Self) -> (Option<Limit>, Option<Limit>),
    ) {
        if let Some(count) = self.hours.get_mut(now.hour() as usize) {
            *count = count.saturating_add(1);
        }
        if self.hours.iter().fold(0u32, |sum, count| sum.saturating_add(*count)) > HOUR_SESSIONS_MAX {
            self.hours = self.hours.map(|count| count.div_ceil(2));
        }
        self.sessions = self.sessions.saturating_add(1);
        if self.open.len() >= SESSIONS_OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.number).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.end(&oldest);
            }
        }
        let (commands, bytes) = limits(self);
        self.opened = self.opened.saturating_add(1);
        let open = Open { number: self.opened, commands: Running::new(commands), bytes: Running::new(bytes) };
        self.open.insert(session.to_owned(), open);
    }

    /// A session that is followed. One that began before this process did is not.
    pub(super) fn session(&mut self, session: &str) -> Option<&mut Open> {
        self.open.get_mut(session)
    }

    pub(super) fn end(&mut self, session: &str) {
        if let Some(open) = self.open.remove(session) {
            self.commands.push(open.commands.count);
            self.bytes.push(open.bytes.count);
        }
    }

    /// Above what a session stands out, in commands and in bytes.
    pub(super) fn limits(
        &self,
        deviations: f64,
        commands_min: u64,
        bytes_min: u64,
    ) -> (Option<Limit>, Option<Limit>) {
        (self.commands.limit(deviations, commands_min), self.bytes.limit(deviations, bytes_min))
    }
}

/// Sizes of the last sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Sizes(VecDeque<u64>);

/// Sessions differ by factors, so sizes are compared as logarithms; whoever's sessions are all alike may still have one that is
/// this much larger (a factor of e^0.25) without it counting as one deviation more.
const DEVIATION_MIN: f64 = 0.25;
/// Makes the median absolute deviation comparable to a standard deviation.
const MAD_SCALE: f64 = 1.4826;

impl Sizes {
    fn push(&mut self, size: u64) {
        self.0.push_back(size);
        self.bound();
    }

    fn bound(&mut self) {
        while self.0.len() > SESSIONS_MAX {
            self.0.pop_front();
        }
    }

    /// So many deviations above the median, and never below `least`. Median and median absolute deviation, so that a few sessions of
    /// another kind, an attacker's among them, do not move it.
    fn limit(&self, deviations: f64, least: u64) -> Option<Limit> {
        let logs: Vec<f64> = self.0.iter().map(|size| (*size as f64).ln_1p()).collect();
        let middle = median(logs.clone())?;
        let spread = median(logs.iter().map(|log| (log - middle).abs()).collect())?;
        let above = deviations.mul_add((MAD_SCALE * spread).max(DEVIATION_MIN), middle).exp_m1();
        Some(Limit { usual: middle.exp_m1(), above: above.max(least as f64) })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.len() / 2;
    let high = *values.get(upper)?;
    match values.len() % 2 {
        0 => Some((high + *values.get(upper.checked_sub(1)?)?) / 2.0),
        _ => Some(high),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_most_sessions_and_not_the_few() {
        let mut sizes = Sizes::default();
        assert!(sizes.limit(6.0, 0).is_none());
        for n in 0..SESSIONS_MAX as u64 {
            // One in eight is a thousand times as large.
            sizes.push(if n % 8 == 0 { 100_000 } else { 100 });
        }
        let limit = sizes.limit(6.0, 0).unwrap();
        assert!((limit.usual - 100.0).abs() < 1e-6, "{limit:?}");
        assert!(limit.above > 400.0 && limit.above < 500.0, "{limit:?}");
        assert!((sizes.limit(6.0, 5_000).unwrap().above - 5_000.0).abs() < 1e-9);
        assert_eq!(sizes.0.len(), SESSIONS_MAX);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![5.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn whatever_happens_memory_is_bounded() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let mut past = Past::since(now);
        for n in 0..2000 {
            past.program(&format!("{}{n}", "p".repeat(30)));
            past.begin(&format!("s{n}"), now, |_| (None, None));
        }
        assert_eq!(past.programs.len(), PROGRAMS_MAX);
        assert_eq!(past.open.len(), SESSIONS_OPEN_MAX);
        assert_eq!(past.commands.0.len(), SESSIONS_MAX);
        assert!(past.hours.iter().sum::<u32>() <= HOUR_SESSIONS_MAX);
        // The last used are kept.
        assert!(!past.program(&format!("{}1999", "p".repeat(30))));
        assert!(past.program(&format!("{}0", "p".repeat(30))));
        // Long names are told apart by their beginning.
        past.program(&"q".repeat(PROGRAM_BYTES_MAX + 1));
        assert!(!past.program(&"q".repeat(PROGRAM_BYTES_MAX + 2)));
    }
}
