//! A snapshot as CSV: what HR systems write.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::source::{Entry, SNAPSHOT_ENTRIES_MAX, Snapshot};
use crate::id::PersonId;
use crate::mistake::{MISTAKES_MAX, Mistake, TextError, mistake, shown};

/// Most bytes of one feed.
pub const FEED_BYTES_MAX: usize = 1 << 30;
/// Most columns of one feed.
pub const FEED_COLUMNS_MAX: usize = 256;
/// Most bytes of one field.
const FIELD_BYTES_MAX: usize = 16 * 1024;

/// Which column says what. All others are attributes by their header.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The identifier of the person.
    pub person: String,
    /// Whether the person works here. Without it, everyone who is named does.
    #[serde(default)]
    pub status: Option<Status>,
    /// The last day of the contract, as `2026-12-31`; empty where it does not end.
    #[serde(default)]
    pub last_day: Option<String>,
    /// Whether the last line must end with a line break. A feed that was cut short often does not.
    #[serde(default = "yes")]
    pub ends_with_line_break: bool,
}

fn yes() -> bool {
    true
}

/// The column that says whether a person works here. A value in neither list is a mistake: a new word for having left must not
/// pass for working here, nor the other way round.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Its header.
    pub column: String,
    /// Values of who works here.
    pub works_here: Vec<String>,
    /// Values of who does not.
    pub left: Vec<String>,
}

impl Columns {
    /// The person's identifier in this column, and nothing else that is special.
    pub fn of_person(column: impl Into<String>) -> Self {
        Self { person: column.into(), status: None, last_day: None, ends_with_line_break: true }
    }
}

impl Snapshot {
    /// Reads a feed: UTF-8 (with or without a byte order mark), a header, commas, quotes as in RFC 4180.
    ///
    /// # Errors
    /// With every mistake found, up to [`MISTAKES_MAX`], each with line and column. A feed with a mistake is no snapshot: whom
    /// the bad line named would seem to have left.
    pub fn from_csv(feed: &[u8], columns: &Columns) -> Result<Self, TextError> {
        let whole = |line, column, message: &str| {
            Err(TextError::new(vec![Mistake { line, column, message: shown(message) }]))
        };
        if feed.len() > FEED_BYTES_MAX {
            return whole(1, 1, &format!("the feed is longer than {FEED_BYTES_MAX} bytes"));
        }
        let feed = feed.strip_prefix(b"\xef\xbb\xbf").unwrap_or(feed);
        let text = match std::str::from_utf8(feed) {
            Ok(text) => text,
            Err(error) => {
                let before =
                    feed.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok());
                let before = before.unwrap_or_default();
                return Err(TextError::new(vec![mistake(before, before.len(), "this is not UTF-8")]));
            }
        };
        let last_line = text.lines().count().max(1);
        if columns.ends_with_line_break && !text.is_empty() && !text.ends_with(['\n', '\r']) {
            return whole(last_line, 1, "the last line has no line break: the feed may be cut short");
        }
        // Each quote that opens has one that closes, and one within a field is written twice.
        if !text.bytes().filter(|byte| *byte == b'"').count().is_multiple_of(2) {
            return whole(last_line, 1, "a quote is not closed: the feed may be cut short");
        }
        Reader { text, columns, mistakes: Vec::new() }.read()
    }
}

struct Reader<'a> {
    text: &'a str,
    columns: &'a Columns,
    mistakes: Vec<Mistake>,
}

/// What a column is for.
enum Use {
    Person,
    Status,
    LastDay,
    Attribute(String),
}

