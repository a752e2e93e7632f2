//! What others do to the database, and what its clock says: nobody is kept by it who has no part in it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use connector_health::connector::{ListedAccount, MemoryConnector};

use connector_health::lane::Class;
use connector_health::observe::{Cycle, Left, Observer, Stuck};
use connector_health::outbox::{Accepted, MassLeaverGuard, Options, Outbox};
use connector_health::store::{Claim, OutboxStore, StoreError};
use connector_health::{
    Confirmation, Connector, ConnectorId, Connectors, Event, Failure, Operation, PostgresStore,
};
use futures::stream::BoxStream;
use testbed::Postgres;
use tokio::sync::Semaphore;

use super::Database;
use crate::company::{at, crm, named, options, person};

/// Longer than any wait that is meant; a test that hangs fails by it.
const HANGS: Duration = Duration::from_secs(120);

fn joins(connector: &ConnectorId, number: usize) -> Event {
    let who = person(number);
    Event::provision(connector, &who, named(who.as_str())).occurred_at(at(number as i64))
}

/// What passes said of connectors.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<(Vec<Left>, Vec<String>)>>);

impl Observer for Heard {
    fn cycle(&self, cycle: &Cycle<'_>) {
        self.0.lock().unwrap().0.push(cycle.left_due);
    }

    fn stuck(&self, stuck: &Stuck<'_>) {
        self.0.lock().unwrap().1.push(format!("{}: {}", stuck.connector, stuck.error));
    }
}

