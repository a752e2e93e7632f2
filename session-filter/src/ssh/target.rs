//! The target side: where it is, how its identity is checked, which credential is injected.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::gate::SessionRequest;
use crate::identity::Target;
use crate::ssh::read_ahead::ReadAhead;

/// Where a target is and which host keys prove that it is the one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Destination {
    /// The target as the policy knows it.
    pub target: Target,
    /// Host name or address, as in known_hosts.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The keys that are accepted.
    pub host_keys: HostKeys,
}

impl Destination {
    /// `target` answers at `host:port` and proves one of `host_keys`.
    pub fn new(target: Target, host: impl Into<String>, port: u16, host_keys: HostKeys) -> Self {
        Self { target, host: host.into(), port, host_keys }
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Which host keys are accepted from a target. There is no way to accept any key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HostKeys {
    /// Exactly these keys.
    Pinned(Vec<PublicKey>),
    /// Keys listed for the host in an OpenSSH known_hosts file, hashed names included; a key marked
    /// `@revoked` anywhere in the file is refused. The file is read anew for each connection.
    KnownHosts(PathBuf),
}

/// Why no host key can be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostKeyError {
    /// The list of known keys is empty for this host.
    #[error("no host key is known for `{0}`")]
    NoneKnown(String),
    /// The known_hosts file cannot be read.
    #[error("cannot read known hosts: {0}")]
    Unreadable(String),
    /// The target proved another key.
    #[error("host key {0} is not the one known for the target")]
    Mismatch(String),
}

impl HostKeys {
    /// The keys accepted for `host` and `port`.
    ///
    /// # Errors
    /// When there are none or the file cannot be read: a target without a known key is never dialled.
    pub fn accepted(&self, host: &str, port: u16) -> Result<Vec<PublicKey>, HostKeyError> {
        let keys = match self {
            Self::Pinned(keys) => keys.clone(),
            Self::KnownHosts(path) => {
                let unreadable = |e: &dyn std::fmt::Display| HostKeyError::Unreadable(e.to_string());
                let text = std::fs::read_to_string(path).map_err(|e| unreadable(&e))?;
                let revoked = revoked(&text)?;
                let negated = |line: &str| {
                    line.split_ascii_whitespace()
                        .next()
                        .is_some_and(|hosts| hosts.split(',').any(|h| h.starts_with('!')))
                };
                let listed = russh::keys::known_hosts::known_host_keys_path(host, port, path)
                    .map_err(|e| unreadable(&e))?;
                listed
                    .into_iter()
                    // The library does not know negated host patterns; a line that has one counts for nobody.
                    .filter(|(number, _)| !text.lines().nth(number.saturating_sub(1)).is_none_or(negated))
                    .map(|(_, key)| key)
                    .filter(|key| !revoked.contains(key.key_data()))
                    .collect()
            }
        };
        if keys.is_empty() { Err(HostKeyError::NoneKnown(format!("{host}:{port}"))) } else { Ok(keys) }
    }
}

/// Keys marked `@revoked`, for whatever host. A marked line that cannot be understood makes the whole file useless: it might be
/// the one that revokes the key at hand.
fn revoked(known_hosts: &str) -> Result<Vec<KeyData>, HostKeyError> {
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(known_hosts.lines()) {
        let mut fields = line.split_ascii_whitespace();
        match fields.next() {
            Some("@revoked") => {}
            Some("@cert-authority") | None => continue,
            Some(marker) if marker.starts_with('@') => {
                return Err(HostKeyError::Unreadable(format!("line {number} has an unknown marker")));
            }
            Some(_) => continue,
        }
        let key = match (fields.next(), fields.next(), fields.next()) {
            (Some(_), Some(algorithm), Some(key)) => PublicKey::from_openssh(&format!("{algorithm} {key}")),
            _ => return Err(HostKeyError::Unreadable(format!("line {number} revokes no key"))),
        };
        let key = key.map_err(|e| HostKeyError::Unreadable(format!("line {number} revokes no key: {e}")))?;
        keys.push(key.key_data().clone());
    }
    Ok(keys)
}

/// SHA-256 fingerprint of a key, as `ssh-keygen -l` prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Knows the targets.
///
/// A wrong answer sends a checked command to the wrong machine; the host key is what notices.
#[async_trait]
pub trait TargetResolver: Send + Sync + 'static {
    /// Where the target named `id` is; `None` when there is no such target.
    async fn resolve(&self, id: &str) -> Option<Destination>;

    /// All targets, for a user who names none: if exactly one admits them, that one is taken.
    async fn list(&self) -> Vec<Target>;
}

