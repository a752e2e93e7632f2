//! A real message server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use testbed::{Error, NatsOptions, NatsServer};

/// Says something to the server and answers the first message that comes back.
fn ask(server: &NatsServer, subject: &str, payload: &str) -> String {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let said = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{payload}\r\n",
        payload.len()
    );
    stream.write_all(said.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("MSG ")).unwrap();
    lines.next().unwrap()
}

#[test]
#[ignore = "needs nats-server: cargo xtask test"]
fn keeps_its_streams_and_its_port_when_it_is_killed_and_started_again() {
    let mut server = NatsServer::start(NatsOptions::new()).unwrap();
    let made =
        ask(&server, "$JS.API.STREAM.CREATE.KEPT", r#"{"name":"KEPT","subjects":["kept"],"storage":"file"}"#);
    assert!(!made.contains("error"), "{made}");
    assert_eq!(ask(&server, "kept", "this"), r#"{"stream":"KEPT", "seq":1}"#);
    let (addr, pid) = (server.addr(), server.pid());
    server.kill();
    assert_eq!(server.pid(), None);
    TcpStream::connect(addr).unwrap_err();
    server.restart().unwrap();
    assert_eq!(server.addr(), addr);
    assert_ne!(server.pid(), pid);
    assert_eq!(ask(&server, "kept", "that"), r#"{"stream":"KEPT", "seq":2}"#);
    assert!(server.log().contains("Server is ready"));
}

#[test]
#[ignore = "needs nats-server: cargo xtask test"]
fn says_why_it_did_not_start() {
    let error = NatsServer::start(NatsOptions::new().config_line("no_such_option: 1")).unwrap_err();
    assert!(matches!(&error, Error::NotStarted { log, .. } if log.contains("no_such_option")), "{error}");
}
