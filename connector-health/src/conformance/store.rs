use chrono::{DateTime, TimeDelta, Utc};

use crate::connector::{Connectors, MemoryConnector};
use crate::event::{Attribute, Attributes, Event, Lane};
use crate::id::{ConnectorId, EntitlementId, EventId, PersonId};
use crate::lane::{Class, LaneRecord, Place};
use crate::offboarding::State;
use crate::outbox::{MassLeaverGuard, Options, Outbox};
use crate::store::{Batch, Claim, Committed, Lease, OutboxStore};

/// Runs every check of a store. `open` makes handles on one and the same store, which is empty at first; at most one at a time is used.
/// Needs a tokio runtime.
pub async fn store<S: OutboxStore>(mut open: impl AsyncFnMut() -> S) {
    let store = open().await;
    numbers(&store).await;
    versions(&store).await;
    let seq = names_of_events(&store).await;
    claims(&store).await;
    late_workers(&store).await;
    drop(store);
    survives_closing(open().await, seq).await;
    holds_an_outbox(&mut open).await;
}

fn connector() -> ConnectorId {
    ConnectorId::new("conformance").unwrap()
}

fn person(number: u32) -> PersonId {
    PersonId::new(format!("person-{number}")).unwrap()
}

fn lane(number: u32) -> Lane {
    Lane::person(&connector(), &person(number))
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(second)
}

async fn numbers(store: &impl OutboxStore) {
    let first = store.reserve(3).await.unwrap();
    let next = store.reserve(1).await.unwrap();
    assert!(next >= first + 3, "reserved numbers belong to one caller");
}

async fn commit(store: &impl OutboxStore, batch: Batch) -> Committed {
    let mut done = store.commit(vec![batch]).await.unwrap();
    assert_eq!(done.len(), 1, "an answer for each batch");
    done.remove(0)
}

async fn versions(store: &impl OutboxStore) {
    assert!(store.load(&lane(0)).await.unwrap().is_none(), "the store is not empty at first");
    let fresh = LaneRecord::new(lane(0));
    let write = |record: &LaneRecord| Batch { lanes: vec![record.clone()], ..Batch::default() };
    assert_eq!(commit(store, write(&fresh)).await, Committed::Done);
    assert_eq!(commit(store, write(&fresh)).await, Committed::Conflict, "an old version is refused");
    let read = store.load(&lane(0)).await.unwrap().expect("what was committed is read").record;
    assert_eq!(read.version, 1, "the version grows");
    // One of two is old: nothing of the batch is written, and the one after it is.
    let both = Batch { lanes: vec![LaneRecord::new(lane(1)), fresh.clone()], ..Batch::default() };
    let done = store.commit(vec![both, write(&LaneRecord::new(lane(2)))]).await.unwrap();
    assert_eq!(done, [Committed::Conflict, Committed::Done], "each batch by itself, in order");
    assert!(store.load(&lane(1)).await.unwrap().is_none(), "a batch is written whole or not at all");
    let lanes = store.lanes(&connector(), None, 10).await.unwrap();
    assert_eq!(lanes.len(), 2, "all lanes are listed");
    let after = store.lanes(&connector(), Some(&lanes.first().unwrap().lane), 10).await.unwrap();
    assert_eq!(after.as_slice(), lanes.get(1..).unwrap(), "in an order that goes on after any of them");
    assert_eq!(store.lanes_of(&person(2)).await.unwrap().len(), 1, "a person's lanes are known");
}

