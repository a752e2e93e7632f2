//! Events wait a little for those that happened before them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::group::Facts;

/// When an event happened, its offset, and where it waits.
type Turn = (i64, u64, usize);

/// Events that wait, by time and then by offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Reorder {
    /// Those that came in order.
    ordered: VecDeque<Turn>,
    others: BinaryHeap<Reverse<Turn>>,
    waiting: Vec<Option<Facts>>,
    free: Vec<usize>,
}

impl Reorder {
    pub(super) fn push(&mut self, facts: Facts) {
        let place = self.free.pop().unwrap_or(self.waiting.len());
        let turn = (facts.at, facts.offset, place);
        match self.waiting.get_mut(place) {
            Some(waiting) => *waiting = Some(facts),
            None => self.waiting.push(Some(facts)),
        }
        match self.ordered.back() {
            Some(last) if *last > turn => self.others.push(Reverse(turn)),
            _ => self.ordered.push_back(turn),
        }
    }

    fn first(&self) -> Option<Turn> {
        match (self.ordered.front(), self.others.peek()) {
            (Some(ordered), Some(Reverse(other))) => Some(*ordered.min(other)),
            (Some(ordered), None) => Some(*ordered),
            (None, other) => other.map(|Reverse(other)| *other),
        }
    }

    /// The first, where it happened then or before.
    pub(super) fn pop(&mut self, until: i64) -> Option<Facts> {
        let first = self.first().filter(|(at, ..)| *at <= until)?;
        match self.ordered.front() {
            Some(ordered) if *ordered == first => _ = self.ordered.pop_front(),
            _ => _ = self.others.pop(),
        }
        let (.., place) = first;
        self.free.push(place);
        self.waiting.get_mut(place)?.take()
    }

    pub(super) fn first_at(&self) -> Option<i64> {
        self.first().map(|(at, ..)| at)
    }

    pub(super) fn len(&self) -> usize {
        self.ordered.len().saturating_add(self.others.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Facts> {
        self.waiting.iter().flatten()
    }
}

impl Serialize for Reorder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|facts| (facts.at, facts.offset));
        all.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reorder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reorder = Self::default();
        Vec::<Facts>::deserialize(deserializer)?.into_iter().for_each(|facts| reorder.push(facts));
        Ok(reorder)
    }
}

/// When the log took in what has come lately: how long an event has waited, whatever its own time says.
///
/// INVARIANT: times of the log do not fall from front to back. As the front is taken off in time, there are no more than milliseconds that an
/// event waits.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Arrivals(VecDeque<(i64, i64)>);

impl Arrivals {
    /// An event came in then, that happened at `at`.
    pub(super) fn push(&mut self, ingested: i64, mut at: i64) {
        // What was there before came no later, whatever a clock said that was ahead.
        while let Some((last, latest)) = self.0.back()
            && *last >= ingested
        {
            at = at.max(*latest);
            self.0.pop_back();
        }
        self.0.push_back((ingested, at));
    }

    /// When the first came.
    pub(super) fn first(&self) -> Option<i64> {
        self.0.front().map(|(ingested, _)| *ingested)
    }

    /// Takes the first off, and says when the latest of those happened.
    pub(super) fn pop(&mut self) -> Option<i64> {
        self.0.pop_front().map(|(_, at)| at)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
