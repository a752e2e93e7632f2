//! `ServiceProviderConfig` (RFC 7643 §5, RFC 9865 §4): what a server can do.

use crate::attributes;
use crate::resource::keyword::keywords;
use crate::resource::{Meta, Resource, ResourceId};
use crate::urn;

attributes! {
    /// What a server can do.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct ServiceProviderConfig {
        /// [`urn::SERVICE_PROVIDER_CONFIG`].
        "schemas" => schemas: Vec<String>,
        /// Servers need none; some send one.
        "id" => id: Option<ResourceId>,
        /// A page for people.
        "documentationUri" => documentation_uri: Option<String>,
        /// PATCH.
        "patch" => patch: Option<Supported>,
        /// Bulk.
        "bulk" => bulk: Option<BulkSupport>,
        /// Filters.
        "filter" => filter: Option<FilterSupport>,
        /// Changing passwords.
        "changePassword" => change_password: Option<Supported>,
        /// Sorting.
        "sort" => sort: Option<Supported>,
        /// Entity tags.
        "etag" => etag: Option<Supported>,
        /// How lists are paged (RFC 9865).
        "pagination" => pagination: Option<PaginationSupport>,
        /// How clients authenticate.
        "authenticationSchemes" => authentication_schemes: Vec<AuthenticationScheme>,
        /// What the server says of the resource.
        "meta" => meta: Option<Meta>,
    }
}

attributes! {
    /// Whether something is supported.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Supported {
        /// Whether.
        "supported" => supported: Option<bool>,
    }
}

attributes! {
    /// Whether and how far bulk is supported.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct BulkSupport {
        /// Whether.
        "supported" => supported: Option<bool>,
        /// Operations in a request.
        "maxOperations" => operations_max: Option<u64>,
        /// Bytes of a request.
        "maxPayloadSize" => payload_bytes_max: Option<u64>,
    }
}

attributes! {
    /// Whether and how far filters are supported.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct FilterSupport {
        /// Whether.
        "supported" => supported: Option<bool>,
        /// Resources in an answer.
        "maxResults" => results_max: Option<u64>,
    }
}

attributes! {
    /// How lists are paged (RFC 9865 §4).
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct PaginationSupport {
        /// Whether by cursor.
        "cursor" => cursor: Option<bool>,
        /// Whether by index.
        "index" => index: Option<bool>,
        /// How, where a request does not say.
        "defaultPaginationMethod" => default_method: Option<PaginationMethod>,
        /// Resources on a page, where a request does not say.
        "defaultPageSize" => page_size_default: Option<u64>,
        /// Resources on a page.
        "maxPageSize" => page_size_max: Option<u64>,
        /// For how many seconds a cursor is good.
        "cursorTimeout" => cursor_timeout_s: Option<u64>,
    }
}

keywords! {
    /// How lists are paged.
    pub enum PaginationMethod {
        /// With `cursor`.
        Cursor = "cursor",
        /// With `startIndex`.
        Index = "index",
    }
}

attributes! {
    /// A way to authenticate.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct AuthenticationScheme {
        /// Which.
        "type" => kind: Option<AuthenticationKind>,
        /// Its name.
        "name" => name: Option<String>,
        /// What it is.
        "description" => description: Option<String>,
        /// The specification.
        "specUri" => spec_uri: Option<String>,
        /// A page for people.
        "documentationUri" => documentation_uri: Option<String>,
        /// Whether it is the preferred one.
        "primary" => primary: Option<bool>,
    }
}

keywords! {
    /// Ways to authenticate.
    pub enum AuthenticationKind {
        /// OAuth 1.0.
        OAuth = "oauth",
        /// OAuth 2.
        OAuth2 = "oauth2",
        /// A bearer token.
        OAuthBearerToken = "oauthbearertoken",
        /// Basic.
        HttpBasic = "httpbasic",
        /// Digest.
        HttpDigest = "httpdigest",
    }
}

impl Resource for ServiceProviderConfig {
    const SCHEMA: Option<&'static str> = Some(urn::SERVICE_PROVIDER_CONFIG);

    fn id(&self) -> Option<&ResourceId> {
        self.id.as_ref()
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }
}
