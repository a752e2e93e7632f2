//! asciicast v2: <https://docs.asciinema.org/manual/asciicast/v2/>.

use serde_json::{Map, Value, json};

use super::moment::{Acted, Moment, Scene};
use super::reel::{Recording, Reel};

/// Longest label of a marker, in characters; a longer line is cut, the log has all of it.
const LABEL_CHARS_MAX: usize = 500;

/// Makes asciicast v2 of one recording from the events of its session, in constant memory.
///
/// ```
/// # use serde_json::json;
/// # use session_filter::recording::Cast;
/// let events = [
///     json!({"event_type": "terminal.started", "recording_id": "r1", "width": 80, "height": 24, "term": "xterm"}),
///     json!({"event_type": "terminal.output", "recording_id": "r1", "at_ms": 250, "offset": 0, "text": "$ "}),
///     json!({"event_type": "command.started", "recording_id": "r1", "at_ms": 900, "offset": 2, "command": "df -h"}),
/// ];
/// let mut cast = Cast::new("r1").titled("alice on web-1");
/// let mut text = String::new();
/// for event in &events {
///     cast.take(event.as_object().unwrap(), &mut text);
/// }
/// let recording = cast.finish(&mut text);
/// assert_eq!(text, concat!(
///     r#"{"env":{"TERM":"xterm"},"height":24,"title":"alice on web-1","version":2,"width":80}"#, "\n",
///     r#"[0.250,"o","$ "]"#, "\n",
///     r#"[0.900,"m","df -h"]"#, "\n",
/// ));
/// assert!(recording.is_some_and(|recording| !recording.is_whole()), "its end is not on record");
/// ```
#[derive(Debug)]
pub struct Cast {
    wanted: String,
    title: Option<String>,
    reel: Reel,
    has_header: bool,
    /// The first bytes of a character whose rest is to come.
    begun: Vec<u8>,
    /// Where the output that would continue it begins.
    next_offset: u64,
    at_ms: u64,
}

impl Cast {
    /// Of the recording with this id.
    pub fn new(recording_id: impl Into<String>) -> Self {
        Self {
            wanted: recording_id.into(),
            title: None,
            reel: Reel::new(),
            has_header: false,
            begun: Vec::new(),
            next_offset: 0,
            at_ms: 0,
        }
    }

    /// With a title.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Takes the next event of the session, in the order of the log, and appends the lines that it adds, each with its newline.
    ///
    /// A character that is split between events stands in the later one; bytes that are not UTF-8 become U+FFFD, since asciicast
    /// has no form for them.
    pub fn take(&mut self, event: &Map<String, Value>, out: &mut String) {
        let Some(moment) = Moment::of(event) else { return };
        let Some(shown) = self.reel.take(&moment) else { return };
        let is_wanted = |recording: &Recording| recording.id == self.wanted;
        let Some(recording) = self.reel.recordings().get(shown.recording).filter(|found| is_wanted(found))
        else {
            return;
        };
        if !self.has_header {
            self.has_header = true;
            line(out, &header(recording, self.title.as_deref()));
        }
        // What is placed by its timestamp may lie ahead of the next output; a cast's times never run backwards.
        self.at_ms = self.at_ms.max(shown.at_ms);
        match moment.scene {
            Scene::Output(bytes) => {
                let offset = moment.place.map_or(self.next_offset, |place| place.offset);
                if offset != self.next_offset {
                    // What stands on either side of a gap is no character.
                    self.flush(out);
                }
                self.next_offset = offset.saturating_add(bytes.len() as u64);
                let text = self.text(bytes);
                if !text.is_empty() {
                    self.event(out, "o", &text);
                }
            }
            Scene::Input(bytes) => self.event(out, "i", &String::from_utf8_lossy(&bytes)),
            Scene::Resized { width, height } => self.event(out, "r", &format!("{width}x{height}")),
            Scene::Command { line, acted } => self.event(out, "m", &label(&line, acted)),
            Scene::Ended { .. } => self.flush(out),
            Scene::Started { .. } | Scene::Unreadable => {}
        }
    }

    /// Appends what is left and says what the recording was, flaws included; `None` if no event belonged to it.
    pub fn finish(mut self, out: &mut String) -> Option<Recording> {
        self.flush(out);
        let mut recordings = self.reel.into_recordings();
        let place = recordings.iter().position(|recording| recording.id == self.wanted)?;
        Some(recordings.swap_remove(place))
    }

    /// What of these bytes can be written now.
    fn text(&mut self, bytes: Vec<u8>) -> String {
        let mut all = std::mem::take(&mut self.begun);
        all.extend(bytes);
        let complete = all.len().saturating_sub(unfinished(&all));
        self.begun = all.split_off(complete);
        match String::from_utf8(all) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// A character that was begun and never finished.
    fn flush(&mut self, out: &mut String) {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            self.event(out, "o", &String::from_utf8_lossy(&begun));
        }
    }

    fn event(&self, out: &mut String, code: &str, text: &str) {
        // Written by hand for the time, which a float would not carry exactly.
        let (seconds, ms) = (self.at_ms / 1000, self.at_ms % 1000);
        line(out, &format!("[{seconds}.{ms:03},\"{code}\",{}]", Value::from(text)));
    }
}

fn header(recording: &Recording, title: Option<&str>) -> String {
    let mut header = json!({"version": 2, "width": recording.width, "height": recording.height});
    if let Some(members) = header.as_object_mut() {
        if let Some(at) = recording.started_at {
            members.insert("timestamp".into(), at.timestamp().into());
        }
        if let Some(term) = &recording.term {
            members.insert("env".into(), json!({ "TERM": term }));
        }
        if let Some(title) = title {
            members.insert("title".into(), title.into());
        }
    }
    header.to_string()
}

/// A marker's label: the line, and what became of it where it was not simply run.
fn label(line: &str, acted: Acted) -> String {
    let before = match acted {
        Acted::Blocked => "blocked: ",
        _ => "",
    };
    before.chars().chain(line.chars().take(LABEL_CHARS_MAX)).collect()
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        // The last chunk of text that ends in a begun character has exactly its bytes as invalid: at most three.
        Some(chunk) if is_begun(chunk.invalid()) => chunk.invalid().len(),
        _ => 0,
    }
}

/// Whether more bytes could make a character of these.
fn is_begun(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
