//! The proxy as a process of its own, so that what it costs can be told from what client and server cost: this program again, told by
//! its environment to serve. And what the kernel says about processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use audit_log::{AuditLog, FileKeys, FileStore};
use futures::future::BoxFuture;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use session_filter::event::Event;
use session_filter::record::{RecordError, Recorder};
use session_filter::source::SharedPolicy;
use session_filter::ssh::keys::{self, Algorithm, PrivateKey, PublicKey};
use session_filter::ssh::{Authenticator, Credential, Destination, HostKeys, Inventory, Limits, Proxy};
use session_filter::{Policy, PolicyGate, Target, User};
use tempfile::TempDir;
use testbed::{Ssh, Sshd, SshdOptions};
use tokio::net::TcpListener;

use crate::side_by_side::Asked;
use crate::{AuditRecorder, PASSWORD};

/// The cipher of every hop.
pub(crate) const CIPHER: &str = "aes256-gcm@openssh.com";

const SERVE: &str = "SSH_BENCH_SERVE";

/// Where records go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    /// Nowhere.
    Nowhere,
    /// Into an audit log on the disk that is measured.
    OnDisk,
}

/// A proxy in front of one sshd.
pub(crate) struct ProxyProcess {
    child: Child,
    pub(crate) port: u16,
    pub(crate) host_key: PublicKey,
    _dir: TempDir,
}

impl ProxyProcess {
    /// Starts one; on this core alone, where that is said.
    pub(crate) fn start(asked: &Asked, sshd: &Sshd, policy: &str, log: Log, core: Option<usize>) -> Self {
        let dir = asked.fresh_dir();
        let settings = [
            sshd.port().to_string(),
            sshd.host_public_key().to_owned(),
            sshd.user().to_owned(),
            sshd.client_key_path().display().to_string(),
            if log == Log::OnDisk { dir.path().display().to_string() } else { String::new() },
            core.map(|core| core.to_string()).unwrap_or_default(),
            policy.to_owned(),
        ];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(SERVE, settings.join("\u{1f}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (port, host_key) = line.trim().split_once(' ').expect("the proxy says where it listens");
        Self {
            port: port.parse().unwrap(),
            host_key: PublicKey::from_openssh(host_key).unwrap(),
            child,
            _dir: dir,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client, by way of this port.
    pub(crate) fn ssh(&self, port: u16) -> Ssh {
        Ssh::new(port).user("alice+box").password(PASSWORD).option(format!("Ciphers={CIPHER}"))
    }
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An sshd with the one cipher.
pub(crate) fn sshd() -> Sshd {
    let options = SshdOptions::new().config_line(format!("Ciphers {CIPHER}")).config_line("MaxSessions 1000");
    Sshd::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// A client without a proxy, by way of this port.
pub(crate) fn ssh_to(sshd: &Sshd, port: u16) -> Ssh {
    Ssh::new(port).user(sshd.user()).key(sshd.client_key_path()).option(format!("Ciphers={CIPHER}"))
}

/// Serves, where the environment says so, until standard input is closed.
pub(crate) fn serve_if_asked() -> bool {
    let Ok(settings) = std::env::var(SERVE) else { return false };
    let settings: Vec<&str> = settings.split('\u{1f}').collect();
    let [port, host_key, user, key, log, core, policy] = settings[..] else { panic!("{settings:?}") };
    if let Ok(core) = core.parse() {
        pin(None, core);
    }
    many_files();
    // As in `session-proxy`.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let inventory = Inventory::new().target(
        Destination::new(
            Target::new("box"),
            "127.0.0.1",
            port.parse().unwrap(),
            HostKeys::Pinned(vec![PublicKey::from_openssh(host_key).unwrap()]),
        ),
        Credential::key(user, keys::load_secret_key(key, None).unwrap()),
    );
    let mut limits = Limits::default();
    limits.connections_max = 4096;
    limits.sessions_per_user_max = 4096;
    let own = PrivateKey::random(&mut keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let public = own.public_key().to_openssh().unwrap();
    let builder = Proxy::builder(own)
        .authenticator(Alice)
        .gatekeeper(PolicyGate::new(Arc::new(SharedPolicy::new(Policy::from_toml(policy).unwrap()))))
        .targets(inventory)
        .limits(limits);
    let proxy = match log {
        "" => builder.recorder(Nowhere).build(),
        dir => {
            let store = FileStore::open(Path::new(dir).join("log")).unwrap();
            let keys = FileKeys::open(Path::new(dir).join("keys")).unwrap();
            builder.recorder(AuditRecorder(AuditLog::options().open_blocking(store, keys).unwrap())).build()
        }
    };
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{} {public}", listener.local_addr().unwrap().port());
    runtime.spawn(proxy.serve(listener));
    // The other side closes it, by its end if by nothing else.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    true
}

struct Alice;

#[async_trait]
impl Authenticator for Alice {
    async fn password(&self, name: &str, password: &str, _: IpAddr) -> Option<User> {
        (name == "alice" && password == PASSWORD).then(|| User::new(name))
    }
}

/// Takes events and drops them.
struct Nowhere;

impl Recorder for Nowhere {
    fn record(&self, _: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Keeps a process, this one if none is named, and what it starts from now on, on one core. One that has ended meanwhile is left alone: sshd
/// has helpers for the time of the login.
pub(crate) fn pin(pid: Option<u32>, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).expect("a process id")));
    match sched_setaffinity(pid, &cores) {
        Ok(()) => {}
        Err(Errno::SRCH) if pid.is_some() => {}
        Err(error) => panic!("no core {core}: {error}"),
    }
}

/// As many open files as may be.
pub(crate) fn many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit may be raised");
}

/// Seconds of processor time that a process has taken, threads included, children not.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = stat(pid).unwrap_or_default();
    // utime and stime, fields 14 and 15, in ticks; Linux shows 100 a second to everybody.
    let ticks = |place: usize| stat.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}

/// The sshd processes that serve connections, the listener not included.
pub(crate) fn sessions_of(sshd: &Sshd) -> Vec<u32> {
    let listener: u32 = fs::read_to_string(sshd.dir().join("pid")).unwrap().trim().parse().unwrap();
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>()
            && let Some(parent) = stat(pid).and_then(|stat| stat.get(1)?.parse::<u32>().ok())
        {
            parents.insert(pid, parent);
        }
    }
    let is_sshd = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("sshd"))
    };
    let grew_out_of = |pid: &u32| {
        let mut at = *pid;
        while let Some(parent) = parents.get(&at) {
            if *parent == listener {
                return true;
            }
            at = *parent;
        }
        false
    };
    parents.keys().copied().filter(|pid| grew_out_of(pid) && is_sshd(pid)).collect()
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything: state first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}
