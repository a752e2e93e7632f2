//! Events on standard input, one on each line.

use std::io::{BufRead as _, Read as _};

use tokio::sync::mpsc;

use crate::engine::{Engine, EngineError, TakeError};
use crate::people;
use crate::say;

/// Longest line.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Takes every line until the input ends; what is wrong is said with its number, and the next line is taken.
pub(crate) async fn read(engine: &Engine) -> Result<(), EngineError> {
    let mut lines = lines();
    let mut number = 0_u64;
    while let Some(line) = lines.recv().await {
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
                for happening in &happenings {
                    match engine.take(happening).await {
                        Ok(taken) => {
                            if let Some(why) = taken.not_done() {
                                say(&format!("standard input, line {number}: {why}"));
                            }
                        }
                        Err(TakeError::Mistake(why)) => say(&format!("standard input, line {number}: {why}")),
                        Err(TakeError::Failed(why)) => return Err(EngineError::Broken(why)),
                    }
                }
            }
        }
    }
    Ok(())
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
