//! Reconciliation and separation of duty at size.
//!
//! `reconcile` passes 1 million accounts against 1 million intents (two attributes and five rights each; one in a thousand drifts,
//! is missing or is nobody's), as the first run of an installation does (by user name) and as all later ones do (by
//! identifier), and prints time and memory beside those of a tenth, so that it is seen to be linear. `sod` checks 100,000
//! persons with 20 rights each against 1,000 risks, all of them and one grant each.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a bench")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use chrono::{DateTime, Utc};
use connector_health::reconcile::{Account, Intended, Listing, Reconciliation, Settings, Standing};
use connector_health::sod::{Holding, HoldingState, SodRules};
use connector_health::{ConnectorId, EntitlementId, PersonId, Right};

const PERSONS: u64 = 100_000;
const RISKS: u64 = 1_000;

fn rights(number: u64) -> BTreeSet<EntitlementId> {
    (0..5)
        .map(|n| EntitlementId::new(format!("role-{}", (number * 7 + n * 131) % 2_000)).expect("short"))
        .collect()
}

fn attributes(number: u64) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("displayName".to_owned(), format!("Person Number {number}")),
        ("department".to_owned(), format!("Department {}", number % 500)),
    ])
}

#[derive(Clone, Copy)]
enum By {
    Identifier,
    UserName,
}

fn intended(number: u64, by: By) -> Intended {
    let user_name = format!("person.{number}@example.com");
    Intended {
        person: PersonId::new(format!("P{number:08}")).expect("short"),
        standing: match number % 50 {
            0 => Standing::Revoked { confirmed_at: Some(DateTime::UNIX_EPOCH) },
            _ => Standing::Active,
        },
        account_id: match by {
            By::Identifier => Some(format!("2819c223-7f76-453a-919d-{number:012}")),
            By::UserName => None,
        },
        external_id: match by {
            By::Identifier => Some(format!("P{number:08}")),
            By::UserName => None,
        },
        emails: vec![user_name.clone()],
        user_name: Some(user_name),
        attributes: attributes(number),
        entitlements: rights(number),
    }
}

fn account(number: u64) -> Account {
    let user_name = format!("Person.{number}@example.com");
    Account {
        id: format!("2819c223-7f76-453a-919d-{number:012}"),
        external_id: None,
        emails: vec![user_name.clone()],
        user_name: Some(user_name),
        active: !number.is_multiple_of(50) || number.is_multiple_of(5_000),
        attributes: attributes(if number % 1_000 == 1 { number + 1 } else { number }),
        entitlements: rights(number),
    }
}

/// Nanoseconds and bytes per pair of intent and account.
fn reconcile(count: u64, by: By) -> (f64, f64) {
    let before = resident();
    let started = Instant::now();
    let connector = ConnectorId::new("crm").expect("short");
    let intents = (0..count).map(|number| intended(number, by));
    let mut reconciliation =
        Reconciliation::new(connector.clone(), Settings::default(), intents).expect("within limits");
    let mut listing = Listing::new(connector);
    // One in a thousand has another identifier: missing there, nobody's here.
    for number in 0..count {
        let account = account(if number % 1_000 == 2 { number + 10 * count } else { number });
        reconciliation.account(listing.receive(account).expect("within limits"));
    }
    let peak = resident().saturating_sub(before);
    let report = reconciliation.finish(listing.end(None), Utc::now());
    let taken = started.elapsed();
    let each = |whole: f64| whole / count as f64;
    println!(
        "  {count:>9} intents and accounts: {:>6.2} s, {:>5} MB; {} linked, {} drifted, {} unlinked, {} missing, {} orphans, {} false completions",
        taken.as_secs_f64(),
        peak / 1_000_000,
        report.counts.linked,
        report.counts.drifted,
        report.counts.unlinked,
        report.counts.missing,
        report.counts.orphans,
        report.counts.false_completions,
    );
    black_box(report);
    (each(taken.as_nanos() as f64), each(peak as f64))
}

/// Bytes of memory that the process has, as the kernel says.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is there");
    let kilobytes: u64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes * 1024
}

