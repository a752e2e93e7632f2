//! What is left of the events of a sliding window: as much as a threshold asks for, and no more.
//!
//! Times never go back here: events come in the order of the clock that detection keeps.

use std::collections::VecDeque;

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
    pub(super) key: K,
    pub(super) offset: u64,
    /// Hash of where it was seen.
    pub(super) origin: u64,
    pub(super) weight: u16,
}

/// The values seen last, as many as the threshold.
///
/// INVARIANT: as long as no more than `most` are kept and none was taken out, these are the `most` values seen last. So at least `most` were
/// seen within a window exactly where all that are kept were.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Recency<K> {
    // Side by side, since most looks go over one of them whole.
    hashes: Vec<u64>,
    at: Vec<i64>,
    seen: Vec<Seen<K>>,
    is_weighed: bool,
}

impl<K> Default for Recency<K> {
    fn default() -> Self {
        Self { hashes: Vec::new(), at: Vec::new(), seen: Vec::new(), is_weighed: false }
    }
}

impl<K: Clone + Eq> Recency<K> {
    fn position(&self, hash: u64, key: &K) -> Option<usize> {
        let same = |(at, _): &(usize, &u64)| self.seen.get(*at).is_some_and(|seen| seen.key == *key);
        self.hashes.iter().enumerate().filter(|(_, other)| **other == hash).find(same).map(|(at, _)| at)
    }

    /// Sees a value. Where there are `most` others, the one that was seen longest ago is forgotten.
    pub(super) fn see(
        &mut self,
        hash: u64,
        key: &K,
        (at, offset): Place,
        origin: u64,
        weight: u16,
        most: usize,
    ) {
        self.is_weighed |= weight != NEUTRAL;
        if let Some(position) = self.position(hash, key) {
            if let (Some(last), Some(seen)) = (self.at.get_mut(position), self.seen.get_mut(position)) {
                *last = at;
                (seen.offset, seen.origin, seen.weight) = (offset, origin, weight);
            }
            return;
        }
        let seen = Seen { key: key.clone(), offset, origin, weight };
        if self.seen.len() < most.max(1) {
            self.hashes.push(hash);
            self.at.push(at);
            self.seen.push(seen);
            return;
        }
        let oldest = self.at.iter().zip(&self.seen).map(|(at, seen)| (*at, seen.offset)).enumerate();
        let Some((oldest, _)) = oldest.min_by_key(|(_, place)| *place) else { return };
        if let (Some(own_hash), Some(last), Some(own)) =
            (self.hashes.get_mut(oldest), self.at.get_mut(oldest), self.seen.get_mut(oldest))
        {
            (*own_hash, *last, *own) = (hash, at, seen);
        }
    }

    /// Takes a value out that was seen there last.
    pub(super) fn take_out(&mut self, hash: u64, key: &K, origin: u64) {
        if let Some(position) = self.position(hash, key)
            && self.seen.get(position).is_some_and(|seen| seen.origin == origin)
        {
            self.hashes.swap_remove(position);
            self.at.swap_remove(position);
            self.seen.swap_remove(position);
        }
    }

    pub(super) fn last_at(&self) -> i64 {
        self.at.last().copied().unwrap_or_default()
    }

    /// How many were seen afterwards.
    pub(super) fn within(&self, after: i64) -> usize {
        self.at.iter().filter(|at| **at > after).count()
    }

    /// What those weigh, in hundredths.
    pub(super) fn weight_within(&self, after: i64) -> u64 {
        match self.is_weighed {
            true => self.seen_within(after).map(|seen| u64::from(seen.weight)).sum(),
            false => u64::try_from(self.within(after)).unwrap_or_default().saturating_mul(u64::from(NEUTRAL)),
        }
    }

    /// The one of those that was seen longest ago.
    pub(super) fn first_within(&self, after: i64) -> Option<Place> {
        let places = self.at.iter().zip(&self.seen).map(|(at, seen)| (*at, seen.offset));
        places.filter(|(at, _)| *at > after).min()
    }

    pub(super) fn seen_within(&self, after: i64) -> impl Iterator<Item = &Seen<K>> {
        self.at.iter().zip(&self.seen).filter(move |(at, _)| **at > after).map(|(_, seen)| seen)
    }

    pub(super) fn hashes_within(&self, after: i64) -> impl Iterator<Item = u64> {
        self.at.iter().zip(&self.hashes).filter(move |(at, _)| **at > after).map(|(_, hash)| *hash)
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}
