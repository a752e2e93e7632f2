//! The proxy that fails on request.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use testbed::Stub;
use testbed::fault::{Fault, FaultProxy, Reach, Reply, RetryAfter};
use testbed::http::{Answer, Request};

/// A server that counts and says the count, and a proxy in front of it.
fn counting() -> (Arc<AtomicUsize>, Stub, FaultProxy) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Stub::start(move |_| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        Answer::new(201, "application/scim+json", format!(r#"{{"number":{number}}}"#))
    });
    let server = server.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    (count, server, proxy)
}

fn post() -> Request {
    Request::new("POST", "/Users").header("authorization", "Bearer planted").scim("{}")
}

#[test]
fn lets_everything_pass_without_a_script() {
    let (count, _server, proxy) = counting();
    let answer = post().send(proxy.addr()).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (201, br#"{"number":1}"#.as_slice()));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let log = proxy.log();
    assert!(log[0].was_applied());
    assert_eq!(log[0].shown, Some(201));
    assert!(!format!("{log:?}").contains("planted"), "a credential was kept");
}

#[test]
fn loses_the_answer_after_the_server_acted() {
    for (reply, shown) in [(Reply::Reset, None), (Reply::EndInHead, None), (Reply::EndInBody, Some(201))] {
        let (count, _server, proxy) = counting();
        proxy.script([Fault::after(reply.clone())]);
        let error = post().send(proxy.addr()).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
            "{reply:?}: {error}"
        );
        assert_eq!(count.load(Ordering::SeqCst), 1, "{reply:?}");
        assert!(proxy.log()[0].was_applied(), "{reply:?}");
        assert_eq!(proxy.log()[0].shown, shown, "{reply:?}");
    }
}

#[test]
fn keeps_a_request_from_the_server() {
    for reply in [Reply::Reset, Reply::Status(503, None), Reply::LoginPage, Reply::Genuine] {
        let (count, _server, proxy) = counting();
        proxy.script([Fault::instead(reply.clone())]);
        let _ = post().send(proxy.addr());
        assert_eq!(count.load(Ordering::SeqCst), 0, "{reply:?}");
        assert!(!proxy.log()[0].was_applied(), "{reply:?}");
    }
}

#[test]
fn refuses_connections_until_told_otherwise() {
    let (_, _server, proxy) = counting();
    proxy.refuse_connections();
    assert_eq!(post().send(proxy.addr()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.accept_connections().unwrap();
    assert_eq!(post().send(proxy.addr()).unwrap().status, 201);
}

#[test]
fn says_when_to_come_back_in_seconds_or_by_date() {
    let (_, _server, proxy) = counting();
    proxy.script([
        Fault::instead(Reply::Status(429, Some(RetryAfter::Seconds(7)))),
        Fault::instead(Reply::Status(503, Some(RetryAfter::DateIn(3600)))),
        Fault::instead(Reply::Status(503, None)),
    ]);
    let [seconds, date, none] = [(); 3].map(|()| post().send(proxy.addr()).unwrap());
    assert_eq!((seconds.status, seconds.value("retry-after")), (429, Some("7")));
    let date = httpdate::parse_http_date(date.value("retry-after").unwrap()).unwrap();
    assert!(date > SystemTime::now() + Duration::from_secs(1800));
    assert_eq!((none.status, none.value("retry-after")), (503, None));
}

#[test]
fn bends_answers() {
    let (_, _server, proxy) = counting();
    proxy.script([
        Fault::after(Reply::TruncatedBody),
        Fault::after(Reply::ContentType("text/plain")),
        Fault::after(Reply::LoginPage),
        Fault::after(Reply::Status(500, None)),
        Fault::after(Reply::Bomb(1 << 20)),
    ]);
    let [truncated, typed, page, failed, bomb] = [(); 5].map(|()| post().send(proxy.addr()).unwrap());
    assert_eq!(truncated.body, br#"{"numb"#);
    assert_eq!(typed.value("content-type"), Some("text/plain"));
    assert_eq!(page.value("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(failed.status, 500);
    assert_eq!(bomb.value("content-encoding"), Some("gzip"));
    assert!(bomb.body.len() < 16 * 1024);
    assert!(proxy.log().iter().all(testbed::fault::Exchange::was_applied));
}

#[test]
fn repeats_the_page_before() {
    let count = AtomicUsize::new(0);
    let server = Stub::start(move |_| {
        Answer::new(200, "application/scim+json", count.fetch_add(1, Ordering::SeqCst).to_string())
    });
    let server = server.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    proxy.script([Fault::PASS, Fault::after(Reply::PageBefore), Fault::PASS]);
    let pages = ["/Users?startIndex=1", "/Users?startIndex=2", "/Users?startIndex=3"]
        .map(|target| Request::new("GET", target).send(proxy.addr()).unwrap().body);
    assert_eq!(pages, [b"0", b"0", b"2"]);
}

#[test]
fn the_same_seed_does_the_same() {
    let run = || {
        let (_, _server, proxy) = counting();
        proxy.random(7, 300, vec![Fault::instead(Reply::Status(503, None)), Fault::after(Reply::Reset)]);
        for _ in 0..60 {
            let _ = post().send(proxy.addr());
        }
        proxy.log().into_iter().map(|exchange| exchange.fault).collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first, run());
    assert!(first.contains(&Fault::PASS) && first.iter().any(|fault| fault.reach == Reach::Withheld));
}

#[test]
fn silence_ends_with_the_proxy() {
    let (_, _server, proxy) = counting();
    proxy.script([Fault::after(Reply::Silence)]);
    let addr = proxy.addr();
    let waiting = std::thread::spawn(move || post().send(addr));
    assert!(proxy.wait_for_server_answers(1, Duration::from_secs(20)));
    drop(proxy);
    assert!(waiting.join().unwrap().is_err());
}
