//! A session told as a story: who was where and why, then what happened, in order.

mod terminals;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use self::terminals::Terminals;
use crate::record::{Record, piece};
use crate::terminal::{Paint, Palette, inert, inert_bytes, inert_lines};

/// Lines of each output stream that are shown.
const HEAD_LINES_MAX: usize = 20;
/// Characters of each of these lines.
const HEAD_COLUMNS_MAX: usize = 300;
/// Bytes of each stream that are put together from `command.output` events, where no summary was recorded.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What stands after a field that may hold a secret.
pub(crate) const MAY_HOLD_A_SECRET: &str = "(may hold a secret)";

/// Tells a session from its events, in the order of the log.
pub(crate) fn tell(
    out: &mut dyn Write,
    session: &str,
    records: &[Record],
    palette: Palette,
) -> io::Result<()> {
    Story::new(session, records, palette).tell(out)
}

/// A time to read: UTC, milliseconds.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A size to read, in bytes below 10 000 and in binary units above.
pub(crate) fn size(bytes: u64) -> String {
    let mut whole = bytes;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 10_000 {
            break;
        }
        whole /= 1024;
        unit = next;
    }
    format!("{whole} {unit}")
}

/// A number of things to read: `1 command`, `2 commands`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A duration to read.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

struct Story<'a> {
    session: &'a str,
    records: &'a [Record],
    palette: Palette,
    /// How each command ended, by the id that ties its events together.
    endings: HashMap<&'a str, &'a Record>,
    /// The commands of which the beginning was recorded.
    beginnings: HashSet<&'a str>,
    terminals: Terminals,
}

