//! What was decided about each alert, and how far that is done: a file for each, so that nothing is done twice after a restart.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::ActorId;
use mfa_events::detect::Alert;
use mfa_events::event::Timestamp;
use mfa_events::respond::RespondError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::decide::{Act, Context, Why};
use super::look::OwnLocks;
use crate::files;

/// Most cases of a tenant that are kept. Beyond it, those go that have been settled for longest.
const CASES_MAX: usize = 10_000;
/// How long a case is kept that is settled.
const KEPT_DAYS: i64 = 30;

/// Why a lock is not taken up again.
const GIVEN_UP: &str =
    "it was under way when the service stopped, and that is too long ago to go on without people";

/// Whether anything is done about what is decided.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Decisions are recorded and shown, and that is all.
    DryRun,
    /// They are carried out.
    Act,
}

/// How far something is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(super) enum Step {
    Pending,
    Done { at: Timestamp },
    Failed { why: String },
}

impl From<Result<Timestamp, RespondError>> for Step {
    fn from(told: Result<Timestamp, RespondError>) -> Self {
        match told {
            Ok(at) => Self::Done { at },
            Err(error) => Self::Failed { why: error.to_string() },
        }
    }
}

/// About one account.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Decision {
    pub(super) actor_id: ActorId,
    pub(super) act: Act,
    pub(super) why: Why,
    pub(super) context: Context,
    /// The lock, where it is one and is carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lock: Option<Step>,
    /// Of its event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event_id: Option<Uuid>,
    /// When it was decided.
    pub(super) at: Timestamp,
}

impl Decision {
    /// Whether it is a lock in this mode. What a dry run would have locked is none where something is done.
    pub(super) fn is_lock(&self, mode: Mode) -> bool {
        self.act == Act::Lock && (mode == Mode::DryRun || self.lock.is_some())
    }

    /// Why it was given up, where it was.
    pub(super) fn given_up(&self) -> Option<&str> {
        match &self.lock {
            Some(Step::Failed { why }) if why == GIVEN_UP => Some(why),
            _ => None,
        }
    }
}

/// About one alert.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Case {
    /// As it was looked at last.
    pub(super) alert: Alert,
    pub(super) mode: Mode,
    /// How often it was decided anew.
    pub(super) round: u32,
    /// The round that people are told of, or were.
    #[serde(default)]
    pub(super) told_round: u32,
    pub(super) at: Timestamp,
    pub(super) decisions: Vec<Decision>,
    /// Actors whom the alert counts and does not name.
    pub(super) unnamed: u64,
    /// Telling people, where they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) escalation: Option<Step>,
}

impl Case {
    fn is_settled(&self) -> bool {
        let locks = self.decisions.iter().filter_map(|decision| decision.lock.as_ref());
        !locks.chain(&self.escalation).any(|step| *step == Step::Pending)
    }

    /// Whether an alert is as it was looked at, or as it was before.
    pub(super) fn has_seen(&self, alert: &Alert) -> bool {
        self.alert.severity >= alert.severity && self.alert.events >= alert.events
    }

    /// Takes over how far things are by an earlier state of the same case, which may have gone on while this one was made.
    pub(super) fn take_over(&mut self, earlier: &Self) {
        self.round = self.round.max(earlier.round.saturating_add(1));
        for decision in &mut self.decisions {
            // A dry run's are none.
            let same = |other: &&Decision| other.actor_id == decision.actor_id && other.lock.is_some();
            if let Some(known) = earlier.decisions.iter().find(same) {
                decision.lock = known.lock.clone();
                decision.event_id = known.event_id;
            }
        }
        self.told_round = self.round;
        if self.escalation.is_none() {
            // It goes on under its own round.
            self.escalation = earlier.escalation.clone();
            self.told_round = earlier.told_round;
        }
    }

    /// People hear of it once more, with what is new in it.
    pub(super) fn tell_again(&mut self) {
        self.round = self.round.saturating_add(1);
        self.told_round = self.round;
        self.escalation = Some(Step::Pending);
    }

    /// After a stop: what was under way for too long is for people. Says whether there is such.
    pub(super) fn give_up(&mut self, is_old: bool) -> bool {
        let pending = self.decisions.iter_mut().filter(|decision| decision.lock == Some(Step::Pending));
        let mut is_any = false;
        // Without an id it never was in the log.
        for decision in pending.filter(|decision| is_old || decision.event_id.is_none()) {
            decision.lock = Some(Step::Failed { why: GIVEN_UP.to_owned() });
            is_any = true;
        }
        if is_any {
            self.tell_again();
        }
        is_any
    }

    /// Takes over the ids of events of locks.
    pub(super) fn renumber(&mut self, locks: &[Decision]) {
        for decision in &mut self.decisions {
            if let Some(lock) = locks.iter().find(|lock| lock.actor_id == decision.actor_id) {
                decision.event_id = lock.event_id;
            }
        }
    }

    /// For programs and the page.
    pub(super) fn shown(&self) -> Value {
        let decisions = self.decisions.iter().map(|decision| {
            let mut shown = json!({
                "actor_id": decision.actor_id,
                "act": decision.act,
                "why": decision.why,
                "because": decision.why.text(),
                "at": decision.at,
                "context": decision.context,
            });
            if let (Some(lock), Some(shown)) = (&decision.lock, shown.as_object_mut()) {
                shown.insert("lock".to_owned(), json!(lock));
            }
            shown
        });
        json!({
            "mode": self.mode,
            "at": self.at,
            "decisions": decisions.collect::<Vec<_>>(),
            "unnamed": self.unnamed,
            "escalation": self.escalation,
        })
    }
}

