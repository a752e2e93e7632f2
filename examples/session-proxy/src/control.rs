//! The control socket: who is in, what they see, and out with them.
//!
//! One JSON object per line in each direction. Who asks is known from the peer credentials of the socket, and what they may do from
//! [`Operators`]. Every act, and every refusal, is on durable record before it has any effect.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_filter::event::{Act, Detail, Event, OperatorActed, Outcome, Subject};
use session_filter::record::{RecordError, Recorder as _};
use session_filter::registry::{Frame, LiveSession, Registry, Termination, Watch, WatchError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::Failure;
use crate::operators::{NotPermitted, Operators, Role, gid_of, name_of};
use crate::recorder::AuditRecorder;

/// Longest request or reason.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// Time for a request, and for each piece of an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Time that a refusal takes, so that whoever repeats what is refused does not fill the log.
const REFUSE_AFTER: Duration = Duration::from_millis(250);

/// Connections that one account may have at a time; watchers keep theirs.
const CONNECTIONS_PER_ACCOUNT_MAX: usize = 16;

/// Time for what watchers are still to hear when the proxy stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What may be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    List,
    Watch {
        session_id: String,
        /// The terminal to stay with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recording_id: Option<String>,
    },
    Terminate {
        session_id: String,
        reason: String,
    },
}

impl Request {
    fn role(&self) -> Role {
        match self {
            Self::List => Role::List,
            Self::Watch { .. } => Role::Watch,
            Self::Terminate { .. } => Role::Terminate,
        }
    }

    fn act(&self) -> Act {
        match self {
            Self::List => Act::List,
            Self::Watch { .. } => Act::Watch,
            Self::Terminate { .. } => Act::Terminate,
        }
    }

    fn session_id(&self) -> Option<&str> {
        match self {
            Self::List => None,
            Self::Watch { session_id, .. } | Self::Terminate { session_id, .. } => Some(session_id),
        }
    }
}

pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
    desk: Arc<Desk>,
}

impl Control {
    /// Binds the socket. Without a group only its owner can connect; with one, the group's members can. A socket that nobody answers any
    /// more is replaced.
    pub(crate) fn bind(
        path: PathBuf,
        group: Option<&str>,
        registry: Registry,
        operators: Operators,
        recorder: AuditRecorder,
    ) -> Result<Self, Failure> {
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(Failure::new(format!("another proxy answers on `{}`", path.display())));
        }
        if let Ok(found) = std::fs::symlink_metadata(&path) {
            if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) {
                return Err(Failure::new(format!("`{}` is not a socket", path.display())));
            }
            // Left over from a process that was killed.
            let _ = std::fs::remove_file(&path);
        }
        let failed =
            || Failure::because::<std::io::Error>(format!("cannot make socket `{}`", path.display()));
        let listener = UnixListener::bind(&path).map_err(failed())?;
        let permit = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        permit(0o600).map_err(failed())?;
        if let Some(group) = group {
            let gid = gid_of(group).ok_or_else(|| Failure::new(format!("there is no group `{group}`")))?;
            std::os::unix::fs::chown(&path, None, Some(gid))
                .and_then(|()| permit(0o660))
                .map_err(Failure::because(format!("cannot give `{}` to group `{group}`", path.display())))?;
        }
        let desk = Arc::new(Desk { registry, operators, recorder, places: Mutex::default() });
        Ok(Self { listener, path, desk })
    }

    /// Answers until `stop` resolves; then watchers hear their last words.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) {
        let mut answering = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(_) = answering.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // A shortage of descriptors passes; whoever ends sessions must still be heard then.
                    crate::say!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let Ok(peer) = stream.peer_cred() else { continue };
            let Some(place) = self.desk.place(peer.uid()) else { continue };
            let desk = Arc::clone(&self.desk);
            answering.spawn(async move {
                // A client that breaks off has nobody to tell.
                let _ = desk.answer(stream, place.uid).await;
                drop(place);
            });
        }
        let last = async { while answering.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, last).await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where requests are answered.
struct Desk {
    registry: Registry,
    operators: Operators,
    recorder: AuditRecorder,
    /// Connections per account.
    places: Mutex<HashMap<u32, usize>>,
}

/// One connection of an account.
struct Place {
    desk: Arc<Desk>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.desk.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = places.get_mut(&self.uid) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                places.remove(&self.uid);
            }
        }
    }
}

impl Desk {
    fn place(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let held = places.entry(uid).or_default();
        if *held >= CONNECTIONS_PER_ACCOUNT_MAX {
            return None;
        }
        *held += 1;
        Some(Place { desk: Arc::clone(self), uid })
    }

