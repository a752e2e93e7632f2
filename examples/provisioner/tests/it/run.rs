//! The binary, run.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the binary said.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Every line of standard output as JSON.
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The error as JSON.
    pub fn error(&self) -> Value {
        serde_json::from_str(self.err.lines().last().unwrap()).unwrap()
    }
}

/// With the token that the servers of these tests want.
pub const TOKEN: &str = "testbed-token";

/// `provisioner scim …` with the right token in the environment.
pub fn scim(arguments: &[&str]) -> Said {
    provisioner(&[&["scim"], arguments].concat(), &[("SCIM_TOKEN", TOKEN)], "")
}

/// `provisioner --json scim …`
pub fn scim_json(arguments: &[&str]) -> Said {
    provisioner(&[&["--json", "scim"], arguments].concat(), &[("SCIM_TOKEN", TOKEN)], "")
}

pub fn provisioner(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_provisioner"))
        .args(arguments)
        .env_remove("SCIM_TOKEN")
        .env_remove("SCIM_PASSWORD")
        .env_remove("SCIM_CLIENT_SECRET")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The binary need not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = Said {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    // Whatever a test is about: no secret is ever printed.
    for secret in environment.iter().map(|(_, value)| value).filter(|value| !value.is_empty()) {
        assert!(
            !said.out.contains(secret) && !said.err.contains(secret),
            "{arguments:?} prints a secret: {said:?}"
        );
    }
    said
}
