//! Events of a file, one after the other: never more of it in memory than one event.
//!
//! By what it begins with it is an array, JSON lines, or CSV with a header. What stands in an event besides, where it comes from a
//! stream of this service (`tenant_id`, `ingested_at`, `offset`), is taken as it was there, so that alerts have the ids they had there.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use mfa_events::event::{ReadError, Timestamp};
use mfa_events::limits::EVENT_BYTES_MAX;
use mfa_events::store::Record;
use mfa_events::{Event, Offset, TenantId};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::Mistake;

/// Most bytes of one event, with what a log added to it.
const TEXT_BYTES_MAX: usize = EVENT_BYTES_MAX + 1024;
/// Most tenants of a file.
pub(super) const TENANTS_MAX: usize = 1_000;
/// Most bytes of a row in CSV; it is looked at by blocks, so that a row somewhat longer may pass.
const ROW_BYTES_MAX: u64 = 64 * 1024;
/// Most columns in CSV.
const COLUMNS_MAX: usize = 100;

/// Why reading cannot go on.
#[derive(Debug)]
pub(super) enum Stop {
    Unreadable(io::Error),
    /// Where what comes next begins cannot be told.
    Broken(Mistake),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// What stood at one place.
pub(super) enum Item {
    Event(TenantId, Record),
    /// It has been there already, by its offset.
    Repeated,
    /// It is none. The others are not kept out by it.
    Mistake(Mistake),
}

pub(super) trait Source {
    fn next(&mut self) -> Result<Option<Item>, Stop>;
}

/// Reads a file by what it begins with.
pub(super) fn open<'r>(
    mut input: impl BufRead + 'r,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<Box<dyn Source + 'r>, Stop> {
    let mut text = Text { line: 1, column: 1 };
    if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    let mut first = None;
    while first.is_none() {
        match input.fill_buf()?.first().copied() {
            Some(byte) if byte.is_ascii_whitespace() => {
                text.pass(byte);
                input.consume(1);
            }
            Some(byte) => first = Some(byte),
            None => break,
        }
    }
    let records = Records { tenant, now, last: HashMap::new() };
    match first {
        Some(b'[') => {
            text.pass(b'[');
            input.consume(1);
            Ok(Box::new(Array { input, text, records, state: State::First }))
        }
        None | Some(b'{') => Ok(Box::new(Lines { input, line: text.line, column: text.column, records })),
        Some(_) => Ok(Box::new(Csv::open(input, text.line, records)?)),
    }
}

/// A place in a text, counted from 1; columns in bytes, as errors of events count them.
#[derive(Clone, Copy)]
struct Text {
    line: usize,
    column: usize,
}

impl Text {
    fn pass(&mut self, byte: u8) {
        match byte {
            b'\n' => *self = Self { line: self.line.saturating_add(1), column: 1 },
            _ => self.column = self.column.saturating_add(1),
        }
    }

    fn mistake(self, message: impl Into<String>) -> Mistake {
        Mistake { line: self.line, column: self.column, message: message.into() }
    }
}

/// Makes records of what is read.
struct Records {
    tenant: TenantId,
    now: DateTime<Utc>,
    /// The last offset of each tenant.
    last: HashMap<TenantId, Offset>,
}

/// What a log has added to an event.
#[derive(Deserialize)]
struct Added {
    tenant_id: Option<TenantId>,
    ingested_at: Option<Timestamp>,
    offset: Option<String>,
}

impl Records {
    fn read(&mut self, at: Text, json: &[u8]) -> Item {
        match self.record(at, json) {
            Ok(Some((tenant, record))) => Item::Event(tenant, record),
            Ok(None) => Item::Repeated,
            Err(mistake) => Item::Mistake(mistake),
        }
    }

