//! `check` says what is wrong before anything starts.

use std::process::{Command, Output};

use super::stage::BINARY;

fn check(dir: &std::path::Path, args: &[&str]) -> Output {
    Command::new(BINARY).args(["check", "--config"]).arg(dir.join("proxy.toml")).args(args).output().unwrap()
}

fn hash(password: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new(BINARY)
        .arg("hash-password")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

const TARGET: &str = r#"
listen = "127.0.0.1:0"
data_dir = "data"
policy = "policy.toml"
users = "users.toml"
[[target]]
name = "web-1"
host = "127.0.0.1"
account = "deploy"
password_file = "secret"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"]
"#;

/// The same key, without its type; and as a security key.
const PUBLIC_KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const SECURITY_KEY: &str =
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJAAAABHNzaDo=";

fn files(config: &str, policy: &str, users: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in
        [("proxy.toml", config), ("policy.toml", policy), ("users.toml", users), ("secret", "s3cr3t\n")]
    {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(dir.path().join("secret"), all).unwrap();
    dir
}

#[test]
fn good_files_are_good_and_start_nothing() {
    let users = format!("[[user]]\nname = \"a\"\npassword = \"{}\"\n", hash("x"));
    let policy = "[[permit]]\nusers = [\"a\"]\ntargets = [\"web-1\"]\ncommands = [\"uptime\"]\n";
    let dir = files(TARGET, policy, &users);
    let output = check(dir.path(), &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("secret: others may read"), "a password file for all to read: {warnings}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn every_mistake_is_named_with_its_place_and_without_secrets() {
    let policy = "[[permit]]\nusers = [\"a\"]\ntargets = [\"web-1\"]\ncommands = [\"echo $HOME\"]\n";
    let users = "[[user]]\nname = \"a\"\npassword = \"hunter2\"\n";
    let dir = files(TARGET, policy, users);
    let output = check(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("policy.toml: line 4, column"), "{said}");
    assert!(said.contains("users.toml: line 3, column 12"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("s3cr3t"), "{said}");

    for (config, expected) in [
        (TARGET.replace("account", "acount"), "line 9"),
        (TARGET.replace("host_keys", "#"), "never accepted blindly"),
        (TARGET.replace("password_file", "key_file"), "no usable private key"),
        (TARGET.replace("web-1", "a+b"), "line 6, column"),
        (TARGET.replace("\"127.0.0.1:0\"", "7"), "line 2"),
        (format!("{TARGET}[[operator]]\naccount = \"nobody-here\"\nroles = [\"list\"]\n"), "line 12, column"),
        (format!("control_group = \"no-such-group\"\n{TARGET}"), "there is no group `no-such-group`"),
        (format!("control_group = \"daemon\"\n{TARGET}"), "`control_socket` has to lie elsewhere"),
        (format!("{TARGET}[limits]\nlogin_grace = \"0s\"\n"), "line 13, column"),
    ] {
        let dir = files(&config, policy, users);
        let said = String::from_utf8(check(dir.path(), &[]).stdout).unwrap();
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn the_example_configuration_is_understood() {
    let output = Command::new(BINARY).arg("example-config").output().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy.toml"), &output.stdout).unwrap();
    std::fs::write(dir.path().join("known_hosts"), "").unwrap();
    // Its target does not exist here, and that is the only complaint.
    let said = String::from_utf8(check(dir.path(), &[]).stdout).unwrap();
    assert!(said.contains("target `web-1`"), "{said}");
}

/// The users and the policy that the example shows in comments are files that work.
#[test]
fn the_example_s_users_and_policy_are_good() {
    let output = Command::new(BINARY).arg("example-config").output().unwrap();
    let example = String::from_utf8(output.stdout).unwrap();
    let shown = |file: &str| {
        let section = example.split("# ---- ").find(|section| section.starts_with(file)).expect(file);
        let lines = section.lines().skip(1).map(|line| line.strip_prefix('#').unwrap_or(line).trim());
        lines.collect::<Vec<_>>().join("\n")
    };
    // What stands for a hash and for a key is no such thing.
    let users = shown("users.toml").replace("$argon2id$v=19$…", &hash("x"));
    let users = users.replace("openssh.com AAAA…", &format!("openssh.com {SECURITY_KEY}"));
    let users = users.replace("AAAA…", PUBLIC_KEY);
    assert!(users.contains("$argon2id$"), "{users}");
    let dir = files(TARGET, &shown("policy.toml"), &users);
    let output = check(dir.path(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
