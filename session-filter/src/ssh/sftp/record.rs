//! What the guard notices, as events of the session.

use crate::event::{Detail, Event};
use crate::sftp::Notice;
use crate::ssh::session::Session;
use crate::ssh::text::printable;

/// Paths are redacted like command lines, and made harmless for terminals.
pub(super) fn event(session: &Session, notice: Notice) -> Event {
    let clean = |text: &mut String| {
        // Redacted first: escaped, a secret might not be recognised any more.
        let redacted = session.shared.gatekeeper.redact(text).text;
        *text = printable(&redacted).into_owned();
    };
    let Notice { mut detail, outcome, reason, correlation_id } = notice;
    match &mut detail {
        Detail::FileOpened(about) | Detail::FileChanged(about) | Detail::FileBlocked(about) => {
            clean(&mut about.path);
            about.asked.iter_mut().for_each(clean);
            about.other_path.iter_mut().for_each(clean);
        }
        Detail::FileTransferred(transferred) => clean(&mut transferred.path),
        Detail::RequestRefused(refused) => refused.asked.iter_mut().for_each(clean),
        _ => {}
    }
    let event = session.journal.event(outcome, detail).correlated(correlation_id);
    match reason {
        Some((code, mut message)) => {
            clean(&mut message);
            event.because(code, message)
        }
        None => event,
    }
}
