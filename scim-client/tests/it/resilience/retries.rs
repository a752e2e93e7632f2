//! What is tried again, and how often.

use scim_client::dialect::Dialect;
use scim_client::message::PatchOp;
use scim_client::resilience::{Failure, Retry, Verdict};
use scim_client::resource::User;
use scim_client::trace::{AttemptOutcome, Trace};
use scim_client::transport::{Connectivity, MemoryTransport, Scripted, Stage};
use scim_client::{Advice, Client, Error, ErrorKind};
use serde_json::{Value, json};

use super::*;
use crate::stub::{Stub, failure};

fn reset() -> Answer {
    failure(Stage::MaybeSent, Connectivity::Reset)
}

fn refused() -> Answer {
    failure(Stage::NotSent, Connectivity::Connect)
}

fn status(status: u16) -> Answer {
    answer(status, &[], "")
}

fn wait(status: u16, seconds: &str) -> Answer {
    answer(status, &[("retry-after", seconds)], "")
}

/// How often each method is sent where each attempt ends so.
async fn sent_of_each(ends: fn() -> Answer) -> Vec<(&'static str, usize)> {
    let mut seen = Vec::new();
    for method in ["GET", "PUT", "DELETE", "POST", "PATCH"] {
        let to = Stub::always(ends);
        let users = client(to.clone(), Virtual::new()).users();
        let ann = User::new("ann");
        let patch = PatchOp::new().add_members([&id()]);
        let error = match method {
            "GET" => users.get(&id()).await.unwrap_err(),
            "PUT" => users.replace(&id(), &ann).await.unwrap_err(),
            "DELETE" => users.delete(&id()).await.unwrap_err(),
            "POST" => users.create(&ann).await.unwrap_err(),
            _ => users.patch(&id(), &patch).await.unwrap_err(),
        };
        assert_eq!(error.attempts().len(), to.count(), "{error}");
        seen.push((method, to.count()));
    }
    seen
}

