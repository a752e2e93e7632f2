//! Splunk's HTTP Event Collector, against a receiver that Splunk's clients are taken by as well.

use std::time::Duration;

use mfa_events::export::{Format, HecBuilder, HecSink, Sink, SinkError};
use mfa_events::outlet::{Outlet, OutletError};
use serde_json::{Value, json};
use testbed::http::Answer;

use super::receivers::{Receiver, TOKEN, said};
use super::{acme, read, record, samples};

pub(super) fn outlet() -> Outlet {
    Outlet::default().dangerous_allow_inside("127.0.0.0/8".parse().unwrap()).dangerous_plain_http()
}

fn builder(receiver: &Receiver) -> HecBuilder {
    HecSink::builder(format!("http://{}", receiver.addr()), TOKEN).outlet(outlet())
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_many_in_one_request_as_they_are() {
    let receiver = Receiver::hec();
    let sink = builder(&receiver).host("gateway-1").index("identity").build().unwrap();
    assert_eq!(sink.send(&acme(), &samples()).await.unwrap(), 8);
    let batches = receiver.batches();
    assert_eq!((batches.len(), batches[0].len()), (1, 8));
    for (entry, record) in batches[0].iter().zip(samples()) {
        let event: Value = serde_json::from_slice(&record.to_json(&acme())).unwrap();
        let expected = json!({
            "time": 1_769_850_927.042, "host": "gateway-1", "index": "identity", "source": "mfa-events",
            "sourcetype": "mfa:event", "event": event,
        });
        assert_eq!(*entry, expected);
    }
    let ocsf = builder(&receiver).format(Format::Ocsf).sourcetype("ocsf").build().unwrap();
    ocsf.send(&acme(), &samples()[..1]).await.unwrap();
    assert_eq!(receiver.batches()[1][0]["event"]["class_uid"], 3002);
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_no_more_than_fits_and_at_least_one() {
    let receiver = Receiver::hec();
    let sink = builder(&receiver).batch_bytes(2_000).build().unwrap();
    let records = samples();
    let mut taken = 0;
    while taken < records.len() {
        taken += sink.send(&acme(), &records[taken..]).await.unwrap();
    }
    let sizes: Vec<usize> = receiver.asked().iter().map(|request| request.body.len()).collect();
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= 2_000), "{sizes:?}");
    let tiny = builder(&receiver).batch_bytes(1).build().unwrap();
    assert_eq!(tiny.send(&acme(), &records).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_less_at_once_where_a_request_is_too_long() {
    let receiver = Receiver::hec();
    receiver.answer([Answer::new(413, "text/plain", ""), Answer::new(413, "text/plain", "")]);
    let sink = builder(&receiver).build().unwrap();
    let taken = sink.send(&acme(), &samples()).await.unwrap();
    assert!((1..4).contains(&taken) && receiver.batches()[0].len() == taken, "{taken}");
    receiver.answer([Answer::new(413, "text/plain", "")]);
    let error = sink.send(&acme(), &samples()[..1]).await.unwrap_err();
    assert_eq!(error, SinkError::Refused { index: 0, why: "it answered 413".to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_what_the_collector_says() {
    let receiver = Receiver::hec();
    let sink = builder(&receiver).build().unwrap();
    let cases = [
        (said(503, &json!({ "text": "Server is busy", "code": 9 })), "it answered 503, code 9", false),
        (said(500, &json!({ "text": "Internal server error", "code": 8 })), "it answered 500, code 8", false),
        (Answer::new(502, "text/html", "<html>"), "it answered 502", false),
        (said(200, &json!({ "text": "?" })), "it answered 200", false),
        (said(403, &json!({ "code": 4 })), "it refuses our credential: it answered 403, code 4", true),
        (said(401, &json!({ "code": 2 })), "it refuses our credential: it answered 401, code 2", true),
        (said(400, &json!({ "code": 7 })), "it is not set up for this: it answered 400, code 7", true),
        (Answer::new(404, "text/html", ""), "it is not set up for this: it answered 404", true),
        (
            Answer::new(302, "text/plain", "").header("location", "http://127.0.0.1:1/"),
            "it answered 302",
            false,
        ),
    ];
    for (answer, text, needs_a_person) in cases {
        receiver.answer([answer]);
        let error = sink.send(&acme(), &samples()).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.needs_a_person()), (text, needs_a_person));
    }
    let slower = said(429, &json!({ "code": 26 })).header("retry-after", "17");
    receiver.answer([slower]);
    let error = sink.send(&acme(), &samples()).await.unwrap_err();
    assert!(
        matches!(error, SinkError::Unavailable { after: Some(after), .. } if after == Duration::from_secs(17))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_the_event_that_is_refused() {
    let receiver = Receiver::hec();
    let sink = builder(&receiver).build().unwrap();
    // Those before it go out by themselves: what became of them is not said.
    receiver.answer([said(400, &json!({ "code": 6, "invalid-event-number": 3 }))]);
    assert_eq!(sink.send(&acme(), &samples()).await, Ok(3));
    assert_eq!(receiver.batches()[0].len(), 3);
    receiver.answer([said(400, &json!({ "code": 6, "invalid-event-number": 0 }))]);
    let error = sink.send(&acme(), &samples()[3..]).await.unwrap_err();
    assert_eq!(error, SinkError::Refused { index: 0, why: "it answered 400, code 6".to_owned() });
    // Where it is not said which, fewer are sent until there is one; of a code that nobody knows, too.
    for code in [6, 99] {
        let unsaid = || said(400, &json!({ "code": code }));
        receiver.answer([unsaid(), unsaid(), unsaid(), unsaid()]);
        let error = sink.send(&acme(), &samples()).await.unwrap_err();
        assert_eq!(error, SinkError::Refused { index: 0, why: format!("it answered 400, code {code}") });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_before_a_refused_one_are_acknowledged_for_themselves() {
    let receiver = Receiver::hec();
    receiver.acknowledge([false, true]);
    let sink = builder(&receiver).ack(CHANNEL).ack_times(Duration::ZERO, Duration::MAX).build().unwrap();
    receiver.answer([said(400, &json!({ "code": 6, "invalid-event-number": 3 }))]);
    assert_eq!(sink.send(&acme(), &samples()).await, Ok(3));
    let paths: Vec<String> = receiver.asked().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["event", "event", "ack", "ack"].map(|path| format!("/services/collector/{path}")));
}

const CHANNEL: uuid::Uuid = uuid::uuid!("0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba");

#[tokio::test(flavor = "multi_thread")]
async fn waits_until_events_are_indexed() {
    let receiver = Receiver::hec();
    receiver.acknowledge([false, false, true]);
    let sink = builder(&receiver).ack(CHANNEL).ack_times(Duration::ZERO, Duration::MAX).build().unwrap();
    assert_eq!(sink.send(&acme(), &samples()).await.unwrap(), 8);
    let paths: Vec<String> = receiver.asked().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["event", "ack", "ack", "ack"].map(|path| format!("/services/collector/{path}")));
    assert_eq!(receiver.asked()[3].body, b"{\"acks\":[0]}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_that_is_slow_is_asked_on_and_gets_nothing_twice() {
    let receiver = Receiver::hec();
    receiver.acknowledge([false; 5]);
    let sink = builder(&receiver).ack(CHANNEL).ack_times(Duration::ZERO, Duration::ZERO).build().unwrap();
    for _ in 0..5 {
        let error = sink.send(&acme(), &samples()).await.unwrap_err();
        assert_eq!(error.to_string(), "it did not say that the events are indexed");
    }
    // Also where fewer of them are sent, as after failures.
    receiver.acknowledge([false]);
    sink.send(&acme(), &samples()[..3]).await.unwrap_err();
    assert_eq!(sink.send(&acme(), &samples()).await, Ok(8));
    assert_eq!(receiver.batches().len(), 1);
    // Another batch is another number.
    assert_eq!(sink.send(&acme(), &samples()[2..]).await, Ok(6));
    assert_eq!(receiver.asked().last().unwrap().body, b"{\"acks\":[1]}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_acknowledged_is_sent_again_and_any_of_its_numbers_will_do() {
    let receiver = Receiver::hec();
    receiver.acknowledge([false; 2]);
    let builder = builder(&receiver).ack(CHANNEL).ack_times(Duration::ZERO, Duration::ZERO);
    let sink = builder.ack_lost(Duration::ZERO).build().unwrap();
    for _ in 0..2 {
        sink.send(&acme(), &samples()).await.unwrap_err();
    }
    assert_eq!(sink.send(&acme(), &samples()).await, Ok(8));
    assert_eq!(receiver.batches().len(), 3);
    assert_eq!(receiver.asked().last().unwrap().body, b"{\"acks\":[0,1,2]}");
}

#[tokio::test(flavor = "multi_thread")]
async fn says_where_a_token_does_not_acknowledge() {
    let receiver = Receiver::hec();
    let sink = builder(&receiver).ack(CHANNEL).build().unwrap();
    let error = sink.send(&acme(), &samples()).await.unwrap_err();
    assert_eq!(error.to_string(), "it is not set up for this: the token has no acknowledgement switched on");
}

#[tokio::test(flavor = "multi_thread")]
async fn says_nothing_of_its_token_or_address() {
    let receiver = Receiver::hec();
    let sink = HecSink::builder("https://127.0.0.1:1/secret-path", TOKEN)
        .outlet(Outlet::default().dangerous_allow_inside("127.0.0.0/8".parse().unwrap()))
        .build()
        .unwrap();
    let error = sink.send(&acme(), &samples()).await.unwrap_err();
    assert_eq!(error.to_string(), "no connection");
    for text in [format!("{sink:?}"), format!("{:?}", builder(&receiver))] {
        assert!(!text.contains(TOKEN) && !text.contains("secret-path"), "{text}");
    }
    let broken = HecSink::builder("https://splunk.example.com", "a\nb").build().unwrap_err();
    assert!(matches!(broken, OutletError::Setting(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_denied() {
    let receiver = Receiver::hec();
    let sink =
        HecSink::builder(format!("http://{}", receiver.addr()), "wrong").outlet(outlet()).build().unwrap();
    let event = read(&crate::event::failure().into());
    assert!(matches!(sink.send(&acme(), &[record(1, event)]).await.unwrap_err(), SinkError::Denied { .. }));
}
