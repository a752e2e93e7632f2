//! `kind = "sap_business_user"` and `"sap_abap"`: built from SAP's documentation, not tried against SAP.

use std::num::NonZeroU16;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use connector_health::connector::{Connector, Failure};
use connector_health::sap::{
    AbapSettings, AbapUsers, BusinessUserSettings, BusinessUsers, SapLogon, SoapRfc,
};
use connector_health::transport::ReqwestTransport;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::Reader;
use super::{Made, half_a_minute, place};
use crate::renewed::Renewed;
use crate::secrets::StoredSecret;

/// What both kinds have beside the settings of the crate.
struct Logon {
    user: String,
    secret: Arc<StoredSecret>,
    transport: ReqwestTransport,
}

impl Reader<'_> {
    pub(super) fn sap_business_user(&mut self, span: Range<usize>, mut table: DeTable<'_>) -> Option<Made> {
        let at = span.start;
        let logon = self.logon(at, &mut table);
        let places = table.clone();
        let settings: BusinessUserSettings = self.value(Spanned::new(span, DeValue::Table(table)))?;
        let compared = settings.attributes.keys().cloned().collect();
        let Logon { user, secret, transport } = logon?;
        let made = Renewed::new(Arc::clone(&secret), move |credential| {
            let logon = SapLogon::new(user.clone(), credential.secret.expose());
            BusinessUsers::new(settings.clone(), logon, transport.clone())
                .map(|connector| Arc::new(connector) as Arc<dyn Connector>)
                .map_err(|failure| failure.message().to_owned())
        });
        self.made(at, &places, made, secret, compared)
    }

    pub(super) fn sap_abap(&mut self, span: Range<usize>, mut table: DeTable<'_>) -> Option<Made> {
        let at = span.start;
        let logon = self.logon(at, &mut table);
        let places = table.clone();
        let url = self.needed::<String>(at, &mut table, "url");
        let client = self.needed::<String>(at, &mut table, "client");
        let settings: AbapSettings = self.value(Spanned::new(span, DeValue::Table(table)))?;
        let mut compared: std::collections::BTreeSet<String> = settings.attributes.keys().cloned().collect();
        compared.insert(settings.user_name.clone());
        let (url, client, logon) = (url?.into_inner(), client?.into_inner(), logon?);
        let Logon { user, secret, transport } = logon;
        let made = Renewed::new(Arc::clone(&secret), move |credential| {
            let logon = SapLogon::new(user.clone(), credential.secret.expose());
            let said = |failure: Failure| failure.message().to_owned();
            let rfc = SoapRfc::new(&url, &client, logon, transport.clone()).map_err(said)?;
            let connector = AbapUsers::new(settings.clone(), rfc).map_err(said)?;
            Ok(Arc::new(connector) as Arc<dyn Connector>)
        });
        self.made(at, &places, made, secret, compared)
    }

    fn logon(&mut self, at: usize, table: &mut DeTable<'_>) -> Option<Logon> {
        let user = self.needed::<String>(at, table, "user");
        let secret = self.stored_in(at, table, "password", None);
        let timeout =
            self.taken::<NonZeroU16>(table, "timeout_s").map_or_else(half_a_minute, Spanned::into_inner);
        let ca = self.taken::<PathBuf>(table, "ca");
        let roots = match &ca {
            Some(ca) => Some(self.text_of(ca)?),
            None => None,
        };
        let timeout = Duration::from_secs(timeout.get().into());
        match ReqwestTransport::new(timeout, roots.as_deref().map(str::as_bytes)) {
            Ok(transport) => Some(Logon { user: user?.into_inner(), secret: secret?, transport }),
            Err(failure) => {
                self.mistake(ca.map_or(at, |ca| ca.span().start), failure.message());
                None
            }
        }
    }

    fn made(
        &mut self,
        at: usize,
        places: &DeTable<'_>,
        made: Result<Renewed, String>,
        secret: Arc<StoredSecret>,
        compared: std::collections::BTreeSet<String>,
    ) -> Option<Made> {
        match made {
            Ok(connector) => Some(Made { connector: Arc::new(connector), secrets: vec![secret], compared }),
            Err(why) => {
                // It says what it is about in words.
                let key = ["address", "client", "field"].into_iter().zip(["url", "client", "attributes"]);
                let key = key.into_iter().find(|(word, _)| why.contains(word)).map(|(_, key)| key);
                self.mistake(key.and_then(|key| place(places, key)).unwrap_or(at), why);
                None
            }
        }
    }
}
