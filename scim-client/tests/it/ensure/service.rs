//! A SCIM service in memory that misbehaves as it is told, and a clock that is moved by sleeping.
//!
//! It shares no code with the client but the transport trait: what it keeps is plain JSON.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use scim_client::clock::Clock;
use scim_client::transport::{Body, Connectivity, Stage, Transport, TransportError};
use serde_json::{Value, json};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The connection is refused.
    NotSent,
    /// The connection ends before the service acts.
    LostBefore,
    /// The service acts, and the connection ends before the answer's head.
    LostAfter,
    /// The service acts, and the connection ends within the answer's body.
    CutBody,
    /// The connection ends, and the service acts only when so many more requests have come.
    Late(usize),
    /// The service fails without acting.
    ErrorBefore,
    /// The service acts, and says that it failed.
    ErrorAfter,
    /// A gateway gives up, and the service acts.
    GatewayAfter,
    /// Too many requests.
    TooMany,
    /// Out of service for a moment.
    Unavailable,
    /// Something unseen is in the way.
    Conflict,
}

/// How the service differs from a strict one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quirks {
    pub(crate) ignores_filters: bool,
    pub(crate) filters_find_nothing: bool,
    pub(crate) refuses_external_id_filter: bool,
    pub(crate) patch_answers_nothing: bool,
    pub(crate) keeps_deleted_as_inactive: bool,
    pub(crate) booleans_as_text: bool,
    pub(crate) drops_nickname: bool,
    pub(crate) hides_members: bool,
    pub(crate) drops_other_members: bool,
    pub(crate) refuses_members_twice: bool,
}

/// What a request came to, as the service knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Truth {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) status: Option<u16>,
    pub(crate) fault: Fault,
    pub(crate) arrived: bool,
    pub(crate) applied: bool,
}

#[derive(Default)]
struct State {
    users: BTreeMap<String, Value>,
    groups: BTreeMap<String, Value>,
    next: usize,
    script: VecDeque<Fault>,
    late: Vec<(usize, http::Method, String, Value)>,
    truths: Vec<Truth>,
    quirks: Quirks,
}

#[derive(Clone, Default)]
pub(crate) struct Service(Arc<Mutex<State>>);

impl Service {
    pub(crate) fn new(quirks: Quirks) -> Self {
        let service = Self::default();
        service.0.lock().unwrap().quirks = quirks;
        service
    }

    /// Puts an account there behind the client's back; returns its identifier.
    pub(crate) fn plant(&self, user: Value) -> String {
        let mut state = self.0.lock().unwrap();
        state.next += 1;
        let id = format!("u{}", state.next);
        let mut user = user;
        user["id"] = json!(id);
        state.users.insert(id.clone(), user);
        id
    }

    pub(crate) fn plant_group(&self, members: &[&str]) -> String {
        let mut state = self.0.lock().unwrap();
        state.next += 1;
        let id = format!("g{}", state.next);
        let members: Vec<_> = members.iter().map(|member| json!({ "value": member })).collect();
        state.groups.insert(id.clone(), json!({ "id": id, "displayName": "G", "members": members }));
        id
    }

    pub(crate) fn users(&self) -> Vec<Value> {
        self.0.lock().unwrap().users.values().cloned().collect()
    }

    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let mut members: Vec<_> = state.groups[group]["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| member["value"].as_str().unwrap().to_owned())
            .collect();
        members.sort();
        members
    }

    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().unwrap().script = faults.into_iter().collect();
    }

    /// What came since the last call.
    pub(crate) fn truths(&self) -> Vec<Truth> {
        std::mem::take(&mut self.0.lock().unwrap().truths)
    }
}

impl State {
    fn shown(&self, user: &Value) -> Value {
        let mut user = user.clone();
        if self.quirks.booleans_as_text
            && let Some(active) = user.get("active").and_then(Value::as_bool)
        {
            user["active"] = json!(if active { "True" } else { "False" });
        }
        user.as_object_mut().unwrap().remove("password");
        user
    }

