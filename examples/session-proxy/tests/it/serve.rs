//! `serve` with files of one's own, between the real client and the real server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testbed::{Output, Running, Ssh, Sshd, SshdOptions};

use super::stage::{BINARY, entries, of_type, verify, wait_for};

const PASSWORD: &str = "a password of one's own";

fn hash(password: &str) -> String {
    let mut hashing = Command::new(BINARY)
        .arg("hash-password")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut hashing.stdin.take().unwrap(), password.as_bytes()).unwrap();
    String::from_utf8(hashing.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

/// Everything that `example-config` says one needs, for a target that is this sshd.
pub(crate) fn write_files(dir: &Path, sshd: &Sshd, extra: &str) {
    let known_hosts = format!("[127.0.0.1]:{} {}\n", sshd.port(), sshd.host_public_key());
    let config = format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\npolicy = \"policy.toml\"\nusers = \"users.toml\"\n{extra}\n\
         [[target]]\nname = \"box\"\ntags = [\"test\"]\nhost = \"127.0.0.1\"\nport = {}\naccount = \"{}\"\n\
         key_file = \"{}\"\nknown_hosts = \"known_hosts\"\n",
        sshd.port(),
        sshd.user(),
        sshd.client_key_path().display()
    );
    let users =
        format!("[[user]]\nname = \"alice\"\npassword = \"{}\"\nroles = [\"vendor\"]\n", hash(PASSWORD));
    let policy =
        "[[permit]]\nusers = [\"role:vendor\"]\ntargets = [\"tag:test\"]\ncommands = [\"echo ...\"]\n";
    for (name, text) in [
        ("known_hosts", known_hosts.as_str()),
        ("proxy.toml", &config),
        ("users.toml", &users),
        ("policy.toml", policy),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

pub(crate) fn serve(dir: &Path) -> Running {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--config"]).arg(dir.join("proxy.toml"));
    Running::spawn(command).unwrap()
}

pub(crate) fn port(proxy: &Running) -> u16 {
    let mut port = None;
    wait_for("it serves", || {
        let said = String::from_utf8(proxy.stderr()).unwrap();
        // A whole line, not the beginning of one.
        let lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        port = lines
            .filter_map(|line| line.split_once("serving on "))
            .find_map(|(_, address)| address.trim().parse::<std::net::SocketAddr>().ok())
            .map(|address| address.port());
        port.is_some()
    });
    port.unwrap()
}

pub(crate) fn stop(proxy: Running) -> Output {
    let pid = rustix::process::Pid::from_raw(i32::try_from(proxy.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    proxy.wait(Duration::from_secs(30)).unwrap()
}

pub(crate) fn ssh(port: u16) -> Ssh {
    Ssh::new(port).user("alice").password(PASSWORD)
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn files_of_one_s_own_serve_a_real_target() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    write_files(dir.path(), &sshd, "[checkpoints]\nfile = \"elsewhere\"\n");
    let check =
        Command::new(BINARY).args(["check", "--config"]).arg(dir.path().join("proxy.toml")).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));

    let proxy = serve(dir.path());
    let port = port(&proxy);
    assert_eq!(ssh(port).run("echo served").unwrap().stdout_text(), "served\n");
    assert_eq!(ssh(port).user("alice+box").run("echo named").unwrap().stdout_text(), "named\n");
    assert_eq!(ssh(port).run("id").unwrap().code(), Some(126));
    let stopped = stop(proxy);
    assert_eq!(stopped.code(), Some(0), "{}", stopped.stderr_text());

    let data_dir = dir.path().join("data");
    let entries = entries(&data_dir);
    assert_eq!(of_type(&entries, "command.started").len(), 2);
    assert_eq!(of_type(&entries, "command.blocked").len(), 1);
    verify(&data_dir).unwrap();
    let elsewhere = std::fs::read_to_string(dir.path().join("elsewhere")).unwrap();
    assert!(
        elsewhere.contains(&format!("\n{}\n", entries.len())),
        "the last checkpoint is kept elsewhere: {elsewhere}"
    );
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_log_older_than_a_trusted_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    write_files(dir.path(), &sshd, "");
    let first = serve(dir.path());
    let _ = port(&first);
    stop(first);
    let data = dir.path().join("data");
    let old = dir.path().join("old");
    assert!(Command::new("cp").arg("-a").arg(data.join("audit")).arg(&old).status().unwrap().success());

    let second = serve(dir.path());
    ssh(port(&second)).run("echo later").unwrap();
    stop(second);
    std::fs::copy(data.join("audit/checkpoint"), dir.path().join("trusted")).unwrap();

    // Somebody puts the older log back.
    std::fs::remove_dir_all(data.join("audit")).unwrap();
    std::fs::rename(&old, data.join("audit")).unwrap();
    write_files(dir.path(), &sshd, "[checkpoints]\nminimum = \"trusted\"\n");
    let refused = serve(dir.path()).wait(Duration::from_secs(30)).unwrap();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr_text().contains("cannot open the log"), "{}", refused.stderr_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn somebody_who_rattles_at_doors_stands_out_and_is_put_out() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    write_files(dir.path(), &sshd, "[anomalies]\nblocked_burst = \"terminate\"\nblocked_max = 3\n");
    let proxy = serve(dir.path());
    let port = port(&proxy);
    let master = ssh(port).master().unwrap();
    for _ in 0..2 {
        assert_eq!(master.run("id").unwrap().code(), Some(126));
    }
    assert_eq!(master.run("echo still").unwrap().stdout_text(), "still\n");
    // The third one may hear of either.
    let _ = master.run("id").unwrap();
    wait_for("the session is over", || {
        master.run("echo more").is_ok_and(|output| output.code() == Some(255))
    });
    drop(master);
    assert_eq!(ssh(port).run("echo again").unwrap().stdout_text(), "again\n", "another session may begin");
    stop(proxy);
    let data_dir = dir.path().join("data");
    let entries = entries(&data_dir);
    let found = of_type(&entries, "anomaly.detected");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0]["reason"].as_str(), found[0]["actor_id"].as_str()),
        (Some("blocked_burst"), Some("alice"))
    );
    let ended = of_type(&entries, "session.ended");
    assert_eq!(
        (ended[0]["reason"].as_str(), ended[0]["session_id"].as_str()),
        (Some("terminated"), found[0]["session_id"].as_str())
    );
    let kept = std::fs::metadata(data_dir.join("anomalies.json")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&kept.permissions()) & 0o777, 0o600);
}

/// The demo on a terminal: needs nothing installed.
#[test]
fn the_demo_shows_its_main_job_and_serves_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["demo", "--data-dir"]).arg(dir.path().join("demo")).env("SHELL", "/bin/sh");
    let demo = Running::spawn(command).unwrap();
    assert!(
        demo.wait_for_stdout("Stop with", Duration::from_secs(60)),
        "{}",
        String::from_utf8_lossy(&demo.stderr())
    );
    let shown = String::from_utf8(demo.stdout()).unwrap();
    for expected in [
        "   hello from the target",
        "blocked: `cat /etc/shadow`",
        "command.blocked  cat /etc/shadow",
        "the log:  whole",
        "the copy: TAMPERED",
        "ssh -p ",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    wait_for("it serves on", || dir.path().join("demo/control.sock").exists());
    assert_eq!(stop(demo).code(), Some(0));
}
