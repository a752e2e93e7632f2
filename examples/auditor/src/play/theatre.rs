//! The auditor's terminal: put into raw mode, drawn upon, and given back as it was.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use session_filter::screen::Picture;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::controls::{Key, Keys};
use super::player::{Player, Source};
use crate::failure::Failure;
use crate::film::Film;
use crate::terminal::{acts, inert};

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
        Window::open().map_err(|error| Failure::Unusable(format!("cannot use the terminal: {error}")))?;
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

/// What stands in the window.
struct Shown {
    size: (u16, u16),
    picture: Picture,
    status: String,
}

/// The real terminal in raw mode, on its other screen. Dropping it gives everything back, also while a panic unwinds.
struct Window {
    tty: File,
    before: Termios,
    ends: Arc<AtomicBool>,
    /// What is shown now, in a window of this size.
    shown: Option<Shown>,
}

impl Window {
    fn open() -> io::Result<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty")?;
        let ends = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&ends))?;
        }
        let before = tcgetattr(&tty)?;
        let mut screen = Self { tty, before, ends, shown: None };
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
        // The last row is the status line's.
        let picture = Picture::of(player.screen(), columns, rows - 1);
        let status = status(player, film, usize::from(columns));
        let before = self.shown.take().filter(|shown| shown.size == (columns, rows));
        let (drawn, is_new) = match &before {
            Some(before)
                if (before.picture.cols(), before.picture.rows()) == (picture.cols(), picture.rows()) =>
            {
                (picture.diff(&before.picture), before.status != status)
            }
            // Drawing all of it clears the window.
            _ => (picture.snapshot(), true),
        };
        // What a picture holds acts on no terminal; what merely cannot be seen is left out here, too.
        let mut out: String =
            drawn.chars().filter(|character| *character == '\x1b' || !acts(*character)).collect();
        if is_new {
            // The cursor stays where the recording has it.
            out.push_str(&format!("\x1b7\x1b[{rows};1H\x1b[7m{status}\x1b[0m\x1b8"));
        }
        self.shown = Some(Shown { size: (columns, rows), picture, status });
        self.tty.write_all(out.as_bytes())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Nothing is left to do where this fails.
        let _ = self.tty.write_all(b"\x1b[0m\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
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
