//! Independent judges: of the strict server that other tests lean on, and of what the client sends.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use scim_client::transport::Transport as _;
use testbed::http::{Answer, Request};
use testbed::{Running, Stub, Toolbox};

use scim_client::auth::Bearer;
use scim_client::filter::user;
use scim_client::message::{PatchOp, PatchOperation, PatchVerb};
use scim_client::resource::{EnterpriseUser, Extension as _, Group, Member, MultiValued, Name, User};
use scim_client::{Asserted, Client};
use serde_json::{Value, json};

use crate::fakes::{Fake, TOKEN};

/// A fake behind a real port.
pub(crate) fn served(fake: &Fake) -> Stub {
    let transport = fake.transport();
    let host = fake.base_url().trim_end_matches(fake.manners().base_path).to_owned();
    let answer = move |request: &Request| {
        let mut asked =
            http::Request::builder().method(request.method.as_str()).uri(format!("{host}{}", request.target));
        for (name, value) in &request.headers {
            asked = asked.header(name, value);
        }
        let asked = asked.body(Bytes::from(request.body.clone())).unwrap();
        futures::executor::block_on(async {
            let answer = transport.send(asked, Duration::from_secs(5)).await.unwrap();
            let (head, body) = answer.into_parts();
            let body: Vec<Bytes> = body.try_collect().await.unwrap();
            let headers = head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            Answer { status: head.status.as_u16(), headers: headers.collect(), body: body.concat() }
        })
    };
    Stub::start(answer).unwrap()
}

#[test]
#[ignore = "needs scim-sanity: cargo xtask test"]
fn the_strict_server_satisfies_a_conformance_probe() {
    let fake = Fake::strict();
    let stub = served(&fake);
    let mut probe = Toolbox::find().unwrap().script("scim-sanity").unwrap();
    probe.args(["probe", &format!("http://{}{}", stub.addr(), fake.manners().base_path), "--token", TOKEN]);
    probe.args(["--i-accept-side-effects", "--strict"]);
    let output = Running::spawn(probe).unwrap().wait(Duration::from_secs(120)).unwrap();
    assert!(
        output.status.success() && output.stdout_text().contains("[PASS] PATCH /Groups"),
        "{}{}",
        output.stdout_text(),
        output.stderr_text()
    );
}

/// What the client sent, body by body: the method, the path below the base, the body.
async fn sent() -> Vec<(String, String, Value)> {
    let fake = Fake::strict();
    let transport = fake.transport();
    let client = Client::over(&fake.base_url(), transport.clone()).unwrap().auth(Bearer::new(TOKEN));
    let (users, groups) = (client.users(), client.groups());

    let made = users.create(&everything()).await.unwrap();
    let id = made.id.clone().unwrap();
    let bare = users.create(&User::new("bare@example.com")).await.unwrap();
    // RFC 7644 §3.5.1 has servers pass over what is theirs; the judge would rather not see it.
    let mut other = made.resource.clone();
    (other.id, other.meta) = (None, None);
    users.replace(&id, &other).await.unwrap();
    for patch in patches() {
        users.patch(&id, &patch).await.unwrap();
    }
    let mut group = Group::new("Tour Guides");
    group.members = Asserted::Value(vec![Member::new(&id)]);
    let group = groups.create(&group).await.unwrap();
    let group_id = group.id.clone().unwrap();
    for patch in member_patches(bare.id.as_ref().unwrap().as_str()) {
        groups.patch(&group_id, &patch).await.unwrap();
    }
    let filter = user::emails().element(|email| email.kind().eq("work")) & user::active().eq(true);
    users.filter(filter).attributes(["userName"]).by_post().all().await.unwrap();

    let base = fake.manners().base_path;
    let sent = transport.requests().into_iter().filter(|request| !request.body().is_empty()).map(|request| {
        let path = request.uri().path().trim_start_matches(base).to_owned();
        (request.method().to_string(), path, serde_json::from_slice(request.body()).unwrap())
    });
    sent.collect()
}

/// A user with an attribute of every kind.
fn everything() -> User {
    let mut user = User::new("bjensen@example.com");
    user.external_id = "701984".into();
    let mut name = Name::default();
    name.formatted = "Ms. Barbara J Jensen, III".into();
    name.family_name = "Jensen".into();
    name.given_name = "Barbara".into();
    user.name = name.into();
    user.display_name = "Babs \u{1f98a} \"B\" Jensen".into();
    user.profile_url = "https://login.example.com/bjensen".into();
    user.preferred_language = "en-US".into();
    user.timezone = "America/Los_Angeles".into();
    user.active = true.into();
    user.emails = Asserted::Value(vec![
        MultiValued::new("bjensen@example.com").of_type("work").primary(),
        MultiValued::new("babs@jensen.org").of_type("home"),
    ]);
    user.phone_numbers = Asserted::Value(vec![MultiValued::new("tel:+1-555-555-5555").of_type("work")]);
    let mut enterprise = EnterpriseUser::default();
    enterprise.department = "Tour Operations".into();
    enterprise.employee_number = "701984".into();
    user.extensions.set_extension(&enterprise).unwrap();
    user.schemas.push(EnterpriseUser::SCHEMA.to_owned());
    user
}

