//! Servers as processes of their own, and what the kernel says of them: this program again, told by its environment to serve, and the
//! `durable-streams` server of crates.io.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mfa_events::cursor::CursorKey;
use mfa_events::http::{HashedKeys, Limits, Right, Scope, router};
use mfa_events::{EventLog, RedbStore, TenantId};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::side_by_side::Asked;

const SERVE: &str = "EVENTS_BENCH_SERVE";

/// Tenants that each have a stream of their own.
pub(crate) const TENANTS: usize = 64;

/// The peer, and the version that is built.
const PEER: &str = "durable-streams";
const PEER_VERSION: &str = "0.1.5";

/// The key of a tenant.
pub(crate) fn key(tenant: usize) -> String {
    format!("key-of-a-tenant-of-this-bench-{tenant:02}")
}

/// A server, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    _dir: TempDir,
}

impl Server {
    /// Ours: the router over a store in a file, served as event-api serves it.
    pub(crate) fn ours(asked: &Asked) -> Self {
        let dir = asked.fresh_dir();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(SERVE, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server says where it listens");
        Self { child, port, _dir: dir }
    }

    /// The peer, with its group-committed log, which is what it does unless it is told otherwise.
    pub(crate) fn peer(asked: &Asked) -> Self {
        let dir = asked.fresh_dir();
        // Free a moment ago: nothing else on this machine asks for ports by number.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(peer_binary())
            .args(["--port", &port.to_string(), "--durability", "wal", "--data-dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "{PEER} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port, _dir: dir }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peer's program, built once into a directory beside this bench.
fn peer_binary() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(format!("{PEER}-{PEER_VERSION}"));
    let binary = root.join("bin/durable-streams-server");
    if !binary.exists() {
        println!("building {PEER} {PEER_VERSION} from crates.io, once");
        let built = Command::new("cargo")
            .args(["install", PEER, "--version", PEER_VERSION, "--locked", "--quiet", "--root"])
            .arg(&root)
            .env_remove("RUSTFLAGS")
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "`cargo install {PEER} --version {PEER_VERSION}` failed: it needs crates.io"
        );
    }
    binary
}

/// Serves, where the environment says so, until standard input is closed.
pub(crate) fn serve_if_asked() -> bool {
    let Ok(dir) = std::env::var(SERVE) else { return false };
    many_files();
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut limits = Limits::default();
        (limits.requests_per_s, limits.requests_burst) = (10_000_000, 10_000_000);
        limits.live_readers = 100_000;
        let mut keys = HashedKeys::new();
        for tenant in 0..TENANTS {
            let name = TenantId::new(format!("tenant-{tenant:02}")).unwrap();
            let scope = Scope::new(name, [Right::Ingest, Right::Read]).limits(limits);
            keys = keys.with(&key(tenant), scope).unwrap();
        }
        let log = EventLog::open(RedbStore::open(Path::new(&dir).join("events.redb")).unwrap());
        let router = router(log, keys, CursorKey::new([7; 32]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(30))
                    .max_buf_size(32 * 1024)
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
                tokio::spawn(connection);
            }
        });
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = end.await;
    });
    true
}

/// As many open files as the system allows.
pub(crate) fn many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit may be raised");
}

/// Seconds of processor time that a process has taken, threads included.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // utime and stime, fields 14 and 15, in ticks; Linux shows 100 a second to everybody.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}
