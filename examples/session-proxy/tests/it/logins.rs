//! Keys and one-time codes of the users file, from enrolment to a restart.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::Utc;
use session_filter::totp::{Algorithm, Totp};
use testbed::{Output, SecurityKeys, Ssh, Sshd, SshdOptions, Touch};

use super::serve::{port, serve, ssh, stop, write_files};
use super::stage::{BINARY, entries, of_type};

pub(crate) fn enroll(dir: &Path, name: &str, more: &[&str]) -> std::process::Output {
    Command::new(BINARY)
        .args(["enroll-totp", "--config"])
        .arg(dir.join("proxy.toml"))
        .args(more)
        .arg(name)
        .output()
        .unwrap()
}

/// What an authenticator app reads.
fn app(uri: &str) -> Totp {
    let (_, secret) = uri.split_once("secret=").unwrap();
    let (secret, rest) = secret.split_once('&').unwrap();
    assert!(rest.contains("algorithm=SHA1&digits=6&period=30"), "{uri}");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: String = secret.chars().map(|c| format!("{:05b}", alphabet.find(c).unwrap())).collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    let bytes = bytes.map(|bits| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap());
    Totp::new(bytes.collect(), Algorithm::Sha1, 6).unwrap()
}

fn assert_in(output: &Output) {
    assert_eq!((output.stdout_text().as_str(), output.code()), ("in\n", Some(0)), "{}", output.stderr_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn keys_and_codes_open_and_a_used_code_does_not_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    write_files(dir.path(), &sshd, "");
    let users_path = dir.path().join("users.toml");
    let public = std::fs::read_to_string(sshd.client_key_path().with_extension("pub")).unwrap();
    let users = std::fs::read_to_string(&users_path).unwrap();
    std::fs::write(&users_path, format!("{users}keys = [\"{}\"]\nsecond_factor = \"totp\"\n", public.trim()))
        .unwrap();

    let proxy = serve(dir.path());
    let with_password = ssh(port(&proxy));
    let with_key = Ssh::new(port(&proxy)).user("alice").key(sshd.client_key_path());
    // Not enrolled: nobody gets by without a code.
    assert_eq!(with_password.clone().code("000000").run("echo in").unwrap().code(), Some(255));

    assert!(!enroll(dir.path(), "nobody", &[]).status.success());
    let enrolled = enroll(dir.path(), "alice", &[]);
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
    assert!(!enroll(dir.path(), "alice", &[]).status.success(), "twice");
    let app = app(String::from_utf8(enrolled.stdout).unwrap().trim());

    // Of the step to come, so that it is a code for at least another half minute.
    let ahead = || Utc::now() + chrono::TimeDelta::seconds(30);
    let used = app.code(ahead()).to_string();
    assert_in(&with_key.clone().code(&used).run("echo in").unwrap());
    assert_eq!(with_password.code(&used).run("echo in").unwrap().code(), Some(255));
    stop(proxy);

    let proxy = serve(dir.path());
    let with_password = ssh(port(&proxy));
    assert_eq!(with_password.clone().code(&used).run("echo in").unwrap().code(), Some(255));
    let replaced = enroll(dir.path(), "alice", &["--replace"]);
    let app = self::app(String::from_utf8(replaced.stdout).unwrap().trim());
    assert_in(&with_password.code(app.code(Utc::now()).to_string()).run("echo in").unwrap());
    stop(proxy);

    let entries = entries(&dir.path().join("data"));
    let succeeded: Vec<_> =
        of_type(&entries, "login.succeeded").iter().map(|e| e["method"].clone()).collect();
    assert_eq!(succeeded, ["publickey+totp", "password+totp"]);
    let failed: Vec<_> = of_type(&entries, "login.failed").iter().map(|e| e["reason"].clone()).collect();
    assert_eq!(failed, ["not_enrolled", "replayed_code", "replayed_code"]);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn security_keys_open_where_the_users_file_waives_the_touch_and_are_no_keys_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(SshdOptions::new()).unwrap();
    write_files(dir.path(), &sshd, "");
    let users_path = dir.path().join("users.toml");
    let users = std::fs::read_to_string(&users_path).unwrap();
    let plugged_in = SecurityKeys::plug_in().unwrap();
    let paths = ["ed25519-sk", "ecdsa-sk"].map(|kind| plugged_in.make(kind, Touch::Asked).unwrap());
    let list = |option: &str| {
        let public =
            paths.each_ref().map(|path| std::fs::read_to_string(path.with_extension("pub")).unwrap());
        let lines = public.map(|line| format!("\"{option}{}\"", line.trim()));
        std::fs::write(&users_path, format!("{users}keys = [{}]\n", lines.join(", "))).unwrap();
    };

    list("");
    let refused = serve(dir.path()).wait(Duration::from_secs(30)).unwrap();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr_text().contains("`no-touch-required` before it"), "{}", refused.stderr_text());

    list("no-touch-required ");
    let proxy = serve(dir.path());
    for path in &paths {
        let client = Ssh::new(port(&proxy)).user("alice").security_key(path, &plugged_in.provider());
        assert_in(&client.run("echo in").unwrap());
    }
    stop(proxy);
    let methods: Vec<_> = of_type(&entries(&dir.path().join("data")), "login.succeeded")
        .iter()
        .map(|event| event["method"].clone())
        .collect();
    assert_eq!(methods, ["publickey", "publickey"]);
}
