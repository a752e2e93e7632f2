//! Batches into the library, beside what the database alone takes for the same rows.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use mfa_events::event::{FailureReason, GeoLocation, Method};
use mfa_events::{Event, EventLog, MfaFailure, RedbStore, TenantId};
use redb::{Builder, Database, Durability, TableDefinition};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::load::id;
use crate::side_by_side::{Asked, Samples, count};

const BATCH: usize = 512;
/// Who send at the same time.
const SENDERS: usize = 16;

/// Which ids events have.
#[derive(Clone, Copy)]
pub(crate) enum Ids {
    /// Of version 7, as the crate makes them: they grow with time.
    Ordered,
    /// Of version 4: each falls anywhere.
    Random,
}

/// Typed events, made before the clock starts.
pub(crate) fn events(
    random: &mut fastrand::Rng,
    ids: Ids,
    actors: u32,
    number: usize,
    now: DateTime<Utc>,
) -> Vec<Event> {
    let one = |_| {
        let actor = random.u32(..actors);
        let id = match ids {
            Ids::Ordered => id(random, now),
            Ids::Random => uuid::Builder::from_random_bytes(random.u128(..).to_ne_bytes()).into_uuid(),
        };
        let geo = GeoLocation { country: Some(country()), asn: Some(64_496), ..GeoLocation::default() };
        MfaFailure::new(&format!("person-{actor:07}@example.com"), Method::Push, FailureReason::PushDenied)
            .id(id)
            .from(std::net::Ipv4Addr::from_bits(0xc633_0000 + random.u32(..4_000)).into())
            .geo_location(geo)
            .at(now)
            .attempts(1 + actor % 3)
            .try_into()
            .unwrap()
    };
    (0..number).map(one).collect()
}

fn country() -> mfa_events::event::Country {
    mfa_events::event::Country::new("DE").unwrap()
}

pub(crate) fn run(asked: &Asked) {
    let (rounds, batches) = asked.pick((5, 800), (1, 50));
    println!(
        "\nbatches: {BATCH} typed events of about 280 bytes of JSON for each call, {SENDERS} callers at a time"
    );
    println!("  ours       EventLog::append over RedbStore: each id once, found by actor and by time");
    println!(
        "  redb       by hand: events, ids, times and actors in four tables, as JSON that was written before the clock;"
    );
    println!(
        "             as many batches in one transaction as callers wait, sorted; committed at once (Durability::Immediate)"
    );
    println!("  redb, one  the same, a transaction for each batch");
    let runtime = Runtime::new().unwrap();
    let dir = asked.fresh_dir();
    let log = {
        let _inside = runtime.enter();
        EventLog::open(RedbStore::open(dir.path().join("ours")).unwrap())
    };
    let (together, alone) = (Bare::open(&dir.path().join("together")), Bare::open(&dir.path().join("alone")));
    let mut rates: [(&str, Samples); 5] = [
        ("ours", Samples::default()),
        ("ours, ids of version 4", Samples::default()),
        ("ours, one caller", Samples::default()),
        ("redb", Samples::default()),
        ("redb, one", Samples::default()),
    ];
    let mut random = fastrand::Rng::new();
    for round in 0..=rounds {
        let batches = if round == 0 { batches / 8 } else { batches };
        for turn in 0..rates.len() {
            let place = (round + turn) % rates.len();
            let (ids, few) = match place {
                1 => (Ids::Random, 1),
                2 | 4 => (Ids::Ordered, 4),
                _ => (Ids::Ordered, 1),
            };
            let batches = batches / few;
            let made: Vec<_> =
                (0..batches).map(|_| events(&mut random, ids, 100_000, BATCH, Utc::now())).collect();
            let taken = match place {
                0 | 1 => runtime.block_on(append(&log, made, SENDERS)),
                2 => runtime.block_on(append(&log, made, 1)),
                3 => together.append(&rows(made), SENDERS),
                _ => alone.append(&rows(made), 1),
            };
            if round > 0 {
                rates[place].1.push((batches * BATCH) as f64 / taken.as_secs_f64());
            }
        }
    }
    for (name, rate) in &rates {
        let goal = if *name == "ours" { "   goal ≥ 300,000" } else { "" };
        println!("  {name:<28} {:>10} events/s{goal}", count(rate.median()));
    }
    let ratio = |own: usize, other: usize| rates[own].1.median() / rates[other].1.median();
    println!("  {:<28} {:>9.2}×", "ours ÷ redb", ratio(0, 3));
    println!("  {:<28} {:>9.2}×", "ours, one caller ÷ redb, one", ratio(2, 4));
}

