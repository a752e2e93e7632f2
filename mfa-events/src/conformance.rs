//! The suite that implementors of [`EventStore`] run in their tests. It panics where a promise is broken.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a suite of tests"
)]

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::event::{Event, LoginFailure, LoginSuccess, Timestamp};
use crate::id::{ActorId, TenantId};
use crate::store::{Appended, Bounds, Entry, EventStore, Offset, Record, Take};

/// Runs every check of a store. `open` makes handles on one and the same store, which is empty at first; at most one at a time is used.
/// Needs a tokio runtime.
pub async fn store<S: EventStore>(mut open: impl AsyncFnMut() -> S) {
    let store = open().await;
    is_empty_at_first(&store).await;
    keeps_order(&store).await;
    keeps_the_first_of_an_id(&store).await;
    keeps_tenants_apart(&store).await;
    finds_actors(&store).await;
    finds_times(&store).await;
    let kept = store.read(&tenant("order"), Offset::START, all()).await.unwrap();
    drop(store);
    let store = open().await;
    let again = store.read(&tenant("order"), Offset::START, all()).await.unwrap();
    assert_eq!(again, kept, "what was kept is there after closing");
    let known = append(&store, "order", vec![numbered(0, "alice", 0)]).await;
    assert_eq!(known, [Appended::Known(kept[0].offset)], "and is known");
    forgets(&store).await;
    drop(store);
    let store = open().await;
    let bounds = store.bounds(&tenant("forget")).await.unwrap();
    assert!(bounds.forgotten > Offset::START, "what was forgotten is known after closing");
}

/// Runs every check of a store that several processes use at a time. `open` makes handles on one and the same store, which is empty at
/// first, as different processes would. Needs a tokio runtime.
pub async fn shared_store<S: EventStore>(mut open: impl AsyncFnMut() -> S) {
    let (here, there) = (open().await, open().await);
    tells_what_arrives(&here, &there).await;
    keeps_the_first_of_an_id_that_two_append(&here, &there).await;
    keeps_one_order_for_all(&here, &there).await;
    let appended = append(&here, "shared-forget", (0..4).map(|n| numbered(n, "alice", 0)).collect()).await;
    here.forget(&tenant("shared-forget"), appended[1].offset()).await.unwrap();
    let again = append(&there, "shared-forget", vec![numbered(3, "alice", 0), numbered(9, "alice", 0)]).await;
    assert_eq!(again[0], Appended::Known(appended[3].offset()));
    let bounds = there.bounds(&tenant("shared-forget")).await.unwrap();
    assert_eq!(bounds, Bounds { forgotten: appended[1].offset(), last: again[1].offset() });
}

/// Waits until an event is here, which may be some time after somebody else was told that it is kept.
async fn arrive(here: &impl EventStore, name: &str, offset: Offset) {
    while here.bounds(&tenant(name)).await.unwrap().last < offset {
        // Of other tenants something may have arrived as well.
        here.arrived().await.unwrap();
    }
}

/// Waits for what the other has appended.
async fn tells_what_arrives(here: &impl EventStore, there: &impl EventStore) {
    for number in 0..20 {
        let offset = append(there, "arrives", vec![numbered(number, "alice", 0)]).await[0].offset();
        arrive(here, "arrives", offset).await;
        let read = here.read(&tenant("arrives"), Offset::new(offset.as_u64() - 1), all()).await.unwrap();
        assert_eq!(numbers(&read), [number], "what has arrived is read");
    }
}

async fn keeps_the_first_of_an_id_that_two_append(here: &impl EventStore, there: &impl EventStore) {
    for round in 0..10_u128 {
        let ids = round * 50..(round + 1) * 50;
        // Every other one has other content.
        let events = |actor: &str| -> Vec<Event> {
            ids.clone().map(|id| numbered(id, if id % 2 == 0 { actor } else { "both" }, 0)).collect()
        };
        let (here, there) = tokio::join!(
            append(here, "shared-ids", events("here")),
            append(there, "shared-ids", events("there"))
        );
        for (id, (here, there)) in ids.zip(here.iter().zip(&there)) {
            assert_eq!(here.offset(), there.offset(), "an id stands at one place");
            let second = match id % 2 {
                0 => Appended::Conflict(here.offset()),
                _ => Appended::Known(here.offset()),
            };
            let new = Appended::New(here.offset());
            assert!(
                (*here == new && *there == second) || (*here == second && *there == new),
                "one is first: {here:?}, {there:?}"
            );
        }
    }
}