async fn names_of_events(store: &impl OutboxStore) -> u64 {
    let seq = store.reserve(2).await.unwrap();
    use crate::lane::{EventRecord, EventState};
    let id = EventId::new("conformance-event").unwrap();
    let event =
        |number| Event::deprovision(&connector(), &person(number)).occurred_at(at(5)).named(id.clone());
    let batch = |seq, number| Batch {
        events: vec![EventRecord::new(event(number), seq, EventState::Pending, at(6))],
        ..Batch::default()
    };
    assert!(store.event(&id).await.unwrap().is_none());
    assert_eq!(commit(store, batch(seq, 0)).await, Committed::Done);
    assert_eq!(commit(store, batch(seq + 1, 2)).await, Committed::Conflict, "a name belongs to one event");
    assert_eq!(store.event(&id).await.unwrap().expect("found by its name").order.seq, seq);
    assert_eq!(store.load(&lane(0)).await.unwrap().unwrap().open.len(), 1, "and with its lane");
    let mut closed = EventRecord::new(event(0), seq, EventState::Pending, at(6));
    let state = EventState::Dead { at: at(7), by: "suite".to_owned(), reason: "over".to_owned() };
    crate::evidence::close(&mut closed, state, &mut None);
    assert_eq!(commit(store, Batch { events: vec![closed], ..Batch::default() }).await, Committed::Done);
    assert!(store.load(&lane(0)).await.unwrap().unwrap().open.is_empty(), "a closed one waits no more");
    assert_eq!(store.history(&lane(0), None, 10).await.unwrap().len(), 1, "and stays in the history");
    seq
}

fn claim(worker: u128, now: i64, limit: usize) -> Claim {
    Claim {
        connector: connector(),
        worker,
        class: Class::Other,
        due: at(now),
        due_latest: at(now + 900),
        now: at(now),
        until: at(now + 60),
        limit,
    }
}

fn place(class: Class, second: i64, due_at: Option<DateTime<Utc>>) -> Option<Place> {
    Some(Place { class, order: crate::event::Order { occurred_at: at(second), seq: 1 }, due_at })
}

fn of(leases: &[Lease]) -> Vec<Lane> {
    leases.iter().map(|lease| lease.lane.clone()).collect()
}

async fn claims(store: &impl OutboxStore) {
    let claimed =
        async |worker, now, limit| of(&store.claim(claim(worker, now, limit)).await.unwrap().leases);
    let places = [
        (10, place(Class::Other, 1, None)),
        (11, place(Class::Leaver, 9, None)),
        (12, place(Class::Leaver, 8, None)),
        (13, place(Class::Leaver, 7, Some(at(100)))),
        (14, None),
        (15, place(Class::Removal, 3, None)),
    ];
    let lanes = places.map(|(number, place)| LaneRecord { place, ..LaneRecord::new(lane(number)) });
    assert_eq!(commit(store, Batch { lanes: lanes.to_vec(), ..Batch::default() }).await, Committed::Done);
    let first = store.claim(claim(1, 50, 2)).await.unwrap().leases;
    assert_eq!(
        of(&first),
        [lane(12), lane(11)],
        "leavers first, in the order of time, as far as they are due"
    );
    assert_eq!(claimed(2, 50, 9).await, [lane(15), lane(10)], "what is leased is passed over");
    assert_eq!(claimed(2, 50, 9).await, [], "to its own worker, too");
    assert_eq!(claimed(2, 100, 9).await, [lane(13)], "what became due is found");
    store.release(1).await.unwrap();
    let mut third = store.claim(claim(3, 100, 9)).await.unwrap().leases;
    assert_eq!(of(&third), [lane(12), lane(11)], "a worker's leases end together");
    let released = Batch { released: third.split_off(1), ..Batch::default() };
    let refused = Batch { lanes: vec![LaneRecord::new(lane(11))], ..released.clone() };
    assert_eq!(commit(store, refused).await, Committed::Conflict);
    assert_eq!(claimed(1, 100, 9).await, [], "a batch that is refused ends no lease");
    assert_eq!(commit(store, released).await, Committed::Done);
    assert_eq!(claimed(1, 100, 9).await, [lane(11)], "or one by one");
    assert_eq!(claimed(4, 1000, 9).await.len(), 5, "or by running out");
    for (number, _) in places {
        let record = store.load(&lane(number)).await.unwrap().unwrap().record;
        let done = Batch { lanes: vec![LaneRecord { place: None, ..record }], ..Batch::default() };
        assert_eq!(commit(store, done).await, Committed::Done);
    }
    store.release(4).await.unwrap();
    assert_eq!(claimed(5, 9999, 9).await, [], "a lane without a place is not claimed");
    assert_eq!(store.next_due(&connector(), at(9999)).await.unwrap(), None);
    let waits = |number, until| LaneRecord {
        place: place(Class::Other, 1, Some(at(until))),
        ..LaneRecord::new(lane(number))
    };
    let waiting = Batch { lanes: vec![waits(16, 900), waits(17, 9999)], ..Batch::default() };
    assert_eq!(commit(store, waiting).await, Committed::Done);
    assert_eq!(store.next_due(&connector(), at(0)).await.unwrap(), Some(at(900)));
    assert_eq!(
        of(&store.claim(claim(1, 0, 9)).await.unwrap().leases),
        [lane(17)],
        "what waits for longer than anything does is due: a clock was wrong"
    );
    store.release(1).await.unwrap();
    assert_eq!(of(&store.claim(claim(1, 900, 9)).await.unwrap().leases), [lane(16), lane(17)]);
    for number in [16, 17] {
        let record = store.load(&lane(number)).await.unwrap().unwrap().record;
        let done = Batch { lanes: vec![LaneRecord { place: None, ..record }], ..Batch::default() };
        assert_eq!(commit(store, done).await, Committed::Done);
    }
    store.release(1).await.unwrap();
    let loaded = store.load_all(vec![lane(17), lane(99), lane(16)]).await;
    let found: Vec<_> =
        loaded.into_iter().map(|loaded| loaded.unwrap().map(|loaded| loaded.record.lane)).collect();
    assert_eq!(found, [Some(lane(17)), None, Some(lane(16))], "several are read as one is");
}

