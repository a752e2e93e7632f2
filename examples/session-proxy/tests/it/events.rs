//! Logins told to a real `event-api`, by people with OpenSSH's own client.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::http::Request;
use testbed::{Running, Ssh, Sshd, SshdOptions};

use super::logins::enroll;
use super::serve::{port, serve, ssh, stop, write_files};
use super::stage::{BINARY, entries, of_type, wait_for};

/// Built beside the proxy, where the whole workspace is tested.
fn event_api() -> Command {
    let path = Path::new(BINARY).with_file_name("event-api");
    assert!(path.exists(), "`{}` is not there: cargo build -p event-api", path.display());
    Command::new(path)
}

/// A service with rules that take few wrong codes for an attack, and its key in a file for the proxy.
struct Service {
    config: PathBuf,
    port: u16,
    key: String,
}

const RULES: &str = "version = 1\n[[rule]]\nid = \"codes\"\nname = \"Codes guessed\"\nseverity = \"high\"\nkind = \"count\"\n\
                     threshold = 3\nwindow = \"10m\"\ngroup_by = \"actor\"\n\
                     select = { event_type = \"mfa.failure\", failure_reason = \"wrong_code\" }\n";

impl Service {
    fn new(dir: &Path) -> Self {
        let made = event_api().args(["keys", "all", "--tenant", "acme", "--json"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let (port, key) = (testbed::free_port().unwrap(), made["key"].as_str().unwrap().to_owned());
        std::fs::write(dir.join("rules.toml"), RULES).unwrap();
        std::fs::write(dir.join("events.key"), format!("{key}\n")).unwrap();
        std::fs::set_permissions(dir.join("events.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = dir.join("event-api.toml");
        let text = format!(
            "data_dir = \"event-data\"\nlisten = \"127.0.0.1:{port}\"\nrules = \"rules.toml\"\n[[key]]\nname = \"all\"\n\
             tenant = \"acme\"\nmay = {}\nsha256 = {}\nlimits = {{ requests_per_s = 1000000 }}\n",
            made["may"], made["sha256"]
        );
        std::fs::write(&config, text).unwrap();
        Self { config, port, key }
    }

    /// What stands in the proxy's settings for it.
    fn table(&self) -> String {
        format!("[events]\nurl = \"http://127.0.0.1:{}/v1/events\"\nkey_file = \"events.key\"\n", self.port)
    }

    fn start(&self) -> Running {
        let mut command = event_api();
        command.args(["serve", "--json", "--config"]).arg(&self.config);
        let running = Running::spawn(command).unwrap();
        let serves = running.wait_for_stdout("\n", Duration::from_secs(60));
        assert!(serves, "{}", String::from_utf8_lossy(&running.stderr()));
        running
    }

    fn ask(&self, target: &str) -> Vec<u8> {
        let request = Request::new("GET", target).header("authorization", format!("Bearer {}", self.key));
        let answer = request.send(([127, 0, 0, 1], self.port).into()).unwrap();
        assert_eq!(answer.status, 200);
        answer.body
    }

    fn events(&self) -> Vec<Value> {
        let text = String::from_utf8(self.ask("/v1/stream?offset=-1")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn wait(&self, event_type: &str, count: usize) -> Vec<Value> {
        wait_for(event_type, || of_type(&self.events(), event_type).len() >= count);
        of_type(&self.events(), event_type)
    }
}

fn needs_code(dir: &Path) {
    let users = dir.join("users.toml");
    let text = std::fs::read_to_string(&users).unwrap();
    std::fs::write(&users, format!("{text}second_factor = \"totp\"\n")).unwrap();
}

fn is_in(ssh: &Ssh) -> bool {
    ssh.run("echo in").unwrap().stdout_text() == "in\n"
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_guessed_second_factor_is_an_alert_while_it_is_guessed_and_the_lock_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let service = Service::new(dir.path());
    write_files(dir.path(), &sshd, &format!("[limits]\ncode_failures_max = 4\n{}", service.table()));
    needs_code(dir.path());
    let check =
        Command::new(BINARY).args(["check", "--config"]).arg(dir.path().join("proxy.toml")).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let running = service.start();
    let proxy = serve(dir.path());
    let enrolled = enroll(dir.path(), "alice", &[]);
    assert!(enrolled.status.success());
    let guess = ssh(port(&proxy)).code("000000");
    while of_type(&service.events(), "account.locked").is_empty() {
        assert!(!is_in(&guess));
    }
    let failures = service.wait("mfa.failure", 4);
    assert_eq!(failures.len(), 4);
    for failure in &failures {
        let said =
            (&failure["actor_id"], &failure["mfa_method"], &failure["failure_reason"], &failure["source_ip"]);
        assert_eq!(said, (&json!("alice"), &json!("TOTP"), &json!("wrong_code"), &json!("127.0.0.1")));
    }
    let locked = service.wait("account.locked", 1);
    assert_eq!(
        (&locked[0]["actor_id"], &locked[0]["lock_reason"]),
        (&json!("alice"), &json!("too_many_codes"))
    );
    assert!(locked[0]["lock_until"].is_string());

    let mut alert = Value::Null;
    wait_for("the alert", || {
        let alerts: Value = serde_json::from_slice(&service.ask("/v1/alerts")).unwrap();
        alert = alerts["alerts"][0].clone();
        alert["rule"] == "codes"
    });
    assert_eq!(alert["actor_ids"], json!(["alice"]));
    assert_eq!(stop(proxy).code(), Some(0));

    // Under the ids of the proxy's own log.
    let own: Vec<Value> = entries(&dir.path().join("data"));
    let failed: Vec<_> =
        of_type(&own, "login.failed").iter().map(|entry| entry["event_id"].clone()).collect();
    let sent: Vec<_> = service.events().iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(failed, sent);
    stop(running);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn nobody_waits_for_a_service_that_is_away_and_it_gets_everything_when_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let service = Service::new(dir.path());
    write_files(dir.path(), &sshd, &service.table());
    let proxy = serve(dir.path());
    let client = ssh(port(&proxy));
    assert!(is_in(&client));
    assert!(!is_in(&client.clone().password("wrong")));
    assert!(!is_in(&client.clone().user("hunter2").password("wrong")));
    wait_for("it says so", || {
        String::from_utf8_lossy(&proxy.stderr()).contains("events cannot be sent, and wait in the log")
    });
    // Killed with all of it unsent.
    proxy.kill().unwrap();
    let running = service.start();
    let proxy = serve(dir.path());
    assert!(is_in(&ssh(port(&proxy))));
    let successes = service.wait("login.success", 2);
    assert_eq!(stop(proxy).code(), Some(0));
    assert!(successes.len() == 2 && successes.iter().all(|event| event["actor_id"] == "alice"));
    // A client that is refused may try the same password by another method.
    let failures = of_type(&service.events(), "login.failure");
    let mut names: Vec<_> = failures.iter().map(|event| event["actor_id"].as_str().unwrap()).collect();
    names.dedup();
    assert!(names.len() == 2 && names[0] == "alice" && names[1].starts_with("unknown-"), "{names:?}");
    assert!(!service.events().iter().any(|event| event.to_string().contains("hunter2")));
    let own: Vec<Value> = entries(&dir.path().join("data"));
    let logins = own.iter().filter(|entry| entry["event_type"].as_str().unwrap().starts_with("login."));
    let ids: Vec<_> = logins.map(|entry| entry["event_id"].clone()).collect();
    assert_eq!(ids, service.events().iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>());
    let key = &service.key;
    assert!(!own.iter().any(|entry| entry.to_string().contains(key)));
    stop(running);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn mistakes_in_where_events_go_are_told_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let key = dir.path().join("events.key");
    std::fs::write(&key, "ev_secret\n").unwrap();
    let said = |url: &str, mode: u32| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        write_files(dir.path(), &sshd, &format!("[events]\nurl = \"{url}\"\nkey_file = \"events.key\"\n"));
        let check = Command::new(BINARY)
            .args(["check", "--config"])
            .arg(dir.path().join("proxy.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8(check.stdout).unwrap();
        assert_eq!(check.status.success(), said.contains("good to serve"));
        assert!(!said.contains("ev_secret"));
        said
    };
    assert!(said("https://events.example.com/v1/events", 0o600).contains("good to serve"));
    let plain = said("http://events.example.com/v1/events", 0o600);
    assert!(plain.contains("line 6, column 7: events: `url` begins with `https://`"), "{plain}");
    let open = said("https://events.example.com/v1/events", 0o640);
    assert!(open.contains("line 7, column 12: events: ") && open.contains("chmod 600"), "{open}");
    let wrong = said("nowhere", 0o600);
    assert!(wrong.contains("line 6, column 7: events: `url` is no address"), "{wrong}");
}
