//! What is left of the events of a sliding window: as much as a threshold asks for, and no more.
//!
//! Times never go back here: events come in the order of the clock that detection keeps.

use std::collections::VecDeque;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

/// Weight of an event of which nothing is known, in hundredths.
pub(super) const NEUTRAL: u16 = 100;

/// When and where: milliseconds since 1970, and the offset in the log.
pub(super) type Place = (i64, u64);

/// The latest events, as many as the threshold. There were at least that many within the window where it is full of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Recent(VecDeque<(i64, u64, u16)>);

impl Recent {
    /// Adds an event, and forgets what exceeds `most`.
    pub(super) fn push(&mut self, (at, offset): Place, weight: u16, most: usize) {
        while self.0.len() >= most.max(1) {
            self.0.pop_front();
        }
        self.0.push_back((at, offset, weight));
    }

    /// Forgets what happened then or before.
    pub(super) fn expire(&mut self, until: i64) {
        while self.0.front().is_some_and(|(at, ..)| *at <= until) {
            self.0.pop_front();
        }
    }

    pub(super) fn last_at(&self) -> i64 {
        self.0.back().map_or(0, |(at, ..)| *at)
    }

    /// How many happened afterwards.
    pub(super) fn within(&self, after: i64) -> usize {
        self.0.len().saturating_sub(self.0.partition_point(|(at, ..)| *at <= after))
    }

    /// What those weigh, in hundredths.
    pub(super) fn weight_within(&self, after: i64) -> u64 {
        self.0.iter().rev().take_while(|(at, ..)| *at > after).map(|(.., weight)| u64::from(*weight)).sum()
    }

    /// The first that happened afterwards.
    pub(super) fn first_within(&self, after: i64) -> Option<Place> {
        self.0.get(self.0.partition_point(|(at, ..)| *at <= after)).map(|(at, offset, _)| (*at, *offset))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A value, as it was seen last.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Seen<K> {
    pub(super) hash: u64,
    pub(super) at: i64,
    pub(super) offset: u64,
    /// Hash of where it was seen.
    pub(super) origin: u64,
    pub(super) weight: u16,
    /// Seen again, or taken out: then this is no longer it.
    is_gone: bool,
    pub(super) key: K,
}

/// Values among which one looks without an index: so few are one or two lines of memory.
const UNINDEXED_MAX: usize = 24;

/// The values seen last within the window, as many as the threshold.
///
/// INVARIANT: they stand in the order in which they were seen, those that are gone between them, and the first is not gone. As long as no more
/// than `most` are kept and none was taken out, these are the `most` values seen last. So at least `most` were seen within a window exactly
/// where all that are kept were.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(
    from = "Vec<Seen<K>>",
    into = "Vec<Seen<K>>",
    bound(deserialize = "K: Clone + Eq + Deserialize<'de>", serialize = "K: Clone + Eq + Serialize")
)]
pub(super) struct Recency<K> {
    /// Side by side with `seen`, since one looks for a hash over all of them.
    hashes: VecDeque<u64>,
    seen: VecDeque<Seen<K>>,
    /// How many there were in front of those.
    passed: u64,
    /// How many are not gone, and what they weigh in hundredths.
    there: usize,
    weight: u64,
    /// Numbers of those that are there, from the first that ever was. Only once they are many.
    index: Option<HashTable<u64>>,
}

impl<K> Default for Recency<K> {
    fn default() -> Self {
        let (hashes, seen) = (VecDeque::new(), VecDeque::new());
        Self { hashes, seen, passed: 0, there: 0, weight: 0, index: None }
    }
}

impl<K: Clone + Eq> From<Vec<Seen<K>>> for Recency<K> {
    fn from(seen: Vec<Seen<K>>) -> Self {
        let mut recency = Self::default();
        seen.into_iter().for_each(|seen| recency.push(seen));
        recency
    }
}

impl<K: Clone + Eq> From<Recency<K>> for Vec<Seen<K>> {
    fn from(recency: Recency<K>) -> Self {
        recency.seen.into_iter().filter(|seen| !seen.is_gone).collect()
    }
}

impl<K: Clone + Eq> Recency<K> {
    fn position(&self, hash: u64, key: &K) -> Option<usize> {
        let is_it = |at: usize| self.seen.get(at).is_some_and(|seen| !seen.is_gone && seen.key == *key);
        match &self.index {
            Some(index) => {
                let at =
                    |number: &u64| usize::try_from(number.wrapping_sub(self.passed)).unwrap_or(usize::MAX);
                let found = index.find(hash, |number| {
                    let at = at(number);
                    self.hashes.get(at) == Some(&hash) && is_it(at)
                });
                found.map(at)
            }
            None => {
                let same = self.hashes.iter().enumerate().filter(|(_, other)| **other == hash);
                same.map(|(at, _)| at).find(|at| is_it(*at))
            }
        }
    }

