//! Python and Node environments that tests and benches run servers and peers from.
//!
//! They lie in the target directory, are made by `cargo xtask test` and `cargo xtask bench` from lock files with hashes
//! in `testbed/scim`, `testbed/events` and `testbed/siem`, and are used until the lock file changes. `requirements.in` says how its lock file is made; that of
//! Node is made by `npm install --package-lock-only --omit-lockfile-registry-resolved`, which leaves out whose mirror it came from.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::program::Program;

/// An environment of packages, and the lock file that says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// `scim2-server`, `scim2-client`, `scim2-models` and `scim-sanity`.
    Python,
    /// `scimmy`, `scimmy-routers` and `express`.
    Node,
    /// What reads events as others write them, and the clients of those who collect them.
    SiemPython,
    /// The parser of Microsoft's query language.
    SiemNode,
    /// `schemathesis` and `sseclient-py`.
    EventsPython,
    /// `eventsource` and `ajv`.
    EventsNode,
}

impl Environment {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::Python, Self::Node, Self::SiemPython, Self::SiemNode, Self::EventsPython, Self::EventsNode];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "the Python environment",
            Self::Node => "the Node environment",
            Self::SiemPython => "the Python environment for SIEM",
            Self::SiemNode => "the Node environment for SIEM",
            Self::EventsPython => "the Python environment for events",
            Self::EventsNode => "the Node environment for events",
        }
    }

    /// The text of its lock file. An environment made from another text is not used.
    pub fn lock(self) -> &'static str {
        match self {
            Self::Python => include_str!("../scim/requirements.txt"),
            Self::Node => include_str!("../scim/package-lock.json"),
            Self::SiemPython => include_str!("../siem/requirements.txt"),
            Self::SiemNode => include_str!("../siem/package-lock.json"),
            Self::EventsPython => include_str!("../events/requirements.txt"),
            Self::EventsNode => include_str!("../events/package-lock.json"),
        }
    }

    /// The package description that goes with the lock file, where its installer wants one.
    pub fn manifest(self) -> Option<&'static str> {
        match self {
            Self::Python | Self::SiemPython | Self::EventsPython => None,
            Self::Node => Some(include_str!("../scim/package.json")),
            Self::SiemNode => Some(include_str!("../siem/package.json")),
            Self::EventsNode => Some(include_str!("../events/package.json")),
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::SiemPython => "siem-python",
            Self::SiemNode => "siem-node",
            Self::EventsPython => "events-python",
            Self::EventsNode => "events-node",
        }
    }
}

/// Where the environments are.
#[derive(Debug, Clone)]
pub struct Toolbox {
    dir: PathBuf,
}

impl Toolbox {
    /// The toolbox of a target directory.
    pub fn in_target(target_dir: &Path) -> Self {
        Self { dir: target_dir.join("testbed") }
    }

    /// The toolbox of the target directory that the running program lies in.
    ///
    /// # Errors
    /// When the running program lies in no target directory.
    pub fn find() -> Result<Self, Error> {
        let own = env::current_exe().map_err(Error::io("find", "the running program"))?;
        own.ancestors()
            .find(|dir| TARGET_DIR_HOLDS.iter().any(|file| dir.join(file).is_file()))
            .map(Self::in_target)
            .ok_or(Error::NotPrepared { what: "a target directory around the running program" })
    }

    /// The directory of one environment, whether it is there or not.
    pub fn environment(&self, environment: Environment) -> PathBuf {
        self.dir.join(environment.folder())
    }

    /// Whether it is there, and made from the lock file of this build.
    pub fn holds(&self, environment: Environment) -> bool {
        fs::read_to_string(self.stamp(environment)).is_ok_and(|stamp| stamp == environment.lock())
    }

    /// Notes that it has been made from the lock file of this build.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn mark_made(&self, environment: Environment) -> Result<(), Error> {
        let path = self.stamp(environment);
        fs::write(&path, environment.lock()).map_err(Error::io("write", path))
    }

    /// A command that runs the Python of its environment.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] without the environment.
    pub fn python(&self) -> Result<Command, Error> {
        self.python_of(Environment::Python)
    }

    /// A command that runs the Python of one of the environments that have one.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] without the environment.
    pub fn python_of(&self, environment: Environment) -> Result<Command, Error> {
        self.needs(environment)?;
        Ok(Command::new(self.environment(environment).join("bin/python3")))
    }

    /// A command that runs a program that a package of the Python environment brings.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] without the environment.
    pub fn script(&self, name: &str) -> Result<Command, Error> {
        self.needs(Environment::Python)?;
        Ok(Command::new(self.environment(Environment::Python).join("bin").join(name)))
    }

    /// A command that runs a program in the Node environment: `source` is an ECMAScript module and imports packages of the
    /// environment by name; arguments that the caller adds follow it.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] without the environment, [`Error::Needs`] without `node`.
    pub fn node(&self, source: &str) -> Result<Command, Error> {
        self.node_of(Environment::Node, source)
    }

    /// As [`node`](Self::node), in one of the environments that have it.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] without the environment, [`Error::Needs`] without `node`.
    pub fn node_of(&self, environment: Environment, source: &str) -> Result<Command, Error> {
        self.needs(environment)?;
        let mut command = Program::find("node", "nodejs")?.command();
        // A module given on the command line looks for packages from the working directory upwards.
        command.current_dir(self.environment(environment));
        command.args(["--input-type=module", "--eval", source]);
        Ok(command)
    }

    /// Where Debian packages are unpacked that are not installed, as they would end a service that this machine has.
    pub fn unpacked(&self) -> PathBuf {
        self.dir.join("debian")
    }

    fn needs(&self, environment: Environment) -> Result<(), Error> {
        if self.holds(environment) { Ok(()) } else { Err(Error::NotPrepared { what: environment.name() }) }
    }

    fn stamp(&self, environment: Environment) -> PathBuf {
        self.environment(environment).join("made-from")
    }
}

/// What cargo writes into a target directory and nowhere else.
const TARGET_DIR_HOLDS: [&str; 2] = ["CACHEDIR.TAG", ".rustc_info.json"];
