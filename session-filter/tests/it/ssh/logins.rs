//! Keys, security keys, one-time codes and lockouts, asked for by OpenSSH's own client.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use russh::keys::PrivateKeyWithHashAlg;
use session_filter::User;
use session_filter::ssh::keys::ssh_key::LineEnding;
use session_filter::ssh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, key::safe_rng};
use session_filter::ssh::{Authenticator, CodeCheck, Limits, SecondFactor};
use session_filter::totp::{Algorithm as CodeAlgorithm, CodeMatch, Totp};
use testbed::{SecurityKeys, Ssh, Touch};

use super::fixture::{Fixture, PASSWORD, POLICY};
use super::hostile::connect_as_nobody;

/// Alice has a password and keys; Carol needs a code as well.
#[derive(Clone, Default)]
struct People {
    keys: Arc<Vec<PublicKey>>,
    last_step: Arc<Mutex<Option<u64>>>,
}

impl People {
    fn with_keys(keys: &[&PublicKey]) -> Self {
        Self { keys: Arc::new(keys.iter().map(|key| (*key).clone()).collect()), ..Self::default() }
    }

    fn owner(&self, name: &str, key: &PublicKey) -> Option<User> {
        let is_known = self.keys.iter().any(|known| known.key_data() == key.key_data());
        (is_known && matches!(name, "alice" | "carol")).then(|| User::new(name))
    }
}

#[async_trait]
impl Authenticator for People {
    async fn password(&self, name: &str, password: &str, _: IpAddr) -> Option<User> {
        (matches!(name, "alice" | "bob" | "carol") && password == PASSWORD).then(|| User::new(name))
    }

    async fn public_key(&self, name: &str, key: &PublicKey, _: IpAddr) -> Option<User> {
        self.owner(name, key)
    }

    async fn untouched_security_key(&self, name: &str, key: &PublicKey, _: IpAddr) -> Option<User> {
        self.owner(name, key).filter(|user| user.id() == "alice")
    }

    async fn second_factor(&self, user: &User) -> SecondFactor {
        if user.id() == "carol" { SecondFactor::OneTimeCode } else { SecondFactor::NotNeeded }
    }

    async fn one_time_code(&self, _: &User, code: &str, now: DateTime<Utc>, _: IpAddr) -> CodeCheck {
        let mut last_step = self.last_step.lock().unwrap();
        match seed().check(code, now, *last_step) {
            CodeMatch::Right { step } => {
                *last_step = Some(step);
                CodeCheck::Right
            }
            CodeMatch::Replayed => CodeCheck::Replayed,
            CodeMatch::Wrong => CodeCheck::Wrong,
        }
    }
}

fn seed() -> Totp {
    Totp::new(b"a seed for tests, nothing more".to_vec(), CodeAlgorithm::Sha1, 6).unwrap()
}

fn code_at(seconds: i64) -> String {
    seed().code(Utc::now() + chrono::TimeDelta::seconds(seconds)).to_string()
}

fn policy() -> String {
    POLICY.replace(r#"["alice"]"#, r#"["alice", "bob", "carol"]"#)
}

fn fixture(people: People) -> Fixture {
    Fixture::with_users(&policy(), people, Limits::default())
}

/// A client without password.
fn client(fixture: &Fixture, user: &str) -> Ssh {
    Ssh::new(fixture.port).user(user).host_key(fixture.host_key.to_openssh().unwrap())
}

fn new_key(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut safe_rng(), algorithm).unwrap()
}

fn write_key(dir: &Path, name: &str, key: &PrivateKey) -> PathBuf {
    let path = dir.join(name);
    key.write_openssh_file(&path, LineEnding::LF).unwrap();
    path
}

/// By `ssh-keygen`, as making an RSA key takes a minute without optimisation.
fn rsa_key(dir: &Path, bits: u32) -> (PathBuf, PrivateKey) {
    let path = dir.join(format!("rsa{bits}"));
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", &bits.to_string(), "-N", "", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let key = PrivateKey::read_openssh_file(&path).unwrap();
    (path, key)
}

fn assert_in(output: &testbed::Output) {
    assert_eq!((output.stdout_text().as_str(), output.code()), ("in\n", Some(0)), "{}", output.stderr_text());
}

