//! Events that are in the journal and not in the database yet.

use std::collections::HashMap;
use std::sync::Arc;

use super::journal::HEAD_BYTES;
use super::tables::{self, StreamNumber};
use crate::event::{Event, Timestamp};
use crate::id::TenantId;
use crate::store::{Offset, Record, StoreError};

/// Events that gather before they go into the database together, sorted: one at a time, each would touch pages of its own. A process that
/// starts reads up to twice as many again.
const EVENTS_MAX: usize = 1 << 16;

/// Bytes of their JSON.
const BYTES_MAX: usize = 32 << 20;

/// What gathers, and what is on its way into the database. Each stream's offsets follow each other, over both.
#[derive(Default)]
pub(super) struct Recent {
    pub(super) gathering: Gathered,
    pub(super) leaving: Option<Arc<Gathered>>,
}

/// Events of some frames of the journal.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) streams: HashMap<StreamNumber, Stream>,
    /// What the frames hold.
    frames: Vec<Vec<u8>>,
    /// The number of the last frame.
    pub(super) last_frame: u64,
    events: usize,
    bytes: usize,
}

/// Those of one stream, in columns.
pub(super) struct Stream {
    pub(super) tenant: TenantId,
    /// The offset of the first.
    first: u64,
    events: Vec<Kept>,
    /// Of their actors.
    marks: Vec<u64>,
    /// When they happened, in milliseconds.
    happened: Vec<i64>,
    /// Offsets.
    ids: HashMap<u128, u64>,
}

struct Kept {
    event: Arc<Event>,
    came: Timestamp,
    frame: u32,
    start: u32,
    length: u32,
}

/// An event of a frame, to be kept.
pub(super) struct Entry {
    pub(super) number: StreamNumber,
    pub(super) tenant: TenantId,
    pub(super) offset: u64,
    pub(super) mark: u64,
    pub(super) event: Arc<Event>,
    pub(super) came: Timestamp,
    /// Where its JSON begins in the frame, and its length.
    pub(super) json: (usize, usize),
}

/// An event as the tables want it.
pub(super) struct Row<'r> {
    pub(super) offset: u64,
    pub(super) id: u128,
    pub(super) mark: u64,
    pub(super) came: i64,
    pub(super) happened: i64,
    pub(super) json: &'r [u8],
}

impl Gathered {
    pub(super) fn is_full(&self) -> bool {
        self.events >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Takes the events of a frame.
    pub(super) fn take(&mut self, number: u64, mut frame: Vec<u8>, entries: Vec<Entry>) {
        self.events = self.events.saturating_add(entries.len());
        // What is counted is what is held.
        frame.shrink_to_fit();
        self.bytes = self.bytes.saturating_add(frame.capacity());
        self.last_frame = number;
        let place = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        self.frames.push(frame);
        for entry in entries {
            let Entry { number, tenant, offset, mark, event, came, json: (start, length) } = entry;
            let stream = self.streams.entry(number).or_insert_with(|| Stream {
                tenant,
                first: offset,
                events: Vec::new(),
                marks: Vec::new(),
                happened: Vec::new(),
                ids: HashMap::new(),
            });
            stream.ids.insert(event.id().as_u128(), offset);
            stream.marks.push(mark);
            stream.happened.push(event.at().as_datetime().timestamp_millis());
            // A frame has far fewer bytes than that.
            let (start, length) =
                (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(length).unwrap_or(u32::MAX));
            stream.events.push(Kept { event, came, frame: place, start, length });
        }
    }

    /// The event of this id, and where it stands.
    pub(super) fn known(&self, number: StreamNumber, id: u128) -> Option<(u64, &Event)> {
        let stream = self.streams.get(&number)?;
        let offset = *stream.ids.get(&id)?;
        Some((offset, &*stream.events.get(stream.place(offset)?)?.event))
    }

    /// A stream's events, in order.
    pub(super) fn rows<'r>(&'r self, stream: &'r Stream) -> impl Iterator<Item = Row<'r>> {
        let columns = stream.events.iter().zip(&stream.marks).zip(&stream.happened);
        (stream.first..).zip(columns).map(|(offset, ((kept, mark), happened))| Row {
            offset,
            id: kept.event.id().as_u128(),
            mark: *mark,
            came: kept.came.as_datetime().timestamp_millis(),
            happened: *happened,
            json: self.json(kept).unwrap_or_default(),
        })
    }

    fn json(&self, kept: &Kept) -> Option<&[u8]> {
        let frame = self.frames.get(usize::try_from(kept.frame).ok()?)?;
        let start = usize::try_from(kept.start).ok()?;
        frame.get(start..start.checked_add(usize::try_from(kept.length).ok()?)?)
    }
}

impl Stream {
    /// The last offset.
    pub(super) fn last(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.events.len()).unwrap_or(u64::MAX)).saturating_sub(1)
    }

    fn place(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.first)?).ok()
    }

    fn offset(&self, place: usize) -> u64 {
        self.first.saturating_add(u64::try_from(place).unwrap_or(u64::MAX))
    }

    fn record(&self, place: usize) -> Option<Record> {
        let kept = self.events.get(place)?;
        Some(Record {
            offset: Offset::new(self.offset(place)),
            ingested_at: kept.came,
            event: Arc::clone(&kept.event),
        })
    }

    /// Places of events after an offset.
    fn after(&self, offset: u64) -> usize {
        self.place(offset.saturating_add(1)).unwrap_or_default()
    }
}

