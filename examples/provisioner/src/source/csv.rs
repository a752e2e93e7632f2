//! A file in which HR says who works here: what changed from one version to the next is what happened.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use audit_log::Entry;
use chrono::{DateTime, Utc};
use connector_health::lifecycle::{
    self, AttributeChange, Change, Columns, Difference, End, Fact, Held, Snapshot, Subject, diff,
};
use connector_health::{EntitlementId, PersonId};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ends::Ends;
use crate::config::CsvSource;
use crate::engine::{Engine, EngineError, TakeError, rfc3339};
use crate::files;
use crate::people::{Happening, Kind, Person};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Refused lines that are named.
const REFUSED_SHOWN_MAX: usize = 10;

/// What this source is called where somebody's word is waited for.
pub(crate) const CSV: &str = "csv";

/// The file, and what was last read of it.
pub(crate) struct CsvFeed {
    engine: Arc<Engine>,
    ends: Arc<Ends>,
    source: CsvSource,
    file: PathBuf,
    kept: Kept,
    /// The version that was read last, and the one that is waited for: it is read once it stays as it is.
    read: Option<Version>,
    fresh: Option<Version>,
    held: Option<Held>,
}

type Version = (SystemTime, u64);

#[derive(Debug, Default, Deserialize, Serialize)]
struct Kept {
    snapshot: Snapshot,
    /// The version that is being taken. What follows from it keeps its time over a crash, and so its names.
    taking: Option<Taking>,
    /// Who joined and could not be taken in everywhere: tried again with the next version. They are in the snapshot, so that they can leave.
    #[serde(default)]
    again: BTreeSet<PersonId>,
}

/// What did not follow from a version, and why.
#[derive(Default)]
struct NotFollowed {
    /// The lines that are to be read again as if they were new.
    refused: Vec<(PersonId, String)>,
    /// Of lines that were taken.
    partly: Vec<(PersonId, String)>,
    /// Who joined, and not everywhere.
    again: BTreeSet<PersonId>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Taking {
    hash: String,
    at: DateTime<Utc>,
}

impl CsvFeed {
    pub(crate) fn open(
        engine: Arc<Engine>,
        ends: Arc<Ends>,
        source: CsvSource,
        file: PathBuf,
    ) -> Result<Self, EngineError> {
        let kept = files::kept(&file)?.unwrap_or_default();
        Ok(Self { engine, ends, source, file, kept, read: None, fresh: None, held: None })
    }