/// Gives the credential for one session. The user never sees it.
#[async_trait]
pub trait CredentialSource: Send + Sync + 'static {
    /// The credential with which `request`'s session logs in to `destination`. Called once per target connection.
    async fn credential(
        &self,
        request: &SessionRequest,
        destination: &Destination,
    ) -> Result<Credential, CredentialError>;

    /// What was issued for the session can go. Called once for each call of [`credential`](Self::credential) that did not fail, also
    /// when its answer came too late for anybody to take it.
    async fn release(&self, _request: &SessionRequest, _destination: &Destination) {}
}

/// There is no credential for this session.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no credential: {message}")]
#[non_exhaustive]
pub struct CredentialError {
    message: String,
}

impl CredentialError {
    /// An error with a sentence for people, without any secret.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// An account on the target and what proves it. `Debug` shows the account only.
#[derive(Clone)]
pub struct Credential {
    pub(crate) account: String,
    pub(crate) secret: Secret,
}

#[derive(Clone)]
pub(crate) enum Secret {
    Key(Arc<PrivateKey>),
    Password(Zeroizing<String>),
}

impl Credential {
    /// Logs in as `account` with a private key.
    pub fn key(account: impl Into<String>, key: PrivateKey) -> Self {
        Self { account: account.into(), secret: Secret::Key(Arc::new(key)) }
    }

    /// Logs in as `account` with a password.
    pub fn password(account: impl Into<String>, password: impl Into<String>) -> Self {
        Self { account: account.into(), secret: Secret::Password(Zeroizing::new(password.into())) }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("account", &self.account).finish_non_exhaustive()
    }
}

/// A byte stream to a target.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// Reaches a destination: directly, through a jump host, or through a worker that dialled out.
#[async_trait]
pub trait Dialer: Send + Sync + 'static {
    /// A byte stream to `destination`. The caller bounds the time. The host key is checked on whatever comes back, so
    /// a wrong stream cannot pass for the target.
    async fn dial(&self, destination: &Destination) -> std::io::Result<Box<dyn Connection>>;
}

/// Dials by TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer;

#[async_trait]
impl Dialer for TcpDialer {
    async fn dial(&self, destination: &Destination) -> std::io::Result<Box<dyn Connection>> {
        let stream = tokio::net::TcpStream::connect((destination.host.as_str(), destination.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(ReadAhead::new(stream)))
    }
}

/// Targets and their credentials, listed in memory.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    entries: Vec<(Destination, Credential)>,
}

impl Inventory {
    /// No targets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a target with the credential that every session to it gets.
    #[must_use]
    pub fn target(mut self, destination: Destination, credential: Credential) -> Self {
        self.entries.push((destination, credential));
        self
    }
}

#[async_trait]
impl TargetResolver for Inventory {
    async fn resolve(&self, id: &str) -> Option<Destination> {
        self.entries.iter().map(|(d, _)| d).find(|d| d.target.id() == id).cloned()
    }

    async fn list(&self) -> Vec<Target> {
        self.entries.iter().map(|(d, _)| d.target.clone()).collect()
    }
}

#[async_trait]
impl CredentialSource for Inventory {
    async fn credential(
        &self,
        _request: &SessionRequest,
        destination: &Destination,
    ) -> Result<Credential, CredentialError> {
        self.entries
            .iter()
            .find(|(d, _)| d.target.id() == destination.target.id())
            .map(|(_, credential)| credential.clone())
            .ok_or_else(|| {
                CredentialError::new(format!("`{}` is not in the inventory", destination.target.id()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn accepted(known_hosts: &str) -> Result<usize, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        std::fs::write(&path, known_hosts).unwrap();
        let keys = HostKeys::KnownHosts(path).accepted("web-1", 22);
        keys.map(|keys| keys.len()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_listed_key_is_accepted_and_nothing_else_is() {
        assert_eq!(accepted(&format!("web-1 {KEY}\n")), Ok(1));
        assert_eq!(accepted(&format!("web-2,web-1 {KEY}\n")), Ok(1));
        for none in [
            format!("web-2 {KEY}\n"),
            String::new(),
            format!("web-1,!web-1 {KEY}\n"),
            format!("@cert-authority web-1 {KEY}\n"),
        ] {
            assert!(accepted(&none).unwrap_err().contains("no host key is known"), "{none}");
        }
    }

    #[test]
    fn a_revoked_key_is_refused_however_its_line_is_spaced() {
        for revoked in [
            format!("@revoked * {KEY}"),
            format!("@revoked\t*\t{}", KEY.replace(' ', "\t")),
            format!("@revoked  *  {KEY} comment"),
            format!("  @revoked * {KEY}"),
        ] {
            assert!(accepted(&format!("web-1 {KEY}\n{revoked}\n")).is_err(), "{revoked}");
        }
        for broken in ["@revoked *", "@revoked * ssh-ed25519 nonsense", "@else * x y"] {
            assert!(
                accepted(&format!("web-1 {KEY}\n{broken}\n")).unwrap_err().contains("line 2"),
                "{broken}"
            );
        }
    }
}
