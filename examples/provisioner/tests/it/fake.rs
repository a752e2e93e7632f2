//! A small SCIM service that is a closure: two users whose changes it takes in any form, kept in memory.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testbed::Stub;
use testbed::http::{Answer, Request};

use crate::run::TOKEN;

/// What kind of service it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// `eq` is understood, everything else refused.
    Simple,
    /// Filters are ignored, `startIndex` and `count` too.
    Careless,
    /// Says yes to changes and does nothing.
    Idle,
    /// As simple, with the bare minimum of what a vendor demands: no discovery, no unfiltered lists, 404 for nobody.
    Sparse,
}

pub struct Fake {
    stub: Stub,
    requests: Arc<Mutex<Vec<Request>>>,
}

const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

impl Fake {
    pub fn start(manner: Manner) -> Self {
        let users = Mutex::new(vec![user("1", "ann@example.com"), user("a/b%", "bob\u{1b}[2J@example.com")]);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let stub = Stub::start(move |request| {
            seen.lock().unwrap().push(request.clone());
            let authorized = request
                .headers
                .iter()
                .any(|(name, value)| name.eq_ignore_ascii_case("authorization") && value.ends_with(TOKEN));
            if !authorized {
                return refused(401, None, "who are you");
            }
            answer(manner, &mut users.lock().unwrap(), request)
        });
        Self { stub: stub.unwrap(), requests }
    }

    pub fn base(&self) -> String {
        format!("http://{}/scim/v2", self.stub.addr())
    }

    /// `PATCH /Users/1`, in their order.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|request| format!("{} {}", request.method, request.target)).collect()
    }

    /// The bodies of the changes that came.
    pub fn patches(&self) -> Vec<Value> {
        let requests = self.requests.lock().unwrap();
        let patches = requests.iter().filter(|request| request.method == "PATCH");
        patches.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    /// The values of a header of the changes that came.
    pub fn patch_headers(&self, name: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let patches = requests.iter().filter(|request| request.method == "PATCH");
        patches
            .flat_map(|request| request.headers.iter())
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
            .collect()
    }
}

fn user(id: &str, name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": id, "userName": name, "active": true,
        "name": {"familyName": "Example"}, "emails": [{"value": name, "type": "work"}],
        "meta": {"resourceType": "User", "version": "W/\"1\""},
    })
}

fn scim(status: u16, body: Value) -> Answer {
    Answer::new(status, "application/scim+json", body.to_string())
}

fn refused(status: u16, scim_type: Option<&str>, detail: &str) -> Answer {
    let mut body = json!({"schemas": [ERROR], "status": status.to_string(), "detail": detail});
    if let Some(scim_type) = scim_type {
        body["scimType"] = scim_type.into();
    }
    scim(status, body)
}

fn answer(manner: Manner, users: &mut [Value], request: &Request) -> Answer {
    let path = request.path().strip_prefix("/scim/v2/").unwrap_or("");
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    match (request.method.as_str(), path) {
        ("GET", "ServiceProviderConfig") if manner != Manner::Sparse => scim(
            200,
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
                "patch": {"supported": true}, "filter": {"supported": true, "maxResults": 50},
                "bulk": {"supported": false}, "sort": {"supported": false}, "etag": {"supported": true},
                "changePassword": {"supported": false},
                "authenticationSchemes": [{"type": "oauthbearertoken", "name": "token"}],
            }),
        ),
        ("GET", "Users") => list(manner, users, query),
        ("GET", _) if path.starts_with("Users/") => match find(users, path) {
            Some(user) => scim(200, user.clone()).header("etag", user["meta"]["version"].as_str().unwrap()),
            None => refused(404, None, "nobody of that id"),
        },
        ("PATCH", _) if path.starts_with("Users/") => {
            let Some(user) = find(users, path) else { return refused(404, None, "nobody of that id") };
            let wanted = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("if-match"));
            if wanted.is_some_and(|(_, tag)| *tag != user["meta"]["version"]) {
                return refused(412, None, "it was changed");
            }
            if manner != Manner::Idle {
                change(user, &serde_json::from_slice(&request.body).unwrap());
            }
            Answer { status: 204, headers: Vec::new(), body: Vec::new() }
        }
        _ => refused(404, None, "nothing is here"),
    }
}

fn find<'a>(users: &'a mut [Value], path: &str) -> Option<&'a mut Value> {
    let id = decoded(path.strip_prefix("Users/")?);
    users.iter_mut().find(|user| user["id"] == id.as_str())
}

fn list(manner: Manner, users: &[Value], query: &str) -> Answer {
    let parameter = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(known, _)| *known == name))
            .map(|(_, value)| decoded(value))
    };
    let mut found: Vec<Value> = users.to_vec();
    match parameter("filter") {
        None if manner == Manner::Sparse => return refused(400, Some("tooMany"), "a filter is needed"),
        None => {}
        Some(_) if manner == Manner::Careless => {}
        Some(filter) => {
            let Some((name, value)) = filter.split_once(" eq ").filter(|(name, value)| {
                *name == "userName" && !value.contains(" or ") && !value.contains(" and ")
            }) else {
                return refused(400, Some("invalidFilter"), "only `userName eq`");
            };
            let value: Value = serde_json::from_str(value).unwrap_or_default();
            found.retain(|user| user[name] == value);
            if found.is_empty() && manner == Manner::Sparse {
                return refused(404, None, "nobody");
            }
        }
    }
    let total = found.len();
    if manner != Manner::Careless {
        let number = |name: &str| parameter(name).and_then(|value| value.parse::<usize>().ok());
        let start = number("startIndex").unwrap_or(1).max(1);
        found = found.into_iter().skip(start - 1).take(number("count").unwrap_or(50)).collect();
    }
    scim(
        200,
        json!({"schemas": [LIST], "totalResults": total, "itemsPerPage": found.len(), "startIndex": 1, "Resources": found}),
    )
}

/// Top-level attributes only: what the tests set.
fn change(user: &mut Value, patch: &Value) {
    for operation in patch["Operations"].as_array().unwrap() {
        match (operation["path"].as_str(), operation["op"].as_str().unwrap().to_lowercase().as_str()) {
            (Some(path), "remove") => {
                user.as_object_mut().unwrap().remove(path);
            }
            (Some(path), _) => user[path] = boolean(&operation["value"]),
            (None, _) => {
                for (name, value) in operation["value"].as_object().unwrap() {
                    user[name] = boolean(value);
                }
            }
        }
    }
    user["meta"]["version"] = "W/\"2\"".into();
}

fn boolean(value: &Value) -> Value {
    match value.as_str() {
        Some("True") => true.into(),
        Some("False") => false.into(),
        _ => value.clone(),
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
