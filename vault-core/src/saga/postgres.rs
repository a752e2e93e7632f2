use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{SecondsFormat, TimeDelta};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::issuer::{Issuer, IssuerError, Order};
use super::{Finding, Purpose};
use crate::id::AccountName;
use crate::secret::SecretString;

/// What PostgreSQL cuts names to without saying so.
const NAME_BYTES_MAX: usize = 63;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of one call, connecting included.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The server gives up statements and waits for locks by itself, so that nothing happens long after a call was given up.
const SERVER_OPTIONS: &str =
    "-c statement_timeout=4000 -c lock_timeout=3000 -c idle_in_transaction_session_timeout=10000";

/// Roles of a PostgreSQL server (14 or later).
///
/// A role for a session is made `LOGIN`, with what a template role has (`GRANT template TO role`: one entry, whatever the template may do), and with
/// `VALID UNTIL` the end of its lifetime: the server lets nobody in with it after that, also when nobody takes it away. Taking it away forbids logins, ends
/// its connections, gives what it owns in the connection's database to the administrator, and drops it. A role that owns something in another database cannot
/// be dropped: it stays without login, and recovery waits.
///
/// The administrator is a superuser, or has `CREATEROLE`, `pg_signal_backend` and the template role with `ADMIN OPTION`. Passwords are sent as SCRAM verifiers, so
/// that no log of the server has them. A server that is set to let people in without asking (`trust`) does so, and no look finds out.
///
/// A server elsewhere is spoken to over TLS alone, its certificate checked for the host's name; one on this machine only where the string says
/// `sslmode=require`.
pub struct PostgresIssuer {
    config: Config,
    templates: Vec<AccountName>,
    tls: Option<MakeRustlsConnect>,
    administrator: Mutex<Option<Client>>,
}

impl fmt::Debug for PostgresIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        f.debug_struct("PostgresIssuer")
            .field("hosts", &config.get_hosts())
            .field("database", &config.get_dbname())
            .field("templates", &self.templates)
            .finish_non_exhaustive()
    }
}

/// Why settings cannot be used. Nothing of a password is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresIssuerError {
    /// The connection string is none.
    #[error("the connection string cannot be read: it is `postgres://user:password@host:port/database`")]
    Connection,
    /// Passwords would go over a network in the clear.
    #[error("`sslmode=disable` sends everything to `{0}` in the clear")]
    InTheClear(String),
    /// The certificates of an authority cannot be used.
    #[error("the authority's certificates cannot be used: {0}")]
    Roots(String),
}

impl PostgresIssuer {
    /// By the administrator's connection string, as libpq has them, and the authorities that the server's certificate may come from, as PEM; without
    /// those, what this machine trusts. Nothing is connected yet.
    ///
    /// # Errors
    /// Where the string cannot be read, or would send passwords in the clear.
    pub fn new(connection: &SecretString, roots_pem: Option<&str>) -> Result<Self, PostgresIssuerError> {
        // The error of the parser may repeat parts of what it could not make out.
        let parsed = connection.expose().parse::<Config>().map_err(|_| PostgresIssuerError::Connection);
        let mut config = parsed?;
        if config.get_hosts().is_empty() {
            return Err(PostgresIssuerError::Connection);
        }
        let elsewhere = config.get_hosts().iter().find_map(|host| match host {
            Host::Tcp(name) if !is_here(name) => Some(name.clone()),
            _ => None,
        });
        let address = config.get_hostaddrs().iter().find(|address| !address.is_loopback());
        let elsewhere = elsewhere.or_else(|| address.map(IpAddr::to_string));
        let is_encrypted = match (config.get_ssl_mode(), elsewhere) {
            (SslMode::Disable | SslMode::Prefer, None) => false,
            (SslMode::Disable, Some(host)) => return Err(PostgresIssuerError::InTheClear(host)),
            _ => true,
        };
        config.ssl_mode(if is_encrypted { SslMode::Require } else { SslMode::Disable });
        let options = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config.options(format!("{options}{SERVER_OPTIONS}")).connect_timeout(CONNECT_TIMEOUT);
        config.application_name("vault-core");
        let tls = is_encrypted.then(|| tls(roots_pem)).transpose()?;
        Ok(Self { config, templates: Vec::new(), tls, administrator: Mutex::new(None) })
    }

