//! The proxy: accepts connections and sees each one to its end.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use russh::keys::{Algorithm, PrivateKey};
use russh::{Disconnect, SshId, server};
use std::borrow::Cow;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::algorithms;
use super::limits::Limits;
use super::login::{Authenticator, Failures, NoAuthenticator, source_bucket};
use super::server::{Doorman, Standing};
use super::session::End;
use super::target::{CredentialSource, Dialer, Inventory, TargetResolver, TcpDialer};
use super::text::printable;
use crate::anomaly::AnomalyDetector;
use crate::directory::Directory;
use crate::door::Door;
use crate::gate::{Decision, DenyAll, Gatekeeper, SessionRequest};
use crate::record::{NoRecorder, Recorder};
use crate::registry::Registry;
use crate::verdict::{Denial, Refusal, Verdict};

/// What all connections of a proxy share.
pub(crate) struct Shared {
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) gatekeeper: Arc<dyn Gatekeeper>,
    pub(crate) targets: Arc<dyn TargetResolver>,
    pub(crate) credentials: Arc<dyn CredentialSource>,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) registry: Registry,
    pub(crate) anomalies: Option<Arc<dyn AnomalyDetector>>,
    pub(crate) limits: Limits,
    pub(crate) failures: Failures,
    /// Places for connections to targets.
    pub(crate) target_connections: Arc<Semaphore>,
    /// Who is at the menu.
    pub(crate) choosing: Waiting<String>,
}

impl Shared {
    /// The gatekeeper's decision; silence is a denial.
    pub(crate) async fn admit(&self, request: &SessionRequest) -> Decision {
        let asked = self.gatekeeper.admit(request, Utc::now());
        tokio::time::timeout(self.limits.gatekeeper_timeout, asked).await.unwrap_or_else(|_| {
            Decision::Deny(Refusal::new(
                "gatekeeper_timeout",
                "whether this is permitted cannot be found out now",
            ))
        })
    }

    /// The gatekeeper's verdict; silence is a denial.
    pub(crate) async fn check(
        &self,
        request: &SessionRequest,
        line: &[u8],
        directory: &Directory,
    ) -> Verdict {
        let asked = self.gatekeeper.check_in(request, line, directory, Utc::now());
        tokio::time::timeout(self.limits.gatekeeper_timeout, asked).await.unwrap_or_else(|_| {
            let why = "whether it is permitted cannot be found out now";
            Verdict::Deny(Denial::new(line, "gatekeeper_timeout", why))
        })
    }
}

impl Shared {
    /// Whether a door is open; silence is a denial.
    pub(crate) async fn open(&self, request: &SessionRequest, door: &Door) -> Result<(), Refusal> {
        let asked = self.gatekeeper.open(request, door, Utc::now());
        tokio::time::timeout(self.limits.gatekeeper_timeout, asked).await.unwrap_or_else(|_| {
            Err(Refusal::new("gatekeeper_timeout", "whether this is permitted cannot be found out now"))
        })
    }
}

/// Collects what a [`Proxy`] needs. What is left out denies: no users, no rules, no targets, no recorder.
pub struct ProxyBuilder {
    host_keys: Vec<PrivateKey>,
    authenticator: Arc<dyn Authenticator>,
    gatekeeper: Arc<dyn Gatekeeper>,
    targets: Arc<dyn TargetResolver>,
    credentials: Arc<dyn CredentialSource>,
    dialer: Arc<dyn Dialer>,
    recorder: Arc<dyn Recorder>,
    registry: Registry,
    anomalies: Option<Arc<dyn AnomalyDetector>>,
    limits: Limits,
}

impl ProxyBuilder {
    /// Offers another host key, such as RSA beside Ed25519.
    #[must_use]
    pub fn host_key(mut self, key: PrivateKey) -> Self {
        self.host_keys.push(key);
        self
    }

