//! Every other door: tried with the real client, refused, recorded; the same door stands open on the bare target.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::fixture::{Fixture, take_mark};

fn refused(fixture: &Fixture, request: &str) -> usize {
    fixture.events_of("request.refused").iter().filter(|event| event["request"] == request).count()
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_terminal_is_refused() {
    let fixture = Fixture::new();
    let direct = fixture.direct().arg("-tt").run("test -t 1 && echo terminal").unwrap();
    assert!(direct.stdout_text().contains("terminal"));
    // A client that insists on a terminal gives up; one that only asks for it goes on without.
    let output = fixture.ssh().arg("-tt").run("echo plain").unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("PTY allocation request failed"), "{}", output.stderr_text());
    assert_eq!(refused(&fixture, "pty-req"), 1);
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn environment_variables_stay_outside() {
    let fixture = Fixture::new();
    for name in ["LD_PRELOAD", "BASH_ENV", "PATH", "GIT_SSH_COMMAND", "PAGER", "LC_ALL", "MARK"] {
        let set = format!("SetEnv={name}=/nowhere/{name}");
        let line = format!("printenv {name}");
        if name == "MARK" {
            let direct = fixture.direct().option(&set).run(&line).unwrap();
            assert_eq!(direct.stdout_text(), "/nowhere/MARK\n", "positive control");
        }
        let output = fixture.ssh().option(&set).run(&line).unwrap();
        assert!(!output.stdout_text().contains("/nowhere"), "{name}: {}", output.stdout_text());
    }
    assert!(refused(&fixture, "env") >= 7);
    // Names are recorded, values are not: they may be secrets.
    assert!(fixture.events_text().iter().all(|event| !event.contains("/nowhere")));
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn subsystems_are_refused() {
    let fixture = Fixture::new();
    for name in ["sftp", "netconf", "x"] {
        let output = fixture.ssh().subsystem(name).unwrap();
        assert_ne!(output.code(), Some(0));
    }
    assert_eq!(refused(&fixture, "subsystem"), 3);
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn forwards_carry_nothing() {
    let fixture = Fixture::new();
    let reachable = TcpListener::bind("127.0.0.1:0").unwrap();
    reachable.set_nonblocking(true).unwrap();
    let behind = reachable.local_addr().unwrap().port();

    // Local and dynamic: the client listens, the proxy refuses each channel.
    for (how, request) in [("-L", "direct-tcpip"), ("-D", "direct-tcpip")] {
        let local = testbed::free_port().unwrap();
        let forward = if how == "-L" { format!("{local}:127.0.0.1:{behind}") } else { local.to_string() };
        let before = refused(&fixture, request);
        let running = fixture.ssh().arg(how).arg(&forward).spawn("sleep 30").unwrap();
        fixture.wait_for("the command runs", |f| !f.registry.list().is_empty() && connect(local).is_some());
        let mut stream = connect(local).unwrap();
        if how == "-D" {
            let mut hello = vec![5, 1, 0];
            hello.extend_from_slice(&[5, 1, 0, 1, 127, 0, 0, 1]);
            hello.extend_from_slice(&behind.to_be_bytes());
            std::io::Write::write_all(&mut stream, &hello).unwrap();
        }
        let mut answer = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.read_to_end(&mut answer);
        assert!(reachable.accept().is_err(), "{how} reached the port behind");
        fixture.wait_for("the attempt is on record", |f| refused(f, request) > before);
        drop(running.kill().unwrap());
        fixture.wait_for("the session is over", |f| f.registry.list().is_empty());
    }

    // Remote: refused as a whole, and said so.
    let remote = testbed::free_port().unwrap();
    let output = fixture
        .ssh()
        .option("ExitOnForwardFailure=yes")
        .arg("-R")
        .arg(format!("{remote}:127.0.0.1:{behind}"))
        .run("echo x")
        .unwrap();
    assert_ne!(output.code(), Some(0), "{}", output.stdout_text());
    assert_eq!(refused(&fixture, "tcpip-forward"), 1);

    // Unix sockets, both ways.
    let socket = fixture.dir.path().join("socket");
    let there = fixture.dir.path().join("there");
    let output = fixture
        .ssh()
        .option("ExitOnForwardFailure=yes")
        .arg("-R")
        .arg(format!("{}:{}", there.display(), socket.display()))
        .run("echo x")
        .unwrap();
    assert_ne!(output.code(), Some(0));
    assert!(!there.exists());
    assert_eq!(refused(&fixture, "streamlocal-forward@openssh.com"), 1);

    let output =
        fixture.ssh().arg("-W").arg(format!("127.0.0.1:{behind}")).timeout(Duration::from_secs(20)).shell();
    assert_ne!(output.unwrap().code(), Some(0));
    assert!(reachable.accept().is_err());
    fixture.assert_alive();
}

fn connect(port: u16) -> Option<TcpStream> {
    TcpStream::connect(("127.0.0.1", port)).ok()
}

/// An `ssh-agent`, since the client asks it for keys before it offers to forward it.
struct RealAgent(std::process::Child);

impl RealAgent {
    fn start(socket: &std::path::Path) -> Self {
        let child = std::process::Command::new("ssh-agent").arg("-D").arg("-a").arg(socket).spawn().unwrap();
        while !socket.exists() {
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn agent_and_x11_are_refused() {
    let fixture = Fixture::new();
    let agent = fixture.dir.path().join("agent");
    let _agent = RealAgent::start(&agent);
    let output = fixture
        .ssh()
        .option(format!("IdentityAgent={}", agent.display()))
        .arg("-A")
        .run("printenv SSH_AUTH_SOCK")
        .unwrap();
    assert_eq!(output.stdout_text(), "", "no agent on the target");
    assert_eq!(refused(&fixture, "auth-agent-req@openssh.com"), 1);
    let output = fixture
        .ssh()
        .env("DISPLAY", "127.0.0.1:77")
        .option("ForwardX11=yes")
        .option("ForwardX11Trusted=yes")
        .option("XAuthLocation=/bin/true")
        .run("printenv DISPLAY")
        .unwrap();
    assert_eq!(output.stdout_text(), "");
    assert_eq!(refused(&fixture, "x11-req"), 1);
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn further_channels_are_checked_like_the_first() {
    let fixture = Fixture::new();
    let mark = fixture.mark();
    assert_eq!(fixture.direct().run(format!("touch {}", mark.display())).unwrap().code(), Some(0));
    assert!(take_mark(&mark), "positive control");
    let master = fixture.ssh().master().unwrap();
    assert_eq!(master.run("echo one").unwrap().stdout_text(), "one\n");
    super::fixture::assert_blocked(&master.run(format!("touch {}", mark.display())).unwrap());
    assert_eq!(master.run("echo two").unwrap().stdout_text(), "two\n");
    assert!(!mark.exists());
    master.stop().unwrap();
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    let ended = fixture.events_of("session.ended").pop().unwrap();
    assert_eq!((&ended["commands"], &ended["commands_blocked"]), (&2.into(), &1.into()));
    assert_eq!(fixture.events_of("session.started").len(), 1, "one connection is one session");
    assert_eq!(fixture.events_of("target.connected").len(), 1, "with one connection to the target");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn shell_requests_are_answered_with_what_may_be_run() {
    let fixture = Fixture::new();
    let output = fixture.ssh().shell().unwrap();
    assert_eq!(output.code(), Some(1));
    for pattern in ["echo ...", "ls ...", "cat /etc/os-release"] {
        assert!(output.stdout_text().contains(pattern), "{}", output.stdout_text());
    }
    assert_eq!(refused(&fixture, "shell"), 1);
}
