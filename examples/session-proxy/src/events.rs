//! Failed second factors, lockouts and logins, told to `event-api`.
//!
//! The log is the spool: an event goes out once its entry is durable, and a file says up to which entry all were taken. What is under way
//! lies in a short queue in memory; where that is full, or after a restart, the log is read from there on. So nothing is left out, no
//! session waits for whoever is told, and what he refuses is on record. Where the log or the file cannot be used, it is tried again.

mod receiver;
mod told;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::{AuditLog, Entry};
use futures::TryStreamExt as _;
use mfa_events::Event;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::Failure;
use crate::files;
use crate::users::UserFile;
use receiver::Sent;
use told::Telling;

pub(crate) use receiver::{EventsToml, Receiver};

/// Most events that wait in memory. Beyond it, the log is read again.
const QUEUE_MAX: usize = 4_096;
/// Most events of one message.
const BATCH_MAX: usize = 200;
/// Until the first retry, doubled after each.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest time between two tries.
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// How often the file is brought up to what is there, while nobody logs in.
const MARK_EVERY: Duration = Duration::from_secs(60);
/// How long the end of the proxy waits for what is under way. The rest goes out at the next start.
const FAREWELL: Duration = Duration::from_secs(3);

/// Logins on their way from the log to whoever is told.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Shared>);

struct Shared {
    log: AuditLog,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// In the order of their entries.
    queue: VecDeque<Slot>,
    numbered: u64,
    /// There are entries that are not in the queue.
    is_behind: bool,
    /// Of those, how many are not durable yet.
    unqueued: usize,
}

struct Slot {
    number: u64,
    entry: Value,
    /// Once it is durable.
    seq: Option<u64>,
}

/// The place of an entry that is being appended.
enum Ticket {
    Queued(u64),
    Unqueued,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an event is one of those that go out.
    pub(crate) fn takes(event_type: &str) -> bool {
        told::is_told(event_type)
    }

    /// Appends an entry of a login to the log, and sends it on when it is durable: also where nobody waits for that any more.
    pub(crate) fn append(&self, fields: Map<String, Value>, entry: Entry) -> Durable {
        let (ticket, append) = {
            // Under one lock: the order here is that of the log.
            let mut state = self.state();
            let append = self.0.log.append(entry);
            (state.take(Value::Object(fields)), append)
        };
        let (outbox, (done, waits)) = (self.clone(), oneshot::channel());
        tokio::spawn(async move {
            let appended = append.await;
            outbox.resolve(&ticket, appended.as_ref().ok().map(|receipt| receipt.seq));
            let _ = done.send(appended.map(drop));
        });
        waits
    }

    fn resolve(&self, ticket: &Ticket, seq: Option<u64>) {
        {
            let mut state = self.state();
            match ticket {
                Ticket::Unqueued => state.unqueued = state.unqueued.saturating_sub(1),
                Ticket::Queued(number) => match seq {
                    // What the log has not taken has not happened.
                    None => state.queue.retain(|slot| slot.number != *number),
                    Some(_) => {
                        if let Some(slot) = state.queue.iter_mut().find(|slot| slot.number == *number) {
                            slot.seq = seq;
                        }
                    }
                },
            }
        }
        self.0.changed.notify_one();
    }
}

/// Resolves when an entry is durable.
pub(crate) type Durable = oneshot::Receiver<Result<(), audit_log::AppendError>>;

impl State {
    fn take(&mut self, entry: Value) -> Ticket {
        if self.is_behind || self.queue.len() >= QUEUE_MAX {
            self.is_behind = true;
            self.unqueued = self.unqueued.saturating_add(1);
            return Ticket::Unqueued;
        }
        self.numbered = self.numbered.wrapping_add(1);
        self.queue.push_back(Slot { number: self.numbered, entry, seq: None });
        Ticket::Queued(self.numbered)
    }

    /// The first of the queue that are durable.
    fn durable(&mut self) -> Vec<(u64, Value)> {
        let mut taken = Vec::new();
        while taken.len() < BATCH_MAX
            && let Some(seq) = self.queue.front().and_then(|slot| slot.seq)
            && let Some(slot) = self.queue.pop_front()
        {
            taken.push((seq, slot.entry));
        }
        taken
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.is_behind && self.unqueued == 0
    }
}

