//! What a server says of itself.

use scim_client::message::{
    AttributeKind, AuthenticationKind, ListResponse, Mutability, PaginationMethod, ResourceType, Returned,
    Schema, ServiceProviderConfig, Uniqueness,
};
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::Resource;
use serde_json::{Value, json};

fn read<T: for<'a> serde::Deserialize<'a>>(json: &Value) -> T {
    from_slice(json.to_string().as_bytes(), &ReadLimits::default()).unwrap()
}

#[test]
fn reads_the_configuration_of_rfc_7643_with_the_paging_of_rfc_9865() {
    let document = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "documentationUri": "http://example.com/help/scim.html",
        "patch": {"supported": true},
        "bulk": {"supported": true, "maxOperations": 1000, "maxPayloadSize": 1_048_576},
        "filter": {"supported": true, "maxResults": 200},
        "changePassword": {"supported": true},
        "sort": {"supported": true},
        "etag": {"supported": true},
        "pagination": {"cursor": true, "index": true, "defaultPaginationMethod": "cursor", "defaultPageSize": 100,
                       "maxPageSize": 250, "cursorTimeout": 3600},
        "authenticationSchemes": [
            {"name": "OAuth Bearer Token", "description": "Authentication scheme using the OAuth Bearer Token Standard",
             "specUri": "http://www.rfc-editor.org/info/rfc6750", "documentationUri": "http://example.com/help/oauth.html",
             "type": "oauthbearertoken", "primary": true},
            {"name": "HTTP Basic", "description": "Authentication scheme using the HTTP Basic Standard",
             "specUri": "http://www.rfc-editor.org/info/rfc2617", "documentationUri": "http://example.com/help/httpBasic.html",
             "type": "httpbasic"},
        ],
        "meta": {"location": "https://example.com/v2/ServiceProviderConfig", "resourceType": "ServiceProviderConfig",
                 "created": "2010-01-23T04:56:22Z", "lastModified": "2011-05-13T04:42:34Z", "version": "W/\"3694e05e9dff594\""},
    });
    let config: ServiceProviderConfig = read(&document);
    assert_eq!(config.bulk.as_ref().unwrap().operations_max, Some(1000));
    let pagination = config.pagination.as_ref().unwrap();
    assert_eq!(pagination.default_method, Some(PaginationMethod::Cursor));
    assert_eq!((pagination.page_size_max, pagination.cursor_timeout_s), (Some(250), Some(3600)));
    assert_eq!(config.authentication_schemes[0].kind, Some(AuthenticationKind::OAuthBearerToken));
    assert_eq!(serde_json::to_value(&config).unwrap(), document);
}

#[test]
fn reads_a_configuration_of_texts_and_unknown_members() {
    let config: ServiceProviderConfig = read(&json!({
        "Patch": {"Supported": "true"}, "bulk": {"supported": "False", "maxOperations": "0"}, "filter": null,
        "authenticationSchemes": {"type": "SAML"}, "xmlDataFormat": {"supported": false}, "meta": {"x": 1},
    }));
    assert_eq!(config.patch.unwrap().supported, Some(true));
    assert_eq!(config.bulk.unwrap().operations_max, Some(0));
    assert_eq!(config.filter, None);
    assert_eq!(config.authentication_schemes[0].kind, Some(AuthenticationKind::Other("SAML".to_owned())));
    assert_eq!(config.extensions.0["xmlDataFormat"], json!({"supported": false}));
}

#[test]
fn reads_schemas_with_their_characteristics() {
    let schemas: ListResponse<Schema> = read(&json!([{
        "id": "urn:ietf:params:scim:schemas:core:2.0:Group", "name": "Group", "description": "Group",
        "attributes": [
            {"name": "displayName", "type": "string", "multiValued": false, "required": false, "caseExact": false,
             "mutability": "readwrite", "returned": "default", "uniqueness": "none"},
            {"name": "members", "type": "complex", "multiValued": "true", "required": false, "subAttributes": [
                {"name": "value", "type": "string", "mutability": "immutable", "uniqueness": "server", "returned": "always"},
                {"name": "type", "type": "string", "canonicalValues": ["User", "Group"], "mutability": "immutable"},
                {"name": "$ref", "type": "reference", "referenceTypes": ["User", "Group"], "mutability": "frozen"},
             ], "mutability": "readWrite", "returned": "default"},
        ],
        "meta": {"resourceType": "Schema", "location": "/v2/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group"},
    }]));
    let schema = &schemas.resources[0];
    assert_eq!(schema.id().unwrap().as_str(), "urn:ietf:params:scim:schemas:core:2.0:Group");
    let name = schema.attribute("DISPLAYNAME").unwrap();
    assert_eq!(
        (name.kind(), name.mutability(), name.uniqueness()),
        (AttributeKind::String, Mutability::ReadWrite, Uniqueness::None)
    );
    let members = schema.attribute("members").unwrap();
    assert!(members.is_multi_valued() && !members.is_required());
    let value = members.sub_attribute("value").unwrap();
    assert_eq!((value.uniqueness(), value.returned()), (Uniqueness::Server, Returned::Always));
    assert_eq!(members.sub_attribute("type").unwrap().canonical_values, [json!("User"), json!("Group")]);
    let reference = members.sub_attribute("$ref").unwrap();
    assert_eq!(reference.reference_types, ["User", "Group"]);
    assert_eq!(reference.mutability(), Mutability::Other("frozen".to_owned()));
    assert!(!reference.is_case_exact());
    assert_eq!(reference.returned(), Returned::Default);
}

#[test]
fn reads_resource_types() {
    let document = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"], "id": "User", "name": "User",
        "description": "User Account", "endpoint": "/Users", "schema": "urn:ietf:params:scim:schemas:core:2.0:User",
        "schemaExtensions": [{"schema": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", "required": true}],
        "meta": {"resourceType": "ResourceType", "location": "https://example.com/v2/ResourceTypes/User"},
    });
    let kind: ResourceType = read(&document);
    assert_eq!(kind.endpoint.as_deref(), Some("/Users"));
    assert_eq!(kind.schema_extensions[0].required, Some(true));
    assert_eq!(serde_json::to_value(&kind).unwrap(), document);
}
