//! `[[connector]]`: the applications. What all kinds have is read here, the rest by kind.

mod http;
mod ldap;
mod sap;
mod scim;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use connector_health::connector::{Connector, Connectors};
use connector_health::{ConnectorId, PersonId};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{CONNECTORS_MAX, Named, Reader};
use crate::secrets::StoredSecret;

const KINDS: &str = "`scim`, `ldap`, `http`, `sap_business_user` and `sap_abap`";

/// What is read of all connectors.
#[derive(Default)]
pub(super) struct Read {
    pub(super) connectors: Connectors,
    pub(super) compared: BTreeMap<ConnectorId, BTreeSet<String>>,
    pub(super) owners: BTreeMap<ConnectorId, PersonId>,
    pub(super) credential_ends: Vec<(ConnectorId, Option<DateTime<Utc>>)>,
    pub(super) secrets: Vec<(ConnectorId, Arc<StoredSecret>)>,
}

/// What one table makes.
struct Made {
    connector: Arc<dyn Connector>,
    secrets: Vec<Arc<StoredSecret>>,
    /// Attributes that its accounts show by the names that events use.
    compared: BTreeSet<String>,
}

fn half_a_minute() -> std::num::NonZeroU16 {
    std::num::NonZeroU16::new(30).unwrap_or(std::num::NonZeroU16::MIN)
}

impl Reader<'_> {
    pub(super) fn connectors(&mut self, value: Spanned<DeValue<'_>>) -> Read {
        let mut read = Read::default();
        let start = value.span().start;
        let DeValue::Array(tables) = value.into_inner() else {
            self.mistake(start, "each of these stands under `[[connector]]`, with two brackets");
            return read;
        };
        if tables.len() > CONNECTORS_MAX {
            self.mistake(start, format!("there are at most {CONNECTORS_MAX} connectors"));
        }
        let mut known = BTreeSet::new();
        for table in tables {
            let span = table.span();
            match table.into_inner() {
                DeValue::Table(table) => self.connector(span, table, &mut known, &mut read),
                _ => self.mistake(span.start, "a connector is a table"),
            }
        }
        read
    }

    fn connector(
        &mut self,
        span: std::ops::Range<usize>,
        mut table: DeTable<'_>,
        known: &mut BTreeSet<ConnectorId>,
        read: &mut Read,
    ) {
        let at = span.start;
        let id =
            self.needed::<String>(at, &mut table, "id").and_then(|id| match ConnectorId::new(id.get_ref()) {
                Ok(known_as) if known.insert(known_as.clone()) => Some(known_as),
                Ok(twice) => {
                    self.mistake(id.span().start, format!("connector `{twice}` is there twice"));
                    Some(twice)
                }
                Err(error) => {
                    self.mistake(id.span().start, error.to_string());
                    None
                }
            });
        let owner = self.taken::<PersonId>(&mut table, "owner");
        let ends = self.taken::<toml::Value>(&mut table, "credential_ends").and_then(|ends| {
            let end = end_of(&ends.get_ref().to_string());
            if end.is_none() {
                self.mistake(
                    ends.span().start,
                    "this is no date such as 2026-12-31, nor a time with its zone",
                );
            }
            end
        });
        let Some(kind) = self.needed::<String>(at, &mut table, "kind") else { return };
        let made = match kind.get_ref().as_str() {
            "scim" => self.scim(at, Spanned::new(span, DeValue::Table(table))),
            "ldap" => self.ldap(span, table),
            "http" => self.http(at, Spanned::new(span, DeValue::Table(table))),
            "sap_business_user" => self.sap_business_user(span, table),
            "sap_abap" => self.sap_abap(span, table),
            other => {
                self.mistake(kind.span().start, format!("there is no kind `{other}`; there are {KINDS}"));
                None
            }
        };
        let (Some(id), Some(made)) = (id, made) else { return };
        read.credential_ends.push((id.clone(), ends));
        read.secrets.extend(made.secrets.into_iter().map(|secret| (id.clone(), secret)));
        if let Some(owner) = &owner {
            self.named.push(Named {
                place: owner.span().start,
                person: owner.get_ref().clone(),
                runs: false,
            });
        }
        read.owners.extend(owner.map(|owner| (id.clone(), owner.into_inner())));
        read.compared.insert(id.clone(), made.compared);
        read.connectors.insert(id, made.connector);
    }

    /// One value out of a table, where it is there.
    fn taken<T: DeserializeOwned>(&mut self, table: &mut DeTable<'_>, key: &str) -> Option<Spanned<T>> {
        let value = table.remove(key)?;
        self.value(value)
    }

    fn needed<T: DeserializeOwned>(
        &mut self,
        at: usize,
        table: &mut DeTable<'_>,
        key: &str,
    ) -> Option<Spanned<T>> {
        if !table.contains_key(key) {
            self.mistake(at, format!("missing field `{key}`"));
        }
        self.taken(table, key)
    }

    /// A secret that lies in a file, or stands in a variable of the environment: in one of them.
    fn stored(
        &mut self,
        at: usize,
        what: &str,
        file: Option<&Spanned<PathBuf>>,
        env: Option<&Spanned<String>>,
        id: Option<String>,
    ) -> Option<Arc<StoredSecret>> {
        let (at, stored) = match (file, env) {
            (Some(file), None) => (file.span().start, StoredSecret::in_file(self.path(file.get_ref()), id)),
            (None, Some(env)) => (env.span().start, StoredSecret::in_environment(env.get_ref(), id)),
            (Some(_), Some(env)) => {
                let why = format!("`{what}_file` and `{what}_env` exclude each other");
                (env.span().start, Err(why))
            }
            (None, None) => (at, Err(format!("this connector needs `{what}_file` or `{what}_env`"))),
        };
        match stored {
            Ok(stored) => Some(Arc::new(stored)),
            Err(why) => {
                self.mistake(at, why);
                None
            }
        }
    }

    /// The secret of a table that has `…_file` and `…_env` beside the settings of a crate.
    fn stored_in(
        &mut self,
        at: usize,
        table: &mut DeTable<'_>,
        what: &str,
        id: Option<String>,
    ) -> Option<Arc<StoredSecret>> {
        let file = self.taken::<PathBuf>(table, &format!("{what}_file"));
        let env = self.taken::<String>(table, &format!("{what}_env"));
        self.stored(at, what, file.as_ref(), env.as_ref(), id)
    }
}

/// Where the value of a key is, or of the longest part of it that is there: `groups.base`.
fn place(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let mut table = table;
    let mut found = None;
    for part in key.split('.') {
        let Some(value) = table.get(part) else { break };
        found = Some(value.span().start);
        let DeValue::Table(next) = value.get_ref() else { break };
        table = next;
    }
    found
}

/// The instant; a day's is its beginning, so that nobody is warned too late.
pub(super) fn end_of(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim_matches('"');
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.with_timezone(&Utc));
    }
    let day: NaiveDate = text.parse().ok()?;
    Some(day.and_time(chrono::NaiveTime::MIN).and_utc())
}