async fn append_batches(store: &impl EventStore, first: u128) {
    for batch in 0..20 {
        let from = first + batch * 20;
        append(store, "shared-order", (from..from + 20).map(|n| numbered(n, "alice", 0)).collect()).await;
    }
}

/// A reader who goes on while two append sees in the end what a new one sees.
async fn keeps_one_order_for_all(here: &impl EventStore, there: &impl EventStore) {
    let reading = async {
        let (mut after, mut read) = (Offset::START, Vec::new());
        while read.len() < 800 {
            // As a log does: no further than the bounds that were seen before.
            let last = here.bounds(&tenant("shared-order")).await.unwrap().last;
            let mut page = here.read(&tenant("shared-order"), after, Take { events: 30 }).await.unwrap();
            page.retain(|record| record.offset <= last);
            after = page.last().map_or(after, |record| record.offset);
            read.extend(page);
            tokio::task::yield_now().await;
        }
        read
    };
    let ((), (), read) = tokio::join!(append_batches(here, 0), append_batches(there, 1_000), reading);
    arrive(there, "shared-order", read.last().unwrap().offset).await;
    let again = there.read(&tenant("shared-order"), Offset::START, all()).await.unwrap();
    assert_eq!(numbers(&read), numbers(&again), "nobody passes over an event");
}

fn all() -> Take {
    Take { events: usize::MAX }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(format!("conformance-{name}")).unwrap()
}

fn actor(name: &str) -> ActorId {
    ActorId::new(name).unwrap()
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_700_000_000 + second)
}

/// The same event for the same number.
fn numbered(number: u128, actor: &str, second: i64) -> Event {
    LoginFailure::new(actor).id(Uuid::from_u128(number)).at(at(second)).try_into().unwrap()
}

async fn append(store: &impl EventStore, name: &str, events: Vec<Event>) -> Vec<Appended> {
    let ingested_at = Timestamp::new(at(1_000)).unwrap();
    let count = events.len();
    let entries = events.into_iter().map(|event| Entry { tenant: tenant(name), event, ingested_at });
    let appended = store.append(entries.collect()).await.unwrap();
    assert_eq!(appended.len(), count, "an answer for each event");
    appended
}

fn numbers(records: &[Record]) -> Vec<u128> {
    records.iter().map(|record| record.event.id().as_u128()).collect()
}

async fn is_empty_at_first(store: &impl EventStore) {
    let nothing = Bounds { forgotten: Offset::START, last: Offset::START };
    assert_eq!(store.bounds(&tenant("nobody")).await.unwrap(), nothing);
    assert!(store.read(&tenant("nobody"), Offset::START, all()).await.unwrap().is_empty());
    assert!(store.append(Vec::new()).await.unwrap().is_empty());
    store.forget(&tenant("nobody"), Offset::new(7)).await.unwrap();
    assert_eq!(store.bounds(&tenant("nobody")).await.unwrap(), nothing, "nothing is forgotten of nothing");
}

