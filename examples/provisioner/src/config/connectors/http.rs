//! `kind = "http"`: applications with an API of their own, described in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_health::connector::{Failure, FailureKind};
use connector_health::http::{HttpConnector, HttpDescription, Secrets};
use connector_health::transport::ReqwestTransport;
use scim_client::auth::Credentials as _;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::super::Reader;
use super::{Made, half_a_minute};
use crate::secrets::StoredSecret;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpToml {
    description: Spanned<PathBuf>,
    /// By the names that the description uses.
    #[serde(default)]
    secrets: BTreeMap<String, Spanned<SecretToml>>,
    ca: Option<Spanned<PathBuf>>,
    #[serde(default = "half_a_minute")]
    timeout_s: NonZeroU16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretToml {
    file: Option<Spanned<PathBuf>>,
    env: Option<Spanned<String>>,
}

/// Secrets that are looked up anew for each request.
struct Stored(BTreeMap<String, Arc<StoredSecret>>);

#[async_trait]
impl Secrets for Stored {
    async fn secret(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        let failed = |why: String| Failure::new(FailureKind::Authentication, why);
        let stored = self.0.get(name).ok_or_else(|| failed(format!("there is no secret `{name}`")))?;
        let credential = stored.current().await.map_err(|error| failed(error.to_string()))?;
        Ok(Zeroizing::new(credential.secret.expose().to_owned()))
    }
}

impl Reader<'_> {
    pub(super) fn http(&mut self, at: usize, value: Spanned<DeValue<'_>>) -> Option<Made> {
        let table: HttpToml = self.value(value)?;
        let mut secrets = BTreeMap::new();
        for (name, secret) in &table.secrets {
            let SecretToml { file, env } = secret.get_ref();
            let stored = match (file, env) {
                (None, None) => {
                    self.mistake(secret.span().start, format!("`secrets.{name}` needs `file` or `env`"));
                    None
                }
                (file, env) => self.stored(at, "", file.as_ref(), env.as_ref(), None),
            };
            secrets.extend(stored.map(|stored| (name.clone(), stored)));
        }
        let text = self.text_of(&table.description)?;
        let file = table.description.get_ref().display();
        let described = table.description.span().start;
        let description = match HttpDescription::parse(&text) {
            Ok(description) => description,
            Err(error) => {
                self.mistake(described, format!("`{file}`: {error}"));
                return None;
            }
        };
        let wanted: BTreeSet<&str> = description.secrets();
        for missing in wanted.iter().filter(|name| !table.secrets.contains_key(**name)) {
            self.mistake(
                described,
                format!("`{file}` takes the secret `{missing}`: `secrets.{missing}` says where it is"),
            );
        }
        for (name, secret) in &table.secrets {
            if !wanted.contains(name.as_str()) {
                self.mistake(secret.span().start, format!("`{file}` takes no secret `{name}`"));
            }
        }
        let roots = match &table.ca {
            Some(ca) => Some(self.text_of(ca)?),
            None => None,
        };
        let timeout = Duration::from_secs(table.timeout_s.get().into());
        let transport = match ReqwestTransport::new(timeout, roots.as_deref().map(str::as_bytes)) {
            Ok(transport) => transport,
            Err(failure) => {
                self.mistake(table.ca.as_ref().map_or(at, |ca| ca.span().start), failure.message());
                return None;
            }
        };
        let compared = description.attributes().map(str::to_owned).collect();
        let all = secrets.values().cloned().collect();
        let connector = HttpConnector::new(description, transport, Stored(secrets));
        Some(Made { connector: Arc::new(connector), secrets: all, compared })
    }
}
