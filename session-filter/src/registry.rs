//! The sessions that live right now: list them, watch one, end one.

#[cfg(feature = "ssh")]
pub(crate) mod watch;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

#[cfg(feature = "ssh")]
pub use self::watch::{FRAME_EVERY, Frame, WATCHERS_MAX, Watch, WatchError};
use crate::event::cut_at_char;
use crate::policy::Mode;

/// One live session, as it was when [`Registry::list`] looked. `Debug` counts what runs and does not show it.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct LiveSession {
    /// The session's id, as in every event of it.
    pub session_id: String,
    /// Who.
    pub actor_id: String,
    /// On what.
    pub target_id: String,
    /// From where.
    pub source_ip: IpAddr,
    /// How commands run.
    pub mode: Mode,
    /// Since when.
    pub started: DateTime<Utc>,
    /// Commands sent so far.
    pub commands: u64,
    /// Commands blocked so far.
    pub commands_blocked: u64,
    /// What runs right now, as typed; lines that a rule redacts are redacted here, too.
    pub running: Vec<String>,
    /// Its terminals, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub terminals: Vec<LiveTerminal>,
}

/// A terminal of a live session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LiveTerminal {
    /// Its recording, by which a watcher chooses it.
    pub recording_id: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl LiveTerminal {
    /// A terminal of this size.
    pub fn new(recording_id: impl Into<String>, width: u32, height: u32) -> Self {
        Self { recording_id: recording_id.into(), width, height }
    }
}

impl std::fmt::Debug for LiveSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveSession")
            .field("session_id", &self.session_id)
            .field("actor_id", &self.actor_id)
            .field("target_id", &self.target_id)
            .field("source_ip", &self.source_ip)
            .field("mode", &self.mode)
            .field("started", &self.started)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

/// Longest name and reason of a [`Termination`], in bytes.
pub const TERMINATION_BYTES_MAX: usize = 512;

/// Why a session is to end, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Termination {
    /// Who ends it.
    pub by: String,
    /// What the user sees.
    pub reason: String,
}

impl Termination {
    /// `by` ends the session; the user sees `reason`. Both are cut at [`TERMINATION_BYTES_MAX`].
    pub fn new(by: impl Into<String>, reason: impl Into<String>) -> Self {
        let cut = |text: String| cut_at_char(&text, TERMINATION_BYTES_MAX).to_owned();
        Self { by: cut(by.into()), reason: cut(reason.into()) }
    }
}

type End = Box<dyn Fn(Termination) + Send + Sync>;

struct Entry {
    session: LiveSession,
    end: End,
    #[cfg(feature = "ssh")]
    shown: Option<watch::Shown>,
}

/// The live sessions of one process. Clones share one list.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// All live sessions, oldest first.
    pub fn list(&self) -> Vec<LiveSession> {
        let mut sessions: Vec<_> = self.lock().values().map(|entry| entry.session.clone()).collect();
        sessions.sort_by(|a, b| (a.started, &a.session_id).cmp(&(b.started, &b.session_id)));
        sessions
    }

    /// How many sessions `actor_id` has.
    pub fn count_of(&self, actor_id: &str) -> usize {
        self.lock().values().filter(|entry| entry.session.actor_id == actor_id).count()
    }

    /// Tells a session to end. The user sees the reason; the record names who ended it. False when no such session lives.
    ///
    /// Sessions of this crate's own engine first record `session.termination_asked`. They end whether or not that succeeds.
    pub fn terminate(&self, session_id: &str, termination: Termination) -> bool {
        match self.lock().get(session_id) {
            Some(entry) => {
                (entry.end)(termination);
                true
            }
            None => false,
        }
    }

    /// Enters a session; it leaves the list when the returned guard is dropped. `end` is called at most a few
    /// times, must not block and must not call back into the registry.
    pub fn enter(
        &self,
        session: LiveSession,
        end: impl Fn(Termination) + Send + Sync + 'static,
    ) -> Registration {
        self.insert(&mut self.lock(), session, Box::new(end))
    }

    /// Like [`enter`](Self::enter), unless the session's actor has `sessions_max` already.
    pub fn try_enter(
        &self,
        session: LiveSession,
        sessions_max: usize,
        end: impl Fn(Termination) + Send + Sync + 'static,
    ) -> Option<Registration> {
        let mut entries = self.lock();
        let held = entries.values().filter(|entry| entry.session.actor_id == session.actor_id).count();
        (held < sessions_max).then(|| self.insert(&mut entries, session, Box::new(end)))
    }

    fn insert(&self, entries: &mut HashMap<String, Entry>, session: LiveSession, end: End) -> Registration {
        let session_id = session.session_id.clone();
        let entry = Entry {
            session,
            end,
            #[cfg(feature = "ssh")]
            shown: None,
        };
        entries.insert(session_id.clone(), entry);
        Registration { registry: self.clone(), session_id }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("sessions", &self.lock().len()).finish()
    }
}

/// A session's place in the [`Registry`]; dropping it takes the session off the list.
#[derive(Debug)]
pub struct Registration {
    registry: Registry,
    session_id: String,
}

impl Registration {
    /// Changes what the list shows of this session.
    pub fn update(&self, change: impl FnOnce(&mut LiveSession)) {
        if let Some(entry) = self.registry.lock().get_mut(&self.session_id) {
            change(&mut entry.session);
        }
    }

    /// Lets the session be watched.
    #[cfg(feature = "ssh")]
    pub(crate) fn show(&self, shown: watch::Shown) {
        if let Some(entry) = self.registry.lock().get_mut(&self.session_id) {
            entry.shown = Some(shown);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.session_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str) -> LiveSession {
        LiveSession {
            session_id: id.to_owned(),
            actor_id: "alice".to_owned(),
            target_id: "web-1".to_owned(),
            source_ip: IpAddr::from([127, 0, 0, 1]),
            mode: Mode::ExecOnly,
            started: DateTime::UNIX_EPOCH,
            commands: 0,
            commands_blocked: 0,
            running: Vec::new(),
            terminals: Vec::new(),
        }
    }

    #[test]
    fn lists_live_sessions_and_forgets_ended_ones() {
        let registry = Registry::new();
        let first = registry.enter(session("a"), |_| ());
        let second = registry.enter(session("b"), |_| ());
        first.update(|live| live.commands = 7);
        assert_eq!(registry.list().iter().map(|s| s.commands).collect::<Vec<_>>(), [7, 0]);
        assert_eq!(registry.count_of("alice"), 2);
        drop(second);
        assert_eq!(registry.list().len(), 1);
        assert_eq!(registry.count_of("bob"), 0);
        let held = registry.try_enter(session("c"), 2, |_| ());
        assert!(held.is_some() && registry.try_enter(session("d"), 2, |_| ()).is_none());
    }

    #[test]
    fn termination_reaches_the_session_with_who_and_why() {
        let registry = Registry::new();
        let seen = Arc::new(Mutex::new(None));
        let sink = Arc::clone(&seen);
        let _held = registry.enter(session("a"), move |t| *sink.lock().unwrap() = Some(t));
        assert!(registry.terminate("a", Termination::new("bob", "maintenance")));
        assert!(!registry.terminate("b", Termination::new("bob", "maintenance")));
        assert_eq!(*seen.lock().unwrap(), Some(Termination::new("bob", "maintenance")));
    }
}
