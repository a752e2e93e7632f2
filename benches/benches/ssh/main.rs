//! What the proxy costs, in parts that run alone as well: `turns`, `blocks`, `bulk`, `delay`, `keystroke`, `idle`, `opens`.
//!
//! `turns` and `blocks` are what it adds to a command: `true` on a new channel of one connection that is open already, straight to a real sshd
//! and through a proxy whose record of the command is durable on disk before the command is sent. Beside it, what one raw
//! fdatasync takes in the same loop.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod bulk;
mod delay;
mod many;
mod process;
mod scripts;
#[path = "../side_by_side/mod.rs"]
mod side_by_side;
mod typing;

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use audit_log::{AuditLog, Entry, FileKeys, FileStore};
use futures::future::BoxFuture;
use russh::client;
use russh::{ChannelMsg, keys::PublicKeyOrCertificate};
use serde_json::Value;
use session_filter::event::Event;
use session_filter::record::{MemoryRecorder, RecordError, Recorder};
use session_filter::source::SharedPolicy;
use session_filter::ssh::keys::{self, Algorithm, PrivateKey, PublicKey};
use session_filter::ssh::{Authenticator, Credential, Destination, HostKeys, Inventory, Proxy};
use session_filter::{Policy, PolicyGate, Target, User};
use side_by_side::{Asked, Samples, micros};
use tempfile::TempDir;
use testbed::{Sshd, SshdOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// As in `session-proxy`: the system's allocator gives memory back to the system between packets and asks for it again: a sixth of what a bulk transfer costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PASSWORD: &str = "correct horse battery staple";
const POLICY: &str = r#"
    [[permit]]
    users    = ["alice"]
    targets  = ["box"]
    commands = ["true"]
"#;

fn main() {
    if process::serve_if_asked() {
        return;
    }
    let Some(asked) = Asked::read() else { return };
    asked.print_machine();
    println!("target    {} on loopback, the login shell without dotfiles", sshd_version());
    type Run = fn(&Asked);
    let parts: [(&[&str], Run); 6] = [
        (&["turns", "blocks"], commands),
        (&["delay"], delay::run),
        (&["keystroke"], typing::run),
        (&["idle"], many::idle),
        (&["opens"], many::opens),
        // Last, as it keeps this process on one core.
        (&["bulk"], bulk::run),
    ];
    for (names, run) in parts {
        if names.iter().any(|name| asked.wants(name)) {
            run(&asked);
        }
    }
}

/// What is added to a command.
fn commands(asked: &Asked) {
    let sshd = Sshd::start(SshdOptions::new()).unwrap_or_else(|error| panic!("{error}"));
    println!("client    russh, one connection per contender, a new session channel for each command");
    println!(
        "proxy     in this process on a runtime of its own, one connection to the same sshd; a policy of one rule"
    );
    println!("log       audit-log with FileStore and FileKeys on that disk");
    println!("fdatasync pwrite of 1 KiB + fdatasync, into a file that was filled with zeros before");

    // Two runtimes, so that client and proxy share no more than they would in two processes.
    let (clients, proxies) = (client_runtime(), Runtime::new().unwrap());
    let log = Log::open(asked);
    let recorded = start_proxy(&proxies, &sshd, AuditRecorder(log.log.clone()));
    let unrecorded = start_proxy(&proxies, &sshd, MemoryRecorder::default());

    let direct = clients.block_on(Connected::to_target(&sshd));
    let recorded = clients.block_on(Connected::to_proxy(recorded));
    let unrecorded = clients.block_on(Connected::to_proxy(unrecorded));
    let raw = Raw::create(asked);

    // The proxy's first command makes the connection to the target and tests its quoting.
    for _ in 0..asked.pick(50, 2) {
        for connected in [&direct, &recorded, &unrecorded] {
            clients.block_on(connected.run_true());
        }
    }

    if asked.wants("turns") {
        let mut measured = Measured::default();
        let samples = asked.pick(2_000, 20);
        for round in 0..samples {
            for turn in 0..4 {
                match (round + turn) % 4 {
                    0 => measured.direct.push(clients.block_on(connected_time(&direct))),
                    1 => measured.recorded.push(clients.block_on(connected_time(&recorded))),
                    2 => measured.unrecorded.push(clients.block_on(connected_time(&unrecorded))),
                    _ => measured.fdatasync.push(raw.written().as_secs_f64()),
                }
            }
        }
        measured.print(&format!("commands taken in turn, {samples} samples each"));
    }

    if asked.wants("blocks") {
        // Without a pause between commands, the record of one command's end may still be on its way to the disk when the next
        // one asks for its own.
        let mut measured = Measured::default();
        let (blocks, block) = asked.pick((40, 25), (2, 5));
        for _ in 0..blocks {
            for _ in 0..block {
                measured.direct.push(clients.block_on(connected_time(&direct)));
            }
            for _ in 0..block {
                measured.recorded.push(clients.block_on(connected_time(&recorded)));
            }
            for _ in 0..block {
                measured.unrecorded.push(clients.block_on(connected_time(&unrecorded)));
            }
            for _ in 0..block {
                measured.fdatasync.push(raw.written().as_secs_f64());
            }
        }
        measured.print(&format!("{block} commands back to back, {blocks} times each in turn"));
    }
}

/// Seconds, of samples that were taken in turn.
#[derive(Default)]
struct Measured {
    direct: Samples,
    recorded: Samples,
    unrecorded: Samples,
    fdatasync: Samples,
}

impl Measured {
    fn print(&self, title: &str) {
        println!("\n{title}\n  {:<56} {:>10} {:>10}", "", "median", "p99");
        let line = |name: &str, samples: &Samples| {
            println!("  {name:<56} {:>10} {:>10}", micros(samples.median()), micros(samples.quantile(0.99)));
        };
        line("direct", &self.direct);
        line("through the proxy, recorded on disk", &self.recorded);
        line("through the proxy, recorded in memory", &self.unrecorded);
        line("one fdatasync", &self.fdatasync);
        let added = |own: &Samples| {
            // In pairs, each with the direct command of its own round: what else goes on in the machine weighs on both.
            let pairs = Samples(own.0.iter().zip(&self.direct.0).map(|(own, direct)| own - direct).collect());
            (pairs.median(), own.quantile(0.99) - self.direct.quantile(0.99))
        };
        println!("  added (median of the differences in pairs; difference of the p99s)");
        for (name, own) in
            [("by the proxy", &self.recorded), ("by the proxy, without a disk", &self.unrecorded)]
        {
            let (median, p99) = added(own);
            println!("    {name:<54} {:>10} {:>10}", micros(median), micros(p99));
        }
        let (median, p99) = added(&self.recorded);
        println!(
            "  {:<56} {:>9.2}× {:>9.2}×   goal about 1×",
            "added by the proxy ÷ one fdatasync",
            median / self.fdatasync.median(),
            p99 / self.fdatasync.quantile(0.99),
        );
    }
}

async fn connected_time(connected: &Connected) -> f64 {
    let started = Instant::now();
    connected.run_true().await;
    started.elapsed().as_secs_f64()
}

fn client_runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn sshd_version() -> String {
    let output = std::process::Command::new("ssh").arg("-V").output().expect("needs ssh");
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// Where a proxy listens, and the key it shows there.
struct Listening {
    port: u16,
    host_key: PublicKey,
}

struct OneUser;

#[async_trait]
impl Authenticator for OneUser {
    async fn password(&self, name: &str, password: &str, _: IpAddr) -> Option<User> {
        (name == "alice" && password == PASSWORD).then(|| User::new(name))
    }
}

fn start_proxy(runtime: &Runtime, sshd: &Sshd, recorder: impl Recorder) -> Listening {
    let target_key = PublicKey::from_openssh(sshd.host_public_key()).unwrap();
    let key = keys::load_secret_key(sshd.client_key_path(), None).unwrap();
    let inventory = Inventory::new().target(
        Destination::new(Target::new("box"), "127.0.0.1", sshd.port(), HostKeys::Pinned(vec![target_key])),
        Credential::key(sshd.user(), key),
    );
    let policy = Arc::new(SharedPolicy::new(Policy::from_toml(POLICY).unwrap()));
    let host_key = PrivateKey::random(&mut keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let public = host_key.public_key().clone();
    let proxy = Proxy::builder(host_key)
        .authenticator(OneUser)
        .gatekeeper(PolicyGate::new(policy))
        .targets(inventory)
        .recorder(recorder)
        .build();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(proxy.serve(listener));
    Listening { port, host_key: public }
}

/// Events into the log, as examples/session-proxy does it.
#[derive(Clone)]
struct AuditRecorder(AuditLog);

impl Recorder for AuditRecorder {
    fn record(&self, event: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        let Ok(Value::Object(fields)) = serde_json::to_value(&event) else {
            panic!("an event is a JSON object");
        };
        let append = self.0.append(Entry::from_event(fields).expect("an event is an entry"));
        Box::pin(async move { append.await.map(drop).map_err(|error| RecordError::new(error.to_string())) })
    }
}

struct Log {
    log: AuditLog,
    _dir: TempDir,
}

impl Log {
    fn open(asked: &Asked) -> Self {
        let dir = asked.fresh_dir();
        let store = FileStore::open(dir.path().join("log")).unwrap();
        let keys = FileKeys::open(dir.path().join("keys")).unwrap();
        Self { log: AuditLog::options().open_blocking(store, keys).unwrap(), _dir: dir }
    }
}

/// A client that accepts one host key.
struct Knows(PublicKey);

impl client::Handler for Knows {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(key.key_data() == self.0.key_data())
    }
}

/// An authenticated connection.
struct Connected(client::Handle<Knows>);

impl Connected {
    async fn open(port: u16, host_key: PublicKey) -> client::Handle<Knows> {
        let config = client::Config { nodelay: true, ..client::Config::default() };
        client::connect(Arc::new(config), ("127.0.0.1", port), Knows(host_key)).await.unwrap()
    }

    async fn to_target(sshd: &Sshd) -> Self {
        let host_key = PublicKey::from_openssh(sshd.host_public_key()).unwrap();
        let mut handle = Self::open(sshd.port(), host_key).await;
        let key = keys::load_secret_key(sshd.client_key_path(), None).unwrap();
        let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::new(key), None);
        assert!(handle.authenticate_publickey(sshd.user(), key).await.unwrap().success());
        Self(handle)
    }

    async fn to_proxy(proxy: Listening) -> Self {
        let mut handle = Self::open(proxy.port, proxy.host_key).await;
        assert!(handle.authenticate_password("alice", PASSWORD).await.unwrap().success());
        Self(handle)
    }

    /// From asking for a channel to its close.
    async fn run_true(&self) {
        let mut channel = self.0.channel_open_session().await.unwrap();
        channel.exec(true, "true").await.unwrap();
        let mut status = None;
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::ExitStatus { exit_status } = message {
                status = Some(exit_status);
            }
        }
        assert_eq!(status, Some(0), "`true` did not run");
    }
}

/// A file whose blocks exist already.
struct Raw {
    file: File,
    offset: std::cell::Cell<u64>,
    _dir: TempDir,
}

impl Raw {
    const BYTES: u64 = 16 << 20;

    fn create(asked: &Asked) -> Self {
        let dir = asked.fresh_dir();
        let file = File::create(dir.path().join("raw")).unwrap();
        file.write_all_at(&vec![0; Self::BYTES as usize], 0).unwrap();
        file.sync_all().unwrap();
        Self { file, offset: std::cell::Cell::new(0), _dir: dir }
    }

    fn written(&self) -> Duration {
        let block = [0x5a; 1024];
        let offset = self.offset.get() % Self::BYTES;
        self.offset.set(offset + block.len() as u64);
        let started = Instant::now();
        self.file.write_all_at(&block, offset).unwrap();
        self.file.sync_data().unwrap();
        started.elapsed()
    }
}
