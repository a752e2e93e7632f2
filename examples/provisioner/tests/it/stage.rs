//! A service that runs against the demo's applications.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt as _;
use serde_json::Value;
use tempfile::TempDir;
use testbed::Running;
use testbed::http::{Answer, Request};

use crate::config::secret;
use crate::run::{Said, provisioner};

pub const OPERATOR: &str = "operator-0123456789abcdef0123456789";
pub const READER: &str = "reader-0123456789abcdef0123456789ab";
pub const HOOK: &str = "hook-secret-0123456789abcdef";
/// Long enough for a machine that does much else.
pub const LONG: Duration = Duration::from_secs(90);

pub struct Stage {
    pub dir: TempDir,
    pub demo: Value,
    _applications: Running,
}

impl Stage {
    /// The applications run; the service does not yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut demo = Command::new(env!("CARGO_BIN_EXE_provisioner"));
        demo.args(["demo", "--json", "--data-dir"]).arg(dir.path().join("applications"));
        let applications = Running::spawn(demo).unwrap();
        assert!(applications.wait_for_stdout("}\n", LONG), "{:?}", String::from_utf8(applications.stderr()));
        let line = String::from_utf8(applications.stdout()).unwrap();
        let stage = Self {
            demo: serde_json::from_str(line.lines().next().unwrap()).unwrap(),
            dir,
            _applications: applications,
        };
        secret(stage.path(), "operator", OPERATOR);
        secret(stage.path(), "reader", READER);
        secret(stage.path(), "hook", HOOK);
        for application in stage.demo["applications"].as_array().unwrap() {
            let token = application["token"].as_str().unwrap();
            secret(stage.path(), &format!("{}.token", application["name"].as_str().unwrap()), token);
        }
        stage
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What an application does from now on: `ok`, `down`, …
    pub fn fault(&self, application: &str, mode: &str) {
        let all = self.demo["applications"].as_array().unwrap();
        let one = all.iter().find(|one| one["name"] == application).unwrap();
        let fault = url::Url::parse(one["fault_url"].as_str().unwrap()).unwrap();
        let address = format!("{}:{}", fault.host_str().unwrap(), fault.port().unwrap()).parse().unwrap();
        let mut change = Request::new("PUT", fault.path()).header("content-type", "application/json");
        change.body = format!("{{\"mode\":\"{mode}\"}}").into_bytes();
        assert!(change.send(address).unwrap().status < 300);
    }

    /// What is in the audit log, oldest first. The service must have ended.
    pub fn trail(&self) -> Vec<audit_log::Recorded> {
        self.trail_of("data")
    }

    /// The same of a service with another data directory.
    pub fn trail_of(&self, data: &str) -> Vec<audit_log::Recorded> {
        let data = self.path().join(data);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (store, keys) = (data.join("audit"), data.join("keys"));
            let (store, keys) =
                (audit_log::FileStore::open(store).unwrap(), audit_log::FileKeys::open(keys).unwrap());
            let log = audit_log::AuditLog::open(store, keys).await.unwrap();
            let mut entries = Vec::new();
            let mut hits = log.read(..);
            while let Some(hit) = hits.try_next().await.unwrap() {
                entries.push(hit);
            }
            entries
        })
    }

    pub fn base_url(&self, application: &str) -> String {
        let all = self.demo["applications"].as_array().unwrap();
        let one = all.iter().find(|one| one["name"] == application).unwrap();
        one["base_url"].as_str().unwrap().to_owned()
    }

    /// Writes the settings: `extra` after what all of them have.
    pub fn settings(&self, extra: &str) -> PathBuf {
        let mut text = "data_dir = \"data\"\nlisten = \"127.0.0.1:0\"\nprobe_every_s = 1\n".to_owned();
        for (name, role) in [("operator", "operator"), ("reader", "reader")] {
            text.push_str(&format!(
                "[[api.token]]\nname = \"{name}\"\nrole = \"{role}\"\nfile = \"{name}\"\n"
            ));
        }
        for name in ["crm", "payroll", "wiki"] {
            let url = self.base_url(name);
            text.push_str(&format!(
                "[[connector]]\nid = \"{name}\"\nkind = \"scim\"\nurl = \"{url}\"\ntoken_file = \"{name}.token\"\n"
            ));
        }
        text.push_str(extra);
        let file = self.path().join("provisioner.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    pub fn serve(&self, extra: &str) -> Service {
        self.run(&self.settings(extra))
    }

    /// With nothing but these settings.
    pub fn serve_with(&self, settings: &str) -> Service {
        let file = self.path().join("provisioner.toml");
        std::fs::write(&file, settings).unwrap();
        self.run(&file)
    }

    /// With so many file descriptors.
    pub fn serve_poor(&self, extra: &str, files: u32) -> Service {
        let mut shell = Command::new("sh");
        let run = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &run, env!("CARGO_BIN_EXE_provisioner")]);
        self.begin(shell, &self.settings(extra))
    }

    fn run(&self, file: &Path) -> Service {
        self.begin(Command::new(env!("CARGO_BIN_EXE_provisioner")), file)
    }

    fn begin(&self, mut serve: Command, file: &Path) -> Service {
        serve.args(["--json", "serve", "--config"]).arg(file);
        let running = Running::spawn(serve).unwrap();
        assert!(running.wait_for_stdout("}\n", LONG), "{}", String::from_utf8_lossy(&running.stderr()));
        let line: Value = serde_json::from_slice(&running.stdout()).unwrap();
        let api = line["api"].as_str().unwrap().to_owned();
        Service { running, api, dir: self.path().to_owned() }
    }
}

