//! What goes over the wire in each dialect: the same errands, run against a service that can do everything.
//!
//! `tests/golden/dialects/` holds what is sent in each; `BLESS=1` writes it anew.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use scim_client::client::{EntityTag, Order};
use scim_client::clock::Clock;
use scim_client::dialect::{Dialect, Preset};
use scim_client::ensure::{Deprovision, Identity};
use scim_client::filter::user;
use scim_client::message::{BulkOperation, PatchOp, PatchOperation, PatchVerb};
use scim_client::patch::between;
use scim_client::path::AttributePath;
use scim_client::resource::{DynamicResource, ResourceId, User};
use scim_client::transport::MemoryTransport;
use scim_client::{Client, Error};
use serde_json::{Value, json};

use super::golden;
use super::service::{Service, attributes, decoded, group, user as a_user};
use super::switches::with_field_of;

/// A client, and what it sent so far.
struct Wire {
    dialect: Dialect,
    service: Service,
    client: Client,
    transport: MemoryTransport,
    clock: Passing,
    shown: usize,
    log: String,
}

/// A clock whose waits are over at once and counted.
#[derive(Clone, Default)]
struct Passing(Arc<Mutex<Duration>>);

#[async_trait]
impl Clock for Passing {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + *self.0.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
    }
}

impl Wire {
    fn new(dialect: &Dialect, of: &Dialect) -> Self {
        let service = Service::of(of);
        let transport = MemoryTransport::new({
            let service = service.clone();
            move |request| service.answer(request)
        });
        let clock = Passing::default();
        let client = Client::over("https://app.example/scim", transport.clone()).unwrap();
        let client = client.dialect(dialect.clone()).clock(clock.clone());
        Self { dialect: dialect.clone(), service, client, transport, clock, shown: 0, log: String::new() }
    }

