//! SCIM servers in memory: one as strict as RFC 7644, and variations of it.
//!
//! A [`Fake`] answers requests without a network and keeps what it was told. What vendors do differently is in [`Manners`], one field
//! for each habit, and each field is off in the strict server. The vendors' are made **from their documentation, not
//! recorded** from the services themselves: they show that the client copes with what is written there, and nothing more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use scim_client::dialect::Dialect;
use scim_client::transport::{MemoryTransport, Scripted};
use serde_json::{Map, Value, json};

mod bulk;
mod discovery;
mod listing;
mod manners;
mod meter;
mod patching;
mod service;
mod vendors;

pub(crate) use manners::*;
use meter::Meter;

pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
pub(crate) const TOKEN: &str = "fake-token";

/// A server in memory. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Fake {
    manners: Arc<Manners>,
    state: Arc<Mutex<State>>,
    meter: Option<Arc<Meter>>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    /// How many there ever were.
    made: u64,
}

/// A resource as it is kept.
#[derive(Clone)]
struct Record {
    kind: Kind,
    id: String,
    /// Without `id`, `meta` and `schemas`.
    attributes: Map<String, Value>,
    version: u64,
    changed: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    User,
    Group,
}

/// An answer that says no.
struct Refusal {
    status: u16,
    scim_type: Option<&'static str>,
    detail: String,
}

type Outcome = Result<Scripted, Refusal>;

impl Fake {
    /// As strict as RFC 7644 lets a server be, and with everything that is optional there.
    pub(crate) fn strict() -> Self {
        Self::with(Manners::strict())
    }

    pub(crate) fn with(manners: Manners) -> Self {
        Self { manners: Arc::new(manners), state: Arc::default(), meter: None }
    }

    /// One that counts what comes and refuses what is too much, as its documentation says; `time` is since it began.
    pub(crate) fn metered(mut self, time: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.meter = Some(Arc::new(Meter::new(self.manners.welcome, time)));
        self
    }

    /// How many requests were too much, of one that is metered.
    pub(crate) fn refused(&self) -> usize {
        self.meter.as_ref().map_or(0, |meter| meter.refused())
    }

    pub(crate) fn name(&self) -> &'static str {
        self.manners.name
    }

    pub(crate) fn manners(&self) -> &Manners {
        &self.manners
    }

    /// The dialect that is made for it.
    pub(crate) fn dialect(&self) -> Dialect {
        match self.manners.name {
            "AWS IAM Identity Center" => Dialect::aws_identity_center(),
            "Google Cloud Identity" => Dialect::google_cloud_identity(),
            "SAP Cloud Identity Services" => Dialect::sap_cloud_identity(),
            "SAP S/4HANA Cloud" => Dialect::sap_s4hana_cloud(),
            "GitHub" => Dialect::github(),
            "Slack" => Dialect::slack(),
            "Salesforce" => Dialect::salesforce(),
            "PagerDuty" => Dialect::pagerduty(),
            "lenient" => Dialect::okta().with(|dialect| dialect.not_found_is_empty = true),
            _ => Dialect::rfc7644(),
        }
    }

    /// What speaks with it at all, and no more.
    pub(crate) fn bare_dialect(&self) -> Dialect {
        Dialect::rfc7644().with(|dialect| dialect.csrf = self.manners.csrf)
    }

    pub(crate) fn base_url(&self) -> String {
        format!("https://scim.example.com{}", self.manners.base_path)
    }

    pub(crate) fn transport(&self) -> MemoryTransport {
        let fake = self.clone();
        MemoryTransport::new(move |request| fake.answer(request))
    }

    pub(crate) fn answer(&self, request: &http::Request<Bytes>) -> Scripted {
        self.serve(request).unwrap_or_else(|refusal| refusal.answer(&self.manners))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    const ALL: [Self; 2] = [Self::User, Self::Group];

    fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    fn schema(self) -> &'static str {
        match self {
            Self::User => USER,
            Self::Group => GROUP,
        }
    }
}

impl Refusal {
    fn new(status: u16, scim_type: Option<&'static str>, detail: impl Into<String>) -> Self {
        Self { status, scim_type, detail: detail.into() }
    }

    fn bad(scim_type: &'static str, detail: impl Into<String>) -> Self {
        Self::new(400, Some(scim_type), detail)
    }

    fn body(&self, manners: &Manners) -> Value {
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.to_string(),
            "detail": self.detail,
        });
        if let Some(scim_type) = self.scim_type
            && manners.scim_types
        {
            body["scimType"] = scim_type.into();
        }
        body
    }

    fn answer(&self, manners: &Manners) -> Scripted {
        let answer = Scripted::json(self.status, &self.body(manners));
        if self.status == 401 { answer.header("www-authenticate", "Bearer") } else { answer }
    }
}

/// The attribute of that name, whatever its case.
fn key_of(attributes: &Map<String, Value>, name: &str) -> String {
    attributes.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned().unwrap_or_else(|| name.to_owned())
}
