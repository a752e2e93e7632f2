//! `session-proxy sessions watch`: somebody's terminal on the operator's.
//!
//! What the proxy sends are pictures, drawn by its own hand. They are emulated once more here and drawn in the size of the operator's
//! terminal, so that even a proxy that was taken over draws text and nothing else.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;
use session_filter::screen::{Picture, Screen};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;
use crate::control::Request;
use crate::sessions::{Answer, json_line, text};

/// Shows a session until it ends or the operator leaves.
pub(crate) async fn run(
    socket: &Path,
    json: bool,
    session_id: String,
    terminal: Option<String>,
) -> Result<(), Failure> {
    let request = Request::Watch { session_id, recording_id: terminal };
    if json {
        let mut answer = Answer::to(&request, socket).await?;
        while let Some(frame) = answer.next().await? {
            // Nobody reads any more.
            if writeln!(std::io::stdout(), "{}", json_line(&frame)).is_err() {
                break;
            }
        }
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::new("watching needs a terminal; `--json` prints the pictures instead"));
    }
    let answer = Answer::to(&request, socket).await?;
    let (frames, arrived) = tokio::sync::mpsc::channel(16);
    let hearing = tokio::spawn(hear(answer, frames));
    let left = show(arrived).await;
    hearing.abort();
    match left? {
        Left::Alone => {}
        Left::Ended(reason) => println!("the session ended: {reason}"),
        Left::Silence => println!("the proxy says nothing more"),
    }
    Ok(())
}

/// Why the watching is over.
enum Left {
    /// The operator left.
    Alone,
    /// The session ended.
    Ended(String),
    /// The proxy broke off.
    Silence,
}

/// Reads frames on a task of its own, since a line that is read in part must not be given up.
async fn hear(mut answer: Answer, frames: tokio::sync::mpsc::Sender<Result<Value, Failure>>) {
    while let Some(frame) = answer.next().await.transpose() {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

async fn show(mut frames: tokio::sync::mpsc::Receiver<Result<Value, Failure>>) -> Result<Left, Failure> {
    let failed = || Failure::because::<std::io::Error>("cannot listen for signals");
    let mut resized = signal(SignalKind::window_change()).map_err(failed())?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(failed())?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed())?;
    let mut terminated = signal(SignalKind::terminate()).map_err(failed())?;
    // What the proxy refuses is said before the screen is taken.
    let Some(first) = frames.recv().await else { return Ok(Left::Silence) };
    let first = first?;
    let taken = TakenTerminal::take()?;
    let mut view = View::new(&first);
    taken.draw(&view.draw(taken.size()))?;
    let mut keys = tokio::io::stdin();
    let mut key = [0_u8; 64];
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => {
                    if let Some(reason) = view.take(&frame?) {
                        return Ok(Left::Ended(reason));
                    }
                }
                None => return Ok(Left::Silence),
            },
            read = keys.read(&mut key) => match read {
                Ok(read @ 1..) if !key.iter().take(read).any(|key| is_leaving(*key)) => {}
                _ => return Ok(Left::Alone),
            },
            _ = resized.recv() => view.forget(),
            _ = hung_up.recv() => return Ok(Left::Alone),
            _ = interrupted.recv() => return Ok(Left::Alone),
            _ = terminated.recv() => return Ok(Left::Alone),
        }
        taken.draw(&view.draw(taken.size()))?;
    }
}

/// `q`, Ctrl-C, Ctrl-D.
fn is_leaving(key: u8) -> bool {
    matches!(key, b'q' | b'Q' | 0x03 | 0x04)
}

/// The operator's terminal while it shows somebody else's. Dropped, it is as it was before.
struct TakenTerminal {
    before: Termios,
}

impl TakenTerminal {
    fn take() -> Result<Self, Failure> {
        let failed = || Failure::because::<rustix::io::Errno>("cannot set up the terminal");
        let before = tcgetattr(std::io::stdin()).map_err(failed())?;
        let mut raw = before.clone();
        raw.make_raw();
        let taken = Self { before };
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(failed())?;
        // The alternate screen keeps what was there; lines are not wrapped, since every one is cut to fit.
        taken.draw("\x1b[?1049h\x1b[?7l\x1b[2J")?;
        Ok(taken)
    }

    fn draw(&self, drawing: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(drawing.as_bytes()).and_then(|()| out.flush()).map_err(Failure::because("cannot draw"))
    }

    /// Columns and rows.
    fn size(&self) -> (u16, u16) {
        match tcgetwinsize(std::io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
            _ => (80, 24),
        }
    }
}

