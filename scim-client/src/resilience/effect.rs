//! What sending a request twice does.

use http::Method;

/// What a request does to the server's resources, and what it does when it is sent twice.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Effect {
    /// It reads: GET, HEAD, OPTIONS, and POST to `/.search`.
    None,
    /// The second time changes nothing: PUT and DELETE (RFC 9110 §9.2.2).
    Once,
    /// It may do something each time: POST, PATCH, `/Bulk`, and whatever is not known.
    EachTime,
}

impl Effect {
    /// Of a request to this path.
    pub fn of(method: &Method, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Self::None,
            // RFC 7644 §3.4.3.
            Method::POST if path.ends_with("/.search") => Self::None,
            Method::PUT | Method::DELETE => Self::Once,
            _ => Self::EachTime,
        }
    }
}
