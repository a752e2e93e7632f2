//! What comes back: the head at once, the body as a stream, its encoding undone.

use futures::StreamExt as _;

use super::ends;
use super::server::{Reply, Server, collect, ok, request, send, with_head};
use crate::transport::{Connectivity, Transport};

/// `{"said":"in gzip"}`, compressed by gzip.
const GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x4e\xcc\x4c\x51\xb2\x52\xca\xcc\x53\x48\xaf\xca\
    \x2c\x50\xaa\x05\x00\x1b\xb6\xa0\xfa\x12\x00\x00\x00";

/// The beginning of a gzip stream: its head, and a block that begins with a zero byte.
const BOMB_HEAD: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x62\x18";
/// Eight times “258 bytes more of the same”, in eight times 13 bits; may be repeated as often as one likes.
const BOMB_MORE: &[u8; 13] = b"\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x28\x18";
/// How often: it is less than 64 KiB, and unpacked 8 MiB.
const BOMB_REPEATS: usize = 4_096;
const BOMB_BYTES: usize = 1 + BOMB_REPEATS * 8 * 258;
/// Most bytes of a piece of a body.
const PIECE_BYTES_MAX: usize = 1 << 20;

pub(super) async fn check(transport: &dyn Transport) {
    is_handed_over_whole(transport).await;
    head_comes_before_the_body(transport).await;
    encoding_is_undone(transport).await;
    bomb_comes_in_pieces(transport).await;
}

async fn is_handed_over_whole(transport: &dyn Transport) {
    let head =
        "HTTP/1.1 503 Later\r\nETag: W/\"1\"\r\nRetry-After: 7\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n";
    let server = Server::always(move || Reply::Keep(with_head(head, b"{\"a\":1}"))).await;
    let answer =
        send(transport, "an answer", request("GET", &server.url("/"))).await.expect("it is answered");
    assert_eq!(answer.status().as_u16(), 503, "the status is the answer's");
    assert_eq!(answer.headers()["etag"], "W/\"1\"");
    assert_eq!(answer.headers()["retry-after"], "7");
    assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2, "a header may stand twice");
    let (body, error) = collect("an answer", answer.into_body()).await;
    assert!(error.is_none() && body == b"{\"a\":1}", "the body is the answer's");

    let bodies: [(&str, Vec<u8>, &[u8]); 6] = [
        ("in chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n4\r\na\":1\r\n1\r\n}\r\n0\r\n\r\n".to_vec(), b"{\"a\":1}"),
        ("to the end of the connection", b"HTTP/1.1 200 OK\r\n\r\n{}".to_vec(), b"{}"),
        ("by HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n{}".to_vec(), b"{}"),
        ("after an interim answer", [b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n".to_vec(), ok(b"{}")].concat(), b"{}"),
        ("that is none (204)", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), b""),
        ("that is none (304)", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n".to_vec(), b""),
    ];
    for (what, bytes, expected) in bodies {
        let server = Server::always(move || Reply::End(bytes.clone())).await;
        let answer = send(transport, what, request("GET", &server.url("/"))).await;
        let answer = answer.unwrap_or_else(|error| panic!("a body {what} is not read: {error}"));
        let (body, error) = collect(what, answer.into_body()).await;
        assert!(error.is_none(), "a body {what} ends with an error: {error:?}");
        assert_eq!(body, expected, "a body {what}");
    }
}

/// Whoever waits for the body before the head is handed over waits for ever here.
async fn head_comes_before_the_body(transport: &dyn Transport) {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n".to_vec();
    let server =
        Server::always(move || Reply::Pause([head.clone(), b"one".to_vec()].concat(), b"two".to_vec()));
    let server = server.await;
    let sending =
        send(transport, "the head comes before the body has ended", request("GET", &server.url("/")));
    let mut body = sending.await.expect("it is answered").into_body();
    let mut first = Vec::new();
    while first.len() < 3 {
        let piece = ends("a piece comes when it is there", body.next()).await.expect("a piece");
        first.extend_from_slice(&piece.expect("a piece"));
    }
    assert_eq!(first, b"one", "what is there comes first");
    server.go_on();
    let (rest, error) = collect("the rest", body).await;
    assert!(error.is_none() && rest == b"two", "the rest comes after");
}

async fn encoding_is_undone(transport: &dyn Transport) {
    let server =
        Server::always(|| Reply::Keep(with_head("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", GZIP)))
            .await;
    let answer = send(transport, "gzip", request("GET", &server.url("/"))).await;
    let offered = server.requests()[0].header("accept-encoding").unwrap_or_default();
    match answer {
        Ok(answer) => {
            let (body, error) = collect("gzip", answer.into_body()).await;
            assert!(error.is_none(), "gzip is undone: {error:?}");
            assert_eq!(body, b"{\"said\":\"in gzip\"}", "gzip is undone");
        }
        Err(error) => {
            assert!(!offered.contains("gzip"), "gzip is asked for and not undone");
            assert_eq!(error.kind, Connectivity::Protocol, "gzip was not asked for: {error}");
        }
    }
    let server = Server::always(|| {
        Reply::Keep(with_head("HTTP/1.1 200 OK\r\nContent-Encoding: conformance\r\n", b"{\"a\":1}"))
    })
    .await;
    let answer = send(transport, "an encoding of nobody's", request("GET", &server.url("/"))).await;
    let error = match answer {
        Err(error) => Some(error),
        Ok(answer) => collect("an encoding of nobody's", answer.into_body()).await.1,
    };
    let error = error.expect("an encoding that cannot be undone is an error");
    assert_eq!(error.kind, Connectivity::Protocol, "an encoding that cannot be undone: {error}");
}

async fn bomb_comes_in_pieces(transport: &dyn Transport) {
    let server = Server::always(|| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100000000\r\n\r\n";
        Reply::Hold([head, BOMB_HEAD, &BOMB_MORE.repeat(BOMB_REPEATS)].concat())
    })
    .await;
    let Ok(answer) = send(transport, "a bomb", request("GET", &server.url("/"))).await else {
        let offered = server.requests()[0].header("accept-encoding").unwrap_or_default();
        assert!(!offered.contains("gzip"), "gzip is asked for and not undone");
        return;
    };
    let mut body = answer.into_body();
    let mut unpacked = 0;
    // The last of it may wait for more in a decoder.
    while unpacked < BOMB_BYTES / 2 {
        let piece = ends("a bomb comes in pieces", body.next()).await.expect("a piece").expect("a piece");
        assert!(piece.len() <= PIECE_BYTES_MAX, "a piece of {} bytes: a body is not collected", piece.len());
        assert!(piece.iter().all(|byte| *byte == 0), "a piece is what was packed");
        unpacked += piece.len();
    }
    drop(body);
    server.until("the connection of a dropped body is closed", |seen| seen.left == 1).await;
}
