//! A private API in memory, and what its description makes of it.
#![allow(clippy::string_slice)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector_health::connector::{Access, Connector, Effect, FailureKind, Found, Operation, Right, Target};
use connector_health::event::{Attribute, Attributes, Changes};
use connector_health::http::{HttpConnector, HttpDescription};
use connector_health::transport::{HttpTransport, ReqwestTransport};
use connector_health::{AccountId, EntitlementId, Failure, PersonId};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response};
use proptest::prelude::*;
use serde_json::{Value, json};
use testbed::http::Answer;
use zeroize::Zeroizing;

const DESCRIPTION: &str = r#"
base_url = "https://crm.example/api"
passed_by = ["locale"]
ignore_case = ["user_name"]

[headers]
authorization = "Bearer {secret:token}"

[account]
id = "/id"
person = "/hr"
disabled = { at = "/state", is = "off" }
attributes = { user_name = "/login", email = "/profile/mail", tags = "/tags" }
entitlements = { at = "/roles", id = "/name" }

[probe]
path = "/me"
when = [{ at = "/ok", is = true }]

[read]
path = "/users/{id}"
absent = [404]

[find_person]
path = "/users"
query = { hr = "{person}" }
at = "/data"

[find_unique.user_name]
path = "/users"
query = { login = "{value}" }
at = "/data"

[list]
path = "/users"
query = { after = "{cursor?}", limit = "2" }
at = "/data"
next = { cursor = "/next" }
total = "/total"

[create]
path = "/users"
success = [201]
body = { hr = "{person}", login = "{user_name}", profile = { mail = "{email?}" }, tags = "{tags?}", note = "made for {user_name}" }
id = "/id"

[update]
method = "PATCH"
path = "/users/{id}"
body = { login = "{user_name?}", profile = { mail = "{email?}" }, tags = "{tags?}" }

[disable]
path = "/users/{id}/off"
[enable]
path = "/users/{id}/on"
[delete]
method = "DELETE"
path = "/users/{id}"
success = [204]
[grant]
method = "PUT"
path = "/users/{id}/roles/{entitlement}"
[revoke]
method = "DELETE"
path = "/users/{id}/roles/{entitlement}"
[link]
method = "PATCH"
path = "/users/{id}"
body = { hr = "{person}" }
"#;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Good,
    /// Acts, and the answer to a write is lost.
    LostAnswer,
    /// As that, once.
    LostOnce,
    /// Says 200 and does nothing.
    NoEffect,
    Status(u16),
    LoginPage,
    /// Answers every question about one with somebody else.
    Stranger,
    Garbage,
}

#[derive(Clone)]
pub(crate) struct Crm {
    users: Arc<Mutex<BTreeMap<String, Value>>>,
    mode: Arc<Mutex<Mode>>,
    seen: Arc<Mutex<Vec<(Method, String, Bytes)>>>,
}

impl Crm {
    pub(crate) fn new() -> Self {
        Self { users: Arc::default(), mode: Arc::new(Mutex::new(Mode::Good)), seen: Arc::default() }
    }

    #[cfg(feature = "conformance")]
    pub(crate) fn lose_next_answer(&self) {
        self.set(Mode::LostOnce);
    }

    #[cfg(feature = "conformance")]
    pub(crate) fn seen_of(&self, person: &str) -> Vec<connector_health::conformance::Seen> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let users = self.users.lock().unwrap();
        let of = users.values().filter(|user| user["hr"] == person);
        of.map(|user| connector_health::conformance::Seen {
            access: if user["state"] == "off" { Access::Disabled } else { Access::Active },
            name: text(&user["login"]),
            attribute: text(&user["profile"]["mail"]),
            rights: user["roles"]
                .as_array()
                .unwrap()
                .iter()
                .map(|role| EntitlementId::new(role["name"].as_str().unwrap()).unwrap())
                .collect(),
        })
        .collect()
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn connector(&self) -> HttpConnector {
        self.described(DESCRIPTION)
    }

