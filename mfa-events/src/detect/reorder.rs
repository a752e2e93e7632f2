//! Events wait a little for those that happened before them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::Event;

/// An event that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) at: i64,
    pub(super) offset: u64,
    pub(super) ingested_at: i64,
    pub(super) event: Arc<Event>,
}

impl Waiting {
    fn key(&self) -> (i64, u64) {
        (self.at, self.offset)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Those that wait, by time and then by offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Reorder {
    /// Those that came in order, which most do.
    ordered: VecDeque<Waiting>,
    others: BinaryHeap<Reverse<Waiting>>,
}

impl Reorder {
    pub(super) fn push(&mut self, waiting: Waiting) {
        match self.ordered.back() {
            Some(last) if last.key() > waiting.key() => self.others.push(Reverse(waiting)),
            _ => self.ordered.push_back(waiting),
        }
    }

    fn first(&self) -> Option<&Waiting> {
        match (self.ordered.front(), self.others.peek()) {
            (Some(ordered), Some(Reverse(other))) => Some(ordered.min(other)),
            (Some(ordered), None) => Some(ordered),
            (None, other) => other.map(|Reverse(other)| other),
        }
    }

    /// The first, where it happened then or before.
    pub(super) fn pop(&mut self, until: i64) -> Option<Waiting> {
        let first = self.first().filter(|first| first.at <= until)?.key();
        match self.ordered.front() {
            Some(ordered) if ordered.key() == first => self.ordered.pop_front(),
            _ => self.others.pop().map(|Reverse(other)| other),
        }
    }

    pub(super) fn first_at(&self) -> Option<i64> {
        self.first().map(|first| first.at)
    }

    pub(super) fn len(&self) -> usize {
        self.ordered.len().saturating_add(self.others.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.ordered.iter().chain(self.others.iter().map(|Reverse(other)| other))
    }
}

/// As it stands in a checkpoint: an event is its JSON.
#[derive(Deserialize, Serialize)]
struct Written(i64, u64, i64, String);

impl Serialize for Reorder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort();
        let mut written = Vec::with_capacity(all.len());
        for waiting in all {
            let event = serde_json::to_string(&*waiting.event).map_err(serde::ser::Error::custom)?;
            written.push(Written(waiting.at, waiting.offset, waiting.ingested_at, event));
        }
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reorder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reorder = Self::default();
        for Written(at, offset, ingested_at, event) in Vec::<Written>::deserialize(deserializer)? {
            let event = Event::from_json(event.as_bytes()).map_err(serde::de::Error::custom)?;
            reorder.push(Waiting { at, offset, ingested_at, event: Arc::new(event) });
        }
        Ok(reorder)
    }
}
