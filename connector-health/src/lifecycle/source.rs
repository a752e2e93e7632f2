//! Two snapshots of who there is, and what changed between them.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::id::PersonId;

/// Most persons of one snapshot.
pub const SNAPSHOT_ENTRIES_MAX: usize = 2_000_000;

/// A person, as the source says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Who.
    pub person: PersonId,
    /// Whether the source says that the person works here. Some sources keep who has left.
    pub works_here: bool,
    /// The last day of the contract, where there is one.
    pub last_day: Option<NaiveDate>,
    /// What else it says.
    pub attributes: BTreeMap<String, String>,
}

/// Everyone that a source names, at one time.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Snapshot {
    entries: BTreeMap<PersonId, Entry>,
}

/// Why entries are no snapshot.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// More than [`SNAPSHOT_ENTRIES_MAX`].
    #[error("a snapshot holds at most {SNAPSHOT_ENTRIES_MAX} persons")]
    TooMany,
    /// One person twice: which entry holds?
    #[error("`{0}` is there twice")]
    Twice(PersonId),
}

/// Something that follows from two snapshots.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// Someone new, or back.
    Joiner(Entry),
    /// Someone about whom something changed.
    Mover {
        /// Who.
        person: PersonId,
        /// What changed.
        changes: Vec<AttributeChange>,
    },
    /// The last day of someone who works here is another; give it to a [`Schedule`](super::Schedule).
    LastDay {
        /// Who.
        person: PersonId,
        /// None where the contract no longer ends.
        day: Option<NaiveDate>,
    },
    /// Someone who no longer works here.
    Leaver {
        /// Who.
        person: PersonId,
        /// How that is known.
        gone: Gone,
    },
}

/// How it is known that a person left.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// The source says so.
    Stated,
    /// The source no longer names the person.
    Absent,
}

/// One attribute that changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AttributeChange {
    /// Which.
    pub name: String,
    /// What it was.
    pub before: Option<String>,
    /// What it is.
    pub after: Option<String>,
}

/// When so many leave at once that the source is likelier to be wrong.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedGuard {
    /// So many are never unusual.
    pub leavers_min: u64,
    /// More than this share of those who work here is. In percent.
    pub leavers_percent: u8,
}

impl Default for FeedGuard {
    fn default() -> Self {
        Self { leavers_min: 5, leavers_percent: 10 }
    }
}

/// What changed, and what is held until someone approves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What may go on: leavers first, then joiners and movers.
    pub facts: Vec<Fact>,
    /// Leavers that are too many.
    pub held: Option<Held>,
    /// What to compare with next time. Whom it holds is in it as before, so that nobody is forgotten.
    pub next: Snapshot,
}

/// Leavers that are too many to believe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    leavers: Vec<Fact>,
    /// How many work here by the snapshot before.
    worked_here: u64,
}

impl Held {
    /// How many would leave.
    pub fn len(&self) -> usize {
        self.leavers.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.leavers.is_empty()
    }

    /// Who would leave.
    pub fn leavers(&self) -> &[Fact] {
        &self.leavers
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} would leave at once: held until someone approves, since the source may be cut short",
            self.leavers.len(),
            self.worked_here
        )
    }
}

impl Snapshot {
    /// Of these entries, in any order.
    ///
    /// # Errors
    /// Where a person is there twice, or there are too many.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Result<Self, SnapshotError> {
        let mut snapshot = Self::default();
        for entry in entries {
            if snapshot.entries.len() >= SNAPSHOT_ENTRIES_MAX {
                return Err(SnapshotError::TooMany);
            }
            if let Some(twice) = snapshot.entries.insert(entry.person.clone(), entry) {
                return Err(SnapshotError::Twice(twice.person));
            }
        }
        Ok(snapshot)
    }

    /// What it says of a person.
    pub fn entry(&self, person: &PersonId) -> Option<&Entry> {
        self.entries.get(person)
    }

    /// Everyone, in the order of identifiers.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// How many persons it names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn works_here(&self, person: &PersonId) -> bool {
        self.entries.get(person).is_some_and(|entry| entry.works_here)
    }

    /// The snapshot to go on from once someone approved what a [`Difference`] held: who is said to have left is said so here.
    #[must_use]
    pub fn approve(mut self, held: Held) -> (Vec<Fact>, Self) {
        for fact in &held.leavers {
            match fact {
                Fact::Leaver { person, gone: Gone::Absent } => {
                    self.entries.remove(person);
                }
                Fact::Leaver { person, gone: Gone::Stated } => {
                    if let Some(entry) = self.entries.get_mut(person) {
                        entry.works_here = false;
                    }
                }
                _ => {}
            }
        }
        (held.leavers, self)
    }
}

/// What changed from one snapshot to the next. Time is linear in both.
pub fn diff(before: &Snapshot, now: Snapshot, guard: FeedGuard) -> Difference {
    let mut leavers = Vec::new();
    for entry in before.entries.values().filter(|entry| entry.works_here) {
        let gone = match now.entries.get(&entry.person) {
            None => Gone::Absent,
            Some(entry) if !entry.works_here => Gone::Stated,
            Some(_) => continue,
        };
        leavers.push(Fact::Leaver { person: entry.person.clone(), gone });
    }
    let worked_here = before.entries.values().filter(|entry| entry.works_here).count() as u64;
    let count = leavers.len() as u64;
    let limit = worked_here.saturating_mul(u64::from(guard.leavers_percent)) / 100;
    let unusual = count > guard.leavers_min && count > limit;

    let mut others = Vec::new();
    for entry in now.entries.values().filter(|entry| entry.works_here) {
        match before.entries.get(&entry.person).filter(|_| before.works_here(&entry.person)) {
            None => {
                others.push(Fact::Joiner(entry.clone()));
                if entry.last_day.is_some() {
                    others.push(Fact::LastDay { person: entry.person.clone(), day: entry.last_day });
                }
            }
            Some(known) => {
                let changes = changes(known, entry);
                if !changes.is_empty() {
                    others.push(Fact::Mover { person: entry.person.clone(), changes });
                }
                if known.last_day != entry.last_day {
                    others.push(Fact::LastDay { person: entry.person.clone(), day: entry.last_day });
                }
            }
        }
    }
    let mut next = now;
    if !unusual {
        leavers.extend(others);
        return Difference { facts: leavers, held: None, next };
    }
    for entry in before.entries.values().filter(|entry| entry.works_here) {
        if !next.works_here(&entry.person) {
            next.entries.insert(entry.person.clone(), entry.clone());
        }
    }
    Difference { facts: others, held: Some(Held { leavers, worked_here }), next }
}

fn changes(before: &Entry, after: &Entry) -> Vec<AttributeChange> {
    let mut changes: Vec<AttributeChange> = before
        .attributes
        .iter()
        .filter(|(name, value)| after.attributes.get(*name) != Some(value))
        .map(|(name, value)| AttributeChange {
            name: name.clone(),
            before: Some(value.clone()),
            after: after.attributes.get(name).cloned(),
        })
        .collect();
    let new = after.attributes.iter().filter(|(name, _)| !before.attributes.contains_key(*name));
    changes.extend(new.map(|(name, value)| AttributeChange {
        name: name.clone(),
        before: None,
        after: Some(value.clone()),
    }));
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    changes
}
