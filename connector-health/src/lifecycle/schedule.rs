//! End dates, warned of ahead and executed on time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::end::{End, EndError};
use crate::id::{ConnectorId, EntitlementId, PersonId};

/// Most end dates of one schedule.
pub const SCHEDULE_TERMS_MAX: usize = 1_000_000;
/// Most warnings of one end.
pub const WARNINGS_MAX: usize = 16;
/// Most bytes of the identifier of a change.
const CHANGE_ID_BYTES_MAX: usize = 256;

/// What ends.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// All access of the person: a contract.
    Contract,
    /// One right.
    Right {
        /// Where.
        connector: ConnectorId,
        /// Which.
        entitlement: EntitlementId,
    },
}

/// A statement about an end, from HR, a request or an administrator.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Change {
    /// The same when the same statement comes again.
    pub id: String,
    /// When it was made. Of two about one subject, the later holds, in whatever order they come; of two made at one instant,
    /// the one that ends access sooner, and then the greater identifier.
    pub occurred_at: DateTime<Utc>,
    /// Whose.
    pub person: PersonId,
    /// Of what.
    pub subject: Subject,
    /// When it ends from now on. None where it no longer ends.
    pub end: Option<End>,
}

/// What a change did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Applied {
    /// There is an end where there was none.
    Set,
    /// It ends later.
    Extended,
    /// It ends earlier.
    Shortened,
    /// It no longer ends.
    Cancelled,
    /// It had ended, and that was executed. It has an end again, or none; giving access again is another's decision.
    Reopened,
    /// The end stays as it was.
    Unchanged,
    /// It came before.
    Duplicate,
    /// A later statement is known.
    Stale,
}

/// Something to do, now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Due {
    /// The same as often as it is given out, so that whoever takes it can tell.
    pub id: DueId,
    /// Whom it concerns.
    pub person: PersonId,
    /// What.
    pub what: What,
    /// The instant at which it was to happen.
    pub at: DateTime<Utc>,
}

/// What is to do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// Say that something ends.
    Warn {
        /// What ends.
        subject: Subject,
        /// When.
        ends_at: DateTime<Utc>,
        /// How many days ahead this warning was asked for.
        days: u16,
    },
    /// Revoke all access.
    Leave,
    /// Revoke one right.
    Revoke {
        /// Where.
        connector: ConnectorId,
        /// Which.
        entitlement: EntitlementId,
    },
}

/// Tells one due thing from all others of its schedule.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct DueId {
    person: PersonId,
    subject: Subject,
    /// How often the end had changed.
    revision: u64,
    /// Days ahead; None is the end itself.
    warning: Option<u16>,
}

/// How a schedule warns and doubts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSettings {
    /// Days ahead of an end at which it is warned of; at most [`WARNINGS_MAX`] count.
    pub warn_days: BTreeSet<u16>,
    /// A statement from further ahead than this is refused: it would outdo all that come after it. In seconds.
    pub skew_max_s: u32,
    /// When the clock is found further ahead of where it last was, nothing is due until someone says that it is right. Longer
    /// than any time that the service is out of use. In seconds.
    pub jump_max_s: u32,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        const DAY_S: u32 = 24 * 60 * 60;
        Self { warn_days: BTreeSet::from([30, 14, 7, 1]), skew_max_s: 300, jump_max_s: 30 * DAY_S }
    }
}

/// Why a schedule did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// More than [`SCHEDULE_TERMS_MAX`].
    #[error("a schedule holds at most {SCHEDULE_TERMS_MAX} ends; drop what is long past")]
    Full,
    /// The statement is from the future.
    #[error("the change is from {occurred_at}, and it is {now}: a clock is wrong")]
    FromTheFuture {
        /// When it says that it was made.
        occurred_at: DateTime<Utc>,
        /// Now.
        now: DateTime<Utc>,
    },
    /// Its identifier is empty or too long.
    #[error("a change has an identifier of 1 to {CHANGE_ID_BYTES_MAX} bytes")]
    Identifier,
    /// Its end is no date.
    #[error(transparent)]
    End(#[from] EndError),
    /// The clock has jumped ahead.
    #[error("the clock was last at {last} and is at {now}: nothing is done until that is confirmed")]
    ClockJump {
        /// Where it was.
        last: DateTime<Utc>,
        /// Where it is.
        now: DateTime<Utc>,
    },
}

/// End dates by person and subject.
///
/// Its whole state serialises. Keep it in one transaction with what [`Schedule::due`] gave out: what is in the outbox and not
/// yet [`executed`](Schedule::executed) after a crash is given out again under the same [`DueId`], which the outbox knows.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "State", into = "State")]
pub struct Schedule {
    settings: ScheduleSettings,
    terms: BTreeMap<(PersonId, Subject), Term>,
    last_now: Option<DateTime<Utc>>,
    /// When to look at which term next. Follows from the terms.
    agenda: BTreeSet<(DateTime<Utc>, PersonId, Subject)>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Term {
    end: Option<End>,
    ends_at: Option<DateTime<Utc>>,
    occurred_at: DateTime<Utc>,
    change_id: String,
    revision: u64,
    /// Warnings of this revision that were given or passed over.
    warned: BTreeSet<u16>,
    executed_at: Option<DateTime<Utc>>,
    /// Where it stands on the agenda.
    #[serde(skip)]
    planned: Option<DateTime<Utc>>,
}

/// What is kept; JSON has no maps with such keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct State {
    settings: ScheduleSettings,
    terms: Vec<(PersonId, Subject, Term)>,
    last_now: Option<DateTime<Utc>>,
}

