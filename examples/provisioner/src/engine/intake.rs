//! What sources say, taken in: recorded first, then accepted by the outbox.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use audit_log::Entry;
use chrono::Utc;
use connector_health::outbox::{AcceptError, Accepted};
use connector_health::{ConnectorId, PersonId};
use futures::future::try_join_all;
use serde::Serialize;

use super::{Engine, EngineError, capped, rfc3339};
use crate::people::{Happening, Kind, Mistake};

/// Lines that are taken in together.
const LINES_TOGETHER_MAX: usize = 256;

/// What became of one line of a source.
#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    pub(crate) person: PersonId,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// Changes that wait for their turn.
    pub(crate) queued: usize,
    /// Changes that had been accepted before.
    pub(crate) already: usize,
    /// Leavers that wait for somebody's approval.
    pub(crate) held: usize,
    /// Grants that would make a violation, and what they wait for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) waiting: Vec<String>,
    /// Grants that rules deny, and why: the rest of the line was taken, and the same line is denied them again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) denied: Vec<String>,
    /// Why something of it was not accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<String>,
    /// Whether something of that is no fault of what was said: it is to be said again.
    #[serde(skip)]
    pub(crate) is_stuck: bool,
}

impl Taken {
    /// Why something of it is not done, where anything is not.
    pub(crate) fn not_done(&self) -> Option<String> {
        let why: Vec<&str> = self.denied.iter().chain(&self.refused).map(String::as_str).collect();
        (!why.is_empty()).then(|| why.join("; "))
    }
}

/// Why a line of a source was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    #[error(transparent)]
    Mistake(#[from] Mistake),
    #[error("{0}")]
    Failed(String),
}

impl TakeError {
    /// Whether it is no fault of what was said: it is to be said again.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Mistake(Mistake::Unreadable(_) | Mistake::Outbox(_)))
    }
}

impl From<EngineError> for TakeError {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Engine {
    /// Takes in what a source says. Durable on return.
    pub(crate) async fn take(&self, happening: &Happening) -> Result<Taken, TakeError> {
        let mut taken = self.take_together(std::slice::from_ref(happening)).await?;
        taken.pop().unwrap_or_else(|| Err(TakeError::Failed("nothing was taken".to_owned())))
    }

    /// Takes many lines in, in their order, and answers for each. Durable on return; after an error nothing is known: give them again.
    pub(crate) async fn take_all(
        &self,
        happenings: &[Happening],
    ) -> Result<Vec<Result<Taken, TakeError>>, EngineError> {
        let mut taken = Vec::with_capacity(happenings.len());
        let mut rest = happenings;
        while !rest.is_empty() {
            // What a line means follows from what was said of the same person before; other people have no part in it.
            let mut people = BTreeSet::new();
            let next = rest.iter().take(LINES_TOGETHER_MAX);
            let together = next.take_while(|next| people.insert(&next.person.id)).count();
            let (first, later) = rest.split_at(together.max(1));
            taken.extend(self.take_together(first).await?);
            rest = later;
        }
        Ok(taken)
    }

    /// Lines of different people: with one wait for the disk instead of one for each.
    async fn take_together(
        &self,
        happenings: &[Happening],
    ) -> Result<Vec<Result<Taken, TakeError>>, EngineError> {
        // From reading what they have until it is durable what they are given.
        let _turns = self.turns.of(happenings.iter().map(|happening| &happening.person.id)).await;
        let now = Utc::now();
        let ids: Vec<ConnectorId> = self.connectors.iter().map(|(id, _)| id.clone()).collect();
        let (mut answers, mut events) = (Vec::new(), Vec::new());
        let (mut entries, mut leavers, mut lefts) = (Vec::new(), Vec::new(), Vec::new());
        for happening in happenings {
            let meant = match happening.events(&self.outbox, &ids, now).await {
                Ok(meant) => meant,
                Err(mistake) => {
                    answers.push(Err(mistake.into()));
                    continue;
                }
            };
            let mut left = self.within_duty(happening, meant, now).await?;
            let meant = std::mem::take(&mut left.events);
            let (denied, waiting) = (left.denied.clone(), left.waiting.clone());
            lefts.push(left);
            let at = happening.at.unwrap_or(now);
            let entry = Entry::new(happening.kind.event_type())
                .target(happening.person.id.as_str())
                .outcome("success")
                .field("correlation_id", happening.correlation(at))
                .field("occurred_at", rfc3339(at))
                .field("changes", meant.len());
            let violations: Vec<&String> = denied.iter().chain(&waiting).collect();
            entries.push(if violations.is_empty() {
                entry
            } else {
                entry.field("violations", capped(&violations))
            });
            if happening.kind == Kind::Leaver {
                leavers.push(happening.person.id.clone());
            }
            events.extend(meant.into_iter().map(|event| (answers.len(), event)));
            answers.push(Ok(Taken {
                person: happening.person.id.clone(),
                kind: happening.kind,
                queued: 0,
                already: 0,
                held: 0,
                waiting,
                denied,
                refused: Vec::new(),
                is_stuck: false,
            }));
        }
        // Recorded first: nothing happens to anybody that is not on record.
        try_join_all(entries.into_iter().map(|entry| self.record(entry))).await?;
        self.leavers.add(&leavers)?;
        self.hold(&mut lefts)?;
        let (whose, events): (Vec<usize>, Vec<_>) = events.into_iter().unzip();
        for (whose, accepted) in whose.into_iter().zip(self.outbox.accept_all(events, now).await) {
            let Some(Ok(taken)) = answers.get_mut(whose) else { continue };
            match accepted {
                Ok(Accepted::Queued) => taken.queued += 1,
                Ok(Accepted::Already) => taken.already += 1,
                Ok(Accepted::Held) => taken.held += 1,
                Err(AcceptError::Outbox(error)) => {
                    let why = format!("the outbox: {error}");
                    self.broke(&why);
                    return Err(EngineError::Broken(why));
                }
                Err(error) => {
                    taken.is_stuck |= matches!(error, AcceptError::Stuck(..));
                    taken.refused.push(error.to_string());
                }
            }
        }
        // Who was said to leave once more may be out already, and nothing more happens about them.
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).extend(leavers);
        self.wake.notify_one();
        let people = answers.iter().filter_map(|answer| Some(answer.as_ref().ok()?.person.clone()));
        self.check_people(&people.collect()).await?;
        Ok(answers)
    }

    /// Lets held leavers go on.
    pub(crate) async fn approve(&self, connector: &ConnectorId) -> Result<u64, EngineError> {
        self.record(Entry::new("leavers.approved").target(connector.as_str()).outcome("success")).await?;
        let approved = self.outbox.approve(connector).await?;
        self.wake.notify_one();
        Ok(approved)
    }
}
