//! Clients and judges that others wrote.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Environment, Running, Toolbox};

use crate::stage::{Api, Settings, Started, WITHIN, event, id};

/// Prints `open`, and then the id of each event.
const EVENTSOURCE: &str = r#"
import { EventSource } from "eventsource";
const [url, key] = process.argv.slice(1);
const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${key}` } }),
});
source.addEventListener("control", () => console.log("open"), { once: true });
source.addEventListener("data", (message) => console.log(JSON.parse(message.data).event_id));
"#;

/// The same, and comes again as the specification of server-sent events has it.
const SSECLIENT: &str = r#"
import json, sys, time
import requests, sseclient
url, key = sys.argv[1:]
last, is_open = None, False
while True:
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {key}"}
    if last:
        headers["Last-Event-ID"] = last
    try:
        answer = requests.get(url, headers=headers, stream=True)
        answer.raise_for_status()
        for event in sseclient.SSEClient(answer).events():
            if event.event == "data":
                print(json.loads(event.data)["event_id"], flush=True)
            elif not is_open:
                is_open = True
                print("open", flush=True)
            last = event.id or last
    except requests.exceptions.RequestException:
        time.sleep(0.1)
"#;

/// A client sees each event once and in order, though the service is killed and started again meanwhile.
fn reads_through_a_restart(client: impl FnOnce(&Toolbox) -> Command) {
    let settings = Settings::new("");
    let service = Started::serve(&settings.config);
    let api = settings.api();
    api.post(&event("before").to_string());
    let mut command = client(&Toolbox::find().unwrap());
    command.arg(format!("http://{}/v1/stream", api.address)).arg(&settings.key);
    let running = Running::spawn(command).unwrap();
    assert!(running.wait_for_stdout("open\n", WITHIN), "{}", String::from_utf8_lossy(&running.stderr()));
    let send = |api: &Api, count: usize| {
        let batch: Vec<_> = (0..count).map(|number| event(&format!("p{number}")).to_string()).collect();
        assert_eq!(api.post(&batch.join("\n")).0, 200);
    };
    send(&api, 250);
    let last = api.ids().pop().unwrap();
    assert!(running.wait_for_stdout(&last, WITHIN), "{}", String::from_utf8_lossy(&running.stderr()));
    service.process.kill().unwrap();
    let _service = Started::serve(&settings.config);
    send(&api, 250);
    let ids = api.ids();
    assert!(running.wait_for_stdout(ids.last().unwrap(), WITHIN), "it does not come again");
    let said = running.kill().unwrap().stdout_text();
    let seen: Vec<_> = said.lines().filter(|line| *line != "open").collect();
    assert_eq!(seen, ids[1..], "each once, in order, from when it came");
}

#[test]
#[ignore = "needs eventsource of npm: cargo xtask test"]
fn eventsource_reads_through_a_restart() {
    reads_through_a_restart(|toolbox| toolbox.node_of(Environment::EventsNode, EVENTSOURCE).unwrap());
}

#[test]
#[ignore = "needs sseclient-py: cargo xtask test"]
fn sseclient_py_reads_through_a_restart() {
    reads_through_a_restart(|toolbox| {
        let mut command = toolbox.python_of(Environment::EventsPython).unwrap();
        command.args(["-c", SSECLIENT]);
        command
    });
}

/// Says of each value whether it is valid.
const AJV: &str = r#"
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";
let text = "";
for await (const chunk of process.stdin) text += chunk;
const { schema, values } = JSON.parse(text);
const validate = formats(new Ajv({ strict: true, strictRequired: false, strictTypes: false, allErrors: true })).compile(schema);
console.log(JSON.stringify(values.map((value) => validate(value))));
"#;

#[test]
#[ignore = "needs ajv of npm: cargo xtask test"]
fn ajv_takes_the_schema_and_agrees_on_what_is_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Started::demo(&dir.path().join("demo"), &[]);
    let (mut values, _) = demo.api().read_on("-1".to_owned());
    let good = values.len();
    assert!(good > 5_000);
    let mut spoilt = |name: &str, value: Value| {
        let mut event = event("alice");
        event[name] = value;
        let (status, report) = demo.api().post(&event.to_string());
        assert_eq!(status, 422, "{name} is refused by the service: {report}");
        values.push(event);
    };
    spoilt("surprise", 1.into());
    spoilt("timestamp", "2026-01-31T09:15:27Z".into());
    spoilt("actor_id", "".into());
    spoilt("outcome", "success".into());
    spoilt("mfa_method", "sms".into());
    spoilt("source_ip", "203.0.113.256".into());
    spoilt("geo_location", json!({"country": "de"}));
    spoilt("lock_until", "2026-01-31T09:15:27.042Z".into());
    spoilt("event_id", "1".into());
    let schema: Value = serde_json::from_str(mfa_events::schema::EVENT).unwrap();
    let mut judge =
        Running::spawn(Toolbox::find().unwrap().node_of(Environment::EventsNode, AJV).unwrap()).unwrap();
    judge.write(json!({"schema": schema, "values": values}).to_string().as_bytes()).unwrap();
    judge.close_stdin();
    let output = judge.wait(WITHIN).unwrap();
    assert!(output.status.success(), "{}", output.stderr_text());
    let verdicts: Vec<bool> = serde_json::from_str(&output.stdout_text()).unwrap();
    let wrong: Vec<_> =
        verdicts.iter().enumerate().filter(|(at, valid)| **valid != (*at < good)).map(|(at, _)| at).collect();
    assert!(wrong.is_empty() && verdicts.len() == values.len(), "{wrong:?}");
}

/// What waits or does not end is looked at elsewhere.
const HOOKS: &str = r#"
import schemathesis

@schemathesis.hook
def filter_query(context, query):
    return not query or query.get("live") in (None, "false")
"#;

#[test]
#[ignore = "needs schemathesis: cargo xtask test"]
fn schemathesis_finds_nothing_that_is_not_as_it_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Started::demo(&dir.path().join("demo"), &["--quiet"]);
    // What there is to find.
    assert_eq!(demo.api().post(&event("alice").to_string()).0, 200);
    std::fs::write(dir.path().join("hooks.py"), HOOKS).unwrap();
    let mut command = Toolbox::find().unwrap().python_of(Environment::EventsPython).unwrap();
    command
        .args(["-m", "schemathesis.cli", "run", "--no-color", "--seed=1", "--max-examples=30", "--workers=1"])
        // A cursor of the right form is forged nevertheless, and the 31st of February is no day: these are refused, and not by a schema.
        .arg("--exclude-checks=positive_data_acceptance")
        // No tokens are made: 501 says so.
        .arg("--exclude-operation-id=pollTokens")
        .args(["--generation-database=none", "--suppress-health-check=all", "--request-timeout=30"])
        .args(["--header", &format!("Authorization: Bearer {}", demo.text("api_key"))])
        .arg(format!("{}/openapi.json", demo.text("api")))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", dir.path())
        .env("HOME", dir.path())
        .current_dir(dir.path());
    let output = Running::spawn(command).unwrap().wait(Duration::from_secs(600)).unwrap();
    let said = output.stdout_text();
    assert_eq!(output.code(), Some(0), "{said}\n{}", output.stderr_text());
    assert!(said.contains("8 selected / 9 total"), "{said}");
    // It went on serving.
    assert!(demo.api().ids().contains(&id(&demo.api().read_on("-1".to_owned()).0[0])));
}
