//! The settings file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use session_filter::Target;
use session_filter::anomaly::BaselineSettings;
use session_filter::ssh::keys::PublicKey;
use session_filter::ssh::{Credential, Destination, HostKeys, Inventory};

use crate::codes::Codes;
use crate::events::{EventsToml, Receiver};
use crate::files::Kept;
use crate::limits::LimitsToml;
use crate::operators::{OperatorToml, Operators, gid_of};
use crate::users::place;
use crate::{Failure, files};

/// A commented configuration, users file and policy to start from.
pub(crate) const EXAMPLE: &str = include_str!("../demo/example-config.toml");

/// Longest settings file.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where users connect.
    pub(crate) listen: SocketAddr,
    /// Log in `audit/`, keys in `keys/`, control socket.
    pub(crate) data_dir: PathBuf,
    /// The proxy's own host key; made at the first start.
    pub(crate) host_key: Option<PathBuf>,
    /// The key that seals the secrets of one-time codes; made at the first enrolment.
    pub(crate) totp_key: Option<PathBuf>,
    pub(crate) policy: PathBuf,
    pub(crate) users: PathBuf,
    pub(crate) control_socket: Option<PathBuf>,
    /// Whose members may connect to the control socket; without it, the proxy's own account and root.
    pub(crate) control_group: Option<String>,
    #[serde(default)]
    pub(crate) checkpoints: Checkpoints,
    #[serde(default)]
    pub(crate) limits: LimitsToml,
    /// What stands out against a person's own past; nothing is looked at without it.
    pub(crate) anomalies: Option<BaselineSettings>,
    /// Who is told of logins; nobody without it.
    events: Option<EventsToml>,
    #[serde(skip)]
    pub(crate) receiver: Option<Receiver>,
    #[serde(default, rename = "operator")]
    operator_list: Vec<toml::Spanned<OperatorToml>>,
    /// Who may look at sessions and end them.
    #[serde(skip, default = "Operators::own_account_and_root")]
    pub(crate) operators: Operators,
    #[serde(default, rename = "target")]
    pub(crate) targets: Vec<toml::Spanned<TargetToml>>,
}

/// Where signed checkpoints of the log go besides the log itself: somewhere that whoever owns this machine cannot rewrite.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoints {
    pub(crate) file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) syslog: bool,
    /// The newest checkpoint known from elsewhere; an older log is refused at start.
    pub(crate) minimum: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetToml {
    name: String,
    #[serde(default)]
    tags: Vec<String>,
    host: String,
    #[serde(default = "ssh_port")]
    port: u16,
    account: String,
    /// A private key in OpenSSH's format, or a file that holds a password.
    key_file: Option<PathBuf>,
    password_file: Option<PathBuf>,
    /// Accepted host keys in OpenSSH's one-line form, or a known_hosts file.
    #[serde(default)]
    host_keys: Vec<String>,
    known_hosts: Option<PathBuf>,
}

fn ssh_port() -> u16 {
    22
}

