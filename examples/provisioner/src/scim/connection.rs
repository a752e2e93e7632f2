//! A service as the command line describes it.

use std::error::Error as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use scim_client::auth::Authenticate;
use scim_client::dialect::{Dialect, Preset};
use scim_client::error::Authentication;
use scim_client::transport::ReqwestTransport;
use scim_client::{Client, Error, ErrorKind};
use url::{Host, Url};

use super::args;
use super::credential::{self, explained};
use super::wire::{Page, Wire};
use crate::failure::{Cause, Failure};

/// Longest PEM file that is read.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// How long connecting may take at the most.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What a server is called that is asked.
pub(crate) const USER_AGENT: &str = concat!("provisioner/", env!("CARGO_PKG_VERSION"));

/// The client of a service, and what it is made of for who asks in a way that the client would not.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) base: Url,
    pub(crate) dialect: Dialect,
    pub(crate) wire: Wire,
    pub(crate) auth: Option<Arc<dyn Authenticate>>,
    pub(crate) shows_certificate: bool,
    pub(crate) timeout: Duration,
}

impl Connection {
    /// Sends nothing yet.
    pub(crate) fn new(url: &str, given: &args::Connection) -> Result<Self, Failure> {
        let base = base_of(url)?;
        let dialect = dialect_of(&given.dialect)?;
        let auth = credential::of(given)?;
        if auth.is_some() && base.scheme() == "http" && !is_here(&base) && !given.plain_http {
            return Err(Failure::usage(format!(
                "{base} is not encrypted, so the credential would be there for whoever listens: use https, or say \
                 --plain-http"
            )));
        }
        let mut network = ReqwestTransport::builder()
            .connect_timeout(CONNECT_MAX.min(given.timeout))
            .user_agent(USER_AGENT);
        if let Some(path) = &given.ca {
            network = network.trust_pem(pem(path, "--ca")?);
        }
        if let Some(path) = &given.client_cert {
            network = network.identity_pem(pem(path, "--client-cert")?);
        }
        let wire = Wire::new(network.build().map_err(|error| Failure::usage(explained(&error)))?);
        let unusable = |error: Error| Failure::usage(format!("{url}: {}", explained(&error)));
        let mut client = Client::over(base.as_str(), wire.clone())
            .and_then(|client| client.user_agent(USER_AGENT))
            .map_err(unusable)?
            .dialect(dialect.clone())
            .timeout(given.timeout);
        if let Some(auth) = &auth {
            client = client.auth(Arc::clone(auth));
        }
        if given.plain_http {
            client = client.dangerous_plain_http();
        }
        Ok(Self {
            client,
            base,
            dialect,
            wire,
            auth,
            shows_certificate: given.client_cert.is_some(),
            timeout: given.timeout,
        })
    }

    /// What an error comes down to. One that may have come from anything is looked at once more: is this a service at all?
    pub(crate) async fn failed(&self, error: Error) -> Failure {
        let error = match error.kind() {
            ErrorKind::Protocol => match self.client.check_base().await {
                Err(base) if matches!(base.kind(), ErrorKind::BaseUrl) => base,
                _ => error,
            },
            _ => error,
        };
        let (error, cause) = match (error.kind(), self.wire.page()) {
            (ErrorKind::Authentication(Authentication::LoginPage), Some(Page::Other)) => {
                (error, Cause::NoService)
            }
            (ErrorKind::BaseUrl, Some(Page::SignIn)) => (sign_in(&error), Cause::Credential),
            _ => {
                let cause = Cause::of(&error);
                (error, cause)
            }
        };
        let hint = self.hint(&error, cause);
        Failure::service(self.base.as_str(), error, cause, hint)
    }

