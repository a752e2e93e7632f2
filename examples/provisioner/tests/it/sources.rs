//! Where it becomes known who works here: a file, and standard input.

use crate::stage::Stage;

const HEADER: &str = "id,user_name,display_name,email,groups,end_date\n";

fn people(count: usize) -> String {
    let rows = (1..=count).map(|n| format!("emp-{n},user{n},User {n},user{n}@x.example,staff;wiki,\n"));
    HEADER.to_owned() + &rows.collect::<String>()
}

/// As a careful HR system does: the new file in place of the old one, in one step.
fn put(stage: &Stage, text: &str) {
    let fresh = stage.path().join("people.new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, stage.path().join("people.csv")).unwrap();
}

fn state_of(service: &crate::stage::Service, person: &str) -> String {
    let said = service.ask(&["report", person]);
    assert_eq!(said.status, 0, "{said:?}");
    said.json()[0]["state"].as_str().unwrap().to_owned()
}

const CSV: &str = "[guard]\nalways_allowed = 1000\nleavers_max = 1000\n[source.csv]\npath = \"people.csv\"\n";

#[test]
fn a_file_that_was_cut_short_offboards_nobody_until_somebody_says_so() {
    let stage = Stage::new();
    put(&stage, &people(20));
    let service = stage.serve(CSV);
    service.heard("csv: 20 persons; 20 joined, 0 moved, 0 left");
    service.drained();

    // Half a line: no snapshot at all.
    put(&stage, people(20).strip_suffix(",\n").unwrap());
    service.heard("the feed may be cut short");
    // Whole lines are missing, which could be true.
    put(&stage, &people(3));
    service.heard("17 of 20 would leave at once");
    let status = service.status();
    assert_eq!(status["leavers_open"], 0, "{status}");
    assert_eq!(status["sources"][0]["waits_for_approval"], true, "{status}");
    assert!(service.ask(&["status"]).out.contains("provisioner approve --source csv"));
    assert_eq!(service.ask_as("reader", &["approve", "--source", "csv"]).status, 4);

    assert_eq!(service.ask(&["approve", "--source", "csv"]).status, 0);
    service.heard("csv: 17 left, as approved");
    service.drained();
    assert_eq!(state_of(&service, "emp-20"), "complete");
    assert_ne!(state_of(&service, "emp-1"), "complete");
    assert_eq!(service.status()["sources"].as_array().unwrap().len(), 0);
    assert_eq!(service.end(), 0);

    // What was read is known after a restart.
    put(&stage, &people(2));
    let service = stage.serve(CSV);
    service.heard("csv: 2 persons; 0 joined, 0 moved, 1 left");
    assert_eq!(service.end(), 0);
}

#[test]
fn a_contract_ends_on_its_day_and_a_moved_one_does_not() {
    let stage = Stage::new();
    let today = chrono::Utc::now().date_naive();
    let yesterday = today - chrono::Days::new(1);
    let row = |n: u32, groups: &str, end: &str| {
        format!("emp-{n},user{n},User {n},user{n}@x.example,{groups},{end}\n")
    };
    put(&stage, &format!("{HEADER}{}{}", row(1, "staff", ""), row(2, "staff", &today.to_string())));
    let service = stage.serve(CSV);
    service.heard("csv: 2 persons; 2 joined");
    service.drained();
    let ended = format!("{HEADER}{}{}", row(1, "wiki", ""), row(2, "staff", &yesterday.to_string()));
    put(&stage, &ended);
    service.heard("csv: 2 persons; 0 joined, 1 moved, 0 left");
    let said = service.ask(&["offboard", "emp-1", "--wait", "60"]);
    assert_eq!(said.status, 0, "{said:?}");
    // The end is looked at every second; an offboarding in between takes longer.
    service.heard("access of emp-2 ended");
    service.drained();
    assert_eq!(state_of(&service, "emp-2"), "complete");
    assert_eq!(service.end(), 0);
}

#[test]
fn lines_on_standard_input_are_taken_and_its_end_ends_nothing() {
    let stage = Stage::new();
    let mut service = stage.serve("[source.stdin]\n");
    let lines = "{\"type\":\"joiner\",\"person\":{\"id\":\"emp-1\",\"user_name\":\"ann\"}}\nnonsense\n";
    service.running.write(lines.as_bytes()).unwrap();
    service.heard("standard input, line 2, column");
    service.running.write(b"{\"type\":\"leaver\",\"person\":{\"id\":\"emp-1\"}}\n").unwrap();
    service.running.close_stdin();
    service.heard("standard input has ended");
    service.drained();
    assert_eq!(state_of(&service, "emp-1"), "complete");
    assert_eq!(service.end(), 0);
}
