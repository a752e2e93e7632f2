//! Syslog over TCP, as far as a socket can tell. Real servers: `judges`.

use mfa_events::export::{Frame, Sink, SinkError, Syslog, SyslogSink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{acme, samples};

async fn received(
    frame: Frame,
    answer: impl AsyncFnOnce(TcpStream, Vec<u8>),
) -> (Result<usize, SinkError>, Syslog) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let syslog = Syslog::default();
    let port = listener.local_addr().unwrap().port();
    let sink = SyslogSink::dangerous_plain("127.0.0.1", port, syslog.clone()).frame(frame);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        answer(stream, bytes).await;
    };
    let records = samples();
    let tenant = acme();
    let (sent, ()) = tokio::join!(sink.send(&tenant, &records), serve);
    (sent, syslog)
}

#[tokio::test]
async fn what_was_read_to_the_end_is_taken() {
    for frame in [Frame::OctetCounted, Frame::LineFeed] {
        let mut got = Vec::new();
        let (sent, syslog) = received(frame, async |stream, bytes| {
            got = bytes;
            drop(stream);
        })
        .await;
        assert_eq!(sent.unwrap(), 8);
        let whole: Vec<u8> = samples()
            .iter()
            .flat_map(|record| frame.around(&syslog.message(&acme(), record).unwrap()))
            .collect();
        assert_eq!(got, whole);
    }
}

#[tokio::test]
async fn what_was_not_read_to_the_end_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sink = SyslogSink::dangerous_plain("127.0.0.1", port, Syslog::default());
    let (tenant, records) = (acme(), samples());
    // Ended at once, with everything unread; and after a few bytes.
    for bytes in [0, 10] {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = vec![0; bytes];
            stream.read_exact(&mut some).await.unwrap();
            stream.readable().await.unwrap();
            drop(stream);
        };
        let (sent, ()) = tokio::join!(sink.send(&tenant, &records), serve);
        assert!(matches!(sent.unwrap_err(), SinkError::Unavailable { .. }), "{bytes}");
    }
    drop(listener);
    let error = sink.send(&tenant, &records).await.unwrap_err();
    assert_eq!(error.to_string(), "no connection");
}

#[tokio::test]
async fn a_receiver_that_ends_before_anything_was_sent_has_taken_nothing() {
    // As one does that takes no more connections: it answers with the end before it has read.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sink = SyslogSink::dangerous_plain("127.0.0.1", port, Syslog::default());
    let (tenant, records) = (acme(), samples());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
    };
    let (sent, ()) = tokio::join!(sink.send(&tenant, &records), serve);
    assert!(matches!(sent, Err(SinkError::Unavailable { .. })), "{sent:?}");
}

#[tokio::test]
async fn an_event_that_is_too_long_is_refused_after_those_before_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut records = samples();
    records.rotate_right(1);
    let (tenant, short) = (acme(), Syslog::default().bytes_max(450));
    assert!(short.message(&tenant, &records[0]).is_some() && short.message(&tenant, &records[1]).is_none());
    let sink = SyslogSink::dangerous_plain("127.0.0.1", port, short);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let (sent, got) = tokio::join!(sink.send(&tenant, &records), serve);
    assert_eq!(
        sent.unwrap_err(),
        SinkError::Refused { index: 1, why: "it is too long for a message".to_owned() }
    );
    assert!(String::from_utf8(got).unwrap().contains("\"actor_id\":\"erin\""));
}
