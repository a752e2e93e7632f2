//! What each sink has still to be sent, and when. Pure: time is an argument.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Alert, AlertState, SinkError};
use crate::ConnectorId;
use crate::monitor::FailureClass;
use crate::monitor::moment::{Elapsed, Moment};

/// Most alerts that wait for one sink.
///
/// Each connector and failure class waits at most once, in its newest state, so that a sink that is down for days does not make it
/// grow. Beyond this many, resolved ones go before open ones and old ones before new ones, and are counted.
pub const PENDING_MAX: usize = 10_000;

/// Seconds until the first retry; doubled after each.
pub const RETRY_FIRST_S: u64 = 5;

/// Longest time between two tries, in seconds. They never end.
pub const RETRY_LONGEST_S: u64 = 900;

/// What waits for which sink.
///
/// Sinks do not wait for each other. Messages of one alert go to a sink in order and one at a time; one that a newer one overtook
/// before it was sent is left out and counted.
#[derive(Clone, Debug)]
pub struct Delivery {
    elapsed: Elapsed,
    accepted: u64,
    queues: BTreeMap<String, Queue>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    pending: BTreeMap<Key, Pending>,
    retry: Retry,
    superseded: u64,
    dropped: u64,
}

/// One alert at most of each: a later one says that an earlier one is over.
type Key = (ConnectorId, FailureClass);

#[derive(Clone, Debug)]
struct Pending {
    alert: Alert,
    /// Place in the order in which alerts were accepted.
    place: u64,
    retry: Retry,
    /// The message that is being sent.
    in_flight: Option<Alert>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    failed: u32,
    due: Moment,
}

impl Retry {
    fn later(&mut self, t: Moment) {
        let doubled = RETRY_FIRST_S.saturating_mul(1_u64.checked_shl(self.failed).unwrap_or(u64::MAX));
        self.failed = self.failed.saturating_add(1).min(32);
        let wait = doubled.min(RETRY_LONGEST_S).saturating_mul(1_000);
        self.due = t.plus(i64::try_from(wait).unwrap_or(i64::MAX));
    }
}

impl Delivery {
    /// To sinks of these names.
    pub fn new(sinks: impl IntoIterator<Item = String>) -> Self {
        let queues = sinks.into_iter().map(|sink| (sink, Queue::default())).collect();
        Self { elapsed: Elapsed::default(), accepted: 0, queues }
    }

    /// Takes a message for every sink. Says for each sink which other one it had to drop, where [`PENDING_MAX`] is reached.
    pub fn accept(&mut self, alert: &Alert, now: DateTime<Utc>) -> Vec<(String, Alert)> {
        let sinks: Vec<String> = self.queues.keys().cloned().collect();
        sinks
            .into_iter()
            .filter_map(|sink| self.accept_for(&sink, alert, now).map(|alert| (sink, alert)))
            .collect()
    }

    /// Takes a message for one sink, as after a restart. A sink that is not known any more takes nothing.
    pub fn accept_for(&mut self, sink: &str, alert: &Alert, now: DateTime<Utc>) -> Option<Alert> {
        let t = self.elapsed.advance(now);
        let queue = self.queues.get_mut(sink)?;
        self.accepted = self.accepted.saturating_add(1);
        let key = key(alert);
        if let Some(pending) = queue.pending.get_mut(&key) {
            if pending.alert.alert_id == alert.alert_id && pending.alert.sequence >= alert.sequence {
                return None;
            }
            if pending.in_flight.as_ref() != Some(&pending.alert) {
                queue.superseded = queue.superseded.saturating_add(1);
            }
            pending.alert = alert.clone();
            return None;
        }
        let dropped = match queue.pending.len() < PENDING_MAX {
            true => None,
            false => queue.drop_one(),
        };
        let retry = Retry { failed: 0, due: t };
        queue
            .pending
            .insert(key, Pending { alert: alert.clone(), place: self.accepted, retry, in_flight: None });
        dropped
    }

