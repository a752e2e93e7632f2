//! The outbox in a database.

use serde_json::json;
use testbed::http::Answer;
use testbed::{Postgres, PostgresOptions};

use crate::config::{GOOD, check, directory, secret};
use crate::stage::{Stage, until};

const ANN: &str = r#"{"type":"joiner","person":{"id":"emp-1","user_name":"ann","display_name":"Ann Lee","email":"ann@x.example","groups":["staff"]}}"#;
const LEAVES: &str = r#"{"type":"leaver","person":{"id":"emp-1"}}"#;
const HOOK: &str = "[source.webhook]\nsecret_file = \"hook\"\n";

#[test]
fn a_store_is_checked_without_a_server_and_no_secret_is_repeated() {
    let dir = directory();
    secret(dir.path(), "db.password", "hunter2-of-the-database\n");
    let said = |store: &str| check(dir.path(), &format!("{GOOD}\n[store]\n{store}\n"), &[]);
    for good in [
        "path = \"elsewhere.redb\"",
        "url = \"postgres://provisioner@db.example.com/iam\"\npassword_file = \"db.password\"\nschema = \"outbox\"",
        "url = \"postgres://provisioner@%2Frun%2Fpostgresql/iam\"",
        "url = \"postgres://provisioner@db/iam?sslmode=disable\"\ndangerous_cleartext = true",
    ] {
        let said = said(good);
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{good}: {said:?}");
    }
    for (wrong, why) in [
        ("", "either `path`"),
        ("path = \"a\"\nurl = \"postgres://h/db\"", "either `path`"),
        ("path = \"a\"\npassword_file = \"db.password\"", "is for a database"),
        ("url = \"postgres://me:hunter2@h/db\"", "`password_file` or `password_env`"),
        ("url = \"mysql://me:hunter2@h/db\"", "cannot be read"),
        ("url = \"postgres://me@h/db\"\npassword_file = \"nowhere\"", "nowhere"),
        ("url = \"postgres://me@h/db\"\npassword_env = \"NO_SUCH_VARIABLE_HERE\"", "NO_SUCH_VARIABLE_HERE"),
        ("url = \"postgres://me@h/db?sslmode=disable\"", "in the clear"),
        ("url = \"postgres://me@h/db\"\nschema = \"Robert'); DROP\"", "no name for a schema"),
        ("url = \"postgres://me@h/db\"\nca = \"ops.token\"", "authority's certificates"),
        ("url = \"postgres://me@h/db\"\npasswort = \"x\"", "unknown field"),
    ] {
        let said = said(wrong);
        assert_eq!(said.status, 2, "{wrong}: {said:?}");
        assert!(said.out.contains(why), "{wrong}: {said:?}");
        assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
    }
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn leavers_wait_in_a_database_and_outlast_the_service_and_the_database() {
    let stage = Stage::new();
    let mut server = Postgres::start(PostgresOptions::new().tls().durable()).unwrap();
    let database = server.create_database().unwrap();
    secret(stage.path(), "db.password", Postgres::PASSWORD);
    std::fs::write(stage.path().join("db-ca.pem"), server.ca_pem().unwrap()).unwrap();
    let settings = format!(
        "{HOOK}[store]\nurl = \"postgres://{}@{}/{database}?sslmode=verify-full\"\npassword_file = \"db.password\"\n\
         ca = \"db-ca.pem\"\nschema = \"provisioning\"\n",
        Postgres::USER,
        server.addr(),
    );
    let service = stage.serve(&settings);
    assert_eq!(service.signed("msg-1", ANN).status, 202);
    service.drained();
    assert!(!stage.path().join("data/outbox.redb").exists());
    let lanes = "SELECT count(*) FROM provisioning.lanes";
    assert!(server.sql(&database, lanes).unwrap().trim().parse::<u32>().unwrap() >= 3);

    // The database goes away and comes back: the service waits for it, and takes nothing meanwhile.
    server.kill();
    service.heard("it is tried again");
    assert_ne!(service.signed("msg-2", LEAVES).status, 202);
    server.restart().unwrap();
    assert_eq!(service.signed("msg-3", LEAVES).status, 202);
    service.drained();
    let said = service.ask(&["report", "emp-1"]);
    assert_eq!(said.json()[0]["state"], json!("complete"), "{said:?}");
    let err = String::from_utf8(service.running.stderr()).unwrap();
    assert!(!err.contains(Postgres::PASSWORD), "{err}");
    assert_eq!(service.end(), 0);

    // What it knew is there for the next one.
    let service = stage.serve(&settings);
    let said = service.ask(&["report", "emp-1"]);
    assert_eq!(said.json()[0]["state"], json!("complete"), "{said:?}");
    assert_eq!(service.end(), 0);
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn a_database_that_refuses_is_named_and_the_password_is_not() {
    let stage = Stage::new();
    let server = Postgres::start(PostgresOptions::new()).unwrap();
    let url = format!("postgres://{}@{}/postgres", Postgres::USER, server.addr());
    secret(stage.path(), "db.password", "hunter2-hunter2");
    let file = stage.settings(&format!("[store]\nurl = \"{url}\"\npassword_file = \"db.password\"\n"));
    let said = crate::run::provisioner(&["serve", "--config", file.to_str().unwrap()], &[], "");
    assert_ne!(said.status, 0, "{said:?}");
    assert!(said.err.contains("password authentication failed"), "{said:?}");
    assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
}

/// People in a file, on standard input and by a webhook; the database goes away again and again while they are taken in.
#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn a_database_that_goes_away_in_the_middle_of_intake_ends_nothing_and_loses_nothing() {
    const PEOPLE: usize = 150;
    let stage = Stage::new();
    let mut server = Postgres::start(PostgresOptions::new().durable()).unwrap();
    let database = server.create_database().unwrap();
    secret(stage.path(), "db.password", Postgres::PASSWORD);
    let address = server.addr();
    let settings = format!(
        "{HOOK}[source.stdin]\n[source.csv]\npath = \"people.csv\"\n\
         [store]\nurl = \"postgres://{}@{address}/{database}\"\npassword_file = \"db.password\"\n",
        Postgres::USER,
    );
    let mut service = stage.serve(&settings);
    let joins = |who: &str| {
        format!(
            "{{\"type\":\"joiner\",\"person\":{{\"id\":\"{who}\",\"user_name\":\"{who}\",\"groups\":[\"staff\"]}}}}\n"
        )
    };
    let rows: String = (0..PEOPLE).map(|n| format!("csv-{n},csv{n},staff,\n")).collect();
    std::fs::write(stage.path().join("people.csv"), format!("id,user_name,groups,end_date\n{rows}")).unwrap();
    for n in 0..PEOPLE {
        service.running.write(joins(&format!("in-{n}")).as_bytes()).unwrap();
    }
    let lanes = |server: &Postgres, like: &str| -> usize {
        let sql = format!("SELECT count(*) FROM connector_health.lanes WHERE subject LIKE '{like}'");
        server.sql(&database, &sql).unwrap().trim().parse().unwrap()
    };
    let mut hooked = 0;
    for round in 1..=3 {
        let end = std::time::Instant::now() + crate::stage::LONG;
        while lanes(&server, "pcsv-%") <= 15 * round || lanes(&server, "pin-%") <= 15 * round {
            let err = String::from_utf8_lossy(&service.running.stderr()).into_owned();
            assert!(
                std::time::Instant::now() < end,
                "{} {} {err}",
                lanes(&server, "pcsv-%"),
                lanes(&server, "pin-%")
            );
        }
        server.kill();
        // Whoever can be told to come again is told so, and nothing else goes on.
        let lost = service.signed(&format!("msg-{round}"), &joins(&format!("hook-{round}")));
        assert_eq!((lost.status, header(&lost, "retry-after")), (503, Some("5")), "{lost:?}");
        let body = String::from_utf8_lossy(&lost.body).into_owned();
        assert!(body.contains("again later"), "{body}");
        let said = service.ask(&["offboard", "csv-0"]);
        assert_ne!(said.status, 0, "{said:?}");
        service.heard("csv intake: waits to hand over");
        service.heard("stdin intake: waits to hand over");
        server.restart().unwrap();
        // The same message, once it can be taken.
        until(|| service.signed(&format!("msg-{round}"), &joins(&format!("hook-{round}"))).status == 202);
        hooked += 1;
    }
    service.heard(&format!("csv: {PEOPLE} persons; {PEOPLE} joined, 0 moved, 0 left"));
    service.running.write(b"{\"type\":\"leaver\",\"person\":{\"id\":\"in-0\"}}\n").unwrap();
    service.running.close_stdin();
    service.heard("standard input has ended");
    assert_eq!(service.status()["sources"].as_array().unwrap().len(), 0);
    for (like, people) in [("pcsv-%", PEOPLE), ("pin-%", PEOPLE), ("phook-%", hooked)] {
        assert_eq!(lanes(&server, like), 3 * people, "{like}");
    }
    // Each of them once, whatever was said again.
    let twice = "SELECT count(*) FROM (SELECT 1 FROM connector_health.events WHERE subject LIKE 'pcsv-%' OR subject LIKE 'pin-%'
        GROUP BY connector, subject HAVING count(*) > 2 + (subject = 'pin-0')::int) AS twice";
    assert_eq!(server.sql(&database, twice).unwrap().trim(), "0");
    service.drained();
    let said = service.ask(&["report", "in-0"]);
    assert_eq!(said.json()[0]["state"], json!("complete"), "{said:?}");
    assert_eq!(service.end(), 0);
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let found = answer.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn an_offboarding_outlasts_the_service_that_took_it_in_and_is_on_record_once() {
    let stage = Stage::new();
    let server = Postgres::start(PostgresOptions::new()).unwrap();
    let database = server.create_database().unwrap();
    secret(stage.path(), "db.password", Postgres::PASSWORD);
    let store = format!(
        "{HOOK}[store]\nurl = \"postgres://{}@{}/{database}\"\npassword_file = \"db.password\"\n",
        Postgres::USER,
        server.addr(),
    );
    let first = stage.serve(&store);
    let settings = std::fs::read_to_string(stage.settings(&store)).unwrap();
    let other = stage.serve_with(&settings.replace("data_dir = \"data\"", "data_dir = \"other\""));
    assert_eq!(first.signed("msg-1", ANN).status, 202);
    assert_eq!(first.signed("msg-2", &ANN.replace("emp-1", "emp-2").replace("ann", "bob")).status, 202);
    first.drained();
    for application in ["crm", "payroll", "wiki"] {
        stage.fault(application, "down");
    }
    assert_eq!(first.signed("msg-3", LEAVES).status, 202);
    let open = |service: &crate::stage::Service| service.status()["leavers_open"].as_u64().unwrap();
    assert_eq!((open(&first), open(&other)), (1, 1), "each knows of it");
    // It never comes back, and is not waited for.
    first.kill();
    server.sql(&database, "UPDATE connector_health.leases SET until = now()").unwrap();
    for application in ["crm", "payroll", "wiki"] {
        stage.fault(application, "ok");
    }
    until(|| open(&other) == 0);
    let first = stage.serve_with(&settings);
    assert_eq!(first.signed("msg-4", &LEAVES.replace("emp-1", "emp-2")).status, 202);
    until(|| open(&first) == 0 && open(&other) == 0);
    assert_eq!((first.end(), other.end()), (0, 0));
    let of = |trail: &[audit_log::Recorded], person: &str| -> Vec<String> {
        let over = trail.iter().filter(|entry| entry.event_type == "offboarding.completed");
        let theirs = over.filter(|entry| entry.to_json()["target_id"] == *person);
        theirs.map(|entry| entry.to_json()["correlation_id"].as_str().unwrap().to_owned()).collect()
    };
    let (trail, others) = (stage.trail(), stage.trail_of("other"));
    assert_eq!((of(&trail, "emp-1").len(), of(&others, "emp-1").len()), (0, 1));
    // Two that find it over in the same instant each say so, and that it is one and the same.
    let mut second = [of(&trail, "emp-2"), of(&others, "emp-2")].concat();
    second.dedup();
    assert_eq!(second.len(), 1, "{second:?}");
}

#[test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
fn who_cannot_be_written_for_a_while_is_tried_again_and_keeps_nobody_else() {
    let stage = Stage::new();
    let server = Postgres::start(PostgresOptions::new()).unwrap();
    let database = server.create_database().unwrap();
    secret(stage.path(), "db.password", Postgres::PASSWORD);
    let settings = format!(
        "{HOOK}[source.stdin]\n[source.csv]\npath = \"people.csv\"\n\
         [store]\nurl = \"postgres://{}@{}/{database}\"\npassword_file = \"db.password\"\n",
        Postgres::USER,
        server.addr(),
    );
    let people = |rows: &str| {
        let fresh = stage.path().join("people.new");
        std::fs::write(&fresh, format!("id,user_name,groups,end_date\n{rows}")).unwrap();
        std::fs::rename(&fresh, stage.path().join("people.csv")).unwrap();
    };
    people("csv-1,one,staff,\ncsv-2,two,staff,\n");
    let mut service = stage.serve(&settings);
    service.running.write(format!("{ANN}\n").as_bytes()).unwrap();
    service.heard("csv: 2 persons; 2 joined");
    let known = "SELECT count(DISTINCT subject) FROM connector_health.lanes WHERE subject LIKE 'p%'";
    let known = || server.sql(&database, known).unwrap().trim().to_owned();
    until(|| known() == "3");
    service.drained();
    let damage = "CREATE TABLE connector_health.saved AS SELECT connector, subject, record FROM connector_health.lanes
            WHERE connector = 'crm' AND subject IN ('pemp-1', 'pcsv-1');
        UPDATE connector_health.lanes SET record = '{' WHERE connector = 'crm' AND subject IN ('pemp-1', 'pcsv-1')";
    server.sql(&database, damage).unwrap();
    // Whoever posts is told to come again.
    let stuck = service.signed("msg-1", LEAVES);
    assert_eq!((stuck.status, header(&stuck, "retry-after")), (503, Some("5")), "{stuck:?}");
    service.running.write(format!("{LEAVES}\n{}\n", ANN.replace("emp-1", "emp-3")).as_bytes()).unwrap();
    service.heard("standard input, line 2: nothing can be written for");
    people("csv-2,two,staff,\n");
    service.heard("csv lines: not followed: csv-1");
    until(|| known() == "4");
    service.running.close_stdin();
    let repair = "UPDATE connector_health.lanes l SET record = s.record FROM connector_health.saved s
        WHERE l.connector = s.connector AND l.subject = s.subject";
    server.sql(&database, repair).unwrap();
    service.heard("standard input has ended");
    for person in ["emp-1", "csv-1"] {
        until(|| service.ask(&["report", person]).json()[0]["state"] == json!("complete"));
    }
    assert_eq!(service.status()["sources"].as_array().unwrap().len(), 0);
    assert_eq!(service.end(), 0);
}
