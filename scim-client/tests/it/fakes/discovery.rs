//! `ServiceProviderConfig`, `ResourceTypes` and `Schemas` (RFC 7644 §4).

use super::*;

impl Fake {
    pub(super) fn discover(&self, segments: &[&str]) -> Option<Scripted> {
        if !self.manners.discovery {
            return None;
        }
        let all = match *segments.first()? {
            "ResourceTypes" => resource_types(),
            "Schemas" => schemas(),
            config if config == self.manners.config_endpoint => {
                return Some(Scripted::json(200, &self.config()));
            }
            _ => return None,
        };
        match segments.get(1) {
            None => Some(Scripted::json(
                200,
                &json!({
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
                    "totalResults": all.len(),
                    "startIndex": 1,
                    "itemsPerPage": all.len(),
                    "Resources": all,
                }),
            )),
            Some(id) => all.into_iter().find(|one| one["id"] == **id).map(|one| Scripted::json(200, &one)),
        }
    }

    fn config(&self) -> Value {
        let manners = &*self.manners;
        let mut config = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": { "supported": true },
            "bulk": { "supported": manners.bulk, "maxOperations": 100, "maxPayloadSize": 1_048_576 },
            "filter": { "supported": manners.filters != Filters::Ignored, "maxResults": manners.page_max.min(1_000_000) },
            "changePassword": { "supported": false },
            "sort": { "supported": manners.sort },
            "etag": { "supported": manners.versions },
            "authenticationSchemes": [{
                "type": "oauthbearertoken", "name": "OAuth Bearer Token", "description": "a token in the header",
            }],
        });
        if manners.pages == Pages::IndexAndCursor {
            config["pagination"] = json!({
                "cursor": true, "index": true, "defaultPaginationMethod": "index", "maxPageSize": manners.page_max,
            });
        }
        config
    }
}

fn resource_types() -> Vec<Value> {
    let schemas = ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"];
    Kind::ALL
        .iter()
        .map(|kind| {
            let extensions = if *kind == Kind::User {
                json!([{ "schema": ENTERPRISE, "required": false }])
            } else {
                json!([])
            };
            json!({
                "schemas": schemas,
                "id": kind.name(),
                "name": kind.name(),
                "endpoint": format!("/{}", kind.endpoint()),
                "schema": kind.schema(),
                "schemaExtensions": extensions,
            })
        })
        .collect()
}

fn schemas() -> Vec<Value> {
    let text = |name: &str, required: bool, unique: &str| {
        json!({
            "name": name, "type": "string", "multiValued": false, "required": required, "caseExact": false,
            "mutability": "readWrite", "returned": "default", "uniqueness": unique,
        })
    };
    let parts = |names: &[&str]| names.iter().map(|name| text(name, false, "none")).collect::<Vec<_>>();
    let complex = |name: &str, many: bool, names: &[&str]| {
        json!({
            "name": name, "type": "complex", "multiValued": many, "required": false, "mutability": "readWrite",
            "returned": "default", "subAttributes": parts(names),
        })
    };
    let mut user: Vec<Value> =
        ["displayName", "nickName", "title", "userType", "preferredLanguage", "locale", "timezone"]
            .iter()
            .map(|name| text(name, false, "none"))
            .collect();
    user.push(text("userName", true, "server"));
    user.push(json!({
        "name": "active", "type": "boolean", "multiValued": false, "required": false, "mutability": "readWrite",
        "returned": "default",
    }));
    user.push(complex("name", false, &["formatted", "familyName", "givenName"]));
    user.push(complex("emails", true, &["value", "type", "display"]));
    user.push(complex("phoneNumbers", true, &["value", "type"]));
    let group =
        vec![text("displayName", true, "server"), complex("members", true, &["value", "$ref", "type"])];
    let enterprise = vec![text("department", false, "none"), text("employeeNumber", false, "none")];
    [(USER, "User", user), (GROUP, "Group", group), (ENTERPRISE, "EnterpriseUser", enterprise)]
        .into_iter()
        .map(|(id, name, attributes)| {
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
                "id": id, "name": name, "description": name, "attributes": attributes,
            })
        })
        .collect()
}
