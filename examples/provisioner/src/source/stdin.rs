//! Events on standard input, one on each line.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead as _, Read as _};
use std::time::Duration;

use chrono::Utc;
use connector_health::PersonId;
use tokio::sync::mpsc;

use crate::engine::{Engine, EngineError, TakeError};
use crate::people::{self, Happening};
use crate::say;

/// Longest line.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Most events that wait for what is stored of their people to be written again; nothing more is read meanwhile.
const WAITING_MAX: usize = 1_000;
/// Time between two tries of those.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What this source is called.
const STDIN: &str = "stdin";

/// Takes every line until the input ends; what is wrong is said with its number, and the next line is taken. While the database is
/// away, nothing more is read.
pub(crate) async fn read(engine: &Engine) -> Result<(), EngineError> {
    let mut lines = lines();
    let mut waiting = Waiting::default();
    let mut number = 0_u64;
    let mut has_ended = false;
    while !has_ended || !waiting.0.is_empty() {
        let line = tokio::select! {
            line = lines.recv(), if !has_ended && waiting.0.len() < WAITING_MAX => line,
            () = tokio::time::sleep(AGAIN_AFTER), if !waiting.0.is_empty() => {
                waiting.look(engine).await?;
                continue;
            }
        };
        let Some(line) = line else {
            has_ended = true;
            continue;
        };
        number = number.saturating_add(1);
        let text = match line {
            Ok(line) => line,
            Err(why) => {
                say(&format!("standard input, line {number}: {why}"));
                continue;
            }
        };
        if text.trim().is_empty() {
            continue;
        }
        match people::read(&text) {
            Err(mistakes) => {
                for mistake in mistakes {
                    say(&format!(
                        "standard input, line {number}, column {}: {}",
                        mistake.column, mistake.message
                    ));
                }
            }
            Ok(happenings) => {
                for happening in happenings {
                    // From now on it has its time, however often it is tried.
                    let at = happening.at.unwrap_or_else(Utc::now);
                    waiting.take(engine, number, Happening { at: Some(at), ..happening }).await?;
                }
            }
        }
    }
    Ok(())
}

/// Events, with the number of their line, of people of whom nothing can be written now: others go on.
#[derive(Default)]
struct Waiting(VecDeque<(u64, Happening)>);

impl Waiting {
    /// Takes an event after those of the same person that wait.
    async fn take(&mut self, engine: &Engine, number: u64, happening: Happening) -> Result<(), EngineError> {
        let waits = self.0.iter().any(|(_, before)| before.person.id == happening.person.id);
        if waits || !is_taken(engine, number, &happening).await? {
            self.0.push_back((number, happening));
        }
        Ok(())
    }

    /// Tries each of them, those of one person in their order.
    async fn look(&mut self, engine: &Engine) -> Result<(), EngineError> {
        let mut stuck: BTreeSet<PersonId> = BTreeSet::new();
        for (number, happening) in std::mem::take(&mut self.0) {
            if stuck.contains(&happening.person.id) || !is_taken(engine, number, &happening).await? {
                stuck.insert(happening.person.id.clone());
                self.0.push_back((number, happening));
            }
        }
        Ok(())
    }
}

/// Whether all was said that is to be said of an event: it is taken, or wrong.
async fn is_taken(engine: &Engine, number: u64, happening: &Happening) -> Result<bool, EngineError> {
    let (why, is_transient) = match engine.take_patiently(STDIN, happening).await {
        Ok(taken) => (taken.not_done(), taken.is_stuck),
        Err(TakeError::Failed(why)) => return Err(EngineError::Broken(why)),
        Err(error) => (Some(error.to_string()), error.is_transient()),
    };
    if let Some(why) = why {
        let again = if is_transient { "; it is tried again" } else { "" };
        say(&format!("standard input, line {number}: {why}{again}"));
    }
    Ok(!is_transient)
}

/// Lines as they come. A thread of its own reads them: nothing else can break off a read that waits, and the process
/// ends without it.
fn lines() -> mpsc::Receiver<Result<String, String>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let line = match input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) if line.len() as u64 >= LINE_BYTES_MAX && line.last() != Some(&b'\n') => {
                    if input.skip_until(b'\n').is_err() {
                        return;
                    }
                    Err(format!("longer than {LINE_BYTES_MAX} bytes"))
                }
                Ok(_) => String::from_utf8(line).map_err(|_| "not UTF-8".to_owned()),
                Err(_) => return,
            };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