    fn errand(&mut self, title: &str) {
        let before = if self.log.is_empty() { "" } else { "\n" };
        writeln!(self.log, "{before}# {title}").unwrap();
        self.service.reset();
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

    /// Writes down what was sent, how it ended, and how many came.
    fn note_found<T>(&mut self, result: Result<Vec<T>, Error>) {
        let found = result.as_ref().ok().map(Vec::len);
        self.note(result);
        if let Some(found) = found {
            writeln!(self.log, "found: {found}").unwrap();
        }
    }

    async fn leave(&mut self, who: &Identity, how: Deprovision) {
        let result = self.client.ensure_deprovisioned(who, how).await;
        let state = result.as_ref().ok().map(|outcome| format!("{:?}", outcome.state));
        self.note(result);
        writeln!(self.log, "now: {}", state.as_deref().unwrap_or("unknown")).unwrap();
    }

    /// The changes from one to the other as the dialect has them.
    async fn change(&mut self, path: &str, id: &str, old: Value, new: Value) {
        let (old, new) = (attributes(old), attributes(new));
        let id = ResourceId::new(id);
        for patch in between(&old, &new).in_dialect(&self.dialect, &old).unwrap() {
            let resources = self.client.resources::<DynamicResource>(path);
            let result = resources.patch(&id, &patch).if_match(&EntityTag::parse("W/\"1\"").unwrap()).await;
            self.note(result);
        }
    }
}

/// Method, address and the headers that dialects are about; then the body, one operation a line.
fn line(request: &http::Request<Bytes>) -> String {
    let address = request.uri().path_and_query().unwrap().as_str().strip_prefix("/scim").unwrap();
    let mut line = format!("{} {}", request.method(), decoded(address));
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

/// What a client of one dialect sends to a service of another.
async fn errands(dialect: &Dialect, of: &Dialect) -> String {
    let mut wire = Wire::new(dialect, of);

    wire.errand("a user is renamed, moved, disabled, and loses a title");
    let old = a_user("001");
    let mut new = old.clone();
    new["displayName"] = json!("Barbara Jensen");
    new["emails"][0]["value"] = json!("barbara@example.com");
    new["active"] = json!(false);
    new["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["department"] = json!("Sales");
    new.as_object_mut().unwrap().remove("title");
    wire.change("Users", "001", old, new).await;

    wire.errand("of a user's addresses one goes");
    let old = a_user("001");
    let mut new = old.clone();
    new["emails"].as_array_mut().unwrap().pop();
    wire.change("Users", "001", old, new).await;

    wire.errand("of a group's four members two leave, and one comes");
    let mut new = group("g1", 5);
    let members = new["members"].as_array_mut().unwrap();
    members.remove(1);
    members.remove(1);
    wire.change("Groups", "g1", group("g1", 4), new).await;

    wire.errand("all members leave");
    wire.change("Groups", "g1", group("g1", 4), group("g1", 0)).await;

    wire.errand("120 members come");
    wire.change("Groups", "g1", group("g1", 4), group("g1", 124)).await;

    wire.errand("a business role gets a member, is renamed and deleted");
    wire.change("Groups", "BROL_GUIDES", group("BROL_GUIDES", 4), group("BROL_GUIDES", 5)).await;
    let mut new = group("BROL_GUIDES", 4);
    new["displayName"] = json!("Leaders");
    wire.change("Groups", "BROL_GUIDES", group("BROL_GUIDES", 4), new).await;
    let result = wire.client.groups().delete(&ResourceId::new("BROL_GUIDES")).await;
    wire.note(result);

    wire.errand("a user is looked for by one of two names, or by a number");
    let filter =
        user::user_name().eq("user-007") | user::user_name().eq("user-008") & user::active().eq(true);
    let result = wire.client.users().filter(filter).all().await;
    wire.note_found(result);
    let filter = user::user_name().eq("user-007") & user::external_id().eq("hr-007");
    let result = wire.client.users().filter(filter).all().await;
    wire.note_found(result);

    wire.errand("nobody is found");
    let result = wire.client.users().filter(user::user_name().eq("nobody")).all().await;
    wire.note_found(result);

    wire.errand("all users are read");
    let result = wire.client.users().list().all().await;
    wire.note_found(result);

    wire.errand("one is looked for by POST");
    let result = wire.client.users().filter(user::user_name().eq("user-007")).by_post().all().await;
    wire.note_found(result);

    wire.errand("one is looked for and sorted");
    let by_name = AttributePath::named("userName");
    let query = wire.client.users().filter(user::user_name().eq("user-007"));
    let result = query.sort_by(by_name, Order::Ascending).all().await;
    wire.note_found(result);

    wire.errand("of one that is looked for only the name is read");
    let query = wire.client.users().filter(user::user_name().eq("user-007"));
    let result = query.attributes(["displayName"]).all().await;
    wire.note_found(result);

    wire.errand("of two users one goes and the other changes, at once");
    let title = PatchOp {
        operations: vec![PatchOperation {
            verb: PatchVerb::Replace,
            path: Some("title".parse().unwrap()),
            value: Some(json!("Lead")),
        }],
        ..PatchOp::default()
    };
    let mut change = BulkOperation::patch("/Users/001", &title).unwrap();
    change.version = Some("W/\"1\"".to_owned());
    let report = wire.client.bulk([change, BulkOperation::delete("/Users/002")]).await.unwrap();
    assert!(report.outcomes.iter().all(|outcome| outcome.done().is_some()), "{:?}", report.outcomes);
    wire.note(Ok(()));

    for how in [Deprovision::Disable, Deprovision::Delete, Deprovision::DisableThenDelete] {
        wire.errand(&format!("somebody leaves: {how:?}"));
        wire.leave(&Identity::named("user-007").with_id(ResourceId::new("007")), how).await;
    }

    wire.errand("somebody leaves who is not there");
    wire.leave(&Identity::external("hr-999").with_user_name("nobody"), Deprovision::DisableThenDelete).await;

    wire.errand("only the name of a user is read");
    let result = wire.client.users().get(&ResourceId::new("001")).attributes(["userName"]).await;
    wire.note(result);

    wire.errand("whoever the credential belongs to is read");
    let result = wire.client.me::<User>().get().await;
    wire.note(result);

    wire.errand("whether this is the base of a service");
    let result = wire.client.check_base().await;
    wire.note(result);

    let waited = wire.clock.0.lock().unwrap().as_secs_f64().round();
    if waited > 0.0 {
        wire.errand("in all");
        writeln!(wire.log, "waited: {waited} s").unwrap();
    }
    wire.log
}

#[tokio::test]
async fn each_preset_sends_what_it_says() {
    for preset in Preset::ALL {
        golden(
            &format!("tests/golden/dialects/{}.txt", preset.name),
            &errands(&preset.dialect(), &preset.dialect()).await,
        );
    }
}

/// So a golden file would show it if one was lost.
#[tokio::test]
async fn each_switch_shows_on_the_wire() {
    let base = Dialect::rfc7644();
    let mut unseen = Vec::new();
    for preset in Preset::ALL {
        let sent = errands(&preset.dialect(), &preset.dialect()).await;
        for switch in preset.switches {
            let flipped = with_field_of(preset.dialect(), switch.field, &base);
            if errands(&flipped, &preset.dialect()).await == sent {
                unseen.push(format!("{}: {}", preset.name, switch.field));
            }
        }
    }
    assert!(unseen.is_empty(), "switches that change nothing: {unseen:#?}");
}
