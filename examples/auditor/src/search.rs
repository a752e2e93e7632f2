//! `search`: one line per event found.

use std::io::{self, Write};

use crate::position::Position;
use crate::record::{Record, piece};
use crate::story::{MAY_HOLD_A_SECRET, time};
use crate::terminal::{Paint, Palette, inert, inert_bytes};

/// Characters of a command or message on a result's line.
const COLUMNS_MAX: usize = 1_000;

/// Bytes of terminal output that are shown before and after what was looked for.
const AROUND_BYTES: usize = 60;

/// Prints a result: time, actor, target, session, type, outcome, then the command and why, and how to watch it.
pub(crate) fn print(
    out: &mut dyn Write,
    record: &Record,
    wanted: &str,
    position: Option<&Position>,
    palette: Palette,
) -> io::Result<()> {
    let word =
        |name: &str| record.text(name).map_or_else(|| "-".to_owned(), |text| inert(&text).into_owned());
    let outcome = word("outcome");
    let paint = match outcome.as_str() {
        "success" => Paint::Green,
        "blocked" | "failure" => Paint::Red,
        _ => Paint::Yellow,
    };
    write!(
        out,
        "{}  {:12}  {:12}  {:36}  {:18}  {}",
        palette.paint(Paint::Dim, &time(record.timestamp)),
        word("actor_id"),
        word("target_id"),
        word("session_id"),
        inert(record.event_type()),
        palette.paint(paint, &format!("{outcome:8}")),
    )?;
    let mut marked = false;
    if let Some(command) = record.command() {
        write!(out, "  {}", palette.paint(Paint::Bold, &cut(&inert_bytes(&command))))?;
        marked |= record.command_is_sensitive();
    }
    for name in ["request", "asked", "address"] {
        if let Some(value) = record.text(name) {
            write!(out, "  {}", cut(&inert(&value)))?;
            marked |= record.is_sensitive(name);
        }
    }
    if matches!(record.event_type(), "terminal.output" | "terminal.input") {
        let name = if record.value("text").is_some() { "text" } else { "base64" };
        let bytes = match record.is_hidden(name) {
            true => record.str(name).unwrap_or_default().as_bytes().to_vec(),
            false => piece(&record.to_json()).unwrap_or_default(),
        };
        write!(out, "  {}", inert_bytes(around(&bytes, wanted.as_bytes())))?;
        marked |= record.is_sensitive(name);
    }
    let why: Vec<String> = ["reason", "message"]
        .into_iter()
        .filter_map(|name| {
            marked |= record.value(name).is_some() && record.is_sensitive(name);
            Some(cut(&inert(&record.text(name)?)))
        })
        .collect();
    if !why.is_empty() {
        write!(out, "  {}", palette.paint(Paint::Dim, &format!("[{}]", why.join(": "))))?;
    }
    if marked {
        write!(out, "  {}", palette.paint(Paint::Yellow, MAY_HOLD_A_SECRET))?;
    }
    if let Some(position) = position {
        write!(out, "  {}", palette.paint(Paint::Dim, &format!("play: {}", position.command())))?;
    }
    writeln!(out)
}

/// What was looked for, and a little before and after it; the beginning where it stands in another field.
fn around<'a>(bytes: &'a [u8], wanted: &[u8]) -> &'a [u8] {
    let at = match wanted.len() {
        0 => None,
        length => bytes.windows(length).position(|window| window == wanted),
    };
    let at = at.unwrap_or(0);
    let begin = at.saturating_sub(AROUND_BYTES);
    let end = at.saturating_add(wanted.len()).saturating_add(AROUND_BYTES).min(bytes.len());
    bytes.get(begin..end).unwrap_or(bytes)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(COLUMNS_MAX) {
        Some((end, _)) => format!("{}… (--json has all of it)", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}