impl<'a> Story<'a> {
    fn new(session: &'a str, records: &'a [Record], palette: Palette) -> Self {
        let ids = |event_type: &'static str| {
            let of_type = records.iter().filter(move |record| record.event_type() == event_type);
            of_type.filter_map(|record| Some((record.str("correlation_id")?, record)))
        };
        Self {
            session,
            records,
            palette,
            endings: ids("command.executed").collect(),
            beginnings: ids("command.started").map(|(id, _)| id).collect(),
            terminals: Terminals::of(records),
        }
    }

    fn tell(&self, out: &mut dyn Write) -> io::Result<()> {
        self.header(out)?;
        let mut day = String::new();
        for record in self.records {
            let known = |ids: &HashSet<&str>| record.str("correlation_id").is_some_and(|id| ids.contains(id));
            match record.event_type() {
                // In the header, or told where the command begins.
                "session.started" | "session.ended" => continue,
                "command.executed" | "command.output" if known(&self.beginnings) => continue,
                // For `play`; told in one line where the terminal begins.
                "terminal.output" | "terminal.input" | "terminal.resized" | "terminal.ended" => continue,
                _ => {}
            }
            let at = time(record.timestamp);
            let (date, clock) = at.split_once('T').unwrap_or(("", &at));
            if date != day {
                writeln!(out, "\n{}", self.palette.paint(Paint::Dim, date))?;
                day = date.to_owned();
            }
            let clock = self.palette.paint(Paint::Dim, clock);
            match record.event_type() {
                "command.started" => self.command(out, &clock.to_string(), record)?,
                "command.executed" => {
                    self.line(
                        out,
                        &clock.to_string(),
                        self.palette.paint(Paint::Bold, "$").to_string(),
                        record,
                    )?;
                    self.ending(out, record)?;
                }
                "command.blocked" => self.blocked(out, &clock.to_string(), record)?,
                "builtin.executed" => self.builtin(out, &clock.to_string(), record)?,
                "command.observed" => self.observed(out, &clock.to_string(), record)?,
                "terminal.started" => self.terminal(out, &clock.to_string(), record)?,
                _ => self.other(out, &clock.to_string(), record)?,
            }
        }
        Ok(())
    }

    fn header(&self, out: &mut dyn Write) -> io::Result<()> {
        let find = |event_type: &str| self.records.iter().find(|record| record.event_type() == event_type);
        let any = |name: &str| self.records.iter().find_map(|record| record.text(name));
        let (started, refused) = (find("session.started"), find("session.refused"));
        let (connected, ended) = (find("target.connected"), find("session.ended"));

        writeln!(out, "{} {}", self.palette.paint(Paint::Bold, "session"), inert(self.session))?;
        let mut row = |name: &str, value: String| match value.as_str() {
            "" => Ok(()),
            value => writeln!(out, "  {name:<9}{value}"),
        };
        let mut who =
            any("actor_id").map(|actor| inert(&actor).into_owned()).unwrap_or_else(|| "unknown".into());
        add(&mut who, " from ", any("source_ip"));
        add(&mut who, ", with ", started.and_then(|record| record.text("client")));
        row("who", who)?;
        let mut target = any("target_id").map(|target| inert(&target).into_owned()).unwrap_or_default();
        add(&mut target, " at ", connected.and_then(|record| record.text("address")));
        add(&mut target, " as ", connected.and_then(|record| record.text("account")));
        add(&mut target, ", host key ", connected.and_then(|record| record.text("host_key")));
        row("target", target)?;
        row("mode", any("mode").map(|mode| inert(&mode).into_owned()).unwrap_or_default())?;
        row("start", started.map(|record| time(record.timestamp)).unwrap_or_default())?;
        if let Some(refused) = refused {
            let refused = format!("{}{}", time(refused.timestamp), self.why(refused));
            row("refused", self.palette.paint(Paint::Red, &refused).to_string())?;
        }
        match ended {
            Some(ended) => {
                let mut end = time(ended.timestamp);
                if let Some(ms) = ended.number("duration_ms") {
                    end.push_str(&format!(", after {}", duration(ms)));
                }
                end.push_str(&self.why(ended));
                add(&mut end, ", by ", ended.text("ended_by"));
                row("end", end)?;
            }
            None if started.is_some() => {
                row("end", "not recorded: it goes on, or the proxy was killed".into())?
            }
            None => {}
        }
        // Counted here rather than taken from `session.ended`: what is told must add up with what follows.
        let of = |event_type: &str| {
            self.records.iter().filter(|record| record.event_type() == event_type).count() as u64
        };
        // Those on record as started, less those that were never sent: the session or the policy changed in between.
        let unsent = self
            .records
            .iter()
            .filter(|record| {
                record.event_type() == "command.executed" && record.str("outcome") == Some("blocked")
            })
            .count() as u64;
        let sent = of("command.started").saturating_sub(unsent);
        let (commands, blocked) = (count(sent, "command"), of("command.blocked"));
        row(
            "did",
            format!(
                "{commands}, {blocked} blocked, {} refused",
                count(of("request.refused"), "other request")
            ),
        )
    }

    /// A permitted command, how it went, and the beginning of what it wrote.
    fn command(&self, out: &mut dyn Write, clock: &str, record: &Record) -> io::Result<()> {
        self.line(out, clock, self.palette.paint(Paint::Bold, "$").to_string(), record)?;
        let mut verdict = "permitted".to_owned();
        add(&mut verdict, " by `", record.text("rule"));
        if record.value("rule").is_some() {
            verdict.push('`');
        }
        if let Some(line) = record.number("rule_line") {
            verdict.push_str(&format!(" (policy line {line})"));
        }
        add(&mut verdict, ", in ", record.text("directory"));
        verdict.push_str(&self.terminals.place(record));
        writeln!(out, "    {}", self.palette.paint(Paint::Dim, &verdict))?;
        let ending = record.str("correlation_id").and_then(|id| self.endings.get(id));
        match ending {
            Some(ending) => self.ending(out, ending),
            None => {
                let unknown = "no end recorded: it still runs, or nobody knows how it ended";
                writeln!(out, "    {}", self.palette.paint(Paint::Yellow, unknown))?;
                self.pieces(out, record.str("correlation_id"))
            }
        }
    }

    fn ending(&self, out: &mut dyn Write, record: &Record) -> io::Result<()> {
        let mut end = Vec::new();
        let status = record.number("exit_status");
        if let Some(status) = status {
            end.push(format!("exit {status}"));
        }
        if let Some(signal) = record.text("exit_signal") {
            end.push(format!("ended by signal {}", inert(&signal)));
        }
        if end.is_empty() {
            end.push(record.text("outcome").map(|outcome| inert(&outcome).into_owned()).unwrap_or_default());
        }
        if let Some(ms) = record.number("duration_ms") {
            end.push(duration(ms));
        }
        if let Some(bytes) = record.number("stdin_bytes") {
            end.push(format!("stdin {}", size(bytes)));
        }
        for stream in ["stdout", "stderr"] {
            let bytes = record.value(stream).and_then(|stream| stream.get("bytes")).and_then(Value::as_u64);
            end.push(format!("{stream} {}", size(bytes.unwrap_or(0))));
        }
        let paint = if status == Some(0) { Paint::Green } else { Paint::Yellow };
        writeln!(out, "    {}{}", self.palette.paint(paint, &end.join(", ")), self.why(record))?;
        for stream in ["stdout", "stderr"] {
            let Some(recorded) = record.value(stream) else { continue };
            let bytes = recorded.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            if let Some(head) = recorded.get("head").and_then(piece) {
                self.head(out, stream, &head, bytes)?;
            }
        }
        Ok(())
    }

    /// What is known of the output of a command whose end was not recorded.
    fn pieces(&self, out: &mut dyn Write, id: Option<&str>) -> io::Result<()> {
        for stream in ["stdout", "stderr"] {
            let (mut head, mut bytes) = (Vec::new(), 0);
            for record in self.records.iter().filter(|record| record.event_type() == "command.output") {
                if id.is_some() && record.str("correlation_id") == id && record.str("stream") == Some(stream)
                {
                    let piece = piece(&record.to_json()).unwrap_or_default();
                    bytes += piece.len() as u64;
                    let room = HEAD_BYTES_MAX.saturating_sub(head.len());
                    head.extend(piece.into_iter().take(room));
                }
            }
            if bytes > 0 {
                self.head(out, stream, &head, bytes)?;
            }
        }
        Ok(())
    }

    /// The beginning of a stream, indented.
    fn head(&self, out: &mut dyn Write, stream: &str, head: &[u8], bytes: u64) -> io::Result<()> {
        let bar = if stream == "stderr" { "!" } else { "|" };
        let lines = inert_lines(head);
        for line in lines.iter().take(HEAD_LINES_MAX) {
            let cut = if line.chars().nth(HEAD_COLUMNS_MAX).is_some() { " …" } else { "" };
            let line: String = line.chars().take(HEAD_COLUMNS_MAX).collect();
            writeln!(out, "    {} {line}{cut}", self.palette.paint(Paint::Dim, bar))?;
        }
        let more = lines.len().saturating_sub(HEAD_LINES_MAX);
        let rest = bytes.saturating_sub(head.len() as u64);
        let mut left_out = Vec::new();
        if more > 0 {
            left_out.push(format!("{more} more lines recorded"));
        }
        if rest > 0 {
            left_out.push(format!("{} more of {stream} followed", size(rest)));
        }
        if !left_out.is_empty() {
            let left_out = format!("… {}", left_out.join("; "));
            writeln!(out, "    {}", self.palette.paint(Paint::Dim, &left_out))?;
        }
        Ok(())
    }

    fn blocked(&self, out: &mut dyn Write, clock: &str, record: &Record) -> io::Result<()> {
        self.line(out, clock, self.palette.paint(Paint::Red, "✗").to_string(), record)?;
        let how = format!("blocked, never sent{}", self.terminals.place(record));
        writeln!(out, "    {}{}", self.palette.paint(Paint::Red, &how), self.why(record))
    }

    /// A line that the prompt answered by itself.
    fn builtin(&self, out: &mut dyn Write, clock: &str, record: &Record) -> io::Result<()> {
        self.line(out, clock, self.palette.paint(Paint::Bold, "$").to_string(), record)?;
        let mut answer = "answered by the prompt".to_owned();
        add(&mut answer, ", in ", record.text("directory"));
        answer.push_str(&self.terminals.place(record));
        writeln!(out, "    {}{}", self.palette.paint(Paint::Dim, &answer), self.why(record))
    }

    /// A line that was seen on a raw terminal.
    fn observed(&self, out: &mut dyn Write, clock: &str, record: &Record) -> io::Result<()> {
        self.line(out, clock, self.palette.paint(Paint::Yellow, "?").to_string(), record)?;
        let mut how = "seen on the terminal, not certain".to_owned();
        add(&mut how, ", by ", record.text("observed_by"));
        if let Some(status) = record.number("exit_status") {
            how.push_str(&format!(", exit {status}"));
        }
        how.push_str(&self.terminals.place(record));
        writeln!(out, "    {}{}", self.palette.paint(Paint::Dim, &how), self.why(record))
    }

    /// A terminal, and how to watch it.
    fn terminal(&self, out: &mut dyn Write, clock: &str, record: &Record) -> io::Result<()> {
        let sign = self.palette.paint(Paint::Dim, "·");
        writeln!(out, "{clock}  {sign} {}", self.terminals.told(record))?;
        let play = self.terminals.play(self.session, record);
        writeln!(out, "    {}", self.palette.paint(Paint::Dim, &play))
    }

    /// Any other event: refused requests, connections to the target, warnings, and what we do not know yet.
    fn other(&self, out: &mut dyn Write, clock: &str, record: &Record) -> io::Result<()> {
        let stopped = matches!(record.str("outcome"), Some("blocked" | "failure"));
        let sign = if stopped {
            self.palette.paint(Paint::Red, "✗")
        } else {
            self.palette.paint(Paint::Dim, "·")
        };
        write!(out, "{clock}  {sign} {}", inert(record.event_type()))?;
        for name in ["method", "request", "asked", "address", "stream"] {
            if let Some(value) = record.text(name) {
                let mark =
                    if record.is_sensitive(name) { format!(" {MAY_HOLD_A_SECRET}") } else { String::new() };
                write!(out, " {}{}", inert(&value), self.palette.paint(Paint::Yellow, &mark))?;
            }
        }
        let outcome = record.text("outcome").unwrap_or_default();
        writeln!(out, ": {}{}", inert(&outcome), self.why(record))
    }

    /// The line of a command: time, sign, text.
    fn line(&self, out: &mut dyn Write, clock: &str, sign: String, record: &Record) -> io::Result<()> {
        let command =
            record.command().map(|line| inert_bytes(&line)).unwrap_or_else(|| "(line not recorded)".into());
        write!(out, "{clock}  {sign} {}", self.palette.paint(Paint::Bold, &command))?;
        if let Some(bytes) = record.number("command_bytes") {
            write!(out, " … ({bytes} bytes in all)")?;
        }
        if record.value("redacted") == Some(&Value::Bool(true)) {
            write!(out, " (redacted by rule)")?;
        }
        if record.command_is_sensitive() {
            write!(out, " {}", self.palette.paint(Paint::Yellow, MAY_HOLD_A_SECRET))?;
        }
        writeln!(out)
    }

    /// Reason and message of an event, where it has them: `: no_rule, no rule permits `rm``.
    fn why(&self, record: &Record) -> String {
        let mut why = String::new();
        add(&mut why, ": ", record.text("reason"));
        if let Some(message) = record.text("message") {
            why.push_str(if why.is_empty() { ": " } else { ", " });
            why.push_str(&inert(&message));
            // The line itself was marked already.
            if record.is_sensitive("message") && !record.command_is_sensitive() {
                why.push_str(&format!(" {MAY_HOLD_A_SECRET}"));
            }
        }
        why
    }
}

fn add(text: &mut String, before: &str, value: Option<std::borrow::Cow<'_, str>>) {
    if let Some(value) = value {
        text.push_str(before);
        text.push_str(&inert(&value));
    }
}

#[cfg(test)]
mod tests;