    fn record(&mut self, at: Text, json: &[u8]) -> Result<Option<(TenantId, Record)>, Mistake> {
        let event = Event::from_json(json).map_err(|error| match error {
            ReadError::Form { line, column, pointer, message } => {
                let column =
                    if line == 1 { at.column.saturating_add(column).saturating_sub(1) } else { column };
                let separator = if pointer.is_empty() { "" } else { ": " };
                let message = format!("{pointer}{separator}{message}");
                Mistake { line: at.line.saturating_add(line).saturating_sub(1), column, message }
            }
            other => at.mistake(other.to_string()),
        })?;
        let added: Added = serde_json::from_slice(json).map_err(|error| at.mistake(error.to_string()))?;
        let tenant = added.tenant_id.unwrap_or_else(|| self.tenant.clone());
        let last = match self.last.get(&tenant) {
            Some(last) => *last,
            None if self.last.len() < TENANTS_MAX => Offset::START,
            None => return Err(at.mistake(format!("/tenant_id: more than {TENANTS_MAX} tenants"))),
        };
        let offset = match added.offset {
            None => Offset::new(last.as_u64().saturating_add(1)),
            Some(text) => u64::from_str_radix(&text, 16)
                .map(Offset::new)
                .map_err(|_| at.mistake("/offset: an offset is a hexadecimal number"))
                .and_then(|offset| match offset.as_u64() {
                    // Whatever came next would be taken for a repetition.
                    u64::MAX => Err(at.mistake("/offset: nothing can come after it")),
                    _ => Ok(offset),
                })?,
        };
        if offset <= last {
            return Ok(None);
        }
        self.last.insert(tenant.clone(), offset);
        // Whatever claims to be from the future came now at the latest.
        let ingested_at = match added.ingested_at {
            Some(ingested_at) => ingested_at,
            None => Timestamp::new(self.now).map_err(|error| at.mistake(error.to_string()))?,
        };
        Ok(Some((tenant, Record { offset, ingested_at, event: Arc::new(event) })))
    }
}

/// One event in each line. Empty lines are passed over.
struct Lines<R> {
    input: R,
    line: usize,
    /// Where the next line begins: behind what was looked at to find out what the file is.
    column: usize,
    records: Records,
}

impl<R: BufRead> Source for Lines<R> {
    fn next(&mut self) -> Result<Option<Item>, Stop> {
        loop {
            let mut line = Vec::new();
            let limit = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            let at = Text { line: self.line, column: std::mem::replace(&mut self.column, 1) };
            self.line = self.line.saturating_add(1);
            if line.last() != Some(&b'\n') && line.len() > TEXT_BYTES_MAX {
                pass_line(&mut self.input)?;
                let why = format!("a line has at most {TEXT_BYTES_MAX} bytes");
                return Ok(Some(Item::Mistake(at.mistake(why))));
            }
            let blank = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let event = line.get(blank..).unwrap_or_default().trim_ascii_end();
            if !event.is_empty() {
                let at = Text { column: at.column.saturating_add(blank), ..at };
                return Ok(Some(self.records.read(at, event)));
            }
        }
    }
}

fn pass_line(input: &mut impl BufRead) -> io::Result<()> {
    input.skip_until(b'\n').map(drop)
}

/// An array of events.
struct Array<R> {
    input: R,
    text: Text,
    records: Records,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// An event, or the end.
    First,
    /// A comma, or the end.
    Behind,
    Ended,
}

impl<R: BufRead> Array<R> {
    fn byte(&mut self) -> io::Result<Option<u8>> {
        let Some(byte) = self.input.fill_buf()?.first().copied() else { return Ok(None) };
        self.input.consume(1);
        self.text.pass(byte);
        Ok(Some(byte))
    }

    /// The next that is not white, and where it is.
    fn token(&mut self) -> io::Result<Option<(Text, u8)>> {
        loop {
            let at = self.text;
            match self.byte()? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                other => return Ok(other.map(|byte| (at, byte))),
            }
        }
    }

    /// The rest of an object whose brace was taken. What is too long for an event is passed over.
    fn object(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let (mut object, mut is_too_long) = (vec![b'{'], false);
        let (mut depth, mut is_text, mut is_escaped) = (1_usize, false, false);
        while depth > 0 {
            let Some(byte) = self.byte()? else {
                return Err(Stop::Broken(self.text.mistake("the file ends within an event")));
            };
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_text => is_escaped = true,
                b'"' => is_text = !is_text,
                b'{' | b'[' if !is_text => depth = depth.saturating_add(1),
                b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
                _ => {}
            }
            if object.len() < TEXT_BYTES_MAX {
                object.push(byte);
            } else {
                is_too_long = true;
            }
        }
        Ok((!is_too_long).then_some(object))
    }
}

impl<R: BufRead> Source for Array<R> {
    fn next(&mut self) -> Result<Option<Item>, Stop> {
        let broken = |at: Text, what: &str| Err(Stop::Broken(at.mistake(what)));
        loop {
            let Some((at, byte)) = self.token()? else {
                return match self.state {
                    State::Ended => Ok(None),
                    _ => broken(self.text, "the file ends within an array"),
                };
            };
            match (self.state, byte) {
                (State::Ended, _) => return broken(at, "nothing may stand behind the array"),
                (State::First | State::Behind, b']') => self.state = State::Ended,
                (State::Behind, b',') => match self.token()? {
                    Some((at, b'{')) => return self.event(at).map(Some),
                    Some((at, _)) => return broken(at, "an event is an object"),
                    None => return broken(self.text, "the file ends within an array"),
                },
                (State::First, b'{') => return self.event(at).map(Some),
                (State::First, _) => return broken(at, "an event is an object"),
                (State::Behind, _) => return broken(at, "between two events of an array is a comma"),
            }
        }
    }
}

