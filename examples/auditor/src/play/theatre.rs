//! The auditor's terminal: put into raw mode, drawn upon, and given back as it was.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::controls::{Key, Keys};
use super::player::{Player, Source};
use crate::failure::Failure;
use crate::film::Film;
use crate::terminal::inert;

/// How far an arrow goes.
const ARROW_MS: u64 = 5_000;
/// Longest time without a look at the clock on the status line, at the window's size and at signals.
const LOOK: Duration = Duration::from_millis(200);
/// Shortest time between two pictures.
const PICTURE: Duration = Duration::from_millis(16);
const SPEED_MIN: f64 = 0.125;
const SPEED_MAX: f64 = 64.0;
const HELP: &str = "space ±5s←→ [ ] + - . q";

/// Plays until the reader leaves or a signal says so.
pub(crate) fn run<S: Source>(player: &mut Player<'_, S>, film: &Film) -> Result<(), Failure> {
    let mut screen =
        Screen::open().map_err(|error| Failure::Unusable(format!("cannot use the terminal: {error}")))?;
    let mut keys = Keys::default();
    let mut last = Instant::now();
    loop {
        screen.draw(player, film)?;
        let wait = match player.is_playing {
            true => player.until_next()?.unwrap_or(LOOK).clamp(PICTURE, LOOK),
            false => LOOK,
        };
        let typed = screen.typed(wait)?;
        if typed.has_ended || screen.is_told_to_end() {
            return Ok(());
        }
        let now = Instant::now();
        player.pass(now.duration_since(last))?;
        last = now;
        for key in keys.take(&typed.bytes) {
            let at = player.position_ms();
            match key {
                Key::Leave => return Ok(()),
                Key::StopOrGo if !player.is_playing && at >= film.recording.duration_ms => {
                    player.seek(0)?;
                    player.is_playing = true;
                }
                Key::StopOrGo => player.is_playing = !player.is_playing,
                Key::Forward => player.seek(at.saturating_add(ARROW_MS))?,
                Key::Back => player.seek(at.saturating_sub(ARROW_MS))?,
                Key::NextCommand => player.next_command()?,
                Key::PreviousCommand => player.previous_command()?,
                Key::Faster => {
                    player.pace.speed = (player.pace.speed * 2.0).min(SPEED_MAX.max(player.pace.speed))
                }
                Key::Slower => {
                    player.pace.speed = (player.pace.speed / 2.0).max(SPEED_MIN.min(player.pace.speed))
                }
                Key::Step => player.step()?,
            }
            // Finding a place can take long; that time does not count as played.
            last = Instant::now();
        }
    }
}

/// What came from the keyboard.
struct Typed {
    bytes: Vec<u8>,
    has_ended: bool,
}

/// The real terminal in raw mode, on its other screen. Dropping it gives everything back, also while a panic unwinds.
struct Screen {
    tty: File,
    before: Termios,
    ends: Arc<AtomicBool>,
    /// What each row shows now.
    rows: Vec<String>,
    size: (u16, u16),
}

