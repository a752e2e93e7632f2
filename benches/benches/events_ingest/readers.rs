//! Readers of server-sent events: how soon they have what is sent, and what those cost who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::load::{Connection, event};
use crate::process::{self, Server, cpu_seconds, key, resident_kib};
use crate::side_by_side::{Asked, Samples, count};
use crate::single;

const READERS: usize = 100;
/// Connections that send.
const SENDERS: usize = 16;

pub(crate) fn run(asked: &Asked) {
    process::many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let time = asked.pick(Duration::from_secs(10), Duration::from_secs(2));
    println!(
        "\nreaders: {READERS} of server-sent events, from the sending of an event until a reader has it, its way to the disk included"
    );
    println!(
        "  {:<44} {:>9} {:>11} {:>9} {:>9} {:>7} {:>7}",
        "", "sent/s", "delivered/s", "p50", "p99", "server", "client"
    );
    // Many readers of one stream, and few of each of many.
    for (streams, rate) in [(1, 1_000), (50, 10_000)] {
        for is_ours in [true, false] {
            let server = if is_ours {
                Server::ours(asked)
            } else {
                single::peer_with_streams(asked, &runtime, streams)
            };
            let name = format!(
                "{}, {streams} streams at {}/s",
                if is_ours { "ours" } else { "peer" },
                count(f64::from(rate))
            );
            let goal = if is_ours { "   goal p99 < 25 ms" } else { "" };
            let side = if is_ours { OURS } else { PEER };
            let own = std::process::id();
            let before = (cpu_seconds(server.pid()), cpu_seconds(own));
            let Delivered { sent, times, seconds } =
                runtime.block_on(deliver(server.port, side, streams, rate, time));
            let share = |before: f64, pid| 100.0 * (cpu_seconds(pid) - before) / seconds / single::cores();
            println!(
                "  {name:<44} {:>9} {:>11} {:>6.1} ms {:>6.1} ms {:>5.0} % {:>5.0} %{goal}",
                count(sent as f64 / seconds),
                count(times.0.len() as f64 / seconds),
                times.median() * 1e3,
                times.quantile(0.99) * 1e3,
                share(before.0, server.pid()),
                share(before.1, own),
            );
        }
    }
    idle(asked, &runtime);
}

/// How a side is asked.
#[derive(Clone, Copy)]
struct Side {
    append: fn(usize) -> String,
    read: fn(usize) -> String,
}

const OURS: Side = Side { append: single::ours, read: |tenant| stream(tenant, "now") };
const PEER: Side = Side {
    append: single::peer,
    read: |stream| format!("GET /stream-{stream}?offset=-1&live=sse HTTP/1.1\r\nhost: localhost\r\n\r\n"),
};

fn stream(tenant: usize, offset: &str) -> String {
    format!(
        "GET /v1/stream?offset={offset}&live=sse HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        key(tenant)
    )
}

struct Delivered {
    sent: usize,
    times: Samples,
    seconds: f64,
}

async fn deliver(port: u16, side: Side, streams: usize, rate: u32, time: Duration) -> Delivered {
    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let ready = Arc::new(AtomicUsize::new(0));
    let (ended, _) = tokio::sync::watch::channel(false);
    let readers: Vec<_> = (0..READERS)
        .map(|number| {
            let (head, ready) = ((side.read)(number % streams), Arc::clone(&ready));
            let mut ended = ended.subscribe();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.write_all(head.as_bytes()).await.unwrap();
                let (mut text, mut times, mut is_ready) = (Vec::with_capacity(1 << 16), Vec::new(), false);
                loop {
                    tokio::select! {
                        read = stream.read_buf(&mut text) => assert!(read.unwrap() > 0, "the server ended the stream"),
                        _ = ended.wait_for(|ended| *ended) => return times,
                    }
                    if !is_ready {
                        is_ready = true;
                        ready.fetch_add(1, Ordering::Relaxed);
                    }
                    let now = begun.elapsed().as_nanos() as u64;
                    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                    let lines = std::str::from_utf8(&text[..whole]).unwrap();
                    for (at, _) in lines.match_indices(SENT_AT) {
                        let digits = &lines[at + SENT_AT.len()..at + SENT_AT.len() + 16];
                        let sent = u64::from_str_radix(digits, 16).unwrap();
                        times.push(now.saturating_sub(sent) as f64 / 1e9);
                    }
                    text.drain(..whole);
                }
            })
        })
        .collect();
    while ready.load(Ordering::Relaxed) < READERS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut connection = Connection::open(port).await;
                let mut random = fastrand::Rng::new();
                let every = Duration::from_secs(1) * SENDERS as u32 / rate;
                let mut turns = tokio::time::interval(every);
                turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    turns.tick().await;
                    let head = (side.append)((sender + sent * SENDERS) % streams);
                    let event = event(&mut random, Utc::now());
                    // Into a field that both sides carry as it is.
                    let at = format!("{SENT_AT}{:016x}", begun.elapsed().as_nanos() as u64);
                    let (before, after) = event.split_once(r#""correlation_id":""#).unwrap();
                    let event = format!("{before}{at}{}", &after[16..]);
                    let (status, answer) = connection.ask(&head, event.as_bytes()).await;
                    assert!(status < 300, "{status}: {}", String::from_utf8_lossy(answer));
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    // What is on its way arrives.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut times = Samples::default();
    ended.send_replace(true);
    for reader in readers {
        times.0.extend(reader.await.unwrap());
    }
    Delivered { sent, times, seconds }
}

const SENT_AT: &str = r#""correlation_id":""#;

/// Memory of those who wait.
fn idle(asked: &Asked, runtime: &Runtime) {
    let most = asked.pick(10_000, 500);
    println!(
        "\nidle: readers of server-sent events who wait, each on a connection of its own, in another process than the server"
    );
    let server = Server::ours(asked);
    runtime.block_on(async {
        let mut open = vec![waiting(server.port, 0).await];
        let begun = resident_kib(server.pid());
        while open.len() < most {
            let batch = (most - open.len()).min(100);
            let more = (0..batch).map(|number| waiting(server.port, number % process::TENANTS));
            open.extend(futures::future::join_all(more).await);
        }
        tokio::time::sleep(Duration::from_secs(asked.pick(3, 1))).await;
        let now = resident_kib(server.pid());
        let each = (now - begun) / (open.len() - 1) as f64;
        println!(
            "  {:>6} readers {:>8.1} MiB resident, {each:>5.1} KiB each   goal ≤ 30 KiB",
            open.len(),
            now / 1024.0
        );
    });
}

/// A reader who has been told where it is.
async fn waiting(port: u16, tenant: usize) -> TcpStream {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(stream(tenant, "now").as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.windows(8).any(|part| part == b"upToDate") {
        assert!(connection.read_buf(&mut text).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
    }
    connection
}