    fn described(&self, text: &str) -> HttpConnector {
        let secrets = BTreeMap::from([("token".to_owned(), Zeroizing::new("planted-secret".to_owned()))]);
        HttpConnector::new(HttpDescription::parse(text).unwrap(), self.clone(), secrets)
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let uri = url::Url::parse(&request.uri().to_string()).unwrap();
        assert_eq!((uri.host_str(), uri.scheme()), (Some("crm.example"), "https"));
        assert_eq!(request.headers()["authorization"], "Bearer planted-secret");
        let decode =
            |part: &str| percent_encoding::percent_decode_str(part).decode_utf8().unwrap().into_owned();
        let parts: Vec<String> = uri.path().strip_prefix("/api/").unwrap().split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let query: BTreeMap<_, _> = uri.query_pairs().into_owned().collect();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut users = self.users.lock().unwrap();
        let reply = |status: u16, value: Value| {
            let body = if value.is_null() { Bytes::new() } else { value.to_string().into() };
            Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
        };
        let missing = || reply(404, Value::Null);
        match (request.method().as_str(), parts.as_slice()) {
            ("GET", ["me"]) => reply(200, json!({ "ok": true })),
            ("GET", ["users"]) if query.contains_key("limit") => {
                let after = query.get("after").map_or("", String::as_str);
                let page: Vec<_> = users.iter().filter(|(id, _)| id.as_str() > after).take(2).collect();
                let next = if page.len() == 2 { page.last().map(|(id, _)| (*id).clone()) } else { None };
                let data: Vec<_> = page.into_iter().map(|(_, user)| user).collect();
                reply(200, json!({ "data": data, "next": next, "total": users.len() }))
            }
            ("GET", ["users"]) => {
                let (key, value) = query.iter().next().unwrap();
                let found: Vec<_> =
                    users.values().filter(|user| user[key.as_str()] == value.as_str()).collect();
                reply(200, json!({ "data": found }))
            }
            ("GET", ["users", id]) => users.get(*id).map_or_else(missing, |user| reply(200, user.clone())),
            ("POST", ["users"]) if users.values().any(|user| user["login"] == body["login"]) => {
                reply(409, Value::Null)
            }
            ("POST", ["users"]) => {
                let id = format!("u{}", users.len() + 1);
                let mut user = body;
                user["id"] = id.clone().into();
                user["state"] = "on".into();
                user["roles"] = json!([]);
                users.insert(id.clone(), user);
                reply(201, json!({ "id": id }))
            }
            ("PATCH", ["users", id]) => match users.get_mut(*id) {
                Some(user) => {
                    merge(user, &body);
                    reply(200, Value::Null)
                }
                None => missing(),
            },
            ("DELETE", ["users", id]) => users.remove(*id).map_or_else(missing, |_| reply(204, Value::Null)),
            ("POST", ["users", id, state]) => match users.get_mut(*id) {
                Some(user) => {
                    user["state"] = (*state).into();
                    reply(200, Value::Null)
                }
                None => missing(),
            },
            (method, ["users", id, "roles", role]) => match users.get_mut(*id) {
                Some(user) => {
                    let roles = user["roles"].as_array_mut().unwrap();
                    roles.retain(|had| had["name"] != *role);
                    if method == "PUT" {
                        roles.push(json!({ "name": role }));
                    }
                    reply(200, Value::Null)
                }
                None => missing(),
            },
            other => panic!("no such request: {other:?}"),
        }
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(name)),
            Value::Object(_) if into[name].is_object() => merge(&mut into[name], value),
            _ => into[name] = value.clone(),
        }
    }
}

