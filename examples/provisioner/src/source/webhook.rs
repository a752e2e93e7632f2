//! Events that an HR system posts, signed as the Standard Webhooks specification has it.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::alert::signature;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::api::{self, said};
use crate::engine::{Engine, EngineError};
use crate::files;

/// How far a message's time may be off, before and after.
pub(crate) const REPLAY_WINDOW: TimeDelta = TimeDelta::minutes(5);
/// How long an identifier is remembered: a sender tries again for days.
const REMEMBERED_FOR: TimeDelta = TimeDelta::days(3);
/// Most identifiers that are remembered.
const IDS_MAX: usize = 100_000;
/// Longest identifier.
const ID_BYTES_MAX: usize = 256;
/// Most signatures of one message that are looked at.
const SIGNATURES_MAX: usize = 8;
/// Largest message.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Messages that were taken, in a file that only grows while the service runs.
struct Taken {
    file: std::fs::File,
    ids: HashMap<String, DateTime<Utc>>,
    /// Being taken at this moment.
    now: HashSet<String>,
}

struct Door {
    engine: Arc<Engine>,
    secret: Zeroizing<Vec<u8>>,
    taken: Mutex<Taken>,
}

/// Answers `POST /webhooks/events`.
pub(crate) fn router(
    engine: Arc<Engine>,
    secret: Zeroizing<Vec<u8>>,
    file: PathBuf,
) -> Result<Router, EngineError> {
    let taken = Mutex::new(Taken::open(file, Utc::now())?);
    Ok(Router::new()
        .route("/webhooks/events", post(message))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(Door { engine, secret, taken })))
}

async fn message(State(door): State<Arc<Door>>, headers: HeaderMap, body: Bytes) -> Response {
    let now = Utc::now();
    let (id, at) = match verified(&door.secret, &headers, &body, now) {
        Ok(known) => known,
        Err(why) => return said(StatusCode::UNAUTHORIZED, why),
    };
    match door.taken().begin(&id, now) {
        Begin::Go => {}
        Begin::Before => return said(StatusCode::OK, "this message was taken before"),
        Begin::Now => return said(StatusCode::CONFLICT, "this message is being taken"),
        Begin::Full => {
            return said(StatusCode::SERVICE_UNAVAILABLE, "too many messages at once: again later");
        }
    }
    // Whatever happens, the message may come again.
    let _going = Going { door: &door, id: &id };
    let answer = api::taken(&door.engine, &body, Some(at)).await;
    if answer.status() == StatusCode::ACCEPTED
        && let Err(error) = door.taken().remember(&id, now)
    {
        return api::failed(&error);
    }
    answer
}

/// Identifier and time of a message that whoever has the secret has just sent.
fn verified(
    secret: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<(String, DateTime<Utc>), &'static str> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let id = header("webhook-id").ok_or("`webhook-id` is missing")?;
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("`webhook-id` is no identifier");
    }
    let timestamp: i64 = header("webhook-timestamp")
        .and_then(|text| text.parse().ok())
        .ok_or("`webhook-timestamp` is no number of seconds")?;
    let shown = header("webhook-signature").ok_or("`webhook-signature` is missing")?;
    let wanted = signature(secret, id, timestamp, body);
    // One for each secret, while one is replaced by another.
    let mut matches = false;
    for one in shown.split(' ').take(SIGNATURES_MAX) {
        matches |= bool::from(one.as_bytes().ct_eq(wanted.as_bytes()));
    }
    if !matches {
        return Err("the signature is not this message's");
    }
    let at = DateTime::from_timestamp(timestamp, 0).ok_or("`webhook-timestamp` is out of range")?;
    if now.signed_duration_since(at).abs() > REPLAY_WINDOW {
        return Err("the message is too old, or a clock is wrong");
    }
    Ok((id.to_owned(), at))
}

enum Begin {
    Go,
    Before,
    Now,
    Full,
}

