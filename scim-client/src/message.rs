//! What is sent and received around resources: lists, PATCH, bulk, errors, searches, and what a server says of itself
//! (RFC 7643 §5–7, RFC 7644).

mod bulk;
mod config;
mod error;
mod expression;
mod list;
mod patch;
mod schema;
mod search;

pub use bulk::{BulkMethod, BulkOperation, BulkRequest, BulkResponse, BulkResult, BulkStatus};
pub use config::{
    AuthenticationKind, AuthenticationScheme, BulkSupport, FilterSupport, PaginationMethod,
    PaginationSupport, ServiceProviderConfig, Supported,
};
pub use error::{DETAIL_CHARS_MAX, ErrorForm, ErrorMessage, ErrorResponse};
pub use list::{ListResponse, Page};
pub use patch::{PatchOp, PatchOperation, PatchVerb};
pub(crate) use patch::{passwords, without_password};
pub use schema::{
    AttributeKind, Mutability, ResourceType, Returned, Schema, SchemaAttribute, SchemaExtension, Uniqueness,
};
pub use search::{SearchRequest, SortOrder};