async fn keeps_order(store: &impl EventStore) {
    let mut last = Offset::START;
    for batch in 0..20_u128 {
        // Times run backwards: order is that of commits.
        let events =
            (0..13).map(|number| numbered(batch * 13 + number, "alice", -i64::try_from(batch).unwrap()));
        for appended in append(store, "order", events.collect()).await {
            let Appended::New(offset) = appended else { panic!("{appended:?} of a new event") };
            assert!(offset > last, "offsets grow");
            last = offset;
        }
    }
    let bounds = store.bounds(&tenant("order")).await.unwrap();
    assert_eq!(bounds, Bounds { forgotten: Offset::START, last });
    let records = store.read(&tenant("order"), Offset::START, all()).await.unwrap();
    assert_eq!(numbers(&records), (0..260).collect::<Vec<_>>());
    assert_eq!(records[0].ingested_at, Timestamp::new(at(1_000)).unwrap());
    assert_eq!(*records[0].event, numbered(0, "alice", 0), "events are kept as they were given");
    for (place, events) in [(0, 1), (12, 1), (12, 2), (100, 7), (258, 5)] {
        let page = store.read(&tenant("order"), records[place].offset, Take { events }).await.unwrap();
        let end = (place + 1 + events).min(260);
        assert_eq!(page, records[place + 1..end], "reading goes on anywhere, for as long as it is asked to");
    }
    assert!(store.read(&tenant("order"), last, all()).await.unwrap().is_empty());
}

async fn keeps_the_first_of_an_id(store: &impl EventStore) {
    let first =
        append(store, "ids", vec![numbered(1, "alice", 0), numbered(1, "alice", 0), numbered(1, "bob", 0)])
            .await;
    let Appended::New(offset) = first[0] else { panic!("a new event is new") };
    assert_eq!(first[1..], [Appended::Known(offset), Appended::Conflict(offset)], "within one append");
    let success: Event = LoginSuccess::new("alice").id(Uuid::from_u128(1)).at(at(0)).try_into().unwrap();
    let later = append(store, "ids", vec![success, numbered(1, "alice", 0), numbered(2, "alice", 0)]).await;
    assert_eq!(later[..2], [Appended::Conflict(offset), Appended::Known(offset)], "and of different ones");
    assert!(matches!(later[2], Appended::New(_)), "others are kept beside them");
    assert_eq!(numbers(&store.read(&tenant("ids"), Offset::START, all()).await.unwrap()), [1, 2]);
}

async fn keeps_tenants_apart(store: &impl EventStore) {
    let ingested_at = Timestamp::new(at(1_000)).unwrap();
    let entry =
        |name: &str, number| Entry { tenant: tenant(name), event: numbered(number, "alice", 0), ingested_at };
    // Names that begin alike, with ids that are the same.
    let entries = vec![entry("apart", 1), entry("apart-too", 1), entry("apart", 2), entry("apar", 3)];
    let appended = store.append(entries).await.unwrap();
    assert!(appended.iter().all(|appended| matches!(appended, Appended::New(_))), "an id is a tenant's own");
    for (name, expected) in [("apart", vec![1, 2]), ("apart-too", vec![1]), ("apar", vec![3])] {
        let tenant = tenant(name);
        assert_eq!(numbers(&store.read(&tenant, Offset::START, all()).await.unwrap()), expected);
        let found = store.of_actors(&tenant, &[actor("alice")], Offset::START, all()).await.unwrap();
        assert_eq!(numbers(&found), expected);
        let found = store.of_time(&tenant, at(-1)..at(1), None, all()).await.unwrap();
        assert_eq!(numbers(&found), expected);
    }
}

async fn finds_actors(store: &impl EventStore) {
    let names = ["alice", "bob", "carol"];
    let events = (0..90_u128).map(|number| numbered(number, names[usize::try_from(number % 3).unwrap()], 0));
    append(store, "actors", events.collect()).await;
    let tenant = tenant("actors");
    let find = async |actors: &[&str], after, events| {
        let actors: Vec<_> = actors.iter().map(|name| actor(name)).collect();
        store.of_actors(&tenant, &actors, after, Take { events }).await.unwrap()
    };
    let of_bob: Vec<u128> = (0..90).filter(|number| number % 3 == 1).collect();
    let found = find(&["bob"], Offset::START, usize::MAX).await;
    assert_eq!(numbers(&found), of_bob);
    assert_eq!(numbers(&find(&["bob"], found[9].offset, 5).await), of_bob[10..15]);
    let both: Vec<u128> = (0..90).filter(|number| number % 3 != 1).collect();
    let found = find(&["carol", "alice", "carol", "nobody"], Offset::START, usize::MAX).await;
    assert_eq!(numbers(&found), both, "of several, each once and in order");
    assert!(find(&["bo"], Offset::START, usize::MAX).await.is_empty());
    assert!(find(&[], Offset::START, usize::MAX).await.is_empty());
}

