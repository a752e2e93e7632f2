//! The store by itself: its tables, and what goes wrong with a server.

use std::error::Error;
use std::time::Duration;

use connector_health::conformance;
use connector_health::connector::MemoryConnector;
use connector_health::event::{Attribute, Attributes};
use connector_health::outbox::Outbox;
use connector_health::store::{OutboxStore, PostgresOptions, PostgresSettingsError, StoreError};
use connector_health::{Connectors, Event, PostgresStore};
use testbed::Postgres;

use super::Database;
use crate::company::{at, crm, named, options, person};

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn postgres_store_conforms() {
    let database = Database::new();
    conformance::store(async || database.open().await).await;
}

/// An error and all of its causes.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn many_who_start_at_once_make_the_tables_once() {
    let database = Database::new();
    let opening = (0..12).map(|_| {
        let options = database.options().schema("at_once").unwrap().connections(1);
        tokio::spawn(PostgresStore::open(options))
    });
    let mut numbers = Vec::new();
    for store in futures::future::join_all(opening).await {
        numbers.push(store.unwrap().unwrap().reserve(1).await.unwrap());
    }
    numbers.sort();
    assert_eq!(numbers, (1..=12).collect::<Vec<u64>>());
    assert_eq!(database.sql("SELECT count(*) FROM at_once.migrations"), "2\n");
    // Another schema is another outbox.
    assert_eq!(database.open().await.reserve(1).await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn newer_tables_are_left_alone() {
    let database = Database::new();
    drop(database.open().await);
    database.sql("INSERT INTO connector_health.migrations (version) VALUES (99)");
    let error = PostgresStore::open(database.options()).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat(99)), "{error:?}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn what_is_refused_is_said_without_secrets() {
    let database = Database::new();
    let options = database.options().password("hunter2-hunter2");
    assert!(!format!("{options:?}").contains("hunter2"));
    let error = PostgresStore::open(options).await.unwrap_err();
    let text = format!("{} {error:?}", told(&error));
    assert!(text.contains("password authentication failed") && !text.contains("hunter2"), "{text}");
    assert!(!error.is_retryable(), "a wrong password does not get better");

    // A role that may log in and nothing else.
    database.sql("CREATE ROLE nobody_special LOGIN PASSWORD 'hunter3-hunter3'");
    let url = database.url.replace(Postgres::USER, "nobody_special");
    let options =
        PostgresOptions::new(&url).unwrap().dangerously_lease_by_caller().password("hunter3-hunter3");
    let error = PostgresStore::open(options).await.unwrap_err();
    let text = format!("{} {error:?}", told(&error));
    assert!(text.contains("42501") && !text.contains("hunter3"), "{text}");

    let nowhere = format!("postgres://nobody:hunter4@127.0.0.1:{}/none", testbed::free_port().unwrap());
    let error = PostgresStore::open(PostgresOptions::new(&nowhere).unwrap()).await.unwrap_err();
    let text = format!("{} {error:?}", told(&error));
    assert!(text.contains("cannot be reached") && !text.contains("hunter4"), "{text}");
    assert!(error.is_retryable());
}

