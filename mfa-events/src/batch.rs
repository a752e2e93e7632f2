//! Events as they are sent: one JSON object, an array of them, or JSON lines.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{Event, ReadError, form_error};
use crate::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};

/// What came in one message. Events that are none do not keep the others out, and each says where it stood and what is wrong.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// In their order, at most [`BATCH_EVENTS_MAX`].
    pub items: Vec<Item>,
    /// Events beyond [`BATCH_EVENTS_MAX`]: they were counted, and are to be sent again.
    pub unread: usize,
}

/// One event of a batch, or what should be one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Item {
    /// Line where it begins, counted from 1. With the item's place in [`Batch::items`] it is where a sender looks.
    pub line: usize,
    /// What it is. Lines and columns of an error are those of the whole message.
    pub event: Result<Event, ReadError>,
}

/// How a message holds its events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// By what it begins with: an array, one object, or else JSON lines.
    #[default]
    Any,
    /// One object or an array (`application/json`).
    Json,
    /// One object per line (`application/x-ndjson`); empty lines are passed over.
    Lines,
}

/// Why nothing of a message could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// More than [`BATCH_BYTES_MAX`].
    #[error("a batch has at most {BATCH_BYTES_MAX} bytes")]
    TooLong,
    /// There is nothing in it.
    #[error("there is no event")]
    Empty,
    /// An array that is no JSON: where an event of it ends cannot be told.
    #[error(transparent)]
    Form(ReadError),
}

impl Batch {
    /// Reads a message.
    ///
    /// # Errors
    /// Where nothing of it could be read. Events that are none are no error here: see [`Item::event`].
    pub fn read(text: &[u8], form: Form) -> Result<Self, BatchError> {
        if text.len() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLong);
        }
        let Some(first) = text.iter().find(|byte| !byte.is_ascii_whitespace()) else {
            return Err(BatchError::Empty);
        };
        if form == Form::Any
            && *first == b'{'
            && let Some(batch) = Self::whole(text)
        {
            return Ok(batch);
        }
        let batch = match (form, first) {
            (Form::Any | Form::Json, b'[') => Self::array(text)?,
            (Form::Json, _) => Self::one(text),
            (Form::Any, _) if serde_json::from_slice::<&RawValue>(text).is_ok() => Self::one(text),
            (Form::Any | Form::Lines, _) => Self::lines(text),
        };
        match batch.items.is_empty() {
            true => Err(BatchError::Empty),
            false => Ok(batch),
        }
    }

    /// One event and nothing wrong with it: the most usual message, read once.
    fn whole(text: &[u8]) -> Option<Self> {
        let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace());
        let line = blank.filter(|byte| **byte == b'\n').count().saturating_add(1);
        let event = Event::from_json(text.trim_ascii()).ok()?;
        Some(Self { items: vec![Item { line, event: Ok(event) }], unread: 0 })
    }

    fn one(text: &[u8]) -> Self {
        let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let place = Place::default().moved(text.get(..blank).unwrap_or_default());
        let item = place.item(text.get(blank..).unwrap_or_default().trim_ascii_end());
        Self { items: vec![item], unread: 0 }
    }

    fn lines(text: &[u8]) -> Self {
        let mut batch = Self::default();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let blank = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let event = line.get(blank..).unwrap_or_default().trim_ascii_end();
            if event.is_empty() {
                continue;
            }
            if batch.items.len() == BATCH_EVENTS_MAX {
                batch.unread = batch.unread.saturating_add(1);
                continue;
            }
            let place = Place { line: number.saturating_add(1), column: blank.saturating_add(1) };
            batch.items.push(place.item(event));
        }
        batch
    }

    fn array(text: &[u8]) -> Result<Self, BatchError> {
        let broken = |error: serde_json::Error| BatchError::Form(form_error(&error, String::new()));
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let Array { raw, unread } = deserializer.deserialize_seq(ArrayVisitor).map_err(broken)?;
        deserializer.end().map_err(broken)?;
        let (mut place, mut seen) = (Place::default(), 0_usize);
        let items = raw.into_iter().map(|raw| {
            let event = raw.get().as_bytes();
            // The event lies in the text: its address says where.
            let start = (event.as_ptr().addr()).saturating_sub(text.as_ptr().addr());
            place = place.moved(text.get(seen..start).unwrap_or_default());
            seen = start;
            place.item(event)
        });
        Ok(Self { items: items.collect(), unread })
    }
}

/// A place in a message.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

impl Default for Place {
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

impl Place {
    /// After these bytes.
    fn moved(self, over: &[u8]) -> Self {
        let lines = over.iter().filter(|byte| **byte == b'\n').count();
        match over.iter().rposition(|byte| *byte == b'\n') {
            None => Self { column: self.column.saturating_add(over.len()), ..self },
            Some(last) => {
                Self { line: self.line.saturating_add(lines), column: over.len().saturating_sub(last) }
            }
        }
    }

    fn item(self, event: &[u8]) -> Item {
        let event = Event::from_json(event).map_err(|error| match error {
            ReadError::Form { line, column, pointer, message } => {
                let column =
                    if line == 1 { self.column.saturating_add(column).saturating_sub(1) } else { column };
                let line = self.line.saturating_add(line).saturating_sub(1);
                ReadError::Form { line, column, pointer, message }
            }
            other => other,
        });
        Item { line: self.line, event }
    }
}

struct Array<'t> {
    raw: Vec<&'t RawValue>,
    unread: usize,
}

struct ArrayVisitor;

impl<'t> Visitor<'t> for ArrayVisitor {
    type Value = Array<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut seq: A) -> Result<Array<'t>, A::Error> {
        let mut array = Array { raw: Vec::new(), unread: 0 };
        while array.raw.len() < BATCH_EVENTS_MAX {
            match seq.next_element::<&RawValue>()? {
                Some(raw) => array.raw.push(raw),
                None => return Ok(array),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            array.unread = array.unread.saturating_add(1);
        }
        Ok(array)
    }
}
