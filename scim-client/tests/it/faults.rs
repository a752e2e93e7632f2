//! What the client says after a failure, held against what the server really did.
//!
//! The proxy between them keeps the record. A client that says "not sent" of something that arrived, sends a create twice
//! without knowing the fate of the first, or says "done" of something that never was, is found out here.

use std::time::Duration;

use scim_client::auth::Bearer;
use scim_client::ensure::{Deprovision, Identity, Outcome};
use scim_client::resource::{DynamicResource, ResourceId, User};
use scim_client::trace::Attempt;
use scim_client::transport::ReqwestTransport;
use scim_client::{Client, Error, ErrorKind};
use serde_json::{Value, json};
use testbed::ScimServer;
use testbed::fault::{Exchange, Fault, FaultProxy, Reply, RetryAfter};

use crate::fakes::{Fake, TOKEN};
use crate::judges::served;
use crate::suite::{Hasty, id_of, resource};

pub(crate) fn client(proxy: &FaultProxy, path: &str, token: &str) -> Client {
    let base = format!("http://{}{path}", proxy.addr());
    let client = Client::over(&base, ReqwestTransport::new().unwrap()).unwrap();
    client.auth(Bearer::new(token)).clock(Hasty::new()).timeout(Duration::from_secs(2))
}

/// Every way to fail in which a server may or may not have acted.
pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::after(Reply::Reset),
        Fault::after(Reply::EndInHead),
        Fault::after(Reply::EndInBody),
        Fault::after(Reply::TruncatedBody),
        Fault::after(Reply::Status(500, None)),
        Fault::after(Reply::Status(502, None)),
        Fault::after(Reply::Status(504, None)),
        Fault::after(Reply::LoginPage),
        Fault::after(Reply::ContentType("text/plain")),
        Fault::instead(Reply::Reset),
        Fault::instead(Reply::EndInHead),
        Fault::instead(Reply::Status(429, Some(RetryAfter::Seconds(1)))),
        Fault::instead(Reply::Status(429, Some(RetryAfter::DateIn(2)))),
        Fault::instead(Reply::Status(503, Some(RetryAfter::Seconds(1)))),
        Fault::instead(Reply::Status(503, None)),
        Fault::instead(Reply::Status(500, None)),
        Fault::instead(Reply::LoginPage),
    ]
}

async fn claims_agree_with_the_truth(proxy: &FaultProxy, path: &str, token: &str, seed: u64, rounds: usize) {
    let users = client(proxy, path, token).resources::<DynamicResource>("Users");
    proxy.random(seed, 500, faults());
    let mut claims = Vec::new();
    for round in 0..rounds {
        let name = format!("seed{seed}-round{round}@example.com");
        let user = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "active": true });
        claims.push((name, users.create(&resource(user)).await.map(|made| id_of(&made))));
        // Login pages among the faults are somebody's mistake, who has corrected it.
        users.client().forgive();
    }
    let log = proxy.log();
    proxy.pass();
    let mut wrong = Vec::new();
    for (name, claim) in &claims {
        let posts: Vec<&Exchange> = log.iter().filter(|exchange| is_create_of(exchange, name)).collect();
        if let Some(why) = wrong_about(&posts, claim) {
            wrong.push(format!(
                "{name}: {why}: {claim:?}; {:?}",
                posts.iter().map(|post| &post.fault).collect::<Vec<_>>()
            ));
        }
        if let Ok(id) = claim {
            let read = users.get(id).await.map(|user| user.attributes["userName"].clone());
            if !read.is_ok_and(|read| read == name.as_str()) {
                wrong.push(format!("{name}: the client knows it by the id of somebody else"));
            }
        }
    }
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    let said = |well: bool| claims.iter().any(|(_, claim)| claim.is_ok() == well);
    assert!(said(true) && said(false), "seed {seed} tried nothing");
    deletes_agree(proxy, &users, &claims, seed).await;
}