impl Recent {
    /// Older ones first.
    fn of(&self, number: StreamNumber) -> impl Iterator<Item = &Stream> {
        let all = self.leaving.as_deref().into_iter().chain([&self.gathering]);
        all.filter_map(move |gathered| gathered.streams.get(&number))
    }

    /// The first offset of a stream that is here. Those before it are in the database, and those from it on are here.
    pub(super) fn first(&self, number: StreamNumber) -> Option<u64> {
        self.of(number).next().map(|stream| stream.first)
    }

    /// Events after an offset, at most so many.
    pub(super) fn read(&self, number: StreamNumber, after: u64, most: usize) -> Vec<Record> {
        let places = self.of(number).flat_map(|stream| {
            (stream.after(after)..stream.events.len()).filter_map(|place| stream.record(place))
        });
        places.take(most).collect()
    }

    /// Those of actors, by their marks in order.
    pub(super) fn of_actors(
        &self,
        number: StreamNumber,
        marks: &[u64],
        after: u64,
        most: usize,
        is_asked: impl Fn(&Event) -> bool,
    ) -> Vec<Record> {
        let is_marked: &dyn Fn(u64) -> bool = match marks {
            [one] => &|mark| mark == *one,
            several => &|mark| several.binary_search(&mark).is_ok(),
        };
        let places = self.of(number).flat_map(|stream| {
            let marked = stream.marks.iter().enumerate().skip(stream.after(after));
            marked.filter(|(_, mark)| is_marked(**mark)).filter_map(|(place, _)| stream.record(place))
        });
        places.filter(|record| is_asked(&record.event)).take(most).collect()
    }

    /// Those whose time and offset are within, the first by these, at most so many.
    pub(super) fn of_time(
        &self,
        number: StreamNumber,
        is_within: impl Fn(i64, u64) -> bool,
        most: usize,
    ) -> Vec<Record> {
        let mut found: Vec<(i64, u64, &Stream, usize)> = Vec::new();
        for stream in self.of(number) {
            let happened = stream.happened.iter().enumerate();
            found.extend(happened.filter_map(|(place, at)| {
                let offset = stream.offset(place);
                is_within(*at, offset).then_some((*at, offset, stream, place))
            }));
        }
        let by_time = |one: &(i64, u64, &Stream, usize)| (one.0, one.1);
        if found.len() > most {
            found.select_nth_unstable_by_key(most, by_time);
            found.truncate(most);
        }
        found.sort_unstable_by_key(by_time);
        found.into_iter().filter_map(|(_, _, stream, place)| stream.record(place)).collect()
    }
}

