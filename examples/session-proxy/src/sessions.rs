//! `session-proxy sessions …`: the operator's end of the control socket.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::Failure;
use crate::control::Request;

/// A question to the proxy, and its answer line by line.
pub(crate) struct Answer {
    lines: BufReader<UnixStream>,
    socket: String,
}

impl Answer {
    /// Asks the proxy behind `socket`.
    pub(crate) async fn to(request: &Request, socket: &Path) -> Result<Self, Failure> {
        let socket_name = socket.display().to_string();
        let failed =
            || Failure::because::<std::io::Error>(format!("cannot ask the proxy at `{socket_name}`"));
        let mut stream = UnixStream::connect(socket).await.map_err(failed())?;
        let line = serde_json::to_string(request).map_err(Failure::because("cannot ask"))?;
        stream.write_all(format!("{line}\n").as_bytes()).await.map_err(failed())?;
        Ok(Self { lines: BufReader::new(stream), socket: socket_name })
    }

    /// The next line; nothing once the proxy has said all. Cancellation loses part of a line.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).await;
        if read.map_err(Failure::because(format!("cannot hear the proxy at `{}`", self.socket)))? == 0 {
            return Ok(None);
        }
        let said: Value =
            serde_json::from_str(&line).map_err(Failure::because("the proxy's answer is not understood"))?;
        match said.get("error").and_then(Value::as_str) {
            Some(error) => Err(Failure::new(printable(error))),
            None => Ok(Some(said)),
        }
    }

    async fn only(mut self) -> Result<Value, Failure> {
        self.next().await?.ok_or_else(|| Failure::new("the proxy closed the connection without an answer"))
    }
}

pub(crate) async fn list(socket: &Path, json: bool) -> Result<(), Failure> {
    let reply = Answer::to(&Request::List, socket).await?.only().await?;
    if json {
        println!("{}", json_line(&reply));
        return Ok(());
    }
    let sessions = reply.get("sessions").and_then(Value::as_array).cloned().unwrap_or_default();
    if sessions.is_empty() {
        println!("nobody is in");
    }
    for session in sessions {
        let number = |name: &str| session.get(name).and_then(Value::as_u64).unwrap_or(0);
        println!(
            "{}  {} on {} from {} since {} ({}): {} commands, {} blocked",
            text(&session, "session_id"),
            text(&session, "actor_id"),
            text(&session, "target_id"),
            text(&session, "source_ip"),
            text(&session, "started"),
            text(&session, "mode"),
            number("commands"),
            number("commands_blocked"),
        );
        for terminal in session.get("terminals").and_then(Value::as_array).into_iter().flatten() {
            let size = |name: &str| terminal.get(name).and_then(Value::as_u64).unwrap_or(0);
            println!(
                "    terminal: {} ({}×{})",
                text(terminal, "recording_id"),
                size("width"),
                size("height")
            );
        }
        for running in session.get("running").and_then(Value::as_array).into_iter().flatten() {
            println!("    running: {}", printable(running.as_str().unwrap_or("-")));
        }
    }
    Ok(())
}

pub(crate) async fn terminate(
    socket: &Path,
    json: bool,
    session_id: String,
    reason: String,
) -> Result<(), Failure> {
    let reply = Answer::to(&Request::Terminate { session_id, reason }, socket).await?.only().await?;
    if json {
        println!("{}", json_line(&reply));
    }
    match reply.get("terminated").and_then(Value::as_bool) {
        Some(true) => {
            if !json {
                println!("terminated");
            }
            Ok(())
        }
        _ => Err(Failure::new("the answer is not understood")),
    }
}

/// A field as text that does nothing to a terminal.
pub(crate) fn text(of: &Value, name: &str) -> String {
    printable(of.get(name).and_then(Value::as_str).unwrap_or("-"))
}

/// Text with whatever could act on a terminal, or reorder what stands on it, made visible.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// JSON on one line, which does nothing to a terminal either: JSON itself allows most of these characters in its strings.
pub(crate) fn json_line(value: &Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        match acts(c) {
            true => line.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
            false => line.push(c),
        }
    }
    line
}

/// Control characters, and format characters that reorder or hide text.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_does_nothing_to_a_terminal_and_means_the_same() {
        let hostile = "a\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}\"\\ü";
        let line = json_line(&serde_json::json!({ "x": hostile }));
        assert!(line.chars().all(|c| !acts(c)), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["x"], hostile);
        assert_eq!(printable(hostile), "a\\u{1b}]52;c;eA==\\u{7}\\u{9b}2J\\u{202e}\"\\ü");
    }
}