    /// Who is it.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Arc::new(authenticator);
        self
    }

    /// May they enter, from there, now; which commands.
    #[must_use]
    pub fn gatekeeper(mut self, gatekeeper: impl Gatekeeper + 'static) -> Self {
        self.gatekeeper = Arc::new(gatekeeper);
        self
    }

    /// Where to, and with which injected credential.
    #[must_use]
    pub fn targets<T: TargetResolver + CredentialSource>(mut self, targets: T) -> Self {
        let targets = Arc::new(targets);
        self.targets = Arc::clone(&targets) as Arc<dyn TargetResolver>;
        self.credentials = targets;
        self
    }

    /// Takes credentials from elsewhere than the targets' list, such as a vault. Call after [`targets`](Self::targets).
    #[must_use]
    pub fn credentials(mut self, credentials: impl CredentialSource) -> Self {
        self.credentials = Arc::new(credentials);
        self
    }

    /// How targets are reached; by TCP unless said otherwise.
    #[must_use]
    pub fn dialer(mut self, dialer: impl Dialer) -> Self {
        self.dialer = Arc::new(dialer);
        self
    }

    /// Nothing runs unrecorded.
    #[must_use]
    pub fn recorder(mut self, recorder: impl Recorder) -> Self {
        self.recorder = Arc::new(recorder);
        self
    }

    /// Lists this proxy's sessions in `registry`, which may serve several proxies.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Limits other than the default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What stands out in sessions is put on record, and ends them where the detector says so. Nothing is looked at by default.
    ///
    /// Told are sessions, commands (before they are sent), what is refused, and output of commands, files and doors, the latter
    /// every 256 KiB. The file operations and raw terminals of a session are no commands.
    #[must_use]
    pub fn anomalies(mut self, detector: impl AnomalyDetector + 'static) -> Self {
        self.anomalies = Some(Arc::new(detector));
        self
    }

    /// The proxy.
    pub fn build(self) -> Proxy {
        let limits = self.limits;
        let refusals_max =
            limits.login_attempts_max.saturating_add(limits.offered_keys_max).saturating_add(8);
        let config = server::Config {
            server_id: SshId::Standard(Cow::Borrowed(concat!(
                "SSH-2.0-session_filter_",
                env!("CARGO_PKG_VERSION")
            ))),
            methods: super::login::methods(),
            // Wrong passwords and codes take their time in our own hands: offered keys need none, and clients offer many.
            auth_rejection_time: Duration::ZERO,
            keys: self.host_keys,
            preferred: algorithms::towards_clients(),
            // The library counts whatever it refuses, keys on offer included; what counts as a failed login is ours to say.
            max_auth_attempts: refusals_max,
            // Silence is the session clock's business; a dead peer is found by keepalives.
            inactivity_timeout: None,
            keepalive_interval: Some(limits.keepalive_every),
            keepalive_max: 3,
            nodelay: true,
            window_size: WINDOW_BYTES,
            ..server::Config::default()
        };
        let shared = Shared {
            authenticator: self.authenticator,
            gatekeeper: self.gatekeeper,
            targets: self.targets,
            credentials: self.credentials,
            dialer: self.dialer,
            recorder: self.recorder,
            registry: self.registry,
            anomalies: self.anomalies,
            failures: Failures::new(&limits),
            target_connections: Arc::new(Semaphore::new(
                limits.target_connections_max.min(Semaphore::MAX_PERMITS),
            )),
            choosing: Waiting::default(),
            limits,
        };
        Proxy { shared: Arc::new(shared), config: Arc::new(config) }
    }
}

/// What a client may send on a channel before it must wait for more room. The library gives room again when half of it is used up, so
/// that half is what is under way on a slow network: 2 MiB, as much as OpenSSH has.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// An SSH proxy: a server towards users, a client towards targets, and between them the check and the record.
pub struct Proxy {
    shared: Arc<Shared>,
    config: Arc<server::Config>,
}

impl Proxy {
    /// Starts with the host key by which clients know this proxy.
    pub fn builder(host_key: PrivateKey) -> ProxyBuilder {
        ProxyBuilder {
            host_keys: vec![host_key],
            authenticator: Arc::new(NoAuthenticator),
            gatekeeper: Arc::new(DenyAll),
            targets: Arc::new(Inventory::new()),
            credentials: Arc::new(Inventory::new()),
            dialer: Arc::new(TcpDialer),
            recorder: Arc::new(NoRecorder),
            registry: Registry::new(),
            anomalies: None,
            limits: Limits::default(),
        }
    }

