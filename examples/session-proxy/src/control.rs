//! The control socket: who is in, and out with them.
//!
//! One JSON object per line in each direction. Who asks is known from the peer credentials of the socket: the proxy's own
//! user and root may ask, nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use session_filter::registry::{Registry, Termination};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::Failure;

/// Longest request or reason.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// Time for a request and its answer.
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    List,
    Terminate { session_id: String, reason: String },
}

pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
    registry: Registry,
}

impl Control {
    /// Binds the socket, which only its owner may use. A socket that nobody answers any more is replaced.
    pub(crate) fn bind(path: PathBuf, registry: Registry) -> Result<Self, Failure> {
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
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed())?;
        Ok(Self { listener, path, registry })
    }

    pub(crate) async fn serve(self) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // A shortage of descriptors passes; whoever ends sessions must still be heard then.
                    crate::say!("control socket: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    continue;
                }
            };
            let registry = self.registry.clone();
            tokio::spawn(async move {
                // A client that breaks off has nobody to tell.
                let _ = tokio::time::timeout(ANSWER_WITHIN, answer(stream, &registry)).await;
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, registry: &Registry) -> std::io::Result<()> {
    let peer = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    let reply = if peer.uid() != own && peer.uid() != 0 {
        serde_json::json!({ "error": "only the proxy's own user and root may ask" })
    } else {
        let mut line = String::new();
        BufReader::new((&mut stream).take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
        match serde_json::from_str(&line) {
            Ok(Request::List) => serde_json::json!({ "sessions": registry.list() }),
            Ok(Request::Terminate { session_id, reason }) => {
                let by = name_of(peer.uid());
                let ended = registry.terminate(&session_id, Termination::new(by, reason));
                serde_json::json!({ "terminated": ended })
            }
            Err(error) => serde_json::json!({ "error": format!("not a request: {error}") }),
        }
    };
    stream.write_all(format!("{reply}\n").as_bytes()).await?;
    stream.shutdown().await
}

/// The login name of a user id, from the passwd file.
pub(crate) fn name_of(uid: u32) -> String {
    let listed = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    listed
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
        .unwrap_or_else(|| format!("uid {uid}"))
}

async fn ask(socket: &Path, request: &Request) -> Result<serde_json::Value, Failure> {
    let failed =
        || Failure::because::<std::io::Error>(format!("cannot ask the proxy at `{}`", socket.display()));
    let mut stream = UnixStream::connect(socket).await.map_err(failed())?;
    let line = serde_json::to_string(request).map_err(Failure::because("cannot ask"))?;
    stream.write_all(format!("{line}\n").as_bytes()).await.map_err(failed())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.map_err(failed())?;
    let reply: serde_json::Value =
        serde_json::from_str(&reply).map_err(Failure::because("the proxy's answer is not understood"))?;
    match reply.get("error").and_then(|error| error.as_str()) {
        Some(error) => Err(Failure::new(error)),
        None => Ok(reply),
    }
}

pub(crate) async fn list(socket: &Path, json: bool) -> Result<(), Failure> {
    let reply = ask(socket, &Request::List).await?;
    if json {
        println!("{reply}");
        return Ok(());
    }
    let sessions =
        reply.get("sessions").and_then(|sessions| sessions.as_array()).cloned().unwrap_or_default();
    if sessions.is_empty() {
        println!("nobody is in");
    }
    for session in sessions {
        let text =
            |name: &str| session.get(name).and_then(|v| v.as_str()).unwrap_or("-").escape_debug().to_string();
        let number = |name: &str| session.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        println!(
            "{}  {} on {} from {} since {} ({}): {} commands, {} blocked",
            text("session_id"),
            text("actor_id"),
            text("target_id"),
            text("source_ip"),
            text("started"),
            text("mode"),
            number("commands"),
            number("commands_blocked"),
        );
        for running in session.get("running").and_then(|v| v.as_array()).into_iter().flatten() {
            println!("    running: {}", running.as_str().unwrap_or("-").escape_debug());
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
    let reply = ask(socket, &Request::Terminate { session_id, reason }).await?;
    if json {
        println!("{reply}");
    }
    match reply.get("terminated").and_then(serde_json::Value::as_bool) {
        Some(true) => {
            if !json {
                println!("terminated");
            }
            Ok(())
        }
        _ => Err(Failure::new("no such session")),
    }
}
