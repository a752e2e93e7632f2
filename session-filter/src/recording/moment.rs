//! One event as a player sees it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// Where in a recording something happened, as its event says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The recording.
    pub recording_id: String,
    /// Milliseconds since the recording began.
    pub at_ms: u64,
    /// Bytes of output before this place.
    pub offset: u64,
}

/// An event that has to do with a terminal.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// Where in which recording; commands that ran on no terminal do not say.
    pub place: Option<Place>,
    /// When, by the clock of the machine that recorded.
    pub timestamp: Option<DateTime<Utc>>,
    /// What happened.
    pub scene: Scene,
}

/// What happened at a [`Moment`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scene {
    /// A recording began.
    Started {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The client's `TERM`.
        term: Option<String>,
    },
    /// The terminal showed this.
    Output(Vec<u8>),
    /// This was typed at a prompt of ours.
    Input(Vec<u8>),
    /// The terminal has another size.
    Resized {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The recording is complete.
    Ended {
        /// SHA-256 of all output, as recorded; none where not all of it was kept, as the policy asked for.
        sha256: Option<String>,
    },
    /// A command began, or was refused.
    Command {
        /// The line, as far as it was recorded.
        line: String,
        /// What became of it.
        acted: Acted,
    },
    /// An event of a terminal that lacks what it must have. Of its place, no more than the recording is known.
    Unreadable,
}

/// What became of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acted {
    /// It was permitted and sent.
    Started,
    /// It was refused; the target never saw it.
    Blocked,
    /// The prompt answered it by itself.
    Builtin,
    /// It was seen on a raw terminal: an aid, not a certainty.
    Observed,
}

impl Moment {
    /// Reads an event; `None` where it has nothing to do with terminals or commands.
    pub fn of(event: &Map<String, Value>) -> Option<Self> {
        let event_type = event.get("event_type")?.as_str()?;
        let scene = match event_type {
            "terminal.started" => started(event),
            "terminal.output" => bytes(event).map(Scene::Output),
            "terminal.input" => bytes(event).map(Scene::Input),
            "terminal.resized" => size(event).map(|(width, height)| Scene::Resized { width, height }),
            "terminal.ended" => Some(Scene::Ended { sha256: text(event, "sha256") }),
            "command.started" => Some(command(event, Acted::Started)),
            "command.blocked" => Some(command(event, Acted::Blocked)),
            "builtin.executed" => Some(command(event, Acted::Builtin)),
            "command.observed" => Some(command(event, Acted::Observed)),
            _ => return None,
        };
        let mut scene = scene.unwrap_or(Scene::Unreadable);
        let mut place = place(event, event_type == "terminal.started");
        if place.is_none() && event_type.starts_with("terminal.") {
            scene = Scene::Unreadable;
            let nowhere = |recording_id| Place { recording_id, at_ms: 0, offset: 0 };
            place = text(event, "recording_id").map(nowhere);
        }
        let timestamp = event.get("timestamp").and_then(Value::as_str);
        let timestamp = timestamp.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        Some(Self { place, timestamp: timestamp.map(|time| time.to_utc()), scene })
    }
}

/// Recordings hold what programs print, secrets included: only what kind of event it is is shown.
impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment")
            .field("place", &self.place)
            .field("scene", &self.scene)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Started { width, height, .. } => write!(f, "Started({width}x{height})"),
            Self::Output(bytes) => write!(f, "Output({} bytes)", bytes.len()),
            Self::Input(bytes) => write!(f, "Input({} bytes)", bytes.len()),
            Self::Resized { width, height } => write!(f, "Resized({width}x{height})"),
            Self::Ended { .. } => f.write_str("Ended"),
            Self::Command { acted, .. } => write!(f, "Command({acted:?})"),
            Self::Unreadable => f.write_str("Unreadable"),
        }
    }
}

fn started(event: &Map<String, Value>) -> Option<Scene> {
    let (width, height) = size(event)?;
    Some(Scene::Started { width, height, term: text(event, "term") })
}

/// The bytes of a piece: `text`, or `base64`.
fn bytes(event: &Map<String, Value>) -> Option<Vec<u8>> {
    match text(event, "text") {
        Some(text) => Some(text.into_bytes()),
        None => BASE64.decode(event.get("base64")?.as_str()?).ok(),
    }
}

fn command(event: &Map<String, Value>, acted: Acted) -> Scene {
    let encoded = || {
        Some(
            String::from_utf8_lossy(&BASE64.decode(event.get("command_base64")?.as_str()?).ok()?)
                .into_owned(),
        )
    };
    let line = text(event, "command").or_else(encoded).unwrap_or_else(|| "(line not recorded)".to_owned());
    Scene::Command { line, acted }
}

fn place(event: &Map<String, Value>, is_start: bool) -> Option<Place> {
    let number = |name: &str| match event.get(name) {
        Some(value) => value.as_u64(),
        None => is_start.then_some(0),
    };
    Some(Place {
        recording_id: text(event, "recording_id").filter(|id| !id.is_empty())?,
        at_ms: number("at_ms")?,
        offset: number("offset")?,
    })
}

fn size(event: &Map<String, Value>) -> Option<(u32, u32)> {
    let number = |name: &str| event.get(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
    Some((number("width")?, number("height")?))
}

fn text(event: &Map<String, Value>, name: &str) -> Option<String> {
    event.get(name)?.as_str().map(str::to_owned)
}
