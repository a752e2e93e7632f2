//! In one message, in several, one by one.

use scim_client::Dialect;
use scim_client::client::EntityTag;
use scim_client::dialect::{IfMatch, Support};
use scim_client::trace::Trace;
use scim_client::transport::{Connectivity, Stage};

use super::*;

fn users(count: usize) -> Vec<BulkOperation> {
    (0..count).map(|n| create(&format!("u{n}"), json!({"userName": format!("user-{n}")}))).collect()
}

fn sizes(transport: &MemoryTransport) -> Vec<usize> {
    paths(transport).iter().map(Vec::len).collect()
}

#[tokio::test]
async fn messages_are_as_large_as_the_server_says_and_no_larger() {
    let transport = service(config(3, 1 << 20), all_well);
    let report = client(&transport).bulk(users(7)).await.unwrap();
    assert_eq!(report.outcomes.len(), 7);
    assert_eq!(sizes(&transport), [3, 3, 1]);

    let transport = service(config(0, 300), all_well);
    client(&transport).bulk(users(7)).await.unwrap();
    let bodies: Vec<usize> =
        transport.requests().iter().map(|request| request.body().len()).filter(|bytes| *bytes > 0).collect();
    assert!(bodies.iter().all(|bytes| *bytes <= 300) && bodies[0] > 200, "{bodies:?}");

    let transport = service(config(u64::MAX, u64::MAX), all_well);
    client(&transport).bulk(users(1_001)).await.unwrap();
    assert_eq!(sizes(&transport), [1_000, 1]);
    let transport = service(config(100, 1 << 20), all_well);
    client(&transport).bulk(users(3)).operations_max(0).await.unwrap();
    assert_eq!(sizes(&transport), [1, 1, 1]);
}

