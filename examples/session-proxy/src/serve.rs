//! The real thing: settings in, a running proxy out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use audit_log::{AuditLog, Checkpoint, FileKeys, FileSink, FileStore, SyslogSink};
use chrono::Utc;
use session_filter::anomaly::BaselineSettings;
use session_filter::event::{Detail, Event, Outcome, PolicyChanged, Subject};
use session_filter::record::Recorder as _;
use session_filter::registry::Registry;
use session_filter::source::FileEvent;
use session_filter::ssh::keys::PrivateKey;
use session_filter::ssh::{Inventory, Limits, Proxy};
use session_filter::{FilePolicy, Policy, PolicyGate, PolicySource};
use tokio::net::TcpListener;

use crate::anomalies::Anomalies;
use crate::codes::Codes;
use crate::config::Config;
use crate::door::Door;
use crate::events::{Receiver, Sending};
use crate::limits::LimitsToml;
use crate::logins::Logins;
use crate::operators::Operators;
use crate::recorder::AuditRecorder;
use crate::users::{UserFile, UserList};
use crate::{Failure, control, files};

/// What a running proxy is made of; `serve` takes it from a file, `demo` makes it up.
pub(crate) struct Parts {
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    /// What the secrets of one-time codes are sealed with; beside them unless stated.
    pub(crate) totp_key: Option<PathBuf>,
    pub(crate) host_key: PrivateKey,
    pub(crate) policy: PathBuf,
    pub(crate) users: PathBuf,
    pub(crate) control_socket: PathBuf,
    pub(crate) control_group: Option<String>,
    pub(crate) operators: Operators,
    pub(crate) limits: LimitsToml,
    pub(crate) anomalies: Option<BaselineSettings>,
    pub(crate) checkpoints: crate::config::Checkpoints,
    /// Who is told of logins.
    pub(crate) receiver: Option<Receiver>,
    pub(crate) inventory: Inventory,
}

/// A proxy that is ready to serve.
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
    pub(crate) log: AuditLog,
    recorder: AuditRecorder,
    listener: TcpListener,
    proxy: Proxy,
    control: control::Control,
    anomalies: Option<Anomalies>,
    sending: Option<Sending>,
}

impl Ready {
    /// Opens the log, reads policy and users, binds the sockets.
    pub(crate) async fn new(parts: Parts) -> Result<Self, Failure> {
        files::private_dir(&parts.data_dir)?;
        let log = open_log(&parts.data_dir, &parts.checkpoints).await?;
        let users = UserFile::watch(parts.users, |news| match news {
            Ok(users) => crate::say!("users changed: {users} now"),
            Err(mistake) => crate::say!("users not changed: {mistake}"),
        })?;
        let limits = limits_for_descriptors(&parts.limits)?;
        let lock_time = limits.code_failure_window;
        let (sending, outbox) = parts
            .receiver
            .map(|receiver| {
                Sending::start(receiver, log.clone(), Arc::clone(&users), lock_time, &parts.data_dir)
            })
            .transpose()?
            .unzip();
        let recorder = AuditRecorder::new(log.clone()).with(outbox);
        let codes = Codes::new(&parts.data_dir, parts.totp_key);
        let policy = Arc::new(watch_policy(&parts.policy, recorder.clone())?);
        for warning in policy.policy().warnings() {
            crate::say!("policy: {warning}");
        }
        let registry = Registry::new();
        let door = Door { users: Arc::clone(&users), policy: PolicyGate::new(policy) };
        let anomalies = parts.anomalies.map(|settings| Anomalies::new(settings, &parts.data_dir));
        let mut proxy = Proxy::builder(parts.host_key)
            .authenticator(Logins::new(users, codes)?)
            .gatekeeper(door)
            .targets(parts.inventory)
            .recorder(recorder.clone())
            .registry(registry.clone())
            .limits(limits);
        if let Some(anomalies) = &anomalies {
            proxy = proxy.anomalies(Arc::clone(&anomalies.detector));
        }
        let proxy = proxy.build();
        let listener = TcpListener::bind(parts.listen)
            .await
            .map_err(Failure::because(format!("cannot listen on {}", parts.listen)))?;
        let address = listener.local_addr().map_err(Failure::because("cannot listen"))?;
        let control = control::Control::bind(
            parts.control_socket,
            parts.control_group.as_deref(),
            registry,
            parts.operators,
            recorder.clone(),
        )?;
        Ok(Self { address, log, recorder, listener, proxy, control, anomalies, sending })
    }