#[async_trait]
impl HttpTransport for Crm {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let mode = *self.mode.lock().unwrap();
        let is_write = request.method() != Method::GET;
        self.seen.lock().unwrap().push((
            request.method().clone(),
            request.uri().to_string(),
            request.body().clone(),
        ));
        let page = |kind: &str, body: &'static str| {
            Response::builder()
                .header("content-type", kind)
                .body(Bytes::from_static(body.as_bytes()))
                .unwrap()
        };
        match mode {
            Mode::LostAnswer | Mode::LostOnce if is_write => {
                if mode == Mode::LostOnce {
                    self.set(Mode::Good);
                }
                self.answer(&request);
                Err(Failure::unknown("reset"))
            }
            Mode::NoEffect if is_write => Ok(page("application/json", r#"{"id":"u1"}"#)),
            Mode::Status(status) => {
                let builder = Response::builder()
                    .status(status)
                    .header("retry-after", "7")
                    .header("location", "https://evil.example/");
                Ok(builder.body(Bytes::new()).unwrap())
            }
            Mode::LoginPage => Ok(page("text/html; charset=utf-8", "<form>")),
            Mode::Garbage => Ok(page("application/json", "{\"id\":")),
            Mode::Stranger if !is_write => {
                let other = json!({ "id": "u9", "hr": "e9", "login": "eve", "state": "on", "roles": [] });
                let mut answer = other.clone();
                answer["data"] = json!([other]);
                Ok(Response::new(answer.to_string().into()))
            }
            _ => Ok(self.answer(&request)),
        }
    }
}

fn target(id: &str) -> Target {
    Target { person: PersonId::new(id).unwrap(), account: None, unique: [].into() }
}

fn attributes(name: &str) -> Attributes {
    Attributes::from([
        ("user_name".to_owned(), Attribute::Unique(name.to_owned())),
        ("email".to_owned(), "a@example.org".into()),
        ("tags".to_owned(), json!(["x", "y"]).into()),
        ("locale".to_owned(), "de".into()),
    ])
}

fn account(id: &str, name: &str) -> Operation {
    Operation::Account { target: target(id), attributes: attributes(name), rights: BTreeSet::new() }
}

fn leave(id: &str) -> Operation {
    Operation::Deprovision { target: target(id) }
}

fn grant(id: &str, entitlement: &str) -> Operation {
    let entitlement = EntitlementId::new(entitlement).unwrap();
    Operation::Entitlement { target: target(id), entitlement, right: Right::Granted }
}

#[tokio::test]
async fn a_person_comes_changes_leaves_and_comes_back() {
    let crm = Crm::new();
    let connector = crm.connector();
    connector.probe().await.unwrap();
    for (operation, expected) in [
        (account("e1", "ada"), Found::Changed),
        (account("e1", "ada"), Found::AlreadySo),
        (account("e1", "ADA"), Found::AlreadySo),
        (grant("e1", "admin/all"), Found::Changed),
        (grant("e1", "admin/all"), Found::AlreadySo),
        (leave("e1"), Found::Changed),
        (leave("e1"), Found::AlreadySo),
        (leave("nobody"), Found::Absent),
        (account("e1", "king"), Found::Changed),
    ] {
        let confirmed = connector.ensure(&operation).await.unwrap();
        assert_eq!(confirmed.found, expected, "{operation:?}");
        assert!(confirmed.request_hash.is_some());
    }
    let removed = Changes::from([("email".to_owned(), None)]);
    connector.ensure(&Operation::Attributes { target: target("e1"), changes: removed }).await.unwrap();
    let user = crm.users.lock().unwrap()["u1"].clone();
    assert_eq!(user["login"], "king");
    assert_eq!(user["note"], "made for ada");
    assert_eq!(user["profile"], json!({}));
    assert_eq!(
        (&user["roles"], &user["state"], &user["tags"]),
        (&json!([]), &json!("on"), &json!(["x", "y"]))
    );
}

#[tokio::test]
async fn lost_answers_are_resolved_by_reading() {
    let crm = Crm::new();
    let connector = crm.connector();
    crm.set(Mode::LostAnswer);
    for operation in [account("e1", "ada"), grant("e1", "admin"), leave("e1"), account("e1", "ada")] {
        assert_eq!(connector.ensure(&operation).await.unwrap().found, Found::Changed, "{operation:?}");
    }
    assert_eq!(crm.users.lock().unwrap().len(), 1, "no second account");
}

