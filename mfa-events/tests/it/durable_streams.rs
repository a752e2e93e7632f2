//! The conformance suite of the Durable Streams protocol, against our read path behind a mount that writes.
//!
//! What fails is in `departures.txt`, each with its reason. The test fails where one of those begins to pass, and where another one fails.

mod mount;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use testbed::{Environment, Toolbox};

/// Lines of tests, each group under a line that begins with `#` and says why.
const DEPARTURES: &str = include_str!("durable_streams/departures.txt");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs @durable-streams/server-conformance-tests: cargo xtask test"]
#[allow(clippy::print_stderr, reason = "what a suite of others says is for people to read")]
async fn the_read_path_is_that_of_the_protocol_save_for_what_is_listed() {
    let url = mount::serve().await;
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let suite = Toolbox::find().unwrap().environment(Environment::EventsNode).join("node_modules");
    // The suite's own runner lies where vitest looks for no tests.
    let runner = suite.join("@durable-streams/server-conformance-tests/dist/index.js");
    let runner = format!(
        "import {{ runConformanceTests }} from {};\nrunConformanceTests({{ baseUrl: {} }});\n",
        json!(runner),
        json!(url),
    );
    std::fs::write(directory.path().join("suite.test.js"), runner).unwrap();
    let status = tokio::process::Command::new(suite.join(".bin/vitest"))
        .args(["run", "--no-coverage", "--reporter=json", "--testTimeout=30000", "--root"])
        .arg(directory.path())
        .arg("--outputFile")
        .arg(&report)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("vitest runs");
    let report = std::fs::read(&report).unwrap_or_else(|error| panic!("{status}: {error}"));
    let report: Value = serde_json::from_slice(&report).unwrap();
    let tests = report["testResults"][0]["assertionResults"].as_array().expect("a report of tests");

    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut failed = BTreeSet::new();
    for test in tests {
        let name = test["fullName"].as_str().unwrap();
        let group = test["ancestorTitles"].as_array().unwrap().iter().filter_map(Value::as_str).nth(1);
        let counts = groups.entry(group.unwrap_or_default()).or_default();
        match test["status"].as_str() {
            Some("passed") => counts.0 += 1,
            Some("failed") => {
                counts.1 += 1;
                failed.insert(name);
                let message = test["failureMessages"][0].as_str().unwrap_or_default();
                eprintln!("failed: {name}\n    {}", message.lines().next().unwrap_or_default());
            }
            // Of what a server need not have, unless it says that it has it.
            Some("skipped") => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    for (group, (passed, failed)) in &groups {
        eprintln!("{group:<40} {passed:>4} passed {failed:>4} failed");
    }
    assert!(tests.len() > 300, "only {} tests", tests.len());
    let listed: BTreeSet<_> =
        DEPARTURES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let new: Vec<_> = failed.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&failed).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "fail and are not listed: {new:#?}\nlisted and pass: {gone:#?}"
    );
}
