//! Detection over typed events: all published rules together, on one core, and what a flood of made-up actors and sources takes; and beside it
//! `rsigma`, on those rules that Sigma can say.
//!
//! Events are made before the clock starts, as they come from a log: typed for us, parsed JSON for `rsigma`. JSON is not read here: that is
//! the cost of ingest.
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
use mfa_events::detect::rule::Kind;
use mfa_events::detect::{Options, Rules, TenantDetector};
use mfa_events::event::{FailureReason, GeoLocation, Method, Timestamp};
use mfa_events::render::sigma;
use mfa_events::store::Record;
use mfa_events::{Event, LoginFailure, LoginSuccess, MfaFailure, Offset, TenantId};
use rsigma_eval::{CorrelationConfig, CorrelationEngine, JsonEvent, ProcessResultExt as _};
use rsigma_parser::parse_sigma_yaml;

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

const DAYS: [(&str, i64, u8); 3] = [
    ("a busy day: 100 events a second, 10 % failures", 100, 10),
    ("100 events a second, half of them failures", 100, 50),
    ("10,000 events a second, 10 % failures", 10_000, 10),
];

/// Events that a reader of the log gets at once.
const PAGE: usize = 1_000;

/// The least processor time of five, in seconds, and alerts that were opened.
fn best(rules: &Rules, records: &[Record]) -> (f64, u64) {
    let runs = (0..5).map(|_| {
        let tenant = TenantId::new("acme").expect("an id");
        let mut detector = TenantDetector::new(tenant, rules, Options::default());
        let mut alerts = Vec::new();
        let before = processor_time();
        records.chunks(PAGE).for_each(|page| detector.observe_all(page, &mut alerts));
        ((processor_time() - before).max(0.001), detector.counters().opened_total)
    });
    runs.fold((f64::INFINITY, 0), |(best, _), (time, opened)| (best.min(time), opened))
}

fn throughput(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detection, all rules");
    group.throughput(Throughput::Elements(EVENTS as u64)).sample_size(10);
    for (name, per_second, failures_percent) in DAYS {
        let records = company(per_second, failures_percent);
        let (best, _) = best(&Rules::published(), &records);
        println!("{name}: {:.2} million events per second of one core", EVENTS as f64 / best / 1e6);
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || (detector(Options::default()), Vec::with_capacity(1_024)),
                |(mut detector, mut alerts)| {
                    records.chunks(PAGE).for_each(|page| detector.observe_all(page, &mut alerts));
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
        records.chunks(PAGE).for_each(|page| detector.observe_all(page, &mut alerts));
        spent += processor_time() - start;
        alerts.clear();
    }
    let (size, after) = (detector.size(), resident_mib());
    let rate = FLOOD as f64 / spent / 1e6;
    println!("flood: {FLOOD} made-up actors and sources at {rate:.2} million events per second of one core");
    println!("flood: {size:?}, {} MiB more than before", after.saturating_sub(before));
}

/// The published rules that are one correlation of Sigma by number or by different values, as this crate renders them.
///
/// What `rsigma` does otherwise: it takes the time of an event in whole seconds and events in the order in which they come, without waiting for
/// those that happened before; it does not take out whoever gets in after he failed; sources are addresses, IPv6 by no prefix; there is no
/// approval after requests and no weight of risk; and an alert is an answer that is suppressed for a while, not one that grows and closes.
/// It evaluates the selection of each rule on fields by name, which typed events spare us.
fn beside_rsigma(_: &mut Criterion) {
    const SOME: usize = 50_000;
    let rules = Rules::published().only(|rule| {
        matches!(rule.kind, Kind::Count { .. } | Kind::DistinctCount { .. } | Kind::Fatigue { .. })
    });
    for (name, per_second, failures_percent) in DAYS {
        let records = &company(per_second, failures_percent)[..SOME];
        let events: Vec<_> = records
            .iter()
            .map(|record| {
                let mut event = serde_json::to_value(&*record.event).expect("JSON");
                event["tenant_id"] = "acme".into();
                (event, record.event.at().as_datetime().timestamp())
            })
            .collect();
        let config = CorrelationConfig { emit_detections: false, suppress: Some(600), ..Default::default() };
        let mut engine = CorrelationEngine::new(config);
        for rule in &rules {
            let text = sigma(rule).expect("Sigma can say it");
            engine.add_collection(&parse_sigma_yaml(&text).expect("Sigma")).expect("rules");
        }
        assert_eq!(engine.correlation_rule_count(), rules.len());
        let before = processor_time();
        let mut told = 0;
        for (event, at) in &events {
            told += engine.process_event_at(&JsonEvent::borrow(event), *at).correlation_count();
        }
        let rsigma = processor_time() - before;
        let (ours, opened) = best(&rules, records);
        let rate = |seconds: f64| SOME as f64 / seconds;
        println!(
            "{name}, {} rules: {:.0} events per second of one core ({opened} alerts), rsigma {:.0} ({told} answers): {:.1} times",
            rules.len(),
            rate(ours),
            rate(rsigma),
            rsigma / ours
        );
    }
}

criterion_group!(benches, throughput, beside_rsigma, flood);
criterion_main!(benches);