async fn finds_times(store: &impl EventStore) {
    // 37 and 100 have no divisor in common: each second once, in another order.
    let events =
        (0..100_u128).map(|number| numbered(number, "alice", i64::try_from(number * 37 % 100).unwrap()));
    append(store, "times", events.collect()).await;
    let find = async |from, to, after, events| {
        store.of_time(&tenant("times"), at(from)..at(to), after, Take { events }).await.unwrap()
    };
    let mut within: Vec<u128> = (0..100).filter(|number| (20..30).contains(&(number * 37 % 100))).collect();
    within.sort_by_key(|number| number * 37 % 100);
    let found = find(20, 30, None, usize::MAX).await;
    assert_eq!(numbers(&found), within, "by time, with its begin and without its end");
    assert_eq!(numbers(&find(20, 30, Some(found[3].moment()), 2).await), within[4..6]);
    assert!(find(20, 30, Some(found[9].moment()), 2).await.is_empty());
    assert!(find(30, 30, None, usize::MAX).await.is_empty());
    assert!(find(30, 20, None, usize::MAX).await.is_empty());
    assert_eq!(find(-10, 1_000, None, usize::MAX).await.len(), 100);
    // Of one moment, those that came first are first.
    append(store, "moment", (0..5).map(|number| numbered(number, "alice", 0)).collect()).await;
    let of_moment = async |after| {
        store.of_time(&tenant("moment"), at(0)..at(1), after, Take { events: 2 }).await.unwrap()
    };
    let first = of_moment(None).await;
    assert_eq!(numbers(&first), [0, 1]);
    assert_eq!(numbers(&of_moment(Some(first[1].moment())).await), [2, 3]);
}

async fn forgets(store: &impl EventStore) {
    let appended =
        append(store, "forget", (0..10).map(|number| numbered(number, "alice", 0)).collect()).await;
    let tenant = tenant("forget");
    let to = appended[3].offset();
    store.forget(&tenant, to).await.unwrap();
    let bounds = store.bounds(&tenant).await.unwrap();
    assert_eq!(bounds, Bounds { forgotten: to, last: appended[9].offset() });
    assert_eq!(
        numbers(&store.read(&tenant, Offset::START, all()).await.unwrap()),
        (4..10).collect::<Vec<_>>()
    );
    let found = store.of_actors(&tenant, &[actor("alice")], Offset::START, all()).await.unwrap();
    assert_eq!(numbers(&found), (4..10).collect::<Vec<_>>());
    let found = store.of_time(&tenant, at(-1)..at(1), None, all()).await.unwrap();
    assert_eq!(numbers(&found), (4..10).collect::<Vec<_>>());
    store.forget(&tenant, appended[1].offset()).await.unwrap();
    assert_eq!(store.bounds(&tenant).await.unwrap().forgotten, to, "what was forgotten does not come back");
    let again = append(store, "forget", vec![numbered(2, "alice", 0), numbered(8, "alice", 0)]).await;
    assert!(
        matches!(again[0], Appended::New(offset) if offset > appended[9].offset()),
        "an id is free again"
    );
    assert_eq!(again[1], Appended::Known(appended[8].offset()));
    store.forget(&tenant, Offset::new(u64::MAX)).await.unwrap();
    assert_eq!(numbers(&store.read(&tenant, Offset::START, all()).await.unwrap()), []);
    let bounds = store.bounds(&tenant).await.unwrap();
    assert_eq!(bounds.forgotten, bounds.last, "no more is forgotten than there was");
    let next = append(store, "forget", vec![numbered(100, "alice", 0)]).await[0].offset();
    assert!(next > bounds.last, "offsets go on growing");
}
