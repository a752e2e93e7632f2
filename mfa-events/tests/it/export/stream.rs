//! Syslog over TCP, as far as a socket can tell. Real servers: `judges`.

use std::sync::Arc;

use mfa_events::export::{Frame, Sink, SinkError, Syslog, SyslogSink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

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

/// A receiver over TLS, and the certificate that it is known by.
fn secured() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// Sends to a receiver that has read everything and then ends as it likes.
async fn ended(
    make: impl Fn(SyslogSink) -> SyslogSink,
    end: impl AsyncFn(TlsStream<TcpStream>),
) -> Result<usize, SinkError> {
    let (acceptor, pem) = secured();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sink = make(SyslogSink::tls("localhost", port, Some(pem.as_bytes()), Syslog::default()).unwrap());
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        end(stream).await;
    };
    let (records, tenant) = (samples(), acme());
    let (sent, ()) = tokio::join!(sink.send(&tenant, &records), serve);
    sent
}

#[tokio::test]
async fn an_end_that_tls_does_not_vouch_for_is_nobodys_word() {
    let cut = async |stream: TlsStream<TcpStream>| drop(stream);
    let clean = async |mut stream: TlsStream<TcpStream>| stream.shutdown().await.unwrap();
    assert_eq!(ended(|sink| sink, clean).await, Ok(8));
    let error = ended(|sink| sink, cut).await.unwrap_err();
    assert_eq!(error.to_string(), "it ended the connection without `close_notify`");
    // Receivers that know no other end are taken at it by whoever says so.
    assert_eq!(ended(SyslogSink::dangerous_any_end, cut).await, Ok(8));
    assert_eq!(ended(SyslogSink::dangerous_any_end, clean).await, Ok(8));
}

#[tokio::test]
async fn a_connection_that_is_cut_on_the_way_has_delivered_nothing() {
    let (acceptor, pem) = secured();
    let (receiver, relay) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (to, port) = (receiver.local_addr().unwrap(), relay.local_addr().unwrap().port());
    let sink = SyslogSink::tls("localhost", port, Some(pem.as_bytes()), Syslog::default()).unwrap();
    let serve = async {
        let (stream, _) = receiver.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        assert!(read.is_err(), "the receiver, too, sees that it is no end");
    };
    // Passes the handshake on, swallows what comes then, and ends both sides as a receiver would.
    let between = async {
        let (mut client, _) = relay.accept().await.unwrap();
        let mut server = TcpStream::connect(to).await.unwrap();
        let (mut sent, mut bytes, mut back) = (0, [0; 1_024], [0; 1_024]);
        loop {
            tokio::select! {
                read = client.read(&mut bytes) => {
                    let read = read.unwrap();
                    sent += read;
                    if read == 0 || sent > 1_500 {
                        break;
                    }
                    server.write_all(&bytes[..read]).await.unwrap();
                }
                read = server.read(&mut back) => {
                    let read = read.unwrap();
                    client.write_all(&back[..read]).await.unwrap();
                }
            }
        }
        server.shutdown().await.unwrap();
        while client.read(&mut bytes).await.unwrap() > 0 {}
        client.shutdown().await.unwrap();
    };
    let (records, tenant) = (samples(), acme());
    let (sent, (), ()) = tokio::join!(sink.send(&tenant, &records), serve, between);
    assert_eq!(sent.unwrap_err().to_string(), "it ended the connection without `close_notify`");
}
