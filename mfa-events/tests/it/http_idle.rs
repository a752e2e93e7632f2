//! Many who wait, and cost little.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use mfa_events::cursor::CursorKey;
use mfa_events::http::{HashedKeys, Right, Scope, router};
use mfa_events::{EventLog, LoginFailure, MemoryStore};

use crate::event::at;
use crate::http::{ACME, tenant};

const READERS: usize = 10_000;

/// More than this is no idle reader any more, in a build without optimisation.
const BYTES_OF_A_READER_MAX: usize = 64 * 1024;

const INSIDE: &str = "MFA_EVENTS_READERS";
const TEST: &str = "http_idle::ten_thousand_idle_readers_cost_little_and_each_gets_the_next_event";

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Reads until this has come; nothing follows it for now.
fn until(stream: &mut TcpStream, text: &str) {
    let (mut seen, mut some) = (Vec::<u8>::new(), [0; 4_096]);
    while !seen.windows(text.len()).any(|part| part == text.as_bytes()) {
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "the stream ended");
        seen.extend(&some[..count]);
    }
}

/// The readers' side: all are connected and told so, then each gets an event.
#[allow(clippy::print_stderr, reason = "that is how it tells")]
fn read_on(address: &str) {
    let head = format!(
        "GET /v1/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ACME}\r\nAccept: text/event-stream\r\n\r\n"
    );
    let mut readers = Vec::with_capacity(READERS);
    while readers.len() < READERS {
        // A few at a time: connections that nobody has accepted yet are not many.
        let from = readers.len();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            readers.push(stream);
        }
        readers[from..].iter_mut().for_each(|reader| until(reader, "event: control"));
    }
    eprintln!("waiting");
    readers.iter_mut().for_each(|reader| until(reader, "event: data"));
    eprintln!("all");
}

/// A child that ends with this, however the test ends.
struct Readers(Child);

impl Drop for Readers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
#[allow(clippy::print_stderr, reason = "a figure for whoever looks")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs many file descriptors: cargo xtask test"]
async fn ten_thousand_idle_readers_cost_little_and_each_gets_the_next_event() {
    if let Ok(address) = std::env::var(INSIDE) {
        return read_on(&address);
    }
    let scope = Scope::new(tenant("acme"), [Right::Read]);
    let keys = HashedKeys::new().with(ACME, scope).unwrap();
    let log = EventLog::open(MemoryStore::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = router(log.clone(), keys, CursorKey::new([7; 32]));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let before = resident();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--ignored"])
        .env(INSIDE, address)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut readers = Readers(child.unwrap());
    let lines = BufReader::new(readers.0.stderr.take().unwrap()).lines();
    let (says, mut said) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| _ = says.send(line)));
    let mut hears = async |expected: &str| loop {
        let line = said.recv().await.expect("all readers come through: there are file descriptors for them");
        if line == expected {
            break;
        }
    };
    hears("waiting").await;
    let each = resident().saturating_sub(before) / READERS;
    eprintln!("{each} bytes in memory for each of {READERS} idle readers");
    assert!(each < BYTES_OF_A_READER_MAX, "{each}");
    log.append(&tenant("acme"), [LoginFailure::new("alice").at(at())], at()).await.unwrap();
    hears("all").await;
}
