//! The log in a stream of a real message server.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use mfa_events::event::Timestamp;
use mfa_events::log::{AppendError, ReadError, Which};
use mfa_events::store::jetstream::{JetStreamError, JetStreamOptions, message};
use mfa_events::store::{Bounds, Entry, Record, StoreError};
use mfa_events::{
    ActorId, Appended, Event, EventLog, JetStreamStore, LoginFailure, Offset, RedbStore, TenantId,
};
use tempfile::TempDir;
use testbed::{NatsOptions, NatsServer, free_port};
use tokio::sync::watch;

use crate::event::at;

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn failure(actor: &str) -> Event {
    LoginFailure::new(actor).at(at()).try_into().unwrap()
}

/// A server, and files of those who use it.
struct Bed {
    server: NatsServer,
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        Self::with(NatsOptions::new())
    }

    fn with(options: NatsOptions) -> Self {
        Self { server: NatsServer::start(options).unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn client(&self) -> Client {
        async_nats::connect(self.server.url()).await.unwrap()
    }

    /// A client that goes on trying.
    async fn client_later(&self) -> Client {
        let later = async_nats::ConnectOptions::new().retry_on_initial_connect();
        later.connect(self.server.url()).await.unwrap()
    }

    async fn open(&self, name: &str) -> JetStreamStore {
        open(self.client().await, &self.path(name)).await
    }

    async fn refused(&self, name: &str) -> JetStreamError {
        JetStreamStore::open(self.client().await, options(), self.path(name)).await.unwrap_err()
    }
}

fn options() -> JetStreamOptions {
    JetStreamOptions::new().dangerously_unreplicated().limit(Duration::from_secs(20))
}

/// A file is free once what followed into it has ended.
async fn open(client: Client, path: &Path) -> JetStreamStore {
    loop {
        match JetStreamStore::open(client.clone(), options(), path).await {
            Err(JetStreamError::Copy(StoreError::Locked)) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

/// Looks until it is so; minutes are long enough for whatever happens now and then.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), looking).await.expect("it comes to be so");
}

#[cfg(feature = "conformance")]
#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn the_store_in_a_stream_keeps_its_promises_with_the_copy_that_it_had() {
    let bed = Bed::new();
    mfa_events::conformance::store(async || bed.open("copy").await).await;
}

#[cfg(feature = "conformance")]
#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn the_store_in_a_stream_keeps_its_promises_with_a_new_copy_each_time() {
    let bed = Bed::new();
    let mut opened = 0;
    mfa_events::conformance::store(async || {
        opened += 1;
        bed.open(&format!("copy-{opened}")).await
    })
    .await;
}

#[cfg(feature = "conformance")]
#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn the_store_in_a_stream_keeps_its_promises_to_several_processes() {
    let bed = Bed::new();
    let mut opened = 0;
    mfa_events::conformance::shared_store(async || {
        opened += 1;
        bed.open(&format!("copy-{opened}")).await
    })
    .await;
}

async fn append(log: &EventLog<JetStreamStore>, tenant: &TenantId, events: Vec<Event>) -> Vec<Appended> {
    log.append(tenant, events, at()).await.unwrap()
}

/// All that a new reader is given, in order.
async fn read_all(log: &EventLog<JetStreamStore>, tenant: &TenantId) -> Vec<Record> {
    let (mut after, mut records) = (log.bounds(tenant).await.unwrap().forgotten, Vec::new());
    loop {
        let page = log.read(tenant, &Which::All, after, 1_000).await.unwrap();
        records.extend(page.records);
        after = page.next;
        if page.is_up_to_date {
            return records;
        }
    }
}