/// What a frame is written as: each new tenant with the number of its stream, and each event.
pub(super) struct FrameWriter {
    pub(super) bytes: Vec<u8>,
}

const TENANT: u8 = 0;
const EVENT: u8 = 1;

impl FrameWriter {
    pub(super) fn new(events: usize) -> Self {
        let mut bytes = Vec::with_capacity(events.saturating_mul(512).min(1 << 20));
        bytes.resize(HEAD_BYTES, 0);
        Self { bytes }
    }

    pub(super) fn tenant(&mut self, number: StreamNumber, tenant: &TenantId) {
        let name = tenant.as_str().as_bytes();
        self.bytes.push(TENANT);
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&u32::try_from(name.len()).unwrap_or_default().to_le_bytes());
        self.bytes.extend_from_slice(name);
    }

    /// Writes an event, and says where its JSON is.
    pub(super) fn event(
        &mut self,
        number: StreamNumber,
        offset: u64,
        came: Timestamp,
        event: &Event,
    ) -> Result<(usize, usize), StoreError> {
        self.bytes.push(EVENT);
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.extend_from_slice(&came.as_datetime().timestamp_millis().to_le_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let start = self.bytes.len();
        serde_json::to_writer(&mut self.bytes, event).map_err(tables::failed)?;
        let length = self.bytes.len().saturating_sub(start);
        let written = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(place) = self.bytes.get_mut(length_at..start) {
            place.copy_from_slice(&written);
        }
        Ok((start, length))
    }
}

/// A part of a frame.
pub(super) enum Part {
    Tenant { number: StreamNumber, tenant: TenantId },
    Event { number: StreamNumber, offset: u64, came: Timestamp, event: Event, json: (usize, usize) },
}

/// Reads what a frame holds; places are those that it has with its head in front.
pub(super) fn parts(frame: &[u8]) -> Result<Vec<Part>, StoreError> {
    let mut rest = Rest { bytes: frame, at: HEAD_BYTES };
    let mut parts = Vec::new();
    while rest.at < frame.len() {
        let [kind] = rest.take()?;
        let number = StreamNumber::from_le_bytes(rest.take()?);
        if kind == TENANT {
            let (start, length) = rest.text()?;
            let name = std::str::from_utf8(rest.at(start, length)?).map_err(tables::unreadable)?;
            parts.push(Part::Tenant { number, tenant: TenantId::new(name).map_err(tables::unreadable)? });
            continue;
        }
        let offset = u64::from_le_bytes(rest.take()?);
        let came = tables::timestamp(i64::from_le_bytes(rest.take()?))?;
        let json = rest.text()?;
        let event = Event::from_json(rest.at(json.0, json.1)?).map_err(tables::unreadable)?;
        parts.push(Part::Event { number, offset, came, event, json });
    }
    Ok(parts)
}

struct Rest<'f> {
    bytes: &'f [u8],
    at: usize,
}

impl<'f> Rest<'f> {
    fn at(&self, start: usize, length: usize) -> Result<&'f [u8], StoreError> {
        let part = self.bytes.get(start..start.saturating_add(length));
        part.ok_or_else(|| tables::unreadable("a frame of the journal ends early"))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let part = self.at(self.at, N)?;
        self.at = self.at.saturating_add(N);
        part.try_into().map_err(tables::unreadable)
    }

    fn text(&mut self) -> Result<(usize, usize), StoreError> {
        let length = usize::try_from(u32::from_le_bytes(self.take()?)).map_err(tables::unreadable)?;
        let start = self.at;
        self.at(start, length)?;
        self.at = start.saturating_add(length);
        Ok((start, length))
    }
}