    fn apply(
        &mut self,
        method: &http::Method,
        path: &str,
        query: &BTreeMap<String, String>,
        body: &Value,
    ) -> (u16, Value) {
        let parts: Vec<&str> = path.split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["ServiceProviderConfig"]) => (
                200,
                json!({
                    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
                    "patch": {"supported": true}, "bulk": {"supported": false}, "filter": {"supported": true, "maxResults": 200},
                    "changePassword": {"supported": false}, "sort": {"supported": false}, "etag": {"supported": false},
                    "authenticationSchemes": []
                }),
            ),
            ("GET", ["Users"]) => self.list(query),
            ("GET", ["Groups"]) => self.list_groups(query),
            ("POST", ["Users"]) => self.create(body),
            ("GET", ["Users", id]) => match self.users.get(*id) {
                Some(user) => (200, self.shown(user)),
                None => not_found(),
            },
            ("PATCH", ["Users", id]) => self.patch_user(id, body),
            ("DELETE", ["Users", id]) => {
                if self.quirks.keeps_deleted_as_inactive {
                    return match self.users.get_mut(*id) {
                        Some(user) => {
                            user["active"] = json!(false);
                            (204, Value::Null)
                        }
                        None => not_found(),
                    };
                }
                match self.users.remove(*id) {
                    Some(_) => (204, Value::Null),
                    None => not_found(),
                }
            }
            ("GET", ["Groups", id]) => match self.groups.get(*id) {
                Some(group) => {
                    let mut group = group.clone();
                    if self.quirks.hides_members {
                        group.as_object_mut().unwrap().remove("members");
                    }
                    (200, group)
                }
                None => not_found(),
            },
            ("PATCH", ["Groups", id]) => self.patch_group(id, body),
            _ => (404, error(404, None, "no such endpoint")),
        }
    }

    fn create(&mut self, body: &Value) -> (u16, Value) {
        let Some(name) = body["userName"].as_str() else {
            return (400, error(400, Some("invalidValue"), "userName is required"));
        };
        let taken =
            |user: &Value| user["userName"].as_str().is_some_and(|other| other.eq_ignore_ascii_case(name));
        if self.users.values().any(taken) {
            return (409, error(409, Some("uniqueness"), "userName is taken"));
        }
        self.next += 1;
        let id = format!("u{}", self.next);
        let mut user = body.clone();
        user["id"] = json!(id);
        if user.get("active").is_none() {
            user["active"] = json!(true);
        }
        if self.quirks.drops_nickname {
            user.as_object_mut().unwrap().remove("nickName");
        }
        let shown = self.shown(&user);
        self.users.insert(id, user);
        (201, shown)
    }

    fn patch_user(&mut self, id: &str, body: &Value) -> (u16, Value) {
        let Some(user) = self.users.get_mut(id) else { return not_found() };
        for operation in body["Operations"].as_array().into_iter().flatten() {
            let value = operation["value"].clone();
            match operation["path"].as_str() {
                Some(path) => {
                    assert!(!path.contains('['), "no value paths are expected for users: {path}");
                    if operation["op"] == "remove" {
                        user.as_object_mut().unwrap().remove(path);
                        continue;
                    }
                    match path.split_once('.') {
                        Some((outer, inner)) => user[outer][inner] = value,
                        None => user[path] = value,
                    }
                }
                None => {
                    for (name, value) in value.as_object().unwrap() {
                        user[name] = value.clone();
                    }
                }
            }
        }
        if self.quirks.drops_nickname {
            user.as_object_mut().unwrap().remove("nickName");
        }
        let user = user.clone();
        if self.quirks.patch_answers_nothing { (204, Value::Null) } else { (200, self.shown(&user)) }
    }

    fn patch_group(&mut self, id: &str, body: &Value) -> (u16, Value) {
        let quirks = self.quirks;
        let Some(group) = self.groups.get_mut(id) else { return not_found() };
        let mut members = group["members"].as_array().cloned().unwrap_or_default();
        for operation in body["Operations"].as_array().into_iter().flatten() {
            let path = operation["path"].as_str().unwrap();
            match operation["op"].as_str().unwrap() {
                "add" => {
                    assert_eq!(path, "members");
                    if quirks.drops_other_members {
                        members.clear();
                    }
                    for member in operation["value"].as_array().unwrap() {
                        let there = members.iter().any(|known| known["value"] == member["value"]);
                        if there && quirks.refuses_members_twice {
                            return (500, error(500, None, "already a member"));
                        }
                        if !there {
                            members.push(member.clone());
                        }
                    }
                }
                "remove" => {
                    let id =
                        path.strip_prefix("members[value eq \"").and_then(|rest| rest.strip_suffix("\"]"));
                    members.retain(|member| member["value"].as_str() != id);
                }
                other => panic!("{other} is not expected for members"),
            }
        }
        group["members"] = json!(members);
        (204, Value::Null)
    }

    fn list(&self, query: &BTreeMap<String, String>) -> (u16, Value) {
        let mut found: Vec<&Value> = self.users.values().collect();
        if let Some(filter) = query.get("filter")
            && !self.quirks.ignores_filters
        {
            let (name, rest) = filter.split_once(" eq ").expect("only eq is expected");
            let wanted: String = serde_json::from_str(rest).unwrap();
            if name == "externalId" && self.quirks.refuses_external_id_filter {
                return (400, error(400, Some("invalidFilter"), "externalId cannot be searched"));
            }
            found.retain(|user| match name {
                "externalId" => user["externalId"] == json!(wanted),
                "userName" => {
                    user["userName"].as_str().is_some_and(|other| other.eq_ignore_ascii_case(&wanted))
                }
                "emails.value" => user["emails"].as_array().is_some_and(|emails| {
                    emails.iter().any(|email| {
                        email["value"].as_str().is_some_and(|other| other.eq_ignore_ascii_case(&wanted))
                    })
                }),
                other => panic!("{other} is not expected in a filter"),
            });
            if self.quirks.filters_find_nothing {
                found.clear();
            }
        }
        let total = found.len();
        let start: usize = query.get("startIndex").map_or(1, |start| start.parse().unwrap());
        let count: usize = query.get("count").map_or(100, |count| count.parse().unwrap());
        let page: Vec<_> =
            found.into_iter().skip(start - 1).take(count).map(|user| self.shown(user)).collect();
        (200, listed(total, start, page))
    }

    fn list_groups(&self, query: &BTreeMap<String, String>) -> (u16, Value) {
        let filter = query.get("filter").map(String::as_str).unwrap_or_default();
        let found: Vec<Value> = self
            .groups
            .iter()
            .filter(|(id, group)| {
                filter.is_empty()
                    || (filter.contains(&format!("id eq \"{id}\""))
                        && group["members"].as_array().unwrap().iter().any(|member| {
                            filter.contains(&format!(
                                "members.value eq \"{}\"",
                                member["value"].as_str().unwrap()
                            ))
                        }))
            })
            .map(|(id, _)| json!({ "id": id, "displayName": "G" }))
            .collect();
        (200, listed(found.len(), 1, found))
    }

    fn late(&mut self) {
        let mut due = Vec::new();
        for (left, ..) in &mut self.late {
            *left = left.saturating_sub(1);
        }
        self.late.retain(|(left, method, path, body)| {
            if *left == 0 {
                due.push((method.clone(), path.clone(), body.clone()));
            }
            *left > 0
        });
        for (method, path, body) in due {
            self.apply(&method, &path, &BTreeMap::new(), &body);
        }
    }
}