    /// Sessions' roles get what this role has.
    #[must_use]
    pub fn template_role(mut self, role: AccountName) -> Self {
        self.templates.push(role);
        self
    }

    async fn connect(&self, config: &Config) -> Result<Client, tokio_postgres::Error> {
        // The task ends with the client.
        match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    }

    /// Runs with the administrator's connection, which is made anew where the last one ended or was given up.
    async fn administer<T>(
        &self,
        run: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, IssuerError> {
        let whole = async {
            let mut kept = self.administrator.lock().await;
            let client = match kept.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => self.connect(&self.config).await?,
            };
            let done = run(&client).await;
            *kept = Some(client);
            done
        };
        match timeout(CALL_TIMEOUT, whole).await {
            Ok(done) => done.map_err(|error| fault(&error)),
            Err(_) => Err(IssuerError::Unanswered("PostgreSQL does not answer in time".into())),
        }
    }

    async fn logs_in(&self, account: &AccountName, secret: &SecretString) -> Login {
        let mut config = self.config.clone();
        config.user(account.as_str()).password(secret.expose());
        match timeout(CALL_TIMEOUT, self.connect(&config)).await {
            Ok(Ok(_)) => Login::Works,
            Ok(Err(error)) => match error.code() {
                Some(code) if refuses_login(code) => Login::Refused,
                _ => Login::Unknown,
            },
            Err(_) => Login::Unknown,
        }
    }
}

enum Login {
    Works,
    Refused,
    Unknown,
}

fn refuses_login(code: &SqlState) -> bool {
    [
        &SqlState::INVALID_PASSWORD,
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        &SqlState::INSUFFICIENT_PRIVILEGE,
    ]
    .contains(&code)
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls(roots_pem: Option<&str>) -> Result<MakeRustlsConnect, PostgresIssuerError> {
    let roots_error = |error: &dyn fmt::Display| PostgresIssuerError::Roots(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| roots_error(&error))?;
    let Some(pem) = roots_pem else {
        let builder = builder.with_platform_verifier().map_err(|error| roots_error(&error))?;
        return Ok(MakeRustlsConnect::new(builder.with_no_client_auth()));
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| roots_error(&error))?;
        roots.add(certificate).map_err(|error| roots_error(&error))?;
    }
    match roots.is_empty() {
        true => Err(roots_error(&"no certificate is in them")),
        false => Ok(MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth())),
    }
}

/// No detail that the server gives beside its message: it may hold values.
fn fault(error: &tokio_postgres::Error) -> IssuerError {
    let Some(refusal) = error.as_db_error() else {
        return IssuerError::Unanswered("the connection to PostgreSQL is lost, or was not made".into());
    };
    let code = refusal.code().code();
    let text = format!("PostgreSQL ({code}): {}", refusal.message()).into();
    // Connections, resources, an operator or a timeout: nothing is said about what was asked.
    match code.get(..2) {
        Some("08" | "53" | "57") => IssuerError::Unanswered(text),
        _ => IssuerError::Refused(text),
    }
}

/// A name as SQL has it, whatever is in it.
fn identifier(name: &AccountName) -> Result<String, IssuerError> {
    if name.as_str().len() > NAME_BYTES_MAX {
        return Err(IssuerError::Refused("PostgreSQL has names of 63 bytes at the most".into()));
    }
    Ok(format!("\"{}\"", name.as_str().replace('"', "\"\"")))
}

/// A text as SQL has it, whatever is in it and however the server is set.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

const EXISTS: &str = "SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1::text";