impl Taken {
    fn open(path: PathBuf, now: DateTime<Utc>) -> Result<Self, EngineError> {
        let failed = |source| EngineError::File { what: "cannot read", path: path.clone(), source };
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.map_err(failed)?,
        };
        // A line that a crash cut short names a message that was not answered: it comes again.
        let known = text.lines().filter_map(|line| {
            let (at, id) = line.split_once(' ')?;
            Some((id.to_owned(), DateTime::from_timestamp(at.parse().ok()?, 0)?))
        });
        let ids: HashMap<_, _> =
            known.filter(|(_, at)| now.signed_duration_since(*at) < REMEMBERED_FOR).collect();
        let kept: String = ids.iter().map(|(id, at)| line(id, *at)).collect();
        files::private_file(&path, kept.as_bytes())?;
        let file = std::fs::OpenOptions::new().append(true).open(&path).map_err(failed)?;
        Ok(Self { file, ids, now: HashSet::new() })
    }

    fn begin(&mut self, id: &str, now: DateTime<Utc>) -> Begin {
        if self.ids.contains_key(id) {
            return Begin::Before;
        }
        if self.ids.len().saturating_add(self.now.len()) >= IDS_MAX {
            self.ids.retain(|_, at| now.signed_duration_since(*at) < REPLAY_WINDOW * 2);
            if self.ids.len().saturating_add(self.now.len()) >= IDS_MAX {
                return Begin::Full;
            }
        }
        if self.now.insert(id.to_owned()) { Begin::Go } else { Begin::Now }
    }

    fn remember(&mut self, id: &str, now: DateTime<Utc>) -> std::io::Result<()> {
        self.file.write_all(line(id, now).as_bytes())?;
        self.file.sync_data()?;
        self.ids.insert(id.to_owned(), now);
        Ok(())
    }
}

fn line(id: &str, at: DateTime<Utc>) -> String {
    format!("{} {id}\n", at.timestamp())
}

impl Door {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message on its way into the outbox; also where whoever sent it goes away.
struct Going<'a> {
    door: &'a Door,
    id: &'a str,
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.door.taken().now.remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef01234567";

    fn headers(id: &str, timestamp: i64, signatures: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.to_string().parse().unwrap());
        headers.insert("webhook-signature", signatures.parse().unwrap());
        headers
    }

    #[test]
    fn only_a_fresh_message_with_its_own_signature_is_let_in() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let good = |at: i64| signature(SECRET, "msg-1", at, b"{}");
        let at = now.timestamp();
        assert_eq!(verified(SECRET, &headers("msg-1", at, &good(at)), b"{}", now).unwrap().0, "msg-1");
        let two = format!("v1,AAAA {}", good(at - 300));
        assert!(verified(SECRET, &headers("msg-1", at - 300, &two), b"{}", now).is_ok());
        for (id, timestamp, signatures, body) in [
            ("msg-1", at - 301, good(at - 301), "{}"),
            ("msg-1", at + 301, good(at + 301), "{}"),
            ("msg-2", at, good(at), "{}"),
            ("msg-1", at - 1, good(at), "{}"),
            ("msg-1", at, good(at), "{ }"),
            ("msg-1", at, signature(b"another secret of enough bytes", "msg-1", at, b"{}"), "{}"),
            ("msg-1", at, String::new(), "{}"),
        ] {
            let shown = headers(id, timestamp, &signatures);
            assert!(
                verified(SECRET, &shown, body.as_bytes(), now).is_err(),
                "{id} {timestamp} {signatures} {body}"
            );
        }
    }

    #[test]
    fn a_message_that_was_taken_is_known_after_a_restart_for_three_days() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ids");
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut taken = Taken::open(file.clone(), now).unwrap();
        assert!(matches!(taken.begin("a", now), Begin::Go));
        assert!(matches!(taken.begin("a", now), Begin::Now));
        taken.remember("a", now).unwrap();
        drop(taken);
        let mut taken = Taken::open(file.clone(), now).unwrap();
        assert!(matches!(taken.begin("a", now), Begin::Before));
        let mut taken = Taken::open(file, now + REMEMBERED_FOR).unwrap();
        assert!(matches!(taken.begin("a", now), Begin::Go));
    }
}