/// What the file holds: everything before this entry was taken.
#[derive(Deserialize, Serialize)]
struct Position {
    seq: u64,
}

/// The task that tells, until [`Sending::finish`].
pub(crate) struct Sending {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Sending {
    /// Goes on where it was; where it never was, from now on.
    pub(crate) fn start(
        receiver: Receiver,
        log: AuditLog,
        users: Arc<UserFile>,
        lock_time: Duration,
        data_dir: &Path,
    ) -> Result<(Self, Outbox), Failure> {
        let file = data_dir.join("events-position.json");
        let known = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice::<Position>(&text)
                .map(Some)
                .map_err(Failure::because(format!("`{}` is no position", file.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::because(format!("cannot read `{}`", file.display()))(error)),
        };
        let end = log.checkpoint().size();
        let position = match known {
            None => end,
            Some(known) if known.seq <= end => known.seq,
            // Whoever is told knows by their ids what he had already.
            Some(known) => {
                crate::say!(
                    "`{}` says that {} entries were told, and the log has {end}: it is told from its beginning",
                    file.display(),
                    known.seq
                );
                0
            }
        };
        let shared = Shared {
            log,
            state: Mutex::new(State { is_behind: true, ..State::default() }),
            changed: Notify::new(),
        };
        let outbox = Outbox(Arc::new(shared));
        let telling = Telling {
            is_known: Box::new(move |name| users.find(name).is_some()),
            secret: told::secret(data_dir)?,
            lock_time,
        };
        let mut sender = Sender {
            outbox: outbox.clone(),
            receiver,
            telling,
            file,
            position,
            marked: 0,
            is_failing: false,
        };
        sender.mark()?;
        let (end, ends) = oneshot::channel();
        let task = tokio::spawn(async move {
            sender.run(ends).await;
        });
        Ok((Self { task, end }, outbox))
    }

    /// Sends what is there, as far as that goes quickly. The rest is in the log, and goes out at the next start.
    pub(crate) async fn finish(self) {
        drop(self.end);
        let mut task = self.task;
        if tokio::time::timeout(FAREWELL, &mut task).await.is_err() {
            task.abort();
        }
    }
}

struct Sender {
    outbox: Outbox,
    receiver: Receiver,
    telling: Telling,
    file: PathBuf,
    /// Everything before it was taken.
    position: u64,
    /// What the file says of that.
    marked: u64,
    is_failing: bool,
}

impl Sender {
    /// A full disk or a busy log passes.
    async fn run(&mut self, mut ends: oneshot::Receiver<()>) {
        let mut pause = RETRY_FIRST;
        loop {
            let before = self.position;
            let Err(failure) = self.send(&mut ends).await else { return };
            // What was taken out of the queue is in the log.
            self.outbox.state().is_behind = true;
            if self.position > before {
                pause = RETRY_FIRST;
            }
            if pause == RETRY_FIRST {
                crate::say!("events wait in the log, and are tried again: {failure}");
            }
            tokio::select! {
                _ = &mut ends => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(RETRY_LONGEST);
        }
    }

    async fn send(&mut self, ends: &mut oneshot::Receiver<()>) -> Result<(), Failure> {
        loop {
            let is_behind = std::mem::take(&mut self.outbox.state().is_behind);
            if is_behind && !self.catch_up(ends).await? {
                return Ok(());
            }
            let batch = self.outbox.state().durable();
            if !batch.is_empty() {
                if !self.deliver(batch, ends).await? {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                biased;
                () = self.outbox.0.changed.notified() => {}
                _ = &mut *ends => {
                    if let Err(failure) = self.at_rest() {
                        crate::say!("events that were sent may be sent again: {failure}");
                    }
                    return Ok(());
                }
                () = tokio::time::sleep(MARK_EVERY) => self.at_rest()?,
            }
        }
    }

    /// Where nothing is under way, nothing before the end of the log is to be sent.
    fn at_rest(&mut self) -> Result<(), Failure> {
        let end = {
            let state = self.outbox.state();
            state.is_idle().then(|| self.outbox.0.log.checkpoint().size())
        };
        match end {
            Some(end) if end > self.marked => {
                self.position = self.position.max(end);
                self.mark()
            }
            _ => Ok(()),
        }
    }

    fn mark(&mut self) -> Result<(), Failure> {
        let text = serde_json::to_vec(&Position { seq: self.position })
            .map_err(Failure::because("a position cannot be written"))?;
        files::private_file(&self.file, &text)?;
        self.marked = self.position;
        Ok(())
    }

    /// Reads the log from the position on, to its end. Says whether it is to go on.
    async fn catch_up(&mut self, ends: &mut oneshot::Receiver<()>) -> Result<bool, Failure> {
        // Whoever comes from here on is in the queue; those before him have to be in the log.
        while self.outbox.state().unqueued > 0 {
            self.outbox.0.changed.notified().await;
        }
        let end = self.outbox.0.log.checkpoint().size();
        let mut entries = self.outbox.0.log.read(self.position..end);
        let mut batch = Vec::new();
        while let Some(entry) =
            entries.try_next().await.map_err(Failure::because("the log cannot be read"))?
        {
            let json = entry.to_json();
            if json.get("event_type").and_then(Value::as_str).is_some_and(told::is_told) {
                batch.push((entry.seq, json));
            }
            if batch.len() >= BATCH_MAX && !self.deliver(std::mem::take(&mut batch), ends).await? {
                return Ok(false);
            }
        }
        if !batch.is_empty() && !self.deliver(batch, ends).await? {
            return Ok(false);
        }
        if end > self.marked {
            self.position = self.position.max(end);
            self.mark()?;
        }
        Ok(true)
    }

    /// Sends until it is taken. Says whether it is to go on.
    async fn deliver(
        &mut self,
        entries: Vec<(u64, Value)>,
        ends: &mut oneshot::Receiver<()>,
    ) -> Result<bool, Failure> {
        let Some(last) = entries.last().map(|(seq, _)| *seq) else { return Ok(true) };
        let mut refused: Vec<(String, String)> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for (seq, entry) in &entries {
            // Read from the log already.
            if *seq < self.position {
                continue;
            }
            match self.telling.event(entry) {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) => {
                    let id = entry.get("event_id").and_then(Value::as_str).unwrap_or_default();
                    refused.push((id.to_owned(), error.to_string()));
                }
                None => {}
            }
        }
        let mut pause = RETRY_FIRST;
        while !events.is_empty() {
            match self.receiver.post(&events).await {
                Sent::Taken(some) => {
                    if std::mem::take(&mut self.is_failing) {
                        crate::say!("events are sent again");
                    }
                    refused.extend(some);
                    break;
                }
                Sent::Later { why, after } => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        crate::say!("events cannot be sent, and wait in the log: {why}");
                    }
                    let wait = after.unwrap_or_default().min(RETRY_LONGEST).max(pause);
                    pause = pause.saturating_mul(2).min(RETRY_LONGEST);
                    tokio::select! {
                        _ = &mut *ends => return Ok(false),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
        if !refused.is_empty() {
            self.refused(&refused).await?;
        }
        self.position = self.position.max(last.saturating_add(1));
        self.mark()?;
        Ok(true)
    }

    /// What is refused for good is left out, on record.
    async fn refused(&self, refused: &[(String, String)]) -> Result<(), Failure> {
        let (_, why) = refused.first().cloned().unwrap_or_default();
        crate::say!("{} events were refused, and are left out: {why}", refused.len());
        let ids: Vec<&str> = refused.iter().map(|(id, _)| id.as_str()).collect();
        let entry =
            Entry::new("events.refused").outcome("failure").field("event_ids", ids).field("message", why);
        let appended = self.outbox.0.log.append(entry).await;
        appended.map(drop).map_err(Failure::because("what was refused cannot be recorded"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU16, Ordering};

    use audit_log::{FileKeys, FileStore};
    use reqwest::Client;
    use reqwest::header::HeaderValue;
    use serde_json::json;
    use testbed::Stub;
    use testbed::http::Answer;

    use super::*;

    fn receiver(url: &str) -> Receiver {
        Receiver {
            client: Client::new(),
            url: url.parse().unwrap(),
            authorization: HeaderValue::from_static("Bearer k"),
        }
    }

    fn users(dir: &Path) -> Arc<UserFile> {
        let path = dir.join("users.toml");
        std::fs::write(&path, "").unwrap();
        UserFile::watch(path, |_| ()).unwrap()
    }

    async fn log(dir: &Path) -> AuditLog {
        let (store, keys) = (FileStore::open(dir.join("audit")), FileKeys::open(dir.join("keys")));
        AuditLog::open(store.unwrap(), keys.unwrap()).await.unwrap()
    }

    fn login(number: u64) -> (Map<String, Value>, Entry) {
        let event = json!({
            "event_id": format!("019aa2b0-5d3c-7c1e-9f00-{number:012x}"), "event_type": "login.failed",
            "timestamp": "2026-01-31T09:15:27.042Z", "method": "password", "reason": "bad_credential",
            "login_name": format!("name-{number}"), "outcome": "failure",
        });
        let fields = event.as_object().unwrap().clone();
        (fields.clone(), Entry::from_event(fields).unwrap())
    }

    /// Counts what it takes, by number; answers with this status.
    fn stub(status: &Arc<AtomicU16>) -> (Stub, Arc<Mutex<Vec<u64>>>) {
        let taken: Arc<Mutex<Vec<u64>>> = Arc::default();
        let (takes, answers) = (Arc::clone(&taken), Arc::clone(status));
        let stub = Stub::start(move |request| {
            let answers = answers.load(Ordering::SeqCst);
            if answers == 200 {
                let lines = std::str::from_utf8(&request.body).unwrap().lines();
                let numbers = lines.map(|line| {
                    let event: Value = serde_json::from_str(line).unwrap();
                    u64::from_str_radix(
                        event["event_id"].as_str().unwrap().split('-').next_back().unwrap(),
                        16,
                    )
                    .unwrap()
                });
                takes.lock().unwrap().extend(numbers);
            }
            Answer::new(answers, "application/json", "{\"rejected\":[]}")
        });
        (stub.unwrap(), taken)
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let waits = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), waits).await.is_ok(), "{what}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_no_room_in_memory_comes_from_the_log_each_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let status = Arc::new(AtomicU16::new(503));
        let (stub, taken) = stub(&status);
        let log = log(dir.path()).await;
        let url = format!("http://{}/v1/events", stub.addr());
        let (sending, outbox) =
            Sending::start(receiver(&url), log.clone(), users(dir.path()), MARK_EVERY, dir.path()).unwrap();
        let count = QUEUE_MAX as u64 + 1_000;
        let mut last = None;
        for number in 0..count {
            let (fields, entry) = login(number);
            last = Some(outbox.append(fields, entry));
        }
        // Nobody waits for whoever is told.
        last.unwrap().await.unwrap().unwrap();
        assert!(outbox.state().is_behind && taken.lock().unwrap().is_empty());
        status.store(200, Ordering::SeqCst);
        until("all are taken", || taken.lock().unwrap().len() as u64 >= count).await;
        assert!(taken.lock().unwrap().iter().copied().eq(0..count));
        let (fields, entry) = login(count);
        outbox.append(fields, entry).await.unwrap().unwrap();
        until("one more", || taken.lock().unwrap().len() as u64 > count).await;
        sending.finish().await;
        assert_eq!(taken.lock().unwrap().len() as u64, count + 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_restart_it_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let status = Arc::new(AtomicU16::new(200));
        let (stub, taken) = stub(&status);
        let url = format!("http://{}/v1/events", stub.addr());
        let mut number = 0;
        // What was there before nobody asked for.
        let first = log(dir.path()).await;
        first.append(login(999).1).await.unwrap();
        first.close().await.unwrap();
        for round in 0..3 {
            status.store(200, Ordering::SeqCst);
            let log = log(dir.path()).await;
            let (sending, outbox) =
                Sending::start(receiver(&url), log.clone(), users(dir.path()), MARK_EVERY, dir.path())
                    .unwrap();
            for is_taken in [true, false] {
                if !is_taken {
                    until("the first half", || taken.lock().unwrap().len() as u64 == number).await;
                    status.store(500, Ordering::SeqCst);
                }
                for _ in 0..5 {
                    let (fields, entry) = login(number);
                    outbox.append(fields, entry).await.unwrap().unwrap();
                    number += 1;
                }
            }
            assert!((taken.lock().unwrap().len() as u64) < number, "{round}");
            sending.finish().await;
            log.close().await.unwrap();
        }
        status.store(200, Ordering::SeqCst);
        let log = log(dir.path()).await;
        let (sending, _) =
            Sending::start(receiver(&url), log.clone(), users(dir.path()), MARK_EVERY, dir.path()).unwrap();
        until("the rest", || taken.lock().unwrap().len() as u64 >= number).await;
        sending.finish().await;
        let taken = taken.lock().unwrap();
        assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), (0..number).collect());
        assert!(taken.iter().copied().eq(0..number), "{taken:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_the_position_cannot_be_kept_it_goes_on_and_is_kept_later() {
        let dir = tempfile::tempdir().unwrap();
        let (stub, taken) = stub(&Arc::new(AtomicU16::new(200)));
        let url = format!("http://{}/v1/events", stub.addr());
        let log = log(dir.path()).await;
        let (sending, outbox) =
            Sending::start(receiver(&url), log.clone(), users(dir.path()), MARK_EVERY, dir.path()).unwrap();
        let in_the_way = dir.path().join("events-position.new");
        std::fs::create_dir(&in_the_way).unwrap();
        for number in 0..3 {
            let (fields, entry) = login(number);
            outbox.append(fields, entry).await.unwrap().unwrap();
            until("it goes on", || taken.lock().unwrap().len() as u64 > number).await;
        }
        std::fs::remove_dir(&in_the_way).unwrap();
        let position = || -> Position {
            serde_json::from_slice(&std::fs::read(dir.path().join("events-position.json")).unwrap()).unwrap()
        };
        until("it is kept", || position().seq == log.checkpoint().size()).await;
        sending.finish().await;
        assert!(taken.lock().unwrap().iter().copied().eq(0..3));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_position_beyond_the_log_leaves_nothing_out() {
        let dir = tempfile::tempdir().unwrap();
        let (stub, taken) = stub(&Arc::new(AtomicU16::new(200)));
        let url = format!("http://{}/v1/events", stub.addr());
        let log = log(dir.path()).await;
        log.append(login(0).1).await.unwrap();
        std::fs::write(dir.path().join("events-position.json"), b"{\"seq\":99}").unwrap();
        let (sending, outbox) =
            Sending::start(receiver(&url), log.clone(), users(dir.path()), MARK_EVERY, dir.path()).unwrap();
        let (fields, entry) = login(1);
        outbox.append(fields, entry).await.unwrap().unwrap();
        until("both", || taken.lock().unwrap().len() == 2).await;
        sending.finish().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_refused_for_good_is_left_out_on_record_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let stub = Stub::start(|_| {
            let report = json!({"rejected": [
                {"index": 0, "line": 1, "errors": [{"code": "event", "message": "no such thing"}]},
                {"index": 1, "line": 2, "errors": [{"code": "conflict", "message": "known"}]},
            ]});
            Answer::new(422, "application/json", report.to_string())
        });
        let stub = stub.unwrap();
        let url = format!("http://{}/v1/events", stub.addr());
        let log = log(dir.path()).await;
        let (sending, outbox) =
            Sending::start(receiver(&url), log.clone(), users(dir.path()), MARK_EVERY, dir.path()).unwrap();
        let (fields, entry) = login(7);
        outbox.append(fields, entry).await.unwrap().unwrap();
        // The entry of the login, then that of its refusal.
        let mut entries = log.tail(0);
        let entry = loop {
            let entry = entries.try_next().await.unwrap().unwrap().to_json();
            if entry["event_type"] == "events.refused" {
                break entry;
            }
        };
        assert_eq!(entry["event_ids"], json!(["019aa2b0-5d3c-7c1e-9f00-000000000007"]));
        assert_eq!(entry["message"], "no such thing");
        sending.finish().await;
    }
}