    /// The live sessions.
    pub fn registry(&self) -> Registry {
        self.shared.registry.clone()
    }

    /// Serves until the listener fails.
    ///
    /// # Errors
    /// When accepting fails for a reason other than a single connection or a passing shortage of descriptors.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        self.serve_until(listener, std::future::pending()).await
    }

    /// Serves until `shutdown` resolves; then no connection is accepted any more, every session ends with a reason that
    /// its user sees, and the call returns when all of them are recorded as ended.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_until(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let unauthenticated = Arc::new(Semaphore::new(self.shared.limits.unauthenticated_max));
        let connections = Arc::new(Semaphore::new(self.shared.limits.connections_max));
        let strangers = Waiting::<IpAddr>::default();
        // However few there may be in all, one source does not get more than a quarter of them.
        let quarter = (self.shared.limits.unauthenticated_max / 4).max(1);
        let per_source_max = self.shared.limits.unauthenticated_per_source_max.min(quarter);
        let (stop, stopping) = watch::channel(false);
        let mut serving = tokio::task::JoinSet::new();
        tokio::pin!(shutdown);
        let result = loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break Ok(()),
                accepted = listener.accept() => accepted,
                // Finished connections are forgotten as they end.
                Some(_) = serving.join_next() => continue,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(error) => break Err(error),
            };
            // Beyond the limits a connection is closed at once; whoever waits in line waits in the kernel.
            let (Ok(connection), Ok(place), Some(source_place)) = (
                Arc::clone(&connections).try_acquire_owned(),
                Arc::clone(&unauthenticated).try_acquire_owned(),
                strangers.enter(source_bucket(peer.ip()), per_source_max),
            ) else {
                continue;
            };
            let stranger = (place, source_place);
            let (shared, config, stopping) =
                (Arc::clone(&self.shared), Arc::clone(&self.config), stopping.clone());
            serving.spawn(async move {
                let _connection = connection;
                serve_connection(shared, config, stream, peer, stranger, stopping).await;
            });
        };
        stop.send_replace(true);
        while serving.join_next().await.is_some() {}
        result
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ProxyBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<Algorithm> = self.host_keys.iter().map(PrivateKey::algorithm).collect();
        f.debug_struct("ProxyBuilder").field("host_keys", &keys).finish_non_exhaustive()
    }
}

/// Whether accepting may work again. Shortages pass, and what happened to one connection before it was accepted (accept(2) hands on
/// network errors of all kinds) concerns nobody else; only a listener that is none any more does not heal.
fn is_passing(error: &std::io::Error) -> bool {
    // EBADF, EFAULT, EINVAL, ENOTSOCK.
    !matches!(error.raw_os_error(), Some(9 | 14 | 22 | 88))
}

