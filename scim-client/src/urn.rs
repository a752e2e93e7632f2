//! The URNs of SCIM's schemas and messages (RFC 7643 §10.3, RFC 7644 §8.2).

/// `User`
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// `EnterpriseUser`, an extension of `User`
pub const ENTERPRISE_USER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
/// `Group`
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// `ServiceProviderConfig`
pub const SERVICE_PROVIDER_CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
/// `ResourceType`
pub const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
/// `Schema`
pub const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
/// `ListResponse`
pub const LIST_RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
/// `SearchRequest`
pub const SEARCH_REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
/// `PatchOp`
pub const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// `BulkRequest`
pub const BULK_REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// `BulkResponse`
pub const BULK_RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
/// `Error`
pub const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
