//! Those who hold connections open and ask nothing, or not to the end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use testbed::http::Request;

use crate::stage::{LONG, OPERATOR, Service, Stage};

fn connect(service: &Service, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    // It may be shown the door before it has said anything.
    let _ = stream.write_all(sent.as_bytes());
    stream
}

/// What it is told until the connection ends.
fn told(mut stream: TcpStream) -> String {
    let mut told = Vec::new();
    match stream.read_to_end(&mut told) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it is held open for ever"),
        _ => String::from_utf8_lossy(&told).into_owned(),
    }
}

fn asks(path: &str, rest: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OPERATOR}\r\n{rest}")
}

#[test]
fn slow_ones_and_too_many_keep_nobody_from_being_answered() {
    let stage = Stage::new();
    let service = stage.serve("[limits]\nconnections_max = 8\nhead_s = 1\nbody_s = 1\nrequest_s = 30\n");
    let slow: Vec<TcpStream> =
        (0..40).map(|_| connect(&service, "GET /api/status HTTP/1.1\r\nx-slow: 1\r\n")).collect();
    assert_eq!(service.status()["leavers_open"], 0);
    for stream in slow {
        assert!(!told(stream).contains("200 OK"));
    }
    // A whole head with a good token, and a body that does not come.
    let late: Vec<TcpStream> =
        (0..7).map(|_| connect(&service, &asks("/events", "content-length: 100\r\n\r\n{"))).collect();
    let good = Request::new("GET", "/openapi.json").send(service.address()).unwrap();
    assert_eq!(good.status, 200);
    for stream in late {
        let told = told(stream);
        assert!(told.starts_with("HTTP/1.1 408"), "{told}");
    }
    assert_eq!(service.end(), 0);
}

#[test]
fn connections_leave_file_descriptors_to_the_log_and_files() {
    let stage = Stage::new();
    let service = stage.serve_poor("[limits]\nconnections_max = 1000\n", 90);
    let crowd: Vec<TcpStream> = (0..120).map(|_| connect(&service, "")).collect();
    service.heard("90 open files (ulimit -n) suffice for 13 connections at a time");
    // It writes down what it does, and answers others.
    service.drained();
    assert_eq!(service.status()["leavers_open"], 0);
    drop(crowd);
    let said = service.running.stderr();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("Too many open files"), "{said}");
    assert_eq!(service.end(), 0);
}