#[tokio::test]
async fn an_operation_larger_than_a_message_is_named_and_the_others_go_on() {
    let transport = service(config(100, 400), all_well);
    let report = client(&transport)
        .bulk([
            create("a", json!({})),
            create("big", json!({"photo": "x".repeat(400)})),
            create("b", json!({"x": "bulkId:big"})),
            create("c", json!({})),
        ])
        .await
        .unwrap();
    assert_eq!(
        words(&report),
        ["done 201", "too_large escalate", "`big`, which it refers to, was not made", "done 201"]
    );
    let error = report.outcomes[1].error().unwrap();
    assert!(error.to_string().contains("`big`") && !error.was_sent(), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_less_than_it_says_gets_less() {
    let transport = service(config(100, 1 << 20), |operations, body| match operations.len() {
        0..=2 => all_well(operations, body),
        _ => Scripted::error(413, None, "too much"),
    });
    let report = client(&transport).bulk(users(9)).await.unwrap();
    assert!(words(&report).iter().all(|word| word == "done 201"));
    assert_eq!(sizes(&transport), [9, 4, 2, 2, 2, 2, 1]);

    let transport = service(config(100, 1 << 20), |_, _| Scripted::error(413, None, "too much"));
    let report = client(&transport).bulk(users(2)).await.unwrap();
    assert_eq!(words(&report), ["too_large escalate"; 2]);
}

#[tokio::test]
async fn errors_are_counted_over_all_messages() {
    // Each second fails, and the server stops where it is told to.
    let transport = service(config(3, 1 << 20), |operations, body| {
        let most = body["failOnErrors"].as_u64().unwrap();
        let (mut errors, mut results) = (0, Vec::new());
        for operation in operations {
            let n: u64 = operation["bulkId"].as_str().unwrap().trim_start_matches('u').parse().unwrap();
            if n.is_multiple_of(2) {
                errors += 1;
                results.push(json!({"method": "POST", "bulkId": operation["bulkId"], "status": "400",
                    "response": {"status": "400", "scimType": "invalidValue"}}));
            } else {
                results.push(well(operation));
            }
            if errors == most {
                break;
            }
        }
        response(&results)
    });
    let report = client(&transport).bulk(users(9)).fail_on_errors(4).await.unwrap();
    let told: Vec<_> = messages(&transport).iter().map(|message| message["failOnErrors"].clone()).collect();
    assert_eq!(told, [4, 2, 1]);
    let (bad, why) = ("schema_mismatch fix_mapping", "as many others failed as may");
    let (good, rest) = ("done 201", [why, why]);
    assert_eq!(words(&report)[..7], [bad, good, bad, good, bad, good, bad]);
    assert_eq!(words(&report)[7..], rest);
}

/// A service without `/Bulk` that does each by itself.
fn singles(config: Scripted, bulk: Scripted) -> MemoryTransport {
    MemoryTransport::new(move |request| {
        let path = request.uri().path().to_owned();
        match (request.method().as_str(), path.as_str()) {
            (_, "/scim/v2/ServiceProviderConfig") => config.clone(),
            (_, "/scim/v2/Bulk") => bulk.clone(),
            ("GET", "/scim/v2/Users") => Scripted::json(200, &json!({"totalResults": 0, "Resources": []})),
            ("POST", _) => {
                let body: Value = serde_json::from_slice(request.body()).unwrap();
                if body["userName"] == "taken" {
                    return Scripted::error(409, Some("uniqueness"), "taken");
                }
                Scripted::status(201)
                    .header("location", &format!("/Users/id%2F{}", body["userName"].as_str().unwrap()))
            }
            _ => Scripted::status(204).header("etag", "W/\"2\""),
        }
    })
}

async fn with_a_failure(client: &Client) -> (Vec<String>, BulkReport) {
    let mut versioned = change("/Users/bulkId:ann", json!({"x": "bulkId:ann"}));
    versioned.version = Some("W/\"1\"".to_owned());
    let operations = [
        versioned,
        create("bob", json!({"userName": "taken"})),
        create("eve", json!({"userName": "eve", "manager": "bulkId:bob"})),
        create("ann", json!({"userName": "ann"})),
        BulkOperation::delete("/Users/a%2Fb"),
    ];
    let report = client.bulk(operations).await.unwrap();
    (words(&report), report)
}

#[tokio::test]
async fn without_bulk_the_operations_go_one_by_one_and_end_the_same() {
    let said_no = json!({"bulk": {"supported": false}, "schemas": ["x"]});
    let yes = || Scripted::json(200, &config(100, 1 << 20));
    let never = || Scripted::error(500, None, "nobody asks this");
    let ways = [
        (Support::Discover, yes(), Scripted::error(501, None, ""), 1),
        (Support::Discover, yes(), Scripted::error(404, None, ""), 1),
        (Support::Discover, yes(), Scripted::error(405, None, ""), 1),
        (Support::Discover, yes(), Scripted::error(403, None, ""), 1),
        (Support::Discover, Scripted::json(200, &said_no), never(), 0),
        (Support::Discover, Scripted::error(404, None, ""), never(), 0),
        (Support::No, never(), never(), 0),
        (Support::Yes, Scripted::json(200, &said_no), Scripted::error(501, None, ""), 1),
    ];
    for (support, config, bulk, asked) in ways {
        let transport = singles(config, bulk);
        let client = client(&transport).dialect(Dialect::rfc7644().with(|dialect| dialect.bulk = support));
        let (words, report) = with_a_failure(&client).await;
        assert_eq!(
            words,
            ["done 204", "conflict adopt", "`bob`, which it refers to, was not made", "done 201", "done 204"]
        );
        assert_eq!(messages(&transport).len(), asked);
        let requests = transport.requests();
        let changed = requests.iter().find(|request| request.method() == "PATCH").unwrap();
        assert_eq!(changed.uri().path(), "/scim/v2/Users/id%2Fann");
        assert_eq!(changed.headers()["if-match"], "W/\"1\"");
        assert_eq!(changed.body().as_ref(), b"{\"x\":\"id/ann\"}");
        let deleted = requests.iter().find(|request| request.method() == "DELETE").unwrap();
        assert_eq!(deleted.uri().path(), "/scim/v2/Users/a%2Fb");
        let done = report.outcomes[0].done().unwrap();
        assert_eq!(done.version, Some(EntityTag::parse("W/\"2\"").unwrap()));
        assert_eq!(done.id.as_ref().unwrap().as_str(), "id/ann");
        assert_eq!(done.exchange.attempts().len(), 1);
    }
}

#[tokio::test]
async fn the_dialect_may_know_better_than_the_server() {
    let said_no = json!({"bulk": {"supported": false, "maxOperations": 2}, "schemas": ["x"]});
    let transport = service(said_no, all_well);
    let yes = Dialect::rfc7644().with(|dialect| {
        dialect.bulk = Support::Yes;
        dialect.if_match = IfMatch::Never;
        dialect.membership_only = &["BROL_"];
    });
    let mut versioned = change("/Users/1", json!({}));
    versioned.version = Some("W/\"1\"".to_owned());
    let members = json!({"Operations": [{"op": "add", "path": "members", "value": []}]});
    let operations = [
        versioned,
        change("/Groups/BROL_1", members),
        BulkOperation::delete("/Groups/BROL_2"),
        BulkOperation::delete("/Groups/3"),
    ];
    let report = client(&transport).dialect(yes).bulk(operations).await.unwrap();
    assert_eq!(words(&report), ["done 204", "done 204", "unsupported escalate", "done 204"]);
    assert_eq!(sizes(&transport), [2, 1]);
    assert_eq!(messages(&transport)[0]["Operations"][0].get("version"), None);
}

#[tokio::test]
async fn what_fails_for_every_request_ends_it() {
    for (answer, word) in [
        (Scripted::fails(Stage::NotSent, Connectivity::Connect), "not_sent retry"),
        (Scripted::error(401, None, ""), "authentication stop_connector"),
        (Scripted::error(429, None, ""), "rate_limited retry"),
        (Scripted::bytes(200, "text/html", "<html>sign in"), "authentication stop_connector"),
    ] {
        let gone = "no request of this connector can work now";
        for (limit, expected) in [(2, [word, word, gone]), (0, [word, gone, gone])] {
            let answer = answer.clone();
            let config = json!({"bulk": {"supported": limit > 0, "maxOperations": limit}, "schemas": ["x"]});
            let transport = MemoryTransport::new(move |request| match request.uri().path() {
                "/scim/v2/ServiceProviderConfig" => Scripted::json(200, &config),
                _ => answer.clone(),
            });
            let report = client(&transport).bulk(users(3)).await.unwrap();
            assert_eq!(words(&report), expected, "{limit}");
        }
    }
}

#[tokio::test]
async fn nothing_is_asked_for_nothing() {
    let transport = MemoryTransport::scripted([]);
    assert!(client(&transport).bulk([]).await.unwrap().outcomes.is_empty());
    let error = client(&transport).bulk(users(1)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NotSent(Connectivity::Connect));
}

#[tokio::test]
async fn a_trace_holds_the_requests() {
    let transport = service(config(2, 1 << 20), all_well);
    let trace = Trace::new();
    let report = client(&transport).traced(&trace).bulk(users(3)).await.unwrap();
    let of_bulk: Vec<_> = trace.take().attempts().iter().map(|attempt| attempt.path.clone()).collect();
    assert_eq!(of_bulk, ["/scim/v2/ServiceProviderConfig", "/scim/v2/Bulk", "/scim/v2/Bulk"]);
    assert_eq!(report.exchange.attempts().len(), 2);
}