    /// The next message to send to this sink. It counts as being sent until [`delivered`](Self::delivered),
    /// [`failed`](Self::failed) or [`abandoned`](Self::abandoned) is told.
    pub fn next(&mut self, sink: &str, now: DateTime<Utc>) -> Option<Alert> {
        let t = self.elapsed.advance(now);
        let queue = self.queues.get_mut(sink)?;
        if t < queue.retry.due {
            return None;
        }
        let next = queue
            .pending
            .values_mut()
            .filter(|pending| pending.in_flight.is_none() && t >= pending.retry.due);
        let next = next.min_by_key(|pending| pending.place)?;
        next.in_flight = Some(next.alert.clone());
        Some(next.alert.clone())
    }

    /// The sink has taken this message. Answers whether nothing newer of the same alert waits.
    pub fn delivered(&mut self, sink: &str, alert: &Alert, now: DateTime<Utc>) -> bool {
        let t = self.elapsed.advance(now);
        let Some(queue) = self.queues.get_mut(sink) else { return true };
        queue.retry = Retry::default();
        let key = key(alert);
        let Some(pending) = queue.pending.get_mut(&key) else { return true };
        if pending.alert == *alert {
            queue.pending.remove(&key);
            return true;
        }
        pending.in_flight = None;
        pending.retry = Retry { failed: 0, due: t };
        false
    }

    /// The sink has not taken this message, and will be sent it again; sooner or later by how often that was so.
    pub fn failed(&mut self, sink: &str, alert: &Alert, error: &SinkError, now: DateTime<Utc>) {
        let t = self.elapsed.advance(now);
        let Some(queue) = self.queues.get_mut(sink) else { return };
        // Where nobody answers, the others need not be tried; one message that is refused holds up no other.
        if matches!(error, SinkError::Unavailable(_)) {
            queue.retry.later(t);
        }
        if let Some(pending) = queue.pending.get_mut(&key(alert)) {
            pending.in_flight = None;
            pending.retry.later(t);
        }
    }

    /// Nobody knows whether the sink has taken this message: sending was broken off. It is sent again.
    pub fn abandoned(&mut self, sink: &str, alert: &Alert) {
        let pending = self.queues.get_mut(sink).and_then(|queue| queue.pending.get_mut(&key(alert)));
        if let Some(pending) = pending.filter(|pending| pending.in_flight.as_ref() == Some(alert)) {
            pending.in_flight = None;
        }
    }

    /// When [`next`](Self::next) next has something for some sink.
    pub fn next_deadline(&self) -> Option<DateTime<Utc>> {
        let due = self.queues.values().flat_map(|queue| {
            let waiting = queue.pending.values().filter(|pending| pending.in_flight.is_none());
            waiting.map(|pending| pending.retry.due.max(queue.retry.due))
        });
        due.min().and_then(|moment| self.elapsed.wall(moment))
    }

    /// How many alerts wait for this sink.
    pub fn pending(&self, sink: &str) -> usize {
        self.queues.get(sink).map_or(0, |queue| queue.pending.len())
    }

    /// How many messages were left out because a newer one of the same alert, or of the same failure, overtook them.
    pub fn superseded(&self, sink: &str) -> u64 {
        self.queues.get(sink).map_or(0, |queue| queue.superseded)
    }

    /// How many alerts were dropped at [`PENDING_MAX`].
    pub fn dropped(&self, sink: &str) -> u64 {
        self.queues.get(sink).map_or(0, |queue| queue.dropped)
    }
}

impl Queue {
    fn drop_one(&mut self) -> Option<Alert> {
        let idle = self.pending.iter().filter(|(_, pending)| pending.in_flight.is_none());
        let (key, _) =
            idle.min_by_key(|(_, pending)| (pending.alert.state == AlertState::Open, pending.place))?;
        let key = key.clone();
        self.dropped = self.dropped.saturating_add(1);
        self.pending.remove(&key).map(|pending| pending.alert)
    }
}

fn key(alert: &Alert) -> Key {
    (alert.connector.clone(), alert.failure_type)
}
