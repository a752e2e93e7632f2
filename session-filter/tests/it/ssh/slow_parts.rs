//! Parts that answer late or never: what was begun is still brought to its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use session_filter::gate::SessionRequest;
use session_filter::record::MemoryRecorder;
use session_filter::registry::{Registry, Termination};
use session_filter::ssh::keys::{self, Algorithm, PrivateKey, PublicKey};
use session_filter::ssh::{
    Authenticator, Credential, CredentialError, CredentialSource, Destination, HostKeys, Inventory, Limits,
    Proxy,
};
use session_filter::{Policy, Target, User};
use testbed::{Ssh, Sshd, SshdOptions};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

use super::fixture::{Fixture, PASSWORD};

const ONE: &str = "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"echo ...\"]\n";
const OTHER: &str = "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"echo ...\", \"uptime\"]\n";

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_policy_that_changes_at_each_command_leaves_no_channel_open_on_the_target() {
    let options = SshdOptions::new().config_line("MaxSessions 4");
    let fixture = Fixture::with(ONE, options, Limits::default());
    let master = fixture.ssh().master().unwrap();
    master.run("echo warm").unwrap();
    for next in [OTHER, ONE].into_iter().cycle().take(8) {
        let held = fixture.recorder.hold();
        let before = fixture.events_of("command.started").len();
        let running = master.spawn("echo again").unwrap();
        fixture.wait_for("it is checked", |f| f.events_of("command.started").len() > before);
        fixture.policy.set(Policy::from_toml(next).unwrap());
        drop(held);
        let output = running.wait(Duration::from_secs(20)).unwrap();
        assert_eq!(output.code(), Some(0), "{}", output.stderr_text());
    }
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_end_of_a_command_is_on_record_though_its_output_waits_for_the_disk() {
    let policy = "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\nrecord=\"full\"\ncommands=[\"head -c * /dev/zero\"]\n";
    let fixture = Fixture::with_policy(policy);
    let running = fixture.ssh().spawn("head -c 900000000 /dev/zero").unwrap();
    fixture.wait_for("output comes", |f| f.events_of("command.output").len() > 3);
    let held = fixture.recorder.hold();
    let live = fixture.registry.list().remove(0);
    assert!(fixture.registry.terminate(&live.session_id, Termination::new("bob", "enough")));
    fixture.wait_for("its end is with the recorder", |f| !f.events_of("command.executed").is_empty());
    drop(held);
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    drop(running.wait(Duration::from_secs(30)));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn logins_at_the_same_time_keep_the_limit_of_sessions() {
    let mut limits = Limits::default();
    limits.sessions_per_user_max = 1;
    let fixture = Fixture::with(ONE, SshdOptions::new(), limits);
    let held = fixture.recorder.hold();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| fixture.ssh().run("echo x"));
        }
        fixture.wait_for("all six are decided", |f| {
            f.events_of("session.started").len() + f.events_of("session.refused").len() >= 6
        });
        let (started, refused) = (fixture.events_of("session.started"), fixture.events_of("session.refused"));
        assert_eq!((started.len(), refused.len()), (1, 5));
        assert_eq!(refused[0]["reason"], "too_many_sessions");
        drop(held);
    });
}

/// Gives the inventory's credentials, and takes them back only when the gate is open.
struct SlowToRelease {
    inventory: Inventory,
    asked: Arc<AtomicUsize>,
    released: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl CredentialSource for SlowToRelease {
    async fn credential(
        &self,
        request: &SessionRequest,
        destination: &Destination,
    ) -> Result<Credential, CredentialError> {
        self.inventory.credential(request, destination).await
    }

    async fn release(&self, _: &SessionRequest, _: &Destination) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _open = self.gate.acquire().await.unwrap();
        self.released.fetch_add(1, Ordering::SeqCst);
    }
}

struct Anybody;

#[async_trait]
impl Authenticator for Anybody {
    async fn password(&self, name: &str, password: &str, _: IpAddr) -> Option<User> {
        (password == PASSWORD).then(|| User::new(name))
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_credential_is_released_though_its_session_ends_meanwhile() {
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let accepted = PublicKey::from_openssh(sshd.host_public_key()).unwrap();
    // The target refuses this one, so it is released at once, and the session ends while it is.
    let wrong = PrivateKey::random(&mut keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let inventory = Inventory::new().target(
        Destination::new(Target::new("box"), "127.0.0.1", sshd.port(), HostKeys::Pinned(vec![accepted])),
        Credential::key(sshd.user(), wrong),
    );
    let (asked, released) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let credentials = SlowToRelease {
        inventory: inventory.clone(),
        asked: Arc::clone(&asked),
        released: Arc::clone(&released),
        gate: Arc::clone(&gate),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host_key = PrivateKey::random(&mut keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let public = host_key.public_key().to_openssh().unwrap();
    let registry = Registry::new();
    let proxy = Proxy::builder(host_key)
        .authenticator(Anybody)
        .gatekeeper(Policy::from_toml(ONE).unwrap())
        .targets(inventory)
        .credentials(credentials)
        .recorder(MemoryRecorder::default())
        .registry(registry.clone())
        .build();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(proxy.serve(listener));
    let running = Ssh::new(port).user("alice").password(PASSWORD).host_key(public).spawn("echo x").unwrap();
    wait_for("its release has begun", || asked.load(Ordering::SeqCst) == 1);
    let live = registry.list().remove(0);
    assert!(registry.terminate(&live.session_id, Termination::new("bob", "enough")));
    running.wait(Duration::from_secs(20)).unwrap();
    gate.add_permits(1);
    wait_for("it is released", || released.load(Ordering::SeqCst) == 1);
}

/// Never answers, and says when it was asked.
struct Silent(Arc<Notify>);

#[async_trait]
impl Authenticator for Silent {
    async fn password(&self, _: &str, _: &str, _: IpAddr) -> Option<User> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn an_authenticator_that_never_answers_does_not_keep_the_proxy_from_stopping() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host_key = PrivateKey::random(&mut keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let asked = Arc::new(Notify::new());
    let mut limits = Limits::default();
    limits.login_grace = Duration::from_secs(1);
    let proxy = Proxy::builder(host_key)
        .authenticator(Silent(Arc::clone(&asked)))
        .recorder(MemoryRecorder::default())
        .limits(limits)
        .build();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = Ssh::new(port).user("alice").password(PASSWORD).spawn("echo x").unwrap();
    let stop = async move { asked.notified().await };
    let served =
        async { tokio::time::timeout(Duration::from_secs(20), proxy.serve_until(listener, stop)).await };
    runtime.block_on(served).expect("it stops").unwrap();
    drop(running);
}