#[tokio::test]
async fn success_without_effect_is_divergent() {
    let crm = Crm::new();
    let connector = crm.connector();
    connector.ensure(&account("e1", "ada")).await.unwrap();
    connector.ensure(&grant("e1", "admin")).await.unwrap();
    crm.set(Mode::NoEffect);
    for operation in [leave("e1"), grant("e1", "other"), account("e1", "king")] {
        let failure = connector.ensure(&operation).await.unwrap_err();
        assert_eq!(
            (failure.kind(), failure.effect()),
            (FailureKind::Divergent, Effect::Unknown),
            "{operation:?}"
        );
    }
    // Status 200 where 201 is described: nobody knows what that means.
    let failure = connector.ensure(&account("e2", "eve")).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Server, Effect::Unknown));
}

#[tokio::test]
async fn leavers_are_deleted_where_that_is_wanted() {
    for leaver in ["delete", "disable_then_delete"] {
        let crm = Crm::new();
        let connector = crm.described(&format!("leaver = \"{leaver}\"\n{DESCRIPTION}"));
        connector.ensure(&account("e1", "ada")).await.unwrap();
        crm.set(Mode::NoEffect);
        assert_eq!(connector.ensure(&leave("e1")).await.unwrap_err().effect(), Effect::Unknown, "{leaver}");
        crm.set(Mode::LostAnswer);
        assert_eq!(connector.ensure(&leave("e1")).await.unwrap().found, Found::Changed, "{leaver}");
        assert!(crm.users.lock().unwrap().is_empty());
        assert_eq!(connector.ensure(&leave("e1")).await.unwrap().found, Found::Absent, "{leaver}");
        let disabled_first = crm.seen.lock().unwrap().iter().any(|(_, uri, _)| uri.ends_with("/off"));
        assert_eq!(disabled_first, leaver == "disable_then_delete");
    }
}

#[tokio::test]
async fn whose_account_it_is_decides() {
    let crm = Crm::new();
    let connector = crm.connector();
    let user = |hr: Value, login: &str| json!({ "hr": hr, "login": login, "state": "on", "roles": [], "profile": {} });
    for (id, hr, login) in [
        ("u1", Value::Null, "unclaimed"),
        ("u2", "e9".into(), "taken"),
        ("u3", "twice".into(), "x"),
        ("u4", "twice".into(), "y"),
    ] {
        let mut user = user(hr, login);
        user["id"] = id.into();
        crm.users.lock().unwrap().insert(id.to_owned(), user);
    }
    let named = |id: &str, name: &str| Target {
        unique: [("user_name".to_owned(), name.to_owned())].into(),
        ..target(id)
    };
    let claim = |id: &str, name: &str| Operation::Account {
        target: named(id, name),
        attributes: attributes(name),
        rights: BTreeSet::new(),
    };
    // Adopted, and marked as theirs.
    let adopted = connector.ensure(&claim("e1", "unclaimed")).await.unwrap();
    assert_eq!(adopted.account.as_ref().map(AccountId::as_str), Some("u1"));
    assert_eq!(crm.users.lock().unwrap()["u1"]["hr"], "e1");
    assert_eq!(connector.ensure(&claim("e2", "taken")).await.unwrap_err().kind(), FailureKind::Conflict);
    assert_eq!(connector.ensure(&account("e2", "taken")).await.unwrap_err().kind(), FailureKind::Conflict);
    assert_eq!(connector.ensure(&account("twice", "z")).await.unwrap_err().kind(), FailureKind::Ambiguous);
    assert_eq!(connector.ensure(&grant("nobody", "admin")).await.unwrap_err().kind(), FailureKind::Missing);
    // A leaver's old name belongs to somebody else; every account of a leaver goes.
    let left = Operation::Deprovision { target: named("e3", "taken") };
    assert_eq!(connector.ensure(&left).await.unwrap().found, Found::Absent);
    assert_eq!(connector.ensure(&leave("twice")).await.unwrap().found, Found::Changed);
    let states: Vec<_> = crm.users.lock().unwrap().values().map(|user| user["state"].clone()).collect();
    assert_eq!(states, ["on", "on", "off", "off"]);
    let stolen = Target { account: Some(AccountId::new("u2").unwrap()), ..target("e3") };
    let failure = connector.ensure(&Operation::Deprovision { target: stolen }).await.unwrap_err();
    assert_eq!(
        failure.kind(),
        FailureKind::Ambiguous,
        "confirmed as this person's once, and now somebody else's"
    );
    let unknown = Changes::from([("shoe_size".to_owned(), Some(42.into()))]);
    let failure = connector
        .ensure(&Operation::Attributes { target: target("e1"), changes: unknown })
        .await
        .unwrap_err();
    assert!(failure.kind() == FailureKind::SchemaMismatch && failure.message().contains("shoe_size"));
}