impl<R: BufRead> Array<R> {
    fn event(&mut self, at: Text) -> Result<Item, Stop> {
        self.state = State::Behind;
        Ok(match self.object()? {
            Some(object) => self.records.read(at, &object),
            None => Item::Mistake(at.mistake(format!("an event has at most {TEXT_BYTES_MAX} bytes"))),
        })
    }
}

/// Columns that are called as fields of an event: `actor_id`, `geo_location.country`. A cell that is empty is a field that is absent.
struct Csv<R: Read> {
    rows: csv::Reader<Bounded<R>>,
    row: csv::StringRecord,
    columns: Vec<String>,
    /// Lines before the header.
    before: usize,
    records: Records,
}

/// Fields whose values are numbers.
const NUMBERS: [&str; 4] =
    ["failed_attempt_count", "geo_location.asn", "geo_location.lat", "geo_location.lon"];

impl<R: BufRead> Csv<R> {
    fn open(input: R, line: usize, records: Records) -> Result<Self, Stop> {
        let begin = Text { line, column: 1 };
        let rows = csv::ReaderBuilder::new().from_reader(Bounded { input, since_row: 0 });
        let mut csv = Self {
            rows,
            row: csv::StringRecord::new(),
            columns: Vec::new(),
            before: line.saturating_sub(1),
            records,
        };
        let header = csv.rows.headers().map_err(|error| stop(error, csv.before))?;
        csv.columns = header.iter().map(|name| name.trim().to_owned()).collect();
        if !csv.columns.iter().any(|name| name == "event_type") || csv.columns.len() > COLUMNS_MAX {
            let what = "neither JSON (an array, or an object in each line) nor CSV with a header that has `event_type`";
            return Err(Stop::Broken(begin.mistake(what)));
        }
        Ok(csv)
    }

    fn json(&self) -> Map<String, Value> {
        let mut event = Map::new();
        for (name, cell) in self.columns.iter().zip(&self.row) {
            let cell = cell.trim();
            if cell.is_empty() || name.is_empty() {
                continue;
            }
            let number =
                NUMBERS.contains(&name.as_str()).then(|| cell.parse::<serde_json::Number>().ok()).flatten();
            let value = number.map_or_else(|| Value::from(cell), Value::Number);
            match name.split_once('.') {
                None => event.insert(name.clone(), value),
                Some((outer, inner)) => match event.entry(outer).or_insert_with(|| Map::new().into()) {
                    Value::Object(object) => object.insert(inner.to_owned(), value),
                    _ => None,
                },
            };
        }
        event
    }
}

impl<R: BufRead> Source for Csv<R> {
    fn next(&mut self) -> Result<Option<Item>, Stop> {
        self.rows.get_mut().since_row = 0;
        match self.rows.read_record(&mut self.row) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => match error.kind() {
                csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                    let line = self.line(pos.as_ref());
                    let message = format!("the row has {len} columns, the header {expected_len}");
                    return Ok(Some(Item::Mistake(Mistake { line, column: 1, message })));
                }
                csv::ErrorKind::Utf8 { pos, .. } => {
                    let message = "the row is no UTF-8".to_owned();
                    let line = self.line(pos.as_ref());
                    return Ok(Some(Item::Mistake(Mistake { line, column: 1, message })));
                }
                _ => return Err(stop(error, self.before)),
            },
        }
        let at = Text { line: self.line(self.row.position()), column: 1 };
        let json =
            serde_json::to_vec(&self.json()).map_err(|error| Stop::Broken(at.mistake(error.to_string())))?;
        Ok(Some(match self.records.read(at, &json) {
            // Places within what was made of the row are of no use to anybody; which column it is says the pointer.
            Item::Mistake(mistake) => {
                let pointer = mistake.message.split(": ").next().unwrap_or_default();
                let name = pointer.trim_start_matches('/').replace('/', ".");
                let column = self.columns.iter().position(|column| *column == name).map_or(1, |at| at + 1);
                Item::Mistake(Mistake { line: at.line, column, ..mistake })
            }
            other => other,
        }))
    }
}

impl<R: Read> Csv<R> {
    fn line(&self, position: Option<&csv::Position>) -> usize {
        let line = position.map_or(1, csv::Position::line);
        usize::try_from(line).unwrap_or(usize::MAX).saturating_add(self.before)
    }
}

