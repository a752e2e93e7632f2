//! Rules and events of files: what needs no service.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::stage::{Started, binary};

fn run(arguments: &[&str]) -> Output {
    binary().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// So many people fail from one address, one each second.
fn failures(people: usize) -> String {
    let one = |number: usize| {
        json!({
            "event_type": "login.failure", "timestamp": format!("2026-01-31T09:{:02}:{:02}.000Z", number / 60, number % 60),
            "actor_id": format!("person-{number}"), "outcome": "failure", "source_ip": "203.0.113.7",
        })
        .to_string()
    };
    (0..people).map(one).collect::<Vec<_>>().join("\n")
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_backtest_of_the_demo_s_day_finds_the_alerts_that_the_service_gave() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("demo");
    let demo = Started::demo(&data_dir, &[]);
    let alerts = demo.api().json("/v1/alerts");
    let key =
        |alert: &Value| (alert["id"].to_string(), alert["rule"].to_string(), alert["actors"].to_string());
    let mut live: Vec<_> = alerts["alerts"].as_array().unwrap().iter().map(key).collect();
    let day = data_dir.join("day.jsonl");
    let day = day.to_str().unwrap();
    let found = run(&["backtest", day, "--json"]);
    assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
    let found = lines(&found);
    let mut replayed: Vec<_> =
        found.iter().filter(|line| line["result"] == "alert").map(|line| key(&line["alert"])).collect();
    live.sort();
    replayed.sort();
    assert_eq!(live, replayed);
    assert!(live.len() >= 3);
    let summary = found.last().unwrap();
    assert_eq!((&summary["result"], &summary["is_whole"]), (&json!("summary"), &json!(true)));
    assert_eq!(summary["alerts"].as_u64().unwrap() as usize, live.len());

    let shown = stdout(&run(&[
        "backtest",
        day,
        "--explain",
        "credential-stuffing:198.51.100.10",
        "--explain",
        "mfa-fatigue:person-0042",
    ]));
    for part in [
        "credential-stuffing  203.0.113.7",
        " +68 ",
        "credential-stuffing, 198.51.100.10:\n",
        "it was nearest to an alert",
        "missing",
        "mfa-fatigue, person-0042:\n",
        "approved in the end",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_backtest_says_when_who_how_many_and_how_soon_also_from_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "events.jsonl", &failures(12));
    let shown = stdout(&run(&["backtest", &path]));
    let row = shown.lines().nth(1).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    // The tenth of them, nine seconds after the first.
    assert_eq!(&words[..5], ["2026-01-31", "09:00:09", "high", "credential-stuffing", "203.0.113.7"]);
    assert_eq!(&words[words.len() - 4..], ["12", "12", "9", "s"], "{row}");
    assert!(shown.ends_with("1 alert in 12 events\n"), "{shown}");
    let mut piped = binary();
    piped.args(["backtest", "-"]).stdin(std::fs::File::open(&path).unwrap());
    assert_eq!(String::from_utf8(piped.output().unwrap().stdout).unwrap(), shown);
    let array = format!("[{}]", failures(12).replace('\n', ",\n"));
    assert_eq!(stdout(&run(&["backtest", &file(dir.path(), "events.json", &array)])), shown);
}

#[test]
fn why_a_rule_has_not_fired_is_said_with_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "events.jsonl", &failures(7));
    let asked = run(&["backtest", &path, "--json", "--explain", "credential-stuffing:203.0.113.7"]);
    let lines = lines(&asked);
    let measure = &lines[0]["nearest"]["measures"][0];
    assert_eq!(
        (&measure["what"], measure["now"].as_f64(), measure["needed"].as_f64()),
        (&json!("actors"), Some(7.0), Some(10.0))
    );
    assert_eq!((&lines[0]["events"], &lines[0]["selected"]), (&json!(7), &json!(7)));
    for (asked, why) in [
        ("nothing", "there is no rule `nothing`"),
        ("credential-stuffing", "counts by source: as in `credential-stuffing:203.0.113.7`"),
        ("credential-stuffing:alice", "an address"),
        ("lockout-cluster:alice", "all of a tenant together"),
    ] {
        let refused = run(&["backtest", &path, "--explain", asked]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains(why), "{}", stderr(&refused));
    }
}

#[test]
fn mistakes_are_told_with_their_place_the_rest_is_judged_and_the_exit_status_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = failures(12).replacen("\"outcome\":\"failure\"", "\"outcome\":\"success\"", 1);
    let path = file(dir.path(), "events.jsonl", &format!("{text}\nnonsense\n"));
    let found = run(&["backtest", &path]);
    assert_eq!(found.status.code(), Some(2));
    let said = stderr(&found);
    assert!(
        said.contains("events.jsonl: line 1, column ") && said.contains("events.jsonl: line 13, column 2"),
        "{said}"
    );
    let shown = stdout(&found);
    assert!(shown.contains("1 alert in 11 events") && shown.contains("2 places are no events"), "{shown}");
    let gone = run(&["backtest", &format!("{path}.gone")]);
    assert_eq!((gone.status.code(), gone.stdout.len()), (Some(1), 0));
    let broken = run(&["backtest", &file(dir.path(), "broken.json", "[{}, 7]")]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        stderr(&broken).contains("broken.json: line 1, column 6: an event is an object"),
        "{}",
        stderr(&broken)
    );
    assert!(stdout(&broken).contains("was not read to its end"));
}