    /// Serves until `stop` resolves; then every session has ended, and the log is closed.
    pub(crate) async fn serve_until(self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let (no_more, over) = tokio::sync::oneshot::channel::<()>();
        let control = tokio::spawn(self.control.serve(async {
            let _ = over.await;
        }));
        let (learned, all_learned) = tokio::sync::oneshot::channel::<()>();
        let keeping = self.anomalies.map(|anomalies| {
            tokio::spawn(anomalies.keep(async {
                let _ = all_learned.await;
            }))
        });
        let recorder = self.recorder.clone();
        let mut broken = None;
        let stop = async {
            tokio::select! {
                () = stop => {}
                // Nothing can run any more. Whoever supervises this process may start it anew, which opens the log again.
                reason = recorder.broken() => broken = Some(reason),
            }
        };
        let served = self.proxy.serve_until(self.listener, stop).await;
        drop((no_more, learned));
        let _ = control.await;
        if let Some(keeping) = keeping {
            let _ = keeping.await;
        }
        if let Some(sending) = self.sending {
            sending.finish().await;
        }
        if let Some(reason) = broken {
            return Err(Failure::new(format!("stopped, since nothing can be recorded: {reason}")));
        }
        self.log.close().await.map_err(Failure::because("the log was not closed cleanly"))?;
        served.map_err(Failure::because("cannot accept connections any more"))
    }
}

pub(crate) async fn run(path: &Path) -> Result<(), Failure> {
    let (config, inventory) = Config::read(path)?;
    for exposed in config.exposed(path) {
        crate::say!("warning: {exposed}");
    }
    files::private_dir(&config.data_dir)?;
    let host_key =
        files::kept_key(&config.host_key.clone().unwrap_or_else(|| config.data_dir.join("host_key")))?;
    let ready = Ready::new(Parts {
        listen: config.listen,
        host_key,
        policy: config.policy,
        users: config.users,
        control_socket: config.control_socket.unwrap_or_else(|| config.data_dir.join("control.sock")),
        control_group: config.control_group,
        operators: config.operators,
        limits: config.limits,
        anomalies: config.anomalies,
        checkpoints: config.checkpoints,
        totp_key: config.totp_key,
        receiver: config.receiver,
        data_dir: config.data_dir,
        inventory,
    })
    .await?;
    crate::say!("serving on {}", ready.address);
    ready.serve_until(stop_signal()?).await
}

