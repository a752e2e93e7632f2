//! Roles of a real PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use testbed::{Postgres, PostgresOptions};
use vault_core::id::{AccountName, SessionId, TargetId};
use vault_core::saga::{Finding, Issuer, PostgresIssuer, PostgresIssuerError, State};
use vault_core::vault::{CredentialError, Ended, Issued};
use vault_core::{SecretString, Vault, conformance};

use crate::credentials::{Life, MortalIssuer, MortalStore};
use crate::fixture::{Fixture, KEY, by};

const HOUR: TimeDelta = TimeDelta::hours(1);

fn server() -> Postgres {
    let options =
        PostgresOptions::new().config_line("log_statement = all").config_line("log_connections = on");
    let server = Postgres::start(options).unwrap();
    let setup = "CREATE ROLE orders_read; CREATE TABLE orders (id int); INSERT INTO orders VALUES (7); \
                 GRANT SELECT ON orders TO orders_read; GRANT CREATE ON SCHEMA public TO orders_read";
    server.sql(Postgres::DATABASE, setup).unwrap();
    server
}

fn issuer(server: &Postgres) -> PostgresIssuer {
    let issuer = PostgresIssuer::new(&server.url(Postgres::DATABASE).into(), None).unwrap();
    issuer.template_role(AccountName::new("orders_read").unwrap())
}

fn target() -> TargetId {
    TargetId::new("orders-db").unwrap()
}

fn session() -> SessionId {
    SessionId::new("s-1").unwrap()
}

