//! Until each responder has heard.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Notice, RespondError, Responder};

/// How long to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Patience {
    /// Time until the first retry; doubled after each.
    pub first: Duration,
    /// Longest time between two tries.
    pub longest: Duration,
    /// How long one try may take.
    pub each: Duration,
    /// After which no further try is begun.
    pub give_up_after: Duration,
}

impl Default for Patience {
    /// 1 s, at most 60 s between two tries, 30 s for each, an hour in all.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            each: Duration::from_secs(30),
            give_up_after: Duration::from_secs(3_600),
        }
    }
}

/// How it went with one responder.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivered {
    /// Its name.
    pub responder: String,
    /// How often it was told.
    pub tries: u32,
    /// Whether it has heard; the last error where it has not.
    pub outcome: Result<(), RespondError>,
}

/// Tells all responders, each for itself and all at once, and again with the same id until it has heard or it is too late. Answers in
/// their order.
///
/// Nothing is kept meanwhile. A notice that must survive a crash is told again afterwards, from where its alert is kept: its id is the
/// same then, and whoever has acted on it does not act again.
///
/// # Cancellation
/// When the future is dropped, no further try is begun.
pub async fn deliver(
    responders: &[(String, Arc<dyn Responder>)],
    notice: &Notice,
    patience: Patience,
    clock: impl Fn() -> DateTime<Utc> + Clone + Send + 'static,
) -> Vec<Delivered> {
    let mut all = JoinSet::new();
    for (place, (_, responder)) in responders.iter().enumerate() {
        let (responder, notice, clock) = (Arc::clone(responder), notice.clone(), clock.clone());
        all.spawn(async move { (place, tell(&*responder, &notice, patience, clock).await) });
    }
    let mut outcomes: Vec<Option<(u32, Result<(), RespondError>)>> = vec![None; responders.len()];
    while let Some(joined) = all.join_next().await {
        // A responder that panics has not heard.
        if let Ok((place, outcome)) = joined
            && let Some(slot) = outcomes.get_mut(place)
        {
            *slot = Some(outcome);
        }
    }
    let panicked = || (1, Err(RespondError::Refused { why: "the responder panicked".to_owned() }));
    let told = responders.iter().zip(outcomes).map(|((name, _), outcome)| {
        let (tries, outcome) = outcome.unwrap_or_else(panicked);
        Delivered { responder: name.clone(), tries, outcome }
    });
    told.collect()
}

async fn tell(
    responder: &dyn Responder,
    notice: &Notice,
    patience: Patience,
    clock: impl Fn() -> DateTime<Utc> + Send,
) -> (u32, Result<(), RespondError>) {
    let begun = Instant::now();
    let (mut tries, mut pause) = (0_u32, patience.first);
    loop {
        tries = tries.saturating_add(1);
        let told = timeout(patience.each, responder.respond(notice, clock())).await;
        let error = match told {
            Ok(Ok(())) => return (tries, Ok(())),
            Ok(Err(error @ RespondError::Refused { .. })) => return (tries, Err(error)),
            Ok(Err(error)) => error,
            Err(_) => RespondError::Unavailable { why: "it did not answer in time".to_owned(), after: None },
        };
        let asked = match &error {
            RespondError::Unavailable { after: Some(after), .. } => *after,
            _ => Duration::ZERO,
        };
        let wait = pause.max(asked);
        if begun.elapsed().saturating_add(wait) > patience.give_up_after {
            return (tries, Err(error));
        }
        sleep(wait).await;
        pause = pause.saturating_mul(2).min(patience.longest);
    }
}
