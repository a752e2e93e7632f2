//! `kind = "scim"`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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

use super::super::Reader;
use super::{Made, half_a_minute};
use crate::connector::{PLAIN_MAPPING, ScimConnector};
use crate::people::PLAIN;
use crate::scim::{CONNECT_MAX, USER_AGENT, explained, is_here};
use crate::secrets::StoredSecret;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScimToml {
    url: Spanned<String>,
    dialect: Option<Spanned<String>>,
    token_file: Option<Spanned<PathBuf>>,
    token_env: Option<Spanned<String>>,
    basic: Option<BasicToml>,
    oauth2: Option<OauthToml>,
    mapping: Option<Spanned<PathBuf>>,
    #[serde(default)]
    deprovision: How,
    ca: Option<Spanned<PathBuf>>,
    #[serde(default = "half_a_minute")]
    timeout_s: std::num::NonZeroU16,
    #[serde(default)]
    dangerous_plain_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicToml {
    user: String,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OauthToml {
    token_url: Spanned<String>,
    client_id: String,
    secret_file: Option<Spanned<PathBuf>>,
    secret_env: Option<Spanned<String>>,
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

impl Reader<'_> {
    pub(super) fn scim(&mut self, at: usize, value: Spanned<DeValue<'_>>) -> Option<Made> {
        let table: ScimToml = self.value(value)?;
        let table = &table;
        let mapping = self.mapping(table);
        let secret = self.credential(at, table);
        let client = self.client(table, secret.as_ref().map(|(auth, _)| Arc::clone(auth)));
        let how = match table.deprovision {
            How::Disable => Deprovision::Disable,
            How::Delete => Deprovision::Delete,
            How::DisableThenDelete => Deprovision::DisableThenDelete,
        };
        let (mapping, (_, secret), client) = (mapping?, secret?, client?);
        Some(Made {
            connector: Arc::new(ScimConnector::new(client, mapping, how)),
            secrets: vec![secret],
            // What a mapping makes of a person's attributes cannot be held against these.
            compared: match table.mapping {
                Some(_) => BTreeSet::new(),
                None => PLAIN.iter().map(|name| (*name).to_owned()).collect(),
            },
        })
    }

    fn mapping(&mut self, table: &ScimToml) -> Option<Mapping> {
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
        table: &ScimToml,
    ) -> Option<(Arc<dyn Authenticate>, Arc<StoredSecret>)> {
        let token = table.token_file.is_some() || table.token_env.is_some();
        match (token, &table.basic, &table.oauth2) {
            (true, None, None) => {
                let secret =
                    self.stored(at, "token", table.token_file.as_ref(), table.token_env.as_ref(), None)?;
                Some((Arc::new(Bearer::from_source(Arc::clone(&secret))), secret))
            }
            (false, Some(basic), None) => {
                let user = Some(basic.user.clone());
                let (file, env) = (basic.password_file.as_ref(), basic.password_env.as_ref());
                let secret = self.stored(at, "password", file, env, user)?;
                Some((Arc::new(Basic::from_source(Arc::clone(&secret))), secret))
            }
            (false, None, Some(oauth)) => {
                let client = Some(oauth.client_id.clone());
                let (file, env) = (oauth.secret_file.as_ref(), oauth.secret_env.as_ref());
                let secret = self.stored(at, "secret", file, env, client)?;
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
                let why = "needs one credential: `token_file` (or `token_env`), `basic` or `oauth2`";
                self.mistake(at, format!("this connector {why}"));
                None
            }
        }
    }

    fn client(&mut self, table: &ScimToml, auth: Option<Arc<dyn Authenticate>>) -> Option<Client> {
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