/// Sends again until it is told what became of all, as senders do.
async fn append_at_last(log: &EventLog<JetStreamStore>, events: &[Event]) -> Vec<Appended> {
    loop {
        match log.append(&acme(), events.to_vec(), at()).await {
            Ok(appended) => return appended,
            Err(AppendError::Unknown(Some(error))) if matches!(*error, StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server: cargo xtask test"]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed_again_and_again() {
    let mut bed = Bed::new();
    let store =
        JetStreamStore::open(bed.client().await, options().limit(Duration::from_secs(2)), bed.path("copy"));
    let log = EventLog::open(store.await.unwrap());
    let (told, mut progress) = watch::channel(0_usize);
    let (ends, mut ended) = watch::channel(false);
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            let (mut acknowledged, mut again) = (Vec::new(), 0);
            while !*ended.borrow_and_update() {
                let events: Vec<_> = (0..50).map(|number| failure(&format!("p{number}"))).collect();
                let appended = append_at_last(&log, &events).await;
                again += appended.iter().filter(|appended| matches!(appended, Appended::Known(_))).count();
                assert!(!appended.iter().any(|appended| matches!(appended, Appended::Conflict(_))));
                acknowledged.extend(events.iter().map(Event::id).zip(appended.iter().map(|a| a.offset())));
                told.send_replace(acknowledged.len());
            }
            (acknowledged, again)
        }
    });
    let (caught, mut read) = watch::channel(0_usize);
    let reader = tokio::spawn({
        let log = log.clone();
        async move {
            let mut follow = log.follow(acme(), Which::All, Offset::START);
            let mut records: Vec<(uuid::Uuid, Offset)> = Vec::new();
            loop {
                let page = follow.next(70).await.unwrap();
                records.extend(page.records.iter().map(|record| (record.event.id(), record.offset)));
                caught.send_replace(records.len());
                if caught.is_closed() {
                    return records;
                }
            }
        }
    });
    for round in 1..=5_usize {
        // Whole batches are on their way whenever it comes.
        progress.wait_for(|told| *told >= round * 1_000).await.unwrap();
        bed.server.kill();
        bed.server.restart().unwrap();
    }
    let until = *progress.borrow() + 1_000;
    progress.wait_for(|told| *told >= until).await.unwrap();
    ends.send_replace(true);
    let (acknowledged, again) = writer.await.unwrap();
    // The reader comes to the end, and learns there that nobody listens to it any more.
    let all = read_all(&log, &acme()).await;
    read.wait_for(|read| *read >= all.len()).await.unwrap();
    drop(read);
    append(&log, &acme(), vec![failure("last")]).await;
    let read = reader.await.unwrap();
    assert!(read.is_sorted_by(|one, next| one.1 < next.1), "offsets grow");
    let by_id: HashMap<_, _> = read.iter().copied().collect();
    assert_eq!(by_id.len(), read.len(), "nothing is there twice");
    for (id, offset) in &acknowledged {
        assert_eq!(by_id.get(id), Some(offset), "of {} ({again} told again)", acknowledged.len());
    }
    // Another process reads the same.
    let other = EventLog::open(bed.open("other").await);
    let seen: Vec<_> = read_all(&other, &acme()).await.iter().map(|r| (r.event.id(), r.offset)).collect();
    assert_eq!(seen, read);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server: cargo xtask test"]
async fn of_several_who_append_the_same_id_at_once_one_is_first_for_everybody() {
    let bed = Bed::new();
    let logs = [EventLog::open(bed.open("one").await), EventLog::open(bed.open("two").await)];
    // The same ids from both, of which every third has other content.
    let event = |writer: u128, number: u128| -> Event {
        let actor = if number.is_multiple_of(3) { format!("p{writer}") } else { "both".to_owned() };
        LoginFailure::new(&actor).id(uuid::Uuid::from_u128(number)).at(at()).try_into().unwrap()
    };
    let writers = [0, 1].map(|writer| {
        let log = logs[usize::try_from(writer).unwrap()].clone();
        tokio::spawn(async move {
            let mut appended = Vec::new();
            for batch in 0..20 {
                let numbers = (0..100).map(|number| batch * 100 + number);
                appended.extend(append(&log, &acme(), numbers.map(|n| event(writer, n)).collect()).await);
            }
            appended
        })
    });
    let [one, two] = writers;
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    let mut news = [0, 0];
    for (number, (one, two)) in one.iter().zip(&two).enumerate() {
        assert_eq!(one.offset(), two.offset());
        let second =
            if number % 3 == 0 { Appended::Conflict(one.offset()) } else { Appended::Known(one.offset()) };
        match (one, two) {
            (Appended::New(_), other) if *other == second => news[0] += 1,
            (other, Appended::New(_)) if *other == second => news[1] += 1,
            neither => panic!("{neither:?} of {number}"),
        }
    }
    assert!(news.iter().all(|new| *new > 0), "{news:?}: they did not meet");
    let [one, two] = logs;
    until(async || read_all(&one, &acme()).await.len() == 2_000).await;
    let records = read_all(&one, &acme()).await;
    until(async || read_all(&two, &acme()).await == records).await;
    // Others who read the stream find each once.
    let jetstream = async_nats::jetstream::new(bed.client().await);
    let stream = jetstream.get_stream("MFA_EVENTS").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2_000);
}

