//! `search`: one line per event found.

use std::io::{self, Write};

use crate::record::Record;
use crate::story::{MAY_HOLD_A_SECRET, time};
use crate::terminal::{Paint, Palette, inert, inert_bytes};

/// Characters of a command or message on a result's line.
const COLUMNS_MAX: usize = 1_000;

/// Prints a result: time, actor, target, session, type, outcome, then the command and why.
pub(crate) fn print(out: &mut dyn Write, record: &Record, palette: Palette) -> io::Result<()> {
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
    writeln!(out)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(COLUMNS_MAX) {
        Some((end, _)) => format!("{}… (--json has all of it)", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}