async fn serve_connection(
    shared: Arc<Shared>,
    config: Arc<server::Config>,
    stream: TcpStream,
    peer: SocketAddr,
    stranger: (tokio::sync::OwnedSemaphorePermit, WaitingPlace<IpAddr>),
    mut stopping: watch::Receiver<bool>,
) {
    // A dual-stack listener reports IPv4 peers as mapped addresses; policies are written about the plain ones.
    let source: IpAddr = peer.ip().to_canonical();
    // The protocol library waits for a peer to close; a second handle on the socket is what makes the end certain.
    // Without one (no descriptor is left) the limits could not be enforced, so there is no connection.
    let Ok(second) = stream.as_fd().try_clone_to_owned() else { return };
    let socket = Socket(std::net::TcpStream::from(second));
    // Latency matters for keystrokes and short commands; without it things only get slower.
    let _ = stream.set_nodelay(true);
    let (standing, mut seen) = watch::channel(Standing::Stranger);
    let doorman = Doorman::new(Arc::clone(&shared), source, standing.clone());
    let limits = shared.limits.clone();

    // One deadline for everything up to the login.
    let grace = tokio::time::sleep(limits.login_grace);
    let running = tokio::select! {
        running = tokio::time::timeout(limits.login_grace, server::run_stream(config, stream, doorman)) => running,
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    let Ok(Ok(mut running)) = running else { return };
    let handle = running.handle();

    let mut gone = false;
    let session = tokio::select! {
        _ = &mut running => {
            gone = true;
            None
        }
        session = entered(&mut seen, stranger) => session,
        () = overdue(grace, &standing, limits.choice_time) => None,
        _ = stopping.wait_for(|stop| *stop) => None,
    };
    let session = match session {
        Some(session) => session,
        None => {
            // A login or a choice may be under way, and could still begin a session: it must not be left without this watch.
            drop(socket);
            if !gone {
                let _ = running.await;
            }
            let before = standing.send_replace(Standing::Refused("the connection is closed".into()));
            if let Standing::Session(session) = before {
                let is_stopping = *stopping.borrow();
                session.end(if is_stopping { End::Shutdown } else { End::ClientLeft });
                session.close().await;
            }
            return;
        }
    };

    let end = tokio::select! {
        _ = &mut running => {
            gone = true;
            End::ClientLeft
        }
        end = session.ended() => end,
        _ = stopping.wait_for(|stop| *stop) => End::Shutdown,
    };
    session.end(end.clone());
    // Commands say goodbye on their own channels first.
    session.settle(limits.farewell).await;
    if !gone {
        // A client whose last channel was closed leaves by itself. It gets the time to: OpenSSH's exits at a disconnect message
        // without writing out what it has just received, and that would be the reason.
        gone = tokio::time::timeout(limits.farewell / 2, &mut running).await.is_ok();
    }
    if !gone {
        let farewell = handle.disconnect(
            Disconnect::ByApplication,
            printable(&end.message()).into_owned(),
            "en".to_owned(),
        );
        let _ = tokio::time::timeout(limits.farewell, farewell).await;
    }
    session.close().await;
    if !gone {
        let _ = tokio::time::timeout(limits.farewell, running).await;
    }
    drop(socket);
}

/// Connections that have no session yet, by whom they are from: before the login a source, at the menu a user.
pub(crate) struct Waiting<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Waiting<K> {
    /// A place, unless `places_max` are taken.
    pub(crate) fn enter(&self, from: K, places_max: usize) -> Option<WaitingPlace<K>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(from.clone()).or_default();
        if *count >= places_max {
            return None;
        }
        *count += 1;
        Some(WaitingPlace { held: Arc::clone(&self.0), from })
    }
}

/// One connection's place; dropping it frees the place.
pub(crate) struct WaitingPlace<K: Eq + Hash> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    from: K,
}

impl<K: Eq + Hash> Drop for WaitingPlace<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.from);
            }
        }
    }
}

/// Resolves when a session has begun. A refused connection never becomes one. Whoever has logged in is no stranger any more.
async fn entered<S>(
    seen: &mut watch::Receiver<Standing>,
    stranger: S,
) -> Option<Arc<super::session::Session>> {
    let is_known = |standing: &Standing| matches!(standing, Standing::Choosing(_) | Standing::Session(_));
    seen.wait_for(is_known).await.ok()?;
    drop(stranger);
    match &*seen.wait_for(|standing| matches!(standing, Standing::Session(_))).await.ok()? {
        Standing::Session(session) => Some(Arc::clone(session)),
        _ => None,
    }
}

/// Resolves when the time for getting in is over: for logging in and, where there is something to choose, for that.
async fn overdue(grace: tokio::time::Sleep, standing: &watch::Sender<Standing>, choice_time: Duration) {
    grace.await;
    let is_choosing = matches!(&*standing.borrow(), Standing::Choosing(_));
    if is_choosing {
        tokio::time::sleep(choice_time).await;
    }
}

/// Shuts the connection down for good when dropped, whatever the peer does.
struct Socket(std::net::TcpStream);

impl Drop for Socket {
    fn drop(&mut self) {
        // Already closed is just as well.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}
