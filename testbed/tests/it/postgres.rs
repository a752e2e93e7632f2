use std::net::TcpStream;

use testbed::{Error, Postgres, PostgresOptions};

use crate::processes::gone_soon;

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn each_database_is_its_own_and_survives_a_kill() {
    let mut server = Postgres::start(PostgresOptions::new().durable()).unwrap();
    let (one, other) = (server.create_database().unwrap(), server.create_database().unwrap());
    server.sql(&one, "CREATE TABLE seen (n int); INSERT INTO seen VALUES (7)").unwrap();
    match server.sql(&other, "SELECT n FROM seen") {
        Err(Error::Failed { stderr, .. }) => assert!(stderr.contains("does not exist"), "{stderr}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    let (addr, pid) = (server.addr(), server.pid().unwrap().to_string());
    server.kill();
    assert!(gone_soon(&pid));
    assert!(TcpStream::connect(addr).is_err());
    server.restart().unwrap();
    assert_eq!((server.addr(), server.sql(&one, "SELECT n FROM seen").unwrap().as_str()), (addr, "7\n"));
    assert!(server.log().contains("automatic recovery in progress"));
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn demands_tls_and_a_password_where_told_to() {
    let options = PostgresOptions::new().tls().hba_line("hostnossl all all all reject");
    let server = Postgres::start(options.config_line("log_connections = on")).unwrap();
    assert!(server.ca_pem().unwrap().contains("BEGIN CERTIFICATE"));
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(server.sql(Postgres::DATABASE, encrypted).unwrap(), "t\n");
    let clear = server.url("postgres?sslmode=disable");
    let refused = testbed::run("psql", "postgresql-client-common", [clear.as_str(), "-c", "SELECT 1"]);
    assert!(format!("{refused:?}").contains("pg_hba.conf rejects connection"), "{refused:?}");
    assert!(server.log().contains("method=scram-sha-256"), "{}", server.log());
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn dropping_it_leaves_nothing() {
    let server = Postgres::start(PostgresOptions::new()).unwrap();
    let (pid, dir, addr) = (server.pid().unwrap().to_string(), server.dir().to_owned(), server.addr());
    drop(server);
    assert!(gone_soon(&pid));
    assert!(!dir.exists());
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn says_why_it_does_not_start() {
    match Postgres::start(PostgresOptions::new().config_line("no_such_setting = 1")) {
        Err(Error::NotStarted { log, .. }) => assert!(log.contains("no_such_setting"), "{log}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}
