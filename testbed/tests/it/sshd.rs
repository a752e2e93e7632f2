use std::net::TcpStream;
use std::time::Duration;

use testbed::{Error, Ssh, Sshd, SshdOptions};

use crate::processes::{gone_soon, is_alive};

const LIMIT: Duration = Duration::from_secs(30);

fn client(server: &Sshd) -> Ssh {
    Ssh::new(server.port())
        .user(server.user())
        .key(server.client_key_path())
        .host_key(server.host_public_key())
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn runs_a_command_and_passes_input_output_and_status() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    let output = client(&server).stdin("in").run("cat; echo err >&2; exit 7").unwrap();
    assert_eq!(output.code(), Some(7), "{output:?}\n{}", server.log());
    assert_eq!(output.stdout, b"in");
    assert_eq!(output.stderr, b"err\n");
    assert!(server.log().contains("Accepted publickey"));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn accepts_connections_as_soon_as_it_has_started() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    TcpStream::connect(server.addr()).unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn many_servers_run_side_by_side() {
    let servers: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| Sshd::start(SshdOptions::new()))).collect();
        starts.into_iter().map(|start| start.join().unwrap().unwrap()).collect()
    });
    for server in &servers {
        assert_eq!(client(server).run("echo alive").unwrap().stdout, b"alive\n");
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn refuses_a_client_without_the_key() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    let output = Ssh::new(server.port()).user(server.user()).run("echo in").unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stdout.is_empty());
    assert!(output.stderr_text().contains("Permission denied"), "{output:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_pinned_host_key_refuses_another_server() {
    let (one, other) = (Sshd::start(SshdOptions::new()).unwrap(), Sshd::start(SshdOptions::new()).unwrap());
    let output = client(&one).host_key(other.host_public_key()).run("echo in").unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("Host key verification failed"), "{output:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn dropping_ends_running_sessions_and_what_they_left_behind() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    let dir = server.dir().to_owned();
    let session = client(&server).spawn("echo $$; exec sleep 1000").unwrap();
    assert!(session.wait_for_stdout("\n", LIMIT), "{}", server.log());
    let in_session = String::from_utf8(session.stdout()).unwrap().trim().to_owned();
    let left = client(&server).run("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!").unwrap();
    let left_behind = left.stdout_text().trim().to_owned();
    assert!(is_alive(&in_session) && is_alive(&left_behind));

    drop(server);

    assert!(gone_soon(&in_session) && gone_soon(&left_behind));
    assert!(!dir.exists());
    assert_eq!(session.wait(LIMIT).unwrap().code(), Some(255));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn options_reach_the_session() {
    let options = SshdOptions::new()
        .force_command("echo \"$COLOUR:$SSH_ORIGINAL_COMMAND\"")
        .set_env("COLOUR", "deep blue")
        .config_line("MaxSessions 3");
    let server = Sshd::start(options).unwrap();
    assert_eq!(client(&server).run("rm -r *").unwrap().stdout, b"deep blue:rm -r *\n");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn shows_the_log_of_a_server_that_refuses_its_configuration() {
    match Sshd::start(SshdOptions::new().config_line("NoSuchWord yes")) {
        Err(Error::NotStarted { log, .. }) => assert!(log.contains("NoSuchWord"), "{log}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn lets_in_keys_that_are_authorised_later() {
    let (server, other) =
        (Sshd::start(SshdOptions::new()).unwrap(), Sshd::start(SshdOptions::new()).unwrap());
    let guest = Ssh::new(server.port()).user(server.user()).key(other.client_key_path());
    assert_eq!(guest.run("echo in").unwrap().code(), Some(255));
    let public = std::fs::read_to_string(other.client_key_path().with_extension("pub")).unwrap();
    server.authorize(public.trim()).unwrap();
    assert_eq!(guest.run("echo in").unwrap().stdout, b"in\n");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn commands_share_one_connection_through_a_master() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    let mut master = client(&server).master().unwrap();
    for round in 0..5 {
        assert_eq!(master.run(format!("echo {round}")).unwrap().stdout_text(), format!("{round}\n"));
    }
    assert_eq!(server.log().matches("Accepted publickey").count(), 1, "{}", server.log());
    assert!(master.is_up().unwrap());
    master.stop().unwrap();
    assert!(server.wait_for_log("Disconnected from user", LIMIT), "{}", server.log());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_master_that_cannot_log_in_is_an_error() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    match Ssh::new(server.port()).master() {
        Err(Error::Failed { stderr, .. }) => assert!(stderr.contains("Permission denied"), "{stderr}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn asks_for_shells_and_subsystems() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    assert_eq!(client(&server).stdin("echo from a shell\n").shell().unwrap().stdout, b"from a shell\n");
    // The first packet of SFTP (draft-ietf-secsh-filexfer-02 §4): INIT with version 3, answered by VERSION (2).
    let mut sftp = client(&server).spawn_subsystem("sftp").unwrap();
    sftp.write(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).unwrap();
    assert!(sftp.wait_for_stdout("\u{2}\0\0\0\u{3}", LIMIT), "{:?}", sftp.kill());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn kills_a_client_that_takes_too_long() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    let outcome = client(&server).timeout(Duration::from_secs(1)).run("sleep 1000");
    assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn prompts_are_answered_with_the_password() {
    // A key's passphrase is asked for in the same way as a login password, and needs no account with a known password.
    const SECRET: &str = r#"p'a"s $word\n %s"#;
    let server = Sshd::start(SshdOptions::new()).unwrap();
    let key = server.dir().join("locked_key");
    std::fs::copy(server.client_key_path(), &key).unwrap();
    let key_arg = key.to_str().unwrap();
    testbed::run("ssh-keygen", "openssh-client", ["-q", "-p", "-P", "", "-N", SECRET, "-f", key_arg])
        .unwrap();
    let locked = Ssh::new(server.port()).user(server.user()).key(&key);

    assert_eq!(locked.clone().password(SECRET).run("echo in").unwrap().stdout, b"in\n");
    assert_eq!(locked.clone().password("wrong").run("echo in").unwrap().code(), Some(255));
    assert_eq!(locked.run("echo in").unwrap().code(), Some(255), "nothing to answer with");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn other_tools_can_call_it_as_a_program() {
    let server = Sshd::start(SshdOptions::new()).unwrap();
    let program = client(&server).env("LC_ALL", "it's").option("SendEnv=LC_ALL").program().unwrap();
    let output = testbed::run(
        program.path().to_str().unwrap(),
        "openssh-client",
        ["-o", "User=nobody", "127.0.0.1", "echo \"a  b\""],
    )
    .unwrap();
    assert_eq!(output.stdout_text(), "a  b\n");
}