#[tokio::test]
async fn somebody_elses_account_is_no_match() {
    let crm = Crm::new();
    let connector = crm.connector();
    crm.set(Mode::Stranger);
    let with_account = Target { account: Some(AccountId::new("u1").unwrap()), ..target("e1") };
    for operation in [leave("e1"), account("e1", "ada"), Operation::Deprovision { target: with_account }] {
        assert_eq!(
            connector.ensure(&operation).await.unwrap_err().kind(),
            FailureKind::Divergent,
            "{operation:?}"
        );
    }
    assert!(crm.seen.lock().unwrap().iter().all(|(method, ..)| method == Method::GET), "nobody was disabled");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for (mode, kind) in [
        (Mode::Status(401), FailureKind::Authentication),
        (Mode::Status(302), FailureKind::Authentication),
        (Mode::LoginPage, FailureKind::Authentication),
        (Mode::Status(403), FailureKind::Authorization),
        (Mode::Status(429), FailureKind::RateLimited),
        (Mode::Status(503), FailureKind::RateLimited),
        (Mode::Status(500), FailureKind::Server),
        (Mode::Status(422), FailureKind::SchemaMismatch),
        (Mode::Garbage, FailureKind::Server),
    ] {
        let crm = Crm::new();
        let connector = crm.connector();
        crm.set(mode);
        let failure = connector.ensure(&leave("e1")).await.unwrap_err();
        assert_eq!((failure.kind(), failure.effect()), (kind, Effect::None), "{mode:?}: only read so far");
        assert_eq!(failure.wait(), (kind == FailureKind::RateLimited).then_some(Duration::from_secs(7)));
        assert!(!format!("{failure:?}{connector:?}").contains("planted-secret"));
        assert_eq!(connector.probe().await.unwrap_err().kind(), kind, "{mode:?}");
    }
}

#[tokio::test]
async fn a_refused_credential_is_not_shown_again_until_a_probe_is_good() {
    let crm = Crm::new();
    let connector = crm.connector();
    crm.set(Mode::Status(401));
    for _ in 0..10 {
        assert_eq!(connector.ensure(&leave("e1")).await.unwrap_err().kind(), FailureKind::Authentication);
    }
    assert_eq!(crm.seen.lock().unwrap().len(), 1);
    crm.set(Mode::Good);
    assert_eq!(connector.ensure(&leave("e1")).await.unwrap_err().kind(), FailureKind::Authentication);
    connector.probe().await.unwrap();
    connector.ensure(&leave("e1")).await.unwrap();
}