/// Somebody is paused for longer than the lease lasts.
async fn late_workers(store: &impl OutboxStore) {
    let fresh = LaneRecord { place: place(Class::Other, 1, None), ..LaneRecord::new(lane(20)) };
    assert_eq!(commit(store, Batch { lanes: vec![fresh], ..Batch::default() }).await, Committed::Done);
    let under = async |lease: &Lease, released: &[Lease]| Batch {
        lanes: vec![store.load(&lane(20)).await.unwrap().unwrap().record],
        under: Some(lease.clone()),
        released: released.to_vec(),
        ..Batch::default()
    };
    let late = store.claim(claim(1, 2000, 9)).await.unwrap().leases.remove(0);
    assert_eq!(commit(store, under(&late, &[]).await).await, Committed::Done, "who has the lane may write");
    let owner = store.claim(claim(2, 3000, 9)).await.unwrap().leases.remove(0);
    assert_ne!(late.token, owner.token);
    let version = store.load(&lane(20)).await.unwrap().unwrap().record.version;
    let done = commit(store, under(&late, std::slice::from_ref(&late)).await).await;
    assert_eq!(done, Committed::LeaseLost, "a late worker is refused, although it has read anew");
    let released = Batch { released: vec![late.clone()], ..Batch::default() };
    assert_eq!(commit(store, released).await, Committed::Done);
    assert_eq!(store.load(&lane(20)).await.unwrap().unwrap().record.version, version, "nothing was written");
    assert_eq!(
        store.claim(claim(3, 3001, 9)).await.unwrap().leases,
        [],
        "and it gives no lease back but its own"
    );
    // The same worker, paused with an earlier pass, is no better.
    let again = store.claim(claim(2, 4000, 9)).await.unwrap().leases.remove(0);
    assert_eq!(commit(store, under(&owner, &[]).await).await, Committed::LeaseLost);
    let mut last = under(&again, std::slice::from_ref(&again)).await;
    last.lanes.iter_mut().for_each(|lane| lane.place = None);
    assert_eq!(commit(store, last).await, Committed::Done);
    assert_eq!(commit(store, under(&again, &[]).await).await, Committed::LeaseLost, "nor who gave it back");
}

async fn survives_closing(store: impl OutboxStore, seq: u64) {
    assert_eq!(
        store.lanes_of(&person(2)).await.unwrap().len(),
        1,
        "what was committed is there after opening again"
    );
    assert!(store.reserve(1).await.unwrap() > seq, "and numbers go on");
}

