//! A session told as a story: who was where and why, then what happened, in order.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

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
        writeln!(out, "    {}{}", self.palette.paint(Paint::Red, "blocked, never sent"), self.why(record))
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
mod tests {
    use super::*;
    use crate::record::Sensitive;
    use crate::terminal::acts;
    use serde_json::json;

    fn told(events: &[Value]) -> String {
        let start: DateTime<Utc> = "2026-01-31T09:15:27.042Z".parse().unwrap();
        let records: Vec<Record> = (0u32..)
            .zip(events)
            .map(|(seq, event)| {
                let event = event.as_object().unwrap().clone();
                Record::new(
                    seq.into(),
                    start + chrono::TimeDelta::seconds(seq.into()),
                    event,
                    Sensitive::Mark,
                )
            })
            .collect();
        let mut out = Vec::new();
        tell(&mut out, "0198-session", &records, Palette::plain()).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn session() -> Vec<Value> {
        vec![
            json!({"event_type": "session.started", "actor_id": "alice", "target_id": "web-1", "source_ip": "203.0.113.7",
                   "mode": "exec-only", "client": "SSH-2.0-OpenSSH_9.2", "outcome": "success"}),
            json!({"event_type": "target.connected", "address": "10.0.0.5:22", "account": "app", "host_key": "SHA256:abc",
                   "outcome": "success"}),
            json!({"event_type": "command.started", "command": "uptime", "rule": "uptime", "rule_line": 12,
                   "correlation_id": "c1", "outcome": "success"}),
            json!({"event_type": "command.blocked", "command": "rm -rf /", "reason": "no_rule", "message": "no rule permits `rm`",
                   "sensitive": ["command", "command_base64", "message"], "outcome": "blocked", "correlation_id": "c2"}),
            json!({"event_type": "command.executed", "command": "uptime", "exit_status": 0, "duration_ms": 14, "stdin_bytes": 0,
                   "stdout": {"bytes": 20_000, "sha256": "00", "head": {"text": "up 3 days\nload 0.1\n"}},
                   "correlation_id": "c1", "outcome": "success"}),
            json!({"event_type": "request.refused", "request": "pty-req", "asked": "xterm", "sensitive": ["asked"],
                   "reason": "not_opened", "outcome": "blocked"}),
            json!({"event_type": "session.ended", "reason": "client_closed", "commands": 1, "commands_blocked": 1,
                   "requests_refused": 1, "duration_ms": 94_100, "outcome": "success"}),
        ]
    }

    #[test]
    fn tells_who_what_and_how_it_ended() {
        assert_eq!(
            told(&session()),
            "\
session 0198-session
  who      alice from 203.0.113.7, with SSH-2.0-OpenSSH_9.2
  target   web-1 at 10.0.0.5:22 as app, host key SHA256:abc
  mode     exec-only
  start    2026-01-31T09:15:27.042Z
  end      2026-01-31T09:15:33.042Z, after 1 min 34 s: client_closed
  did      1 command, 1 blocked, 1 other request refused

2026-01-31
09:15:28.042Z  · target.connected 10.0.0.5:22: success
09:15:29.042Z  $ uptime
    permitted by `uptime` (policy line 12)
    exit 0, 14 ms, stdin 0 B, stdout 19 KiB, stderr 0 B
    | up 3 days
    | load 0.1
    … 19 KiB more of stdout followed
09:15:30.042Z  ✗ rm -rf / (may hold a secret)
    blocked, never sent: no_rule, no rule permits `rm`
09:15:32.042Z  ✗ request.refused pty-req xterm (may hold a secret): blocked: not_opened
"
        );
    }

    #[test]
    fn a_command_without_an_end_says_so_and_shows_what_it_wrote() {
        let mut events = session();
        events.truncate(3);
        for text in ["one\ntw", "o\n"] {
            events.push(json!({"event_type": "command.output", "stream": "stdout", "text": text, "correlation_id": "c1"}));
        }
        let story = told(&events);
        assert!(story.contains("no end recorded"), "{story}");
        assert!(story.contains("    | one\n    | two\n"), "{story}");
        assert!(story.contains("end      not recorded"), "{story}");
    }

    #[test]
    fn an_end_without_a_beginning_is_told_too() {
        let story = told(&session()[4..5]);
        assert!(story.contains("$ uptime") && story.contains("exit 0"), "{story}");
    }

    #[test]
    fn unknown_events_are_named() {
        let story =
            told(&[json!({"event_type": "credential.issued", "outcome": "success", "reason": "lease"})]);
        assert!(story.contains("credential.issued: success: lease"), "{story}");
    }

    #[test]
    fn long_output_is_cut_and_says_so() {
        let text = "x".repeat(1000) + "\n" + &"line\n".repeat(100);
        let story = told(&[json!({"event_type": "command.executed", "command": "c", "exit_status": 1,
            "stderr": {"bytes": text.len(), "head": {"text": text}}})]);
        assert!(story.contains(&format!("! {} …\n", "x".repeat(HEAD_COLUMNS_MAX))), "{story}");
        assert!(story.contains("… 81 more lines recorded"), "{story}");
    }

    #[test]
    fn nothing_in_a_story_acts_on_the_terminal() {
        // Every string of every event, member names aside, is hostile.
        fn poison(value: &mut Value, poison_with: &str) {
            match value {
                Value::String(text) => text.push_str(poison_with),
                Value::Array(values) => values.iter_mut().for_each(|value| poison(value, poison_with)),
                Value::Object(members) => members
                    .iter_mut()
                    .filter(|(name, _)| !matches!(name.as_str(), "event_type" | "sensitive"))
                    .for_each(|(_, value)| poison(value, poison_with)),
                _ => {}
            }
        }
        let hostile = "\x1b]52;c;aGk=\x07\x1b[2J\u{9b}1A\u{202e}\u{2066}\x7f\r\u{85}";
        let mut events = session();
        events.push(json!({"event_type": format!("made.up{hostile}"), "outcome": "failure"}));
        events.iter_mut().for_each(|event| poison(event, hostile));
        let story = told(&events);
        let acting: Vec<char> =
            story.chars().filter(|character| *character != '\n' && acts(*character)).collect();
        assert!(acting.is_empty(), "{acting:?} in {story}");
        // Newlines are ours alone: a hostile one is told in its own line, never begins one.
        assert!(story.contains("\\x1b]52;c;aGk=\\x07"), "{story}");
    }

    #[test]
    fn sizes_and_durations_read_well() {
        assert_eq!(
            [size(0), size(9_999), size(10_240), size(50 << 30)],
            ["0 B", "9999 B", "10 KiB", "50 GiB"].map(String::from)
        );
        assert_eq!(
            [duration(999), duration(1_250), duration(61_000), duration(7_380_000)],
            ["999 ms", "1.2 s", "1 min 1 s", "2 h 3 min"].map(String::from)
        );
    }
}
