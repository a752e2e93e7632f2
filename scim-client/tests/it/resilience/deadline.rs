//! A time for the whole call.

use futures::future::join_all;
use scim_client::resource::User;
use scim_client::trace::AttemptOutcome;
use scim_client::transport::{Connectivity, Stage};
use scim_client::{Advice, ErrorKind};

use super::*;
use crate::stub::{Stub, endless, failure};

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up() {
    let clock = Virtual::new();
    let to = Stub::always(|| endless(201));
    let client = client(to, clock).deadline(SECOND * 90);
    let error = client.users().create(&User::new("ann")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnknownOutcome(Connectivity::Timeout));
    assert_eq!((error.advice(), clock.elapsed()), (Advice::ResolveByReading, SECOND * 90));
    let ends: Vec<_> = error.attempts().iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(ends, [AttemptOutcome::Abandoned]);
}

#[tokio::test(start_paused = true)]
async fn who_never_had_a_turn_sent_nothing() {
    let clock = Virtual::new();
    let to = Stub::always(|| endless(200));
    let client = client(to.clone(), clock).concurrency(1).deadline(SECOND * 10);
    let users = client.users();
    let both = join_all([users.get(&id()), users.get(&id())].map(std::future::IntoFuture::into_future)).await;
    let [first, second] = both.try_into().unwrap();
    assert!(first.unwrap_err().was_sent());
    let second = second.unwrap_err();
    assert_eq!(*second.kind(), ErrorKind::NotSent(Connectivity::Timeout));
    assert!(!second.was_sent());
    assert_eq!((to.count(), clock.elapsed()), (1, SECOND * 10));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_outlast_it_is_not_begun() {
    for first in [answer(429, &[("retry-after", "30")], ""), failure(Stage::NotSent, Connectivity::Dns)] {
        let clock = Virtual::new();
        let to = Stub::scripted([first, ann()]);
        let client = client(to.clone(), clock).deadline(Duration::from_millis(1));
        let error = client.users().get(&id()).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(to.count(), 1);
        assert!(clock.elapsed() < SECOND);
    }
}