async fn holds_an_outbox<S: OutboxStore>(open: &mut impl AsyncFnMut() -> S) {
    let connector = ConnectorId::new("conformance-outbox").unwrap();
    let application = MemoryConnector::new();
    let connectors = Connectors::new().with(connector.clone(), application.clone());
    let options = || Options::default().guard(MassLeaverGuard::off());
    let right = EntitlementId::new("right").unwrap();
    let name = |name: String| Attributes::from([("userName".to_owned(), Attribute::Unique(name))]);
    let outbox = Outbox::open_with(open().await, options()).await.unwrap();
    let mut events = Vec::new();
    for number in 0..20 {
        let who = person(number);
        events.push(Event::provision(&connector, &who, name(number.to_string())).occurred_at(at(1)));
        events.push(Event::grant(&connector, &who, &right).occurred_at(at(2)));
        if number % 2 == 0 {
            events.push(Event::deprovision(&connector, &who).occurred_at(at(3)));
        }
    }
    for accepted in outbox.accept_all(events, at(10)).await {
        accepted.unwrap();
    }
    let counts = outbox.counts(&connector).await.unwrap();
    assert_eq!(
        (counts.queued(), counts.deprovisioning_queued, counts.active),
        (50, 10, 10),
        "sums are right"
    );
    assert_eq!(counts.oldest_deprovision, Some(at(3)));
    drop(outbox);
    let outbox = Outbox::open_with(open().await, options()).await.unwrap();
    let worked = outbox.work(&connectors, at(20)).await.unwrap();
    assert_eq!((worked.delivered, worked.superseded, worked.failed), (30, 20, 0));
    assert_eq!(outbox.counts(&connector).await.unwrap().queued(), 0, "sums go back to nothing");
    assert_eq!(outbox.offboarding(&person(4), at(20)).await.unwrap().state, State::Complete);
    let elsewhere = outbox.offboarding(&person(12), at(20)).await.unwrap();
    assert_eq!(
        (elsewhere.state, elsewhere.systems.len()),
        (State::Open, 2),
        "another lane of theirs knows no leaver"
    );
    offboardings(&outbox, &connector).await;
    let held = outbox.store().holders(&connector, "userName", "5", None, 9).await.unwrap();
    let holder = Lane::person(&connector, &person(5));
    assert_eq!(held, std::slice::from_ref(&holder), "who holds a name is known");
    let others = outbox.store().holders(&connector, "userName", "5", Some(&holder), 9).await.unwrap();
    assert_eq!(others, [], "and after whom nobody does");
    assert_eq!(
        outbox.store().holders(&connector, "userName", "5", None, 0).await.unwrap(),
        [],
        "within a limit"
    );
}

/// Of ten people who left, of whom nobody has ended anything yet.
async fn offboardings<S: OutboxStore>(outbox: &Outbox<S>, connector: &ConnectorId) {
    let open = outbox.open_offboardings().await.unwrap();
    let people: Vec<_> = open.iter().map(|(person, _)| person.clone()).collect();
    let mut left: Vec<_> = (0..20).step_by(2).map(person).collect();
    left.sort();
    assert_eq!(people, left, "who left is known, with the event, until that is ended");
    let store = outbox.store();
    let (first, seq) = open.first().unwrap();
    assert_eq!(store.offboardings(None, 1).await.unwrap(), open.get(..1).unwrap(), "within a limit");
    assert_eq!(
        store.offboardings(Some(first), 99).await.unwrap(),
        open.get(1..).unwrap(),
        "in order, after one"
    );
    let again = Event::deprovision(connector, first).occurred_at(at(30));
    outbox.accept(again, at(30)).await.unwrap();
    outbox.end_offboarding(first, *seq).await.unwrap();
    let (person, number) = outbox.open_offboardings().await.unwrap().remove(0);
    assert!(person == *first && number > *seq, "what is said meanwhile is not ended with it");
    outbox.work(&Connectors::new(), at(31)).await.unwrap();
    for (person, _) in &open {
        let last = outbox.open_offboardings().await.unwrap().into_iter().find(|(known, _)| known == person);
        outbox.end_offboarding(person, last.unwrap().1).await.unwrap();
    }
    assert_eq!(outbox.open_offboardings().await.unwrap(), [], "and each ends once");
}
