//! Alerts to an HTTPS endpoint, signed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use sha2::Sha256;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{Alert, AlertSink, SinkError, is_inside};

/// Fewest bytes of a secret: those of the hash.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;

/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Finds the addresses of a host.
///
/// Implementors promise an answer within a few seconds. What it answers is checked, and connected to as it was checked.
#[async_trait]
pub trait NameLookup: Send + Sync {
    /// The addresses of `host`.
    async fn lookup(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// As the machine resolves names.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

#[async_trait]
impl NameLookup for SystemNames {
    async fn lookup(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Posts each message as JSON, signed as the Standard Webhooks specification has it.
///
/// `webhook-id` is the message's `event_id`, the same at each try; `webhook-timestamp` is seconds since 1970; `webhook-signature` is
/// `v1,` and the Base64 of HMAC-SHA256 over `id.timestamp.body`. A receiver checks the signature, refuses timestamps that are minutes
/// off, and takes each id once.
///
/// Only a 2xx answer means that it has arrived. Redirects are not followed and proxies not used. A name is resolved anew for each
/// connection, and that very address is connected to: if any of its addresses [points inside](is_inside), nothing is sent.
pub struct WebhookSink {
    client: reqwest::Client,
    url: Url,
    key: Zeroizing<Vec<u8>>,
}

/// How a [`WebhookSink`] sends.
pub struct WebhookBuilder {
    url: String,
    key: Zeroizing<Vec<u8>>,
    hosts: Option<Vec<String>>,
    permitted: Vec<IpNet>,
    plain: bool,
    timeout: Duration,
    roots_pem: Vec<Vec<u8>>,
    names: Arc<dyn NameLookup>,
}

/// Why a webhook cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// It is no address of an endpoint.
    #[error("webhook address is no URL with a host")]
    Url,
    /// It has a user name, a password or a fragment.
    #[error("webhook address must hold no credentials and no fragment")]
    Credentials,
    /// It is not `https`.
    #[error("webhook address must begin with `https://`")]
    Plain,
    /// Its host is none of those that are allowed.
    #[error("webhook host is none of those allowed")]
    Host,
    /// Its address points inside.
    #[error("webhook address points inside")]
    Inside,
    /// The secret is too short.
    #[error("webhook secret has fewer than {WEBHOOK_SECRET_BYTES_MIN} bytes")]
    Secret,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls,
}

impl WebhookSink {
    /// Begins a sink that posts to `url`, signed with `secret` as bytes (where the receiver gave `whsec_…`, the decoded rest). 10 s for
    /// each message.
    pub fn builder(url: impl Into<String>, secret: impl Into<Vec<u8>>) -> WebhookBuilder {
        WebhookBuilder {
            url: url.into(),
            key: Zeroizing::new(secret.into()),
            hosts: None,
            permitted: Vec::new(),
            plain: false,
            timeout: Duration::from_secs(10),
            roots_pem: Vec::new(),
            names: Arc::new(SystemNames),
        }
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may be the receiver's secret.
        f.debug_struct("WebhookSink").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookBuilder").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl WebhookBuilder {
    /// Refuses hosts that are none of these, compared without regard to case. For where an address comes from others.
    #[must_use]
    pub fn allow_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts = Some(hosts.into_iter().map(|host| host.into().to_ascii_lowercase()).collect());
        self
    }

    /// Permits addresses in this network though they point inside.
    #[must_use]
    pub fn dangerous_allow_inside(mut self, network: IpNet) -> Self {
        self.permitted.push(network);
        self
    }

    /// Permits `http://`: whoever listens on the way reads the alerts.
    #[must_use]
    pub fn dangerous_plain_http(mut self) -> Self {
        self.plain = true;
        self
    }

    /// How long a message may take in all.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Trusts the certificates in this PEM text besides the machine's.
    #[must_use]
    pub fn trust_pem(mut self, roots: impl Into<Vec<u8>>) -> Self {
        self.roots_pem.push(roots.into());
        self
    }

    /// Resolves names by this.
    #[must_use]
    pub fn names(mut self, names: Arc<dyn NameLookup>) -> Self {
        self.names = names;
        self
    }

    /// The sink.
    ///
    /// # Errors
    /// Where address or secret are none, or the address is refused.
    pub fn build(self) -> Result<WebhookSink, WebhookError> {
        let url = Url::parse(&self.url).map_err(|_| WebhookError::Url)?;
        match url.scheme() {
            "https" => {}
            "http" if self.plain => {}
            "http" => return Err(WebhookError::Plain),
            _ => return Err(WebhookError::Url),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(WebhookError::Credentials);
        }
        let host = url.host_str().ok_or(WebhookError::Url)?;
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|allowed| allowed == host)) {
            return Err(WebhookError::Host);
        }
        let door = Door { permitted: self.permitted, names: self.names };
        // An address that is written out is never looked up, so it is judged here.
        let written = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if written.is_some_and(|address| !door.permits(address)) {
            return Err(WebhookError::Inside);
        }
        if self.key.len() < WEBHOOK_SECRET_BYTES_MIN {
            return Err(WebhookError::Secret);
        }
        let mut client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            // What may have arrived is sent again by the desk, which keeps count.
            .retry(reqwest::retry::never())
            .referer(false)
            .timeout(self.timeout)
            .user_agent(concat!("connector-health/", env!("CARGO_PKG_VERSION")))
            // A kept connection would outlive the look-up that vouched for its address.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(door));
        for pem in &self.roots_pem {
            let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| WebhookError::Tls)?;
            if roots.is_empty() {
                return Err(WebhookError::Tls);
            }
            client = client.tls_certs_merge(roots);
        }
        let client = client.build().map_err(|_| WebhookError::Tls)?;
        Ok(WebhookSink { client, url, key: self.key })
    }
}

