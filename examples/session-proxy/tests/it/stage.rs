//! A running demo and the ways to use it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use audit_log::{FileKeys, FileStore, Reader, Report, VerifyError, VerifyOptions};
use serde_json::Value;
use testbed::{Running, Ssh};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_session-proxy");

pub(crate) struct Demo {
    pub(crate) process: Option<Running>,
    pub(crate) line: Value,
    pub(crate) data_dir: PathBuf,
}

impl Demo {
    /// Starts the demo on `data_dir` and waits for its line.
    pub(crate) fn start(data_dir: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["demo", "--json", "--data-dir"]).arg(data_dir);
        Self::from_command(command)
    }

    /// Starts the demo by `command`, which prints its line.
    pub(crate) fn from_command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).env("SHELL", "/bin/sh");
        let process = Running::spawn(command).unwrap();
        assert!(
            process.wait_for_stdout("\n", Duration::from_secs(60)),
            "no line: {}",
            String::from_utf8_lossy(&process.stderr())
        );
        let line: Value = serde_json::from_slice(&process.stdout()).unwrap();
        let data_dir = PathBuf::from(line["data_dir"].as_str().unwrap());
        Self { process: Some(process), line, data_dir }
    }

    pub(crate) fn user(&self) -> &str {
        self.line["users"][0]["name"].as_str().unwrap()
    }

    pub(crate) fn password(&self) -> &str {
        self.line["users"][0]["password"].as_str().unwrap()
    }

    pub(crate) fn ssh(&self) -> Ssh {
        let port = u16::try_from(self.line["ssh"]["port"].as_u64().unwrap()).unwrap();
        Ssh::new(port).user(self.user()).password(self.password())
    }

    /// As another of the demo's users.
    pub(crate) fn ssh_as(&self, name: &str) -> Ssh {
        let users = self.line["users"].as_array().unwrap();
        let user = users.iter().find(|user| user["name"] == name).expect(name);
        self.ssh().user(name).password(user["password"].as_str().unwrap())
    }

    /// Straight to the demo's target.
    pub(crate) fn direct(&self) -> Ssh {
        let target = &self.line["target"];
        Ssh::new(u16::try_from(target["port"].as_u64().unwrap()).unwrap())
            .user(target["user"].as_str().unwrap())
            .key(target["key_file"].as_str().unwrap())
    }

    /// Adds a pattern to the demo's policy and waits until it is in force.
    pub(crate) fn permit(&self, pattern: &str) {
        let policy = self.data_dir.join("policy.toml");
        let text = std::fs::read_to_string(&policy).unwrap();
        let changes = || self.stderr().matches("policy changed").count();
        let before = changes();
        std::fs::write(&policy, text.replace("\"ls ...\"", &format!("\"ls ...\", {pattern:?}"))).unwrap();
        wait_for("the change is taken", || changes() > before);
    }

    pub(crate) fn socket(&self) -> &str {
        self.line["control_socket"].as_str().unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.process.as_ref().unwrap().stderr()).into_owned()
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let pid = i32::try_from(self.process.as_ref().unwrap().pid()).unwrap();
        rustix::process::Pid::from_raw(pid).unwrap()
    }

    /// SIGTERM, and the end that it leads to.
    pub(crate) fn terminate(mut self) -> testbed::Output {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        self.process.take().unwrap().wait(Duration::from_secs(30)).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.take().unwrap().kill().unwrap();
    }
}

/// All entries of the log under `data_dir`, as flat JSON.
pub(crate) fn entries(data_dir: &Path) -> Vec<Value> {
    reader(data_dir).read(..).unwrap().map(|entry| entry.unwrap().to_json()).collect()
}

pub(crate) fn of_type(entries: &[Value], event_type: &str) -> Vec<Value> {
    entries.iter().filter(|entry| entry["event_type"] == event_type).cloned().collect()
}

pub(crate) fn verify(data_dir: &Path) -> Result<Report, VerifyError> {
    verify_with(data_dir, &VerifyOptions::new())
}

pub(crate) fn verify_with(data_dir: &Path, options: &VerifyOptions) -> Result<Report, VerifyError> {
    reader(data_dir).verify(options, |_| ())
}

/// The independent reader in Python, which was written from the format's description alone, agrees: whole, and the same entries.
pub(crate) fn agree_with_python(data_dir: &Path) {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../audit-log/tests/reader/audit_log_reader.py");
    let python = |verb: &str| {
        let output = Command::new("/usr/bin/python3")
            .arg(&script)
            .arg(verb)
            .arg("--log")
            .arg(data_dir.join("audit"))
            .arg("--keys")
            .arg(data_dir.join("keys"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    python("verify");
    let dumped: Vec<Value> = python("dump").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours = entries(data_dir);
    assert_eq!(dumped.len(), ours.len());
    for (theirs, ours) in dumped.iter().zip(&ours) {
        assert_eq!(&theirs["event"], ours);
    }
}

fn reader(data_dir: &Path) -> Reader {
    Reader::open(
        FileStore::read_only(data_dir.join("audit")).unwrap(),
        FileKeys::read_only(data_dir.join("keys")).unwrap(),
    )
}

/// Waits until `holds`; the deadline is for a broken proxy, not for a slow machine.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// A number that no other process on this machine has on its command line, and that `sleep` takes.
pub(crate) fn mark(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

/// Processes whose command line holds `mark`.
pub(crate) fn running_with(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}
