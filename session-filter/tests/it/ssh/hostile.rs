//! Peers that lie, break off, never answer, or ask for the impossible.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelMsg, client, server};
use session_filter::ssh::keys::{Algorithm, PrivateKey, PublicKey, key::safe_rng};
use session_filter::ssh::{Credential, Destination, HostKeys, Inventory, Limits};
use session_filter::{Policy, Target};
use testbed::{Sshd, SshdOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::fixture::{Fixture, PASSWORD, POLICY};
use super::forwards::with_doors;
use super::passed_on::Agent;

pub(crate) struct Seen {
    pub(crate) exit_status: Option<u32>,
    pub(crate) stderr: String,
}

pub(crate) struct AnyKey;

impl client::Handler for AnyKey {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Runs a command of any bytes at all.
pub(crate) fn exec_raw(fixture: &Fixture, line: &[u8]) -> Seen {
    fixture.runtime.block_on(async {
        let client = connect(fixture).await;
        let mut channel = client.channel_open_session().await.unwrap();
        channel.exec(true, line).await.unwrap();
        let (mut exit_status, mut stderr) = (None, Vec::new());
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::ExitStatus { exit_status: status } => exit_status = Some(status),
                ChannelMsg::ExtendedData { data, .. } => stderr.extend_from_slice(&data),
                _ => {}
            }
        }
        Seen { exit_status, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    })
}

/// A connection that is not logged in.
pub(crate) async fn connect_as_nobody(fixture: &Fixture) -> client::Handle<AnyKey> {
    let address: SocketAddr = ([127, 0, 0, 1], fixture.port).into();
    client::connect(Arc::new(client::Config::default()), address, AnyKey).await.unwrap()
}

pub(crate) async fn connect(fixture: &Fixture) -> client::Handle<AnyKey> {
    let mut client = connect_as_nobody(fixture).await;
    assert!(client.authenticate_password("alice", PASSWORD).await.unwrap().success());
    client
}

/// A fixture whose target listens where `target` says, with `host_key` pinned.
fn with_target(address: SocketAddr, host_key: PublicKey, limits: Limits) -> Fixture {
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let inventory = Inventory::new().target(
        Destination::new(Target::new("box"), "127.0.0.1", address.port(), HostKeys::Pinned(vec![host_key])),
        Credential::key("somebody", key),
    );
    Fixture::assemble(sshd, POLICY, inventory, limits)
}

fn impatient() -> Limits {
    let mut limits = Limits::default();
    limits.target_timeout = Duration::from_millis(700);
    limits
}

fn some_key() -> PrivateKey {
    PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap()
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_with_another_host_key_gets_no_credential() {
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let address = sshd.addr();
    let fixture = with_target(address, some_key().public_key().clone(), Limits::default());
    let output = fixture.ssh().run("echo x").unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("host key"), "{}", output.stderr_text());
    let failed = fixture.events_of("target.failed");
    assert_eq!(failed[0]["reason"], "host_key_mismatch");
    assert!(!sshd.log().contains("Accepted"), "{}", sshd.log());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_that_refuses_the_credential_is_named() {
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    let host_key = PublicKey::from_openssh(sshd.host_public_key()).unwrap();
    let fixture = with_target(sshd.addr(), host_key, Limits::default());
    let output = fixture.ssh().run("echo x").unwrap();
    assert_eq!(output.code(), Some(255));
    assert_eq!(fixture.events_of("target.failed")[0]["reason"], "credential_refused");
    let executed = fixture.events_of("command.executed");
    assert_eq!(
        (&executed[0]["outcome"], &executed[0]["reason"]),
        (&"failure".into(), &"credential_refused".into())
    );
}

/// What a fake target does with each connection.
#[derive(Clone, Copy)]
enum Trick {
    /// Accepts and says nothing.
    Silence,
    /// Closes at once.
    Hangup,
    /// Speaks something that is not SSH.
    Babble,
    /// Refuses connections.
    Absent,
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn targets_that_do_not_speak_ssh_end_in_a_reason() {
    for (trick, codes) in [
        (Trick::Silence, &["target_timeout"][..]),
        (Trick::Hangup, &["target_protocol"]),
        (Trick::Babble, &["target_protocol", "target_timeout"]),
        (Trick::Absent, &["target_unreachable"]),
    ] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        if matches!(trick, Trick::Absent) {
            drop(listener);
        } else {
            runtime.spawn(async move {
                let mut kept = Vec::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    match trick {
                        Trick::Silence | Trick::Absent => kept.push(stream),
                        Trick::Hangup => drop(stream),
                        Trick::Babble => {
                            let _ = stream.write_all(&[b'x'; 300_000]).await;
                            let mut sink = [0; 1024];
                            while matches!(stream.read(&mut sink).await, Ok(1..)) {}
                        }
                    }
                }
            });
        }
        let fixture = with_target(address, some_key().public_key().clone(), impatient());
        let output = fixture.ssh().run("echo x").unwrap();
        assert_eq!(output.code(), Some(255), "{}", output.stderr_text());
        let reason = fixture.events_of("target.failed")[0]["reason"].as_str().unwrap().to_owned();
        assert!(codes.contains(&reason.as_str()), "{reason}");
    }
}

/// An SSH target that lets anyone in and answers each command by `answer`.
struct Liar {
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    /// Passes the self-test, then never answers an exec request.
    NeverAgain,
    /// Passes the self-test, then closes without an exit status.
    NoStatus,
    /// Prints something else than the self-test expects.
    Garbled,
    /// Passes the self-test, then opens channels towards the proxy.
    OpensChannels,
    /// Endless output to the self-test.
    Flood,
}

impl server::Handler for Liar {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, Self::Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: russh::Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn agent_request(
        &mut self,
        _: russh::ChannelId,
        _: &mut server::Session,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn exec_request(
        &mut self,
        channel: russh::ChannelId,
        line: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        let probe = session_filter::quote::probe_command() == line;
        let handle = session.handle();
        match (probe, self.answer) {
            (true, Answer::Garbled) => {
                session.channel_success(channel)?;
                session.data(channel, &b"not what was asked for"[..])?;
                session.exit_status_request(channel, 0)?;
                session.close(channel)?;
            }
            (true, Answer::Flood) => {
                session.channel_success(channel)?;
                tokio::spawn(async move { while handle.data(channel, vec![b'x'; 32_000]).await.is_ok() {} });
            }
            (true, _) => {
                session.channel_success(channel)?;
                session.data(channel, session_filter::quote::probe_expected())?;
                session.exit_status_request(channel, 0)?;
                session.close(channel)?;
            }
            (false, Answer::NoStatus) => {
                session.channel_success(channel)?;
                session.data(channel, &b"partial"[..])?;
                session.close(channel)?;
            }
            (false, Answer::OpensChannels) => {
                session.channel_success(channel)?;
                tokio::spawn(async move {
                    let forwarded =
                        handle.channel_open_forwarded_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await;
                    let agent = handle.channel_open_agent().await;
                    let x11 = handle.channel_open_x11("127.0.0.1", 1).await;
                    let opened = [forwarded.is_ok(), agent.is_ok(), x11.is_ok()];
                    let status = opened.into_iter().fold(0, |bits, opened| bits * 2 + u32::from(opened));
                    let _ = handle.exit_status_request(channel, 40 + status).await;
                    let _ = handle.close(channel).await;
                });
            }
            (false, _) => {}
        }
        Ok(())
    }
}

fn lied_to(answer: Answer) -> Fixture {
    let host_key = some_key();
    let public = host_key.public_key().clone();
    let runtime = Box::leak(Box::new(tokio::runtime::Runtime::new().unwrap()));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(server::Config { keys: vec![host_key], ..server::Config::default() });
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let config = Arc::clone(&config);
            tokio::spawn(async move {
                if let Ok(running) = server::run_stream(config, stream, Liar { answer }).await {
                    let _ = running.await;
                }
            });
        }
    });
    with_target(address, public, impatient())
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_that_does_not_keep_quotes_is_refused() {
    for answer in [Answer::Garbled, Answer::Flood] {
        let fixture = lied_to(answer);
        let output = fixture.ssh().run("echo x").unwrap();
        assert_eq!(output.code(), Some(255));
        assert_eq!(fixture.events_of("target.failed")[0]["reason"], "quoting_self_test_failed");
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_that_never_answers_is_given_up_and_the_outcome_is_unknown() {
    let fixture = lied_to(Answer::NeverAgain);
    let output = fixture.ssh().run("echo x").unwrap();
    assert_eq!(output.code(), Some(255));
    fixture.wait_for("the end is on record", |f| !f.events_of("command.executed").is_empty());
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!((&executed["outcome"], &executed["reason"]), (&"unknown".into(), &"target_timeout".into()));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_that_closes_early_leaves_an_unknown_outcome() {
    let fixture = lied_to(Answer::NoStatus);
    let output = fixture.ssh().run("echo x").unwrap();
    assert_eq!((output.code(), output.stdout_text().as_str()), (Some(255), "partial"));
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!((&executed["outcome"], &executed["reason"]), (&"unknown".into(), &"target_closed".into()));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_cannot_open_channels_towards_the_user() {
    let fixture = lied_to(Answer::OpensChannels);
    let output = fixture.ssh().run("echo x").unwrap();
    assert_eq!(output.code(), Some(40), "{}", output.stderr_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_that_was_lent_the_agent_opens_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = lied_to(Answer::OpensChannels);
    fixture.policy.set(Policy::from_toml(&with_doors("agent = true")).unwrap());
    let socket = dir.path().join("agent");
    let _agent = Agent::start(&socket, &fixture.sshd.client_key_path());
    let lent = fixture.ssh().option(format!("IdentityAgent={}", socket.display())).arg("-A");
    let output = lent.run("echo x").unwrap();
    assert_eq!(output.code(), Some(42), "{}", output.stderr_text());
    // Lent for that command, not for whatever comes next.
    assert_eq!(fixture.ssh().run("echo x").unwrap().code(), Some(40));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn channels_beyond_the_limit_are_refused_and_the_rest_work() {
    let mut limits = Limits::default();
    limits.channels_max = 3;
    let fixture = Fixture::with(POLICY, SshdOptions::new(), limits);
    fixture.runtime.block_on(async {
        let client = connect(&fixture).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(client.channel_open_session().await.unwrap());
        }
        assert!(client.channel_open_session().await.is_err());
        let mut last = held.pop().unwrap();
        last.exec(true, "echo x").await.unwrap();
        let mut status = None;
        while let Some(message) = last.wait().await {
            if let ChannelMsg::ExitStatus { exit_status } = message {
                status = Some(exit_status);
            }
        }
        assert_eq!(status, Some(0));
    });
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_client_that_keeps_rattling_is_cut() {
    let mut limits = Limits::default();
    limits.refusals_max = 20;
    let fixture = Fixture::with(POLICY, SshdOptions::new(), limits);
    fixture.runtime.block_on(async {
        let client = connect(&fixture).await;
        let channel = client.channel_open_session().await.unwrap();
        for _ in 0..40 {
            if channel.set_env(false, "X", "y").await.is_err() {
                break;
            }
        }
    });
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    assert_eq!(fixture.events_of("session.ended")[0]["reason"], "too_many_refusals");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn one_channel_runs_one_command() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = connect(&fixture).await;
        let mut channel = client.channel_open_session().await.unwrap();
        channel.exec(true, "echo first").await.unwrap();
        channel.exec(true, "echo second").await.unwrap();
        let mut stdout = Vec::new();
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::Data { data } = message {
                stdout.extend_from_slice(&data);
            }
        }
        assert_eq!(stdout, b"first\n");
    });
    assert_eq!(fixture.events_of("command.started").len(), 1);
    let refused = fixture.events_of("request.refused");
    assert_eq!((&refused[0]["request"], &refused[0]["asked"]), (&"exec".into(), &"echo second".into()));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn strangers_are_shown_out_after_the_grace_time() {
    let mut limits = Limits::default();
    limits.login_grace = Duration::from_millis(300);
    limits.unauthenticated_max = 8;
    let fixture = Fixture::with(POLICY, SshdOptions::new(), limits);
    fixture.runtime.block_on(async {
        let mut idlers = Vec::new();
        for _ in 0..2 {
            idlers.push(tokio::net::TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap());
        }
        for idler in &mut idlers {
            let mut all = Vec::new();
            // Ends only because the proxy closes.
            let _ = idler.read_to_end(&mut all).await;
        }
    });
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn strangers_from_one_address_leave_room_for_others() {
    let mut limits = Limits::default();
    limits.unauthenticated_per_source_max = 3;
    let fixture = Fixture::with(POLICY, SshdOptions::new(), limits);
    fixture.runtime.block_on(async {
        let mut idlers = Vec::new();
        for _ in 0..10 {
            idlers.push(tokio::net::TcpStream::connect(("127.0.0.1", fixture.port)).await.unwrap());
        }
        // Those beyond the limit are closed at once.
        let mut closed = 0;
        for idler in &mut idlers[3..] {
            let mut all = Vec::new();
            let _ = idler.read_to_end(&mut all).await;
            closed += 1;
        }
        assert_eq!(closed, 7);
        drop(idlers);
    });
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_target_that_does_not_admit_reads_like_one_that_does_not_exist() {
    let fixture = Fixture::with_policy("[[permit]]\nusers=[\"bob\"]\ntargets=[\"box\"]\ncommands=[\"id\"]\n");
    let told = |name: &str| fixture.ssh().user(name).run("id").unwrap().stderr_text();
    assert_eq!(told("alice+box"), told("alice+no-such-box"));
    let refused = fixture.events_of("session.refused");
    assert_eq!(
        (&refused[0]["reason"], &refused[1]["reason"]),
        (&"no_entry".into(), &"no_such_target".into())
    );
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn wrong_passwords_are_refused_recorded_and_limited_per_user_and_source() {
    let mut limits = Limits::default();
    limits.login_failures_max = 3;
    let fixture = Fixture::with(POLICY, SshdOptions::new(), limits);
    for _ in 0..3 {
        let output = fixture
            .ssh()
            .password("not-the-password")
            .option("NumberOfPasswordPrompts=1")
            .run("echo x")
            .unwrap();
        assert_eq!(output.code(), Some(255));
    }
    let late = fixture.ssh().option("NumberOfPasswordPrompts=1").run("echo x").unwrap();
    assert_eq!(late.code(), Some(255), "the right password is refused too, for a while");
    let failed = fixture.events_of("login.failed");
    assert_eq!(failed.len(), 4);
    assert_eq!(failed[0]["reason"], "bad_credential");
    // The typed name is no actor: strangers must not make the log know people.
    assert_eq!((&failed[0]["login_name"], failed[0].get("actor_id")), (&"alice".into(), None));
    assert_eq!(failed[3]["reason"], "too_many_failures");
    assert!(
        fixture
            .events_text()
            .iter()
            .all(|event| !event.contains("not-the-password") && !event.contains(PASSWORD))
    );
    let other = fixture.ssh().user("bob").run("echo x").unwrap();
    assert!(other.stderr_text().contains("refused"), "bob is somebody else: {}", other.stderr_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_refusal_of_a_line_cannot_act_on_the_terminal() {
    let fixture = Fixture::new();
    let seen = exec_raw(&fixture, b"\x1b]0;title\x07\x9b2J touch");
    assert!(!seen.stderr.contains('\x1b') && !seen.stderr.contains('\u{9b}'), "{:?}", seen.stderr);
}