/// The cases of one tenant.
pub(super) struct Cases {
    dir: PathBuf,
    pub(super) known: HashMap<Uuid, Case>,
    /// Alerts before then are not this playbook's.
    pub(super) since: DateTime<Utc>,
}

impl Cases {
    /// Those that are there; where none ever were, from now on.
    pub(super) fn open(dir: PathBuf, now: DateTime<Utc>) -> io::Result<Self> {
        files::private_dir(&dir)?;
        let begun = dir.join("since");
        let since = match files::kept(&begun)? {
            Some(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| named(&begun, "no time"))?,
            None => {
                files::private_file(&begun, now.to_rfc3339().as_bytes())?;
                now
            }
        };
        let mut known = HashMap::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let case: Case =
                    serde_json::from_slice(&fs::read(&path)?).map_err(|error| named(&path, error))?;
                known.insert(case.alert.id, case);
            }
        }
        let since = since.max(now - TimeDelta::days(KEPT_DAYS));
        let mut cases = Self { dir, known, since };
        cases.forget(now)?;
        Ok(cases)
    }

    fn path(&self, alert: Uuid) -> PathBuf {
        self.dir.join(format!("{alert}.json"))
    }

    /// Keeps a case as it is now; durable on return.
    pub(super) fn keep(&mut self, case: Case) -> io::Result<()> {
        files::private_file(&self.path(case.alert.id), &serde_json::to_vec(&case)?)?;
        self.known.insert(case.alert.id, case);
        if self.known.len() > CASES_MAX {
            self.forget(Utc::now())?;
        }
        Ok(())
    }

    /// Forgets what is settled and old, or has no room. Their alerts lie before those that are looked at.
    fn forget(&mut self, now: DateTime<Utc>) -> io::Result<()> {
        let mut settled: Vec<(Timestamp, Uuid)> = self
            .known
            .values()
            .filter(|case| case.is_settled())
            .map(|case| (case.at, case.alert.id))
            .collect();
        settled.sort_unstable();
        let beyond = self.known.len().saturating_sub(CASES_MAX / 10 * 9);
        let beyond = if self.known.len() > CASES_MAX { beyond } else { 0 };
        for (number, (at, alert)) in settled.into_iter().enumerate() {
            let is_old = at.as_datetime() < now - TimeDelta::days(KEPT_DAYS);
            if !is_old && number >= beyond {
                break;
            }
            if !is_old {
                // It would be found anew otherwise.
                self.since = self.since.max(at.as_datetime());
                files::private_file(&self.dir.join("since"), self.since.to_rfc3339().as_bytes())?;
            }
            fs::remove_file(self.path(alert))?;
            self.known.remove(&alert);
        }
        Ok(())
    }

    fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.known.values().flat_map(|case| &case.decisions)
    }

    /// Locks of the last hour, also those that are only under way.
    pub(super) fn locks_since(&self, from: DateTime<Utc>, mode: Mode) -> usize {
        let locks = self.decisions().filter(|decision| decision.is_lock(mode));
        locks.filter(|decision| decision.at.as_datetime() > from).count()
    }

    /// Since when each lock of a playbook holds. What is under way will from now on; what did not work does not.
    pub(super) fn own_locks(&self, now: Timestamp) -> OwnLocks {
        let holds = |step: &Step| match step {
            Step::Pending => Some(now),
            Step::Done { at } => Some(*at),
            Step::Failed { .. } => None,
        };
        let own = self.decisions().filter_map(|decision| Some((decision.event_id?, decision.lock.as_ref()?)));
        own.map(|(id, step)| (id, holds(step))).collect()
    }

    /// Who was taken over, and from where.
    pub(super) fn taken_from(&self) -> HashSet<(ActorId, String)> {
        let taken = self.decisions().filter(|decision| decision.act == Act::Lock);
        taken
            .filter_map(|decision| {
                let source = decision.context.got_in.as_ref()?.source.clone()?;
                Some((decision.actor_id.clone(), source))
            })
            .collect()
    }
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(round: u32, escalation: Option<Step>) -> Case {
        let alert = json!({
            "id": "019aa2b0-5d3c-8c1e-9f00-2b1d5c3e4f60", "tenant_id": "acme", "rule": "some", "name": "Some",
            "severity": "high", "state": "opened", "group": {"by": "tenant"}, "at": "2026-01-31T09:15:27.042Z",
            "first_event_at": "2026-01-31T09:15:27.042Z", "first_offset": 1, "opened_at": "2026-01-31T09:15:27.042Z",
            "last_met_at": "2026-01-31T09:15:27.042Z", "events": 9, "late_events": 0, "actors": 1, "is_exact": true,
            "sources": 1, "actor_ids": ["alice"], "source_ips": [],
        });
        let at = Timestamp::parse("2026-01-31T09:15:27.042Z").unwrap();
        Case {
            alert: serde_json::from_value(alert).unwrap(),
            mode: Mode::Act,
            round,
            told_round: round,
            at,
            decisions: Vec::new(),
            unnamed: 0,
            escalation,
        }
    }

    #[test]
    fn whoever_is_told_of_an_earlier_round_is_told_in_the_later_one_too() {
        let mut later = case(2, None);
        later.take_over(&case(1, Some(Step::Pending)));
        assert_eq!((later.round, later.told_round, &later.escalation), (2, 1, &Some(Step::Pending)));
        let mut anew = case(2, Some(Step::Pending));
        anew.take_over(&case(4, Some(Step::Pending)));
        assert_eq!((anew.round, anew.told_round), (5, 5));
    }
}
