//! The target side: where it is, how its identity is checked, which credential is injected.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use russh::keys::ssh_key::known_hosts::{KnownHosts, Marker};
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use crate::gate::SessionRequest;
use crate::identity::Target;

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
                let text =
                    std::fs::read_to_string(path).map_err(|e| HostKeyError::Unreadable(e.to_string()))?;
                let mut revoked = Vec::new();
                for entry in KnownHosts::new(&text).flatten() {
                    if entry.marker() == Some(&Marker::Revoked) {
                        revoked.push(entry.public_key().key_data().clone());
                    }
                }
                let listed = russh::keys::known_hosts::known_host_keys_path(host, port, path)
                    .map_err(|e| HostKeyError::Unreadable(e.to_string()))?;
                listed
                    .into_iter()
                    .map(|(_, key)| key)
                    .filter(|key| !revoked.contains(key.key_data()))
                    .collect()
            }
        };
        if keys.is_empty() { Err(HostKeyError::NoneKnown(format!("{host}:{port}"))) } else { Ok(keys) }
    }
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

    /// The session has ended; what was issued for it can go. Called once for each credential given.
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
        Ok(Box::new(stream))
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
