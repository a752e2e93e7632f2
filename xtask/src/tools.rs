//! The installed programs that tests against real servers need.

use std::path::Path;

use crate::console::Console;
use crate::environments;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::unpacked;
use crate::workspace::{Workspace, find_program};

/// One thing that must be installed.
struct Tool {
    name: &'static str,
    package: &'static str,
    check: Check,
}

enum Check {
    /// A program in `PATH` or where Debian keeps servers.
    Program,
    /// A module of Debian's own Python, which tests call by its full path so that no other Python gets in the way.
    PythonModule(&'static str),
    /// A program in a directory for each version, below this one.
    Versioned(&'static str),
    /// A header that C is compiled with.
    Header(&'static str),
}

/// Makes sure that all are there, and the environments that are made with them; returns how many.
///
/// # Errors
/// Where apt, or the right to use it, is not there, or it fails, or a program is still missing after it; where an environment
/// cannot be made.
pub(crate) fn ensure(workspace: &Workspace, console: &Console) -> Result<usize, Failure> {
    let missing = missing(workspace);
    if !missing.is_empty() {
        let can_install =
            find_program("apt-get").is_some() && (is_root(workspace) || find_program("sudo").is_some());
        if !can_install {
            return Err(failure(&missing));
        }
        install(workspace, console, &missing)?;
        let still = self::missing(workspace);
        if !still.is_empty() {
            return Err(failure(&still));
        }
    }
    Ok(TOOLS.len() + unpacked::ensure(workspace, console)? + environments::ensure(workspace, console)?)
}

fn missing(workspace: &Workspace) -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !is_there(workspace, tool)).collect()
}

fn is_there(workspace: &Workspace, tool: &Tool) -> bool {
    match tool.check {
        Check::Header(path) => Path::new(path).is_file(),
        Check::Versioned(versions) => std::fs::read_dir(versions)
            .is_ok_and(|dirs| dirs.flatten().any(|dir| dir.path().join("bin").join(tool.name).is_file())),
        Check::Program => find_program(tool.name).is_some(),
        Check::PythonModule(module) => {
            Invocation::program(workspace, DEBIAN_PYTHON).args(["-c", &format!("import {module}")]).succeeds()
        }
    }
}

fn install(workspace: &Workspace, console: &Console, missing: &[&Tool]) -> Result<(), Failure> {
    if Path::new("/run/systemd/system").exists() {
        for (_, units, port) in
            SERVICES.iter().filter(|(package, ..)| missing.iter().any(|tool| tool.package == *package))
        {
            let names = units.join(" ");
            console.say(&format!(
                "Installing would open port {port} on this machine; the service is masked first \
                 (`systemctl unmask {names}` undoes that).",
            ));
            as_root(workspace, "systemctl").arg("mask").args(*units).run(console)?;
        }
    }
    // A list that cannot be renewed may still do; the install says if it does not.
    if let Err(failure) = as_root(workspace, "apt-get").args(["update", "--quiet=2"]).run(console) {
        console.say(&format!("going on with the package lists there are: {failure}"));
    }
    as_root(workspace, "apt-get")
        .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
        .args(packages(missing))
        .run(console)
}

fn is_root(workspace: &Workspace) -> bool {
    Invocation::program(workspace, "id").arg("-u").quiet_output().is_some_and(|id| id.trim() == "0")
}

pub(crate) fn as_root(workspace: &Workspace, program: &str) -> Invocation {
    if is_root(workspace) {
        Invocation::program(workspace, program).env("DEBIAN_FRONTEND", "noninteractive")
    } else {
        Invocation::program(workspace, "sudo").arg("DEBIAN_FRONTEND=noninteractive").arg(program)
    }
}

fn packages(missing: &[&Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    packages
}

fn failure(missing: &[&Tool]) -> Failure {
    let names: Vec<_> = missing.iter().map(|tool| tool.name).collect();
    Failure::Missing { names: names.join(", "), packages: packages(missing).join(" ") }
}

const fn program(name: &'static str, package: &'static str) -> Tool {
    Tool { name, package, check: Check::Program }
}

/// Packages that start a service when they are installed, its units, and where it listens.
const SERVICES: &[(&str, &[&str], u16)] = &[
    ("nats-server", &["nats-server.service"], 4222),
    ("openssh-server", &["ssh.service", "ssh.socket"], 22),
    ("postgresql", &["postgresql.service"], 5432),
    ("slapd", &["slapd.service"], 389),
];

pub(crate) const DEBIAN_PYTHON: &str = "/usr/bin/python3";

const TOOLS: &[Tool] = &[
    // Servers and clients that tests talk to.
    program("sshd", "openssh-server"),
    program("ssh", "openssh-client"),
    program("ssh-keygen", "openssh-client"),
    program("ssh-audit", "ssh-audit"),
    program("tmux", "tmux"),
    program("vi", "vim-tiny"),
    program("less", "less"),
    // What others play recordings with, and the terminal it wants.
    program("asciinema", "asciinema"),
    program("script", "bsdutils"),
    // What people run over ssh.
    program("ansible-playbook", "ansible-core"),
    program("git", "git"),
    program("rsync", "rsync"),
    program("xauth", "xauth"),
    // Shells whose parsing ours is compared with.
    program("bash", "bash"),
    program("dash", "dash"),
    // Shells that must not pass for POSIX ones, and one more that is.
    program("fish", "fish"),
    program("tcsh", "tcsh"),
    program("zsh", "zsh"),
    // The independent reader of the log format.
    program("python3", "python3"),
    Tool {
        name: "Debian's cryptography module for Python",
        package: "python3-cryptography",
        check: Check::PythonModule("cryptography"),
    },
    // The directory that accounts are provisioned to, and the clients that look into it.
    program("slapd", "slapd"),
    program("ldapsearch", "ldap-utils"),
    program("ldapmodify", "ldap-utils"),
    // The database that outboxes are shared in.
    Tool { name: "postgres", package: "postgresql", check: Check::Versioned("/usr/lib/postgresql") },
    // The message server that events are shared through.
    program("nats-server", "nats-server"),
    // What SCIM servers, judges and peers are written in, and what installs them.
    Tool {
        name: "venv for Debian's Python",
        package: "python3-venv",
        check: Check::PythonModule("ensurepip"),
    },
    program("node", "nodejs"),
    program("npm", "npm"),
    // What a newcomer asks an HTTP interface with.
    program("curl", "curl"),
    // Peers in benches.
    program("openssl", "openssl"),
    program("sqlite3", "sqlite3"),
    // The browser that status pages are shown in.
    program("chromium", "chromium"),
    // What watches system calls in crash tests.
    program("strace", "strace"),
    // The library that stands in for security keys.
    program("cc", "gcc"),
    Tool {
        name: "OpenSSL's headers",
        package: "libssl-dev",
        check: Check::Header("/usr/include/openssl/evp.h"),
    },
    // libFuzzer is C++.
    program("c++", "g++"),
];
