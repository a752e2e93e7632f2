//! Calls that are given up at any point leave nothing behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use proptest::prelude::*;
use scim_client::auth::Bearer;
use scim_client::dialect::Dialect;
use scim_client::resilience::CONCURRENCY;
use scim_client::trace::{ATTEMPTS_KEPT_MAX, AttemptOutcome, Trace};
use scim_client::transport::{Connectivity, Stage};
use tokio::sync::Barrier;

use super::*;
use crate::stub::{Stub, failure};

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_is_on_record() {
    let to = Stub::new(|_| async {
        tokio::time::sleep(SECOND * 5).await;
        ann()
    });
    let trace = Trace::new();
    let users = client(to, Virtual::new()).traced(&trace).users();
    let call = users.delete(&id());
    assert!(tokio::time::timeout(SECOND, call.into_future()).await.is_err());
    let record = trace.take();
    let [attempt] = record.attempts() else { panic!("{record:?}") };
    assert_eq!((attempt.outcome, attempt.duration), (AttemptOutcome::Abandoned, SECOND));
    assert!(record.was_sent());
}

use std::future::IntoFuture as _;

/// How one request ends, and after how long.
fn end() -> impl Strategy<Value = (u8, u64)> {
    (0_u8..7, 0_u64..800)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn places_and_turns_are_given_back(
        ends in prop::collection::vec(end(), 1..60),
        patience_ms in prop::collection::vec(0_u64..3_000, 1..60),
        with_credential in any::<bool>(),
        bound in prop_oneof![Just(None), Just(Some(600_u32))],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Arc::new(Mutex::new(ends.into_iter()));
            let all_at_once = Arc::new(Barrier::new(CONCURRENCY));
            let checking = Arc::new(AtomicUsize::new(0));
            let to = Stub::new({
                let (all_at_once, checking) = (all_at_once.clone(), checking.clone());
                move |_| {
                    let calm = checking.load(Ordering::Relaxed) > 0;
                    let next = script.lock().unwrap().next().filter(|_| !calm);
                    let (all_at_once, checking) = (all_at_once.clone(), checking.clone());
                    async move {
                        if checking.load(Ordering::Relaxed) == 2 {
                            all_at_once.wait().await;
                            return ann();
                        }
                        let (how, after_ms) = next.unwrap_or((0, 10));
                        tokio::time::sleep(Duration::from_millis(after_ms)).await;
                        match how {
                            0 | 1 => ann(),
                            2 => answer(500, &[], ""),
                            3 => answer(429, &[("retry-after", "1")], ""),
                            4 => answer(503, &[], ""),
                            5 => failure(Stage::MaybeSent, Connectivity::Reset),
                            _ => failure(Stage::NotSent, Connectivity::Connect),
                        }
                    }
                }
            });
            let trace = Trace::new();
            let mut client = client(to.clone(), Virtual::new())
                .dialect(Dialect::rfc7644().with(|dialect| dialect.requests_per_minute = bound));
            if with_credential {
                client = client.auth(Bearer::new("good"));
            }
            let traced = client.traced(&trace);
            join_all(patience_ms.iter().map(|patience_ms| {
                let call = traced.users().get(&id()).into_future();
                async move { drop(tokio::time::timeout(Duration::from_millis(*patience_ms), call).await) }
            }))
            .await;
            // Whatever was sent is on record.
            let record = trace.take();
            prop_assert_eq!(record.attempts().len() + record.left_out(), to.count());
            checking.store(1, Ordering::Relaxed);
            // Time for pauses, and a call by which the credential is known to be good.
            tokio::time::advance(SECOND * 300).await;
            client.users().get(&id()).await.unwrap();
            tokio::time::advance(SECOND * 300).await;
            // As many as there are places get one, all at the same time.
            checking.store(2, Ordering::Relaxed);
            let all = join_all((0..CONCURRENCY).map(|_| client.users().get(&id()).into_future()));
            let all = tokio::time::timeout(SECOND * 60, all).await;
            prop_assert!(all.is_ok_and(|all| all.iter().all(Result::is_ok)), "a place was lost");
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn of_more_requests_than_a_record_keeps_the_last_one_is_there() {
    let trace = Trace::new();
    let users = client(Stub::always(ann), Virtual::new()).traced(&trace).users();
    for number in 0..300 {
        drop(users.get(&ResourceId::new(number.to_string())).await);
    }
    let record = trace.take();
    assert_eq!((record.attempts().len(), record.left_out()), (ATTEMPTS_KEPT_MAX, 300 - ATTEMPTS_KEPT_MAX));
    assert_eq!(record.attempts().last().unwrap().path, "/scim/v2/Users/299");
    assert!(record.was_sent());
}
