//! `[[connector]]`: the applications.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use connector_health::ConnectorId;
use connector_health::connector::Connectors;
use scim_client::Client;
use scim_client::auth::{Authenticate, Basic, Bearer, ClientAuthentication, ClientCredentials};
use scim_client::dialect::Preset;
use scim_client::ensure::Deprovision;
use scim_client::mapping::Mapping;
use scim_client::resilience::Retry;
use scim_client::transport::ReqwestTransport;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::{CONNECTORS_MAX, Reader};
use crate::connector::{PLAIN_MAPPING, ScimConnector};
use crate::scim::{CONNECT_MAX, USER_AGENT, explained, is_here};
use crate::secrets::FileSecret;

/// What is read of all connectors.
#[derive(Default)]
pub(super) struct Read {
    pub(super) connectors: Connectors,
    pub(super) mapped: BTreeSet<ConnectorId>,
    pub(super) credential_ends: Vec<(ConnectorId, Option<DateTime<Utc>>)>,
    pub(super) secrets: Vec<(ConnectorId, Arc<FileSecret>)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectorToml {
    id: Spanned<String>,
    kind: Spanned<String>,
    url: Spanned<String>,
    dialect: Option<Spanned<String>>,
    token_file: Option<Spanned<PathBuf>>,
    basic: Option<BasicToml>,
    oauth2: Option<OauthToml>,
    mapping: Option<Spanned<PathBuf>>,
    #[serde(default)]
    deprovision: How,
    ca: Option<Spanned<PathBuf>>,
    #[serde(default = "half_a_minute")]
    timeout_s: std::num::NonZeroU16,
    credential_ends: Option<Spanned<toml::Value>>,
    #[serde(default)]
    dangerous_plain_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicToml {
    user: String,
    password_file: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OauthToml {
    token_url: Spanned<String>,
    client_id: String,
    secret_file: Spanned<PathBuf>,
    scope: Option<String>,
    /// Identifier and secret in the form instead of a header.
    #[serde(default)]
    post: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    #[default]
    Disable,
    Delete,
    DisableThenDelete,
}

fn half_a_minute() -> std::num::NonZeroU16 {
    std::num::NonZeroU16::new(30).unwrap_or(std::num::NonZeroU16::MIN)
}

impl Reader<'_> {
    pub(super) fn connectors(&mut self, value: Spanned<DeValue<'_>>) -> Read {
        let mut read = Read::default();
        let mut known = BTreeSet::new();
        let tables = self.each::<ConnectorToml>(value, "connector");
        if tables.len() > CONNECTORS_MAX {
            self.mistake(0, format!("there are at most {CONNECTORS_MAX} connectors"));
        }
        for (at, table) in tables {
            let id = match ConnectorId::new(table.id.get_ref()) {
                Ok(id) => id,
                Err(error) => {
                    self.mistake(table.id.span().start, error.to_string());
                    continue;
                }
            };
            if !known.insert(id.clone()) {
                self.mistake(table.id.span().start, format!("connector `{id}` is there twice"));
            }
            if table.kind.get_ref() != "scim" {
                let why = format!("there is no kind `{}`; there is `scim`", table.kind.get_ref());
                self.mistake(table.kind.span().start, why);
                continue;
            }
            self.connector(at, id, &table, &mut read);
        }
        read
    }

    fn connector(&mut self, at: usize, id: ConnectorId, table: &ConnectorToml, read: &mut Read) {
        let ends = table.credential_ends.as_ref().and_then(|ends| {
            let end = end_of(&ends.get_ref().to_string());
            if end.is_none() {
                self.mistake(
                    ends.span().start,
                    "this is no date such as 2026-12-31, nor a time with its zone",
                );
            }
            end
        });
        let mapping = self.mapping(table);
        let secret = self.credential(at, table);
        let client = self.client(table, secret.as_ref().map(|(auth, _)| Arc::clone(auth)));
        let how = match table.deprovision {
            How::Disable => Deprovision::Disable,
            How::Delete => Deprovision::Delete,
            How::DisableThenDelete => Deprovision::DisableThenDelete,
        };
        let (Some(mapping), Some((_, secret)), Some(client)) = (mapping, secret, client) else { return };
        if table.mapping.is_some() {
            read.mapped.insert(id.clone());
        }
        read.credential_ends.push((id.clone(), ends));
        read.secrets.push((id.clone(), secret));
        read.connectors.insert(id, Arc::new(ScimConnector::new(client, mapping, how)));
    }

    fn mapping(&mut self, table: &ConnectorToml) -> Option<Mapping> {
        let Some(path) = &table.mapping else { return Mapping::from_toml(PLAIN_MAPPING).ok() };
        let text = self.text_of(path)?;
        match Mapping::from_toml(&text) {
            Ok(mapping) => Some(mapping),
            Err(error) => {
                for line in error.to_string().lines() {
                    self.mistake(path.span().start, format!("`{}`: {line}", path.get_ref().display()));
                }
                None
            }
        }
    }

    fn credential(
        &mut self,
        at: usize,
        table: &ConnectorToml,
    ) -> Option<(Arc<dyn Authenticate>, Arc<FileSecret>)> {
        let open = |reader: &mut Self, path: &Spanned<PathBuf>, id: Option<String>| match FileSecret::open(
            reader.path(path.get_ref()),
            id,
        ) {
            Ok(secret) => Some(Arc::new(secret)),
            Err(why) => {
                reader.mistake(path.span().start, why);
                None
            }
        };
        match (&table.token_file, &table.basic, &table.oauth2) {
            (Some(file), None, None) => {
                let secret = open(self, file, None)?;
                Some((Arc::new(Bearer::from_source(Arc::clone(&secret))), secret))
            }
            (None, Some(basic), None) => {
                let secret = open(self, &basic.password_file, Some(basic.user.clone()))?;
                Some((Arc::new(Basic::from_source(Arc::clone(&secret))), secret))
            }
            (None, None, Some(oauth)) => {
                let secret = open(self, &oauth.secret_file, Some(oauth.client_id.clone()))?;
                let shown = match oauth.post {
                    true => ClientAuthentication::secret_post(Arc::clone(&secret)),
                    false => ClientAuthentication::secret_basic(Arc::clone(&secret)),
                };
                let mut credentials = match ClientCredentials::new(oauth.token_url.get_ref(), shown) {
                    Ok(credentials) => credentials.timeout(Duration::from_secs(table.timeout_s.get().into())),
                    Err(error) => {
                        self.mistake(oauth.token_url.span().start, explained(&error));
                        return None;
                    }
                };
                if let Some(scope) = &oauth.scope {
                    credentials = credentials.scope(scope);
                }
                if table.dangerous_plain_http {
                    credentials = credentials.dangerous_plain_http();
                }
                Some((Arc::new(credentials), secret))
            }
            _ => {
                let why = "needs one credential: `token_file`, `basic` or `oauth2`";
                self.mistake(at, format!("connector `{}` {why}", table.id.get_ref()));
                None
            }
        }
    }

    fn client(&mut self, table: &ConnectorToml, auth: Option<Arc<dyn Authenticate>>) -> Option<Client> {
        let url = table.url.get_ref();
        let base = url::Url::parse(url)
            .ok()
            .filter(|base| matches!(base.scheme(), "http" | "https") && base.has_host());
        let Some(base) = base else {
            let why = "is no address of a service, such as https://app.example.com/scim/v2";
            self.mistake(table.url.span().start, format!("`{url}` {why}"));
            return None;
        };
        if base.scheme() == "http" && !is_here(&base) && !table.dangerous_plain_http {
            let why = "is not encrypted, so the credential would be there for whoever listens: use https, or say \
                       `dangerous_plain_http = true`";
            self.mistake(table.url.span().start, format!("{base} {why}"));
        }
        let dialect = match &table.dialect {
            None => scim_client::Dialect::rfc7644(),
            Some(name) => match Preset::named(name.get_ref()) {
                Some(preset) => preset.dialect(),
                None => {
                    let names: Vec<&str> = Preset::ALL.iter().map(|preset| preset.name).collect();
                    let why =
                        format!("there is no dialect `{}`; there are {}", name.get_ref(), names.join(", "));
                    self.mistake(name.span().start, why);
                    return None;
                }
            },
        };
        let timeout = Duration::from_secs(table.timeout_s.get().into());
        let mut network =
            ReqwestTransport::builder().connect_timeout(CONNECT_MAX.min(timeout)).user_agent(USER_AGENT);
        if let Some(ca) = &table.ca {
            network = network.trust_pem(self.text_of(ca)?);
        }
        let made = network
            .build()
            .and_then(|network| Client::over(base.as_str(), network))
            .and_then(|client| client.user_agent(USER_AGENT));
        let mut client = match made {
            // What fails is for the outbox to try again, which knows what else waits.
            Ok(client) => client.dialect(dialect).timeout(timeout).retry(Retry::never()),
            Err(error) => {
                self.mistake(
                    table.ca.as_ref().map_or(table.url.span().start, |ca| ca.span().start),
                    explained(&error),
                );
                return None;
            }
        };
        if let Some(auth) = auth {
            client = client.auth(auth);
        }
        if table.dangerous_plain_http {
            client = client.dangerous_plain_http();
        }
        Some(client)
    }
}

/// The instant; a day's is its beginning, so that nobody is warned too late.
fn end_of(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim_matches('"');
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.with_timezone(&Utc));
    }
    let day: NaiveDate = text.parse().ok()?;
    Some(day.and_time(chrono::NaiveTime::MIN).and_utc())
}