#[test]
fn settings_are_refused_without_repeating_them() {
    for text in
        ["postgres://me:hunter2@:what/ever", "hunter2 is no string", "postgres://me:hunter2@h/db?hunter2=1"]
    {
        let error = PostgresOptions::new(text).unwrap_err();
        assert_eq!(error, PostgresSettingsError::Connection, "{text}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let known = PostgresOptions::new("postgres://me:hunter2@db.example.org/provisioning?sslmode=verify-full")
        .unwrap();
    let shown = format!("{known:?}");
    assert!(shown.contains("db.example.org") && !shown.contains("hunter2"), "{shown}");
    for name in ["", "Upper", "pg_mine", "a\"b", "1st", &"x".repeat(64)] {
        assert!(matches!(known.clone().schema(name), Err(PostgresSettingsError::Schema(_))), "{name}");
    }
}

#[tokio::test]
async fn nothing_goes_over_a_network_in_the_clear_unasked() {
    let clear = PostgresOptions::new("postgres://me@192.0.2.1/db?sslmode=disable&connect_timeout=1").unwrap();
    let error = PostgresStore::open(clear).await.unwrap_err();
    assert!(told(&error).contains("in the clear"), "{}", told(&error));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn tls_is_spoken_and_its_certificate_checked() {
    let options = testbed::PostgresOptions::new().tls().hba_line("hostnossl all all all reject");
    let server = Postgres::start(options).unwrap();
    let url = server.url(Postgres::DATABASE);
    let asking = || PostgresOptions::new(&format!("{url}?sslmode=require&channel_binding=require")).unwrap();
    let store = PostgresStore::open(asking().roots_pem(server.ca_pem().unwrap())).await.unwrap();
    assert_eq!(store.reserve(1).await.unwrap(), 1);
    let used = "SELECT count(*) > 0 FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
        WHERE s.ssl AND a.application_name = 'connector-health'";
    assert_eq!(server.sql(Postgres::DATABASE, used).unwrap(), "t\n");

    // The authorities of this machine do not know it; another authority did not make it.
    let error = PostgresStore::open(asking()).await.unwrap_err();
    assert!(told(&error).contains("TLS"), "{}", told(&error));
    let other = Postgres::start(testbed::PostgresOptions::new().tls()).unwrap();
    let error = PostgresStore::open(asking().roots_pem(other.ca_pem().unwrap())).await.unwrap_err();
    assert!(told(&error).contains("TLS"), "{}", told(&error));
    // It would be refused in the clear, which is asked for on this machine alone.
    let error = PostgresStore::open(PostgresOptions::new(&url).unwrap().dangerously_lease_by_caller())
        .await
        .unwrap_err();
    assert!(told(&error).contains("pg_hba.conf"), "{}", told(&error));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn another_encoding_is_refused() {
    let database = Database::new();
    database.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let (server, _) = database.url.rsplit_once('/').unwrap();
    let error =
        PostgresStore::open(PostgresOptions::new(&format!("{server}/latin")).unwrap()).await.unwrap_err();
    assert!(told(&error).contains("LATIN1"), "{}", told(&error));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_clock_that_is_elsewhere_gets_no_connection() {
    let database = Database::new();
    // The server's clock is an hour ahead, as far as this role can see.
    database.sql(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        $$SELECT pg_catalog.clock_timestamp() + interval '1 hour'$$",
    );
    let role = "CREATE ROLE late LOGIN SUPERUSER PASSWORD 'late'; ALTER ROLE late SET search_path = public, pg_catalog";
    database.sql(role);
    let url = database.url.replace(Postgres::USER, "late");
    let error = PostgresStore::open(
        PostgresOptions::new(&url).unwrap().dangerously_lease_by_caller().password("late"),
    )
    .await
    .unwrap_err();
    assert!(told(&error).contains("3599 s") || told(&error).contains("3600 s"), "{}", told(&error));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_statement_that_waits_for_too_long_is_given_up() {
    let database = Database::new();
    let options = database.options().statement_timeout(Duration::from_millis(200));
    let store = PostgresStore::open(options).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK connector_health.lanes, connector_health.numbers").await.unwrap();
    for error in [store.reserve(1).await.unwrap_err(), store.lanes_of(&person(1)).await.unwrap_err()] {
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
        assert!(told(&error).contains("does not answer in time"), "{}", told(&error));
    }
    client.batch_execute("ROLLBACK").await.unwrap();
    store.reserve(1).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn collisions_are_tried_again_a_few_times() {
    let database = Database::new();
    let store = database.open().await;
    // A sequence goes on although its transaction does not.
    let fail = |times: u32| {
        format!(
            "DROP TRIGGER IF EXISTS collide ON connector_health.lanes;
             CREATE SEQUENCE IF NOT EXISTS collisions; SELECT setval('collisions', 1, false);
             CREATE OR REPLACE FUNCTION public.collide() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF nextval(''public.collisions'') <= {times} THEN
                RAISE EXCEPTION ''collided'' USING ERRCODE = ''serialization_failure''; END IF; RETURN NEW; END';
             CREATE TRIGGER collide BEFORE INSERT ON connector_health.lanes FOR EACH ROW EXECUTE FUNCTION public.collide()"
        )
    };
    let outbox = Outbox::open_with(store, options()).await.unwrap();
    let joins =
        |number| Event::provision(&crm(), &person(number), named(&number.to_string())).occurred_at(at(1));
    database.sql(&fail(3));
    outbox.accept(joins(1), at(1)).await.unwrap();
    assert_eq!(database.sql("SELECT last_value FROM collisions"), "4\n");
    database.sql(&fail(1_000));
    let error = outbox.accept(joins(2), at(1)).await.unwrap_err();
    assert!(told(&error).contains("collided"), "{}", told(&error));
    let tried: u32 = database.sql("SELECT last_value FROM collisions").trim().parse().unwrap();
    assert!((2..20).contains(&tried), "{tried}");
    assert_eq!(outbox.counts(&crm()).await.unwrap().queued(), 1, "and nothing of it is there");
}

/// Attributes are what sources send: they come back as they were, whatever SQL or a text column makes of them.
#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn hostile_attributes_come_back_as_they_were() {
    let database = Database::new();
    let outbox = Outbox::open_with(database.open().await, options()).await.unwrap();
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    let texts = ["a\u{0}b", "'; DROP TABLE lanes; --", "\u{feff}\u{202e}☃\u{10ffff}", "\\x00", "%s {}"];
    for (number, text) in texts.iter().enumerate() {
        let mut attributes: Attributes = named(&format!("' OR 1=1 -- {number}"));
        attributes.insert((*text).replace('\u{0}', "0"), Attribute::from(*text));
        let who = connector_health::PersonId::new(format!("{number}'\"\\")).unwrap();
        let event = Event::provision(&crm(), &who, attributes).occurred_at(at(1));
        outbox.accept(event.clone(), at(1)).await.unwrap();
        outbox.work(&connectors, at(2)).await.unwrap();
        let record = outbox.event(event.id()).await.unwrap().unwrap();
        assert_eq!((record.event, record.state.name()), (event, "succeeded"));
        let holders =
            outbox.store().holders(&crm(), "userName", &format!("' OR 1=1 -- {number}"), None, 9).await;
        assert_eq!(holders.unwrap().len(), 1);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_server_that_was_restarted_is_found_again() {
    let mut server = Postgres::start(testbed::PostgresOptions::new()).unwrap();
    let store =
        PostgresStore::open(PostgresOptions::new(&server.url(Postgres::DATABASE)).unwrap()).await.unwrap();
    let outbox = Outbox::open_with(store, options()).await.unwrap();
    let joins =
        |number| Event::provision(&crm(), &person(number), named(&number.to_string())).occurred_at(at(1));
    for accepted in outbox.accept_all((0..20).map(joins).collect(), at(1)).await {
        accepted.unwrap();
    }
    server.restart().unwrap();
    for number in 20..40 {
        outbox.accept(joins(number), at(1)).await.unwrap();
    }
    assert_eq!(outbox.counts(&crm()).await.unwrap().queued(), 40);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_record_that_cannot_be_read_stops_its_own_lane_alone() {
    let database = Database::new();
    let outbox = Outbox::open_with(database.open().await, options()).await.unwrap();
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    let joins =
        |number| Event::provision(&crm(), &person(number), named(&number.to_string())).occurred_at(at(1));
    for number in 0..3 {
        outbox.accept(joins(number), at(1)).await.unwrap();
    }
    database.sql("UPDATE connector_health.lanes SET record = 'spoiled' WHERE subject = 'pp1'");
    assert_eq!(outbox.work(&connectors, at(10)).await.unwrap().delivered, 2);
    let leaves = |number| Event::deprovision(&crm(), &person(number)).occurred_at(at(20));
    let mut taken = outbox.accept_all(vec![leaves(0), leaves(1), leaves(2)], at(20)).await;
    assert!(taken.remove(1).is_err(), "what is not known of cannot be added to");
    taken
        .into_iter()
        .for_each(|taken| assert_eq!(taken.unwrap(), connector_health::outbox::Accepted::Queued));
    assert_eq!(outbox.work(&connectors, at(30)).await.unwrap().delivered, 2);
}
