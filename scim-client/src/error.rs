//! What went wrong, and what to do about it.

use std::fmt;
use std::time::Duration;

use crate::transport::Connectivity;

/// An operation that did not end as asked.
///
/// Holds what is needed to act and to explain, and no header, body or credential.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    method: Option<http::Method>,
    path: Option<String>,
    status: Option<u16>,
    detail: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The class of a failure.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No byte was sent: names, connections, TLS.
    NotSent(Connectivity),
    /// Sent, and no (whole) answer, or a gateway's 502 or 504: it may have happened.
    UnknownOutcome(Connectivity),
    /// The credential is refused: 401 after it was renewed once, or a token endpoint said no.
    Authentication(Authentication),
    /// 403: this client may not.
    Authorization,
    /// 429, or 503 with `Retry-After`.
    RateLimited {
        /// As the server asked.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    Server,
    /// 400 of a kind that a mapping has to answer for.
    SchemaMismatch(ScimType),
    /// 409: something there is in the way.
    Conflict,
    /// 409, and nothing that can be seen explains it.
    ConflictInvisible,
    /// More than one resource is as the look-up asked.
    Ambiguous {
        /// How many.
        matches: usize,
    },
    /// 404 for a resource, while the server itself answers.
    NotFound,
    /// 404 or another answer that says that this is not the base of a SCIM service.
    BaseUrl,
    /// 412: it was changed meanwhile.
    Concurrency,
    /// The listing cannot go on: it repeats, never ends, its cursor is gone.
    Paging,
    /// What came back is not what the protocol says.
    Protocol,
    /// More than a limit of ours.
    TooLarge,
    /// The request cannot be made: it breaks a rule of the protocol or the dialect.
    Invalid,
}

/// How a credential is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Authentication {
    /// 401.
    Refused,
    /// A page for people came with status 200, or a redirect to one.
    LoginPage,
    /// The credential could not be had.
    Unavailable,
}

/// `scimType` (RFC 7644 §3.12).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ScimType {
    /// `invalidFilter`
    InvalidFilter,
    /// `tooMany`
    TooMany,
    /// `uniqueness`
    Uniqueness,
    /// `mutability`
    Mutability,
    /// `invalidSyntax`
    InvalidSyntax,
    /// `invalidPath`
    InvalidPath,
    /// `noTarget`
    NoTarget,
    /// `invalidValue`
    InvalidValue,
    /// `invalidVers`
    InvalidVersion,
    /// `sensitive`
    Sensitive,
    /// `invalidCursor`, `expiredCursor`, `invalidCount` (RFC 9865)
    Cursor,
    /// Anything else.
    Other(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Advice {
    /// The same again, after a wait.
    Retry {
        /// How long.
        after: Option<Duration>,
    },
    /// It may have happened: look before doing anything.
    ResolveByReading,
    /// What is in the way may be it: look it up and adopt it.
    Adopt,
    /// No request of this connector can work before a person acts.
    StopConnector,
    /// The server's schema and the mapping do not agree.
    FixMapping,
    /// Nothing helps but a person who looks at this one case.
    Give,
}

impl Error {
    /// An error of that class.
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner { kind, method: None, path: None, status: None, detail: None, source: None }))
    }

    /// With what people may want to know.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// With the request it was about.
    #[must_use]
    pub fn about(mut self, method: http::Method, path: impl Into<String>) -> Self {
        self.0.method = Some(method);
        self.0.path = Some(path.into());
        self
    }

    /// With the status of the answer.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// With what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Its class.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The status of the answer, where there was one.
    pub fn http_status(&self) -> Option<u16> {
        self.0.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
