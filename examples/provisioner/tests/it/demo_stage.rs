//! A running `demo --json`, as an outsider meets it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::Running;
use testbed::http::{Answer, Request};

/// How long anything that has to happen may take.
const WITHIN: Duration = Duration::from_secs(90);

pub struct Demo {
    process: Running,
    pub line: Value,
}

impl Demo {
    pub fn start(data_dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provisioner"));
        command.args(["demo", "--json", "--data-dir"]).arg(data_dir);
        let process = Running::spawn(command).unwrap();
        let came = process.wait_for_stdout("\n", WITHIN);
        assert!(came, "no line: {}", String::from_utf8_lossy(&process.stderr()));
        let line = serde_json::from_slice(&process.stdout()).unwrap();
        Self { process, line }
    }

    /// SIGKILL; what it printed on standard output after its line, and on standard error.
    pub fn kill(self) -> (String, String) {
        let output = self.process.kill().unwrap();
        let out = output.stdout_text();
        (out.split_once('\n').unwrap().1.to_owned(), output.stderr_text())
    }

    pub fn text(&self, name: &str) -> &str {
        self.line[name].as_str().unwrap()
    }

    fn application(&self, name: &str) -> &Value {
        self.line["applications"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
    }

    /// Sends events, one on each line, and wants them taken.
    pub fn send(&self, events: &[Value]) -> Value {
        let (status, said) = self.try_send(events);
        assert_eq!(status, 202, "{said}");
        said
    }

    pub fn try_send(&self, events: &[Value]) -> (u16, Value) {
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        self.ask("POST", self.text("events_url"), self.text("token"), &lines.join("\n"))
    }

    pub fn get(&self, url: &str) -> Value {
        let (status, said) = self.ask("GET", url, self.text("token"), "");
        assert_eq!(status, 200, "{url}: {said}");
        said
    }

    pub fn ask(&self, method: &str, url: &str, token: &str, body: &str) -> (u16, Value) {
        let answer = ask(method, url, token, body);
        let said = serde_json::from_slice(&answer.body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&answer.body).into_owned()));
        (answer.status, said)
    }

    pub fn fault(&self, application: &str, mode: &str) {
        let url = self.application(application)["fault_url"].as_str().unwrap();
        let (status, said) = self.ask("PUT", url, "", &json!({"mode": mode}).to_string());
        assert_eq!((status, said["mode"].as_str()), (200, Some(mode)), "{said}");
    }

    pub fn alerts(&self) -> Vec<Value> {
        self.get(self.text("alerts_url")).as_array().unwrap().clone()
    }

    pub fn open_alerts(&self) -> Vec<Value> {
        self.alerts().into_iter().filter(|alert| alert["state"] == "open").collect()
    }

    pub fn offboarding(&self, person: &str) -> Value {
        self.get(&format!("{}/{person}", self.text("offboardings_url")))
    }

    /// The accounts of that name, straight from the application.
    pub fn accounts(&self, application: &str, user_name: &str) -> Vec<Value> {
        let application = self.application(application);
        let base = application["base_url"].as_str().unwrap();
        let url = format!("{base}/Users?filter=userName+eq+%22{user_name}%22");
        let (status, said) = self.ask("GET", &url, application["token"].as_str().unwrap(), "");
        assert_eq!(status, 200, "{said}");
        said["Resources"].as_array().unwrap().clone()
    }

    /// Whether somebody's only account there is active.
    pub fn is_active(&self, application: &str, user_name: &str) -> bool {
        let accounts = self.accounts(application, user_name);
        assert_eq!(accounts.len(), 1, "{accounts:?}");
        accounts[0]["active"].as_bool().unwrap()
    }

    /// Looks again until it is so.
    pub fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            let status = || self.get(&format!("{}/api/status", self.text("api")));
            assert!(Instant::now() < deadline, "{what} did not happen: {:#}", status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Until nothing waits that gives access.
    pub fn until_joined(&self) {
        self.until("joining", |demo| {
            let status = demo.get(&format!("{}/api/status", demo.text("api")));
            let connectors = status["connectors"].as_array().unwrap();
            connectors.iter().all(|connector| connector["provisioning_queued"] == 0).then_some(())
        });
    }

    pub fn until_complete(&self, person: &str) -> Value {
        self.until("the end of an offboarding", |demo| {
            let record = demo.offboarding(person);
            (record["state"] == "complete").then_some(record)
        })
    }
}

pub fn ask(method: &str, url: &str, token: &str, body: &str) -> Answer {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let mut request =
        Request::new(method, format!("/{path}")).header("authorization", format!("Bearer {token}"));
    request.body = body.as_bytes().to_vec();
    request.send(authority.parse().unwrap()).unwrap()
}

pub fn person(id: &str, groups: &[&str]) -> Value {
    let name = format!("{id}@example.com");
    json!({"id": id, "user_name": name, "display_name": format!("Person {id}"), "email": name, "groups": groups})
}

pub fn event(kind: &str, at: &str, person: Value) -> Value {
    json!({"type": kind, "at": at, "person": person})
}

/// The system of that name in an offboarding record.
pub fn system<'a>(record: &'a Value, name: &str) -> &'a Value {
    record["systems"].as_array().unwrap().iter().find(|system| system["connector"] == name).unwrap()
}