/// A thousand risks over 2,000 functions of five rights each, on ten connectors.
fn rules() -> SodRules {
    let mut text = "version = 1\n".to_owned();
    for number in 0..2 * RISKS {
        let names: Vec<String> = (0..5).map(|n| format!("role-{}", (number * 5 + n) % 5_000)).collect();
        let key = if number % 10 == 3 { "all" } else { "any" };
        writeln!(text, "[[function]]\nid = \"f{number}\"\n{key} = {{ c{} = {names:?} }}", number % 10)
            .expect("a String takes everything");
    }
    for number in 0..RISKS {
        let (one, other) = (number, (number * 7 + 1) % (2 * RISKS));
        let functions = if one == other { [one, one + 1] } else { [one, other] };
        writeln!(
            text,
            "[[risk]]\nid = \"R{number}\"\nlevel = \"high\"\nfunctions = [\"f{}\", \"f{}\"]\nremedy = \"ask\"",
            functions[0], functions[1]
        )
        .expect("a String takes everything");
    }
    SodRules::parse(&text).expect("the rules are sound")
}

fn holdings(person: u64) -> Vec<Holding> {
    (0..20)
        .map(|n| {
            let role = (person * 13 + n * n * 37) % 5_000;
            Holding {
                right: Right {
                    connector: ConnectorId::new(format!("c{}", (role / 5) % 10)).expect("short"),
                    entitlement: EntitlementId::new(format!("role-{role}")).expect("short"),
                },
                state: HoldingState::Current,
                since: DateTime::UNIX_EPOCH,
            }
        })
        .collect()
}

fn sod() {
    let rules = rules();
    let now = Utc::now();
    let people: Vec<(PersonId, Vec<Holding>)> = (0..PERSONS)
        .map(|person| (PersonId::new(format!("P{person}")).expect("short"), holdings(person)))
        .collect();
    let started = Instant::now();
    let violations: usize =
        people.iter().map(|(person, holdings)| rules.check(person, holdings, now).len()).sum();
    let all = started.elapsed();
    println!(
        "  {PERSONS} persons, {RISKS} risks: {violations} violations in {:.2} s, {:.1} µs a person",
        all.as_secs_f64(),
        all.as_secs_f64() * 1e6 / PERSONS as f64
    );
    let started = Instant::now();
    let mut refused = 0;
    for (person, holdings) in &people {
        let Some((wanted, held)) = holdings.split_last() else { continue };
        refused += usize::from(!rules.would(person, held, &wanted.right, now).violations().is_empty());
    }
    let all = started.elapsed();
    println!(
        "  one grant each: {refused} not allowed, {:.1} µs a grant",
        all.as_secs_f64() * 1e6 / PERSONS as f64
    );
}

/// In a process of its own: memory that one run has freed is not what the next one needs.
fn apart(count: u64, by: &str) -> (f64, f64) {
    let program = std::env::current_exe().expect("it runs");
    let output =
        Command::new(program).args(["--reconcile", by, &count.to_string()]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = String::from_utf8(output.stdout).expect("text");
    let (shown, figures) = output.trim_end().rsplit_once('\n').expect("two lines");
    println!("{shown}");
    let (time, bytes) = figures.split_once(' ').expect("two figures");
    (time.parse().expect("a number"), bytes.parse().expect("a number"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, by, count] = arguments.as_slice()
        && flag == "--reconcile"
    {
        let by = if by == "identifier" { By::Identifier } else { By::UserName };
        let (time, bytes) = reconcile(count.parse().expect("a number"), by);
        println!("{time} {bytes}");
        return;
    }
    // What `cargo test --benches` passes asks for proof that it runs, not for figures.
    let size = if arguments.iter().any(|argument| argument == "--test") { 10_000 } else { 1_000_000 };
    for by in ["identifier", "user name"] {
        println!("reconcile by {by}");
        let (tenth, _) = apart(size / 10, by);
        let (whole, bytes) = apart(size, by);
        println!(
            "  {whole:.0} ns and {bytes:.0} bytes each; {:.2} times the time each of a tenth",
            whole / tenth
        );
    }
    println!("sod");
    sod();
}