fn stop(error: csv::Error, before: usize) -> Stop {
    let line = error.position().map_or(1, csv::Position::line);
    let line = usize::try_from(line).unwrap_or(usize::MAX).saturating_add(before);
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            let message = format!("a row has at most {ROW_BYTES_MAX} bytes: a quotation mark may be missing");
            Stop::Broken(Mistake { line, column: 1, message })
        }
        csv::ErrorKind::Io(error) => Stop::Unreadable(error),
        other => Stop::Broken(Mistake { line, column: 1, message: format!("{other:?}") }),
    }
}

/// Reads no further where a row does not end.
struct Bounded<R> {
    input: R,
    since_row: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row > ROW_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.input.read(buffer)?;
        self.since_row = self.since_row.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = r#"{"event_type":"login.failure","timestamp":"2026-01-31T09:15:27.042Z","actor_id":"alice","outcome":"failure","source_ip":"203.0.113.7"}"#;

    /// Tenant, offset and actor of each event; mistakes; why it stopped.
    type Read = (Vec<(String, u64, String)>, Vec<String>, Option<String>);

    fn read(text: &str) -> Read {
        let now = "2026-02-01T00:00:00Z".parse().unwrap();
        let (mut events, mut mistakes) = (Vec::new(), Vec::new());
        let place = |mistake: Mistake| format!("{}:{} {}", mistake.line, mistake.column, mistake.message);
        // In small blocks: nothing may hang on where one ends.
        let input = io::BufReader::with_capacity(4, text.as_bytes());
        let mut source = match open(input, TenantId::new("file").unwrap(), now) {
            Ok(source) => source,
            Err(Stop::Broken(mistake)) => return (events, mistakes, Some(place(mistake))),
            Err(Stop::Unreadable(error)) => panic!("{error}"),
        };
        loop {
            match source.next() {
                Ok(Some(Item::Event(tenant, record))) => {
                    let actor = record.event.actor().to_string();
                    events.push((tenant.to_string(), record.offset.as_u64(), actor));
                }
                Ok(Some(Item::Repeated)) => mistakes.push("repeated".to_owned()),
                Ok(Some(Item::Mistake(mistake))) => mistakes.push(place(mistake)),
                Ok(None) => return (events, mistakes, None),
                Err(Stop::Broken(mistake)) => return (events, mistakes, Some(place(mistake))),
                Err(Stop::Unreadable(error)) => panic!("{error}"),
            }
        }
    }

    fn actors(text: &str) -> Vec<String> {
        let (events, mistakes, stop) = read(text);
        assert_eq!((mistakes, stop), (Vec::new(), None), "{text}");
        events.into_iter().map(|(_, _, actor)| actor).collect()
    }

    #[test]
    fn lines_arrays_and_csv_hold_the_same_events() {
        let bob = ALICE.replace("alice", "b\\\"o}b");
        for text in [
            format!("{ALICE}\n\n  {bob}\r\n"),
            format!("{ALICE}\n{bob}"),
            format!("[{ALICE},{bob}]"),
            format!(" \n[\n  {ALICE}\n , {bob} ]\n\n"),
            format!("\u{feff}{ALICE}\n{bob}\n"),
        ] {
            assert_eq!(actors(&text), ["alice", "b\"o}b"]);
        }
        let csv = "event_type, timestamp,actor_id,outcome,source_ip,geo_location.country,geo_location.lat,geo_location.lon\n\
                   login.failure,2026-01-31T09:15:27.042Z,alice,failure,203.0.113.7,DE,52.5,13.4\n\
                   login.success,2026-01-31T09:15:28.042Z,\"b\"\"o}b\",success,,,,\n";
        assert_eq!(actors(csv), ["alice", "b\"o}b"]);
        assert_eq!(actors("[]"), [""; 0]);
        assert_eq!(actors(""), [""; 0]);
    }

    #[test]
    fn what_a_log_added_is_taken_as_it_was_and_what_comes_again_is_told() {
        let with = |offset: &str| {
            ALICE.replacen('{', &format!("{{\"tenant_id\":\"acme\",\"offset\":\"{offset}\","), 1)
        };
        let text =
            [with("000000000000000a"), with("0000000000000014"), with("000000000000000a"), ALICE.to_owned()];
        let (events, mistakes, stop) = read(&text.join("\n"));
        let places: Vec<_> = events.iter().map(|(tenant, offset, _)| (tenant.as_str(), *offset)).collect();
        assert_eq!(
            (places, mistakes, stop),
            (vec![("acme", 10), ("acme", 20), ("file", 1)], vec!["repeated".to_owned()], None)
        );
    }

