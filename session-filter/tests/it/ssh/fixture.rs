//! A proxy in this process, a real sshd behind it, a real ssh in front.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use session_filter::anomaly::AnomalyDetector;
use session_filter::event::Event;
use session_filter::record::{MemoryRecorder, RecordError, Recorder};
use session_filter::registry::Registry;
use session_filter::source::SharedPolicy;
use session_filter::ssh::keys::{Algorithm, PrivateKey, PublicKey};
use session_filter::ssh::{
    Authenticator, Credential, Destination, HostKeys, Inventory, Limits, Proxy, ProxyBuilder, keys,
};
use session_filter::{Policy, PolicyGate, Target, User};
use testbed::{Output, Ssh, Sshd, SshdOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What the tests' user may run unless a test says otherwise.
pub(crate) const POLICY: &str = r#"
    [[permit]]
    users    = ["alice"]
    targets  = ["box"]
    commands = ["echo ...", "ls ...", "cat /etc/os-release", "printenv *", "sleep *", "head -c * /dev/zero", "wc -c", "sh -c 'exit 7'",
                "sh -c 'kill -TERM $$'", "sh -c 'echo out; echo err >&2'"]
    acknowledge = ["sh grants a shell"]
"#;

pub(crate) struct OneUser;

#[async_trait]
impl Authenticator for OneUser {
    async fn password(&self, name: &str, password: &str, _: IpAddr) -> Option<User> {
        ((name == "alice" || name == "bob") && password == PASSWORD).then(|| User::new(name))
    }
}

/// A recorder that can be told to wait, as a slow disk would.
#[derive(Clone, Default)]
pub(crate) struct SlowRecorder {
    pub(crate) inner: MemoryRecorder,
    held: Arc<tokio::sync::RwLock<()>>,
}

impl SlowRecorder {
    /// Nothing becomes durable until the guard is dropped. Events are taken all the same.
    pub(crate) fn hold(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.held).try_write_owned().expect("not held twice")
    }
}

impl Recorder for SlowRecorder {
    fn record(&self, event: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        let taken = self.inner.record(event);
        let held = Arc::clone(&self.held);
        Box::pin(async move {
            let _turn = held.read().await;
            taken.await
        })
    }
}