impl Reader<'_> {
    fn mistake(&mut self, offset: usize, message: impl AsRef<str>) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake(self.text, offset, message.as_ref()));
        }
    }

    fn read(mut self) -> Result<Snapshot, TextError> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(self.text.as_bytes());
        let mut record = csv::StringRecord::new();
        let header = match reader.read_record(&mut record) {
            Ok(true) => self.header(&record),
            Ok(false) => {
                self.mistake(0, "the header is missing");
                Vec::new()
            }
            Err(_) => {
                self.mistake(0, "the header cannot be read");
                Vec::new()
            }
        };
        if !self.mistakes.is_empty() {
            return Err(TextError::new(self.mistakes));
        }
        let mut entries = Vec::new();
        let mut lines: HashMap<PersonId, u64> = HashMap::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let at = error.position().map_or(0, csv::Position::byte);
                    self.mistake(usize::try_from(at).unwrap_or(0), "this line cannot be read");
                    break;
                }
            }
            let (start, line) =
                record.position().map_or((0, 0), |position| (position.byte(), position.line()));
            let start = self.skip_breaks(usize::try_from(start).unwrap_or(0));
            if entries.len() >= SNAPSHOT_ENTRIES_MAX {
                self.mistake(start, format!("there are more than {SNAPSHOT_ENTRIES_MAX} persons"));
                break;
            }
            if let Some(entry) = self.entry(&record, &header, start) {
                match lines.insert(entry.person.clone(), line) {
                    None => entries.push(entry),
                    Some(first) => {
                        self.mistake(start, format!("`{}` was in line {first} already", entry.person))
                    }
                }
            }
            if self.mistakes.len() >= MISTAKES_MAX {
                break;
            }
        }
        if self.mistakes.is_empty() {
            match Snapshot::of(entries) {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => self.mistake(0, error.to_string()),
            }
        }
        Err(TextError::new(self.mistakes))
    }

    /// The reader counts empty lines to the record that follows them.
    fn skip_breaks(&self, start: usize) -> usize {
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        start.saturating_add(rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count())
    }

    fn header(&mut self, record: &csv::StringRecord) -> Vec<Use> {
        let columns = self.columns;
        if record.len() > FEED_COLUMNS_MAX {
            self.mistake(0, format!("there are more than {FEED_COLUMNS_MAX} columns"));
            return Vec::new();
        }
        let mut uses = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        let status = columns.status.as_ref().map(|status| status.column.as_str());
        for (at, name) in record.iter().enumerate() {
            let name = name.trim();
            let offset = self.field_start(0, at);
            if name.is_empty() {
                self.mistake(offset, "a column has no name");
            }
            if known.insert(name, at).is_some() {
                self.mistake(offset, format!("two columns are called `{name}`"));
            }
            uses.push(match name {
                _ if name == columns.person => Use::Person,
                _ if Some(name) == status => Use::Status,
                _ if Some(name) == columns.last_day.as_deref() => Use::LastDay,
                _ => Use::Attribute(name.to_owned()),
            });
        }
        let needed = [Some(columns.person.as_str()), status, columns.last_day.as_deref()];
        for name in needed.into_iter().flatten().filter(|name| !known.contains_key(name)) {
            self.mistake(0, format!("no column is called `{name}`"));
        }
        uses
    }

    fn entry(&mut self, record: &csv::StringRecord, header: &[Use], start: usize) -> Option<Entry> {
        let before = self.mistakes.len();
        if record.len() != header.len() {
            let (some, needed) = (record.len(), header.len());
            self.mistake(start, format!("there are {some} fields, and the header has {needed}"));
            return None;
        }
        let mut person = None;
        let (mut works_here, mut last_day) = (true, None);
        let mut attributes = BTreeMap::new();
        for (at, (field, column)) in record.iter().zip(header).enumerate() {
            if field.len() > FIELD_BYTES_MAX {
                let offset = self.field_start(start, at);
                self.mistake(offset, format!("the field is longer than {FIELD_BYTES_MAX} bytes"));
                continue;
            }
            let wrong = match column {
                Use::Person => {
                    PersonId::new(field.trim()).map(|id| person = Some(id)).err().map(|e| e.to_string())
                }
                Use::Status => self.status(field.trim()).map(|it| works_here = it).err(),
                Use::LastDay if field.trim().is_empty() => None,
                Use::LastDay => match NaiveDate::parse_from_str(field.trim(), "%Y-%m-%d") {
                    Ok(day) => {
                        last_day = Some(day);
                        None
                    }
                    Err(_) => Some(format!("`{}` is not a date such as 2026-12-31", field.trim())),
                },
                Use::Attribute(name) => {
                    if !field.is_empty() {
                        attributes.insert(name.clone(), field.to_owned());
                    }
                    None
                }
            };
            if let Some(wrong) = wrong {
                let offset = self.field_start(start, at);
                self.mistake(offset, wrong);
            }
        }
        let person = person.filter(|_| self.mistakes.len() == before)?;
        Some(Entry { person, works_here, last_day, attributes })
    }

    fn status(&self, value: &str) -> Result<bool, String> {
        let Some(status) = &self.columns.status else { return Ok(true) };
        let within = |values: &[String]| values.iter().any(|known| known == value);
        match (within(&status.works_here), within(&status.left)) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            (true, true) => Err(format!("`{value}` is said to mean both working here and having left")),
            (false, false) => Err(format!("`{value}` is not known to mean working here or having left")),
        }
    }

    /// Where the field begins in the text. Only mistakes need it.
    fn field_start(&self, record_start: usize, field: usize) -> usize {
        let rest = self.text.as_bytes().get(record_start..).unwrap_or_default();
        let (mut quoted, mut fields) = (false, 0_usize);
        for (at, byte) in rest.iter().enumerate() {
            if fields == field {
                return record_start.saturating_add(at);
            }
            match byte {
                b'"' => quoted = !quoted,
                b',' if !quoted => fields = fields.saturating_add(1),
                b'\n' if !quoted => break,
                _ => {}
            }
        }
        record_start.saturating_add(rest.len()).min(self.text.len())
    }
}