impl Drop for TakenTerminal {
    fn drop(&mut self) {
        let _ = self.draw("\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// What is watched, and what the operator's terminal shows of it.
struct View {
    who: String,
    screen: Screen,
    shown: Option<(Picture, (u16, u16))>,
}

impl View {
    /// A view of the session that the first frame tells of.
    fn new(first: &Value) -> Self {
        let session = first.get("session").unwrap_or(first);
        let since = text(session, "started");
        // Hours to seconds of RFC 3339.
        let since = since.get(11..19).unwrap_or(&since).to_owned();
        let who = format!(
            "{} on {} ({}) from {} since {since} UTC",
            text(session, "actor_id"),
            text(session, "target_id"),
            text(session, "mode"),
            text(session, "source_ip"),
        );
        Self { who, screen: Screen::new(80, 24), shown: None }
    }

    /// Takes a frame; the reason when it is the last one.
    fn take(&mut self, frame: &Value) -> Option<String> {
        if frame.get("frame").and_then(Value::as_str) == Some("ended") {
            return Some(text(frame, "reason"));
        }
        let size = |name: &str| frame.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        if let (Some(cols), Some(rows)) = (size("cols"), size("rows")) {
            let (now_cols, now_rows) = self.screen.size();
            if (cols, rows) != (now_cols.into(), now_rows.into()) {
                self.screen.resize(cols, rows);
            }
        }
        if let Some(drawn) = frame.get("drawn").and_then(Value::as_str) {
            self.screen.feed(drawn.as_bytes());
        }
        None
    }

    /// The operator's terminal does not show what was drawn any more.
    fn forget(&mut self) {
        self.shown = None;
    }

    /// What turns the operator's terminal, of `size` columns and rows, into what is watched, with a line about it at the bottom.
    fn draw(&mut self, size: (u16, u16)) -> String {
        let (cols, rows) = size;
        let picture = Picture::of(&self.screen, cols, rows.saturating_sub(1));
        let drawing = match &self.shown {
            Some((before, at)) if *at == size && before == &picture => return String::new(),
            Some((before, at))
                if *at == size && (before.cols(), before.rows()) == (picture.cols(), picture.rows()) =>
            {
                picture.diff(before)
            }
            _ => self.framed(&picture, size),
        };
        self.shown = Some((picture, size));
        drawing
    }

    /// All of the picture, and the line at the bottom.
    fn framed(&self, picture: &Picture, (cols, rows): (u16, u16)) -> String {
        let (watched_cols, watched_rows) = self.screen.size();
        let part = match watched_cols > cols || watched_rows > rows.saturating_sub(1) {
            true => format!(", part of {watched_cols}×{watched_rows}"),
            false => String::new(),
        };
        let line: String =
            format!(" q leaves; watching {}{part} ", self.who).chars().take(cols.into()).collect();
        // The picture comes last, since it places the cursor; what it clears first is drawn again.
        let snapshot = picture.snapshot();
        format!("\x1b[?25l{snapshot}\x1b7\x1b[{rows};1H\x1b[0;7m{line}\x1b[0m\x1b8")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view() -> View {
        View::new(&json!({ "session": {
            "actor_id": "eve\u{1b}]0;x\u{7}", "target_id": "web-1", "mode": "unrestricted", "source_ip": "192.0.2.1",
            "started": "2026-01-31T09:15:27.042Z",
        }}))
    }

    fn frame(cols: u32, rows: u32, drawn: &str) -> Value {
        json!({ "frame": "screen", "cols": cols, "rows": rows, "drawn": drawn })
    }

    /// What an operator's terminal of this size shows after `drawings`.
    fn terminal(cols: u32, rows: u32, drawings: &[String]) -> Vec<String> {
        let mut screen = Screen::new(cols, rows);
        for drawing in drawings {
            screen.feed(drawing.as_bytes());
        }
        screen.picture().text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_larger_terminal_shows_all_of_it_with_a_line_below() {
        let mut view = view();
        view.take(&frame(20, 4, "\x1b[2J\x1b[1;1Hfirst\x1b[4;1Hlast"));
        let mut drawings = vec![view.draw((90, 10))];
        let shown = terminal(90, 10, &drawings);
        assert_eq!((&*shown[0], &*shown[3]), ("first", "last"));
        let below = r" q leaves; watching eve\u{1b}]0;x\u{7} on web-1 (unrestricted) from 192.0.2.1 since 09:15:27 UTC";
        assert_eq!(shown[9], below.chars().take(90).collect::<String>().trim_end());
        // A change draws the change and keeps the line.
        view.take(&frame(20, 4, "\x1b[2;1Hmore"));
        drawings.push(view.draw((90, 10)));
        assert!(drawings[1].len() < 60, "{:?}", drawings[1]);
        let shown = terminal(90, 10, &drawings);
        assert_eq!((&*shown[0], &*shown[1], &*shown[3]), ("first", "more", "last"));
        assert!(shown[9].contains("watching"));
        assert_eq!(view.draw((90, 10)), "");
    }

    #[test]
    fn a_smaller_terminal_shows_the_part_around_the_cursor() {
        let mut view = view();
        let rows: String = (1..=24).map(|row| format!("\x1b[{row};1Hrow {row} {}", "x".repeat(60))).collect();
        view.take(&frame(80, 24, &rows));
        let drawing = view.draw((12, 6));
        let shown = terminal(12, 6, &[drawing]);
        assert_eq!(shown[0], "row 20 xxxxx");
        assert_eq!(shown[4], "row 24 xxxxx");
        assert!(shown[5].starts_with(" q leaves"), "{shown:?}");
    }

    #[test]
    fn hostile_frames_draw_text_and_nothing_else() {
        let hostile = "\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[c\x1b[6n\x1bP+q544e\x1b\\\x1b[?1000h\x1b[?2004h\x1b[2;5r\u{9b}6n\x1b[8;5;5tplain\u{202e}";
        let mut view = view();
        view.take(&frame(80, 24, hostile));
        let drawing = view.draw((80, 25));
        assert!(drawing.contains("plain"));
        for sequence in
            ["\x1b]", "\x1bP", "\x1b[c", "[6n", "?1000", "?2004", ";5r", "\u{9b}", "5t", "\x07", "\u{202e}"]
        {
            assert!(!drawing.contains(sequence), "{sequence:?} in {drawing:?}");
        }
    }

    #[test]
    fn the_last_frame_says_why() {
        let ended = view().take(&json!({ "frame": "ended", "reason": "lunch\u{1b}[2J" }));
        assert_eq!(ended.as_deref(), Some(r"lunch\u{1b}[2J"));
    }
}