impl Schedule {
    /// Nothing ends yet.
    pub fn new(settings: ScheduleSettings) -> Self {
        Self { settings, terms: BTreeMap::new(), last_now: None, agenda: BTreeSet::new() }
    }

    /// Takes a statement, in whatever order they come and however often.
    ///
    /// # Errors
    /// Where it is from the future, has no usable identifier or date, or there is no room. Nothing has changed then.
    pub fn apply(&mut self, change: Change, now: DateTime<Utc>) -> Result<Applied, ScheduleError> {
        if change.id.is_empty() || change.id.len() > CHANGE_ID_BYTES_MAX {
            return Err(ScheduleError::Identifier);
        }
        let skew = Duration::seconds(i64::from(self.settings.skew_max_s));
        if change.occurred_at.signed_duration_since(now) > skew {
            return Err(ScheduleError::FromTheFuture { occurred_at: change.occurred_at, now });
        }
        let ends_at = change.end.map(|end| end.instant()).transpose()?;
        let key = (change.person, change.subject);
        let full = self.terms.len() >= SCHEDULE_TERMS_MAX;
        let Some(term) = self.terms.get_mut(&key) else {
            if full {
                return Err(ScheduleError::Full);
            }
            // What never ended is kept, too: an older statement must not come after it.
            let term = Term {
                end: change.end,
                ends_at,
                occurred_at: change.occurred_at,
                change_id: change.id,
                revision: 1,
                warned: BTreeSet::new(),
                executed_at: None,
                planned: None,
            };
            let applied = if ends_at.is_some() { Applied::Set } else { Applied::Unchanged };
            self.terms.insert(key.clone(), term);
            self.plan(&key);
            return Ok(applied);
        };
        if change.id == term.change_id {
            return Ok(Applied::Duplicate);
        }
        // No end is the latest of all.
        let sooner =
            |ends_at: Option<DateTime<Utc>>| std::cmp::Reverse(ends_at.unwrap_or(DateTime::<Utc>::MAX_UTC));
        let rank = (change.occurred_at, sooner(ends_at), change.id.as_str());
        if rank <= (term.occurred_at, sooner(term.ends_at), term.change_id.as_str()) {
            return Ok(Applied::Stale);
        }
        let before = std::mem::replace(&mut term.ends_at, ends_at);
        term.end = change.end;
        term.occurred_at = change.occurred_at;
        term.change_id = change.id;
        if before == ends_at {
            return Ok(Applied::Unchanged);
        }
        term.revision = term.revision.saturating_add(1);
        term.warned.clear();
        // An end that is put earlier than now, after it was executed, was executed.
        let executed = term.executed_at.is_some();
        let still_ended = executed && ends_at.is_some_and(|ends_at| ends_at <= now);
        if !still_ended {
            term.executed_at = None;
        }
        let applied = match (before, ends_at) {
            _ if executed && !still_ended => Applied::Reopened,
            (None, _) => Applied::Set,
            (Some(_), None) => Applied::Cancelled,
            (Some(before), Some(after)) if after > before => Applied::Extended,
            (Some(_), Some(_)) => Applied::Shortened,
        };
        self.plan(&key);
        Ok(applied)
    }

    /// What is due: ends that have come, those of persons before those of single rights, then warnings; each as often as it is
    /// asked for until it is [`executed`](Self::executed). A clock that was put back makes nothing due again.
    ///
    /// # Errors
    /// Where the clock has jumped ahead of where it last was. See [`Schedule::accept_clock`].
    pub fn due(&mut self, now: DateTime<Utc>) -> Result<Vec<Due>, ScheduleError> {
        if let Some(last) = self.last_now
            && now.signed_duration_since(last) > Duration::seconds(i64::from(self.settings.jump_max_s))
        {
            return Err(ScheduleError::ClockJump { last, now });
        }
        self.last_now = self.last_now.max(Some(now));
        let ripe = self.agenda.iter().take_while(|(at, ..)| *at <= now);
        let mut due: Vec<Due> = ripe
            .filter_map(|(_, person, subject)| {
                let term = self.terms.get(&(person.clone(), subject.clone()))?;
                term.due(person, subject, now, &self.settings)
            })
            .collect();
        let rank = |due: &Due| match due.what {
            What::Leave => 0,
            What::Revoke { .. } => 1,
            What::Warn { .. } => 2,
        };
        due.sort_by(|one, other| (rank(one), one.at, &one.id).cmp(&(rank(other), other.at, &other.id)));
        Ok(due)
    }

