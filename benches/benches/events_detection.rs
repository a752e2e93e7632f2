//! Detection over typed events: all published rules together, on one core, and what a flood of made-up actors and sources takes.
//!
//! Events are made before the clock starts, as they come from a log. JSON is not read here: that is the cost of ingest.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mfa_events::detect::{Options, Rules, TenantDetector};
use mfa_events::event::{FailureReason, GeoLocation, Method, Timestamp};
use mfa_events::store::Record;
use mfa_events::{Event, LoginFailure, LoginSuccess, MfaFailure, Offset, TenantId};

const EVENTS: usize = 200_000;
const FLOOD: u64 = 10_000_000;

fn at(ms: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::milliseconds(ms)
}

fn record(offset: u64, event: Event, at: DateTime<Utc>) -> Record {
    Record {
        offset: Offset::new(offset),
        ingested_at: Timestamp::new(at).expect("of these years"),
        event: Arc::new(event),
    }
}

/// A busy company: 20,000 people at 2,000 addresses, `per_second` events, of which a share are failures.
fn company(per_second: i64, failures_percent: u8) -> Vec<Record> {
    let mut random = fastrand::Rng::with_seed(7);
    let names: Vec<String> = (0..20_000).map(|number| format!("person-{number:05}@example.com")).collect();
    let records = (0..EVENTS).map(|number| {
        let at = at(number as i64 * 1_000 / per_second);
        let person = random.usize(..names.len());
        let (name, ip) = (&names[person], Ipv4Addr::from_bits(0xc633_0000 + (person as u32 % 2_000)));
        let happened = at - TimeDelta::milliseconds(random.i64(0..3_000));
        let event = match random.u8(..100) {
            kind if kind >= failures_percent => {
                let geo = GeoLocation { lat: Some(52.5), lon: Some(13.4), ..GeoLocation::default() };
                let success = LoginSuccess::new(name).with(Method::Push).geo_location(geo);
                success.from(ip.into()).at(happened).try_into()
            }
            kind if kind % 2 == 0 => LoginFailure::new(name).from(ip.into()).at(happened).try_into(),
            _ => {
                let failure = MfaFailure::new(name, Method::Push, FailureReason::PushDenied);
                failure.from(ip.into()).at(happened).try_into()
            }
        };
        record(number as u64 + 1, event.expect("an event"), at)
    });
    records.collect()
}

fn detector(options: Options) -> TenantDetector {
    TenantDetector::new(TenantId::new("acme").expect("an id"), &Rules::published(), options)
}

fn throughput(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detection, all rules");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10);
    for (name, per_second, failures_percent) in [
        ("a busy day: 100 events a second, 10 % failures", 100, 10),
        ("100 events a second, half of them failures", 100, 50),
        ("10,000 events a second, 10 % failures", 10_000, 10),
    ] {
        let records = company(per_second, failures_percent);
        let best = (0..5).map(|_| {
            let (mut detector, mut alerts) = (detector(Options::default()), Vec::new());
            let before = processor_time();
            records.iter().for_each(|record| detector.observe(record, &mut alerts));
            (processor_time() - before).max(0.001)
        });
        let best = best.fold(f64::INFINITY, f64::min);
        println!("{name}: {:.2} million events per second of one core", EVENTS as f64 / best / 1e6);
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || (detector(Options::default()), Vec::with_capacity(1_024)),
                |(mut detector, mut alerts)| {
                    for record in &records {
                        detector.observe(record, &mut alerts);
                    }
                    (detector, alerts)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Seconds of a processor that this thread has had, whatever else the machine does.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory of this process, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is told");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1_024
}

/// Ten million failures, each with an actor and a source of its own.
fn flood(_: &mut Criterion) {
    let mut detector = detector(Options::default());
    let mut alerts = Vec::new();
    let before = resident_mib();
    let mut spent = 0.0;
    for chunk in 0..FLOOD / 100_000 {
        let records: Vec<_> = (0..100_000)
            .map(|number| {
                let number = chunk * 100_000 + number;
                let ip = Ipv4Addr::from_bits((number as u32).wrapping_mul(2_654_435_761));
                let event = LoginFailure::new(&format!("made-up-{number}")).from(ip.into());
                let at = at(number as i64 / 20);
                record(number + 1, event.at(at).try_into().expect("an event"), at)
            })
            .collect();
        let start = processor_time();
        for record in &records {
            detector.observe(record, &mut alerts);
        }
        spent += processor_time() - start;
        alerts.clear();
    }
    let (size, after) = (detector.size(), resident_mib());
    let rate = FLOOD as f64 / spent / 1e6;
    println!("flood: {FLOOD} made-up actors and sources at {rate:.2} million events per second of one core");
    println!("flood: {size:?}, {} MiB more than before", after.saturating_sub(before));
}

criterion_group!(benches, throughput, flood);
criterion_main!(benches);
