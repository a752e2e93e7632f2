//! A running service, and whoever asks it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use audit_log::{FileKeys, FileStore, Reader};
use serde_json::{Value, json};
use testbed::Running;
use testbed::http::{Answer, Request};

/// How long anything that has to happen may take.
pub const WITHIN: Duration = Duration::from_secs(90);

pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_event-api"))
}

/// A started process and the line of JSON that it printed when it was ready.
pub struct Started {
    pub process: Running,
    pub line: Value,
}

impl Started {
    fn spawn(command: Command) -> Self {
        let process = Running::spawn(command).unwrap();
        let came = process.wait_for_stdout("\n", WITHIN);
        assert!(came, "no line: {}", String::from_utf8_lossy(&process.stderr()));
        let line = serde_json::from_slice(&process.stdout()).unwrap();
        Self { process, line }
    }

    pub fn demo(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut command = binary();
        command.args(["demo", "--json"]).args(arguments).arg("--data-dir").arg(data_dir);
        Self::spawn(command)
    }

    pub fn serve(config: &Path) -> Self {
        let mut command = binary();
        command.args(["serve", "--json", "--config"]).arg(config);
        Self::spawn(command)
    }

    pub fn text(&self, name: &str) -> &str {
        self.line[name].as_str().unwrap()
    }

    pub fn api(&self) -> Api {
        let address = self.text("api").split_once("://").unwrap().1.parse().unwrap();
        Api { address, key: self.line["api_key"].as_str().unwrap_or_default().to_owned() }
    }

    /// SIGTERM, and its end.
    pub fn end(self) -> testbed::Output {
        let pid = rustix::process::Pid::from_raw(self.process.pid().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait(WITHIN).unwrap()
    }
}

/// Somebody with a key.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    pub key: String,
}

impl Api {
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).header("authorization", format!("Bearer {}", self.key))
    }

    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target).send(self.address).unwrap()
    }

    pub fn json(&self, target: &str) -> Value {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub fn try_post(&self, body: &str) -> std::io::Result<Answer> {
        let mut request = self.request("POST", "/v1/events");
        request.body = body.as_bytes().to_vec();
        request.send(self.address)
    }

    pub fn post(&self, body: &str) -> (u16, Value) {
        let answer = self.try_post(body).unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// Events from a cursor to the end, and the cursor there.
    pub fn read_on(&self, mut offset: String) -> (Vec<Value>, String) {
        let mut events = Vec::new();
        loop {
            let page = self.get(&format!("/v1/stream?offset={offset}"));
            assert_eq!(page.status, 200, "{}", String::from_utf8_lossy(&page.body));
            offset = page.value("stream-next-offset").unwrap().to_owned();
            let lines = String::from_utf8(page.body.clone()).unwrap();
            events.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            if page.value("stream-up-to-date") == Some("true") {
                return (events, offset);
            }
        }
    }

    pub fn ids(&self) -> Vec<String> {
        self.read_on("-1".to_owned()).0.iter().map(id).collect()
    }

    /// The answer to a request that does not end, line by line.
    pub fn lines(&self, request: &Request) -> impl Iterator<Item = String> + use<> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        let mut head = format!("{} {} HTTP/1.1\r\nhost: x\r\n", request.method, request.target);
        request.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        BufReader::new(stream).lines().map(|line| line.unwrap())
    }
}

pub fn id(event: &Value) -> String {
    event["event_id"].as_str().unwrap().to_owned()
}

/// What holds now, to be changed.
pub fn event(actor: &str) -> Value {
    json!({
        "event_type": "mfa.failure", "timestamp": now(), "actor_id": actor, "outcome": "failure",
        "mfa_method": "push", "failure_reason": "push_denied", "source_ip": "203.0.113.9",
        "geo_location": {"country": "DE"},
    })
}

pub fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Looks again until it is so.
pub fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ids of the events in the audit log of a service that has ended, in order.
pub fn audited(data_dir: &Path) -> Vec<String> {
    let store = FileStore::open(data_dir.join("audit")).unwrap();
    let reader = Reader::open(store, FileKeys::open(data_dir.join("keys")).unwrap());
    let entries = reader.read(..).unwrap().map(|entry| entry.unwrap());
    // What is of the service itself has no place in a stream.
    let events = entries.filter(|entry| entry.fields.contains_key("offset"));
    events.map(|entry| entry.fields["event_id"].as_str().unwrap().to_owned()).collect()
}

pub fn assert_each_once(ids: &[String]) {
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "some are there twice");
}

/// A settings file with one key that may do everything for `acme`.
pub struct Settings {
    pub dir: tempfile::TempDir,
    pub config: PathBuf,
    pub key: String,
    pub port: u16,
}

impl Settings {
    pub fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = binary().args(["keys", "all", "--tenant", "acme", "--json"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let port = testbed::free_port().unwrap();
        let text = format!(
            "data_dir = \"data\"\nlisten = \"127.0.0.1:{port}\"\n[[key]]\nname = \"all\"\ntenant = \"acme\"\nmay = {}\nsha256 = {}\n{more}",
            made["may"], made["sha256"],
        );
        let config = dir.path().join("event-api.toml");
        std::fs::write(&config, text).unwrap();
        Self { config, key: made["key"].as_str().unwrap().to_owned(), port, dir }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn api(&self) -> Api {
        Api { address: ([127, 0, 0, 1], self.port).into(), key: self.key.clone() }
    }
}