#[tokio::test]
async fn a_listing_is_whole_or_an_error() {
    let crm = Crm::new();
    let connector = crm.connector();
    for n in 0..5 {
        connector.ensure(&account(&format!("e{n}"), &format!("p{n}"))).await.unwrap();
    }
    let all: Vec<_> = connector.accounts().try_collect().await.unwrap();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|account| account.access == Access::Active));
    // A list that says it is longer than it is.
    let short = crm.described(
        &DESCRIPTION.replace("{ cursor = \"/next\" }", "\"nowhere\"").replace("after = \"{cursor?}\", ", ""),
    );
    let listed: Vec<_> = short.accounts().collect().await;
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[2].as_ref().unwrap_err().kind(), FailureKind::Divergent);
    // One that goes in a circle.
    let circle = crm.described(&DESCRIPTION.replace("{ cursor = \"/next\" }", "{ cursor = \"/total\" }"));
    let last = circle.accounts().collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().kind(), FailureKind::Server);
}

#[tokio::test]
async fn a_listing_tells_who_has_logged_in_and_when() {
    let crm = Crm::new();
    let connector =
        crm.described(&DESCRIPTION.replace("[account]\n", "[account]\nlast_use = \"/seen_at\"\n"));
    for (who, seen_at) in
        [("e0", json!("2025-12-31T23:04:05+01:00")), ("e1", json!("lately")), ("e2", json!(7))]
    {
        connector.ensure(&account(who, who)).await.unwrap();
        let mut users = crm.users.lock().unwrap();
        users.values_mut().find(|user| user["hr"] == who).unwrap()["seen_at"] = seen_at;
    }
    let all: Vec<_> = connector.accounts().try_collect().await.unwrap();
    let used: BTreeMap<_, _> =
        all.iter().map(|account| (account.person.clone().unwrap().to_string(), account.last_use)).collect();
    let at = "2025-12-31T22:04:05Z".parse().ok();
    assert_eq!(used, [("e0".to_owned(), at), ("e1".to_owned(), None), ("e2".to_owned(), None)].into());
}

#[tokio::test]
async fn values_stay_in_their_place() {
    let crm = Crm::new();
    let connector = crm.connector();
    let nasty = [
        "a\",\"state\":\"on",
        "../admin",
        "x?y=1&z",
        "100%",
        "{secret:token}",
        "line\nend",
        "a/b#c",
        "\u{0}",
    ];
    for (number, name) in nasty.into_iter().enumerate() {
        let id = format!("e{number}&hr=e0/../{}", name.replace(['\n', '\0'], ""));
        assert_eq!(connector.ensure(&account(&id, name)).await.unwrap().found, Found::Changed, "{name}");
        assert_eq!(crm.users.lock().unwrap()[&format!("u{}", number + 1)]["login"], name);
    }
    connector.ensure(&account("plain", "plain")).await.unwrap();
    connector.ensure(&grant("plain", "a/../../x?y#z")).await.unwrap();
    let (_, last, _) =
        crm.seen.lock().unwrap().iter().rfind(|(method, ..)| method == Method::PUT).unwrap().clone();
    assert_eq!(last, "https://crm.example/api/users/u9/roles/a%2F..%2F..%2Fx%3Fy%23z");
    // A whole segment that would be another path.
    let writes = crm.seen.lock().unwrap().len();
    assert_eq!(
        connector.ensure(&grant("plain", "..")).await.unwrap_err().kind(),
        FailureKind::SchemaMismatch
    );
    assert!(crm.seen.lock().unwrap()[writes..].iter().all(|(method, ..)| method == Method::GET));
}

