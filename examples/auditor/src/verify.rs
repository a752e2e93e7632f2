//! `verify`: is the log what was written?

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use audit_log::{Checked, Checkpoint, End, Progress, Report, VerifierKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::story::{count, size, time};
use crate::terminal::{Paint, Palette, inert};

/// How long a verification runs before a bar is shown.
const BAR_AFTER: Duration = Duration::from_millis(500);
/// Longest file that is read as a checkpoint; a signed note with many witnesses is far shorter.
const CHECKPOINT_BYTES_MAX: u64 = 1024 * 1024;

const NO_ANCHOR: &str = "no checkpoint from elsewhere was given, so nobody could see if the log had been cut back to an earlier \
                         checkpoint; keep what `auditor checkpoint` prints on another machine and give it as --checkpoint";
const KEY_BESIDE_LOG: &str = "the verifier key came from the keys directory; whoever could replace that could replace the log, so \
                              keep a copy elsewhere and give it as --verifier-key";
const NO_CONTENTS: &str = "without keys, contents were not decrypted: that the bytes are those that were written was checked, what \
                           they say was not";
const NO_SIGNATURE: &str = "without a verifier key no signature was checked: whoever can write here could have made the whole log anew";
const TORN: &str = "a write was cut off, by a crash or a full disk; nothing in it was ever acknowledged, and all that was is there";

/// What was found, and against what it was checked.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) report: Report,
    pub(crate) minimum: Option<Checkpoint>,
    pub(crate) verifier_key: Option<VerifierKey>,
    pub(crate) key_origin: KeyOrigin,
}

/// Where the verifier key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// Named on the command line.
    Kept,
    /// Found in the keys directory.
    BesideLog,
}

/// Reads a checkpoint that was kept elsewhere; `-` is standard input.
pub(crate) fn read_checkpoint(path: &Path) -> Result<Checkpoint, Failure> {
    let fail =
        |error: io::Error| Failure::Unusable(format!("cannot read checkpoint `{}`: {error}", path.display()));
    let mut note = String::new();
    let source: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(fail)?)
    };
    source.take(CHECKPOINT_BYTES_MAX).read_to_string(&mut note).map_err(fail)?;
    note.parse().map_err(|error| Failure::Unusable(format!("checkpoint `{}`: {error}", path.display())))
}

/// A bar on standard error, where that is a terminal and the log is long.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template =
            "verifying {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} entries, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn advance(&self, progress: Progress) {
        if self.0.elapsed() > BAR_AFTER {
            self.0.set_message(progress.entries.to_string());
            self.0.set_length(progress.bytes_total);
            self.0.set_position(progress.bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Finding {
    pub(crate) fn is_torn(&self) -> bool {
        matches!(self.report.end, End::Torn { .. })
    }

    /// What cannot be known from what was given, as sentences.
    fn caveats(&self) -> Vec<&'static str> {
        let mut caveats = Vec::new();
        if self.report.signature != Checked::Yes {
            caveats.push(NO_SIGNATURE);
        } else if self.key_origin == KeyOrigin::BesideLog {
            caveats.push(KEY_BESIDE_LOG);
        }
        if self.report.content != Checked::Yes {
            caveats.push(NO_CONTENTS);
        }
        if self.minimum.is_none() {
            caveats.push(NO_ANCHOR);
        }
        caveats
    }

    pub(crate) fn print(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        let report = &self.report;
        let verdict = match report.end {
            End::Torn { .. } => palette.paint(Paint::Yellow, "whole, with a torn tail"),
            _ => palette.paint(Paint::Green, "whole"),
        };
        writeln!(out, "{verdict}")?;
        let mut row = |name: &str, value: &str| writeln!(out, "  {name:<12}{}", inert(value));
        let (segments, frames) =
            (count(u64::from(report.segments), "segment"), count(report.frames, "frame"));
        row("entries", &format!("{} in {segments}, {frames}, {}", report.entries, size(report.bytes)))?;
        if let (Some(first), Some(last)) = (report.first_recorded_at, report.last_recorded_at) {
            row("first", &time(first))?;
            row("last", &time(last))?;
        }
        if let Some(checkpoint) = &report.checkpoint {
            let (origin, entries) = (checkpoint.origin(), checkpoint.size());
            row(
                "checkpoint",
                &format!("{origin}, {entries} entries, root {}", BASE64.encode(checkpoint.root())),
            )?;
        }
        match (report.signature, &self.verifier_key) {
            (Checked::Yes, Some(key)) => row("signed by", &key.to_string())?,
            (Checked::Yes, None) => row("signed by", "the log's own key")?,
            _ => row("signature", "not checked: no verifier key")?,
        }
        row(
            "contents",
            match report.content {
                Checked::Yes => "decrypted and compared with the tree",
                _ => "not checked: no keys",
            },
        )?;
        match &self.minimum {
            Some(minimum) => {
                row("anchor", &format!("contains the given checkpoint of {} entries", minimum.size()))?
            }
            None => row("anchor", "none given")?,
        }
        row("end", &self.end())?;
        for name in &report.unknown_files {
            row("not of log", &format!("`{name}` lies in the log's directory and is no part of it"))?;
        }
        for caveat in self.caveats() {
            writeln!(out, "{} {caveat}", palette.paint(Paint::Dim, "note:"))?;
        }
        Ok(())
    }

    fn end(&self) -> String {
        match &self.report.end {
            End::Closed => "closed".into(),
            End::Stopped => "not closed, nothing missing: the writer was stopped".into(),
            End::Live => "being written now; whole up to its last checkpoint".into(),
            End::Torn { file, offset, bytes } => {
                format!(
                    "{} torn off in `{file}` from byte {offset} on, after the last signed checkpoint: {TORN}",
                    size(*bytes)
                )
            }
            _ => "unknown".into(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let report = &self.report;
        let checked = |checked| if checked == Checked::Yes { "checked" } else { "not_checked" };
        let mut object = json!({
            "result": if self.is_torn() { "torn" } else { "whole" },
            "entries": report.entries,
            "segments": report.segments,
            "frames": report.frames,
            "bytes": report.bytes,
            "first_recorded_at": report.first_recorded_at.map(time),
            "last_recorded_at": report.last_recorded_at.map(time),
            "checkpoint": report.checkpoint.as_ref().map(checkpoint_json),
            "verifier_key": self.verifier_key.as_ref().map(ToString::to_string),
            "signature": checked(report.signature),
            "contents": checked(report.content),
            "minimum": self.minimum.as_ref().map(checkpoint_json),
            "end": match report.end {
                End::Closed => "closed",
                End::Stopped => "stopped",
                End::Live => "live",
                End::Torn { .. } => "torn",
                _ => "unknown",
            },
            "unknown_files": report.unknown_files,
            "notes": self.caveats(),
        });
        if let (End::Torn { file, offset, bytes }, Some(members)) = (&report.end, object.as_object_mut()) {
            members.insert("place".into(), json!({"file": file, "offset": offset, "bytes": bytes}));
        }
        object
    }
}

/// `{"origin", "size", "root", "note"}`; the root in Base64, the note exactly as signed.
pub(crate) fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    json!({
        "origin": checkpoint.origin().as_str(),
        "size": checkpoint.size(),
        "root": BASE64.encode(checkpoint.root()),
        "note": checkpoint.as_str(),
    })
}