/// Three servers that know each other.
fn cluster() -> Vec<NatsServer> {
    let ports: Vec<_> = (0..3).map(|_| free_port().unwrap()).collect();
    let routes: Vec<_> = ports.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
    let start = |(number, port): (usize, &u16)| {
        let cluster = format!(
            "cluster {{ name: events, listen: \"127.0.0.1:{port}\", routes: [{}] }}",
            routes.join(", ")
        );
        let options = NatsOptions::new().config_line(format!("server_name: n{number}")).config_line(cluster);
        NatsServer::start(options).unwrap()
    };
    ports.iter().enumerate().map(start).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_replicated_stream_goes_on_while_any_one_of_three_servers_is_killed() {
    let (mut servers, dir) = (cluster(), tempfile::tempdir().unwrap());
    let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
    let open = async |name: &str| {
        let client = async_nats::connect(urls.clone()).await.unwrap();
        let mut opened = None;
        // They take some seconds to choose one who leads.
        until(async || {
            let options = JetStreamOptions::new().limit(Duration::from_secs(3));
            match JetStreamStore::open(client.clone(), options, dir.path().join(name)).await {
                Ok(store) => opened = Some(store),
                Err(JetStreamError::Unavailable(_) | JetStreamError::Copy(StoreError::Locked)) => {}
                Err(error) => panic!("{error:?}"),
            }
            opened.is_some()
        })
        .await;
        opened.unwrap()
    };
    let log = EventLog::open(open("copy").await);
    let mut acknowledged = Vec::new();
    for server in &mut servers {
        for is_killed in [true, false] {
            match is_killed {
                true => server.kill(),
                false => server.restart().unwrap(),
            }
            for _ in 0..5 {
                let events: Vec<_> = (0..40).map(|number| failure(&format!("p{number}"))).collect();
                let appended = append_at_last(&log, &events).await;
                acknowledged.extend(events.iter().map(Event::id).zip(appended.iter().map(|a| a.offset())));
            }
        }
        // The next is killed when this one has all there is.
        let url = format!("nats://localhost:{}", server.addr().port());
        let jetstream = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
        until(async || {
            let Ok(stream) = jetstream.get_stream("MFA_EVENTS").await else { return false };
            let Some(cluster) = &stream.cached_info().cluster else { return false };
            cluster.leader.is_some()
                && cluster.replicas.iter().all(|replica| replica.current && replica.lag.unwrap_or(0) == 0)
        })
        .await;
    }
    let records = read_all(&log, &acme()).await;
    let by_id: HashMap<_, _> = records.iter().map(|record| (record.event.id(), record.offset)).collect();
    assert_eq!(by_id.len(), records.len(), "nothing is there twice");
    for (id, offset) in &acknowledged {
        assert_eq!(by_id.get(id), Some(offset));
    }
    assert!(records.is_sorted_by_key(|record| record.offset));
    assert_eq!(read_all(&EventLog::open(open("other").await), &acme()).await, records);
    #[cfg(feature = "conformance")]
    {
        let mut opened = 0;
        mfa_events::conformance::shared_store(async || {
            opened += 1;
            open(&format!("shared-{opened}")).await
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn one_server_is_not_taken_for_three() {
    let bed = Bed::new();
    let three = JetStreamStore::open(bed.client().await, JetStreamOptions::new(), bed.path("copy")).await;
    let error = three.unwrap_err();
    let JetStreamError::Unavailable(source) = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("replicas > 1 not supported"), "{source}");
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn those_who_come_first_at_the_same_time_make_one_stream() {
    let bed = Bed::new();
    let (one, two) = tokio::join!(bed.open("one"), bed.open("two"));
    let (one, two) = (EventLog::open(one), EventLog::open(two));
    append(&one, &acme(), vec![failure("alice")]).await;
    append(&two, &acme(), vec![failure("bob")]).await;
    let records = read_all(&two, &acme()).await;
    assert_eq!(records.len(), 2);
    until(async || read_all(&one, &acme()).await == records).await;
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_server_that_lets_nobody_follow_the_stream_is_an_error_of_opening() {
    let bed = Bed::new();
    drop(bed.open("copy").await);
    let jetstream = async_nats::jetstream::new(bed.client().await);
    jetstream.delete_stream("MFA_EVENTS").await.unwrap();
    let config = Config {
        name: "MFA_EVENTS".to_owned(),
        subjects: vec!["mfa_events.*.*".to_owned()],
        max_message_size: 65_536,
        max_consumers: 1,
        ..Config::default()
    };
    let stream = jetstream.create_stream(config).await.unwrap();
    let taken = async_nats::jetstream::consumer::pull::Config::default();
    stream.create_consumer(taken).await.unwrap();
    let error = bed.refused("new").await;
    let JetStreamError::Unavailable(source) = &error else { panic!("{error:?}") };
    assert!(format!("{source:?}").contains("consumer"), "{error:?}");
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn readers_wake_when_another_process_appends() {
    let bed = Bed::new();
    let (here, there) = (EventLog::open(bed.open("here").await), EventLog::open(bed.open("there").await));
    let mut follow = here.follow(acme(), Which::All, Offset::START);
    for number in 0..20 {
        let tenant = acme();
        let (read, appended) = tokio::join!(follow.next(10), append(&there, &tenant, vec![failure("alice")]));
        let read = read.unwrap();
        assert_eq!(
            read.records.iter().map(|r| r.offset).collect::<Vec<_>>(),
            [appended[0].offset()],
            "{number}"
        );
    }
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn while_the_server_is_away_appends_end_and_readers_read_on() {
    let mut bed = Bed::new();
    let short = options().limit(Duration::from_millis(300));
    let store = JetStreamStore::open(bed.client().await, short, bed.path("copy")).await.unwrap();
    let log = EventLog::open(store);
    let first = append(&log, &acme(), vec![failure("alice")]).await[0].offset();
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait(&acme(), first).await }
    });
    bed.server.kill();
    let event = failure("bob");
    let error = log.append(&acme(), [event.clone()], at()).await.unwrap_err();
    let AppendError::Unknown(Some(error)) = error else { panic!("{error:?}") };
    assert!(matches!(*error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(read_all(&log, &acme()).await.len(), 1);
    assert!(!waiting.is_finished(), "who waits goes on waiting");
    let opened = JetStreamStore::open(
        bed.client_later().await,
        options().limit(Duration::from_millis(50)),
        bed.path("new"),
    );
    let error = opened.await.unwrap_err();
    assert!(matches!(error, JetStreamError::Unavailable(_)), "{error:?}");
    bed.server.restart().unwrap();
    append_at_last(&log, std::slice::from_ref(&event)).await;
    waiting.await.unwrap().unwrap();
    let records = read_all(&log, &acme()).await;
    assert_eq!(records.len(), 2);
    assert_eq!(*records[1].event, event);
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_server_whose_messages_are_too_small_is_refused_with_both_sizes() {
    let bed = Bed::with(NatsOptions::new().config_line("max_payload: 4096"));
    let error = bed.refused("copy").await;
    assert!(matches!(error, JetStreamError::MaxPayload { max_payload: 4096 }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("4096") && text.contains("32768"), "{text}");
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn the_largest_event_goes_through() {
    let bed = Bed::new();
    let log = EventLog::open(bed.open("copy").await);
    let mut json = serde_json::to_value(failure("alice")).unwrap();
    json["message"] = "\"".repeat(512).into();
    json["actor_id"] = "\\".repeat(256).into();
    json["ext"] = serde_json::json!({ "text": "x".repeat(4_000) });
    let event = Event::from_json(&serde_json::to_vec(&json).unwrap()).unwrap();
    let tenant = TenantId::new("\"".repeat(256)).unwrap();
    assert!(matches!(append(&log, &tenant, vec![event.clone()]).await[0], Appended::New(_)));
    assert_eq!(*read_all(&log, &tenant).await[0].event, event);
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn what_others_put_into_the_stream_is_an_error_of_its_tenant_until_it_is_taken_out() {
    let bed = Bed::new();
    let log = EventLog::open(bed.open("copy").await);
    let other = TenantId::new("other").unwrap();
    let first = append(&log, &acme(), vec![failure("alice")]).await[0].offset();
    let jetstream = async_nats::jetstream::new(bed.client().await);
    let put = async |subject: String, payload: Vec<u8>| {
        jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap().sequence
    };
    let entry = |tenant: &TenantId| Entry {
        tenant: tenant.clone(),
        event: failure("mallory"),
        ingested_at: Timestamp::new(at()).unwrap(),
    };
    let subject = |id| message::event_subject("mfa_events", &acme(), id);
    let stray = entry(&other);
    let key = format!("mfa_events.{:032x}", message::tenant_key(&acme()));
    let damaged = [
        put(subject(uuid::Uuid::from_u128(1)), b"\xff no event".to_vec()).await,
        // Another tenant's event, an event under another's id, and what forgets the future.
        put(subject(stray.event.id()), message::event_payload(&stray).unwrap()).await,
        put(subject(uuid::Uuid::from_u128(2)), message::event_payload(&entry(&acme())).unwrap()).await,
        put(format!("{key}.forget"), br#"{"tenant_id":"acme","to":1000000}"#.to_vec()).await,
    ];
    // Nobody misses these.
    put("mfa_events.nobody.nothing".to_owned(), vec![]).await;
    put(format!("{key}.nothing"), vec![0; 50_000]).await;
    let appended = append(&log, &acme(), vec![failure("bob")]).await;
    assert!(matches!(appended[0], Appended::New(_)), "who appends is not held up");
    append(&log, &other, vec![failure("carol")]).await;
    assert_eq!(read_all(&log, &other).await.len(), 1, "nor are others' readers");
    let span = || at() - chrono::TimeDelta::hours(1)..at() + chrono::TimeDelta::hours(1);
    log.read_time(&other, span(), None, 10).await.unwrap();

    let alice = Which::Actors(vec![ActorId::new("alice").unwrap()]);
    for (index, sequence) in damaged.iter().enumerate() {
        // What is before it is read, and nothing behind it.
        let page = log.read(&acme(), &Which::All, Offset::START, 10).await.unwrap();
        assert_eq!(page.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [first]);
        let says = |error: &dyn std::error::Error| {
            std::iter::successors(Some(error), |error| error.source())
                .any(|error| error.to_string().contains(&format!("message {sequence} ")))
        };
        let error = log.read(&acme(), &Which::All, page.next, 10).await.unwrap_err();
        assert!(says(&error), "{index}: {error:?}");
        assert!(says(&log.read(&acme(), &alice, Offset::START, 10).await.unwrap_err()));
        assert!(says(&log.read_time(&acme(), span(), None, 10).await.unwrap_err()));
        // An id that something else stands at is a conflict, not a commit that fails for all.
        if index == 0 {
            let taken = LoginFailure::new("dave").id(uuid::Uuid::from_u128(1)).at(at());
            assert!(matches!(log.append(&acme(), [taken], at()).await.unwrap()[0], Appended::Conflict(_)));
        }
        let stream = jetstream.get_stream("MFA_EVENTS").await.unwrap();
        stream.delete_message(*sequence).await.unwrap();
        // The store looks now and then.
        until(async || !log.read(&acme(), &Which::All, page.next, 10).await.is_err_and(|error| says(&error)))
            .await;
    }
    let actors: Vec<_> =
        read_all(&log, &acme()).await.iter().map(|r| r.event.actor().as_str().to_owned()).collect();
    assert_eq!(actors, ["alice", "bob"]);
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_stream_that_is_deleted_or_made_again_is_not_read_on() {
    let bed = Bed::new();
    let log = EventLog::open(bed.open("copy").await);
    let offset = append(&log, &acme(), vec![failure("alice"); 1]).await[0].offset();
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait(&acme(), offset).await }
    });
    let jetstream = async_nats::jetstream::new(bed.client().await);
    jetstream.delete_stream("MFA_EVENTS").await.unwrap();
    waiting.await.unwrap().unwrap_err();
    let error = log.read(&acme(), &Which::All, Offset::START, 1).await.unwrap_err();
    assert!(format!("{error:?}").contains("Missing"), "{error:?}");
    log.append(&acme(), [failure("bob")], at()).await.unwrap_err();
    drop(log);
    let error = loop {
        match bed.refused("copy").await {
            JetStreamError::Copy(StoreError::Locked) => tokio::task::yield_now().await,
            error => break error,
        }
    };
    assert!(matches!(error, JetStreamError::Missing), "{error:?}");

    // Somebody who has no copy makes it again. Who has one is told, and so is a reader with an offset of the former.
    let log = EventLog::open(bed.open("new").await);
    append(&log, &acme(), vec![failure("carol"), failure("dave")]).await;
    let error = bed.refused("copy").await;
    assert!(matches!(error, JetStreamError::Other { .. }), "{error:?}");
    let error = log.read(&acme(), &Which::All, offset, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::Ahead(ahead) if ahead == offset), "{error:?}");
    log.forget(&acme(), offset).await.unwrap_err();
    assert_eq!(read_all(&log, &acme()).await.len(), 2);
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_stream_that_is_made_again_under_a_running_store_is_noticed() {
    let bed = Bed::new();
    let log = EventLog::open(bed.open("copy").await);
    append(&log, &acme(), vec![failure("alice")]).await;
    let jetstream = async_nats::jetstream::new(bed.client().await);
    jetstream.delete_stream("MFA_EVENTS").await.unwrap();
    let again = bed.open("again").await;
    let error = loop {
        match log.append(&acme(), [failure("bob")], at()).await {
            Ok(appended) => panic!("{appended:?} of a stream that is gone"),
            Err(AppendError::Unknown(Some(error))) if matches!(*error, StoreError::Unavailable(_)) => {}
            Err(error) => break error,
        }
    };
    // It may be seen by what is answered before it is seen by who looks.
    assert!(["Other", "Diverged"].iter().any(|named| format!("{error:?}").contains(named)), "{error:?}");
    until(async || log.bounds(&acme()).await.is_err()).await;
    let error = log.read(&acme(), &Which::All, Offset::START, 1).await.unwrap_err();
    assert!(format!("{error:?}").contains("Other"), "{error:?}");
    drop(again);
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_stream_that_may_lose_events_is_refused_when_it_is_opened_and_while_it_runs() {
    let mut bed = Bed::new();
    let log = EventLog::open(bed.open("copy").await);
    append(&log, &acme(), vec![failure("alice")]).await;
    let jetstream = async_nats::jetstream::new(bed.client().await);
    let config = jetstream.get_stream("MFA_EVENTS").await.unwrap().cached_info().config.clone();
    for (setting, change) in [
        ("max_age", Config { max_age: Duration::from_secs(86_400), ..config.clone() }),
        ("discard", Config { max_messages: 1_000, discard: DiscardPolicy::Old, ..config.clone() }),
        ("max_msg_size", Config { max_message_size: 1_024, ..config.clone() }),
        ("max_msg_size", Config { max_message_size: -1, ..config.clone() }),
        ("max_msgs_per_subject", Config { max_messages_per_subject: 1, ..config.clone() }),
        ("no_ack", Config { no_ack: true, ..config.clone() }),
        ("subjects", Config { subjects: vec!["mfa_events.>".into()], ..config.clone() }),
    ] {
        jetstream.update_stream(change).await.unwrap();
        let error = bed.refused("other").await;
        assert!(
            matches!(&error, JetStreamError::Setting { setting: named, .. } if *named == setting),
            "{error:?}"
        );
    }
    // A stream that refuses when it is full loses nothing.
    jetstream.update_stream(Config { max_messages: 1_000, ..config.clone() }).await.unwrap();
    bed.open("other").await;
    let three = JetStreamOptions::new();
    let error = JetStreamStore::open(bed.client().await, three, bed.path("three")).await.unwrap_err();
    assert!(matches!(error, JetStreamError::Setting { setting: "num_replicas", .. }), "{error:?}");

    jetstream.update_stream(Config { max_age: Duration::from_secs(86_400), ..config }).await.unwrap();
    bed.server.kill();
    bed.server.restart().unwrap();
    until(async || log.bounds(&acme()).await.is_err()).await;
    let error = log.read(&acme(), &Which::All, Offset::START, 1).await.unwrap_err();
    assert!(format!("{error:?}").contains("max_age"), "{error:?}");
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_full_stream_refuses_and_takes_more_when_there_is_room() {
    let bed = Bed::new();
    let log = EventLog::open(bed.open("copy").await);
    let jetstream = async_nats::jetstream::new(bed.client().await);
    let config = jetstream.get_stream("MFA_EVENTS").await.unwrap().cached_info().config.clone();
    jetstream.update_stream(Config { max_messages: 5, ..config.clone() }).await.unwrap();
    let events: Vec<_> = (0..8).map(|number| failure(&format!("p{number}"))).collect();
    let error = log.append(&acme(), events.clone(), at()).await.unwrap_err();
    let AppendError::Unknown(Some(error)) = error else { panic!("{error:?}") };
    assert!(matches!(*error, StoreError::Unavailable(_)), "{error:?}");
    jetstream.update_stream(config).await.unwrap();
    let appended = append(&log, &acme(), events).await;
    let kept = appended.iter().filter(|appended| matches!(appended, Appended::Known(_))).count();
    assert_eq!(kept, 5, "those that were kept are known, and the others come to them: {appended:?}");
    assert_eq!(read_all(&log, &acme()).await.len(), 8);
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_server_that_was_restored_from_an_older_state_is_noticed() {
    let mut bed = Bed::new();
    let log = EventLog::open(bed.open("copy").await);
    append(&log, &acme(), vec![failure("alice"), failure("bob")]).await;
    bed.server.kill();
    let (now, before) = (bed.server.store_dir(), bed.path("before"));
    copy_dir(&now, &before);
    bed.server.restart().unwrap();
    append_at_last(&log, &[failure("carol")]).await;
    bed.server.kill();
    std::fs::remove_dir_all(&now).unwrap();
    copy_dir(&before, &now);
    bed.server.restart().unwrap();
    // Somebody else appends as many as are missing, before or after the store looks.
    let other = EventLog::open(bed.open("other").await);
    append(&other, &acme(), vec![failure("mallory"), failure("dave")]).await;
    until(async || log.bounds(&acme()).await.is_err()).await;
    let error = log.read(&acme(), &Which::All, Offset::START, 1).await.unwrap_err();
    assert!(format!("{error:?}").contains("Diverged"), "{error:?}");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match from.is_dir() {
            true => copy_dir(&from, &to),
            false => _ = std::fs::copy(from, to).unwrap(),
        }
    }
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn what_one_process_forgets_is_forgotten_by_all_also_where_it_died_halfway() {
    let bed = Bed::new();
    let (here, there) = (EventLog::open(bed.open("here").await), EventLog::open(bed.open("there").await));
    let events = [failure("alice"), failure("bob"), failure("carol")];
    let appended = append(&here, &acme(), events.to_vec()).await;
    here.forget(&acme(), appended[0].offset()).await.unwrap();
    // It reads what was written behind it.
    let last = append(&there, &acme(), vec![failure("dave")]).await[0].offset();
    let expected = Bounds { forgotten: appended[0].offset(), last };
    assert_eq!(there.bounds(&acme()).await.unwrap(), expected);
    // Whoever forgets writes it down first; here it comes no further.
    let jetstream = async_nats::jetstream::new(bed.client().await);
    let subject = format!("mfa_events.{:032x}.forget", message::tenant_key(&acme()));
    let payload = br#"{"tenant_id":"acme","to":2}"#.to_vec();
    jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
    let day = || at() - chrono::TimeDelta::hours(12)..at() + chrono::TimeDelta::hours(12);
    until(async || there.read_time(&acme(), day(), None, 10).await.unwrap().records.len() == 2).await;
    let again = append(&there, &acme(), events[1..].to_vec()).await;
    assert!(matches!(again[0], Appended::New(offset) if offset > last), "its id is free: {again:?}");
    assert_eq!(again[1], Appended::Known(appended[2].offset()));
    let records = read_all(&there, &acme()).await;
    assert_eq!(
        records.iter().map(|r| r.event.actor().as_str()).collect::<Vec<_>>(),
        ["carol", "dave", "bob"]
    );
    let fresh = EventLog::open(bed.open("fresh").await);
    assert_eq!(read_all(&fresh, &acme()).await, records);
    assert_eq!(fresh.bounds(&acme()).await.unwrap(), there.bounds(&acme()).await.unwrap());
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_copy_is_of_one_stream_and_no_log_of_its_own() {
    let bed = Bed::new();
    drop(RedbStore::open(bed.path("log")).unwrap());
    let log = EventLog::open(RedbStore::open(bed.path("log")).unwrap());
    log.append(&acme(), [failure("alice")], at()).await.unwrap();
    drop(log);
    let error = loop {
        match bed.refused("log").await {
            JetStreamError::Copy(StoreError::Locked) => tokio::task::yield_now().await,
            error => break error,
        }
    };
    assert!(matches!(error, JetStreamError::Copy(StoreError::Failed(_))), "{error:?}");
    let store = bed.open("copy").await;
    assert_eq!(bed.refused("copy").await.to_string(), "the copy of the stream failed", "of one process");
    drop(store);
    let error = loop {
        match RedbStore::open(bed.path("copy")) {
            Err(StoreError::Locked) => tokio::task::yield_now().await,
            opened => break opened.unwrap_err(),
        }
    };
    assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
    let other = options().stream("OTHER").prefix("other");
    let error = JetStreamStore::open(bed.client().await, other, bed.path("copy")).await.unwrap_err();
    assert!(matches!(error, JetStreamError::Missing), "{error:?}");
    let wild = JetStreamStore::open(bed.client().await, options().prefix("a.>"), bed.path("wild")).await;
    assert!(matches!(wild.unwrap_err(), JetStreamError::Name { what: "prefix" }));
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn goes_over_tls_with_a_password_that_nothing_repeats() {
    const PASSWORD: &str = "planted-password";
    let authorization = format!("authorization {{ user: events, password: \"{PASSWORD}\" }}");
    let bed = Bed::with(NatsOptions::new().tls().config_line(authorization));
    let connect = |password: &str| {
        async_nats::ConnectOptions::with_user_and_password("events".into(), password.into())
            .add_root_certificates(bed.server.ca_path())
            .require_tls(true)
            .connect(bed.server.url())
    };
    let refused = connect("another").await.unwrap_err();
    assert!(!format!("{refused:?}").contains("another"), "{refused:?}");
    let client = connect(PASSWORD).await.unwrap();
    let store = JetStreamStore::open(client, options(), bed.path("copy")).await.unwrap();
    assert!(!format!("{store:?}").contains(PASSWORD), "{store:?}");
    let log = EventLog::open(store);
    append(&log, &acme(), vec![failure("alice")]).await;
    assert_eq!(read_all(&log, &acme()).await.len(), 1);
}

const KILLED: &str = "MFA_EVENTS_JETSTREAM_KILLED";

/// What the child process does.
#[allow(clippy::print_stderr, reason = "that is how it tells")]
async fn append_until_killed(url: &str, path: &Path) {
    let log = EventLog::open(open(async_nats::connect(url).await.unwrap(), path).await);
    loop {
        let events: Vec<_> = (0..30).map(|number| failure(&format!("p{number}"))).collect();
        let appended = append(&log, &acme(), events.clone()).await;
        for (event, appended) in events.iter().zip(appended) {
            eprintln!("kept {} {}", event.id(), appended.offset());
        }
    }
}

#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_copy_goes_on_where_a_killed_process_left_it() {
    if let Ok(killed) = std::env::var(KILLED) {
        let (url, path) = killed.split_once(' ').unwrap();
        return append_until_killed(url, Path::new(path)).await;
    }
    let bed = Bed::new();
    let path = bed.path("copy");
    let mut told = BTreeSet::new();
    for round in 1..=3_usize {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "jetstream::a_copy_goes_on_where_a_killed_process_left_it",
                "--nocapture",
                "--ignored",
            ])
            .env(KILLED, format!("{} {}", bed.server.url(), path.display()))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        let mut kept = 0;
        while kept < 500 * round {
            let line = lines.next().expect("the child goes on until it is killed").unwrap();
            if let Some(pair) = line.strip_prefix("kept ") {
                told.insert(pair.to_owned());
                kept += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("kept ").map(str::to_owned)),
        );
        let log = EventLog::open(bed.open("copy").await);
        let records = read_all(&log, &acme()).await;
        let found: BTreeSet<_> = records.iter().map(|r| format!("{} {}", r.event.id(), r.offset)).collect();
        assert!(told.is_subset(&found), "{} of {} are gone", told.difference(&found).count(), told.len());
        assert_eq!(found.len(), records.len());
        drop(log);
        // The next child opens it alone.
        while matches!(RedbStore::open(&path), Err(StoreError::Locked)) {
            tokio::task::yield_now().await;
        }
    }
}
