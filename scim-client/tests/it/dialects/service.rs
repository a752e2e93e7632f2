//! The service on the other side: it can do everything that RFC 7644 has, and what a dialect says it does otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;
use scim_client::dialect::{DeleteEffect, Dialect, DisableEffect, Paging, Support};
use scim_client::filter::Filter;
use scim_client::message::PatchOp;
use scim_client::patch::{apply, normalise};
use scim_client::resource::{Attributes, User};
use scim_client::transport::Scripted;
use serde_json::{Value, json};

/// How many users there are.
const USERS: usize = 120;

/// A service of that dialect.
#[derive(Clone)]
pub(super) struct Service {
    dialect: Dialect,
    resources: Arc<Mutex<BTreeMap<String, Attributes>>>,
}

impl Service {
    pub(super) fn of(dialect: &Dialect) -> Self {
        let service = Self { dialect: dialect.clone(), resources: Arc::default() };
        service.reset();
        service
    }

    /// All is as it was.
    pub(super) fn reset(&self) {
        let mut resources = self.resources.lock().unwrap();
        resources.clear();
        let users = (1..=USERS).map(|n| (format!("Users/{n:03}"), user(&format!("{n:03}"))));
        let groups = ["g1", "BROL_GUIDES"].map(|id| (format!("Groups/{id}"), group(id, 4)));
        resources.extend(users.chain(groups).map(|(at, resource)| (at, attributes(resource))));
        resources.insert("Me".to_owned(), attributes(user("me")));
    }

    pub(super) fn answer(&self, request: &http::Request<Bytes>) -> Scripted {
        let path = request.uri().path().strip_prefix("/scim/").unwrap_or_default();
        let answer = match (request.method(), path) {
            (&Method::GET, "ServiceProviderConfig" | "ServiceProviderConfigs") => {
                Scripted::json(200, &config())
            }
            (&Method::GET, "Users" | "Groups") => {
                let query: BTreeMap<String, String> = request
                    .uri()
                    .query()
                    .unwrap_or_default()
                    .split('&')
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, value)| (name.to_owned(), decoded(value)))
                    .collect();
                self.list(path, &query)
            }
            (&Method::POST, "Users/.search") => {
                let body: BTreeMap<String, Value> = serde_json::from_slice(request.body()).unwrap();
                let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.list("Users", &body.into_iter().map(|(name, value)| (name, text(value))).collect())
            }
            (&Method::POST, "Bulk") => bulk(request.body()),
            (method, at) => self.one(method, at, request.body()),
        };
        match request.headers().get("x-csrf-token") {
            Some(token) if token == "Fetch" => {
                answer.header("x-csrf-token", "t0ken").header("set-cookie", "session=1; Path=/")
            }
            _ => answer,
        }
    }

    fn list(&self, kind: &str, query: &BTreeMap<String, String>) -> Scripted {
        let filter: Option<Filter> = query.get("filter").map(|filter| filter.parse().unwrap());
        if filter.is_none() && self.dialect.unfiltered_lists == Support::No {
            return Scripted::error(400, Some("tooMany"), "a filter is required");
        }
        if filter.as_ref().is_some_and(|filter| filter.in_form(self.dialect.filters).as_ref() != Some(filter))
        {
            return Scripted::error(400, Some("invalidFilter"), "this filter is beyond us");
        }
        let resources = self.resources.lock().unwrap();
        let matching: Vec<&Attributes> = resources
            .iter()
            .filter(|(at, _)| at.split_once('/').is_some_and(|(of, _)| of == kind))
            .map(|(_, resource)| resource)
            .filter(|resource| filter.as_ref().is_none_or(|filter| filter.matches(resource)))
            .collect();
        if matching.is_empty() && filter.is_some() && self.dialect.not_found_is_empty {
            return Scripted::error(404, None, "nobody is like that");
        }
        let number = |name: &str, otherwise: usize| {
            query.get(name).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
        };
        let most = self.dialect.page_size_max.unwrap_or(1_000);
        let count = number("count", most).min(most);
        let by_cursor = query.get("cursor");
        let start = match by_cursor {
            _ if self.dialect.paging == Paging::None => 1,
            Some(cursor) => cursor.parse().unwrap_or(1),
            None => number("startIndex", 1),
        };
        let page: Vec<&Attributes> = matching.iter().skip(start - 1).take(count).copied().collect();
        let mut list = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            // Who has no pages does not say that there would be more.
            "totalResults": if self.dialect.paging == Paging::None { page.len() } else { matching.len() },
            "itemsPerPage": page.len(),
            "Resources": page,
        });
        if by_cursor.is_some() {
            if start - 1 + page.len() < matching.len() {
                list["nextCursor"] = json!((start + page.len()).to_string());
            }
        } else {
            list["startIndex"] = json!(start);
        }
        Scripted::json(200, &list)
    }

    fn one(&self, method: &Method, at: &str, body: &[u8]) -> Scripted {
        let mut resources = self.resources.lock().unwrap();
        let Some(resource) = resources.get_mut(at) else {
            return Scripted::error(404, None, "there is no such thing");
        };
        match *method {
            Method::GET => return Scripted::json(200, &Value::Object(resource.clone())),
            Method::PATCH => {
                let patch: PatchOp = serde_json::from_slice(body).unwrap();
                apply(resource, &normalise(&patch).unwrap()).unwrap();
                let disabled = resource.get("active") == Some(&Value::Bool(false));
                if disabled && self.dialect.deprovision.disable == DisableEffect::Deletes {
                    resources.remove(at);
                }
            }
            Method::PUT => *resource = serde_json::from_slice(body).unwrap(),
            Method::DELETE if self.dialect.deprovision.delete == DeleteEffect::Disables => {
                resource.insert("active".to_owned(), json!(false));
            }
            Method::DELETE => {
                resources.remove(at);
            }
            _ => return Scripted::status(405),
        }
        Scripted::status(204)
    }
}