    fn push(&mut self, seen: Seen<K>) {
        let (hash, number) = (seen.hash, self.passed.wrapping_add(self.seen.len() as u64));
        self.there = self.there.saturating_add(1);
        self.weight = self.weight.saturating_add(u64::from(seen.weight));
        self.hashes.push_back(hash);
        self.seen.push_back(seen);
        if self.index.is_none() && self.there <= UNINDEXED_MAX {
            return;
        }
        let (hashes, passed) = (&self.hashes, self.passed);
        let hash_of = |number: &u64| {
            let at = usize::try_from(number.wrapping_sub(passed)).unwrap_or(usize::MAX);
            hashes.get(at).copied().unwrap_or_default()
        };
        match &mut self.index {
            Some(index) => _ = index.insert_unique(hash, number, hash_of),
            None => {
                let mut index = HashTable::new();
                for (at, seen) in self.seen.iter().enumerate().filter(|(_, seen)| !seen.is_gone) {
                    index.insert_unique(seen.hash, passed.wrapping_add(at as u64), hash_of);
                }
                self.index = Some(index);
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(seen) = self.seen.get_mut(at).filter(|seen| !seen.is_gone) else { return };
        seen.is_gone = true;
        self.there = self.there.saturating_sub(1);
        self.weight = self.weight.saturating_sub(u64::from(seen.weight));
        if let Some(index) = &mut self.index {
            let number = self.passed.wrapping_add(at as u64);
            if let Ok(found) = index.find_entry(seen.hash, |other| *other == number) {
                found.remove();
            }
        }
        while self.seen.front().is_some_and(|seen| seen.is_gone) {
            self.seen.pop_front();
            self.hashes.pop_front();
            self.passed = self.passed.wrapping_add(1);
        }
        if self.seen.len() > self.there.saturating_mul(2).saturating_add(UNINDEXED_MAX) {
            let all = std::mem::take(&mut self.seen);
            *self = Self::default();
            all.into_iter().filter(|seen| !seen.is_gone).for_each(|seen| self.push(seen));
        }
    }

    /// Forgets what was seen then or before.
    pub(super) fn expire(&mut self, until: i64) {
        while self.seen.front().is_some_and(|first| first.at <= until) {
            self.remove(0);
        }
    }

    /// Sees a value, and says whether it was not there. Where there are `most` others, the one that was seen longest ago is forgotten.
    pub(super) fn see(
        &mut self,
        hash: u64,
        key: &K,
        (at, offset): Place,
        origin: u64,
        weight: u16,
        most: usize,
    ) -> bool {
        let before = self.position(hash, key);
        if let Some(position) = before {
            self.remove(position);
        }
        while self.there >= most.max(1) {
            self.remove(0);
        }
        self.push(Seen { hash, at, offset, origin, weight, is_gone: false, key: key.clone() });
        before.is_none()
    }

    /// Takes a value out that was seen there last.
    pub(super) fn take_out(&mut self, hash: u64, key: &K, origin: u64) {
        if let Some(position) = self.position(hash, key)
            && self.seen.get(position).is_some_and(|seen| seen.origin == origin)
        {
            self.remove(position);
        }
    }

    /// Whether all of them were seen afterwards.
    fn is_within(&self, after: i64) -> bool {
        self.seen.front().is_none_or(|first| first.at > after)
    }

    pub(super) fn last_at(&self) -> i64 {
        self.seen.back().map_or(0, |seen| seen.at)
    }

    /// How many were seen afterwards.
    pub(super) fn within(&self, after: i64) -> usize {
        match self.is_within(after) {
            true => self.there,
            false => self.seen_within(after).count(),
        }
    }

    /// What those weigh, in hundredths.
    pub(super) fn weight_within(&self, after: i64) -> u64 {
        match self.is_within(after) {
            true => self.weight,
            false => self.seen_within(after).map(|seen| u64::from(seen.weight)).sum(),
        }
    }

    /// The one of those that was seen longest ago.
    pub(super) fn first_within(&self, after: i64) -> Option<Place> {
        self.seen_within(after).next().map(|seen| (seen.at, seen.offset))
    }

    pub(super) fn seen_within(&self, after: i64) -> impl Iterator<Item = &Seen<K>> {
        let from = self.seen.partition_point(|seen| seen.at <= after);
        self.seen.range(from..).filter(|seen| !seen.is_gone)
    }

    pub(super) fn len(&self) -> usize {
        self.there
    }
}