/// Says what is wrong with a configuration, and starts nothing.
pub(crate) fn check(path: &Path, json: bool) -> Result<ExitCode, Failure> {
    let mut mistakes: Vec<String> = Vec::new();
    let mut warnings: Vec<String> = Vec::new();
    match Config::read(path) {
        Err(failure) => mistakes.push(failure.to_string()),
        Ok((config, _)) => {
            warnings.extend(config.exposed(path));
            let read = |path: &Path| {
                std::fs::read_to_string(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))
            };
            match read(&config.policy).map(|text| Policy::from_toml(&text)) {
                Err(unreadable) => mistakes.push(unreadable),
                Ok(Err(error)) => mistakes
                    .extend(error.to_string().lines().map(|l| format!("{}: {l}", config.policy.display()))),
                Ok(Ok(policy)) => {
                    warnings.extend(
                        policy.warnings().iter().map(|w| format!("{}: {w}", config.policy.display())),
                    );
                }
            }
            match read(&config.users).map(|text| UserList::parse(&text)) {
                Err(unreadable) => mistakes.push(unreadable),
                Ok(Err(mistake)) => mistakes.push(format!("{}: {mistake}", config.users.display())),
                Ok(Ok(list)) if list.len() == 0 => {
                    warnings.push(format!("{}: lists nobody", config.users.display()))
                }
                Ok(Ok(list)) => {
                    let codes = Codes::new(&config.data_dir, config.totp_key.clone());
                    let without = list.with_code().filter(|name| !codes.is_enrolled(name));
                    warnings.extend(without.map(|name| {
                        format!(
                            "`{name}` needs a one-time code and has no secret yet: session-proxy enroll-totp"
                        )
                    }));
                }
            }
        }
    }
    let good = mistakes.is_empty();
    if json {
        println!("{}", serde_json::json!({ "ok": good, "mistakes": mistakes, "warnings": warnings }));
    } else {
        for mistake in &mistakes {
            println!("mistake: {mistake}");
        }
        for warning in &warnings {
            println!("warning: {warning}");
        }
        if good {
            println!("{}: good to serve", path.display());
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Resolves at SIGTERM or SIGINT.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = || Failure::because::<std::io::Error>("cannot listen for signals");
    let mut term = signal(SignalKind::terminate()).map_err(failed())?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

async fn open_log(data_dir: &Path, checkpoints: &crate::config::Checkpoints) -> Result<AuditLog, Failure> {
    let store = FileStore::open(data_dir.join("audit")).map_err(Failure::because("cannot open the log"))?;
    let keys =
        FileKeys::open(data_dir.join("keys")).map_err(Failure::because("cannot open the log's keys"))?;
    let mut options = AuditLog::options();
    if let Some(path) = &checkpoints.minimum {
        let text = std::fs::read_to_string(path)
            .map_err(Failure::because(format!("cannot read checkpoint `{}`", path.display())))?;
        let minimum: Checkpoint =
            text.parse().map_err(Failure::because(format!("`{}` is no checkpoint", path.display())))?;
        options = options.minimum(minimum);
    }
    if let Some(path) = &checkpoints.file {
        let sink = FileSink::open(path)
            .map_err(Failure::because(format!("cannot keep checkpoints in `{}`", path.display())))?;
        options = options.sink(sink);
    }
    if checkpoints.syslog {
        let sink = SyslogSink::new(SyslogSink::DEV_LOG, "session-proxy")
            .map_err(Failure::because("cannot send checkpoints to syslog"))?;
        options = options.sink(sink);
    }
    let log = options.open(store, keys).await.map_err(Failure::because("cannot open the log"))?;
    Ok(log)
}

/// Limits that the descriptors of this process suffice for: three for a connection (two towards the client, one towards the target), and
/// no more towards targets than are left. The log's, the files' and the control socket's are never among them.
fn limits_for_descriptors(stated: &LimitsToml) -> Result<Limits, Failure> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limits = stated.over(Limits::default());
    let mut allowed = getrlimit(Resource::Nofile);
    if allowed.current != allowed.maximum {
        allowed.current = allowed.maximum;
        // The soft limit is made for programs that use `select`; this is none.
        let _ = setrlimit(Resource::Nofile, allowed);
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let usable = usize::try_from(descriptors.saturating_sub(64)).unwrap_or(usize::MAX);
    let fit = usable / 3;
    if fit == 0 {
        return Err(Failure::new(format!(
            "{descriptors} open files are too few to serve anybody (ulimit -n)"
        )));
    }
    if fit < limits.connections_max {
        crate::say!("{descriptors} open files (ulimit -n) suffice for {fit} connections at a time");
        limits.connections_max = fit;
        limits.unauthenticated_max = limits.unauthenticated_max.min(fit.div_ceil(2));
    }
    let left = usable.saturating_sub(limits.connections_max.saturating_mul(2));
    limits.target_connections_max = limits.target_connections_max.min(left);
    Ok(limits)
}

/// Watches the policy; changes and mistakes are told on standard error and recorded.
fn watch_policy(path: &Path, recorder: AuditRecorder) -> Result<FilePolicy, Failure> {
    let name = path.display().to_string();
    // The policy is watched by a thread of its own.
    let runtime = tokio::runtime::Handle::current();
    let tell = move |news: &FileEvent| {
        let event = match news {
            FileEvent::Replaced(policy) => {
                crate::say!("policy changed");
                for warning in policy.warnings() {
                    crate::say!("policy: {warning}");
                }
                let detail = Detail::PolicyChanged(PolicyChanged::new(policy.digest()));
                Event::new(Subject::default(), Outcome::Success, detail, Utc::now())
            }
            FileEvent::Rejected(error) => {
                crate::say!("policy not changed, the old one stays in force: {name}: {error}");
                Event::new(Subject::default(), Outcome::Failure, Detail::PolicyRejected {}, Utc::now())
                    .because("mistakes", error.to_string())
            }
            _ => return,
        };
        let recorded = recorder.record(event);
        runtime.spawn(async move {
            if let Err(error) = recorded.await {
                crate::say!("a change of policy could not be recorded: {error}");
            }
        });
    };
    FilePolicy::open_with(path, tell).map_err(Failure::because(path.display().to_string()))
}
