//! Keys of rows: ordered, and each part ends where the next begins.
//!
//! Identifiers hold no control characters, so that a zero byte ends each part of a key.

use chrono::{DateTime, Utc};

use crate::event::{Lane, Order, Subject};
use crate::id::{ConnectorId, EntitlementId, PersonId};
use crate::store::StoreError;

/// First byte of a key.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Table {
    Meta,
    Lanes,
    /// Events that wait: read whenever their lane is.
    Open,
    /// The others.
    Closed,
    Ids,
    Attempts,
    /// Due now, in the order in which they are to go.
    Ready,
    /// Due later, by when.
    Later,
    Persons,
    Holders,
    Waiting,
    Counts,
    Leavers,
    Connectors,
    Held,
    /// Of people who were said to leave.
    Offboardings,
}

pub(super) struct Key(pub(super) Vec<u8>);

impl Key {
    pub(super) fn new(table: Table) -> Self {
        Self(vec![table as u8])
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn time(mut self, at: DateTime<Utc>) -> Self {
        // Times before 1970 go before those after it.
        let seconds = (at.timestamp() as u64) ^ (1 << 63);
        self.0.extend_from_slice(&seconds.to_be_bytes());
        self.0.extend_from_slice(&at.timestamp_subsec_nanos().to_be_bytes());
        self
    }

    pub(super) fn order(self, order: Order) -> Self {
        self.time(order.occurred_at).number(order.seq)
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn lane(self, lane: &Lane) -> Self {
        let key = self.text(lane.connector.as_str());
        match &lane.subject {
            Subject::Person(person) => key.byte(b'p').text(person.as_str()),
            Subject::Group(group) => key.byte(b'g').text(group.as_str()),
        }
    }
}

/// A lane at the end of a key.
pub(super) fn lane_at(key: &[u8], at: usize) -> Result<Lane, StoreError> {
    let bad = || StoreError::unreadable("a key names no lane");
    let text = key.get(at..).and_then(|rest| std::str::from_utf8(rest).ok()).ok_or_else(bad)?;
    let mut parts = text.split('\0');
    let connector = ConnectorId::new(parts.next().ok_or_else(bad)?).map_err(StoreError::unreadable)?;
    let subject = parts.next().ok_or_else(bad)?;
    let subject = if let Some(person) = subject.strip_prefix('p') {
        Subject::Person(PersonId::new(person).map_err(StoreError::unreadable)?)
    } else if let Some(group) = subject.strip_prefix('g') {
        Subject::Group(EntitlementId::new(group).map_err(StoreError::unreadable)?)
    } else {
        return Err(bad());
    };
    Ok(Lane { connector, subject })
}

/// A number within a key.
pub(super) fn number_at(key: &[u8], at: usize) -> Result<u64, StoreError> {
    let number = key.get(at..).and_then(<[u8]>::first_chunk).copied().map(u64::from_be_bytes);
    number.ok_or_else(|| StoreError::unreadable("a key has no number"))
}

/// A time within a key.
pub(in crate::store) fn time_at(key: &[u8], at: usize) -> Result<DateTime<Utc>, StoreError> {
    let bad = || StoreError::unreadable("a key names no time");
    let (seconds, rest) = key.get(at..).and_then(<[u8]>::split_first_chunk).ok_or_else(bad)?;
    let (nanos, _) = rest.split_first_chunk().ok_or_else(bad)?;
    let seconds = (u64::from_be_bytes(*seconds) ^ (1 << 63)) as i64;
    DateTime::from_timestamp(seconds, u32::from_be_bytes(*nanos)).ok_or_else(bad)
}