async fn oid(client: &Client, account: &AccountName) -> Result<Option<u32>, tokio_postgres::Error> {
    let row = client.query_opt(EXISTS, &[&account.as_str()]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

#[async_trait]
impl Issuer for PostgresIssuer {
    async fn apply(&self, order: &Order<'_>) -> Result<(), IssuerError> {
        let name = identifier(order.account)?;
        let password = literal(&postgres_protocol::password::scram_sha_256(order.new.expose().as_bytes()));
        let templates = self.templates.iter().map(identifier).collect::<Result<Vec<_>, _>>()?;
        let until = match order.expires_at {
            Some(at) => literal(&at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => literal("infinity"),
        };
        // Statements of one text are one transaction.
        let statements = |verb: &str| match order.purpose {
            Purpose::Rotation => format!("ALTER ROLE {name} PASSWORD {password}"),
            Purpose::Session => {
                let role = format!("{verb} ROLE {name} LOGIN PASSWORD {password} VALID UNTIL {until}");
                templates.iter().fold(role, |all, template| format!("{all}; GRANT {template} TO {name}"))
            }
        };
        self.administer(async |client| {
            let verb = match oid(client, order.account).await? {
                Some(_) => "ALTER",
                None => "CREATE",
            };
            client.batch_execute(&statements(verb)).await
        })
        .await
    }

    async fn probe(&self, order: &Order<'_>) -> Finding {
        match self.administer(async |client| oid(client, order.account).await).await {
            Ok(Some(_)) => {}
            Ok(None) => return Finding::Absent,
            Err(_) => return Finding::Unknown,
        }
        let new = self.logs_in(order.account, order.new).await;
        let old = match order.old {
            Some(old) => self.logs_in(order.account, old).await,
            None => Login::Refused,
        };
        match (old, new) {
            (Login::Unknown, _) | (_, Login::Unknown) => Finding::Unknown,
            (Login::Works, Login::Works) => Finding::BothWork,
            (Login::Works, Login::Refused) => Finding::OldWorks,
            (Login::Refused, Login::Works) => Finding::NewWorks,
            (Login::Refused, Login::Refused) => Finding::NeitherWorks,
        }
    }

    /// A role has one password.
    async fn let_old_go(&self, _: &Order<'_>) -> Result<(), IssuerError> {
        Ok(())
    }

    async fn remove(&self, account: &AccountName) -> Result<(), IssuerError> {
        let name = identifier(account)?;
        self.administer(async |client| {
            let Some(oid) = oid(client, account).await? else { return Ok(()) };
            // For itself, so that it holds also where the role cannot be dropped.
            client.batch_execute(&format!("ALTER ROLE {name} NOLOGIN")).await?;
            end_connections(client, oid).await?;
            // Who made a role has not yet what the role has (PostgreSQL 16), which giving away its things takes.
            let drop = format!(
                "GRANT {name} TO CURRENT_USER; REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}"
            );
            client.batch_execute(&drop).await?;
            // Whoever was let in just before logins were forbidden.
            end_connections(client, oid).await
        })
        .await
    }

    async fn accounts(&self, prefix: &str) -> Result<Vec<AccountName>, IssuerError> {
        let listed = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE starts_with(rolname::text, $1::text) ORDER BY 1";
        let rows = self.administer(async |client| client.query(listed, &[&prefix]).await).await?;
        let names = rows.iter().filter_map(|row| row.try_get::<_, String>(0).ok());
        // What is no name of ours has a control character in it.
        Ok(names.filter_map(|name| AccountName::new(name).ok()).collect())
    }

    fn settle(&self) -> TimeDelta {
        // A call, and the statements that it may have left behind: each has four seconds.
        let statements = i64::try_from(self.templates.len()).unwrap_or(i64::MAX).saturating_add(2);
        TimeDelta::try_seconds(statements.saturating_mul(4).saturating_add(25)).unwrap_or(TimeDelta::MAX)
    }
}

async fn end_connections(client: &Client, oid: u32) -> Result<(), tokio_postgres::Error> {
    // All are told before any is waited for.
    for arguments in ["pid", "pid, 1000"] {
        let end = format!(
            "SELECT pg_catalog.pg_terminate_backend({arguments}) FROM pg_catalog.pg_stat_activity WHERE usesysid = $1"
        );
        client.query(&end, &[&oid]).await?;
    }
    Ok(())
}
