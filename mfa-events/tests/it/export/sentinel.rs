//! Microsoft Sentinel, against a receiver that Microsoft's client is taken by as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfa_events::export::{
    SENTINEL_BATCH_BYTES_MAX, SENTINEL_COLUMNS, SentinelBuilder, SentinelSink, Sink, SinkError, TokenError,
    TokenSource, sentinel_row,
};
use serde_json::json;
use testbed::http::Answer;
use zeroize::Zeroizing;

use super::hec::outlet;
use super::receivers::{Receiver, TOKEN, said};
use super::{acme, read, record, samples};

/// Gives an old token until it hears that it is refused.
#[derive(Default)]
struct Tokens {
    refused: AtomicU32,
    is_denied: bool,
    is_old: bool,
}

#[async_trait]
impl TokenSource for Tokens {
    async fn token(&self, is_refused: bool) -> Result<Zeroizing<String>, TokenError> {
        if self.is_denied {
            return Err(TokenError::Denied);
        }
        let refused = self.refused.fetch_add(u32::from(is_refused), Ordering::SeqCst) + u32::from(is_refused);
        Ok(Zeroizing::new(if self.is_old && refused == 0 { "old" } else { TOKEN }.to_owned()))
    }
}

fn builder(receiver: &Receiver, tokens: Tokens) -> SentinelBuilder {
    let endpoint = format!("http://{}", receiver.addr());
    SentinelSink::builder(endpoint, "dcr-0123456789abcdef", "Custom-MfaEvents_CL", Arc::new(tokens))
        .outlet(outlet())
}

pub(super) fn sink(receiver: &Receiver) -> SentinelSink {
    builder(receiver, Tokens::default()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_rows_of_its_columns_compressed() {
    let receiver = Receiver::sentinel();
    let sink = builder(&receiver, Tokens::default()).build().unwrap();
    assert_eq!(sink.send(&acme(), &samples()).await.unwrap(), 8);
    let rows = receiver.batches().concat();
    assert_eq!(rows.len(), 8);
    for (row, record) in rows.iter().zip(samples()) {
        assert_eq!(*row, sentinel_row(&acme(), &record));
        assert_eq!(row["TimeGenerated"], row["timestamp"]);
        for (name, value) in row.as_object().unwrap() {
            let column = SENTINEL_COLUMNS.iter().find(|(column, _)| column == name);
            let (_, kind) = column.unwrap_or_else(|| panic!("there is no column for {name}"));
            let fits = match *kind {
                "string" | "datetime" => value.is_string(),
                "int" | "long" => value.is_i64(),
                "dynamic" => value.is_object(),
                other => panic!("{other}"),
            };
            assert!(fits, "{name}: {value}");
        }
    }
    // Each column is filled by some event.
    for (column, _) in SENTINEL_COLUMNS {
        assert!(rows.iter().any(|row| row.get(*column).is_some()), "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_to_the_limit_of_a_call_before_compression() {
    let receiver = Receiver::sentinel();
    let sink = builder(&receiver, Tokens::default()).build().unwrap();
    let long = |offset: u64| {
        let mut event = crate::event::failure();
        event.insert("ext".to_owned(), json!({ "more": "x".repeat(3_900) }));
        record(offset, read(&event.into()))
    };
    let records: Vec<_> = (1..=600).map(long).collect();
    let mut taken = 0;
    while taken < records.len() {
        taken += sink.send(&acme(), &records[taken..]).await.unwrap();
    }
    let batches = receiver.batches();
    let sizes: Vec<usize> = batches.iter().map(|rows| serde_json::to_vec(rows).unwrap().len()).collect();
    assert!(batches.len() == 3 && sizes.iter().all(|size| *size <= SENTINEL_BATCH_BYTES_MAX), "{sizes:?}");
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_for_a_new_token_once_where_the_old_one_is_refused() {
    let receiver = Receiver::sentinel();
    let sink = builder(&receiver, Tokens { is_old: true, ..Tokens::default() }).build().unwrap();
    assert_eq!(sink.send(&acme(), &samples()).await.unwrap(), 8);
    assert_eq!(receiver.asked().len(), 2);
    receiver.answer([said(401, &json!({})), said(401, &json!({}))]);
    let error = sink.send(&acme(), &samples()).await.unwrap_err();
    assert_eq!(error, SinkError::Denied { why: "it answered 401".to_owned() });
    let denied = builder(&receiver, Tokens { is_denied: true, ..Tokens::default() }).build().unwrap();
    assert!(matches!(denied.send(&acme(), &samples()).await.unwrap_err(), SinkError::Denied { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_what_azure_says() {
    let receiver = Receiver::sentinel();
    let sink = builder(&receiver, Tokens::default()).build().unwrap();
    receiver.answer([Answer::new(429, "text/plain", "").header("retry-after", "60")]);
    let error = sink.send(&acme(), &samples()).await.unwrap_err();
    assert!(
        matches!(error, SinkError::Unavailable { after: Some(after), .. } if after == Duration::from_secs(60))
    );
    receiver
        .answer([Answer::new(503, "text/plain", "").header("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")]);
    let error = sink.send(&acme(), &samples()).await.unwrap_err();
    assert!(matches!(error, SinkError::Unavailable { after: Some(Duration::ZERO), .. }));
    for (status, needs_a_person) in [(403, true), (404, true), (500, false)] {
        receiver.answer([said(status, &json!({}))]);
        assert_eq!(
            sink.send(&acme(), &samples()).await.unwrap_err().needs_a_person(),
            needs_a_person,
            "{status}"
        );
    }
    receiver.answer([said(400, &json!({}))]);
    let error = sink.send(&acme(), &samples()[..1]).await.unwrap_err();
    assert_eq!(error, SinkError::Refused { index: 0, why: "it answered 400".to_owned() });
    receiver.answer([Answer::new(413, "text/plain", "")]);
    let taken = sink.send(&acme(), &samples()).await.unwrap();
    assert!((1..8).contains(&taken), "{taken}");
    let stream =
        SentinelSink::builder("https://a.example.com", "dcr-1", "x/../y", Arc::new(Tokens::default()))
            .build();
    assert!(stream.is_err());
}
