//! What an auditor of SSH servers thinks of the proxy.

use std::process::Command;

use super::stage::Demo;

#[test]
#[ignore = "needs ssh-audit: cargo xtask test"]
fn ssh_audit_finds_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let port = demo.line["ssh"]["port"].to_string();
    let output =
        Command::new("ssh-audit").args(["-n", "-p", &port, "127.0.0.1"]).output().expect("ssh-audit");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("(kex) curve25519-sha256"), "it looked: {said}");
    assert!(!said.contains("[fail]"), "{said}");
    // Warnings are only about names that a release of ssh-audit is too old to know.
    for line in said.lines().filter(|line| line.contains("[warn]")) {
        assert!(line.contains("unknown algorithm"), "{line}");
    }
    demo.terminate();
}