fn listed(total: usize, start: usize, page: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total, "startIndex": start, "itemsPerPage": page.len(), "Resources": page,
    })
}

fn not_found() -> (u16, Value) {
    (404, error(404, None, "no such resource"))
}

fn error(status: u16, kind: Option<&str>, detail: &str) -> Value {
    let mut error = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": status.to_string(), "detail": detail,
    });
    if let Some(kind) = kind {
        error["scimType"] = json!(kind);
    }
    error
}

#[async_trait]
impl Transport for Service {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        _timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        let mut state = self.0.lock().unwrap();
        state.late();
        let method = request.method().clone();
        let path = request.uri().path().strip_prefix("/scim/v2/").unwrap().to_owned();
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
        let body: Value = if request.body().is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(request.body()).unwrap()
        };
        // Whatever needs no answer is a fault of reading only.
        let fault = state.script.pop_front().unwrap_or(Fault::None);
        let arrived = fault != Fault::NotSent;
        let applies = matches!(
            fault,
            Fault::None | Fault::LostAfter | Fault::CutBody | Fault::ErrorAfter | Fault::GatewayAfter
        );
        let answer = applies.then(|| state.apply(&method, &path, &query, &body));
        if let Fault::Late(after) = fault
            && method != http::Method::GET
        {
            state.late.push((after, method.clone(), path.clone(), body));
        }
        let result = match fault {
            Fault::None => Ok(answer.clone().unwrap()),
            Fault::CutBody => Ok((answer.as_ref().unwrap().0, Value::Null)),
            Fault::NotSent => Err(lost(Stage::NotSent, Connectivity::Connect)),
            Fault::LostBefore | Fault::LostAfter | Fault::Late(_) => {
                Err(lost(Stage::MaybeSent, Connectivity::Reset))
            }
            Fault::ErrorBefore | Fault::ErrorAfter => Ok((500, error(500, None, "it went wrong"))),
            Fault::GatewayAfter => Ok((502, Value::String("<html>bad gateway</html>".to_owned()))),
            Fault::TooMany => Ok((429, error(429, None, "slow down"))),
            Fault::Unavailable => Ok((503, error(503, None, "later"))),
            Fault::Conflict => Ok((409, error(409, Some("uniqueness"), "taken"))),
        };
        let applied = answer.is_some_and(|(status, _)| (200..300).contains(&status));
        state.truths.push(Truth {
            method,
            path,
            status: result.as_ref().ok().map(|(status, _)| *status),
            fault,
            arrived,
            applied,
        });
        drop(state);
        let (status, json) = result?;
        let mut response = http::Response::builder().status(status);
        if matches!(fault, Fault::TooMany | Fault::Unavailable) {
            response = response.header("retry-after", "1");
        }
        response = response.header(
            "content-type",
            if fault == Fault::GatewayAfter { "text/html" } else { "application/scim+json" },
        );
        let pieces: Vec<Result<Bytes, TransportError>> = match (fault, json) {
            (Fault::CutBody, _) => {
                vec![
                    Ok(Bytes::from_static(b"{\"schemas\":[")),
                    Err(lost(Stage::MaybeSent, Connectivity::Reset)),
                ]
            }
            (_, Value::Null) => Vec::new(),
            (_, Value::String(text)) => vec![Ok(Bytes::from(text))],
            (_, json) => vec![Ok(Bytes::from(json.to_string()))],
        };
        Ok(response.body(Box::pin(futures::stream::iter(pieces)) as Body).unwrap())
    }
}

fn lost(stage: Stage, kind: Connectivity) -> TransportError {
    TransportError { stage, kind, message: "lost".to_owned() }
}

/// A clock that only sleeping moves.
#[derive(Clone)]
pub(crate) struct Virtual(Arc<Mutex<DateTime<Utc>>>);

impl Virtual {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Utc.with_ymd_and_hms(2026, 1, 31, 9, 15, 0).unwrap())))
    }
}

#[async_trait]
impl Clock for Virtual {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += TimeDelta::from_std(duration).unwrap();
        tokio::task::yield_now().await;
    }
}