pub(crate) struct Fixture {
    pub(crate) sshd: Sshd,
    pub(crate) port: u16,
    pub(crate) recorder: SlowRecorder,
    pub(crate) policy: Arc<SharedPolicy>,
    pub(crate) registry: Registry,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) stop: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
    pub(crate) served: Mutex<Option<tokio::task::JoinHandle<std::io::Result<()>>>>,
    pub(crate) host_key: PublicKey,
    pub(crate) runtime: Runtime,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(POLICY, SshdOptions::new().config_line("AcceptEnv *"), Limits::default())
    }

    pub(crate) fn with_policy(policy: &str) -> Self {
        Self::with(policy, SshdOptions::new().config_line("AcceptEnv *"), Limits::default())
    }

    pub(crate) fn with(policy: &str, options: SshdOptions, limits: Limits) -> Self {
        let sshd = Sshd::start(options).expect("sshd starts");
        let host_key = PublicKey::from_openssh(sshd.host_public_key()).unwrap();
        let key = keys::load_secret_key(sshd.client_key_path(), None).unwrap();
        let inventory = Inventory::new().target(
            Destination::new(Target::new("box"), "127.0.0.1", sshd.port(), HostKeys::Pinned(vec![host_key])),
            Credential::key(sshd.user(), key),
        );
        Self::assemble(sshd, policy, inventory, limits)
    }

    /// With users of the caller's making.
    pub(crate) fn with_users(policy: &str, users: impl Authenticator, limits: Limits) -> Self {
        let sshd = Sshd::start(SshdOptions::new()).expect("sshd starts");
        let inventory = ["box", "other", "third"].into_iter().fold(Inventory::new(), |inventory, name| {
            let host_key = PublicKey::from_openssh(sshd.host_public_key()).unwrap();
            let key = keys::load_secret_key(sshd.client_key_path(), None).unwrap();
            let host_keys = HostKeys::Pinned(vec![host_key]);
            let destination = Destination::new(Target::new(name), "127.0.0.1", sshd.port(), host_keys);
            inventory.target(destination, Credential::key(sshd.user(), key))
        });
        Self::assemble_with(sshd, policy, inventory, users, limits)
    }

    /// With targets of the caller's making; `sshd` is kept for positive controls.
    pub(crate) fn assemble(sshd: Sshd, policy: &str, inventory: Inventory, limits: Limits) -> Self {
        Self::assemble_with(sshd, policy, inventory, OneUser, limits)
    }

    fn assemble_with(
        sshd: Sshd,
        policy: &str,
        inventory: Inventory,
        users: impl Authenticator,
        limits: Limits,
    ) -> Self {
        Self::assemble_from(sshd, policy, inventory, |proxy| proxy.authenticator(users).limits(limits))
    }

    /// With someone who looks for what stands out.
    pub(crate) fn with_detector(policy: &str, detector: impl AnomalyDetector + 'static) -> Self {
        let sshd = Sshd::start(SshdOptions::new()).expect("sshd starts");
        let host_key = PublicKey::from_openssh(sshd.host_public_key()).unwrap();
        let key = keys::load_secret_key(sshd.client_key_path(), None).unwrap();
        let inventory = Inventory::new().target(
            Destination::new(Target::new("box"), "127.0.0.1", sshd.port(), HostKeys::Pinned(vec![host_key])),
            Credential::key(sshd.user(), key),
        );
        Self::assemble_from(sshd, policy, inventory, |proxy| proxy.authenticator(OneUser).anomalies(detector))
    }

    fn assemble_from(
        sshd: Sshd,
        policy: &str,
        inventory: Inventory,
        more: impl FnOnce(ProxyBuilder) -> ProxyBuilder,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let recorder = SlowRecorder::default();
        let policy = Arc::new(SharedPolicy::new(Policy::from_toml(policy).unwrap()));
        let registry = Registry::new();
        let host_key = PrivateKey::random(&mut keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
        let public = host_key.public_key().clone();
        let proxy = Proxy::builder(host_key)
            .gatekeeper(PolicyGate::new(policy.clone()))
            .targets(inventory)
            .recorder(recorder.clone())
            .registry(registry.clone());
        let proxy = more(proxy).build();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = runtime.spawn(proxy.serve_until(listener, async {
            let _ = stopped.await;
        }));
        Self {
            sshd,
            port,
            recorder,
            policy,
            registry,
            dir: tempfile::tempdir().unwrap(),
            stop: Mutex::new(Some(stop)),
            served: Mutex::new(Some(served)),
            host_key: public,
            runtime,
        }
    }

    /// `ssh` to the proxy as the tests' user.
    pub(crate) fn ssh(&self) -> Ssh {
        Ssh::new(self.port).user("alice").password(PASSWORD).host_key(self.host_key.to_openssh().unwrap())
    }

    /// `ssh` straight to the target, for positive controls.
    pub(crate) fn direct(&self) -> Ssh {
        Ssh::new(self.sshd.port())
            .user(self.sshd.user())
            .key(self.sshd.client_key_path())
            .host_key(self.sshd.host_public_key())
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.dir.path().join("mark")
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.recorder.inner.events()
    }

    pub(crate) fn events_of(&self, event_type: &str) -> Vec<serde_json::Value> {
        self.events()
            .iter()
            .filter(|event| event.event_type == event_type)
            .map(|event| serde_json::to_value(event).unwrap())
            .collect()
    }

    /// Waits until `what` holds; the deadline is for a broken proxy, not for a slow machine.
    pub(crate) fn wait_for(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}; events: {:#?}", self.events_text());
            std::thread::yield_now();
        }
    }

    pub(crate) fn events_text(&self) -> Vec<String> {
        self.events().iter().map(|event| serde_json::to_string(event).unwrap()).collect()
    }

    /// The proxy is alive and well: a permitted command runs.
    pub(crate) fn assert_alive(&self) {
        let output = self.ssh().run("echo alive").unwrap();
        assert_eq!(
            (output.stdout_text().as_str(), output.code()),
            ("alive\n", Some(0)),
            "{}",
            output.stderr_text()
        );
    }
}

/// In every test: no secret that it handled is in any event.
impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let key = std::fs::read_to_string(self.sshd.client_key_path()).unwrap();
        let secret_of_key: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        for event in self.events_text() {
            assert!(!event.contains(PASSWORD), "the password is on record: {event}");
            assert!(
                !secret_of_key.iter().any(|line| event.contains(line)),
                "the private key is on record: {event}"
            );
        }
        for session in self.registry.list() {
            assert!(!format!("{session:?}").contains(PASSWORD));
        }
    }
}

pub(crate) fn assert_blocked(output: &Output) {
    assert_eq!(
        output.code(),
        Some(126),
        "not blocked: {:?} / {:?}",
        output.stdout_text(),
        output.stderr_text()
    );
    assert!(output.stderr_text().contains("blocked"), "{}", output.stderr_text());
}

/// Removes a mark and says whether it was there.
pub(crate) fn take_mark(path: &Path) -> bool {
    std::fs::remove_file(path).is_ok()
}