proptest! {
    #[test]
    fn no_value_changes_the_shape_of_a_request(name in "\\PC{1,30}", person in "[^\\x00-\\x1f\\x7f-\\x9f]{1,30}") {
        let crm = Crm::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = runtime.block_on(crm.connector().ensure(&account(&person, &name)));
        for (method, uri, body) in crm.seen.lock().unwrap().iter() {
            let uri = url::Url::parse(uri).unwrap();
            prop_assert!(uri.path().starts_with("/api/users") && uri.fragment().is_none());
            prop_assert!(uri.query_pairs().count() <= 1);
            if method == Method::POST {
                let body: Value = serde_json::from_slice(body).unwrap();
                prop_assert_eq!(body.as_object().unwrap().len(), 5);
                prop_assert_eq!(&body["login"], name.as_str());
                prop_assert_eq!(&body["hr"], person.as_str());
            }
        }
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let line_of = |needle: &str| DESCRIPTION[..DESCRIPTION.find(needle).unwrap()].matches('\n').count() + 1;
    for (from, to, what) in [
        ("https://crm", "http://crm", "https"),
        ("https://crm.example/api", "https://u:p@crm.example/api", "nothing else"),
        ("path = \"/me\"", "path = \"me\"", "begin with `/`"),
        ("path = \"/me\"", "path = \"/me/{id}\"", "nothing fills"),
        ("{person}\" }\nat", "{persona}\" }\nat", "nothing fills"),
        ("query = { hr = \"{person}\" }", "query = { hr = \"{secret:token}\" }", "secrets"),
        ("tags = \"{tags?}\", note", "note", "leaves out `tags`"),
        ("hr = \"{person}\", login", "login", "leaves out `person`"),
        ("made for {user_name}", "made for {user_name", "nothing closes"),
        ("Bearer {secret:token}", "Bearer {user_name}", "secret"),
        ("at = \"/state\"", "at = \"state\"", "JSON pointer"),
        (
            "method = \"DELETE\"\npath = \"/users/{id}\"",
            "method = \"TRACE\"\npath = \"/users/{id}\"",
            "must not be",
        ),
        ("[disable]", "[disabel]", "unknown field"),
        ("success = [201]", "success = [302]", "302"),
        ("[find_unique.user_name]", "[find_unique.nick]", "does not have"),
    ] {
        let text = DESCRIPTION.replacen(from, to, 1);
        assert_ne!(text, DESCRIPTION, "{from}");
        let error = HttpDescription::parse(&text).unwrap_err();
        assert!(error.message.contains(what), "{to}: {error}");
        assert!(error.line.abs_diff(line_of(from)) <= 6 && error.column >= 1, "{to}: {error}");
    }
    let error =
        HttpDescription::parse(&DESCRIPTION.replacen("made for {user_name}", "made } for", 1)).unwrap_err();
    assert_eq!(error.line, line_of("made for {user_name}"));
    let without = DESCRIPTION.replacen("[disable]\npath = \"/users/{id}/off\"\n", "", 1);
    assert!(HttpDescription::parse(&without).unwrap_err().message.contains("leaver"));
    assert!(HttpDescription::parse(&"#".repeat(300_000)).is_err());
    assert_eq!(HttpDescription::parse(DESCRIPTION).unwrap().secrets(), BTreeSet::from(["token"]));
}

#[tokio::test]
async fn the_real_transport_follows_nothing_and_collects_no_flood() {
    let stub = testbed::Stub::start(|request| match request.path() {
        "/redirect" => Answer::new(302, "text/plain", "").header("Location", "/elsewhere"),
        "/flood" => Answer::new(200, "text/plain", vec![b' '; (8 << 20) + 1]),
        "/ok" => Answer::new(200, "application/json", "{}"),
        _ => panic!("followed"),
    })
    .unwrap();
    let transport = ReqwestTransport::new(Duration::from_secs(20), None).unwrap();
    let get = |path: &str| Request::get(format!("http://{}{path}", stub.addr())).body(Bytes::new()).unwrap();
    assert_eq!(transport.send(get("/ok")).await.unwrap().status(), 200);
    assert_eq!(transport.send(get("/redirect")).await.unwrap().status(), 302);
    assert_eq!(transport.send(get("/flood")).await.unwrap_err().kind(), FailureKind::Server);
    let nobody = Request::get(format!("http://127.0.0.1:{}/", testbed::free_port().unwrap()))
        .body(Bytes::new())
        .unwrap();
    let failure = transport.send(nobody).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Connectivity, Effect::None));
}