fn patches() -> Vec<PatchOp> {
    let path = |filter: scim_client::filter::Attribute<scim_client::filter::Text>| Some(filter.path());
    let operation = |verb, path, value| PatchOperation { verb, path, value };
    let work = user::emails().path_where(|email| email.kind().eq("work")).part("value");
    [
        vec![operation(PatchVerb::Replace, path(user::title()), Some(json!("Fellow")))],
        vec![operation(PatchVerb::Replace, None, Some(json!({ "active": false, "nickName": "Babs" })))],
        vec![operation(PatchVerb::Replace, Some(work), Some(json!("barbara@example.com")))],
        vec![
            operation(PatchVerb::Remove, path(user::title()), None),
            operation(
                PatchVerb::Add,
                Some("emails".parse().unwrap()),
                Some(json!([{ "value": "x@example.com" }])),
            ),
        ],
    ]
    .into_iter()
    .map(|operations| PatchOp { operations, ..PatchOp::default() })
    .collect()
}

fn member_patches(id: &str) -> Vec<PatchOp> {
    let member = format!("members[value eq \"{id}\"]");
    [
        (PatchVerb::Add, "members", Some(json!([{ "value": id }]))),
        (PatchVerb::Remove, member.as_str(), None),
        (PatchVerb::Replace, "displayName", Some(json!("Guides"))),
    ]
    .into_iter()
    .map(|(verb, path, value)| PatchOp {
        operations: vec![PatchOperation { verb, path: Some(path.parse().unwrap()), value }],
        ..PatchOp::default()
    })
    .collect()
}

#[tokio::test]
#[ignore = "needs scim-sanity: cargo xtask test"]
async fn scim_sanity_finds_nothing_in_what_is_sent() {
    let toolbox = Toolbox::find().unwrap();
    for (method, path, body) in sent().await {
        let mut judge = toolbox.script("scim-sanity").unwrap();
        match method.as_str() {
            "PATCH" => judge.args(["--patch", "--stdin"]),
            "POST" | "PUT" if !path.contains(".search") && !path.contains("Bulk") => judge.arg("--stdin"),
            _ => continue,
        };
        let verdict = judged(judge, &body);
        assert!(verdict.status.success(), "{method} {path} {body:#}\n{}", verdict.stdout_text());
    }
}

#[tokio::test]
#[ignore = "needs scim2-models: cargo xtask test"]
async fn scim2_models_reads_what_is_sent() {
    let bodies: Vec<Value> = sent()
        .await
        .into_iter()
        .map(|(method, path, body)| json!({ "method": method, "path": path, "body": body }))
        .collect();
    assert!(bodies.len() > 10, "{}", bodies.len());
    let mut judge = Toolbox::find().unwrap().python().unwrap();
    judge.args(["-c", READS_WITH_MODELS]);
    let verdict = judged(judge, &bodies.into());
    assert!(verdict.status.success(), "{}{}", verdict.stdout_text(), verdict.stderr_text());
}

#[tokio::test]
#[ignore = "needs scim-sanity and scim2-models: cargo xtask test"]
async fn the_judges_know_a_mistake() {
    let wrong = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "Replace", "path": "active", "value": "False" }],
    });
    let toolbox = Toolbox::find().unwrap();
    let mut judge = toolbox.script("scim-sanity").unwrap();
    judge.args(["--patch", "--stdin"]);
    assert!(!judged(judge, &wrong).status.success());
    let mut judge = toolbox.python().unwrap();
    judge.args(["-c", READS_WITH_MODELS]);
    let nameless = json!({ "schemas": [User::SCHEMA], "displayName": "Nobody" });
    let nameless = json!([{ "method": "POST", "path": "/Users", "body": nameless }]);
    assert!(!judged(judge, &nameless).status.success());
}

fn judged(judge: std::process::Command, body: &Value) -> testbed::Output {
    let mut running = Running::spawn(judge).unwrap();
    running.write(body.to_string().as_bytes()).unwrap();
    running.close_stdin();
    running.wait(Duration::from_secs(60)).unwrap()
}

/// Reads each body as the message that it is said to be; unknown attributes are mistakes.
const READS_WITH_MODELS: &str = r#"
import json, sys
from scim2_models import BulkRequest, Context, EnterpriseUser, Group, PatchOp, SearchRequest, User

failed = False
for sent in json.load(sys.stdin):
    resource = Group if sent["path"].startswith("/Groups") else User[EnterpriseUser]
    model, context = {
        "POST": (resource, Context.RESOURCE_CREATION_REQUEST),
        "PUT": (resource, Context.RESOURCE_REPLACEMENT_REQUEST),
        "PATCH": (PatchOp[resource], Context.RESOURCE_PATCH_REQUEST),
    }[sent["method"]]
    if sent["path"].endswith("/.search"):
        model, context = SearchRequest, Context.SEARCH_REQUEST
    if sent["path"].endswith("/Bulk"):
        model, context = BulkRequest[User[EnterpriseUser] | Group], Context.BULK_REQUEST
    try:
        model.model_validate(sent["body"], scim_ctx=context)
    except Exception as error:
        failed = True
        print(sent, error)
sys.exit(failed)
"#;