    /// Works until dropped, or until something cannot be recorded.
    pub(crate) async fn watch(mut self) -> Result<Infallible, EngineError> {
        loop {
            match self.look().await {
                // The same version, again.
                Err(error) if error.is_retryable() => {
                    self.read = None;
                    self.engine.trouble(CSV, format!("{error}; it is tried again"));
                }
                looked => looked?,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self) -> Result<(), EngineError> {
        if self.engine.approved(CSV)
            && let Some(held) = self.held.take()
        {
            self.approve(held).await?;
        }
        let known =
            std::fs::metadata(&self.source.path).and_then(|known| Ok((known.modified()?, known.len())));
        let version = match known {
            Ok(version) => version,
            // That the file is gone says nothing about anybody.
            Err(error) => {
                (self.read, self.held) = (None, None);
                self.engine.trouble(CSV, format!("`{}`: {error}", self.source.path.display()));
                return Ok(());
            }
        };
        if self.read == Some(version) {
            return Ok(());
        }
        // Who writes it may not have finished.
        if self.fresh.replace(version) != Some(version) {
            return Ok(());
        }
        let columns = Columns { last_day: Some("end_date".to_owned()), ..Columns::of_person("id") };
        let text = match std::fs::read(&self.source.path) {
            Ok(text) => text,
            Err(error) => {
                self.engine.trouble(CSV, format!("`{}`: {error}", self.source.path.display()));
                return Ok(());
            }
        };
        self.read = Some(version);
        match Snapshot::from_csv(&text, &columns) {
            Ok(snapshot) => self.take(snapshot, HEXLOWER.encode(&Sha256::digest(&text))).await,
            Err(error) => {
                self.held = None;
                let why = format!("`{}` is not followed:\n{error}", self.source.path.display());
                self.engine.note(Entry::new("source.refused").target(CSV).outcome("failure")).await?;
                self.engine.trouble(CSV, why);
                Ok(())
            }
        }
    }

    async fn take(&mut self, snapshot: Snapshot, hash: String) -> Result<(), EngineError> {
        let now = Utc::now();
        let at = match &self.kept.taking {
            Some(taking) if taking.hash == hash => taking.at,
            _ => {
                self.kept.taking = Some(Taking { hash: hash.clone(), at: now });
                files::keep(&self.file, &self.kept)?;
                now
            }
        };
        let Difference { mut facts, held, next } = diff(&self.kept.snapshot, snapshot, self.source.guard);
        let again = self.kept.again.iter().filter_map(|person| next.entry(person));
        facts.extend(again.filter(|entry| entry.works_here).cloned().map(Fact::Joiner));
        let NotFollowed { refused, partly, again } = self.follow(&facts, &next, &hash, at, now).await?;
        self.kept.snapshot = self.without(next, &refused);
        self.kept.again = again;
        files::keep(&self.file, &self.kept)?;
        let count = |wanted: fn(&Fact) -> bool| facts.iter().filter(|fact| wanted(fact)).count();
        crate::say(&format!(
            "{CSV}: {} persons; {} joined, {} moved, {} left",
            self.kept.snapshot.len(),
            count(|fact| matches!(fact, Fact::Joiner(_))),
            count(|fact| matches!(fact, Fact::Mover { .. })),
            count(|fact| matches!(fact, Fact::Leaver { .. })),
        ));
        self.held = held;
        match &self.held {
            Some(held) => {
                let entry = Entry::new("source.leavers_held").target(CSV).outcome("failure");
                self.engine.note(entry.field("leavers", held.len())).await?;
                self.engine.wait_for_word(CSV, format!("`{}`: {held}", self.source.path.display())).await?;
            }
            None => self.engine.settled(CSV),
        }
        let not_followed = refused.len().saturating_add(partly.len());
        if not_followed > 0 {
            let more = not_followed.saturating_sub(REFUSED_SHOWN_MAX);
            let mut shown: Vec<String> = refused
                .iter()
                .chain(&partly)
                .take(REFUSED_SHOWN_MAX)
                .map(|(person, why)| format!("{person}: {why}"))
                .collect();
            if more > 0 {
                shown.push(format!("and {more} more"));
            }
            self.engine.trouble("csv lines", format!("not followed: {}", shown.join("; ")));
        } else {
            self.engine.settled("csv lines");
        }
        Ok(())
    }

    /// Takes what happened; gives what of it could not be taken.
    async fn follow(
        &self,
        facts: &[Fact],
        next: &Snapshot,
        hash: &str,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<NotFollowed, EngineError> {
        let mut not_followed = NotFollowed::default();
        let mut ends = Vec::new();
        for fact in facts {
            let happening = match fact {
                Fact::Joiner(entry) if self.is_over(entry, now) => continue,
                Fact::Joiner(entry) => joiner(entry, &self.source.attributes),
                Fact::Mover { person, changes } => mover(person, changes, &self.source.attributes),
                Fact::Leaver { person, .. } => Ok(Some(leaver(person))),
                Fact::LastDay { person, day } => {
                    let is_new = self.kept.snapshot.entry(person).is_none_or(|known| !known.works_here);
                    let over = next.entry(person).is_some_and(|entry| self.is_over(entry, now));
                    // Who had left before the file first said so was never let in.
                    if !(is_new && over) {
                        let id = Sha256::digest(format!("{hash}\n{person}").as_bytes());
                        ends.push(Change {
                            id: HEXLOWER.encode(&id),
                            occurred_at: at,
                            person: person.clone(),
                            subject: Subject::Contract,
                            end: day.map(|day| End::EndOf { day, zone: self.source.zone }),
                        });
                    }
                    continue;
                }
                _ => continue,
            };
            let (person, outcome) = match happening {
                Ok(Some(happening)) => {
                    let happening = Happening { at: Some(at), ..happening };
                    let outcome = match self.engine.take(&happening).await {
                        Ok(taken) => {
                            let person = taken.person;
                            // What a rule denies is answered: asking again changes nothing.
                            let denied = taken.denied.into_iter().map(|why| (person.clone(), why));
                            not_followed.partly.extend(denied);
                            match (taken.refused.is_empty(), taken.kind) {
                                (true, _) => Ok(()),
                                (false, Kind::Joiner) => {
                                    not_followed.partly.push((person.clone(), taken.refused.join("; ")));
                                    not_followed.again.insert(person);
                                    Ok(())
                                }
                                (false, _) => Err(taken.refused.join("; ")),
                            }
                        }
                        Err(TakeError::Mistake(why)) => Err(why.to_string()),
                        Err(TakeError::Failed(why)) => return Err(EngineError::Broken(why)),
                    };
                    (happening.person.id, outcome)
                }
                Ok(None) => continue,
                Err((person, why)) => (person, Err(why)),
            };
            if let Err(why) = outcome {
                not_followed.refused.push((person, why));
            }
        }
        for error in self.ends.apply(ends, now).await? {
            crate::say(&format!("an end date is not followed: {error}"));
        }
        Ok(not_followed)
    }

    fn is_over(&self, entry: &lifecycle::Entry, now: DateTime<Utc>) -> bool {
        let end = entry.last_day.map(|day| End::EndOf { day, zone: self.source.zone });
        end.and_then(|end| end.instant().ok()).is_some_and(|end| end <= now)
    }

    /// The snapshot to go on from: of whom something could not be taken, what was known before.
    fn without(&self, next: Snapshot, refused: &[(PersonId, String)]) -> Snapshot {
        if refused.is_empty() {
            return next;
        }
        let is_refused = |person: &PersonId| refused.iter().any(|(known, _)| known == person);
        let kept = next.entries().filter(|entry| !is_refused(&entry.person)).cloned();
        let before = self.kept.snapshot.entries().filter(|entry| is_refused(&entry.person)).cloned();
        Snapshot::of(kept.chain(before)).unwrap_or(next)
    }

    async fn approve(&mut self, held: Held) -> Result<(), EngineError> {
        let now = Utc::now();
        let (facts, snapshot) = std::mem::take(&mut self.kept.snapshot).approve(held);
        let hash = format!("approved {}", rfc3339(now));
        let NotFollowed { refused, .. } = self.follow(&facts, &snapshot, &hash, now, now).await?;
        for (person, why) in &refused {
            crate::say(&format!("{person} is not taken as a leaver: {why}"));
        }
        self.kept.snapshot = snapshot;
        files::keep(&self.file, &self.kept)?;
        self.engine.settled(CSV);
        crate::say(&format!("{CSV}: {} left, as approved", facts.len()));
        Ok(())
    }
}

type Told = Result<Option<Happening>, (PersonId, String)>;

fn joiner(entry: &lifecycle::Entry, others: &[String]) -> Told {
    let said = |name: &str| entry.attributes.get(name).cloned();
    let groups = groups(said("groups").as_deref()).map_err(|why| (entry.person.clone(), why))?;
    let person = Person {
        user_name: said("user_name"),
        display_name: said("display_name").map(Some),
        email: said("email").map(Some),
        groups: Some(groups),
        attributes: others
            .iter()
            .filter_map(|name| Some((name.clone(), Some(said(name).filter(|value| !value.is_empty())?))))
            .collect(),
        ..Person::named(entry.person.clone())
    };
    Ok(Some(Happening { kind: Kind::Joiner, at: None, person }))
}

fn mover(person: &PersonId, changes: &[AttributeChange], others: &[String]) -> Told {
    let mut moved = Person::named(person.clone());
    let mut any = false;
    for change in changes {
        match change.name.as_str() {
            "user_name" if change.after.is_none() => {
                return Err((person.clone(), "the user name is gone".to_owned()));
            }
            "user_name" => moved.user_name = change.after.clone(),
            "display_name" => moved.display_name = Some(change.after.clone()),
            "email" => moved.email = Some(change.after.clone()),
            "groups" => {
                moved.groups = Some(groups(change.after.as_deref()).map_err(|why| (person.clone(), why))?);
            }
            name if others.iter().any(|other| other == name) => {
                moved.attributes.insert(name.to_owned(), change.after.clone());
            }
            // A column that nobody asked for.
            _ => continue,
        }
        any = true;
    }
    Ok(any.then_some(Happening { kind: Kind::Mover, at: None, person: moved }))
}

fn leaver(person: &PersonId) -> Happening {
    Happening { kind: Kind::Leaver, at: None, person: Person::named(person.clone()) }
}

fn groups(text: Option<&str>) -> Result<Vec<EntitlementId>, String> {
    let names = text.unwrap_or_default().split(';').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| EntitlementId::new(name).map_err(|error| format!("group `{name}`: {error}"))).collect()
}