    #[test]
    fn an_offset_that_nothing_can_come_after_keeps_no_other_event_out() {
        let with = |more: &str| ALICE.replacen('{', &format!("{{\"tenant_id\":\"acme\",{more}"), 1);
        let text = [with("\"offset\":\"ffffffffffffffff\","), with("")];
        let (events, mistakes, stop) = read(&text.join("\n"));
        assert_eq!((events.len(), mistakes.len(), stop), (1, 1, None));
        assert!(mistakes[0].contains("nothing can come after it"), "{mistakes:?}");
    }

    #[test]
    fn a_mistake_has_its_place_and_keeps_no_other_event_out() {
        let broken = ALICE.replace("203.0.113.7", "nowhere");
        let at = broken.find("nowhere").unwrap();
        let (events, mistakes, stop) = read(&format!("{ALICE}\n  {broken}\n{ALICE}\n{{\n"));
        assert_eq!((events.len(), stop), (2, None));
        assert_eq!(mistakes.len(), 2);
        // The place is where the value ends, as JSON parsers say it.
        let column: usize = mistakes[0].split([':', ' ']).nth(1).unwrap().parse().unwrap();
        assert!(mistakes[0].starts_with("2:") && (at + 2..at + 15).contains(&column), "{mistakes:?}");
        assert!(mistakes[0].contains("/source_ip") && !mistakes[0].contains("nowhere"));
        assert!(mistakes[1].starts_with("4:"), "{mistakes:?}");
        let (events, mistakes, stop) = read(&format!("[{ALICE},\n {broken},\n{ALICE}]"));
        assert_eq!((events.len(), stop), (2, None));
        assert!(mistakes[0].starts_with("2:"), "{mistakes:?}");
        let csv = "actor_id,event_type,timestamp,outcome,source_ip\nalice,login.failure,2026-01-31T09:15:27.042Z,failure,nowhere\n\
                   bob,login.failure\ncarol,login.failure,2026-01-31T09:15:27.042Z,failure,\n";
        let (events, mistakes, stop) = read(csv);
        assert_eq!((events.len(), stop), (1, None));
        assert!(
            mistakes[0].starts_with("2:5 /source_ip") && mistakes[1].starts_with("3:1 the row has 2"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn where_the_next_event_begins_cannot_be_told_reading_stops_with_the_place() {
        for (text, stop) in [
            (format!("[{ALICE} {ALICE}]"), "between two events"),
            (format!("[{ALICE},]"), "an event is an object"),
            (format!("[{ALICE}"), "the file ends within an array"),
            (format!("[{}", ALICE.trim_end_matches('}')), "the file ends within an event"),
            (format!("[{ALICE}] x"), "nothing may stand behind"),
            ("hello\nworld\n".to_owned(), "1:1 neither JSON"),
            (format!("event_type,actor_id\n\"{}", "x\n".repeat(200_000)), "a row has at most"),
        ] {
            let (_, _, stopped) = read(&text);
            assert!(stopped.as_ref().is_some_and(|said| said.contains(stop)), "{stop}: {stopped:?}");
        }
    }

    #[test]
    fn no_line_and_no_object_is_taken_whole_however_long_it_is() {
        let long = ALICE.replace("alice", &"x".repeat(100_000));
        for text in [format!("{long}\n{ALICE}\n"), format!("[{long},{ALICE}]")] {
            let (events, mistakes, stop) = read(&text);
            assert_eq!((events.len(), mistakes.len(), stop), (1, 1, None));
            assert!(mistakes[0].contains("at most"), "{mistakes:?}");
        }
    }

    #[test]
    fn whatever_a_file_holds_it_is_read_to_an_end() {
        let header =
            "event_type,timestamp,actor_id,outcome\nlogin.failure,2026-01-31T09:15:27.042Z,alice,failure\n";
        let whole = [format!("{ALICE}\n{ALICE}\n"), format!("[{ALICE},{ALICE}]"), header.to_owned()];
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 0..3_000 {
            let mut bytes = whole[round % whole.len()].clone().into_bytes();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(0..bytes.len());
                match rng.u8(0..3) {
                    0 => bytes[at] = rng.u8(..),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, *rng.choice(b"{}[]\",\\\n ").unwrap()),
                }
            }
            let now = "2026-02-01T00:00:00Z".parse().unwrap();
            let input = io::BufReader::with_capacity(7, bytes.as_slice());
            let Ok(mut source) = open(input, TenantId::new("file").unwrap(), now) else { continue };
            // Never more than there are bytes.
            assert!((0..=bytes.len()).any(|_| !matches!(source.next(), Ok(Some(_)))));
        }
    }
}
