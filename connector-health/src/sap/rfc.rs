//! Remote function calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::SapLogon;
use super::soap::{Effects, Endpoint};
use super::xml::{Element, is_writable};
use crate::connector::{Failure, FailureKind};
use crate::transport::HttpTransport;

/// Fields of a structure or of a table's row.
pub type RfcRow = BTreeMap<String, String>;

/// A parameter's value. Dates are `YYYY-MM-DD`. `Debug` shows no values.
#[derive(Clone, Eq, PartialEq)]
pub enum RfcValue {
    /// One field.
    Text(String),
    /// A structure.
    Structure(RfcRow),
    /// A table.
    Table(Vec<RfcRow>),
}

impl fmt::Debug for RfcValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Structure(row) => write!(f, "Structure({} fields)", row.len()),
            Self::Table(rows) => write!(f, "Table({} rows)", rows.len()),
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct RfcCall {
    /// The function module.
    pub function: &'static str,
    /// What it is given, tables that are wanted back included.
    pub parameters: Vec<(&'static str, RfcValue)>,
    /// Whether it changes nothing.
    pub is_read: bool,
}

/// What came back, by parameter.
pub type RfcAnswer = BTreeMap<String, RfcValue>;

/// Calls function modules of one system, in one client, as one user.
///
/// An implementor promises: one call is sent at most once; a refused logon is [`FailureKind::Authentication`] and not tried
/// again by itself; [`Failure::unknown`] where something may have been sent and no answer came; tables that came back empty are there as empty tables.
/// The user BAPIs commit by themselves; no commit call follows.
#[async_trait]
pub trait RfcTransport: Send + Sync {
    /// Calls it.
    async fn call(&self, call: &RfcCall) -> Result<RfcAnswer, Failure>;
}

/// Calls over HTTP, at `/sap/bc/soap/rfc`. **Built from documentation, not tried against SAP.** Many systems have this service
/// switched off, and its user needs `S_RFC` and `S_USER_GRP`.
pub struct SoapRfc {
    url: String,
    logon: SapLogon,
    transport: Arc<dyn HttpTransport>,
}

impl SoapRfc {
    /// In that client (three digits) of the system at `base`, as `https://sap.example:44300`.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] where the address is not `https://` and a host, or the client not three digits.
    pub fn new(
        base: &str,
        client: &str,
        logon: SapLogon,
        transport: impl HttpTransport + 'static,
    ) -> Result<Self, Failure> {
        let base = endpoint(base)?;
        if client.len() != 3 || !client.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Failure::new(FailureKind::Unsupported, "a client has three digits"));
        }
        Ok(Self {
            url: format!("{base}/sap/bc/soap/rfc?sap-client={client}"),
            logon,
            transport: Arc::new(transport),
        })
    }
}

/// `https://` and a host, without a slash at its end.
pub(super) fn endpoint(base: &str) -> Result<String, Failure> {
    match url::Url::parse(base) {
        Ok(url)
            if url.scheme() == "https"
                && url.path() == "/"
                && url.query().is_none()
                && url.username().is_empty() =>
        {
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        _ => Err(Failure::new(FailureKind::Unsupported, "the address must be `https://` and a host")),
    }
}

impl fmt::Debug for SoapRfc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoapRfc").field("url", &self.url).finish_non_exhaustive()
    }
}

#[async_trait]
impl RfcTransport for SoapRfc {
    async fn call(&self, call: &RfcCall) -> Result<RfcAnswer, Failure> {
        let texts = call.parameters.iter().flat_map(|(_, value)| match value {
            RfcValue::Text(text) => vec![text],
            RfcValue::Structure(row) => row.values().collect(),
            RfcValue::Table(rows) => rows.iter().flat_map(BTreeMap::values).collect(),
        });
        if !texts.into_iter().all(|text| is_writable(text)) {
            return Err(Failure::new(FailureKind::SchemaMismatch, "a value holds control characters"));
        }
        let endpoint = Endpoint { transport: &*self.transport, url: &self.url, logon: &self.logon };
        let effects = if call.is_read { Effects::None } else { Effects::Some };
        let answer = endpoint
            .call(effects, "xmlns:rfc=\"urn:sap-com:document:sap:rfc:functions\"", |out| {
                out.nest(&format!("rfc:{}", call.function), |out| {
                    for (name, value) in &call.parameters {
                        match value {
                            RfcValue::Text(text) => out.leaf(name, text),
                            RfcValue::Structure(row) => {
                                out.nest(name, |out| {
                                    row.iter().for_each(|(field, text)| out.leaf(field, text))
                                });
                            }
                            RfcValue::Table(rows) => out.nest(name, |out| {
                                for row in rows {
                                    out.nest("item", |out| {
                                        row.iter().for_each(|(field, text)| out.leaf(field, text))
                                    });
                                }
                            }),
                        }
                    }
                });
            })
            .await?;
        if answer.name != format!("{}.Response", call.function) {
            let failure = Failure::new(FailureKind::Server, "the answer is to another call");
            return Err(if call.is_read { failure } else { failure.perhaps_effective() });
        }
        let tables: Vec<&str> = call
            .parameters
            .iter()
            .filter(|(_, value)| matches!(value, RfcValue::Table(_)))
            .map(|(name, _)| *name)
            .collect();
        Ok(answer
            .children
            .iter()
            .map(|parameter| (parameter.name.clone(), value(parameter, &tables)))
            .collect())
    }
}

fn value(parameter: &Element, tables: &[&str]) -> RfcValue {
    let row = |element: &Element| {
        element.children.iter().map(|field| (field.name.clone(), field.text.trim().to_owned())).collect()
    };
    if tables.contains(&parameter.name.as_str())
        || parameter.children.first().is_some_and(|first| first.name == "item")
    {
        RfcValue::Table(parameter.all("item").map(row).collect())
    } else if parameter.children.is_empty() {
        RfcValue::Text(parameter.text.trim().to_owned())
    } else {
        RfcValue::Structure(row(parameter))
    }
}
