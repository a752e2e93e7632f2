//! What the client says of many changes, held against what is there afterwards: with servers, and a proxy that breaks things.

use scim_client::Endpoint;
use scim_client::message::PatchOp;
use scim_client::resource::{DynamicResource, ResourceId};
use testbed::ScimServer;
use testbed::fault::FaultProxy;

use super::*;
use crate::fakes::{Fake, TOKEN};
use crate::faults::{client, faults};
use crate::judges::served;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

fn user(name: &str) -> Value {
    json!({"schemas": [USER], "userName": name, "displayName": name, "active": true})
}

fn patch(path: &str, value: Value) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": path, "value": value}],
    })
}

async fn named(resources: &Endpoint<DynamicResource>, attribute: &str, name: &str) -> Vec<String> {
    let all = resources.list().all().await.unwrap();
    let ours = all.iter().filter(|one| one.attributes[attribute] == name);
    ours.map(|one| one.attributes["id"].as_str().unwrap().to_owned()).collect()
}

/// Three users, and a group that two of them are in and the third joins, under random faults.
async fn rounds(proxy: &FaultProxy, path: &str, token: &str, seed: u64, rounds: usize) {
    let client = client(proxy, path, token);
    let (users, groups) = (client.resources("Users"), client.resources("Groups"));
    let (mut done, mut not_done) = (0, 0);
    for round in 0..rounds {
        let names = ["a", "b", "c"].map(|one| format!("{one}-{seed}-{round}@example.com"));
        let group_name = format!("g-{seed}-{round}");
        let group = json!({"schemas": [GROUP], "displayName": group_name,
            "members": [{"value": "bulkId:a"}, {"value": "bulkId:b"}]});
        let join = PatchOp::new().add_members([&ResourceId::new("bulkId:c")]);
        let mut operations = vec![
            BulkOperation::patch("/Groups/bulkId:g", &join).unwrap(),
            BulkOperation::create("/Groups", "g", &group).unwrap(),
        ];
        operations.extend(["a", "b", "c"].iter().zip(&names).map(|(id, name)| create(id, user(name))));
        proxy.random(seed.wrapping_mul(1_000).wrapping_add(round as u64), 300, faults());
        let report = client.bulk(operations).operations_max(2).await;
        proxy.pass();
        // Login pages among the faults are somebody's mistake, who has corrected it.
        client.forgive();

        let outcomes = match report {
            Ok(report) => report.outcomes,
            Err(error) => {
                for name in &names {
                    assert!(named(&users, "userName", name).await.is_empty(), "{error}");
                }
                continue;
            }
        };
        let made = [
            ("displayName", &group_name),
            ("userName", &names[0]),
            ("userName", &names[1]),
            ("userName", &names[2]),
        ];
        for (outcome, (attribute, name)) in outcomes[1..].iter().zip(made) {
            let there = named(if attribute == "userName" { &users } else { &groups }, attribute, name).await;
            assert!(there.len() <= 1, "{name} was made twice");
            match outcome {
                BulkOutcome::Done(made) => assert_eq!(there, [made.id.as_ref().unwrap().as_str()], "{name}"),
                BulkOutcome::NotAttempted(why) => assert!(there.is_empty(), "{name}: {why}"),
                BulkOutcome::Failed(error) if error.advice() == Advice::ResolveByReading => {}
                // Behind a login page nobody knows either, and nothing can be looked for.
                BulkOutcome::Failed(error) if error.advice() == Advice::StopConnector => {}
                BulkOutcome::Failed(error) => assert!(there.is_empty(), "{name}: {error}"),
                _ => unreachable!(),
            }
            match outcome.done() {
                Some(_) => done += 1,
                None => not_done += 1,
            }
        }
        if let (Some(changed), Some(made)) = (outcomes[0].done(), outcomes[1].done()) {
            assert_eq!(changed.id, made.id);
            let now = groups.get(made.id.as_ref().unwrap()).await.unwrap();
            let members = now.attributes["members"].as_array().unwrap();
            let mut members: Vec<&str> = members.iter().map(|one| one["value"].as_str().unwrap()).collect();
            let mut wanted: Vec<&str> = outcomes[2..]
                .iter()
                .map(|outcome| outcome.done().unwrap().id.as_ref().unwrap().as_str())
                .collect();
            members.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(members, wanted, "{group_name}");
        }
    }
    assert!(done > 0 && not_done > 0, "seed {seed} tried nothing: {done}, {not_done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_agree_with_the_truth() {
    for seed in 1..=3 {
        let fake = Fake::strict();
        let server = served(&fake);
        let proxy = FaultProxy::start(server.addr()).unwrap();
        rounds(&proxy, fake.manners().base_path, TOKEN, seed, 15).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
async fn claims_agree_with_the_truth_of_real_servers() {
    for start in [ScimServer::scim2_server, ScimServer::scimmy] {
        let server = start().unwrap();
        let proxy = FaultProxy::start(server.addr()).unwrap();
        rounds(&proxy, server.path(), server.token(), 7, 30).await;
        changes(&proxy, server.path(), server.token()).await;
    }
}

/// Changes of all kinds in one message. `scimmy` gives no names back for them.
async fn changes(proxy: &FaultProxy, path: &str, token: &str) {
    let client = client(proxy, path, token);
    let names = ["one", "two", "three"].map(|one| format!("{one}-changes@example.com"));
    let made = client.bulk(names.iter().map(|name| create(name, user(name)))).await.unwrap();
    let ids: Vec<ResourceId> =
        made.outcomes.iter().map(|outcome| outcome.done().unwrap().id.clone().unwrap()).collect();
    let at = |n: usize| format!("/Users/{}", ids[n]);
    let mut whole = user(&names[1]);
    whole["title"] = json!("Lead");
    let report = client
        .bulk([
            change(&at(0), patch("title", json!("Guide"))),
            change(&at(0), patch("title", json!("Lead"))),
            BulkOperation::replace(at(1), &whole).unwrap(),
            BulkOperation::delete(at(2)),
            BulkOperation::delete("/Users/nobody"),
            change(&at(1), patch("displayName", json!("Two"))),
        ])
        .await
        .unwrap();
    let [first, second, replaced, deleted, nobody, renamed] = report.outcomes.as_slice() else { panic!() };
    for outcome in [first, second, replaced, deleted, renamed] {
        assert!(outcome.done().is_some(), "{:?}", words(&report));
    }
    assert_eq!(*nobody.error().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(report.exchange.attempts().len(), 1);
    let users: Endpoint<DynamicResource> = client.resources("Users");
    let now = users.get(&ids[0]).await.unwrap();
    assert_eq!(now.attributes["title"], "Lead");
    let now = users.get(&ids[1]).await.unwrap();
    assert_eq!((&now.attributes["title"], &now.attributes["displayName"]), (&json!("Lead"), &json!("Two")));
    assert_eq!(*users.get(&ids[2]).await.unwrap_err().kind(), ErrorKind::NotFound);
}