/// Appends these batches, so many at a time.
pub(crate) async fn append(log: &EventLog<RedbStore>, batches: Vec<Vec<Event>>, senders: usize) -> Duration {
    let tenant = TenantId::new("acme").unwrap();
    let mut shares: Vec<Vec<Vec<Event>>> = (0..senders).map(|_| Vec::new()).collect();
    for (number, batch) in batches.into_iter().enumerate() {
        shares[number % senders].push(batch);
    }
    let started = Instant::now();
    let tasks = shares.into_iter().map(|share| {
        let (log, tenant) = (log.clone(), tenant.clone());
        tokio::spawn(async move {
            for batch in share {
                log.append(&tenant, batch, Utc::now()).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    started.elapsed()
}

const EVENTS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("events");
const IDS: TableDefinition<'static, u128, u64> = TableDefinition::new("ids");
const TIMES: TableDefinition<'static, (i64, u64), ()> = TableDefinition::new("times");
const ACTORS: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("actors");

struct Row {
    id: Uuid,
    at: i64,
    actor: u64,
    json: Vec<u8>,
}

fn rows(batches: Vec<Vec<Event>>) -> Vec<Vec<Row>> {
    use std::hash::{BuildHasher as _, RandomState};
    let hash = RandomState::new();
    let row = |event: Event| Row {
        id: event.id(),
        at: event.at().as_datetime().timestamp_millis(),
        actor: hash.hash_one(event.actor()),
        json: serde_json::to_vec(&event).unwrap(),
    };
    batches.into_iter().map(|batch| batch.into_iter().map(row).collect()).collect()
}

/// The database alone.
struct Bare {
    database: Database,
    last: std::cell::Cell<u64>,
}

impl Bare {
    fn open(path: &Path) -> Self {
        let database = Builder::new().set_cache_size(128 << 20).create(path).unwrap();
        Self { database, last: std::cell::Cell::new(0) }
    }

    fn append(&self, batches: &[Vec<Row>], together: usize) -> Duration {
        let started = Instant::now();
        for batches in batches.chunks(together) {
            let mut transaction = self.database.begin_write().unwrap();
            transaction.set_durability(Durability::Immediate).unwrap();
            {
                let mut events = transaction.open_table(EVENTS).unwrap();
                let mut ids = transaction.open_table(IDS).unwrap();
                let mut times = transaction.open_table(TIMES).unwrap();
                let mut actors = transaction.open_table(ACTORS).unwrap();
                let first = self.last.get() + 1;
                let rows = || batches.iter().flatten().zip(first..);
                for (row, offset) in rows() {
                    events.insert(offset, row.json.as_slice()).unwrap();
                    self.last.set(offset);
                }
                let mut by_id: Vec<_> = rows().map(|(row, offset)| (row.id.as_u128(), offset)).collect();
                by_id.sort_unstable();
                for (id, offset) in by_id {
                    assert!(ids.insert(id, offset).unwrap().is_none(), "an id is new");
                }
                let mut by_time: Vec<_> = rows().map(|(row, offset)| (row.at, offset)).collect();
                by_time.sort_unstable();
                for row in by_time {
                    times.insert(row, ()).unwrap();
                }
                let mut by_actor: Vec<_> = rows().map(|(row, offset)| (row.actor, offset)).collect();
                by_actor.sort_unstable();
                for row in by_actor {
                    actors.insert(row, ()).unwrap();
                }
            }
            transaction.commit().unwrap();
        }
        started.elapsed()
    }
}