#[test]
fn text_of_events_does_not_act_on_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = failures(12).replace("person-", "\u{202e}evil-");
    let shown = run(&["backtest", &file(dir.path(), "events.jsonl", &hostile)]);
    assert!(
        !stdout(&shown).contains('\u{202e}') && stdout(&shown).contains("\\u{202e}evil-0"),
        "{}",
        stdout(&shown)
    );
}

#[test]
fn rules_of_one_s_own_are_checked_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let published = stdout(&run(&["rules", "show"]));
    let own = file(dir.path(), "own.toml", &published.replacen("threshold = 10\n", "threshold = 5\n", 1));
    let good = run(&["rules", "check", &own]);
    assert_eq!(good.status.code(), Some(0));
    assert!(stdout(&good).ends_with("rules, good to use\n"), "{}", stdout(&good));
    let events = file(dir.path(), "events.jsonl", &failures(7));
    assert!(stdout(&run(&["backtest", &events])).contains("0 alerts in 7 events"));
    assert!(stdout(&run(&["backtest", &events, "--rules", &own])).contains("1 alert in 7 events"));
    let others = run(&["backtest", &events, "--rules", &own, "--rule", "mfa-fatigue"]);
    assert!(stdout(&others).contains("0 alerts in 7 events"));

    let wrong = file(
        dir.path(),
        "wrong.toml",
        &published.replacen("threshold = 10\n", "threshold = 0\nthreshhold = 1\n", 1),
    );
    for arguments in [["rules", "check", &wrong], ["backtest", &events, "--rules"]] {
        let mut command = binary();
        command.args(arguments);
        if arguments[0] == "backtest" {
            command.arg(&wrong);
        }
        let said = command.output().unwrap();
        assert_eq!(said.status.code(), Some(2));
        let all = format!("{}{}", stdout(&said), stderr(&said));
        assert!(all.contains("wrong.toml: line 16, column 1: unknown field `threshhold`"), "{all}");
    }
    let said: Value = serde_json::from_str(&stdout(&run(&["rules", "check", &wrong, "--json"]))).unwrap();
    assert_eq!((&said["ok"], &said["mistakes"][0]["line"]), (&json!(false), &json!(16)));
}

#[test]
fn the_list_has_every_rule_and_each_is_said_in_the_languages_that_can() {
    let listed = lines(&run(&["rules", "list", "--json"]));
    assert!(
        listed.len() >= 13 && listed.iter().all(|rule| rule["id"].is_string() && rule["window_ms"].is_u64())
    );
    let shown = stdout(&run(&["rules", "list"]));
    assert_eq!(shown.lines().count(), listed.len());
    for (language, form, part) in [
        ("spl", Some("sliding"), "streamstats time_window=600s"),
        ("spl", Some("bucketed"), "bin _time span=600s"),
        ("kql", Some("bucketed"), "bin("),
        ("kql", Some("sliding"), "MfaEvents_CL"),
        ("sigma", None, "type: value_count"),
    ] {
        let mut arguments = vec!["rules", "render", "--as", language, "--rule", "credential-stuffing"];
        arguments.extend(form.into_iter().flat_map(|form| ["--form", form]));
        let text = run(&arguments);
        assert_eq!(text.status.code(), Some(0), "{}", stderr(&text));
        assert!(stdout(&text).contains(part), "{language} {form:?}: {}", stdout(&text));
        assert!(language == "sigma" || stdout(&text).contains("Tumbling") == (form == Some("bucketed")));
    }
    let renamed = [
        "rules",
        "render",
        "--as",
        "kql",
        "--table",
        "Logins",
        "--field",
        "actor_id=User",
        "--rule",
        "mfa-fatigue",
    ];
    let renamed = stdout(&run(&renamed));
    assert!(renamed.contains("let seen = Logins\n") && renamed.contains("tostring(User)"), "{renamed}");

    // All of them: what the language cannot say is named.
    let all = run(&["rules", "render", "--as", "sigma"]);
    assert_eq!(all.status.code(), Some(0));
    assert!(stderr(&all).contains("Sigma cannot say `impossible-travel`"), "{}", stderr(&all));
    let one = run(&["rules", "render", "--as", "sigma", "--rule", "impossible-travel"]);
    assert_eq!((one.status.code(), one.stdout.len()), (Some(1), 0));
    let all = lines(&run(&["rules", "render", "--as", "sigma", "--json"]));
    assert_eq!(all.len(), listed.len());
    assert!(all.iter().all(|line| line["text"].is_string() != line["error"].is_string()));
    for wrong in [
        vec!["--as", "sigma", "--form", "sliding"],
        vec!["--as", "spl", "--index", "a b"],
        vec!["--as", "spl", "--rule", "x"],
    ] {
        assert_eq!(run(&[&["rules", "render"][..], &wrong].concat()).status.code(), Some(2));
    }
}