    async fn answer(&self, mut stream: UnixStream, uid: u32) -> std::io::Result<()> {
        let mut line = String::new();
        let mut reader = BufReader::new((&mut stream).take(REQUEST_BYTES_MAX));
        tokio::time::timeout(ANSWER_WITHIN, reader.read_line(&mut line)).await??;
        let request: Request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                return say(&mut stream, &json!({ "error": format!("not a request: {error}") })).await;
            }
        };
        let operator = name_of(uid);
        if let Err(NotPermitted { code, message }) = self.operators.may(uid, request.role()) {
            let declined = self.decline(&request, &operator, Outcome::Blocked, (code, message)).await;
            return say(&mut stream, &declined).await;
        }
        match &request {
            Request::List => {
                let event = self.event(&request, &operator, None, Outcome::Success);
                let reply = match self.recorder.record(event).await {
                    Ok(()) => json!({ "sessions": self.registry.list() }),
                    Err(error) => json!({ "error": unrecorded(&error) }),
                };
                say(&mut stream, &reply).await
            }
            // The session itself records that it was asked to end, and then ends.
            Request::Terminate { session_id, reason } => {
                let reply = match self.registry.terminate(session_id, Termination::new(&operator, reason)) {
                    true => json!({ "terminated": true }),
                    false => self.cannot(&request, &operator, WatchError::NoSession).await,
                };
                say(&mut stream, &reply).await
            }
            Request::Watch { session_id, recording_id } => {
                let session = self.session(session_id);
                match self.registry.watch(session_id, &operator).await {
                    Ok(watch) => show(stream, watch, session, recording_id.as_deref()).await,
                    Err(error) => {
                        let reply = self.cannot(&request, &operator, error).await;
                        say(&mut stream, &reply).await
                    }
                }
            }
        }
    }

    fn session(&self, session_id: &str) -> Option<LiveSession> {
        self.registry.list().into_iter().find(|session| session.session_id == session_id)
    }

    /// Puts on record what was asked for and is not done, and makes the answer that says why.
    async fn decline(
        &self,
        request: &Request,
        operator: &str,
        outcome: Outcome,
        (code, message): (&'static str, String),
    ) -> Value {
        let session = request.session_id().and_then(|id| self.session(id));
        let event = self.event(request, operator, session.as_ref(), outcome);
        let recorded = self.recorder.record(event.because(code, &message)).await;
        tokio::time::sleep(REFUSE_AFTER).await;
        json!({ "error": recorded.map_or_else(|error| unrecorded(&error), |()| message) })
    }

    /// The answer where a session cannot be watched or ended. The session records what becomes of it; here is the rest.
    async fn cannot(&self, request: &Request, operator: &str, error: WatchError) -> Value {
        let code = match &error {
            WatchError::Recorder(error) => return json!({ "error": unrecorded(error) }),
            WatchError::TooManyWatchers => "too_many_watchers",
            _ => "no_such_session",
        };
        self.decline(request, operator, Outcome::Failure, (code, error.to_string())).await
    }

    /// An act on a session has the session's subject; without one, the operator is who acted.
    fn event(
        &self,
        request: &Request,
        operator: &str,
        session: Option<&LiveSession>,
        outcome: Outcome,
    ) -> Event {
        let mut subject = Subject::default();
        match session {
            Some(session) => {
                subject.actor_id = Some(session.actor_id.clone());
                subject.target_id = Some(session.target_id.clone());
                subject.session_id = Some(session.session_id.clone());
                subject.source_ip = Some(session.source_ip);
            }
            None => subject.actor_id = Some(operator.to_owned()),
        }
        let acted = OperatorActed::new(operator, request.act());
        let acted = match (session, request.session_id()) {
            (None, Some(named)) => acted.asked(named),
            _ => acted,
        };
        Event::new(subject, outcome, Detail::OperatorActed(acted), Utc::now())
    }
}

/// Shows a session until it ends or the watcher leaves. The session itself records both.
async fn show(
    mut stream: UnixStream,
    mut watch: Watch,
    session: Option<LiveSession>,
    recording_id: Option<&str>,
) -> std::io::Result<()> {
    if let Some(recording_id) = recording_id {
        watch.choose(recording_id);
    }
    say(&mut stream, &json!({ "frame": "session", "session": session })).await?;
    let mut left = [0_u8; 1];
    loop {
        let frame = tokio::select! {
            frame = watch.next() => frame,
            // A watcher says nothing more; this is the connection's end.
            _ = stream.read(&mut left) => return Ok(()),
        };
        let line = match frame {
            Some(Frame::Screen { recording_id, cols, rows, is_whole, bytes }) => json!({
                "frame": "screen",
                "recording_id": recording_id,
                "cols": cols,
                "rows": rows,
                "is_whole": is_whole,
                "drawn": bytes,
            }),
            Some(Frame::Ended { reason }) => json!({ "frame": "ended", "reason": reason }),
            Some(_) => continue,
            None => return Ok(()),
        };
        say(&mut stream, &line).await?;
    }
}

fn unrecorded(error: &RecordError) -> String {
    format!("it cannot be recorded, so it is not done: {error}")
}

async fn say(stream: &mut UnixStream, what: &Value) -> std::io::Result<()> {
    let line = format!("{what}\n");
    tokio::time::timeout(ANSWER_WITHIN, stream.write_all(line.as_bytes())).await?
}