fn assert_out(output: &testbed::Output) {
    assert_eq!(output.code(), Some(255), "{}", output.stdout_text());
    assert!(output.stderr_text().contains("Permission denied"), "{}", output.stderr_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn keys_of_every_sound_algorithm_open_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (rsa_path, rsa) = rsa_key(dir.path(), 2048);
    let (weak_path, weak) = rsa_key(dir.path(), 1024);
    let ed25519 = new_key(Algorithm::Ed25519);
    let ecdsa = new_key(Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 });
    let known = [ed25519.public_key(), ecdsa.public_key(), rsa.public_key(), weak.public_key()];
    let fixture = fixture(People::with_keys(&known));
    let good = [write_key(dir.path(), "ed", &ed25519), write_key(dir.path(), "ec", &ecdsa), rsa_path];
    for path in &good {
        assert_in(&client(&fixture, "alice").key(path).run("echo in").unwrap());
    }
    let succeeded = fixture.events_of("login.succeeded");
    for (event, key) in succeeded.iter().zip(known) {
        assert_eq!(event["method"], "publickey");
        assert_eq!(event["key_fingerprint"], key.fingerprint(HashAlg::Sha256).to_string());
        assert_eq!(event["actor_id"], "alice");
    }
    assert_eq!(succeeded.len(), 3);

    let stranger = write_key(dir.path(), "stranger", &new_key(Algorithm::Ed25519));
    assert_out(&client(&fixture, "alice").key(&stranger).run("echo in").unwrap());
    fixture.wait_for("the stranger is on record", |f| !f.events_of("login.failed").is_empty());
    let failed = &fixture.events_of("login.failed")[0];
    assert_eq!((&failed["method"], &failed["reason"]), (&"publickey".into(), &"unknown_key".into()));
    assert_eq!((&failed["login_name"], failed.get("actor_id")), (&"alice".into(), None));

    // Somebody else's key, and one that is too short.
    assert_out(&client(&fixture, "bob").key(&good[0]).run("echo in").unwrap());
    let short = client(&fixture, "alice").key(&weak_path).option("RequiredRSASize=1024");
    assert_out(&short.run("echo in").unwrap());
    assert_eq!(fixture.events_of("login.succeeded").len(), 3);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn rsa_signatures_with_sha1_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, rsa) = rsa_key(dir.path(), 2048);
    let fixture = fixture(People::with_keys(&[rsa.public_key()]));
    let rsa = Arc::new(rsa);
    fixture.runtime.block_on(async {
        let mut client = connect_as_nobody(&fixture).await;
        let sha1 = PrivateKeyWithHashAlg::new(Arc::clone(&rsa), None);
        assert!(!client.authenticate_publickey("alice", sha1).await.unwrap().success());
        let sha2 = PrivateKeyWithHashAlg::new(Arc::clone(&rsa), Some(HashAlg::Sha512));
        assert!(client.authenticate_publickey("alice", sha2).await.unwrap().success());
    });
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_client_with_many_keys_still_gets_to_its_password() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = fixture(People::default());
    let mut ssh = fixture.ssh();
    // More than the proxy looks at.
    for n in 0..Limits::default().offered_keys_max + 3 {
        let path = write_key(dir.path(), &format!("key{n}"), &new_key(Algorithm::Ed25519));
        ssh = ssh.arg("-i").arg(path);
    }
    assert_in(&ssh.run("echo in").unwrap());
    assert!(fixture.events_of("login.failed").is_empty(), "{:?}", fixture.events_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn certificates_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = new_key(Algorithm::Ed25519);
    let path = write_key(dir.path(), "user", &key);
    std::fs::write(dir.path().join("user.pub"), key.public_key().to_openssh().unwrap()).unwrap();
    let ca = write_key(dir.path(), "ca", &new_key(Algorithm::Ed25519));
    let signed = Command::new("ssh-keygen")
        .arg("-q")
        .arg("-s")
        .arg(&ca)
        .args(["-I", "alice", "-n", "alice"])
        .arg(dir.path().join("user.pub"))
        .status()
        .unwrap();
    assert!(signed.success());
    let fixture = fixture(People::with_keys(&[key.public_key()]));
    let only_certificates = client(&fixture, "alice")
        .key(&path)
        .option("PubkeyAcceptedAlgorithms=ssh-ed25519-cert-v01@openssh.com");
    assert_out(&only_certificates.run("echo in").unwrap());
    fixture.wait_for("it is on record", |f| {
        f.events_of("login.failed").iter().any(|e| e["reason"] == "certificate")
    });
    assert_in(&client(&fixture, "alice").key(&path).run("echo in").unwrap());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn security_keys_open_only_for_whom_they_may_be_left_untouched() {
    let plugged_in = SecurityKeys::plug_in().unwrap();
    let made = [
        ("ed25519-sk", Touch::Asked),
        ("ed25519-sk", Touch::NotAsked),
        ("ecdsa-sk", Touch::Asked),
        ("ecdsa-sk", Touch::NotAsked),
    ];
    let paths = made.map(|(key_type, touch)| plugged_in.make(key_type, touch).unwrap());
    let keys = paths.each_ref().map(|path| {
        PublicKey::from_openssh(&std::fs::read_to_string(path.with_extension("pub")).unwrap()).unwrap()
    });
    let fixture = fixture(People::with_keys(&keys.each_ref()));
    let client = |user, path: &PathBuf| client(&fixture, user).security_key(path, &plugged_in.provider());
    for (path, key) in paths.iter().zip(&keys) {
        assert_in(&client("alice", path).run("echo in").unwrap());
        let succeeded = fixture.events_of("login.succeeded");
        let expected = key.fingerprint(HashAlg::Sha256).to_string();
        assert_eq!(succeeded.last().unwrap()["key_fingerprint"], expected);
        // Carol's `public_key` knows it, too, and is not asked: who looks at it cannot tell whether the key was touched.
        assert_out(&client("carol", path).run("echo in").unwrap());
    }
    assert_eq!(fixture.events_of("login.succeeded").len(), paths.len());
    // Another key of the same kind is a stranger.
    let stranger = SecurityKeys::plug_in().unwrap();
    let path = stranger.make("ecdsa-sk", Touch::Asked).unwrap();
    assert_out(&client("alice", &path).run("echo in").unwrap());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_code_is_asked_for_after_the_password_or_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = new_key(Algorithm::Ed25519);
    let path = write_key(dir.path(), "key", &key);
    let people = People::with_keys(&[key.public_key()]);
    let last_step = Arc::clone(&people.last_step);
    let fixture = fixture(people);
    let forget = || *last_step.lock().unwrap() = None;
    for (ssh, method) in [
        // The default order of OpenSSH's client: both questions in one conversation.
        (client(&fixture, "carol").password(PASSWORD), "password+totp"),
        (
            client(&fixture, "carol")
                .password(PASSWORD)
                .option("PreferredAuthentications=password,keyboard-interactive"),
            "password+totp",
        ),
        (client(&fixture, "carol").key(&path), "publickey+totp"),
    ] {
        forget();
        let before = fixture.events_of("login.succeeded").len();
        assert_out(&ssh.clone().code("000 000").run("echo in").unwrap());
        assert_eq!(fixture.events_of("login.succeeded").len(), before);
        let failed = fixture.events_of("login.failed");
        let failed = failed.last().unwrap();
        assert_eq!((&failed["method"], &failed["reason"]), (&method.into(), &"bad_code".into()));
        assert_eq!((&failed["login_name"], failed.get("actor_id")), (&"carol".into(), None));

        assert_in(&ssh.clone().code(code_at(0)).run("echo in").unwrap());
        let succeeded = fixture.events_of("login.succeeded");
        assert_eq!(succeeded.last().unwrap()["method"], method);
    }
    // Without the code there is no session, and without the first factor no question for a code.
    assert_out(
        &client(&fixture, "carol")
            .key(&path)
            .option("PreferredAuthentications=publickey")
            .run("echo in")
            .unwrap(),
    );
    forget();
    let wrong = client(&fixture, "carol").password("wrong").code(code_at(0));
    assert_out(&wrong.run("echo in").unwrap());
    assert_eq!(fixture.events_of("login.failed").last().unwrap()["method"], "password");
    assert_eq!(fixture.events_of("session.started").len(), 3);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_code_opens_once_and_a_clock_may_be_off_by_one_step() {
    let people = People::default();
    let last_step = Arc::clone(&people.last_step);
    let fixture = fixture(people);
    let ssh = client(&fixture, "carol").password(PASSWORD);
    let code = code_at(0);
    assert_in(&ssh.clone().code(&code).run("echo in").unwrap());
    assert_out(&ssh.clone().code(&code).run("echo in").unwrap());
    let failed = fixture.events_of("login.failed");
    assert_eq!(failed[0]["reason"], "replayed_code");
    assert!(!failed[0].to_string().contains(&code), "{failed:?}");

    *last_step.lock().unwrap() = None;
    assert_in(&ssh.clone().code(code_at(25)).run("echo in").unwrap());
    *last_step.lock().unwrap() = None;
    for seconds in [-120, 120] {
        assert_out(&ssh.clone().code(code_at(seconds)).run("echo in").unwrap());
        assert_eq!(fixture.events_of("login.failed").last().unwrap()["reason"], "bad_code");
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_was_shown_under_one_name_is_worth_nothing_under_another() {
    let fixture = fixture(People::default());
    fixture.runtime.block_on(async {
        let mut client = connect_as_nobody(&fixture).await;
        let half = client.authenticate_password("carol", PASSWORD).await.unwrap();
        assert!(matches!(half, russh::client::AuthResult::Failure { partial_success: true, .. }), "{half:?}");
        // Another target is another name.
        use russh::client::KeyboardInteractiveAuthResponse::InfoRequest;
        let asked =
            client.authenticate_keyboard_interactive_start("carol+box", None::<String>).await.unwrap();
        let InfoRequest { prompts, .. } = asked else { panic!("{asked:?}") };
        assert_eq!(prompts[0].prompt, "Password: ");
        let answer = client.authenticate_keyboard_interactive_respond(vec![code_at(0)]).await.unwrap();
        assert!(
            matches!(answer, russh::client::KeyboardInteractiveAuthResponse::Failure { .. }),
            "{answer:?}"
        );
    });
    assert!(fixture.events_of("login.succeeded").is_empty());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn wrong_codes_lock_out_that_user_by_every_method_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let key = new_key(Algorithm::Ed25519);
    let path = write_key(dir.path(), "key", &key);
    let mut limits = Limits::default();
    limits.login_failures_max = 2;
    let fixture = Fixture::with_users(&policy(), People::with_keys(&[key.public_key()]), limits);
    let carol = client(&fixture, "carol").password(PASSWORD);
    for _ in 0..2 {
        assert_out(&carol.clone().code("000000").run("echo in").unwrap());
    }
    assert_out(&carol.clone().code(code_at(0)).run("echo in").unwrap());
    assert_out(&client(&fixture, "carol").key(&path).code(code_at(0)).run("echo in").unwrap());
    let reasons: Vec<_> = fixture.events_of("login.failed").iter().map(|e| e["reason"].clone()).collect();
    assert_eq!(reasons, ["bad_code", "bad_code", "too_many_failures"], "told once");
    assert_in(&client(&fixture, "alice").key(&path).run("echo in").unwrap());
    assert_in(&client(&fixture, "bob").password(PASSWORD).run("echo in").unwrap());
    // From elsewhere the user gets in. The whole of 127/8 is this machine.
    assert_in(&carol.code(code_at(0)).option("BindAddress=127.0.0.2").run("echo in").unwrap());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_connection_has_so_many_tries() {
    let mut limits = Limits::default();
    limits.login_attempts_max = 3;
    let fixture = Fixture::with_users(&policy(), People::default(), limits);
    fixture.runtime.block_on(async {
        let mut client = connect_as_nobody(&fixture).await;
        for n in 1..=3 {
            let result = client.authenticate_password("alice", "wrong").await.unwrap();
            let russh::client::AuthResult::Failure { remaining_methods, .. } = result else {
                panic!("{result:?}")
            };
            assert_eq!(remaining_methods.is_empty(), n == 3, "{remaining_methods:?}");
        }
        let late = client.authenticate_password("alice", PASSWORD).await;
        assert!(!late.is_ok_and(|result| result.success()));
    });
    assert_eq!(fixture.events_of("login.failed").len(), 3);
    assert!(fixture.events_of("login.succeeded").is_empty());
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn who_does_not_log_in_in_time_makes_room_for_others() {
    let mut limits = Limits::default();
    limits.login_grace = Duration::from_secs(5);
    limits.unauthenticated_max = 1;
    let fixture = Fixture::with_users(&policy(), People::default(), limits);
    let mut client = fixture.runtime.block_on(connect_as_nobody(&fixture));
    fixture.runtime.block_on(async {
        // In the middle of a conversation, and never answering.
        let asked = client.authenticate_keyboard_interactive_start("alice", None::<String>).await.unwrap();
        assert!(matches!(asked, russh::client::KeyboardInteractiveAuthResponse::InfoRequest { .. }));
    });
    let greeting = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", fixture.port)).unwrap();
        let mut first = [0; 4];
        stream.read_exact(&mut first).map(|()| first)
    };
    assert!(greeting().is_err(), "a second stranger is let in");
    fixture.wait_for("the first stranger is shown out", |_| greeting().is_ok());
    fixture.wait_for("so is the second", |_| fixture.ssh().run("echo in").unwrap().code() == Some(0));
    drop(client);
}
