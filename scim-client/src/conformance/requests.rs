//! What is sent: as it was given, once, to where the URI says.

use futures::future::join_all;

use super::ends;
use super::server::{Reply, Server, collect, nobody, ok, request, send, with_head};
use crate::transport::Transport;

pub(super) async fn check(transport: &dyn Transport) {
    arrives_as_given(transport).await;
    is_not_resolved(transport).await;
    nothing_is_added(transport).await;
    no_redirect_is_followed(transport).await;
    is_sent_once(transport).await;
    answers_are_not_mixed_up(transport).await;
    is_given_up_when_dropped(transport).await;
}

async fn arrives_as_given(transport: &dyn Transport) {
    let server = Server::always(|| Reply::Keep(ok(b"{}"))).await;
    let targets = [
        "/scim/v2/Users/a%2Fb%252Fc%3Fd%23e",
        "/scim/v2/Users/..%2FGroups%2F7%3Fx%3D%252e",
        "/scim/v2/Users/%C3%A9%20%2B",
        "/scim/v2/Users/bjensen@example.com",
        "/scim/v2/Users/~a:b;c=d",
        "/scim/v2/Users?filter=userName%20eq%20%22a%2Bb%26c%3Dd%20%C3%A9%22&count=1",
        "/scim/v2/Users?startIndex=1&startIndex=2",
        "/",
    ];
    for target in targets {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let sent = request(method, &server.url(target));
            let body = sent.body().clone();
            let answer = send(transport, target, sent).await;
            answer.unwrap_or_else(|error| panic!("{method} {target} is not sent: {error}"));
            let arrived = server.requests().pop().expect("a request arrived");
            assert_eq!(arrived.method, method, "the method arrives as it is");
            assert_eq!(arrived.target, target, "path and query arrive as they stand in the URI");
            assert_eq!(arrived.body, body, "the body arrives as it is");
            assert_eq!(arrived.header("content-type").as_deref(), Some("application/scim+json"));
        }
    }
    let sent = targets.len() * 5;
    assert_eq!(server.requests().len(), sent, "each call sends one request");
}

/// A path with dot segments names another resource once they are resolved.
async fn is_not_resolved(transport: &dyn Transport) {
    let server = Server::always(|| Reply::Keep(ok(b"{}"))).await;
    for target in ["/scim/v2/Users/../Groups", "/scim/v2/./Users", "/scim/v2/Users/%2e%2e/Groups"] {
        match send(transport, target, request("DELETE", &server.url(target))).await {
            Ok(_) => {
                let arrived = server.requests().pop().expect("a request arrived");
                assert_eq!(arrived.target, target, "the path arrives as it stands in the URI");
            }
            Err(error) => {
                assert_eq!(error.stage, crate::transport::Stage::NotSent, "{target} is refused: {error}");
                assert!(server.requests().is_empty(), "{target} is refused, and was sent");
            }
        }
    }
}

/// A cookie of one answer, or where a request was sent before, is nobody's business.
async fn nothing_is_added(transport: &dyn Transport) {
    let server = Server::always(|| {
        Reply::Keep(with_head("HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\n", b"{}"))
    })
    .await;
    for _ in 0..2 {
        let mut bare = request("GET", &server.url("/Users"));
        bare.headers_mut().clear();
        let answer = send(transport, "a request without headers", bare).await.expect("it is answered");
        collect("its answer", answer.into_body()).await;
    }
    for arrived in server.requests() {
        for header in ["cookie", "authorization", "proxy-authorization", "referer"] {
            assert_eq!(arrived.header(header), None, "`{header}` is added");
        }
    }
}

async fn no_redirect_is_followed(transport: &dyn Transport) {
    let elsewhere = Server::always(|| Reply::Keep(ok(b"{}"))).await;
    for status in [301, 302, 303, 307, 308] {
        for to in [elsewhere.url("/login"), "/other".to_owned()] {
            let head = format!("HTTP/1.1 {status} There\r\nLocation: {to}\r\n");
            let server = Server::always(move || Reply::Keep(with_head(&head, b""))).await;
            for method in ["GET", "POST"] {
                let answer = send(transport, "a redirect", request(method, &server.url("/Users"))).await;
                let answer = answer.expect("a redirect is an answer");
                assert_eq!(answer.status().as_u16(), status, "a redirect is an answer");
                assert_eq!(answer.headers()["location"], to.as_str(), "a redirect says where to");
            }
            assert_eq!(server.requests().len(), 2, "a redirect is not followed");
        }
    }
    assert_eq!(elsewhere.connections(), 0, "no redirect leads to another host");
}

/// A connection that was kept and ends while it is used again is what makes clients send twice.
async fn is_sent_once(transport: &dyn Transport) {
    for reset in [false, true] {
        for method in ["POST", "GET"] {
            let server = Server::start(move |number, _| match (number, reset) {
                (0, _) => Reply::Keep(ok(b"{}")),
                (_, false) => Reply::End(Vec::new()),
                (_, true) => Reply::Reset(Vec::new()),
            })
            .await;
            let first = send(transport, "a request", request("GET", &server.url("/Users"))).await;
            collect("its answer", first.expect("it is answered").into_body()).await;
            let second =
                send(transport, "one without an answer", request(method, &server.url("/Users"))).await;
            let error = second.err().expect("there is no answer");
            assert_eq!(error.stage, crate::transport::Stage::MaybeSent, "it arrived: {error}");
            assert_eq!(server.requests().len(), 2, "a {method} without an answer is not sent again");
        }
    }
    let url = nobody().await;
    assert!(send(transport, "nobody listens", request("GET", &url)).await.is_err());
}

async fn answers_are_not_mixed_up(transport: &dyn Transport) {
    let server = Server::start(|_, arrived| Reply::Keep(ok(arrived.target.as_bytes()))).await;
    for _ in 0..4 {
        join_all((0..16).map(|number| {
            let target = format!("/Users/{number}");
            let url = server.url(&target);
            async move {
                let answer =
                    send(transport, "one of many", request("GET", &url)).await.expect("it is answered");
                let (body, error) = collect("one of many", answer.into_body()).await;
                assert!(error.is_none(), "one of many breaks off");
                assert_eq!(body, target.as_bytes(), "the answer is another request's");
            }
        }))
        .await;
    }
}

async fn is_given_up_when_dropped(transport: &dyn Transport) {
    let server = Server::always(|| Reply::Hold(Vec::new())).await;
    let mut sending = Box::pin(transport.send(request("POST", &server.url("/Users")), super::PATIENCE * 6));
    tokio::select! {
        result = &mut sending => panic!("there is no answer, and yet: {:?}", result.map(|_| "one")),
        () = server.until("the request arrives", |seen| seen.requests.len() == 1) => {}
    }
    drop(sending);
    server.until("a dropped request's connection is closed", |seen| seen.left == 1).await;
    assert_eq!(server.requests().len(), 1, "a dropped request is sent again");
    let other = Server::always(|| Reply::Keep(ok(b"{}"))).await;
    let next = ends("the next request", send(transport, "the next", request("GET", &other.url("/")))).await;
    next.expect("the transport goes on after a request was dropped");
}