impl Screen {
    fn open() -> io::Result<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty")?;
        let ends = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&ends))?;
        }
        let before = tcgetattr(&tty)?;
        let mut screen = Self { tty, before, ends, rows: Vec::new(), size: (0, 0) };
        let mut raw = screen.before.clone();
        raw.make_raw();
        tcsetattr(&screen.tty, OptionalActions::Flush, &raw)?;
        screen.tty.write_all(b"\x1b[?1049h\x1b[0m\x1b[2J")?;
        Ok(screen)
    }

    fn is_told_to_end(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    fn typed(&mut self, wait: Duration) -> io::Result<Typed> {
        let mut typed = Typed { bytes: Vec::new(), has_ended: false };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut polled = [PollFd::new(&self.tty, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(typed),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 256];
        match self.tty.read(&mut bytes) {
            // The terminal was closed.
            Ok(0) => typed.has_ended = true,
            Ok(read) => typed.bytes.extend(bytes.iter().take(read)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal that is gone answers EIO: nobody is left to play for.
            Err(_) => typed.has_ended = true,
        }
        Ok(typed)
    }

    fn draw<S: Source>(&mut self, player: &Player<'_, S>, film: &Film) -> io::Result<()> {
        let size = tcgetwinsize(&self.tty)?;
        let (columns, rows) = (size.ws_col.max(1), size.ws_row.max(2));
        let mut out = String::new();
        if self.size != (columns, rows) {
            self.size = (columns, rows);
            self.rows = vec![String::new(); usize::from(rows)];
            out.push_str("\x1b[0m\x1b[2J");
        }
        let stage = player.stage();
        let (stage_columns, stage_rows) = stage.size();
        let room = rows - 1;
        // Where the whole does not fit, the part with the cursor is shown.
        let cursor = stage.cursor();
        let first =
            cursor.map_or(0, |(row, _)| row.saturating_sub(room - 1)).min(stage_rows.saturating_sub(room));
        for (row, shown) in (0..room).zip(&mut self.rows) {
            let wanted = match first + row {
                row if row < stage_rows => stage.row(row, columns.min(stage_columns)),
                _ => String::new(),
            };
            replace(&mut out, row, shown, wanted);
        }
        let status = format!("\x1b[7m{}\x1b[0m", status(player, film, usize::from(columns)));
        if let Some(shown) = self.rows.get_mut(usize::from(room)) {
            replace(&mut out, room, shown, status);
        }
        match cursor {
            Some((row, column)) if row >= first && row - first < room && column < columns => {
                out.push_str(&format!("\x1b[{};{}H\x1b[?25h", row - first + 1, column + 1));
            }
            _ => out.push_str("\x1b[?25l"),
        }
        self.tty.write_all(out.as_bytes())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to do where this fails.
        let _ = self.tty.write_all(b"\x1b[0m\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}

fn replace(out: &mut String, row: u16, shown: &mut String, wanted: String) {
    if *shown != wanted {
        out.push_str(&format!("\x1b[{};1H{wanted}\x1b[0m", row + 1));
        // Past the last column, there is nothing to clear, and some terminals would clear that column.
        out.push_str("\x1b[K");
        *shown = wanted;
    }
}

/// Time, speed, command and keys on one line of so many columns.
fn status<S: Source>(player: &Player<'_, S>, film: &Film, columns: usize) -> String {
    let sign = if player.is_playing { "▶" } else { "‖" };
    let (number, mark) = player.command();
    let mut text = format!(
        " {sign} {} / {}  {}×  {}/{}",
        clock(player.position_ms()),
        clock(film.recording.duration_ms),
        player.pace.speed,
        number,
        film.marks.len(),
    );
    if !film.recording.is_whole() {
        text.push_str("  INCOMPLETE");
    }
    if let Some(mark) = mark {
        text.push(' ');
        text.push_str(&mark.shown());
    }
    let text = inert(&text).into_owned();
    let room = columns.saturating_sub(HELP.chars().count() + 2);
    let (room, help) = if room >= 40 { (room, HELP) } else { (columns, "") };
    let mut line: String = text.chars().take(room).collect();
    line.extend(std::iter::repeat_n(' ', room.saturating_sub(line.chars().count())));
    if !help.is_empty() {
        line.push_str("  ");
        line.push_str(help);
    }
    line.chars().take(columns).collect()
}

/// `1:02:03.4`, `02:03.4`.
fn clock(ms: u64) -> String {
    let (tenths, seconds, minutes, hours) = (ms / 100 % 10, ms / 1000 % 60, ms / 60_000 % 60, ms / 3_600_000);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}.{tenths}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{tenths}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_read_well() {
        assert_eq!([clock(0), clock(83_250), clock(3_723_456)], ["00:00.0", "01:23.2", "1:02:03.4"]);
    }
}
