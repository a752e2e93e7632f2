//! Requests as values, without I/O: addresses and headers.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT as USER_AGENT_HEADER};
use http::{Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::auth::is_loopback;
use crate::error::{Error, ErrorKind};
use crate::resource::ResourceId;

/// What the client calls itself where nothing else is set. Some services refuse requests without a name.
pub(crate) const USER_AGENT: &str = concat!("scim-client/", env!("CARGO_PKG_VERSION"));

/// The media type of SCIM (RFC 7644 §8.1).
pub(crate) const SCIM_JSON: &str = "application/scim+json";

/// The longest URI that is sent; servers refuse from 8,000 bytes on (RFC 9110 §4.1).
pub(crate) const URI_BYTES_MAX: usize = 8_000;

/// All but the unreserved characters of RFC 3986 §2.3, `@` and `:`, which need no escape in a segment and are read
/// wrongly as one by some servers.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@').remove(b':');

/// All but the unreserved characters, and what attribute names and lists of them hold. A space is `%20`: not every
/// server reads `+` as one.
const QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b',');

/// The base of a service, and the addresses below it.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// Without a slash at the end.
    url: String,
    /// Of the URL.
    path: String,
    /// Whether others can listen.
    exposed: bool,
}

impl Base {
    /// Reads a base.
    pub(crate) fn parse(base: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::new(ErrorKind::Invalid).detail(format!("the base URL {why}"));
        let url = Url::parse(base).map_err(|error| refused("cannot be read").because(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("holds a user name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("holds a query or a fragment"));
        }
        Ok(Self {
            url: url.as_str().trim_end_matches('/').to_owned(),
            path: url.path().trim_end_matches('/').to_owned(),
            exposed: url.scheme() == "http" && !is_loopback(&url),
        })
    }

    /// The address of what a path of segments names below the base, such as `Users` or `/Users/.search`.
    pub(crate) fn at(&self, path: &str) -> Result<Address, Error> {
        self.below(path.split('/').filter(|segment| !segment.is_empty()))
    }

    /// The address that these segments name below the base.
    pub(crate) fn below<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Result<Address, Error> {
        Ok(Address { url: format!("{}{}", self.url, path(segments)?), query: false })
    }

    /// The address of one resource.
    pub(crate) fn resource(&self, path: &str, id: &ResourceId) -> Result<Address, Error> {
        let mut address = self.at(path)?;
        push_segment(&mut address.url, id.as_str())?;
        Ok(address)
    }

    /// Whether what is sent there can be read on the way.
    pub(crate) fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// What a path of a URI names first below the base: `Users` of `/scim/v2/Users/1`.
    pub(crate) fn place_of<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.path)?.split('/').find(|segment| !segment.is_empty())
    }

    /// Whether a URI is at the same scheme, host and port.
    pub(crate) fn is_origin_of(&self, other: &Url) -> bool {
        Url::parse(&self.url).is_ok_and(|base| base.origin() == other.origin())
    }
}

/// The path of these segments: `/Users/2819c223`.
pub(crate) fn path<'a>(segments: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
    let mut path = String::new();
    for segment in segments {
        push_segment(&mut path, segment)?;
    }
    Ok(path)
}

/// Adds a segment. Slashes and percent signs in it are escaped; `.` and `..` cannot be: whoever handles a URL on its
/// way resolves them, escaped or not, and another resource would be meant.
fn push_segment(url: &mut String, segment: &str) -> Result<(), Error> {
    if segment.is_empty() || segment == "." || segment == ".." {
        return Err(Error::new(ErrorKind::Invalid)
            .detail(format!("`{segment}` cannot be an identifier or a path segment in a URL")));
    }
    url.push('/');
    url.extend(utf8_percent_encode(segment, SEGMENT));
    Ok(())
}

/// A URI in the making.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    url: String,
    query: bool,
}

impl Address {
    /// With a parameter.
    pub(crate) fn parameter(&mut self, name: &str, value: &str) {
        self.url.push(if self.query { '&' } else { '?' });
        self.query = true;
        // Writing to a text does not fail.
        let _ = write!(self.url, "{name}={}", utf8_percent_encode(value, QUERY_VALUE));
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        self.url.len()
    }

    /// As HTTP has it.
    pub(crate) fn uri(&self) -> Result<Uri, Error> {
        if self.url.len() > URI_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid)
                .detail(format!("a URI of {} bytes, more than {URI_BYTES_MAX}", self.url.len())));
        }
        self.url.parse().map_err(|error: http::uri::InvalidUri| {
            Error::new(ErrorKind::Invalid).detail("this makes no URI").because(error)
        })
    }
}

/// A request without a body.
pub(crate) fn bare(
    method: Method,
    address: &Address,
    user_agent: &HeaderValue,
) -> Result<http::Request<Bytes>, Error> {
    let mut request = http::Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = address.uri()?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/scim+json, application/json"));
    headers.insert(USER_AGENT_HEADER, user_agent.clone());
    Ok(request)
}

/// A request with a JSON body.
pub(crate) fn with_body(
    method: Method,
    address: &Address,
    user_agent: &HeaderValue,
    body: Bytes,
) -> Result<http::Request<Bytes>, Error> {
    let mut request = bare(method, address, user_agent)?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SCIM_JSON));
    *request.body_mut() = body;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri_of(base: &str, path: &str, id: &str) -> String {
        Base::parse(base).unwrap().resource(path, &ResourceId::new(id)).unwrap().uri().unwrap().to_string()
    }

    #[test]
    fn identifiers_are_one_segment_whatever_they_hold() {
        let of = |id| uri_of("https://x.example/scim/v2/", "/Users", id);
        assert_eq!(of("2819c223-7f76"), "https://x.example/scim/v2/Users/2819c223-7f76");
        assert_eq!(of("a/b%2Fc?d#e"), "https://x.example/scim/v2/Users/a%2Fb%252Fc%3Fd%23e");
        assert_eq!(of("../Groups"), "https://x.example/scim/v2/Users/..%2FGroups");
        assert_eq!(of("bjensen@example.com"), "https://x.example/scim/v2/Users/bjensen@example.com");
        assert_eq!(of("é +"), "https://x.example/scim/v2/Users/%C3%A9%20%2B");
    }

    #[test]
    fn identifiers_that_no_url_can_hold_are_refused() {
        let base = Base::parse("https://x.example").unwrap();
        for id in ["", ".", ".."] {
            let error = base.resource("Users", &ResourceId::new(id)).unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Invalid, "{id:?}");
        }
        assert_eq!(*base.at("Users/../Groups").unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn parameters_hold_any_text() {
        let mut address = Base::parse("http://[::1]:80/").unwrap().at("Users").unwrap();
        address.parameter("filter", "userName eq \"a+b&c=d é\"");
        address.parameter("attributes", "urn:x:2.0:User:a.b,userName");
        assert_eq!(
            address.uri().unwrap().to_string(),
            "http://[::1]/Users?filter=userName%20eq%20%22a%2Bb%26c%3Dd%20%C3%A9%22\
             &attributes=urn:x:2.0:User:a.b,userName"
        );
    }

    #[test]
    fn a_base_is_an_address_and_nothing_else() {
        for base in
            ["", "scim", "ftp://x", "https://u:p@x", "https://x?tenant=1", "https://x/#a", "file:///etc"]
        {
            assert_eq!(*Base::parse(base).unwrap_err().kind(), ErrorKind::Invalid, "{base:?}");
        }
    }
}
