//! The log, open for reading.

use std::io;
use std::path::Path;

use audit_log::{FileKeys, FileStore, Query, Reader, Recorded, VerifierKey};

use crate::failure::Failure;
use crate::place::Place;
use crate::record::{Record, Sensitive};

/// The log with what it was opened with.
pub(crate) struct Trail {
    pub(crate) reader: Reader,
    /// From the keys directory; whoever wants more certainty gives one that was kept elsewhere.
    pub(crate) verifier_key: Option<VerifierKey>,
    sensitive: Sensitive,
    has_keys: bool,
}

impl Trail {
    /// Opens a log; without keys where there are none, or only the verifier key.
    pub(crate) fn open(place: &Place, sensitive: Sensitive) -> Result<Self, Failure> {
        let store = FileStore::read_only(&place.log).map_err(|error| {
            Failure::Unusable(format!("cannot open log `{}`: {error}", place.log.display()))
        })?;
        let trail = |reader, verifier_key, has_keys| Self { reader, verifier_key, sensitive, has_keys };
        let Some(directory) = &place.keys else {
            return Ok(trail(Reader::keyless(store), None, false));
        };
        let vkey = directory.join("log.vkey");
        let names_only_the_verifier = !has_epoch_key(directory)? && vkey.is_file();
        if names_only_the_verifier {
            return Ok(trail(Reader::keyless(store), Some(read_verifier_key(&vkey)?), false));
        }
        let keys = FileKeys::read_only(directory).map_err(|error| Failure::unusable(&error))?;
        let verifier_key = keys.verifier_key();
        Ok(trail(Reader::open(store, keys), verifier_key, true))
    }

    /// Events that match, one by one, in the order of the log.
    pub(crate) fn search(
        &self,
        query: Query,
    ) -> Result<impl Iterator<Item = Result<Record, Failure>> + '_, Failure> {
        if !self.has_keys {
            let text = "contents are encrypted and there are no keys: give their directory as `--keys DIR`";
            return Err(Failure::Unusable(text.into()));
        }
        let entries = self.reader.search(query)?;
        Ok(entries.map(|entry| Ok(self.record(&entry?))))
    }

    /// All events from one sequence number to another (both included), one by one.
    pub(crate) fn read(
        &self,
        from: u64,
        last: u64,
    ) -> Result<impl Iterator<Item = Result<Record, Failure>> + '_, Failure> {
        let entries = self.reader.read(from..=last)?;
        Ok(entries.map(|entry| Ok(self.record(&entry?))))
    }

    /// Whether fields that may hold a secret are left out.
    pub(crate) fn hides(&self) -> bool {
        self.sensitive == Sensitive::Hide
    }

    fn record(&self, entry: &Recorded) -> Record {
        let event = match entry.to_json() {
            serde_json::Value::Object(event) => event,
            // INVARIANT: an event is an object.
            _ => serde_json::Map::new(),
        };
        Record::new(entry.seq, entry.timestamp, event, self.sensitive)
    }
}

/// Reads a verifier key: `<origin>+<key id>+<base64>` on one line.
pub(crate) fn read_verifier_key(path: &Path) -> Result<VerifierKey, Failure> {
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::Unusable(format!("cannot read verifier key `{}`: {error}", path.display()))
    };
    let line = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
    line.trim_end().parse().map_err(|error: audit_log::VerifierKeyError| unusable(&error))
}

fn has_epoch_key(directory: &Path) -> Result<bool, Failure> {
    let unusable = |error: io::Error| {
        Failure::Unusable(format!("cannot read keys directory `{}`: {error}", directory.display()))
    };
    for entry in std::fs::read_dir(directory).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        if name.to_string_lossy().starts_with("epoch-") {
            return Ok(true);
        }
    }
    Ok(false)
}
