//! What goes over the wire in each dialect: the same errands, run against a service that can do everything.
//!
//! `tests/golden/dialects/` holds what is sent in each; `BLESS=1` writes it anew.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;
use scim_client::client::EntityTag;
use scim_client::dialect::{Dialect, Preset};
use scim_client::patch::between;
use scim_client::resource::{Attributes, ResourceId, User};
use scim_client::transport::{MemoryTransport, Scripted};
use scim_client::{Client, Error};
use serde_json::{Value, json};

use super::golden;
use super::switches::with_field_of;

/// A service that can do everything that RFC 7644 has and wants a CSRF token from nobody.
fn service(request: &http::Request<Bytes>) -> Scripted {
    let path = request.uri().path().strip_prefix("/scim").unwrap_or_default();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let answer = match (request.method(), segments.as_slice()) {
        (&Method::GET, ["ServiceProviderConfig" | "ServiceProviderConfigs"]) => {
            Scripted::json(200, &config())
        }
        (&Method::GET, ["Users", id]) => Scripted::json(200, &user(id)),
        (&Method::GET, ["Groups", id]) => Scripted::json(200, &group(id, 3)),
        (&Method::GET, ["Me"]) => Scripted::json(200, &user("me")),
        (&Method::PUT | &Method::PATCH | &Method::DELETE, ["Users" | "Groups", _]) => Scripted::status(204),
        _ => Scripted::error(404, None, "there is no such thing"),
    };
    match request.headers().get("x-csrf-token") {
        Some(token) if token == "Fetch" => {
            answer.header("x-csrf-token", "t0ken").header("set-cookie", "session=1; Path=/")
        }
        _ => answer,
    }
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

fn user(id: &str) -> Value {
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

fn group(id: &str, members: usize) -> Value {
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

fn attributes(value: Value) -> Attributes {
    value.as_object().unwrap().clone()
}

/// A client, and what it sent so far.
struct Wire {
    dialect: Dialect,
    client: Client,
    transport: MemoryTransport,
    shown: usize,
    log: String,
}

impl Wire {
    fn new(dialect: &Dialect) -> Self {
        let transport = MemoryTransport::new(service);
        let client =
            Client::over("https://app.example/scim", transport.clone()).unwrap().dialect(dialect.clone());
        Self { dialect: dialect.clone(), client, transport, shown: 0, log: String::new() }
    }

    fn errand(&mut self, title: &str) {
        let before = if self.log.is_empty() { "" } else { "\n" };
        writeln!(self.log, "{before}# {title}").unwrap();
    }

    /// Writes down what was sent and how it ended.
    fn note<T>(&mut self, result: Result<T, Error>) {
        let requests = self.transport.requests();
        for request in &requests[self.shown..] {
            self.log.push_str(&line(request));
        }
        self.shown = requests.len();
        if let Err(error) = result {
            writeln!(self.log, "refused: {error}").unwrap();
        }
    }

    /// The changes from one to the other as the dialect has them.
    async fn change(&mut self, path: &str, id: &str, old: Value, new: Value) {
        let (old, new) = (attributes(old), attributes(new));
        let id = ResourceId::new(id);
        for patch in between(&old, &new).in_dialect(&self.dialect, &old).unwrap() {
            let resources = self.client.resources::<scim_client::resource::DynamicResource>(path);
            let result = resources.patch(&id, &patch).if_match(&EntityTag::parse("W/\"1\"").unwrap()).await;
            self.note(result);
        }
    }
}

/// Method, address and the headers that dialects are about; then the body, one operation a line.
fn line(request: &http::Request<Bytes>) -> String {
    let address = request.uri().path_and_query().unwrap().as_str().strip_prefix("/scim").unwrap().to_owned();
    let mut line = format!("{} {}", request.method(), percent_decode_str(&address).decode_utf8().unwrap());
    for name in ["if-match", "x-csrf-token", "cookie"] {
        if let Some(value) = request.headers().get(name) {
            write!(line, "  {name}: {}", value.to_str().unwrap()).unwrap();
        }
    }
    line.push('\n');
    if request.body().is_empty() {
        return line;
    }
    let mut body: Value = serde_json::from_slice(request.body()).unwrap();
    shorten(&mut body);
    match body.get("Operations").and_then(Value::as_array) {
        Some(operations) => {
            operations.iter().for_each(|operation| writeln!(line, "    {operation}").unwrap())
        }
        None => writeln!(line, "    {body}").unwrap(),
    }
    line
}

/// Long lists are shown by their first element and their length.
fn shorten(value: &mut Value) {
    match value {
        Value::Array(elements) => {
            elements.iter_mut().for_each(shorten);
            if elements.len() > 5 {
                let more = format!("… {} in all", elements.len());
                elements.truncate(1);
                elements.push(more.into());
            }
        }
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

async fn errands(dialect: &Dialect) -> String {
    let mut wire = Wire::new(dialect);

    wire.errand("a user is renamed, moved, disabled, and loses a title");
    let old = user("1");
    let mut new = old.clone();
    new["displayName"] = json!("Barbara Jensen");
    new["emails"][0]["value"] = json!("barbara@example.com");
    new["active"] = json!(false);
    new["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["department"] = json!("Sales");
    new.as_object_mut().unwrap().remove("title");
    wire.change("Users", "1", old, new).await;

    wire.errand("of a user's addresses one goes");
    let old = user("1");
    let mut new = old.clone();
    new["emails"].as_array_mut().unwrap().pop();
    wire.change("Users", "1", old, new).await;

    wire.errand("of a group's four members two leave, and one comes");
    let mut new = group("g1", 5);
    let members = new["members"].as_array_mut().unwrap();
    members.remove(1);
    members.remove(1);
    wire.change("Groups", "g1", group("g1", 4), new).await;

    wire.errand("all members leave");
    wire.change("Groups", "g1", group("g1", 4), group("g1", 0)).await;

    wire.errand("120 members come");
    wire.change("Groups", "g1", group("g1", 0), group("g1", 120)).await;

    wire.errand("a business role gets a member, is renamed and deleted");
    wire.change("Groups", "BROL_GUIDES", group("BROL_GUIDES", 1), group("BROL_GUIDES", 2)).await;
    let mut new = group("BROL_GUIDES", 1);
    new["displayName"] = json!("Leaders");
    wire.change("Groups", "BROL_GUIDES", group("BROL_GUIDES", 1), new).await;
    let result = wire.client.groups().delete(&ResourceId::new("BROL_GUIDES")).await;
    wire.note(result);

    wire.errand("only the name of a user is read");
    let result = wire.client.users().get(&ResourceId::new("1")).attributes(["userName"]).await;
    wire.note(result);

    wire.errand("whoever the credential belongs to is read");
    let result = wire.client.me::<User>().get().await;
    wire.note(result);

    wire.errand("whether this is the base of a service");
    let result = wire.client.check_base().await;
    wire.note(result);

    wire.log
}

#[tokio::test]
async fn each_preset_sends_what_it_says() {
    for preset in Preset::ALL {
        golden(&format!("tests/golden/dialects/{}.txt", preset.name), &errands(&preset.dialect()).await);
    }
}

/// Switches of what the client does not do yet.
const NOT_SENT_YET: [&str; 12] = [
    "filters",
    "verbs",
    "paging",
    "page_size_max",
    "bulk",
    "search_post",
    "sort",
    "unfiltered_lists",
    "not_found_is_empty",
    "deprovision.disable",
    "deprovision.delete",
    "requests_per_minute",
];

/// So a golden file would show it if one was lost.
#[tokio::test]
async fn each_switch_shows_on_the_wire() {
    let base = Dialect::rfc7644();
    let mut unseen = Vec::new();
    for preset in Preset::ALL {
        let sent = errands(&preset.dialect()).await;
        for switch in preset.switches {
            let flipped = with_field_of(preset.dialect(), switch.field, &base);
            if !NOT_SENT_YET.contains(&switch.field) && errands(&flipped).await == sent {
                unseen.push(format!("{}: {}", preset.name, switch.field));
            }
        }
    }
    assert!(unseen.is_empty(), "switches that change nothing: {unseen:#?}");
}