fn bulk(body: &[u8]) -> Scripted {
    let request: Value = serde_json::from_slice(body).unwrap();
    let answers: Vec<Value> = request["Operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| {
            json!({
                "method": operation["method"],
                "bulkId": operation["bulkId"],
                "location": format!("https://app.example/scim{}", operation["path"].as_str().unwrap()),
                "status": "204",
            })
        })
        .collect();
    let urn = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
    Scripted::json(200, &json!({ "schemas": [urn], "Operations": answers }))
}

pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn config() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": { "supported": true, "maxOperations": 1000, "maxPayloadSize": 1_048_576 },
        "filter": { "supported": true, "maxResults": 1000 },
        "changePassword": { "supported": true },
        "sort": { "supported": true },
        "etag": { "supported": true },
        "pagination": { "cursor": true, "index": true },
        "authenticationSchemes": [],
    })
}

pub(super) fn user(id: &str) -> Value {
    json!({
        "schemas": [User::SCHEMA, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "id": id,
        "externalId": format!("hr-{id}"),
        "userName": format!("user-{id}"),
        "displayName": "Babs Jensen",
        "title": "Guide",
        "active": true,
        "emails": [
            { "value": "babs@example.com", "type": "work", "primary": true },
            { "value": "babs@example.org", "type": "home" },
        ],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "Tours" },
        "meta": { "resourceType": "User", "version": "W/\"1\"" },
    })
}

pub(super) fn group(id: &str, members: usize) -> Value {
    let members: Vec<Value> =
        (1..=members).map(|n| json!({ "value": format!("u{n}"), "type": "User" })).collect();
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "id": id,
        "displayName": "Guides",
        "members": members,
        "meta": { "resourceType": "Group", "version": "W/\"1\"" },
    })
}

pub(super) fn attributes(value: Value) -> Attributes {
    value.as_object().unwrap().clone()
}