fn each(reads: usize, repeatable: usize, others: usize) -> Vec<(&'static str, usize)> {
    vec![("GET", reads), ("PUT", repeatable), ("DELETE", repeatable), ("POST", others), ("PATCH", others)]
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_is_not_done_twice() {
    for ends in [reset as fn() -> Answer, || status(500), || status(502), || status(503), || status(504)] {
        assert_eq!(sent_of_each(ends).await, each(4, 4, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_done_is_tried_again_whatever_it_is() {
    for ends in [refused as fn() -> Answer, || status(429), || wait(429, "1"), || wait(503, "1")] {
        assert_eq!(sent_of_each(ends).await, each(4, 4, 4));
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_end_the_same_way_is_not_tried_again() {
    for ends in [|| status(400), || status(403), || status(409), || status(412), || status(407)] {
        assert_eq!(sent_of_each(ends).await, each(1, 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn waits_grow_at_random_and_are_the_same_with_the_same_seed() {
    let mut took = Vec::new();
    for seed in [1, 1, 2] {
        let clock = Virtual::new();
        let to = Stub::scripted([refused(), refused(), reset(), ann()]);
        let read = client(to, clock).seed(seed).users().get(&id()).await.unwrap();
        assert_eq!(read.exchange.attempts().len(), 4);
        took.push(clock.elapsed());
    }
    assert_eq!(took[0], took[1]);
    assert_ne!(took[0], took[2]);
    assert!(took.iter().all(|took| *took <= Duration::from_millis(3_500)), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_as_long_as_the_server_says() {
    let (now, later) = ("Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 08:00:40 GMT");
    let dated = answer(503, &[("date", now), ("retry-after", later)], "");
    for (first, seconds) in [(wait(429, "40"), 40), (dated, 40), (wait(429, "0"), 0), (wait(503, "1.5"), 1)] {
        let clock = Virtual::new();
        let to = Stub::scripted([first, ann()]);
        client(to, clock).users().get(&id()).await.unwrap();
        let took = clock.elapsed();
        // The pace is slower afterwards.
        assert!(took >= SECOND * seconds && took <= SECOND * (seconds + 2), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_wait_than_anyone_has_patience_for_comes_back_with_its_advice() {
    let clock = Virtual::new();
    let to = Stub::scripted([wait(429, "120"), ann()]);
    let client = client(to.clone(), clock);
    let error = client.users().get(&id()).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Retry { after: Some(SECOND * 120) });
    assert_eq!(clock.elapsed(), Duration::ZERO);
    // Nobody else asks meanwhile, and nobody waits in vain.
    tokio::time::advance(SECOND * 20).await;
    let error = client.users().create(&User::new("ann")).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Retry { after: Some(SECOND * 100) });
    assert!(!error.was_sent());
    assert_eq!((to.count(), clock.elapsed()), (1, SECOND * 20));
    // Who has the patience waits.
    tokio::time::advance(SECOND * 50).await;
    client.users().get(&id()).await.unwrap();
    assert!(clock.elapsed() >= SECOND * 120);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_one_more_failed_attempt() {
    let user = json!({"schemas": [User::SCHEMA], "id": "1", "userName": "ann"});
    let list = json!({"schemas": [scim_client::urn::LIST_RESPONSE], "totalResults": 1, "Resources": [user]});
    for body in [user, list] {
        let is_list = body.get("Resources").is_some();
        let to = MemoryTransport::scripted([
            Scripted::json(200, &body).breaks_after(20, Connectivity::Reset),
            Scripted::json(200, &body).breaks_after(0, Connectivity::Timeout),
            Scripted::json(200, &body),
        ]);
        let trace = Trace::new();
        let users = client(to, Virtual::new())
            .dialect(Dialect::rfc7644().with(|d| d.paging = scim_client::dialect::Paging::Index))
            .traced(&trace)
            .users();
        if is_list {
            assert_eq!(users.list().all().await.unwrap().len(), 1);
        } else {
            users.get(&id()).await.unwrap();
        }
        let ends: Vec<_> = trace.take().attempts().iter().map(|attempt| attempt.outcome).collect();
        let interrupted = |kind| AttemptOutcome::Interrupted { status: 200, kind };
        let (reset, timeout) = (interrupted(Connectivity::Reset), interrupted(Connectivity::Timeout));
        assert_eq!(ends, [reset, timeout, AttemptOutcome::Answered { status: 200 }]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_breaks_off_is_looked_for() {
    let body: Value = json!({"schemas": [User::SCHEMA], "id": "1", "userName": "ann"});
    // Whatever a transport says of a body: the request had been sent.
    let to = MemoryTransport::new(move |_| Scripted::json(201, &body).breaks_after(9, Connectivity::Reset));
    let error = client(to.clone(), Virtual::new()).users().create(&User::new("ann")).await.unwrap_err();
    assert_eq!(error.advice(), Advice::ResolveByReading);
    assert_eq!(to.requests().len(), 1);
    let end = error.attempts()[0].outcome;
    assert_eq!(end, AttemptOutcome::Interrupted { status: 201, kind: Connectivity::Reset });
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_did_nothing_does_not_hide_one_that_may_have() {
    let to = Stub::scripted([reset(), refused(), wait(429, "3600")]);
    let error = client(to, Virtual::new()).users().delete(&id()).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnknownOutcome(Connectivity::Reset));
    assert_eq!((error.advice(), error.attempts().len()), (Advice::ResolveByReading, 3));
}

#[tokio::test(start_paused = true)]
async fn a_classifier_of_ones_own_comes_first() {
    let forbidden = |failure: &Failure<'_>| {
        (failure.error.http_status() == Some(403)).then_some(Verdict::Retry { after: Some(SECOND * 5) })
    };
    let clock = Virtual::new();
    let to = Stub::scripted([status(403), status(500), ann()]);
    client(to, clock).classify(forbidden).users().get(&id()).await.unwrap();
    assert!(clock.elapsed() >= SECOND * 5);

    let never = |failure: &Failure<'_>| (failure.attempt >= 2).then_some(Verdict::Stop);
    let to = Stub::always(|| status(500));
    client(to.clone(), clock).classify(forbidden).classify(never).users().get(&id()).await.unwrap_err();
    assert_eq!(to.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_classifier_makes_a_create_be_sent_twice() {
    let always = |_: &Failure<'_>| Some(Verdict::Retry { after: None });
    for ends in [reset as fn() -> Answer, || status(500), || status(503), || status(403), || status(200)] {
        let to = Stub::always(ends);
        let client = client(to.clone(), Virtual::new()).classify(always);
        client.users().create(&User::new("ann")).await.unwrap_err();
        assert_eq!(to.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_answered_with_a_storm() {
    // 100 in the budget: 20 retries of what is answered with 500, 10 of what nothing is heard of.
    for (ends, retries) in [((|| status(500)) as fn() -> Answer, 20), (reset, 10), (refused, 20)] {
        let to = Stub::always(ends);
        let client = client(to.clone(), Virtual::new());
        for _ in 0..200 {
            client.clone().users().get(&id()).await.unwrap_err();
        }
        assert_eq!(to.count(), 200 + retries);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_fill_the_budget_again() {
    let to = Stub::new(|request| {
        let dead = request.uri().path().ends_with('2');
        async move { if dead { status(500) } else { ann() } }
    });
    let client = client(to.clone(), Virtual::new());
    let dead = ResourceId::new("2");
    for _ in 0..50 {
        client.users().get(&dead).await.unwrap_err();
    }
    let before = to.count();
    for _ in 0..10 {
        client.users().get(&id()).await.unwrap();
    }
    for _ in 0..10 {
        client.users().get(&dead).await.unwrap_err();
    }
    assert_eq!(to.count() - before, 10 + 10 + 2);
}

#[tokio::test(start_paused = true)]
async fn retries_can_be_left_to_others() {
    let to = Stub::always(|| status(500));
    let read = async |client: Client| -> Error { client.users().get(&id()).await.unwrap_err() };
    read(client(to.clone(), Virtual::new()).retry(Retry::never())).await;
    assert_eq!(to.count(), 1);
    read(client(to.clone(), Virtual::new()).retry(Retry::default().with(|r| r.attempts_max = 2))).await;
    assert_eq!(to.count(), 3);
    read(client(to.clone(), Virtual::new()).retry(Retry::default().with(|r| r.budget = 0))).await;
    assert_eq!(to.count(), 4);
}