    /// The clock is right although it has jumped.
    pub fn accept_clock(&mut self, now: DateTime<Utc>) {
        self.last_now = Some(now);
    }

    /// Something due is where it cannot be lost. Says whether it was still waited for: not where it was executed before, or the
    /// end has changed since it was given out.
    pub fn executed(&mut self, id: &DueId, now: DateTime<Utc>) -> bool {
        let key = (id.person.clone(), id.subject.clone());
        let Some(term) = self.terms.get_mut(&key) else { return false };
        if term.revision != id.revision || term.executed_at.is_some() {
            return false;
        }
        let Some(ends_at) = term.ends_at else { return false };
        match id.warning {
            None if ends_at > now => return false,
            None => term.executed_at = Some(now),
            Some(days) => {
                if !self.settings.warn_days.contains(&days) || !term.warned.insert(days) {
                    return false;
                }
                // A warning that was due before this one says nothing more.
                term.warned.extend(self.settings.warn_days.range(days..).copied());
            }
        }
        self.plan(&key);
        true
    }

    /// When to ask again: the next instant at which anything is due.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        self.agenda.first().map(|(at, ..)| *at)
    }

    /// When something ends, if it does.
    pub fn end_of(&self, person: &PersonId, subject: &Subject) -> Option<End> {
        self.terms.get(&(person.clone(), subject.clone()))?.end
    }

    /// How many ends are known, past and cancelled ones included.
    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Drops what was executed or cancelled, and last stated, before this instant. A statement older than what was dropped
    /// counts as new: choose an instant before which none comes any more.
    pub fn drop_before(&mut self, instant: DateTime<Utc>) {
        self.terms.retain(|_, term| {
            let over = match term.ends_at {
                None => true,
                Some(_) => term.executed_at.is_some_and(|at| at < instant),
            };
            !over || term.occurred_at >= instant
        });
    }

    fn plan(&mut self, key: &(PersonId, Subject)) {
        let Some(term) = self.terms.get_mut(key) else { return };
        let next = term.next(&self.settings);
        if let Some(before) = std::mem::replace(&mut term.planned, next) {
            self.agenda.remove(&(before, key.0.clone(), key.1.clone()));
        }
        if let Some(next) = next {
            self.agenda.insert((next, key.0.clone(), key.1.clone()));
        }
    }
}

impl Term {
    /// Warnings that are still to come or to be given, the last first.
    fn warnings<'t>(
        &'t self,
        settings: &'t ScheduleSettings,
    ) -> impl Iterator<Item = (u16, DateTime<Utc>)> + 't {
        let days = settings.warn_days.iter().take(WARNINGS_MAX).filter(|days| !self.warned.contains(days));
        days.filter_map(|days| Some((*days, self.end?.days_before(*days).ok()?)))
    }

    /// When to look at it next.
    fn next(&self, settings: &ScheduleSettings) -> Option<DateTime<Utc>> {
        let ends_at = self.ends_at.filter(|_| self.executed_at.is_none())?;
        self.warnings(settings).map(|(_, at)| at).chain([ends_at]).min()
    }

    /// What is due of it: the end, or the last of the warnings that have come. The earlier ones say nothing more.
    fn due(
        &self,
        person: &PersonId,
        subject: &Subject,
        now: DateTime<Utc>,
        settings: &ScheduleSettings,
    ) -> Option<Due> {
        let ends_at = self.ends_at.filter(|_| self.executed_at.is_none())?;
        let of = |warning, what, at| Due {
            id: DueId { person: person.clone(), subject: subject.clone(), revision: self.revision, warning },
            person: person.clone(),
            what,
            at,
        };
        if ends_at <= now {
            let what = match subject {
                Subject::Contract => What::Leave,
                Subject::Right { connector, entitlement } => {
                    What::Revoke { connector: connector.clone(), entitlement: entitlement.clone() }
                }
            };
            return Some(of(None, what, ends_at));
        }
        let (days, at) = self.warnings(settings).find(|(_, at)| *at <= now)?;
        Some(of(Some(days), What::Warn { subject: subject.clone(), ends_at, days }, at))
    }
}

impl From<State> for Schedule {
    fn from(state: State) -> Self {
        let terms: BTreeMap<_, _> =
            state.terms.into_iter().map(|(person, subject, term)| ((person, subject), term)).collect();
        let keys: Vec<_> = terms.keys().cloned().collect();
        let mut schedule =
            Self { settings: state.settings, terms, last_now: state.last_now, agenda: BTreeSet::new() };
        keys.iter().for_each(|key| schedule.plan(key));
        schedule
    }
}

impl From<Schedule> for State {
    fn from(schedule: Schedule) -> Self {
        let terms =
            schedule.terms.into_iter().map(|((person, subject), term)| (person, subject, term)).collect();
        Self { settings: schedule.settings, terms, last_now: schedule.last_now }
    }
}
