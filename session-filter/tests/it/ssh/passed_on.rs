//! What a client passes on to programs on the target: variables, agent, display; and subsystems.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use session_filter::Policy;
use testbed::SshdOptions;

use super::fixture::{Fixture, POLICY};
use super::forwards::{closed_door, doors, refused, with_doors};

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn variables_that_the_policy_names_are_passed_on() {
    let fixture = Fixture::with_policy(&with_doors("env = [\"LANG\", \"APP_*\"]"));
    let printed = |set: &str, name: &str| {
        let output = fixture.ssh().option(format!("SetEnv={set}")).run(format!("printenv {name}")).unwrap();
        output.stdout_text()
    };
    assert_eq!(printed("APP_MODE=a-value-of-mine LANG=C", "APP_MODE"), "a-value-of-mine\n");
    assert_eq!(printed("OTHER=a-value-of-mine", "OTHER"), "");
    assert_eq!(printed("LD_PRELOAD=/nowhere", "LD_PRELOAD"), "");
    let mut names: Vec<_> =
        doors(&fixture, "door.opened", "env").iter().map(|event| event["asked"].clone()).collect();
    names.sort_by_key(|name| name.to_string());
    assert_eq!(names, ["APP_MODE", "LANG"]);
    assert_eq!(refused(&fixture, "env"), 2);
    // What the command printed is on record as its output, and nowhere else.
    let events = fixture.events();
    let mut others = events.iter().filter(|event| event.event_type != "command.executed");
    assert!(others.all(|event| !serde_json::to_string(event).unwrap().contains("a-value-of-mine")));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn subsystems_that_the_policy_names_run() {
    let options = SshdOptions::new()
        .config_line("Subsystem backwards /usr/bin/rev")
        .config_line("Subsystem other /bin/cat");
    let fixture =
        Fixture::with(&with_doors("subsystems = [\"backwards\", \"missing\"]"), options, Default::default());
    let output = fixture.ssh().stdin("netconf\n").subsystem("backwards").unwrap();
    assert_eq!(
        (output.stdout_text().as_str(), output.code()),
        ("fnocten\n", Some(0)),
        "{}",
        output.stderr_text()
    );
    let closed = closed_door(&fixture, "subsystem");
    assert_eq!((&closed["asked"], &closed["outcome"]), (&"backwards".into(), &"success".into()));
    assert_eq!((&closed["bytes_to_target"], &closed["bytes_to_client"]), (&8.into(), &8.into()));
    assert_ne!(fixture.ssh().subsystem("other").unwrap().code(), Some(0));
    assert_eq!(refused(&fixture, "subsystem"), 1);
    // One that the target does not have.
    assert_ne!(fixture.ssh().subsystem("missing").unwrap().code(), Some(0));
    fixture.wait_for("it is on record", |f| doors(f, "door.closed", "subsystem").len() == 2);
    assert_eq!(doors(&fixture, "door.closed", "subsystem")[1]["reason"], "target_refused");
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_running_subsystem_ends_when_the_policy_closes_it() {
    let options = SshdOptions::new().config_line("Subsystem echo /bin/cat");
    let fixture = Fixture::with(&with_doors("subsystems = [\"echo\"]"), options, Default::default());
    let mut running = fixture.ssh().spawn_subsystem("echo").unwrap();
    running.write(b"hello\n").unwrap();
    assert!(running.wait_for_stdout("hello\n", Duration::from_secs(20)));
    fixture.policy.set(Policy::from_toml(POLICY).unwrap());
    assert_ne!(running.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    let closed = closed_door(&fixture, "subsystem");
    assert_eq!((&closed["outcome"], &closed["bytes_to_target"]), (&"blocked".into(), &6.into()));
}

/// A real agent with one key, gone when dropped.
pub(super) struct Agent(Child);

impl Agent {
    pub(super) fn start(socket: &Path, key: &Path) -> Self {
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(socket)
            .stdout(Stdio::null())
            .spawn()
            .map(Self)
            .unwrap();
        while !socket.exists() {
            std::thread::yield_now();
        }
        let added =
            Command::new("ssh-add").env("SSH_AUTH_SOCK", socket).arg(key).stderr(Stdio::null()).status();
        assert!(added.unwrap().success());
        child
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const AGENT_LINE: &str = "sh -c 'printenv SSH_AUTH_SOCK; cat'";

const AGENT_POLICY: &str = r#"
    [[permit]]
    users    = ["alice"]
    targets  = ["box"]
    commands = ["ssh-add -L", "printenv *", "sh -c 'printenv SSH_AUTH_SOCK; cat'"]
    acknowledge = ["sh grants a shell"]
"#;

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_agent_is_lent_to_the_commands_that_ask_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with_policy(&format!("{AGENT_POLICY}\n[permit.doors]\nagent = true"));
    let key = fixture.sshd.client_key_path();
    let socket = dir.path().join("agent");
    let _agent = Agent::start(&socket, &key);
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let lent = fixture.ssh().option(format!("IdentityAgent={}", socket.display())).arg("-A");
    let master = lent.master().unwrap();
    let output = master.run("ssh-add -L").unwrap();
    assert!(
        output.stdout_text().contains(public.trim()),
        "{} {}",
        output.stdout_text(),
        output.stderr_text()
    );
    // Each command that asks gets one, and one that does not ask gets none, whatever ran before on the same connection.
    let other = fixture.ssh().run("printenv SSH_AUTH_SOCK").unwrap();
    assert_eq!(other.stdout_text(), "");
    assert!(master.run("ssh-add -L").unwrap().stdout_text().contains(public.trim()));
    fixture.wait_for("both grants are closed", |f| {
        doors(f, "door.closed", "auth-agent-req@openssh.com").len() == 2
            && doors(f, "door.closed", "auth-agent@openssh.com").len() == 2
    });
    let (grant, passage) = (
        closed_door(&fixture, "auth-agent-req@openssh.com"),
        closed_door(&fixture, "auth-agent@openssh.com"),
    );
    assert_eq!((&grant["outcome"], &passage["outcome"]), (&"success".into(), &"success".into()));
    // Requests for identities are five bytes; the answer holds the key.
    assert!(passage["bytes_to_client"].as_u64().unwrap() >= 5, "{passage}");
    assert!(passage["bytes_to_target"].as_u64().unwrap() > 50, "{passage}");
    assert_eq!(grant["bytes_to_target"], passage["bytes_to_target"]);
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn an_agent_that_is_no_longer_lent_answers_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with_policy(&format!("{AGENT_POLICY}\n[permit.doors]\nagent = true"));
    let socket = dir.path().join("agent");
    let _agent = Agent::start(&socket, &fixture.sshd.client_key_path());
    let lent = fixture.ssh().option(format!("IdentityAgent={}", socket.display())).arg("-A");
    let mut running = lent.spawn(AGENT_LINE).unwrap();
    running.write(b"x\n").unwrap();
    assert!(running.wait_for_stdout("x\n", Duration::from_secs(20)));
    let socket = String::from_utf8(running.stdout()).unwrap().lines().next().unwrap().to_owned();
    let ask = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // SSH_AGENTC_REQUEST_IDENTITIES
        let _ = stream.write_all(&[0, 0, 0, 1, 11]);
        stream.read_exact(&mut [0; 5]).is_ok()
    };
    assert!(ask());
    fixture.wait_for("it was used", |f| !doors(f, "door.opened", "auth-agent@openssh.com").is_empty());
    fixture.policy.set(Policy::from_toml(AGENT_POLICY).unwrap());
    let closed = |f: &Fixture| doors(f, "door.closed", "auth-agent-req@openssh.com");
    fixture.wait_for("it is withdrawn", |f| closed(f).iter().any(|event| event["outcome"] == "blocked"));
    let used = doors(&fixture, "door.opened", "auth-agent@openssh.com").len();
    assert!(!ask());
    assert_eq!(doors(&fixture, "door.opened", "auth-agent@openssh.com").len(), used);
    // The command itself is permitted as before.
    running.write(b"y\n").unwrap();
    assert!(running.wait_for_stdout("y\n", Duration::from_secs(20)));
    running.close_stdin();
    assert_eq!(running.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    fixture.wait_for("the socket on the target is gone", |_| UnixStream::connect(&socket).is_err());
}

/// Says hello to the display as an X client does, with the cookie that `xauth` has for it, and prints what comes back.
const X_CLIENT: &str = r#"
import os, socket, struct, subprocess
host, _, number = os.environ["DISPLAY"].rpartition(":")
listed = subprocess.run(["xauth", "list", os.environ["DISPLAY"]], capture_output=True, text=True, check=True).stdout
cookie = bytes.fromhex(listed.split()[-1])
name = b"MIT-MAGIC-COOKIE-1"
hello = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(cookie)) + name + b"\0\0" + cookie
s = socket.create_connection((host or "localhost", 6000 + int(number.split(".")[0])))
s.sendall(hello)
print(s.recv(100).decode(), len(hello))
"#;

#[test]
#[ignore = "needs xauth: cargo xtask test"]
fn the_display_is_lent_to_a_command_that_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("client.py");
    std::fs::write(&script, X_CLIENT).unwrap();
    let line = format!("/usr/bin/python3 {}", script.display());
    let policy = format!(
        "[[permit]]\nusers = [\"alice\"]\ntargets = [\"box\"]\ncommands = [\"{line}\", \"printenv *\"]\n\
         acknowledge = [\"python3 anything\"]\n[permit.doors]\nx11 = true"
    );
    let options = SshdOptions::new()
        .config_line("X11Forwarding yes")
        .config_line("X11UseLocalhost yes")
        .config_line("AddressFamily inet");
    let fixture = Fixture::with(&policy, options, Default::default());
    // A display is a port from 6000 on; whatever number is free will do.
    let (number, server) =
        (200..400_u16).find_map(|n| Some((n, TcpListener::bind(("127.0.0.1", 6000 + n)).ok()?))).unwrap();
    let answered = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut hello = vec![0; 48];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"welcome").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        hello
    });
    let output = fixture
        .ssh()
        .env("DISPLAY", format!("127.0.0.1:{number}"))
        .option("ForwardX11=yes")
        .option("ForwardX11Trusted=yes")
        .option("XAuthLocation=/bin/true")
        .run(&line)
        .unwrap();
    assert_eq!(output.stdout_text(), "welcome 48\n", "{}", output.stderr_text());
    let hello = answered.join().unwrap();
    assert_eq!(&hello[12..30], b"MIT-MAGIC-COOKIE-1");
    let passage = closed_door(&fixture, "x11");
    assert_eq!((&passage["bytes_to_client"], &passage["bytes_to_target"]), (&48.into(), &7.into()));
    assert_eq!(closed_door(&fixture, "x11-req")["outcome"], "success");
    let cookie: String = hello[32..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(fixture.events_text().iter().all(|event| !event.contains(&cookie)));
}
