//! A client that costs little: requests written as bytes, answers read as far as they must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An event as an identity provider sends it, about 480 bytes. Ids are new each time.
pub(crate) fn event(random: &mut fastrand::Rng, now: DateTime<Utc>) -> String {
    let at = now.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (actor, address) = (random.u32(..100_000), random.u32(..4_000));
    format!(
        r#"{{"event_id":"{}","event_type":"mfa.failure","timestamp":"{at}","actor_id":"person-{actor:05}@example.com","outcome":"failure","mfa_method":"push","failure_reason":"push_denied","failed_attempt_count":{},"source_ip":"198.51.{}.{}","geo_location":{{"country":"DE","city":"Berlin","lat":52.52,"lon":13.405,"asn":64496}},"session_id":"{:032x}","device_id":"device-{actor:05}","correlation_id":"{:016x}","risk_context":{{"geo":"usual","device_familiarity":"known","score":12.5}}}}"#,
        id(random, now),
        1 + actor % 3,
        address / 250,
        1 + address % 250,
        random.u128(..),
        random.u64(..),
    )
}

/// A UUID of version 7.
pub(crate) fn id(random: &mut fastrand::Rng, now: DateTime<Utc>) -> uuid::Uuid {
    let ms = u64::try_from(now.timestamp_millis()).unwrap();
    uuid::Builder::from_unix_timestamp_millis(ms, &std::array::from_fn(|_| random.u8(..))).into_uuid()
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    written: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::with_capacity(4096), written: Vec::with_capacity(4096) }
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn ask(&mut self, head: &str, body: &[u8]) -> (u16, &[u8]) {
        self.written.clear();
        self.written.extend_from_slice(head.as_bytes());
        self.written.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        self.written.extend_from_slice(body);
        self.stream.write_all(&self.written).await.unwrap();
        self.read.clear();
        loop {
            let read = self.stream.read_buf(&mut self.read).await.unwrap();
            assert!(read > 0, "the server ended the connection");
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(head) = response.parse(&self.read).unwrap() {
                let named = |name: &str| {
                    response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))
                };
                let length = named("content-length")
                    .map_or(0, |header| std::str::from_utf8(header.value).unwrap().parse().unwrap());
                let status = response.code.unwrap();
                while self.read.len() < head + length {
                    assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0);
                }
                return (status, &self.read[head..head + length]);
            }
        }
    }
}

/// What a run came to.
pub(crate) struct Run {
    pub(crate) requests: usize,
    pub(crate) seconds: f64,
    /// Seconds from request to answer.
    pub(crate) times: Vec<f64>,
}

/// Sends single events on so many connections for a while, each as soon as the one before is answered.
pub(crate) async fn singles(
    port: u16,
    connections: usize,
    time: Duration,
    head: impl Fn(usize) -> String,
    is_kept: impl Fn(u16, &[u8]) -> bool + Copy + Send + Sync + 'static,
) -> Run {
    let stop = Arc::new(AtomicBool::new(false));
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(port).await);
    }
    let started = Instant::now();
    let tasks: Vec<_> = opened
        .into_iter()
        .enumerate()
        .map(|(number, mut connection)| {
            let (stop, head) = (Arc::clone(&stop), head(number));
            let mut random = fastrand::Rng::new();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let body = event(&mut random, Utc::now());
                    let asked = Instant::now();
                    let (status, answer) = connection.ask(&head, body.as_bytes()).await;
                    assert!(is_kept(status, answer), "{status}: {}", String::from_utf8_lossy(answer));
                    times.push(asked.elapsed().as_secs_f64());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    Run { requests: times.len(), seconds: started.elapsed().as_secs_f64(), times }
}