pub struct Service {
    pub running: Running,
    pub api: String,
    dir: PathBuf,
}

impl Service {
    /// A verb, asked as the operator.
    pub fn ask(&self, arguments: &[&str]) -> Said {
        self.ask_as("operator", arguments)
    }

    pub fn ask_as(&self, who: &str, arguments: &[&str]) -> Said {
        let token = self.dir.join(who);
        let at = ["--api", &self.api, "--token-file", token.to_str().unwrap()];
        provisioner(&[arguments, &at].concat(), &[], "")
    }

    pub fn address(&self) -> SocketAddr {
        self.api.split_once("://").unwrap().1.parse().unwrap()
    }

    /// A message of the HR system.
    pub fn hook(&self, id: &str, at: i64, signature: &str, body: &str) -> Answer {
        let mut request = Request::new("POST", "/webhooks/events")
            .header("webhook-id", id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", signature);
        request.body = body.as_bytes().to_vec();
        request.send(self.address()).unwrap()
    }

    pub fn signed(&self, id: &str, body: &str) -> Answer {
        let at = chrono::Utc::now().timestamp();
        let signature = connector_health::alert::signature(HOOK.as_bytes(), id, at, body.as_bytes());
        self.hook(id, at, &signature, body)
    }

    pub fn heard(&self, text: &str) {
        assert!(
            self.running.wait_for_stderr(text, LONG),
            "nothing of `{text}` in:\n{}",
            String::from_utf8_lossy(&self.running.stderr())
        );
    }

    pub fn status(&self) -> Value {
        let said = self.ask(&["--json", "status"]);
        assert_eq!(said.status, 0, "{said:?}");
        said.json().remove(0)
    }

    /// Until nothing is queued anywhere.
    pub fn drained(&self) {
        let said = self.ask(&["replay", "--all", "--wait", "60"]);
        assert_eq!(said.status, 0, "{said:?}\n{}", String::from_utf8_lossy(&self.running.stderr()));
    }

    /// Ends it without a word.
    pub fn kill(self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.running.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let _ = self.running.wait(LONG);
    }

    /// Asks it to end, and waits; its exit status.
    pub fn end(self) -> i32 {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.running.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let output = self.running.wait(LONG).unwrap();
        let code = output.code().unwrap_or(-1);
        if code != 0 {
            #[expect(clippy::print_stderr, reason = "shown with a test that fails by it")]
            {
                eprintln!("it ended with {code}, after saying:\n{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        code
    }
}

/// Looks again until it is so.
pub fn until(mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "it did not become so");
    }
}

pub struct Https {
    pub port: u16,
    pub ca_pem: String,
    _runtime: tokio::runtime::Runtime,
}

/// A server over TLS that answers what a closure says of the request's head, and keeps the heads.
pub fn https(
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> (Https, Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kept, answer) = (Arc::clone(&heads), Arc::new(answer));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, kept, answer) = (acceptor.clone(), Arc::clone(&kept), Arc::clone(&answer));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut read = Vec::new();
                while !read.windows(4).any(|four| four == b"\r\n\r\n") {
                    let mut piece = [0; 4096];
                    match stream.read(&mut piece).await {
                        Ok(length @ 1..) => read.extend_from_slice(&piece[..length]),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&read).split("\r\n\r\n").next().unwrap().to_owned();
                let (status, body) = answer(&head);
                kept.lock().unwrap().push(head);
                let whole = format!(
                    "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(whole.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (Https { port, ca_pem: made.cert.pem(), _runtime: runtime }, heads)
}
