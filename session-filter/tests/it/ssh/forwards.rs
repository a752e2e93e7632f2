//! Doors that the policy opens, with the real client and the real server: what goes through is whole and counted, and nothing
//! else goes through.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use session_filter::Policy;
use session_filter::registry::Termination;
use session_filter::ssh::Limits;
use testbed::SshdOptions;

use super::fixture::{Fixture, POLICY};

pub(super) fn with_doors(doors: &str) -> String {
    format!("{POLICY}\n[permit.doors]\n{doors}\n")
}

pub(super) fn refused(fixture: &Fixture, request: &str) -> usize {
    fixture.events_of("request.refused").iter().filter(|event| event["request"] == request).count()
}

/// `door.opened` or `door.closed` of this request.
pub(super) fn doors(fixture: &Fixture, event_type: &str, request: &str) -> Vec<serde_json::Value> {
    let mut events = fixture.events_of(event_type);
    events.retain(|event| event["request"] == request);
    events
}

pub(super) fn closed_door(fixture: &Fixture, request: &str) -> serde_json::Value {
    fixture.wait_for("the door is closed", |f| !doors(f, "door.closed", request).is_empty());
    doors(fixture, "door.closed", request).remove(0)
}

/// Sends back what it gets, and ends when its peer does.
struct Echo {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        Self { port, visits }
    }

    fn at(socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

/// Tries until something listens there; the deadline is for a broken proxy.
fn connect(port: u16) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// Sends everything, says that this was all, and returns everything that comes back.
fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut sending = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            sending.write_all(bytes).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back
    })
}