async fn deletes_agree(
    proxy: &FaultProxy,
    users: &scim_client::Endpoint<DynamicResource>,
    claims: &[(String, Result<ResourceId, Error>)],
    seed: u64,
) {
    proxy.random(seed, 500, faults());
    let mut said = Vec::new();
    for id in claims.iter().filter_map(|(_, claim)| claim.as_ref().ok()) {
        said.push((id, users.delete(id).await));
        users.client().forgive();
    }
    proxy.pass();
    for (id, claim) in said {
        let there = match users.get(id).await {
            Ok(_) => true,
            Err(error) if *error.kind() == ErrorKind::NotFound => false,
            Err(error) => panic!("{error}"),
        };
        match claim {
            Ok(_) => assert!(!there, "seed {seed}: deleted, and still there"),
            Err(error) if *error.kind() == ErrorKind::NotFound => assert!(!there, "seed {seed}: {error}"),
            Err(error) if !error.was_sent() => assert!(there, "seed {seed}: {error}"),
            Err(_) => {}
        }
    }
}

fn is_create_of(exchange: &Exchange, name: &str) -> bool {
    let body: Value = serde_json::from_slice(&exchange.request.body).unwrap_or_default();
    exchange.request.method == "POST" && body["userName"] == name
}

/// What is wrong with a claim about a create, given all requests that arrived.
fn wrong_about(posts: &[&Exchange], claim: &Result<ResourceId, Error>) -> Option<&'static str> {
    let applied = posts.iter().filter(|post| post.was_applied()).count();
    if applied > 1 {
        return Some("was made twice");
    }
    // Only an answer which says that nothing was done lets a create be sent again.
    let says_nothing_was_done = |post: &&Exchange| matches!(post.shown, Some(401 | 429 | 503));
    if let Some((_, before)) = posts.split_last()
        && !before.iter().all(says_nothing_was_done)
    {
        return Some("was sent again without knowing what became of it");
    }
    match claim {
        Ok(_) if applied == 0 => Some("was never made"),
        Err(error) if !error.was_sent() && !posts.is_empty() => Some("had arrived"),
        Err(error) if *error.kind() == ErrorKind::Conflict => Some("nothing was in the way"),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_creates_and_deletes_agree_with_the_truth() {
    for seed in 1..=4 {
        let fake = Fake::strict();
        let server = served(&fake);
        let proxy = FaultProxy::start(server.addr()).unwrap();
        claims_agree_with_the_truth(&proxy, fake.manners().base_path, TOKEN, seed, 40).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
async fn claims_agree_with_the_truth_of_real_servers() {
    for start in [ScimServer::scim2_server, ScimServer::scimmy] {
        let server = start().unwrap();
        let proxy = FaultProxy::start(server.addr()).unwrap();
        claims_agree_with_the_truth(&proxy, server.path(), server.token(), 11, 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_known_to_have_sent_nothing() {
    let fake = Fake::strict();
    let server = served(&fake);
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let users = client(&proxy, fake.manners().base_path, TOKEN).resources::<DynamicResource>("Users");
    let user = |name: &str| {
        resource(json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name }))
    };
    // One that is kept open and then closed by the other side is what a retry below the client would be tempted by.
    users.create(&user("before")).await.unwrap();
    proxy.refuse_connections();
    let error = users.create(&user("during")).await.unwrap_err();
    assert!(!proxy.log().iter().any(|exchange| is_create_of(exchange, "during")));
    assert!(matches!(error.kind(), ErrorKind::NotSent(_) | ErrorKind::UnknownOutcome(_)), "{error}");
    let error = users.create(&user("during")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotSent(_)) && !error.was_sent(), "{error}");
    proxy.accept_connections().unwrap();
    users.create(&user("after")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_not_unpacked() {
    let fake = Fake::strict();
    let server = served(&fake);
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let users = client(&proxy, fake.manners().base_path, TOKEN).resources::<DynamicResource>("Users");
    proxy.script([Fault::instead(Reply::Bomb(256 << 20))]);
    let error = users.get(&ResourceId::new("1")).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::TooLarge, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_after_a_create_is_an_unknown_outcome() {
    let fake = Fake::strict();
    let server = served(&fake);
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let client = client(&proxy, fake.manners().base_path, TOKEN).timeout(Duration::from_millis(200));
    proxy.script([Fault::after(Reply::Silence)]);
    let user = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "silent" });
    let error = client.resources::<DynamicResource>("Users").create(&resource(user)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnknownOutcome(_)) && error.was_sent(), "{error}");
    assert_eq!(proxy.log().len(), 1);
}

/// Joiners and leavers through every kind of failure, tried again until confirmed, as whoever provisions does it.
async fn evidence_agrees_with_the_truth(
    proxy: &FaultProxy,
    path: &str,
    token: &str,
    seed: u64,
    people: usize,
) {
    let client = client(proxy, path, token);
    for person in 0..people {
        let name = format!("seed{seed}-person{person}@example.com");
        let identity = Identity::external(format!("hr-{seed}-{person}")).with_user_name(&name);
        let mut desired = User::new(&name);
        desired.external_id = format!("hr-{seed}-{person}").into();
        desired.active = true.into();
        let joined =
            until_confirmed(proxy, seed + person as u64, &client, || client.ensure_user(&identity, &desired))
                .await;
        let now = there(&client, &name).await;
        assert_eq!(now.len(), 1, "seed {seed}: {name} after {joined:?}");
        assert_eq!(now[0].attributes["active"], true, "seed {seed}: {name}");
        assert_eq!(Some(id_of(&now[0])), joined.id, "seed {seed}: {name}");

        let how = [Deprovision::Disable, Deprovision::Delete, Deprovision::DisableThenDelete][person % 3];
        let left = until_confirmed(proxy, seed * 31 + person as u64, &client, || {
            client.ensure_deprovisioned(&identity, how)
        })
        .await;
        let now = there(&client, &name).await;
        match how {
            Deprovision::Disable => assert_eq!(now[0].attributes["active"], false, "seed {seed}: {name}"),
            _ => assert!(now.is_empty(), "seed {seed}: {name} after {left:?}"),
        }
    }
}

/// Repeats an operation while the proxy fails every second request, and holds each time's evidence against what arrived.
async fn until_confirmed<F: Future<Output = Result<Outcome, Error>>>(
    proxy: &FaultProxy,
    seed: u64,
    client: &Client,
    operation: impl Fn() -> F,
) -> Outcome {
    proxy.random(seed, 500, faults());
    for _ in 0..200 {
        proxy.clear_log();
        client.forgive();
        let done = operation().await;
        let attempts = match &done {
            Ok(outcome) => &outcome.attempts[..],
            Err(error) => error.attempts(),
        };
        check_evidence(attempts, &proxy.log());
        if let Ok(outcome) = done {
            proxy.pass();
            return outcome;
        }
    }
    panic!("seed {seed}: never confirmed");
}

/// Whatever arrived is in the evidence, in its order, with the status that was shown.
fn check_evidence(attempts: &[Attempt], log: &[Exchange]) {
    let mut arrived = log.iter().peekable();
    for attempt in attempts {
        let same = |exchange: &&Exchange| {
            exchange.request.method == attempt.method.as_str() && exchange.request.path() == attempt.path
        };
        match arrived.next_if(|exchange| attempt.outcome.was_sent() && same(exchange)) {
            Some(exchange) => {
                let status = attempt.outcome.status();
                assert!(
                    status.is_none() || status == exchange.shown,
                    "{attempt:?}, but {:?}",
                    exchange.shown
                );
            }
            // Whether it arrived is not for the client to know, unless it was answered.
            None => assert!(attempt.outcome.status().is_none(), "{attempt:?} never arrived"),
        }
    }
    let missing: Vec<_> =
        arrived.map(|exchange| (&exchange.request.method, &exchange.request.target)).collect();
    assert!(missing.is_empty(), "arrived without being in the evidence: {missing:?}; {attempts:#?}");
}

async fn there(client: &Client, name: &str) -> Vec<DynamicResource> {
    let filter = scim_client::filter::user::user_name().eq(name);
    client.resources::<DynamicResource>("Users").filter(filter).all().await.unwrap()
}

/// `SOAK_ROUNDS` people with the failures of `SOAK_SEED`.
#[tokio::test(flavor = "multi_thread")]
async fn soak_evidence_of_joiners_and_leavers_agrees_with_what_arrived() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |value| value.parse().expect("a number"))
    };
    let fake = Fake::strict();
    let server = served(&fake);
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let people = usize::try_from(number("SOAK_ROUNDS", 24)).unwrap();
    evidence_agrees_with_the_truth(&proxy, fake.manners().base_path, TOKEN, number("SOAK_SEED", 5), people)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
async fn evidence_agrees_with_what_arrived_at_real_servers() {
    for start in [ScimServer::scim2_server, ScimServer::scimmy] {
        let server = start().unwrap();
        let proxy = FaultProxy::start(server.addr()).unwrap();
        evidence_agrees_with_the_truth(&proxy, server.path(), server.token(), 9, 24).await;
    }
}
