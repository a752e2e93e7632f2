//! The classes of failure.

use std::fmt;
use std::time::Duration;

use super::connectivity_text;
use crate::transport::Connectivity;

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
    /// 429, or 503 with `Retry-After`: the server did nothing, and says so.
    RateLimited {
        /// As the server asked, cut to [`RETRY_AFTER_MAX`](crate::resilience::RETRY_AFTER_MAX).
        retry_after: Option<Duration>,
    },
    /// 5xx (502 and 504 are [`UnknownOutcome`](Self::UnknownOutcome), 501 is [`Unsupported`](Self::Unsupported)).
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
    /// The one resource that is as the look-up asked is somebody else's: it bears another external identifier.
    OtherOwner,
    /// The service said that it did it, and a reading does not show it.
    Unconfirmed,
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
    /// More than a limit: of ours, or of the server (413).
    TooLarge,
    /// 405, 501, or a discovery that says no: the server does not offer this.
    Unsupported,
    /// The request cannot be made: it breaks a rule of the protocol or the dialect.
    Invalid,
}

/// How a credential is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Authentication {
    /// 401, or a token endpoint that does not take it.
    Refused,
    /// A page for people came with status 200, or a redirect to one.
    LoginPage,
    /// The credential could not be had; nothing was sent.
    Unavailable,
    /// It was refused before and has not changed since. Nothing was sent, since some servers lock whoever repeats it.
    Held,
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
    /// Anything else, nothing included.
    Other(String),
}

impl ScimType {
    /// As a server writes it, whatever the case.
    pub fn read(text: &str) -> Self {
        const KNOWN: [(&str, ScimType); 12] = [
            ("invalidFilter", ScimType::InvalidFilter),
            ("tooMany", ScimType::TooMany),
            ("uniqueness", ScimType::Uniqueness),
            ("mutability", ScimType::Mutability),
            ("invalidSyntax", ScimType::InvalidSyntax),
            ("invalidPath", ScimType::InvalidPath),
            ("noTarget", ScimType::NoTarget),
            ("invalidValue", ScimType::InvalidValue),
            ("invalidVers", ScimType::InvalidVersion),
            ("sensitive", ScimType::Sensitive),
            ("invalidCursor", ScimType::Cursor),
            ("expiredCursor", ScimType::Cursor),
        ];
        let text = text.trim();
        if text.eq_ignore_ascii_case("invalidCount") {
            return Self::Cursor;
        }
        KNOWN
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map_or_else(|| Self::Other(super::printable(text, 64)), |(_, known)| known)
    }

    /// As RFC 7644 writes it; `invalidCursor` for all that RFC 9865 adds.
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidFilter => "invalidFilter",
            Self::TooMany => "tooMany",
            Self::Uniqueness => "uniqueness",
            Self::Mutability => "mutability",
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidPath => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::InvalidValue => "invalidValue",
            Self::InvalidVersion => "invalidVers",
            Self::Sensitive => "sensitive",
            Self::Cursor => "invalidCursor",
            Self::Other(text) => text,
        }
    }
}

impl ErrorKind {
    /// The class as one word for programs, the same in every release.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::UnknownOutcome(_) => "unknown_outcome",
            Self::Authentication(_) => "authentication",
            Self::Authorization => "authorization",
            Self::RateLimited { .. } => "rate_limited",
            Self::Server => "server",
            Self::SchemaMismatch(_) => "schema_mismatch",
            Self::Conflict => "conflict",
            Self::ConflictInvisible => "conflict_invisible",
            Self::Ambiguous { .. } => "ambiguous",
            Self::OtherOwner => "other_owner",
            Self::Unconfirmed => "unconfirmed",
            Self::NotFound => "not_found",
            Self::BaseUrl => "base_url",
            Self::Concurrency => "concurrency",
            Self::Paging => "paging",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
        }
    }

    /// Whether an error of this class, alone, says that the request reached the service.
    pub(super) fn was_sent(&self, status: Option<u16>) -> bool {
        match self {
            Self::NotSent(_) | Self::Invalid => false,
            Self::Authentication(Authentication::Unavailable | Authentication::Held) => false,
            Self::UnknownOutcome(_) | Self::Authentication(_) | Self::Protocol | Self::Paging => true,
            // A listing that was refused before it was asked for has no status.
            _ => status.is_some(),
        }
    }
}

impl Authentication {
    /// As one word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LoginPage => "login_page",
            Self::Unavailable => "unavailable",
            Self::Held => "held",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotSent(why) => return write!(f, "nothing was sent, {}", connectivity_text(*why)),
            Self::UnknownOutcome(why) => {
                return write!(f, "it may have happened, {}", connectivity_text(*why));
            }
            Self::Ambiguous { matches } => {
                return write!(f, "{matches} resources are as the look-up asked, and one was expected");
            }
            Self::SchemaMismatch(scim_type) if !scim_type.as_str().is_empty() => {
                return write!(f, "the server does not take this (`{}`)", scim_type.as_str());
            }
            Self::SchemaMismatch(_) => "the server does not take this",
            Self::Authentication(Authentication::Refused) => "the credential is refused",
            Self::Authentication(Authentication::LoginPage) => "a page for people came in place of an answer",
            Self::Authentication(Authentication::Unavailable) => "there is no credential to be had",
            Self::Authentication(Authentication::Held) => {
                "this credential was refused before and has not changed, so nothing was sent"
            }
            Self::Authorization => "this client may not do that",
            Self::RateLimited { .. } => "the server wants fewer requests",
            Self::Server => "the server failed",
            Self::Conflict => "something there is in the way",
            Self::ConflictInvisible => "something there is in the way that this client cannot see",
            Self::OtherOwner => "the resource that fits is somebody else's",
            Self::Unconfirmed => "the service said that it did it, and a reading does not show it",
            Self::NotFound => "there is no such resource",
            Self::BaseUrl => "there is no SCIM service at this address",
            Self::Concurrency => "it was changed meanwhile",
            Self::Paging => "the listing cannot go on",
            Self::Protocol => "what came back is not what the protocol says",
            Self::TooLarge => "it is larger than a limit",
            Self::Unsupported => "the server does not offer this",
            Self::Invalid => "this request cannot be made",
        };
        f.write_str(text)
    }
}

impl fmt::Display for ScimType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
