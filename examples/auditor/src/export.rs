//! `export --cast`: a recording as asciicast v2.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use audit_log::Query;
use serde_json::json;
use session_filter::recording::Cast;

use crate::failure::{Failure, INCOMPLETE};
use crate::film::Film;
use crate::trail::Trail;
use crate::{json, say};

/// Writes the recording to `out`.
pub(crate) fn write(trail: &Trail, film: &Film, out: &mut dyn Write) -> Result<(), Failure> {
    let mut cast = Cast::new(&film.recording.id).titled(&film.title);
    let mut lines = String::new();
    for record in trail.search(Query::all().session(&film.session))? {
        cast.take(record?.fields(), &mut lines);
        out.write_all(json::escaped(&lines).as_bytes())?;
        lines.clear();
    }
    cast.finish(&mut lines);
    out.write_all(json::escaped(&lines).as_bytes())?;
    Ok(out.flush()?)
}

/// Writes the recording to a new file, which only its owner may read. Where that fails, no file is left behind that could pass for
/// a recording.
pub(crate) fn write_file(trail: &Trail, film: &Film, path: &Path) -> Result<(), Failure> {
    let unusable =
        |error: &io::Error| Failure::Unusable(format!("cannot write `{}`: {error}", path.display()));
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| unusable(&error))?;
    let mut out = BufWriter::new(file);
    let written = write(trail, film, &mut out).and_then(|()| Ok(out.get_ref().sync_all()?));
    written.map_err(|failure| {
        // Whether or not it can be removed, the failure is what matters.
        let _ = fs::remove_file(path);
        match failure {
            Failure::Output(error) => unusable(&error),
            other => other,
        }
    })
}

/// Says what is missing, and which exit status says so.
pub(crate) fn verdict(film: &Film) -> u8 {
    for complaint in film.complaints() {
        say(&format!("recording {}: {complaint}", film.number));
    }
    if film.recording.is_whole() { 0 } else { INCOMPLETE }
}

/// What was exported, for `--json`.
pub(crate) fn summary(film: &Film, path: &Path) -> serde_json::Value {
    json!({
        "file": path.to_string_lossy(),
        "session_id": film.session,
        "recording_id": film.recording.id,
        "duration_ms": film.recording.duration_ms,
        "output_bytes": film.recording.output_bytes,
        "commands": film.recording.commands,
        "whole": film.recording.is_whole(),
        "flaws": film.complaints(),
    })
}
