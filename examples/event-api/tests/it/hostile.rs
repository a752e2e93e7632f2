//! Whoever means no good.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::stage::{Settings, Started, WITHIN, event, until};

fn connect(settings: &Settings) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", settings.port)).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    stream
}

#[test]
fn from_one_address_come_so_many_connections_and_others_are_turned_away() {
    let settings = Settings::new("[connections]\nper_source_max = 2\n");
    let _service = Started::serve(&settings.config);
    let held: Vec<_> = (0..2).map(|_| connect(&settings)).collect();
    let mut refused = connect(&settings);
    let mut nothing = Vec::new();
    assert!(matches!(refused.read_to_end(&mut nothing), Ok(0) | Err(_)), "{nothing:?}");
    drop(held);
    until("a free place", || {
        settings
            .api()
            .request("GET", "/")
            .send(settings.api().address)
            .ok()
            .filter(|answer| answer.status == 200)
    });
}

#[test]
fn what_is_no_request_is_answered_and_over() {
    let settings = Settings::new("");
    let _service = Started::serve(&settings.config);
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(100));
    for (sent, said) in
        [(long.as_str(), "431"), (many.as_str(), "431"), ("\x16\x03\x01 hello\r\n\r\n", "400")]
    {
        let mut stream = connect(&settings);
        // It may be refused before all of it is sent.
        let _ = stream.write_all(sent.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {said} ")) || answer.is_empty(), "{said}: {answer}");
    }
    assert_eq!(settings.api().get("/v1/stream").status, 200);
}

#[test]
fn bad_events_are_told_with_their_place_and_keep_no_good_one_out() {
    let settings = Settings::new("");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    let deep = format!(
        "{{\"event_type\":\"mfa.failure\",\"ext\":{}{}}}",
        "{\"a\":".repeat(5_000),
        "}".repeat(5_000)
    );
    let mut ancient = event("ancient");
    ancient["timestamp"] = "0001-01-01T00:00:00.000Z".into();
    let mut future = event("future");
    future["timestamp"] = "9999-12-31T23:59:59.999Z".into();
    let mut body = format!("{}\n{deep}\n", event("good")).into_bytes();
    body.extend(b"{\"actor_id\": \"\xff\xfe\"}\n");
    body.extend(format!("{ancient}\n{future}\n").into_bytes());
    let mut request = api.request("POST", "/v1/events");
    request.body = body;
    let answer = request.send(api.address).unwrap();
    let report: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &report["accepted"]), (200, &json!(3)), "{report}");
    let lines: Vec<_> =
        report["rejected"].as_array().unwrap().iter().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, [json!(2), json!(3)]);
    let metrics = api.json("/v1/metrics");
    assert_eq!(
        (&metrics["total"]["all"]["mfa_failures"], &metrics["from_the_future"]),
        (&json!(1), &json!(1))
    );
    let many = vec![event("many").to_string(); 10_001].join("\n");
    let (status, report) = api.post(&many);
    assert_eq!((status, &report["accepted"], &report["unread"]), (200, &json!(10_000), &json!(1)));
}

#[test]
fn who_does_not_read_a_stream_keeps_nobody_from_it() {
    let settings = Settings::new("");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let mut stream = connect(&settings);
            let head = format!(
                "GET /v1/stream?live=sse&offset=-1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
                settings.key
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut lines = api.lines(&api.request("GET", "/v1/stream?live=sse&offset=-1"));
    let reads = std::thread::spawn(move || {
        let data = lines.by_ref().filter(|line| line.starts_with("data: {\"schema_version\""));
        data.take(3_000).count()
    });
    // More than any buffer in between holds.
    let mut big = event("big");
    big["ext"] = json!({"text": "x".repeat(3_500)});
    for _ in 0..6 {
        assert_eq!(api.post(&vec![big.to_string(); 500].join("\n")).0, 200);
    }
    assert_eq!(reads.join().unwrap(), 3_000);
    drop(slow);
}
