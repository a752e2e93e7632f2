//! Contracts that end: warned of ahead, and ended on time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::Entry;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::PersonId;
use connector_health::lifecycle::{Applied, Change, Due, Schedule, ScheduleError, ScheduleSettings, What};

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, EngineError, TakeError, rfc3339};
use crate::files;
use crate::people::{Happening, Kind, Person};

/// How often is looked at what ends.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the clock is written down, so that a jump over a restart is seen.
const KEEP_EVERY: TimeDelta = TimeDelta::minutes(10);

/// What the clock's word waits for.
pub(crate) const CLOCK: &str = "clock";

/// The end dates that are known.
pub(crate) struct Ends {
    engine: Arc<Engine>,
    file: PathBuf,
    kept: Mutex<Kept>,
    kept_at: Mutex<DateTime<Utc>>,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    schedule: Schedule,
    /// When ends were stated that had passed by then: what gave access in between must not outdo them.
    late: BTreeMap<PersonId, DateTime<Utc>>,
}

impl Ends {
    pub(crate) fn open(engine: Arc<Engine>, file: PathBuf) -> Result<Self, EngineError> {
        let kept = files::kept(&file)?.unwrap_or_else(|| Kept {
            schedule: Schedule::new(ScheduleSettings::default()),
            late: BTreeMap::new(),
        });
        Ok(Self { engine, file, kept: Mutex::new(kept), kept_at: Mutex::new(DateTime::<Utc>::MIN_UTC) })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a source says of ends; durable on return.
    pub(crate) async fn apply(
        &self,
        changes: Vec<Change>,
        now: DateTime<Utc>,
    ) -> Result<Vec<ScheduleError>, EngineError> {
        let mut refused = Vec::new();
        for change in changes {
            let entry = Entry::new("access.end_set").target(change.person.as_str()).outcome("success");
            self.engine.note(entry.field("end", change.end)).await?;
            let (person, stated_at) = (change.person.clone(), change.occurred_at);
            let has_passed =
                change.end.and_then(|end| end.instant().ok()).is_some_and(|end| end <= stated_at);
            let applied = self.kept().schedule.apply(change, now);
            if has_passed && matches!(applied, Ok(Applied::Set | Applied::Shortened | Applied::Reopened)) {
                self.kept().late.insert(person.clone(), stated_at);
            }
            match applied {
                Ok(Applied::Reopened) => crate::say(&format!(
                    "{person}: the end was put off after access was taken away; a joiner event gives it back"
                )),
                Ok(_) => {}
                Err(error) => refused.push(error),
            }
        }
        self.keep(now)?;
        Ok(refused)
    }

    fn keep(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        files::keep(&self.file, &*self.kept())?;
        *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    /// Works until dropped, or until something cannot be recorded.
    pub(crate) async fn watch(&self) -> Result<Infallible, EngineError> {
        loop {
            match self.look(Utc::now()).await {
                Err(error) if error.is_retryable() => {
                    crate::say(&format!("end dates: {error}; it is tried again"));
                }
                looked => looked?,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        if self.engine.approved(CLOCK) {
            self.kept().schedule.accept_clock(now);
            self.engine.settled(CLOCK);
        }
        let due = self.kept().schedule.due(now);
        let due = match due {
            Ok(due) => due,
            Err(ScheduleError::ClockJump { last, .. }) => {
                let why = format!("the clock jumped ahead from {}: no end date is executed", rfc3339(last));
                return self.engine.wait_for_word(CLOCK, why).await;
            }
            Err(error) => return Err(EngineError::Broken(error.to_string())),
        };
        let mut did = false;
        for due in due {
            if self.execute(&due).await? {
                // It is in the outbox: whatever happens before this is kept, the outbox knows it when it comes again.
                let mut kept = self.kept();
                kept.schedule.executed(&due.id, now);
                if due.what == What::Leave {
                    kept.late.remove(&due.person);
                }
                did = true;
            }
        }
        let kept_at = *self.kept_at.lock().unwrap_or_else(PoisonError::into_inner);
        if did || now.signed_duration_since(kept_at) >= KEEP_EVERY {
            self.keep(now)?;
        }
        Ok(())
    }

    async fn execute(&self, due: &Due) -> Result<bool, EngineError> {
        match &due.what {
            What::Warn { ends_at, days, .. } => {
                let entry = Entry::new("access.ending").target(due.person.as_str()).outcome("success");
                let entry = entry.field("ends_at", rfc3339(*ends_at)).field("warned_days_ahead", days);
                self.engine.note(entry).await?;
                Ok(true)
            }
            What::Leave => {
                let stated_at = self.kept().late.get(&due.person).copied();
                self.leave(&due.person, stated_at.unwrap_or(due.at).max(due.at)).await
            }
            // No source here has ends of single rights.
            _ => Ok(true),
        }
    }

    async fn leave(&self, person: &PersonId, at: DateTime<Utc>) -> Result<bool, EngineError> {
        let leaver = Happening { kind: Kind::Leaver, at: Some(at), person: Person::named(person.clone()) };
        let refused = match self.engine.take(&leaver).await {
            Ok(taken) if taken.refused.is_empty() => {
                crate::say(&format!("access of {person} ended {}", rfc3339(at)));
                return Ok(true);
            }
            Ok(taken) => taken.refused.join("; "),
            Err(TakeError::Mistake(why)) => why.to_string(),
            Err(TakeError::Failed(why)) => return Err(EngineError::Broken(why)),
        };
        self.engine.trouble(
            "ends",
            format!("the end of {person} could not be executed and is tried again: {refused}"),
        );
        Ok(false)
    }
}
