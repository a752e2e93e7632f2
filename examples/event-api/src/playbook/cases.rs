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
use crate::files;

/// Most cases of a tenant that are kept. Beyond it, those go that have been settled for longest.
const CASES_MAX: usize = 10_000;
/// How long a case is kept that is settled.
const KEPT_DAYS: i64 = 30;

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
    /// When it was decided.
    pub(super) at: Timestamp,
}

/// About one alert.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Case {
    /// As it was looked at last.
    pub(super) alert: Alert,
    pub(super) mode: Mode,
    /// How often it was decided anew.
    pub(super) round: u32,
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
            let same = |other: &&Decision| other.actor_id == decision.actor_id && other.act == Act::Lock;
            if let Some(known) = earlier.decisions.iter().find(same) {
                decision.lock = known.lock.clone();
            }
        }
        if self.escalation.is_none() {
            self.escalation = earlier.escalation.clone();
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

    /// Locks of the last hour, also those that are only under way.
    pub(super) fn locks_since(&self, from: DateTime<Utc>) -> usize {
        let decisions = self.known.values().flat_map(|case| &case.decisions);
        decisions.filter(|decision| decision.act == Act::Lock && decision.at.as_datetime() > from).count()
    }

    /// Accounts whose lock did not work.
    pub(super) fn unlockable(&self) -> HashSet<ActorId> {
        let decisions = self.known.values().flat_map(|case| &case.decisions);
        let failed = decisions.filter(|decision| matches!(decision.lock, Some(Step::Failed { .. })));
        failed.map(|decision| decision.actor_id.clone()).collect()
    }
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display()))
}
