//! What goes wrong: how far the request came, and why it ended.

use std::time::Duration;

use super::ends;
use super::server::{Reply, SECRET, Server, collect, discreet, nobody, ok, request, send, with_head};
use crate::transport::{Connectivity, Stage, Transport};

/// What comes instead of an answer, and its name.
type Way = (&'static str, fn() -> Reply);

/// Long enough for a request on loopback, short enough to wait for.
const SOON: Duration = Duration::from_millis(300);

pub(super) async fn check(transport: &dyn Transport) {
    nobody_listens(transport).await;
    no_answer_comes(transport).await;
    answer_is_nonsense(transport).await;
    body_breaks_off(transport).await;
    nothing_comes_in_time(transport).await;
    is_usable_afterwards(transport).await;
}

async fn nobody_listens(transport: &dyn Transport) {
    for method in ["GET", "POST"] {
        let error = send(transport, "nobody listens", request(method, &nobody().await)).await;
        let error = error.err().expect("nobody listens");
        assert_eq!(error.stage, Stage::NotSent, "nobody listens, so nothing was sent: {error}");
        assert_eq!(error.kind, Connectivity::Connect, "nobody listens: {error}");
    }
}

async fn no_answer_comes(transport: &dyn Transport) {
    let ways: [Way; 4] = [
        ("an end", || Reply::End(Vec::new())),
        ("a reset", || Reply::Reset(Vec::new())),
        ("an end within the head", || Reply::End(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec())),
        ("an interim answer alone", || Reply::End(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())),
    ];
    for (what, way) in ways {
        for method in ["GET", "POST", "DELETE"] {
            let server = Server::always(way).await;
            let error = send(transport, what, request(method, &server.url("/Users"))).await;
            let error = error.err().unwrap_or_else(|| panic!("{what} instead of an answer is an error"));
            assert_eq!(error.stage, Stage::MaybeSent, "{what} after {method} had arrived: {error}");
            assert_eq!(error.kind, Connectivity::Reset, "{what} instead of an answer: {error}");
            assert_eq!(server.requests().len(), 1, "{what} instead of an answer: {method} is not sent again");
        }
    }
}

async fn answer_is_nonsense(transport: &dyn Transport) {
    let lines = format!("X-Line: {}\r\n", "x".repeat(1000)).repeat(4_000);
    let nonsense = [
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n".to_owned()),
        ("no number for a status", format!("HTTP/1.1 OK {SECRET}\r\n\r\n")),
        ("a header that is none", format!("HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n")),
        ("a head without an end", format!("HTTP/1.1 200 OK\r\n{lines}")),
    ];
    for (what, text) in nonsense {
        let server = Server::always(move || Reply::Hold(text.clone().into_bytes())).await;
        let error = send(transport, what, request("POST", &server.url("/Users"))).await;
        let error = error.err().unwrap_or_else(|| panic!("{what} is no answer"));
        assert_eq!(error.stage, Stage::MaybeSent, "{what} after the request had arrived: {error}");
        assert_eq!(error.kind, Connectivity::Protocol, "{what} is not HTTP: {error}");
        assert_eq!(server.requests().len(), 1, "{what}: the request is not sent again");
    }
}

async fn body_breaks_off(transport: &dyn Transport) {
    // Half of it, so that half of the length is missing.
    let half = |head: &str, body: &[u8]| {
        let mut answer = with_head(head, body);
        answer.truncate(answer.len() - body.len() / 2);
        answer
    };
    let said = format!(r#"{{"password":"{SECRET}"}}"#);
    let whole = half("HTTP/1.1 200 OK\r\n", said.as_bytes());
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{said}\r\n", said.len());
    let bare = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{said}");
    let ways = [
        ("before its length", whole.clone(), false),
        ("by a reset", whole, true),
        ("before the last chunk", chunked.into_bytes(), false),
        ("within a chunk", bare.into_bytes(), false),
    ];
    for (what, bytes, reset) in ways {
        let server = Server::always(move || match reset {
            true => Reply::Reset(bytes.clone()),
            false => Reply::End(bytes.clone()),
        })
        .await;
        // A reset may take the head with it.
        let error = match send(transport, what, request("POST", &server.url("/Users"))).await {
            Err(error) if reset => error,
            Err(error) => panic!("the head came: {error}"),
            Ok(answer) => {
                let error = collect(what, answer.into_body()).await.1;
                error.unwrap_or_else(|| panic!("a body that ends {what} ends with an error"))
            }
        };
        assert_eq!(error.stage, Stage::MaybeSent, "a body that ends {what}: {error}");
        assert_eq!(error.kind, Connectivity::Reset, "a body that ends {what}: {error}");
        assert_eq!(server.requests().len(), 1, "a body that ends {what}: the request is not sent again");
    }
}

async fn nothing_comes_in_time(transport: &dyn Transport) {
    let ways: [(&str, &[u8]); 2] = [("no answer", b""), ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le")];
    for (what, bytes) in ways {
        let server = Server::always(move || Reply::Hold(bytes.to_vec())).await;
        let sending = transport.send(request("POST", &server.url("/Users")), SOON);
        let error = ends(what, sending).await.err().unwrap_or_else(|| panic!("{what} comes in time"));
        let error = discreet(what, error);
        assert_eq!(error.stage, Stage::MaybeSent, "{what} after the request had arrived: {error}");
        assert_eq!(error.kind, Connectivity::Timeout, "{what} in time: {error}");
        assert_eq!(server.requests().len(), 1, "{what} in time: the request is not sent again");
        server.until("the connection of a request that was given up is closed", |seen| seen.left == 1).await;
    }
    let server =
        Server::always(|| Reply::Hold(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec())).await;
    let sending = transport.send(request("GET", &server.url("/Users")), SOON);
    let answer = ends("the head comes", sending).await.expect("the head comes");
    let (_, error) = collect("a body that stands still", answer.into_body()).await;
    let error = error.expect("a body that stands still ends with an error");
    assert_eq!(error.stage, Stage::MaybeSent, "a body that stands still: {error}");
    assert_eq!(error.kind, Connectivity::Timeout, "a body that stands still: {error}");
}

async fn is_usable_afterwards(transport: &dyn Transport) {
    let server = Server::always(|| Reply::Keep(ok(b"{}"))).await;
    let answer = send(transport, "a sound request", request("GET", &server.url("/"))).await;
    let (body, error) = collect("a sound answer", answer.expect("it is answered").into_body()).await;
    assert!(error.is_none() && body == b"{}", "the transport goes on after failures");
}