async fn login(server: &Postgres, issued: &Issued) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config: tokio_postgres::Config = server.url(Postgres::DATABASE).parse().unwrap();
    issued.inject(|account, secret| config.user(account.as_str()).password(secret.expose()));
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Roles that the server has beside its own.
fn roles(server: &Postgres) -> String {
    server
        .sql(Postgres::DATABASE, r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'v%\_%' ORDER BY 1")
        .unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn conforms() {
    let server = server();
    conformance::issuer(&issuer(&server), "vx").await;
    server.sql(Postgres::DATABASE, "CREATE ROLE admin LOGIN PASSWORD 'old'").unwrap();
    let admin = AccountName::new("admin").unwrap();
    let next = conformance::rotating(&issuer(&server), &admin, &"old".into()).await;
    assert_eq!(next.expose().len(), 32);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_session_may_what_its_template_may_and_nothing_is_left_of_it() {
    let (server, fixture) = (server(), Fixture::new().await);
    let (issuer, alice, now) = (issuer(&server), by("alice"), Utc::now());
    let issued = fixture.vault.issue(&issuer, &target(), &session(), HOUR, &alice, now).await.unwrap();
    let client = login(&server, &issued).await.unwrap();
    assert_eq!(client.query_one("SELECT id FROM orders", &[]).await.unwrap().get::<_, i32>(0), 7);
    client.batch_execute("DELETE FROM orders").await.expect_err("its template may not");
    client.batch_execute("CREATE TABLE mine (id int)").await.unwrap();
    let until = server.sql(
        Postgres::DATABASE,
        "SELECT floor(extract(epoch FROM rolvaliduntil))::bigint FROM pg_authid WHERE rolname LIKE 'v%alice%'",
    );
    assert_eq!(until.unwrap().trim(), (now + HOUR).timestamp().to_string(), "the server ends it, too");
    client.batch_execute("BEGIN; SELECT * FROM orders").await.unwrap();

    let ended = fixture.vault.end_credential(&issuer, &issued.credential().id, &alice, now).await.unwrap();
    assert_eq!(ended, Ended::Gone);
    client.batch_execute("SELECT 1").await.expect_err("its connections are ended");
    login(&server, &issued).await.expect_err("nobody logs in with it");
    assert_eq!(roles(&server).trim(), "");
    let owner = server.sql(Postgres::DATABASE, "SELECT tableowner FROM pg_tables WHERE tablename = 'mine'");
    assert_eq!(owner.unwrap().trim(), Postgres::USER, "what it made stays");
    let log = server.log();
    assert!(log.contains("CREATE ROLE"), "statements are in the log");
    issued.inject(|_, secret| assert!(!log.contains(secret.expose()), "passwords are not"));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_crash_at_every_step_leaves_no_role() {
    let server = server();
    for after in [false, true] {
        for dies_at in 0.. {
            let fixture = Fixture::new().await;
            let (alice, life, now) = (by("alice"), Life::new(dies_at, after), Utc::now());
            let mortal = MortalIssuer(issuer(&server), life.clone());
            let store = MortalStore(fixture.store.clone(), life.clone());
            let vault = Vault::open(store, fixture.audit.clone()).unseal(&KEY, &alice, now).await.unwrap();
            let issued = vault.issue(&mortal, &target(), &session(), HOUR, &alice, now).await.ok();
            if let Some(issued) = &issued {
                let _ = vault.end_credential(&mortal, &issued.credential().id, &alice, now).await;
            }
            let next = fixture.reopened().await;
            let issuers = BTreeMap::from([(target(), Arc::new(issuer(&server)) as Arc<dyn Issuer>)]);
            let later = now + TimeDelta::minutes(5);
            next.recover_credentials(&issuers, None, 100, &alice, later).await.unwrap();
            // What was active when the process died works, as far as its session has it.
            for role in roles(&server).lines() {
                let id = role.rsplit_once('_').unwrap().1;
                assert_eq!(
                    next.credential(id).await.unwrap().state,
                    State::Active,
                    "dies at {dies_at}, {after}"
                );
                if let Some(issued) = &issued {
                    login(&server, issued).await.unwrap();
                }
            }
            assert!(next.end_session(&issuers, &session(), &alice, later).await.unwrap().is_empty());
            assert_eq!(roles(&server).trim(), "", "dies at {dies_at}, {after}");
            if !life.is_dead() {
                break;
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn the_promise_is_kept_when_the_server_is_back() {
    let (mut server, fixture) = (server(), Fixture::new().await);
    let (issuer, alice, now) = (Arc::new(issuer(&server)), by("alice"), Utc::now());
    let issued = fixture.vault.issue(&*issuer, &target(), &session(), HOUR, &alice, now).await.unwrap();
    server.kill();
    let ended = fixture.vault.end_credential(&*issuer, &issued.credential().id, &alice, now).await.unwrap();
    assert_eq!(ended, Ended::Pending);
    let down = fixture.vault.issue(&*issuer, &target(), &session(), HOUR, &alice, now).await;
    assert!(matches!(down, Err(CredentialError::Target(_))), "{down:?}");
    server.restart().unwrap();
    let issuers = BTreeMap::from([(target(), issuer as Arc<dyn Issuer>)]);
    let later = now + TimeDelta::minutes(1);
    let recovered = fixture.vault.recover_credentials(&issuers, None, 10, &alice, later).await.unwrap();
    assert!(recovered.waiting.is_empty() && recovered.changed.len() == 2, "{recovered:?}");
    assert_eq!(roles(&server).trim(), "");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_role_that_owns_something_elsewhere_waits_without_login() {
    let (server, fixture) = (server(), Fixture::new().await);
    let (issuer, alice, now) = (Arc::new(issuer(&server)), by("alice"), Utc::now());
    let issued = fixture.vault.issue(&*issuer, &target(), &session(), HOUR, &alice, now).await.unwrap();
    let elsewhere = server.create_database().unwrap();
    let account = issued.credential().account.clone();
    server
        .sql(&elsewhere, &format!("CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {account}"))
        .unwrap();
    let end = fixture.vault.end_credential(&*issuer, &issued.credential().id, &alice, now).await.unwrap();
    assert_eq!(end, Ended::Pending);
    login(&server, &issued).await.expect_err("nobody logs in with it any more");
    server.sql(&elsewhere, &format!("DROP OWNED BY {account}")).unwrap();
    let issuers = BTreeMap::from([(target(), issuer as Arc<dyn Issuer>)]);
    fixture.vault.recover_credentials(&issuers, None, 10, &alice, now).await.unwrap();
    assert_eq!(roles(&server).trim(), "");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn an_administrator_without_superuser_suffices() {
    let (server, fixture) = (server(), Fixture::new().await);
    let setup = "CREATE ROLE vault LOGIN PASSWORD 'admin' CREATEROLE; GRANT pg_signal_backend TO vault; \
                 GRANT orders_read TO vault WITH ADMIN OPTION";
    server.sql(Postgres::DATABASE, setup).unwrap();
    let url = server.url(Postgres::DATABASE);
    let url = url.replace(&format!("{}:{}", Postgres::USER, Postgres::PASSWORD), "vault:admin");
    let issuer = PostgresIssuer::new(&url.into(), None).unwrap();
    let issuer = issuer.template_role(AccountName::new("orders_read").unwrap());
    let (alice, now) = (by("alice"), Utc::now());
    let issued = fixture.vault.issue(&issuer, &target(), &session(), HOUR, &alice, now).await.unwrap();
    let client = login(&server, &issued).await.unwrap();
    client.batch_execute("CREATE TABLE mine (id int)").await.unwrap();
    let ended = fixture.vault.end_credential(&issuer, &issued.credential().id, &alice, now).await.unwrap();
    assert_eq!(ended, Ended::Gone, "{}", server.log());
    client.batch_execute("SELECT 1").await.expect_err("its connections are ended");
    assert_eq!(roles(&server).trim(), "");
}

#[tokio::test]
async fn nobody_at_home_is_unknown_and_names_that_would_be_cut_are_refused() {
    let issuer = PostgresIssuer::new(&"postgres://a:hunter2@127.0.0.1:1/x".into(), None).unwrap();
    let (short, long) = (AccountName::new("a").unwrap(), AccountName::new("a".repeat(64)).unwrap());
    let secret = SecretString::from("x");
    let finding = issuer.probe(&vault_core::saga::Order::session(&short, &secret)).await;
    assert_eq!(finding, Finding::Unknown);
    let refused = issuer.remove(&long).await.unwrap_err();
    assert!(matches!(refused, vault_core::saga::IssuerError::Refused(_)));
    let error = issuer.remove(&short).await.unwrap_err();
    assert!(!format!("{issuer:?} {error:?}").contains("hunter2"));
}

#[test]
fn passwords_go_nowhere_in_the_clear() {
    let new = |url: &str| PostgresIssuer::new(&url.into(), None).map(drop);
    let clear = new("postgres://a:hunter2@db.example.org/x?sslmode=disable").unwrap_err();
    assert_eq!(clear, PostgresIssuerError::InTheClear("db.example.org".to_owned()));
    for wrong in ["", "hunter2", "postgres://", "postgres://a:hunter2@h/x?hunter2=1", "host=a hunter2"] {
        let error = new(wrong).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{wrong}");
    }
    new("postgres://a@db.example.org/x").unwrap();
    new("postgres://a@localhost/x?sslmode=disable").unwrap();
}
