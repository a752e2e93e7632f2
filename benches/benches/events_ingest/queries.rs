//! Queries of a large log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::log::Which;
use mfa_events::{ActorId, CurrentMetrics, EventLog, Offset, RedbStore, TenantId};
use tokio::runtime::Runtime;

use crate::batches::{Ids, events};
use crate::side_by_side::{Asked, Samples, count, micros};

const ACTORS: u32 = 100_000;
const CHUNK: usize = 5_000;
/// What the log may take of the disk, and what is left free in any case.
const BYTES_MAX: u64 = 8 << 30;
const FREE_BYTES_MIN: u64 = 12 << 30;

pub(crate) fn run(asked: &Asked) {
    let (most, time) =
        asked.pick((100_000_000, Duration::from_secs(150)), (500_000, Duration::from_secs(10)));
    println!("\nqueries: a log of 30 days, {} actors in no order", count(f64::from(ACTORS)));
    let runtime = Runtime::new().unwrap();
    let dir = asked.fresh_dir();
    let path = dir.path().join("events.redb");
    let log = {
        let _inside = runtime.enter();
        EventLog::open(RedbStore::open(&path).unwrap())
    };
    let started = Instant::now();
    let (stored, end) = runtime.block_on(fill(&log, most, time, &path));
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "  {} events stored in {:.0} s ({:.1} GiB): {}; they are in the system's memory as far as it goes",
        count(stored as f64),
        started.elapsed().as_secs_f64(),
        bytes as f64 / f64::from(1 << 30),
        if stored >= most {
            "as many as were asked for"
        } else {
            "as many as time and disk allow here, of 100,000,000"
        },
    );
    runtime.block_on(async {
        let tenant = TenantId::new("acme").unwrap();
        let mut random = fastrand::Rng::with_seed(11);
        let mut actor =
            move || ActorId::new(format!("person-{:07}@example.com", random.u32(..ACTORS))).unwrap();
        for (name, actors, queries, goal) in [
            ("one actor, the first 100 events", 1, asked.pick(3_000, 50), "   goal p99 < 5 ms"),
            ("1,000 actors at once, the first 1,000 events", 1_000, asked.pick(50, 3), ""),
        ] {
            let (mut times, mut found) = (Samples::default(), 0);
            for _ in 0..queries {
                let which = Which::Actors((0..actors).map(|_| actor()).collect());
                let limit = if actors == 1 { 100 } else { 1_000 };
                let asked = Instant::now();
                let page = log.read(&tenant, &which, Offset::START, limit).await.unwrap();
                times.push(asked.elapsed().as_secs_f64());
                found += page.records.len();
            }
            println!(
                "  {name:<46} {:>11} median {:>11} p99, {} events each{goal}",
                micros(times.median()),
                micros(times.quantile(0.99)),
                count(found as f64 / f64::from(queries)),
            );
        }
        let metrics = CurrentMetrics::new(log.clone());
        let asked_first = Instant::now();
        let report = metrics.report(&tenant, end).await.unwrap().report;
        println!(
            "  metrics of 24 hours, {} failures: first asked for {:>8.2} ms, as 49 hours are counted then",
            count(report.total.all.mfa_failures as f64),
            asked_first.elapsed().as_secs_f64() * 1e3
        );
        let mut times = Samples::default();
        for _ in 0..asked.pick(500, 10) {
            let asked = Instant::now();
            std::hint::black_box(metrics.report(&tenant, end).await.unwrap());
            times.push(asked.elapsed().as_secs_f64());
        }
        println!(
            "  {:<46} {:>11} median {:>11} p99   goal < 10 ms",
            "metrics of 24 hours, from then on",
            micros(times.median()),
            micros(times.quantile(0.99))
        );
    });
}

/// Appends events that happened over 30 days up to now, in their order, until there are enough.
async fn fill(
    log: &EventLog<RedbStore>,
    most: usize,
    time: Duration,
    path: &std::path::Path,
) -> (usize, DateTime<Utc>) {
    let tenant = Arc::new(TenantId::new("acme").unwrap());
    let (end, started) = (Utc::now(), Instant::now());
    let chunks = most / CHUNK;
    let (mut stored, mut done) = (0, 0.0_f64);
    let mut under_way = tokio::task::JoinSet::new();
    for chunk in 0..chunks {
        // In their order, and the last ones now, whatever ends it: how many will fit is not known.
        let bytes = std::fs::metadata(path).unwrap().len();
        let part = started.elapsed().as_secs_f64() / time.as_secs_f64();
        done = part.max(bytes as f64 / BYTES_MAX as f64).max(chunk as f64 / chunks as f64).clamp(done, 1.0);
        let at = end - TimeDelta::milliseconds((30.0 * 86_400_000.0 * (1.0 - done)) as i64);
        let (log, tenant) = (log.clone(), Arc::clone(&tenant));
        under_way.spawn(async move {
            let made = events(&mut fastrand::Rng::new(), Ids::Ordered, ACTORS, CHUNK, at);
            log.append(&tenant, made, Utc::now()).await.unwrap();
        });
        stored += CHUNK;
        if under_way.len() >= 4 {
            under_way.join_next().await.unwrap().unwrap();
        }
        let free = rustix::fs::statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize);
        let is_full = bytes > BYTES_MAX || free < FREE_BYTES_MIN;
        if is_full || started.elapsed() > time {
            break;
        }
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    (stored, end)
}
