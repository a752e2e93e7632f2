//! One after the other, where two at once would each be judged without the other.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use connector_health::PersonId;
use tokio::sync::{Mutex, MutexGuard};

/// People who are told apart here. Others wait for one another needlessly, and not for long.
const PLACES: usize = 256;

/// Whoever decides what somebody may be given has that person's turn from reading what they have until it is durable what they are given.
///
/// A turn ends with its guard, also where its future is dropped halfway: what may still become durable after that must not be dropped.
pub(super) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    /// Those of several people at once; in one order, so that nobody waits for somebody who waits.
    pub(super) async fn of(&self, people: impl IntoIterator<Item = &PersonId>) -> Vec<MutexGuard<'_, ()>> {
        let place = |person: &PersonId| {
            let mut hasher = DefaultHasher::new();
            person.hash(&mut hasher);
            hasher.finish() % PLACES as u64
        };
        let places: BTreeSet<u64> = people.into_iter().map(place).collect();
        let mut turns = Vec::with_capacity(places.len());
        for (_, mutex) in (0_u64..).zip(&self.0).filter(|(at, _)| places.contains(at)) {
            turns.push(mutex.lock().await);
        }
        turns
    }
}