fn some_bytes(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Whether what is sent there goes nowhere.
fn swallows(port: u16) -> bool {
    let mut stream = connect(port);
    let _ = stream.write_all(b"x");
    let _ = stream.shutdown(Shutdown::Write);
    let mut back = Vec::new();
    // Reset or closed: nothing comes back either way.
    let _ = stream.read_to_end(&mut back);
    back.is_empty()
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_local_forward_carries_bytes_both_ways_and_counts_them() {
    let (echo, other) = (Echo::start(), Echo::start());
    let fixture =
        Fixture::with_policy(&with_doors(&format!("local-forward = [\"127.0.0.1:{}\"]", echo.port)));
    let (open, shut) = (testbed::free_port().unwrap(), testbed::free_port().unwrap());
    let master = fixture
        .ssh()
        .arg("-L")
        .arg(format!("{open}:127.0.0.1:{}", echo.port))
        .arg("-L")
        .arg(format!("{shut}:127.0.0.1:{}", other.port))
        .master()
        .unwrap();
    let bytes = some_bytes(5_000_001);
    assert!(exchange(connect(open), &bytes) == bytes, "what came back differs");
    let opened = doors(&fixture, "door.opened", "direct-tcpip").remove(0);
    let closed = closed_door(&fixture, "direct-tcpip");
    assert_eq!(opened["asked"], format!("127.0.0.1:{}", echo.port));
    assert_eq!(opened["correlation_id"], closed["correlation_id"]);
    assert_eq!(
        (&closed["bytes_to_target"], &closed["bytes_to_client"]),
        (&5_000_001.into(), &5_000_001.into())
    );
    assert_eq!((&closed["outcome"], &closed["actor_id"]), (&"success".into(), &"alice".into()));

    assert!(swallows(shut), "another port than the policy names");
    fixture.wait_for("the attempt is on record", |f| refused(f, "direct-tcpip") == 1);
    assert_eq!((echo.visits(), other.visits()), (1, 0));
    assert_eq!(doors(&fixture, "door.opened", "direct-tcpip").len(), 1);
    master.stop().unwrap();
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    assert_eq!(fixture.events_of("session.ended")[0]["requests_refused"], 1);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_is_sent_before_both_ends_close_arrives() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let fixture = Fixture::with_policy(&with_doors(&format!("local-forward = [\"127.0.0.1:{port}\"]")));
    let local = testbed::free_port().unwrap();
    let master = fixture.ssh().arg("-L").arg(format!("{local}:127.0.0.1:{port}")).master().unwrap();
    let bytes = some_bytes(3_000_000);
    let mut stream = connect(local);
    stream.write_all(&bytes).unwrap();
    // Closed whole, not only for writing: the client closes its channel at once.
    drop(stream);
    let mut received = Vec::new();
    sink.accept().unwrap().0.read_to_end(&mut received).unwrap();
    assert!(received == bytes, "{} of {} bytes", received.len(), bytes.len());
    assert_eq!(closed_door(&fixture, "direct-tcpip")["bytes_to_target"], bytes.len());
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn dynamic_forwards_and_netcat_mode_go_where_the_policy_says() {
    let (echo, other) = (Echo::start(), Echo::start());
    let fixture =
        Fixture::with_policy(&with_doors(&format!("local-forward = [\"127.0.0.1:{}\"]", echo.port)));
    let socks = testbed::free_port().unwrap();
    let master = fixture.ssh().arg("-D").arg(socks.to_string()).master().unwrap();
    let through = |port: u16| {
        let mut stream = connect(socks);
        let mut hello = vec![5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1];
        hello.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&hello).unwrap();
        // How the greeting and the request are answered; the client answers before it knows whether the connection will be made.
        let mut answer = [0; 12];
        (stream.read_exact(&mut answer).is_ok() && answer[3] == 0, stream)
    };
    let (granted, stream) = through(echo.port);
    assert!(granted);
    assert_eq!(exchange(stream, b"through a dynamic forward"), b"through a dynamic forward");
    let (_, mut stream) = through(other.port);
    let _ = stream.write_all(b"x");
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back);
    assert!(back.is_empty(), "{back:?}");
    master.stop().unwrap();

    let netcat =
        |port: u16| fixture.ssh().arg("-W").arg(format!("127.0.0.1:{port}")).stdin("words").shell().unwrap();
    let output = netcat(echo.port);
    assert_eq!(
        (output.stdout_text().as_str(), output.code()),
        ("words", Some(0)),
        "{}",
        output.stderr_text()
    );
    assert_ne!(netcat(other.port).code(), Some(0));
    assert_eq!((echo.visits(), other.visits(), refused(&fixture, "direct-tcpip")), (2, 0, 2));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn sockets_are_forwarded_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    Echo::at(&path("there"));
    Echo::at(&path("here"));
    let fixture = Fixture::with_policy(&with_doors(&format!(
        "local-socket = [\"{}\"]\nremote-socket = [\"{}\"]",
        path("there").display(),
        path("listening").display(),
    )));
    let master = fixture
        .ssh()
        .arg("-L")
        .arg(format!("{}:{}", path("local").display(), path("there").display()))
        .arg("-R")
        .arg(format!("{}:{}", path("listening").display(), path("here").display()))
        .option("ExitOnForwardFailure=yes")
        .master()
        .unwrap();
    for name in ["local", "listening"] {
        fixture.wait_for("the socket is there", |_| path(name).exists());
        let mut stream = UnixStream::connect(path(name)).unwrap();
        stream.write_all(name.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, name);
    }
    let closed = closed_door(&fixture, "direct-streamlocal@openssh.com");
    assert_eq!((&closed["bytes_to_target"], &closed["bytes_to_client"]), (&5.into(), &5.into()));
    let closed = closed_door(&fixture, "forwarded-streamlocal@openssh.com");
    assert_eq!((&closed["bytes_to_target"], &closed["bytes_to_client"]), (&9.into(), &9.into()));
    let spec = format!("{}:{}", path("listening").display(), path("here").display());
    master.control_with("cancel", ["-R", &spec]).unwrap();
    fixture.wait_for("it listens no more", |_| UnixStream::connect(path("listening")).is_err());
    assert_eq!(closed_door(&fixture, "streamlocal-forward@openssh.com")["outcome"], "success");
    let output = master
        .control_with("forward", ["-R", &format!("{}:{}", path("other").display(), path("here").display())]);
    assert_ne!(output.unwrap().code(), Some(0), "another path than the policy names");
    assert!(!path("other").exists());
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_remote_forward_lets_the_targets_side_in_until_it_is_cancelled() {
    let echo = Echo::start();
    let port = testbed::free_port().unwrap();
    let fixture = Fixture::with_policy(&with_doors(&format!("remote-forward = [\"localhost:{port}\"]")));
    let master = fixture.ssh().master().unwrap();
    let spec = format!("localhost:{port}:127.0.0.1:{}", echo.port);
    let output = master.control_with("forward", ["-R", &spec]).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr_text());
    let bytes = some_bytes(2_000_000);
    assert!(exchange(connect(port), &bytes) == bytes, "what came back differs");
    assert!(exchange(connect(port), b"once more") == b"once more");
    fixture.wait_for("both are closed", |f| doors(f, "door.closed", "forwarded-tcpip").len() == 2);
    let opened = doors(&fixture, "door.opened", "forwarded-tcpip").remove(0);
    assert_eq!(opened["asked"], format!("localhost:{port}"));
    assert!(
        opened["from"]
            .as_str()
            .is_some_and(|from| from.starts_with("127.0.0.1:") || from.starts_with("::1:"))
    );
    let closed = closed_door(&fixture, "forwarded-tcpip");
    assert_eq!(
        (&closed["bytes_to_target"], &closed["bytes_to_client"]),
        (&2_000_000.into(), &2_000_000.into())
    );

    assert_eq!(master.control_with("cancel", ["-R", &spec]).unwrap().code(), Some(0));
    fixture.wait_for("it listens no more", |_| TcpStream::connect(("127.0.0.1", port)).is_err());
    let closed = closed_door(&fixture, "tcpip-forward");
    assert_eq!((&closed["bytes_to_target"], &closed["outcome"]), (&2_000_009.into(), &"success".into()));

    let other = testbed::free_port().unwrap();
    let spec = format!("localhost:{other}:127.0.0.1:{}", echo.port);
    assert_ne!(master.control_with("forward", ["-R", &spec]).unwrap().code(), Some(0));
    assert_eq!(refused(&fixture, "tcpip-forward"), 1);
    assert!(TcpStream::connect(("127.0.0.1", other)).is_err());
    assert_eq!(master.run("echo still here").unwrap().stdout_text(), "still here\n");
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_target_chooses_a_port_where_none_is_named() {
    let echo = Echo::start();
    let fixture = Fixture::with_policy(&with_doors("remote-forward = [\"localhost:0\"]"));
    let master = fixture.ssh().master().unwrap();
    let spec = format!("localhost:0:127.0.0.1:{}", echo.port);
    let output = master.control_with("forward", ["-R", &spec]).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr_text());
    let port: u16 = output.stdout_text().trim().parse().unwrap();
    assert_eq!(exchange(connect(port), b"hello"), b"hello");
    assert_eq!(closed_door(&fixture, "forwarded-tcpip")["asked"], format!("localhost:{port}"));
    // The target's listener ends with the session.
    master.stop().unwrap();
    fixture.wait_for("it listens no more", |_| TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(closed_door(&fixture, "tcpip-forward")["reason"], "client_left");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_change_of_policy_cuts_what_it_no_longer_opens() {
    let (echo, here) = (Echo::start(), Echo::start());
    let (local, remote) = (testbed::free_port().unwrap(), testbed::free_port().unwrap());
    let doors_open =
        format!("local-forward = [\"127.0.0.1:{}\"]\nremote-forward = [\"localhost:{remote}\"]", echo.port);
    let fixture = Fixture::with_policy(&with_doors(&doors_open));
    let master = fixture
        .ssh()
        .arg("-L")
        .arg(format!("{local}:127.0.0.1:{}", echo.port))
        .arg("-R")
        .arg(format!("localhost:{remote}:127.0.0.1:{}", here.port))
        .option("ExitOnForwardFailure=yes")
        .master()
        .unwrap();
    let mut streams = [connect(local), connect(remote)];
    for stream in &mut streams {
        stream.write_all(b"ping").unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"ping");
    }
    // A change that opens the same doors leaves them alone.
    fixture.policy.set(Policy::from_toml(&format!("{}\n# other words", with_doors(&doors_open))).unwrap());
    for stream in &mut streams {
        stream.write_all(b"pong").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
    }
    fixture.policy.set(Policy::from_toml(POLICY).unwrap());
    for stream in &mut streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
    for request in ["direct-tcpip", "forwarded-tcpip", "tcpip-forward"] {
        let closed = closed_door(&fixture, request);
        assert_eq!(
            (&closed["outcome"], &closed["reason"]),
            (&"blocked".into(), &"door_closed".into()),
            "{closed}"
        );
        assert_eq!(
            (&closed["bytes_to_target"], &closed["bytes_to_client"]),
            (&8.into(), &8.into()),
            "{request}"
        );
    }
    fixture.wait_for("the target listens no more", |_| TcpStream::connect(("127.0.0.1", remote)).is_err());
    assert!(swallows(local));
    assert_eq!(echo.visits(), 1);
    assert_eq!(master.run("echo goes on").unwrap().stdout_text(), "goes on\n");
    assert!(fixture.events_of("session.ended").is_empty());
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_end_of_a_session_closes_its_doors() {
    let echo = Echo::start();
    let (local, remote) = (testbed::free_port().unwrap(), testbed::free_port().unwrap());
    let fixture = Fixture::with_policy(&with_doors(&format!(
        "local-forward = [\"127.0.0.1:{}\"]\nremote-forward = [\"localhost:{remote}\"]",
        echo.port
    )));
    let master = fixture
        .ssh()
        .arg("-L")
        .arg(format!("{local}:127.0.0.1:{}", echo.port))
        .arg("-R")
        .arg(format!("localhost:{remote}:127.0.0.1:{}", echo.port))
        .option("ExitOnForwardFailure=yes")
        .master()
        .unwrap();
    let mut stream = connect(local);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    let live = fixture.registry.list().remove(0);
    assert!(fixture.registry.terminate(&live.session_id, Termination::new("bob", "enough")));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    for request in ["direct-tcpip", "tcpip-forward"] {
        assert_eq!(closed_door(&fixture, request)["reason"], "terminated");
    }
    // Closed before the session's own end, so that its record is complete when it says so.
    let events = fixture.events();
    let at = |event_type: &str| events.iter().rposition(|event| event.event_type == event_type).unwrap();
    assert!(at("door.closed") < at("session.ended"));
    fixture.wait_for("the target listens no more", |_| TcpStream::connect(("127.0.0.1", remote)).is_err());
    drop(master);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn nothing_is_opened_before_it_is_on_record() {
    let echo = Echo::start();
    let fixture =
        Fixture::with_policy(&with_doors(&format!("local-forward = [\"127.0.0.1:{}\"]", echo.port)));
    let local = testbed::free_port().unwrap();
    let master = fixture.ssh().arg("-L").arg(format!("{local}:127.0.0.1:{}", echo.port)).master().unwrap();
    let held = fixture.recorder.hold();
    let stream = connect(local);
    fixture.wait_for("the record is being written", |f| !doors(f, "door.opened", "direct-tcpip").is_empty());
    assert_eq!(echo.visits(), 0);
    assert!(fixture.events_of("target.connecting").is_empty(), "not even a connection to the target");
    drop(held);
    assert_eq!(exchange(stream, b"now"), b"now");
    // When nothing can be recorded any more, nothing is opened, and the session ends.
    fixture.recorder.inner.break_now();
    assert!(swallows(local));
    fixture.wait_for("the session is over", |f| f.registry.list().is_empty());
    assert_eq!(echo.visits(), 1);
    drop(master);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_connection_that_the_target_cannot_make_is_on_record() {
    let fixture = Fixture::with_policy(&with_doors("local-forward = [\"127.0.0.1:*\"]"));
    let nobody = testbed::free_port().unwrap();
    let output = fixture.ssh().arg("-W").arg(format!("127.0.0.1:{nobody}")).shell().unwrap();
    assert_ne!(output.code(), Some(0));
    let closed = closed_door(&fixture, "direct-tcpip");
    assert_eq!(
        (&closed["outcome"], &closed["reason"], &closed["bytes_to_target"]),
        (&"failure".into(), &"target_channel_refused".into(), &0.into())
    );
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn forwards_and_commands_share_a_limited_number_of_channels() {
    let echo = Echo::start();
    let mut limits = Limits::default();
    limits.channels_max = 3;
    limits.listeners_max = 1;
    let policy = with_doors(&format!(
        "local-forward = [\"127.0.0.1:{}\"]\nremote-forward = [\"localhost:*\"]",
        echo.port
    ));
    let fixture = Fixture::with(&policy, SshdOptions::new(), limits);
    let local = testbed::free_port().unwrap();
    let master = fixture.ssh().arg("-L").arg(format!("{local}:127.0.0.1:{}", echo.port)).master().unwrap();
    let mut open: Vec<TcpStream> = (0..3).map(|_| connect(local)).collect();
    for stream in &mut open {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    assert!(swallows(local), "a fourth");
    assert_ne!(master.run("echo x").unwrap().code(), Some(0), "a command counts, too");
    fixture.wait_for("both refusals are on record", |f| {
        refused(f, "direct-tcpip") == 1 && refused(f, "session") == 1
    });
    open.pop();
    fixture.wait_for("a place is free", |_| master.run("echo x").unwrap().stdout_text() == "x\n");

    let forward = |to: &str| {
        let spec = format!("localhost:0:{to}:{}", echo.port);
        master.control_with("forward", ["-R", &spec]).unwrap()
    };
    let output = forward("127.0.0.1");
    assert_eq!(output.code(), Some(0), "{} {:#?}", output.stderr_text(), fixture.events_text());
    let remote: u16 = output.stdout_text().trim().parse().unwrap();
    assert_ne!(forward("localhost").code(), Some(0), "a second listener");
    // Those who come from the target's side need a place like everybody else.
    open.push(connect(local));
    open[2].write_all(b"x").unwrap();
    open[2].read_exact(&mut [0; 1]).unwrap();
    assert!(swallows(remote));
    drop(open);
    fixture.wait_for("a place is free", |_| !swallows(remote));
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn forwards_and_commands_of_one_connection_run_side_by_side() {
    let (echo, here) = (Echo::start(), Echo::start());
    let remote = testbed::free_port().unwrap();
    let fixture = Fixture::with_policy(&with_doors(&format!(
        "local-forward = [\"127.0.0.1:{}\"]\nremote-forward = [\"localhost:{remote}\"]",
        echo.port
    )));
    let locals = [testbed::free_port().unwrap(), testbed::free_port().unwrap()];
    let mut ssh = fixture.ssh().arg("-R").arg(format!("localhost:{remote}:127.0.0.1:{}", here.port));
    for local in locals {
        ssh = ssh.arg("-L").arg(format!("{local}:127.0.0.1:{}", echo.port));
    }
    let master = ssh.option("ExitOnForwardFailure=yes").master().unwrap();
    let bytes = some_bytes(1_500_000);
    // One that is not read at all holds up nobody.
    let mut stalled = connect(locals[0]);
    let mut sending = stalled.try_clone().unwrap();
    let all = bytes.repeat(6);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = sending.write_all(&all);
            let _ = sending.shutdown(Shutdown::Write);
        });
        let mut running = Vec::new();
        for _ in 0..2 {
            for port in [locals[0], locals[1], remote] {
                let bytes = &bytes;
                running
                    .push(scope.spawn(move || assert!(exchange(connect(port), bytes) == *bytes, "{port}")));
            }
        }
        for n in 0..4 {
            let master = &master;
            running.push(scope.spawn(move || {
                assert_eq!(master.run(format!("echo {n}")).unwrap().stdout_text(), format!("{n}\n"));
            }));
        }
        for task in running {
            task.join().unwrap();
        }
        let mut back = Vec::new();
        stalled.read_to_end(&mut back).unwrap();
        assert!(back == all, "{} bytes", back.len());
    });
    master.stop().unwrap();
    fixture.wait_for("all are closed", |f| {
        doors(f, "door.closed", "direct-tcpip").len() == 5
            && doors(f, "door.closed", "forwarded-tcpip").len() == 2
    });
    let sent: u64 = doors(&fixture, "door.closed", "direct-tcpip")
        .iter()
        .map(|closed| closed["bytes_to_target"].as_u64().unwrap())
        .sum();
    assert_eq!(sent, (4 * bytes.len() + all.len()) as u64);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_socket_asked_for_again_and_again_is_one_listener() {
    // A target that is glad to listen twice.
    let options = SshdOptions::new().config_line("StreamLocalBindUnlink yes");
    let path = std::env::temp_dir().join(format!("again-{}.sock", std::process::id()));
    let policy = with_doors(&format!("remote-socket = [\"{}\"]", path.display()));
    let fixture = Fixture::with(&policy, options, Limits::default());
    let named = path.display().to_string();
    fixture.runtime.block_on(async {
        let client = super::hostile::connect(&fixture).await;
        assert!(client.streamlocal_forward(named.as_str()).await.is_ok());
        for _ in 0..3 {
            assert!(client.streamlocal_forward(named.as_str()).await.is_err());
        }
        assert!(client.cancel_streamlocal_forward(named.as_str()).await.is_ok());
        assert!(client.streamlocal_forward(named.as_str()).await.is_ok());
    });
    let _ = std::fs::remove_file(&path);
    assert_eq!(doors(&fixture, "door.opened", "streamlocal-forward@openssh.com").len(), 2);
    let reasons = fixture.events_of("request.refused");
    assert!(
        reasons.iter().filter(|event| event["reason"] == "already_listening").count() == 3,
        "{reasons:?}"
    );
}
