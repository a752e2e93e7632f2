//! `kind = "ldap"`: directories, Active Directory among them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use connector_health::connector::Connector;
use connector_health::ldap::{LdapConnector, LdapPassword, LdapSettings};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::Reader;
use super::{Made, place};
use crate::renewed::Renewed;

impl Reader<'_> {
    /// The settings are the crate's own; beside them stand the password and a file of certificates.
    pub(super) fn ldap(&mut self, span: Range<usize>, mut table: DeTable<'_>) -> Option<Made> {
        let at = span.start;
        let secret = self.stored_in(at, &mut table, "password", None);
        let ca = self.taken::<PathBuf>(&mut table, "ca");
        let roots = ca.as_ref().and_then(|ca| self.text_of(ca));
        if let (Some(_), Some(twice)) = (&ca, table.get("roots_pem")) {
            self.mistake(twice.span().start, "`roots_pem` and `ca` exclude each other");
        }
        let places = table.clone();
        let settings: LdapSettings = self.value(Spanned::new(span, DeValue::Table(table)))?;
        let settings = LdapSettings { roots_pem: roots.or(settings.roots_pem), ..settings };
        let compared = settings.attributes.keys().cloned().collect();
        // What can be said without the password is said without it.
        let named = |key: &str| place(&places, key).unwrap_or(at);
        if let Err(error) = settings.check() {
            self.mistake(named(error.key), error.to_string());
            return None;
        }
        let secret = secret?;
        let made = Renewed::new(Arc::clone(&secret), move |credential| {
            let password =
                LdapPassword::new(credential.secret.expose()).map_err(|error| error.to_string())?;
            let connector =
                LdapConnector::new(settings.clone(), password).map_err(|error| error.to_string())?;
            Ok(Arc::new(connector) as Arc<dyn Connector>)
        });
        match made {
            Ok(connector) => Some(Made { connector: Arc::new(connector), secrets: vec![secret], compared }),
            Err(why) => {
                self.mistake(ca.map_or(at, |ca| ca.span().start), why);
                None
            }
        }
    }
}
