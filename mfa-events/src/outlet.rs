//! HTTP to others: what may be reached, and what is read of an answer.

mod inside;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use url::{Host, Url};

pub use inside::is_inside;

/// Most bytes of an answer that are read.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

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

/// What may be reached over HTTP.
///
/// Unless said otherwise: only `https`, only addresses that are not [inside](is_inside), 30 s for each message. Redirects are not
/// followed and proxies not used. A name is resolved anew for each connection, and that very address is connected to: if any of its
/// addresses points inside, nothing is sent.
#[derive(Clone)]
#[must_use]
pub struct Outlet {
    hosts: Option<Vec<String>>,
    permitted: Vec<IpNet>,
    is_plain: bool,
    timeout: Duration,
    roots_pem: Vec<Vec<u8>>,
    names: Arc<dyn NameLookup>,
}

/// Why an address is not sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutletError {
    /// It is no address of an endpoint.
    #[error("address is no URL with a host")]
    Url,
    /// It has a user name, a password or a fragment.
    #[error("address must hold no credentials and no fragment")]
    Credentials,
    /// It is not `https`.
    #[error("address must begin with `https://`")]
    Plain,
    /// Its host is none of those that are allowed.
    #[error("host is none of those allowed")]
    Host,
    /// It points inside.
    #[error("address points inside")]
    Inside,
    /// A token, a name or a secret is none that can be sent.
    #[error("{0}")]
    Setting(&'static str),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls,
}

impl Default for Outlet {
    fn default() -> Self {
        Self {
            hosts: None,
            permitted: Vec::new(),
            is_plain: false,
            timeout: Duration::from_secs(30),
            roots_pem: Vec::new(),
            names: Arc::new(SystemNames),
        }
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet")
            .field("hosts", &self.hosts)
            .field("permitted", &self.permitted)
            .field("is_plain", &self.is_plain)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Outlet {
    /// Refuses hosts that are none of these, compared without regard to case. For where an address comes from others.
    pub fn allow_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts = Some(hosts.into_iter().map(|host| host.into().to_ascii_lowercase()).collect());
        self
    }

    /// Permits addresses in this network though they point inside: where your collector stands in your own network.
    pub fn dangerous_allow_inside(mut self, network: IpNet) -> Self {
        self.permitted.push(network);
        self
    }

    /// Permits `http://`: whoever listens on the way reads events, and the credential.
    pub fn dangerous_plain_http(mut self) -> Self {
        self.is_plain = true;
        self
    }

    /// How long a message may take in all.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Trusts the certificates in this PEM text besides the machine's.
    pub fn trust_pem(mut self, roots: impl Into<Vec<u8>>) -> Self {
        self.roots_pem.push(roots.into());
        self
    }

    /// Resolves names by this.
    pub fn names(mut self, names: Arc<dyn NameLookup>) -> Self {
        self.names = names;
        self
    }

    /// A way to this address.
    pub(crate) fn open(&self, url: &str) -> Result<Way, OutletError> {
        let url = Url::parse(url).map_err(|_| OutletError::Url)?;
        match url.scheme() {
            "https" => {}
            "http" if self.is_plain => {}
            "http" => return Err(OutletError::Plain),
            _ => return Err(OutletError::Url),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(OutletError::Credentials);
        }
        let host = url.host_str().ok_or(OutletError::Url)?;
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|allowed| allowed == host)) {
            return Err(OutletError::Host);
        }
        // An address that is written out is never looked up, so it is judged here.
        let written = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if written.is_some_and(|address| !permits(&self.permitted, address)) {
            return Err(OutletError::Inside);
        }
        let mut client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            // What may have arrived is sent again by whoever keeps count.
            .retry(reqwest::retry::never())
            .referer(false)
            .timeout(self.timeout)
            .user_agent(concat!("mfa-events/", env!("CARGO_PKG_VERSION")))
            // A kept connection would outlive the look-up that vouched for its address.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Door {
                permitted: self.permitted.clone(),
                names: Arc::clone(&self.names),
            }));
        for pem in &self.roots_pem {
            let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| OutletError::Tls)?;
            if roots.is_empty() {
                return Err(OutletError::Tls);
            }
            client = client.tls_certs_merge(roots);
        }
        let client = client.build().map_err(|_| OutletError::Tls)?;
        Ok(Way { client, url })
    }
}

/// A way to one endpoint.
pub(crate) struct Way {
    client: reqwest::Client,
    url: Url,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long to wait, where it was said.
    pub(crate) after: Option<Duration>,
    /// At most [`ANSWER_BYTES_MAX`].
    #[cfg_attr(not(feature = "export-http"), expect(dead_code, reason = "a webhook's answer is its status"))]
    pub(crate) body: Vec<u8>,
}

/// Why nothing came back. It says nothing of the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Silence {
    /// The name points inside.
    Inside,
    /// Otherwise.
    Broken(&'static str),
}

impl Silence {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inside => "its name points inside",
            Self::Broken(why) => why,
        }
    }
}

impl Way {
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Posts a body and reads what comes back.
    pub(crate) async fn post(&self, url: Url, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, Silence> {
        let request = self.client.post(url).headers(headers).body(body);
        let mut answer = request.send().await.map_err(|error| silence(&error))?;
        let status = answer.status().as_u16();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| silence(&error))? {
            let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
            body.extend(chunk.iter().take(room));
            if body.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(Answer { status, after, body })
    }
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// What an error is, and nothing of what it says: its text holds the address.
fn silence(error: &reqwest::Error) -> Silence {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if this.is::<PointsInside>() {
            return Silence::Inside;
        }
        cause = this.source();
    }
    Silence::Broken(match error {
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
