//! What a receiver that polls has, and has not.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;

use uuid::Uuid;

use crate::store::{Offset, Record};

/// Most events that a receiver may leave without an answer. It gets these again until it answers, and no others.
pub const WINDOW_EVENTS_MAX: usize = 1_000;

/// Where receivers are, so that they go on there after a restart.
///
/// An implementor promises that what [`keep`](Self::keep) has answered for is durable. A position that is too early has a receiver get
/// events again; one that is too late loses them.
pub trait Positions: Send + Sync + 'static {
    /// Everything up to there was answered for; nothing where the receiver is new.
    fn load<'a>(&'a self, receiver: &'a str) -> Kept<'a, Option<Offset>>;

    /// Notes that everything up to there was answered for.
    fn keep<'a>(&'a self, receiver: &'a str, position: Offset) -> Kept<'a, ()>;
}

type Kept<'a, T> = Pin<Box<dyn Future<Output = Result<T, PositionsError>> + Send + 'a>>;

/// Where receivers are is not known.
#[derive(Debug, thiserror::Error)]
#[error("the position of a receiver cannot be kept or read")]
pub struct PositionsError(#[source] pub Box<dyn Error + Send + Sync>);

/// One receiver: what it has answered for, and what it was sent and has not. Pure: it is given what was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receiver {
    position: Offset,
    window: VecDeque<Sent>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Sent {
    offset: Offset,
    jti: Uuid,
    is_answered: bool,
}

impl Receiver {
    /// That has answered for everything up to there.
    pub fn at(position: Offset) -> Self {
        Self { position, window: VecDeque::new() }
    }

    /// Everything up to there was answered for.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The receiver has these, or says what is wrong with them: it does not get them again. Others than those that it was sent are
    /// passed over. Returns whether its position has moved.
    pub fn answered(&mut self, jtis: impl IntoIterator<Item = Uuid>) -> bool {
        for jti in jtis {
            self.window.iter_mut().filter(|sent| sent.jti == jti).for_each(|sent| sent.is_answered = true);
        }
        let before = self.position;
        while let Some(sent) = self.window.front().filter(|sent| sent.is_answered) {
            self.position = sent.offset;
            self.window.pop_front();
        }
        self.position != before
    }

    /// What to send now, of what was read after [`position`](Self::position): what it has not answered for, oldest first. Says as well
    /// whether there is more than `max` of it among what was read.
    pub fn send<'r>(&mut self, read: &'r [Record], max: usize) -> (Vec<&'r Record>, bool) {
        let mut sent = Vec::new();
        for record in read.iter().filter(|record| record.offset > self.position).take(WINDOW_EVENTS_MAX) {
            let place = self.window.iter().position(|sent| sent.offset >= record.offset);
            let known =
                place.and_then(|place| self.window.get(place)).filter(|sent| sent.offset == record.offset);
            if known.is_some_and(|sent| sent.is_answered) {
                continue;
            }
            if sent.len() == max {
                return (sent, true);
            }
            if known.is_none() {
                let new = Sent { offset: record.offset, jti: record.event.id(), is_answered: false };
                self.window.push_back(new);
            }
            sent.push(record);
        }
        (sent, false)
    }
}
