//! Any bytes as an HR feed. What is no snapshot has mistakes that lie within it and act on no terminal; what is one differs
//! in nothing from itself, and whoever it names and the other does not is a fact.
#![no_main]

use connector_health::lifecycle::{Columns, FeedGuard, Snapshot, Status, diff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let columns = Columns {
        status: Some(Status {
            column: "status".to_owned(),
            works_here: vec!["active".to_owned()],
            left: vec!["left".to_owned()],
        }),
        last_day: Some("until".to_owned()),
        ..Columns::of_person("id")
    };
    let guard = FeedGuard { leavers_min: 1, leavers_percent: 50 };
    for columns in [columns, Columns { ends_with_line_break: false, ..Columns::of_person("id") }] {
        match Snapshot::from_csv(input, &columns) {
            Ok(snapshot) => {
                let same = diff(&snapshot, snapshot.clone(), guard);
                assert!(same.facts.is_empty() && same.held.is_none() && same.next == snapshot);
                let here = snapshot.entries().filter(|entry| entry.works_here).count();
                let gone = diff(&snapshot, Snapshot::default(), guard);
                assert_eq!(gone.facts.len() + gone.held.map_or(0, |held| held.len()), here);
                assert!(diff(&Snapshot::default(), snapshot, guard).facts.len() >= here);
            }
            Err(error) => {
                let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
                assert!(!error.mistakes().is_empty());
                for mistake in error.mistakes() {
                    assert!(mistake.line >= 1 && mistake.line <= lines && mistake.column >= 1);
                    assert!(mistake.message.chars().all(|c| !c.is_control()));
                }
            }
        }
    }
});
