//! Single appends over HTTP.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::load::{Connection, Run, singles};
use crate::process::{self, Server, cpu_seconds, key};
use crate::side_by_side::{Asked, Samples, count};

const CONNECTIONS: usize = 256;

/// One side.
struct Side {
    name: &'static str,
    server: Server,
    head: fn(usize) -> String,
    is_kept: fn(u16, &[u8]) -> bool,
    rates: Samples,
    times: Samples,
    /// Of both processors, by the server and by the client, while it was measured.
    shares: Vec<(f64, f64)>,
}

impl Side {
    fn new(
        name: &'static str,
        server: Server,
        head: fn(usize) -> String,
        is_kept: fn(u16, &[u8]) -> bool,
    ) -> Self {
        Self {
            name,
            server,
            head,
            is_kept,
            rates: Samples::default(),
            times: Samples::default(),
            shares: Vec::new(),
        }
    }
}

pub(crate) fn ours(tenant: usize) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        key(tenant)
    )
}

pub(crate) fn peer(stream: usize) -> String {
    format!("POST /stream-{stream} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n")
}

fn is_accepted(status: u16, answer: &[u8]) -> bool {
    status == 200 && answer.starts_with(br#"{"accepted":1,"#)
}

pub(crate) fn run(asked: &Asked) {
    let (rounds, time) = asked.pick((4, Duration::from_secs(4)), (1, Duration::from_secs(1)));
    println!(
        "\nsingle: one event of about 480 bytes for each request, {CONNECTIONS} connections that stay open"
    );
    println!("  client  in this process on a runtime with one thread; its share of the machine is told");
    println!("  ours    checked, each id once, found by actor and by time; answered when it is on the disk");
    println!(
        "  peer    durable-streams with its write-ahead log: JSON is checked to be JSON, and nothing is indexed"
    );
    process::many_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut sides = vec![
        Side::new("ours, one tenant", Server::ours(asked), |_| ours(0), is_accepted),
        Side::new(
            "ours, 64 tenants",
            Server::ours(asked),
            |number| ours(number % process::TENANTS),
            is_accepted,
        ),
        Side::new(
            "peer, one stream",
            peer_with_streams(asked, &runtime, 1),
            |_| peer(0),
            |status, _| status < 300,
        ),
        Side::new(
            "peer, 64 streams",
            peer_with_streams(asked, &runtime, 64),
            |number| peer(number % 64),
            |status, _| status < 300,
        ),
    ];
    let own = std::process::id();
    for round in 0..=rounds {
        for turn in 0..sides.len() {
            let place = (round + turn) % sides.len();
            let side = &mut sides[place];
            let before = (cpu_seconds(side.server.pid()), cpu_seconds(own));
            let time = if round == 0 { time / 4 } else { time };
            let Run { requests, seconds, times } =
                runtime.block_on(singles(side.server.port, CONNECTIONS, time, side.head, side.is_kept));
            // The first round warms up.
            if round == 0 {
                continue;
            }
            let share = |before, after| (after - before) / seconds / cores();
            side.shares
                .push((share(before.0, cpu_seconds(side.server.pid())), share(before.1, cpu_seconds(own))));
            side.rates.push(requests as f64 / seconds);
            side.times.0.extend(times);
        }
    }
    println!("  {:<20} {:>12} {:>9} {:>9} {:>9} {:>9}", "", "events/s", "p50", "p99", "server", "client");
    for side in &sides {
        let share = |of: fn(&(f64, f64)) -> f64| {
            100.0 * side.shares.iter().map(of).sum::<f64>() / side.shares.len() as f64
        };
        println!(
            "  {:<20} {:>12} {:>6.1} ms {:>6.1} ms {:>7.0} % {:>7.0} %",
            side.name,
            count(side.rates.median()),
            side.times.median() * 1e3,
            side.times.quantile(0.99) * 1e3,
            share(|(server, _)| *server),
            share(|(_, client)| *client),
        );
    }
    let best = |name: &str| {
        let of = sides.iter().filter(|side| side.name.starts_with(name));
        of.map(|side| side.rates.median()).fold(0.0, f64::max)
    };
    let one = sides[0].rates.median();
    println!("  {:<44} {:>10}   goal ≥ 30,000", "ours, one tenant", count(one));
    println!("  {:<44} {:>9.2}×   goal > 1", "ours ÷ peer, one stream each", one / sides[2].rates.median());
    println!("  {:<44} {:>9.2}×   goal > 1", "ours ÷ peer, the better of each", best("ours") / best("peer"));
}

pub(crate) fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

pub(crate) fn peer_with_streams(asked: &Asked, runtime: &Runtime, streams: usize) -> Server {
    let server = Server::peer(asked);
    runtime.block_on(async {
        let mut connection = Connection::open(server.port).await;
        for stream in 0..streams {
            let head = format!(
                "PUT /stream-{stream} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            );
            let (status, _) = connection.ask(&head, b"").await;
            assert_eq!(status, 201, "the peer makes a stream");
        }
    });
    server
}