    fn hint(&self, error: &Error, cause: Cause) -> Option<String> {
        let last = self.base.path_segments().and_then(|mut segments| segments.next_back().map(str::to_owned));
        let names_kind = ["Users", "Groups", "ServiceProviderConfig", "Schemas", "ResourceTypes"]
            .iter()
            .find(|kind| last.as_deref().is_some_and(|last| last.eq_ignore_ascii_case(kind)));
        match cause {
            Cause::NoService => Some(match names_kind {
                Some(kind) => format!("the address is the base of the service: leave `/{kind}` off"),
                None => format!(
                    "is {} the base, without `/Users`? Many services have theirs at `/scim/v2` or `/scim`",
                    self.base
                ),
            }),
            Cause::Credential if self.auth.is_none() && !self.shows_certificate => {
                Some("no credential was given: --token-file FILE, SCIM_TOKEN, --user or --oauth-token-url".to_owned())
            }
            Cause::Credential if matches!(error.kind(), ErrorKind::Authentication(Authentication::LoginPage)) => {
                Some("a page to sign in came: either the credential is not accepted, or the address is one for people".to_owned())
            }
            Cause::Unreachable if causes(error).contains("UnknownIssuer") => {
                Some("the server's certificate is from nobody who is trusted here: --ca FILE trusts its issuer".to_owned())
            }
            Cause::Unreachable if causes(error).contains("CertificateRequired") => {
                Some("the server wants a client certificate: --client-cert FILE".to_owned())
            }
            Cause::Unknown => Some("it may have happened: read what is there before you repeat it".to_owned()),
            Cause::Other => match error.kind() {
                ErrorKind::RateLimited { retry_after: Some(after) } => {
                    Some(format!("the server says: again in {} s", after.as_secs_f64().ceil()))
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// What lies behind an error, in one text.
fn causes(error: &Error) -> String {
    std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string).collect()
}

/// The same answer, taken for what it is.
fn sign_in(error: &Error) -> Error {
    let page = Error::new(ErrorKind::Authentication(Authentication::LoginPage));
    let page = match (error.method(), error.path()) {
        (Some(method), Some(path)) => page.about(method.clone(), path),
        _ => page,
    };
    error.http_status().into_iter().fold(page, Error::status)
}

fn base_of(url: &str) -> Result<Url, Failure> {
    match Url::parse(url) {
        Ok(base) if matches!(base.scheme(), "http" | "https") && base.has_host() => Ok(base),
        // `app.example.com:443/scim` is a URL of the scheme `app.example.com`.
        _ => Err(Failure::usage(format!(
            "`{url}` is no address of a service: it begins with https://, such as https://app.example.com/scim/v2"
        ))),
    }
}

fn dialect_of(name: &str) -> Result<Dialect, Failure> {
    Preset::named(name).map(Preset::dialect).ok_or_else(|| {
        let names: Vec<&str> = Preset::ALL.iter().map(|preset| preset.name).collect();
        Failure::usage(format!("there is no dialect `{name}`; there are {}", names.join(", ")))
    })
}

/// Whether an address is this machine.
pub(crate) fn is_here(base: &Url) -> bool {
    match base.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn pem(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::usage(format!("{option} {}: {why}", path.display()));
    let length = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > PEM_BYTES_MAX {
        return Err(failed(&"too long for PEM"));
    }
    fs::read(path).map_err(|error| failed(&error))
}

/// The names that RFC 7644 gives a service's paths, found in any case.
const STANDARD: [&str; 6] = ["Users", "Groups", "ServiceProviderConfig", "ResourceTypes", "Schemas", "Me"];

/// A path below the base as it was typed, in the parts that the client wants.
#[derive(Debug, PartialEq)]
pub(crate) struct Place {
    /// `Users`, `Groups` and the like, or as typed.
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
}

impl Place {
    /// The standard names in any case; of these, whatever follows the first slash is the identifier. Of other kinds it is
    /// what follows the last one.
    pub(crate) fn read(text: &str) -> Self {
        let text = text.trim_start_matches('/');
        let (first, rest) = text.split_once('/').unwrap_or((text, ""));
        let standard = STANDARD.into_iter().find(|kind| kind.eq_ignore_ascii_case(first));
        let (kind, id) = match standard {
            Some(kind) => (kind, rest),
            None => text.trim_end_matches('/').rsplit_once('/').unwrap_or((text, "")),
        };
        Self { kind: kind.to_owned(), id: Some(id.to_owned()).filter(|id| !id.is_empty()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        let place = |text: &str| {
            let Place { kind, id } = Place::read(text);
            (kind, id.unwrap_or_default())
        };
        let of = |kind: &str, id: &str| (kind.to_owned(), id.to_owned());
        assert_eq!(place("users/1"), of("Users", "1"));
        assert_eq!(place("/Users/a/b%2F"), of("Users", "a/b%2F"));
        assert_eq!(place("GROUPS"), of("Groups", ""));
        assert_eq!(place("Devices/7"), of("Devices", "7"));
        assert_eq!(place("v3/Devices/7"), of("v3/Devices", "7"));
        assert_eq!(place("serviceproviderconfig"), of("ServiceProviderConfig", ""));
        assert_eq!(place("schemas/urn:x:a/b"), of("Schemas", "urn:x:a/b"));
    }

    #[test]
    fn addresses_without_a_scheme_are_explained() {
        for url in ["app.example.com/scim", "app.example.com:443/scim", "ftp://x/", "", "https://"] {
            assert!(base_of(url).is_err(), "{url}");
        }
        assert!(base_of("https://app.example.com/scim/v2").is_ok());
    }
}
