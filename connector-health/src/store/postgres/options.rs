use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// Most bytes of a schema's name.
const SCHEMA_BYTES_MAX: usize = 63;

/// Why settings cannot be used. Nothing of a password is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresSettingsError {
    /// The connection string is none, or has settings that are not known.
    #[error(
        "the connection string cannot be read: it is `postgres://user@host:port/database`, with known parameters after `?`"
    )]
    Connection,
    /// It names no host.
    #[error("the connection string names no host")]
    NoHost,
    /// Attributes of people and the password would go over a network in the clear.
    #[error("`sslmode=disable` sends everything to `{0}` in the clear")]
    InTheClear(String),
    /// A schema's name has lower-case letters, digits and `_`, begins with no digit nor with `pg_`, and has at most 63 bytes.
    #[error(
        "`{0}` is no name for a schema: lower-case letters, digits and `_`, at most 63, not `pg_` at the beginning"
    )]
    Schema(String),
    /// The certificates of an authority cannot be used.
    #[error("the authority's certificates cannot be used: {0}")]
    Roots(String),
}

/// Where a [`PostgresStore`](super::PostgresStore) is and how it is used. Neither `Debug` nor errors show the password.
///
/// A server elsewhere is spoken to over TLS alone, its certificate checked for the host's name against the authorities that this
/// machine trusts, or [those given](Self::roots_pem). One on this machine (a Unix socket, `localhost`, 127.0.0.1, `::1`) only where
/// the string says `sslmode=require`.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) schema: String,
    pub(super) connections: usize,
    pub(super) statement_timeout: Duration,
    pub(super) clock_skew_max: Duration,
    pub(super) leases_are_callers: bool,
    roots_pem: Option<String>,
    is_clear_accepted: bool,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The string's own `options` may hold anything.
        f.debug_struct("PostgresOptions")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// From a connection string as libpq has them: `postgres://user@db1.example.org,db2.example.org/provisioning`. `sslmode=verify-full`,
    /// `verify-ca` and `require` are one and the same here: the certificate is always checked. `target_session_attrs` is always
    /// `read-write`: a standby is no place for an outbox. Unless the string says otherwise, a peer that is gone is noticed after 30 s
    /// of silence (`keepalives_idle`, `keepalives_interval`, `keepalives_retries`), or 15 s after something was sent
    /// (`tcp_user_timeout`, Linux).
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn new(connection: &str) -> Result<Self, PostgresSettingsError> {
        let (base, parameters) = connection.split_once('?').unwrap_or((connection, ""));
        let parameters = parameters.split('&').map(|parameter| match parameter {
            "sslmode=verify-full" | "sslmode=verify-ca" => "sslmode=require",
            other => other,
        });
        let parameters = parameters.collect::<Vec<_>>().join("&");
        let whole = if parameters.is_empty() { base.to_owned() } else { format!("{base}?{parameters}") };
        // The error of the parser may repeat parts of what it could not make out.
        let mut config: Config = whole.parse().map_err(|_| PostgresSettingsError::Connection)?;
        if config.get_hosts().is_empty() {
            return Err(PostgresSettingsError::NoHost);
        }
        if config.get_application_name().is_none() {
            config.application_name("connector-health");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let says = |name: &str| parameters.split('&').any(|parameter| parameter.starts_with(name));
        if !says("keepalives_idle=") {
            config.keepalives_idle(KEEPALIVES_IDLE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVES_INTERVAL);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEPALIVES_RETRIES);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_USER_TIMEOUT);
        }
        Ok(Self {
            config,
            schema: "connector_health".to_owned(),
            connections: 8,
            statement_timeout: Duration::from_secs(30),
            clock_skew_max: Duration::from_secs(30),
            leases_are_callers: false,
            roots_pem: None,
            is_clear_accepted: false,
        })
    }

    /// The password, rather than in the string.
    #[must_use]
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.config.password(password);
        self
    }

    /// Whether there is one.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// The schema of its tables (`connector_health`). It is made where it is missing, which takes the right to do so.
    ///
    /// # Errors
    /// Where the name is none.
    pub fn schema(mut self, name: impl Into<String>) -> Result<Self, PostgresSettingsError> {
        let name = name.into();
        let begins_well = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !begins_well || !is_plain || name.len() > SCHEMA_BYTES_MAX || name.starts_with("pg_") {
            return Err(PostgresSettingsError::Schema(name));
        }
        self.schema = name;
        Ok(self)
    }

    /// Most connections at a time (8).
    #[must_use]
    pub fn connections(self, most: usize) -> Self {
        Self { connections: most.max(1), ..self }
    }

    /// Time after which a statement, or the wait for a lock, is given up (30 s).
    #[must_use]
    pub fn statement_timeout(self, timeout: Duration) -> Self {
        Self { statement_timeout: timeout.max(Duration::from_millis(1)), ..self }
    }

    /// How far this machine's clock may be from the server's (30 s), looked at for each new connection. Leases are by the database's
    /// clock. What differs between workers is when something is due that was put off, and until when a create that was not answered
    /// may still be carried out: up to twice as much.
    #[must_use]
    pub fn clock_skew_max(self, skew: Duration) -> Self {
        Self { clock_skew_max: skew, ..self }
    }

    /// Has leases be by [`Claim::now`](crate::store::Claim::now) instead of the database's clock, for tests in virtual time. Two workers
    /// whose clocks differ would work on one lane.
    #[must_use]
    pub fn dangerously_lease_by_caller(self) -> Self {
        Self { leases_are_callers: true, ..self }
    }

    /// Authorities that the server's certificate may come from, as PEM, in place of those that this machine trusts.
    #[must_use]
    pub fn roots_pem(self, pem: impl Into<String>) -> Self {
        Self { roots_pem: Some(pem.into()), ..self }
    }

    /// Lets `sslmode=disable` hold for a server elsewhere: whoever is in between reads and changes everything, leavers included.
    #[must_use]
    pub fn dangerously_in_the_clear(self) -> Self {
        Self { is_clear_accepted: true, ..self }
    }

    /// Whether TLS is as it has to be, and its authorities can be used: what [`PostgresStore::open`](super::PostgresStore::open) looks
    /// at before it connects.
    ///
    /// # Errors
    /// Where it would refuse.
    pub fn check(&self) -> Result<(), PostgresSettingsError> {
        self.connect().map(drop)
    }

    /// The settings of connections, TLS decided, and its settings.
    pub(super) fn connect(&self) -> Result<(Config, Option<rustls::ClientConfig>), PostgresSettingsError> {
        let mut config = self.config.clone();
        let elsewhere = config.get_hosts().iter().find_map(|host| match host {
            Host::Tcp(name) if !is_here(name) => Some(name.clone()),
            _ => None,
        });
        let address = config.get_hostaddrs().iter().find(|address| !address.is_loopback());
        let elsewhere = elsewhere.or_else(|| address.map(IpAddr::to_string));
        let is_encrypted = match (config.get_ssl_mode(), elsewhere) {
            (SslMode::Disable, None) | (SslMode::Prefer, None) => false,
            (SslMode::Disable, Some(host)) if !self.is_clear_accepted => {
                return Err(PostgresSettingsError::InTheClear(host));
            }
            (SslMode::Disable, Some(_)) => false,
            _ => true,
        };
        config.ssl_mode(if is_encrypted { SslMode::Require } else { SslMode::Disable });
        let tls = is_encrypted.then(|| self.tls()).transpose()?;
        Ok((config, tls))
    }

    fn tls(&self) -> Result<rustls::ClientConfig, PostgresSettingsError> {
        let roots_error = |error: &dyn fmt::Display| PostgresSettingsError::Roots(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| roots_error(&error))?;
        let Some(pem) = &self.roots_pem else {
            let builder = builder.with_platform_verifier().map_err(|error| roots_error(&error))?;
            return Ok(builder.with_no_client_auth());
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| roots_error(&error))?;
            roots.add(certificate).map_err(|error| roots_error(&error))?;
        }
        match roots.is_empty() {
            true => Err(roots_error(&"no certificate is in them")),
            false => Ok(builder.with_root_certificates(roots).with_no_client_auth()),
        }
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVES_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES_RETRIES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_gone_is_noticed_and_a_standby_is_refused_whatever_the_string_says() {
        let config = |string: &str| PostgresOptions::new(string).unwrap().config;
        let usual = config("postgres://me@db/outbox?target_session_attrs=any");
        assert_eq!(usual.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert!(usual.get_keepalives());
        assert_eq!(usual.get_keepalives_idle(), KEEPALIVES_IDLE);
        assert_eq!(usual.get_keepalives_interval(), Some(KEEPALIVES_INTERVAL));
        assert_eq!(usual.get_keepalives_retries(), Some(KEEPALIVES_RETRIES));
        assert_eq!(usual.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
        let other =
            config("postgres://me@db/outbox?keepalives_idle=7200&tcp_user_timeout=60&keepalives_retries=9");
        assert_eq!(other.get_keepalives_idle(), Duration::from_secs(7200));
        assert_eq!(other.get_keepalives_retries(), Some(9));
        assert_eq!(other.get_tcp_user_timeout(), Some(&Duration::from_secs(60)));
    }
}