#[async_trait]
impl AlertSink for WebhookSink {
    async fn deliver(&self, alert: &Alert, now: DateTime<Utc>) -> Result<(), SinkError> {
        let body = serde_json::to_vec(alert).map_err(|_| SinkError::Unwritable("no JSON"))?;
        let (id, timestamp) = (alert.event_id().to_string(), now.timestamp());
        let signature = signature(&self.key, &id, timestamp, &body);
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        // The answer's body is dropped unread: nothing in it is of use, and there may be no end to it.
        let status = request.send().await.map_err(|error| refused(&error))?.status();
        if status.is_success() { Ok(()) } else { Err(SinkError::Answered(status.as_u16())) }
    }
}

/// The `webhook-signature` of a message, for whoever receives it and wants to compare.
pub fn signature(secret: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    // INVARIANT: HMAC takes keys of every length, so the error arm is never reached; an empty signature verifies nowhere.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// What an error is, and nothing of what it says: its text holds the address.
fn refused(error: &reqwest::Error) -> SinkError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if this.is::<PointsInside>() {
            return SinkError::Forbidden("the webhook's name points inside");
        }
        cause = this.source();
    }
    SinkError::Unavailable(match error {
        error if error.is_timeout() => "it took too long",
        error if error.is_connect() => "no connection",
        _ => "the connection broke",
    })
}

/// What a connection must pass: the addresses of the name, as they are connected to.
struct Door {
    permitted: Vec<IpNet>,
    names: Arc<dyn NameLookup>,
}

#[derive(Debug, thiserror::Error)]
#[error("name points inside")]
struct PointsInside;

impl Door {
    fn permits(&self, address: IpAddr) -> bool {
        permits(&self.permitted, address)
    }
}

fn permits(permitted: &[IpNet], address: IpAddr) -> bool {
    !is_inside(address) || permitted.iter().any(|network| network.contains(&address))
}

impl Resolve for Door {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, permitted) = (Arc::clone(&self.names), self.permitted.clone());
        Box::pin(async move {
            let found = names.lookup(name.as_str()).await?;
            // One address inside among others is no accident.
            if !found.iter().all(|address| permits(&permitted, *address)) {
                return Err(PointsInside.into());
            }
            let addresses = found.into_iter().take(ADDRESSES_MAX).map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