/// A session of somebody else.
async fn session(database: &Database) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn who_keeps_a_lane_locked_keeps_no_other_from_its_turn() {
    let database = Database::new();
    // With these, whoever waits for the lock waits for longer than the test.
    let patient = database.options().statement_timeout(HANGS * 10);
    let heard = Heard::default();
    let outbox =
        Outbox::open_with(PostgresStore::open(patient).await.unwrap(), options().observer(heard.clone()));
    let outbox = outbox.await.unwrap();
    let wiki = ConnectorId::new("wiki").unwrap();
    let applications = [MemoryConnector::new(), MemoryConnector::new()];
    let connectors =
        Connectors::new().with(crm(), applications[0].clone()).with(wiki.clone(), applications[1].clone());
    for number in 0..30 {
        outbox.accept(joins(&crm(), number), at(100)).await.unwrap();
        outbox.accept(joins(&wiki, number), at(100)).await.unwrap();
    }
    let other = session(&database).await;
    other.batch_execute("BEGIN; SELECT FROM connector_health.lanes WHERE connector = 'crm' AND subject = 'pp0' FOR UPDATE").await.unwrap();
    for _ in 0..3 {
        let worked = tokio::time::timeout(HANGS, outbox.work(&connectors, at(100))).await;
        let worked = worked.expect("it waits for somebody else").unwrap();
        assert_eq!(worked.next_at, Some(worked.next_at.unwrap().max(at(100))), "there is more to do");
    }
    assert_eq!(outbox.counts(&crm()).await.unwrap().queued(), 1, "all but what is locked");
    assert_eq!(outbox.counts(&wiki).await.unwrap().queued(), 0);
    // Nothing failed: what is being written is somebody's work.
    let cycles = std::mem::take(&mut heard.0.lock().unwrap().0);
    assert!(cycles.iter().all(|left| *left == Left::Nothing), "{cycles:?}");
    other.batch_execute("COMMIT").await.unwrap();
    let worked = outbox.work(&connectors, at(101)).await.unwrap();
    assert_eq!((worked.delivered, worked.next_at), (1, None));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn leases_are_by_the_clock_of_the_database_whatever_those_of_workers_say() {
    let database = Database::new();
    let open = async || PostgresStore::open(database.options_as_served()).await.unwrap();
    let (store, other) = (open().await, open().await);
    let outbox = Outbox::open_with(open().await, options()).await.unwrap();
    outbox.accept(joins(&crm(), 1), at(100)).await.unwrap();
    let claim = |worker, now| Claim {
        connector: crm(),
        worker,
        class: Class::Other,
        due: now,
        due_latest: now + TimeDelta::hours(1),
        now,
        until: now + TimeDelta::minutes(4),
        limit: 9,
    };
    let days = TimeDelta::days(1);
    // A clock that is a day behind: its lease would be over at once for all others.
    let late = Utc::now() - days;
    let leases = store.claim(claim(1, late)).await.unwrap().leases;
    assert_eq!(leases[0].until, late + TimeDelta::minutes(4), "its own clock counts for the worker");
    // One a day ahead: all leases would be over for it.
    let early = Utc::now() + days;
    assert_eq!(other.claim(claim(2, early)).await.unwrap().leases, []);
    let due = other.next_due(&crm(), early).await.unwrap().unwrap();
    assert!(due > early && due <= early + TimeDelta::minutes(4), "{due} by the clock of who asks, {early}");
    database.sql("UPDATE connector_health.leases SET until = now() - interval '1 millisecond'");
    let due = other.next_due(&crm(), early).await.unwrap().unwrap();
    assert!(due <= early, "{due}");
    let taken = other.claim(claim(2, late)).await.unwrap().leases;
    assert_eq!(taken.len(), 1);
    assert_ne!(taken[0].token, leases[0].token);
    let under = connector_health::store::Batch { under: leases.first().cloned(), ..Default::default() };
    let lost = store.commit(vec![under]).await.unwrap();
    assert_eq!(lost, [connector_health::store::Committed::LeaseLost]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn once_a_newer_version_has_changed_the_tables_an_older_one_writes_nothing() {
    let database = Database::new();
    let outbox = Outbox::open_with(database.open().await, options()).await.unwrap();
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    outbox.accept(joins(&crm(), 1), at(100)).await.unwrap();
    let content = "SELECT (SELECT md5(string_agg(l::text, ',')) FROM connector_health.lanes l),
        (SELECT count(*) FROM connector_health.leases), (SELECT next FROM connector_health.numbers),
        (SELECT md5(string_agg(e::text, ',')) FROM connector_health.events e)";
    let before = database.sql(content);
    database.sql("INSERT INTO connector_health.migrations (version) VALUES (99)");
    let refused = |error: &dyn std::fmt::Display| error.to_string().contains("format version 99");
    let store = outbox.store();
    let claim = Claim {
        connector: crm(),
        worker: 1,
        class: Class::Other,
        due: at(100),
        due_latest: at(1_000),
        now: at(100),
        until: at(400),
        limit: 9,
    };
    let batch = || connector_health::store::Batch::default();
    for error in [
        store.reserve(1).await.unwrap_err(),
        store.claim(claim).await.unwrap_err(),
        store.commit(vec![batch()]).await.unwrap_err(),
        store.release(1).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NewerFormat(99)) && !error.is_retryable(), "{error:?}");
    }
    assert!(refused(&outbox.accept(joins(&crm(), 2), at(100)).await.unwrap_err()));
    assert!(refused(&outbox.work(&connectors, at(100)).await.unwrap_err()));
    assert_eq!(database.sql(content), before);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn tables_of_the_first_format_are_brought_up_to_date_with_what_is_in_them() {
    let database = Database::new();
    let outbox = Outbox::open_with(database.open().await, options()).await.unwrap();
    outbox.accept(joins(&crm(), 1), at(100)).await.unwrap();
    for number in [2, 3] {
        let leaves = Event::deprovision(&crm(), &person(number)).occurred_at(at(50));
        outbox.accept(leaves, at(100)).await.unwrap();
    }
    let open = outbox.open_offboardings().await.unwrap();
    drop(outbox);
    database.sql(
        "SET search_path = connector_health; DROP FUNCTION expect_format(integer); DROP TABLE offboardings; DELETE FROM migrations WHERE version = 2;
         ALTER TABLE leases DROP COLUMN until; ALTER TABLE leases ADD COLUMN until bytea NOT NULL;
         INSERT INTO leases VALUES ('crm', 'pp1', gen_random_uuid(), 1, '\\x00')",
    );
    let outbox = Outbox::open_with(database.open().await, options()).await.unwrap();
    assert_eq!((outbox.open_offboardings().await.unwrap(), open.len()), (open, 2));
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    assert_eq!(outbox.work(&connectors, at(100)).await.unwrap().delivered, 3);
    assert_eq!(database.sql("SELECT max(version) FROM connector_health.migrations"), "2\n");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn whoever_finds_the_tables_as_they_should_be_needs_no_right_to_make_them() {
    let database = Database::new();
    drop(database.open().await);
    let name = format!("worker_{}", fastrand::u32(..));
    database.sql(&format!(
        "CREATE ROLE {name} LOGIN PASSWORD 'worker'; GRANT USAGE ON SCHEMA connector_health TO {name};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA connector_health TO {name};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA connector_health TO {name}"
    ));
    let url = database.url.replace(Postgres::USER, &name);
    let settings = connector_health::store::PostgresOptions::new(&url).unwrap().password("worker");
    let outbox = Outbox::open_with(PostgresStore::open(settings).await.unwrap(), options()).await.unwrap();
    assert_eq!(outbox.accept(joins(&crm(), 1), at(100)).await.unwrap(), Accepted::Queued);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_server_that_takes_no_writes_is_no_place_for_an_outbox() {
    let standby = testbed::PostgresOptions::new().config_line("default_transaction_read_only = on");
    let server = Postgres::start(standby).unwrap();
    let settings = connector_health::store::PostgresOptions::new(&server.url(Postgres::DATABASE)).unwrap();
    let error = PostgresStore::open(settings).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(format!("{error:?}").contains("writes"), "{error:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn rows_that_were_damaged_keep_nobody_else_from_anything() {
    let database = Database::new();
    let heard = Heard::default();
    let settings = || options().observer(heard.clone());
    let outbox = Outbox::open_with(database.open().await, settings()).await.unwrap();
    let hr = ConnectorId::new("hr").unwrap();
    let applications = [MemoryConnector::new(), MemoryConnector::new()];
    let connectors =
        Connectors::new().with(crm(), applications[0].clone()).with(hr.clone(), applications[1].clone());
    for number in 0..40 {
        outbox.accept(joins(&crm(), number), at(100)).await.unwrap();
    }
    outbox.accept(joins(&hr, 1), at(100)).await.unwrap();
    // Columns say what they may hold.
    for damage in ["subject = 'x'", "due = '\\x00'", "oldest = '\\x'", "sort = '\\x00'"] {
        let (wrong, of) =
            (format!("UPDATE connector_health.lanes SET {damage} WHERE subject = 'pp1'"), damage);
        assert!(database.try_sql(&wrong).is_err(), "{of}");
    }
    database.sql(
        "DO $$ DECLARE c record; BEGIN
            FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE contype = 'c'
                AND connamespace = 'connector_health'::regnamespace AND conname <> 'numbers_only_row_check'
            LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; END $$;
         SET search_path = connector_health;
         UPDATE lanes SET record = '{' WHERE connector = 'crm' AND subject = 'pp0';
         UPDATE lanes SET due = '\\x00' WHERE connector = 'crm' AND subject = 'pp1';
         UPDATE lanes SET due = '\\xff' WHERE connector = 'crm' AND subject = 'pp2';
         UPDATE lanes SET oldest = '\\x00' WHERE connector = 'crm' AND subject = 'pp3';
         UPDATE lanes SET subject = 'x' || subject WHERE connector = 'crm' AND subject IN
            ('pp10', 'pp11', 'pp12', 'pp13', 'pp14', 'pp15', 'pp16', 'pp17', 'pp18', 'pp19');
         UPDATE events SET record = '{' WHERE connector = 'crm' AND subject = 'pp4';
         UPDATE events SET subject = 'xp5' WHERE connector = 'crm' AND subject = 'pp5';
         UPDATE holds SET subject = 'xp6' WHERE connector = 'crm' AND subject = 'pp6';
         UPDATE counts SET provisioning_queued = -5 WHERE connector = 'crm';
         INSERT INTO connectors VALUES ('hr', 1, '{')",
    );
    let worked = outbox.work(&connectors, at(100)).await.unwrap();
    // All of crm but the one whose record, the one whose event, the ten whose names, and the one whose event went elsewhere.
    let accounts = |application: &MemoryConnector| {
        (0..40).filter(|n| !application.accounts_of(&person(*n)).is_empty()).count()
    };
    assert_eq!(accounts(&applications[0]), 40 - 13, "{worked:?} {:?}", heard.0.lock().unwrap());
    let told = heard.0.lock().unwrap().1.join("\n");
    assert!(told.contains("crm: ") && told.contains("hr: "), "{told}");
    // People of theirs leave; those who can be read are out.
    let leaves = |number| {
        Event::deprovision(&crm(), &person(number))
            .occurred_at(at(200))
            .named(connector_health::EventId::new(format!("leaves-{number}")).unwrap())
    };
    let accepted =
        outbox.accept_all((0..40).filter(|n| !(10..20).contains(n)).map(leaves).collect(), at(200)).await;
    let refused = accepted.iter().filter(|accepted| accepted.is_err()).count();
    assert_eq!(refused, 2, "of the lanes that cannot be read: {accepted:?}");
    outbox.work(&connectors, at(200)).await.unwrap();
    assert_eq!(accounts(&applications[0]), 0, "nobody who had got an account has it still");
    // What is known of the connector cannot be read: whether many leave there at once is judged by the call alone, and nobody is refused.
    let leaves_hr = Event::deprovision(&hr, &person(1)).occurred_at(at(300));
    let leaves_crm = Event::deprovision(&crm(), &person(50)).occurred_at(at(300));
    let accepted = outbox.accept_all(vec![leaves_hr, leaves_crm], at(300)).await;
    assert!(matches!(accepted[..], [Ok(Accepted::Queued), Ok(Accepted::Queued)]), "{accepted:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_held_leaver_that_cannot_be_read_keeps_no_other_held() {
    let database = Database::new();
    let guard = MassLeaverGuard { leavers_max: 0, always_allowed: 0, ..MassLeaverGuard::default() };
    let outbox = Outbox::open_with(database.open().await, Options::default().guard(guard)).await.unwrap();
    for number in 0..3 {
        outbox.accept(joins(&crm(), number), at(1)).await.unwrap();
        let leaves = Event::deprovision(&crm(), &person(number)).occurred_at(at(50));
        assert_eq!(outbox.accept(leaves, at(50)).await.unwrap(), Accepted::Held);
    }
    database.sql("UPDATE connector_health.events SET record = '{' WHERE state = 2 AND subject = 'pp1'");
    crate::limits::of_held_only_the_unreadable_stays(&outbox).await;
}

/// The first request hangs until it is told to end.
struct Hangs {
    asked: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    application: MemoryConnector,
}

#[async_trait]
impl Connector for Hangs {
    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        self.asked.add_permits(1);
        if !matches!(operation, Operation::Deprovision { .. }) {
            self.answers.acquire().await.unwrap().forget();
        }
        self.application.ensure(operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        self.application.accounts()
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_leaver_that_another_process_accepts_waits_for_nothing_that_hangs_here() {
    let database = Database::new();
    let here = options().leaver_reserve(2).concurrency(4, 1);
    let here = Outbox::open_with(database.open().await, here).await.unwrap();
    let there = Outbox::open_with(database.open().await, options()).await.unwrap();
    let (asked, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let wiki = ConnectorId::new("wiki").unwrap();
    let hangs = |id| {
        let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
        Connectors::new().with(id, Hangs { asked, answers, application: MemoryConnector::new() })
    };
    let mut connectors = hangs(crm());
    let application = MemoryConnector::new();
    connectors.insert(wiki.clone(), Arc::new(application.clone()));
    here.accept(joins(&crm(), 0), at(10)).await.unwrap();
    let leavers = [
        Event::deprovision(&crm(), &person(1)).occurred_at(at(11)),
        // Theirs is a connector that had nothing to do when the pass began.
        Event::deprovision(&wiki, &person(2)).occurred_at(at(11)),
    ];
    let (worked, ()) = tokio::join!(here.work(&connectors, at(10)), async {
        asked.acquire().await.unwrap().forget();
        for leaver in &leavers {
            there.accept(leaver.clone(), at(11)).await.unwrap();
        }
        let done = async {
            for leaver in &leavers {
                while there.event(leaver.id()).await.unwrap().unwrap().state.name() != "succeeded" {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(HANGS, done).await.expect("they wait for what hangs");
        answers.add_permits(1);
    });
    assert_eq!(worked.unwrap().delivered, 3);
}