impl Config {
    /// Reads and checks the settings; relative paths are relative to the file. Mistakes are named with line and column.
    pub(crate) fn read(path: &Path) -> Result<(Self, Inventory), Failure> {
        use std::io::Read as _;
        let failed = || Failure::because::<std::io::Error>(format!("cannot read `{}`", path.display()));
        let mut text = String::new();
        std::fs::File::open(path)
            .map_err(failed())?
            .take(CONFIG_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(failed())?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|e| Failure::new(format!("{}: {}", path.display(), e.to_string().trim())))?;
        let base = path.parent().unwrap_or(Path::new("."));
        let resolve = |path: &mut PathBuf| *path = base.join(&path);
        resolve(&mut config.data_dir);
        resolve(&mut config.policy);
        resolve(&mut config.users);
        for path in [
            &mut config.host_key,
            &mut config.totp_key,
            &mut config.control_socket,
            &mut config.checkpoints.file,
            &mut config.checkpoints.minimum,
        ]
        .into_iter()
        .flatten()
        {
            resolve(path);
        }
        let mistake = |what: String| Failure::new(format!("{}: {what}", path.display()));
        config.operators = Operators::parse(&config.operator_list, &text).map_err(mistake)?;
        if let Some(events) = &config.events {
            config.receiver = Some(events.receiver(base, &text).map_err(mistake)?);
        }
        if let Some(group) = &config.control_group {
            if gid_of(group).is_none() {
                return Err(mistake(format!("control_group: there is no group `{group}`")));
            }
            if config.control_socket.as_ref().is_none_or(|socket| socket.starts_with(&config.data_dir)) {
                let why = "the group could not enter `data_dir`; `control_socket` has to lie elsewhere";
                return Err(mistake(format!("control_group: {why}")));
            }
        }
        let mut inventory = Inventory::new();
        let mut names: Vec<&str> = Vec::new();
        for spanned in &config.targets {
            let at = place(&text, spanned.span().start);
            let target = spanned.get_ref();
            let mistake = |what: String| {
                Failure::new(format!("{}: {at}: target `{}`: {what}", path.display(), target.name))
            };
            if target.name.is_empty()
                || target.name.contains('+')
                || target.name.chars().any(char::is_control)
            {
                return Err(mistake("a name is not empty and has no `+` or control characters".to_owned()));
            }
            if names.contains(&target.name.as_str()) {
                return Err(mistake("is listed twice".to_owned()));
            }
            names.push(&target.name);
            let (destination, credential) = target.build(base).map_err(mistake)?;
            inventory = inventory.target(destination, credential);
        }
        Ok((config, inventory))
    }
}

impl Config {
    /// Files of this configuration that other users of the machine may do too much with, and who can do too little. `path` is that of
    /// the settings file.
    pub(crate) fn exposed(&self, path: &Path) -> Vec<String> {
        let base = path.parent().unwrap_or(Path::new("."));
        let targets = self.targets.iter().map(toml::Spanned::get_ref);
        let secrets = targets
            .flat_map(|target| [&target.key_file, &target.password_file])
            .flatten()
            .map(|p| base.join(p));
        let totp_key = self.totp_key.clone().unwrap_or_else(|| Codes::default_key(&self.data_dir));
        let secrets = secrets.chain(self.host_key.clone()).chain([totp_key]).map(|path| (path, Kept::Secret));
        // The users file holds hashes, which can be guessed at.
        let others = [
            (self.users.clone(), Kept::Secret),
            (self.policy.clone(), Kept::Unchanged),
            (path.to_owned(), Kept::Unchanged),
        ];
        let mut told: Vec<String> =
            secrets.chain(others).filter_map(|(path, kept)| files::exposure(&path, kept)).collect();
        if self.operators.has_others() && self.control_group.is_none() {
            told.push(
                "operators besides the proxy's own account and root cannot connect without `control_group`"
                    .to_owned(),
            );
        }
        told
    }
}

impl TargetToml {
    fn build(&self, base: &Path) -> Result<(Destination, Credential), String> {
        let host_keys = match (self.host_keys.as_slice(), &self.known_hosts) {
            ([], Some(path)) => HostKeys::KnownHosts(base.join(path)),
            ([], None) => {
                return Err(
                    "needs `host_keys` or `known_hosts`: an unknown key is never accepted blindly".to_owned()
                );
            }
            (lines, None) => {
                let parsed = lines.iter().map(|line| {
                    PublicKey::from_openssh(line).map_err(|e| format!("`{line}` is no public key: {e}"))
                });
                HostKeys::Pinned(parsed.collect::<Result<_, _>>()?)
            }
            (_, Some(_)) => return Err("has both `host_keys` and `known_hosts`; one is enough".to_owned()),
        };
        host_keys.accepted(&self.host, self.port).map_err(|e| e.to_string())?;
        let credential = match (&self.key_file, &self.password_file) {
            (Some(key), None) => {
                Credential::key(&self.account, files::read_key(&base.join(key)).map_err(|e| e.to_string())?)
            }
            (None, Some(file)) => {
                let text = std::fs::read_to_string(base.join(file))
                    .map_err(|e| format!("cannot read password file `{}`: {e}", file.display()))?;
                Credential::password(&self.account, text.trim_end_matches(['\n', '\r']))
            }
            _ => return Err("needs either `key_file` or `password_file`".to_owned()),
        };
        let target = self.tags.iter().fold(Target::new(&self.name), |target, tag| target.tag(tag));
        Ok((Destination::new(target, &self.host, self.port, host_keys), credential))
    }
}
