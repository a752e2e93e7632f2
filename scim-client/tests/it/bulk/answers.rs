//! What answers say, and what they do not.

use scim_client::transport::{Connectivity, Stage};

use super::*;

fn three() -> [BulkOperation; 3] {
    [create("a", json!({})), change("/Users/1", json!({})), change("/Users/2", json!({}))]
}

async fn said(answer: impl Fn(&[Value], &Value) -> Scripted + Send + Sync + 'static) -> Vec<String> {
    let transport = service(config(100, 1 << 20), answer);
    let report = client(&transport).bulk(three()).await.unwrap();
    assert_eq!(messages(&transport).len(), 1, "nothing is sent twice");
    words(&report)
}

/// The answer in which all went well, with something done to it.
async fn but(change: impl Fn(&mut Vec<Value>) + Send + Sync + 'static) -> Vec<String> {
    said(move |operations, _| {
        let mut results: Vec<Value> = operations.iter().map(well).collect();
        change(&mut results);
        response(&results)
    })
    .await
}

#[tokio::test]
async fn the_order_of_an_answer_does_not_matter() {
    assert_eq!(but(|results| results.reverse()).await, ["done 201", "done 204", "done 204"]);
}

#[tokio::test]
async fn results_of_changes_need_no_name() {
    let nameless = |results: &mut Vec<Value>| {
        for result in results.iter_mut().skip(1) {
            result.as_object_mut().unwrap().remove("bulkId");
        }
        results.reverse();
    };
    assert_eq!(but(nameless).await, ["done 201", "done 204", "done 204"]);
    // A create without its name could be anyone's.
    assert_eq!(
        but(|results| {
            results[0].as_object_mut().unwrap().remove("bulkId");
        })
        .await,
        [UNKNOWN, "done 204", "done 204"]
    );
}

#[tokio::test]
async fn changes_of_one_resource_without_names_are_told_apart_only_where_it_does_not_matter() {
    for (statuses, expected) in [
        (vec!["204", "204"], ["done 204", "done 204"]),
        (vec!["204", "400"], [UNKNOWN, UNKNOWN]),
        (vec!["204"], [UNKNOWN, UNKNOWN]),
        (vec!["204", "204", "204"], [UNKNOWN, UNKNOWN]),
    ] {
        let transport = service(config(100, 1 << 20), move |_, _| {
            let of =
                |status: &&str| json!({"method": "PATCH", "location": "/scim/Users/1", "status": status});
            response(&statuses.iter().map(of).collect::<Vec<_>>())
        });
        let twice = [change("/Users/1", json!({"x": 1})), change("/Users/1", json!({"x": 2}))];
        assert_eq!(words(&client(&transport).bulk(twice).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn what_is_missing_doubled_or_strange_is_unknown() {
    assert_eq!(
        but(|results| {
            results.remove(1);
        })
        .await,
        ["done 201", UNKNOWN, "done 204"]
    );
    assert_eq!(but(|results| results.push(results[0].clone())).await, [UNKNOWN, "done 204", "done 204"]);
    assert_eq!(
        but(|results| results[1]["bulkId"] = json!("stranger")).await,
        ["done 201", UNKNOWN, "done 204"]
    );
    assert_eq!(
        but(|results| results[1]["method"] = json!("DELETE")).await,
        ["done 201", UNKNOWN, "done 204"]
    );
    assert_eq!(but(Vec::clear).await, [UNKNOWN; 3]);
}

#[tokio::test]
async fn a_status_that_nobody_can_read_is_unknown() {
    for status in [json!(null), json!("fine"), json!("99"), json!("1000"), json!([])] {
        let status = status.clone();
        assert_eq!(
            but(move |results| results[1]["status"] = status.clone()).await,
            ["done 201", UNKNOWN, "done 204"]
        );
    }
    assert_eq!(
        but(|results| results[1]["status"] = json!("202")).await[1],
        "unknown_outcome resolve_by_reading"
    );
    assert_eq!(but(|results| results[1]["status"] = json!(204)).await[1], "done 204");
    assert_eq!(but(|results| results[1]["status"] = json!({"code": "204"})).await[1], "done 204");
}

#[tokio::test]
async fn an_error_with_a_status_of_success_is_an_error() {
    let error = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "404"});
    let one = error.clone();
    assert_eq!(
        but(move |results| results[1]["response"] = one.clone()).await[1],
        "not_found resolve_by_reading"
    );
    let mut error = error;
    error["status"] = json!("409");
    assert_eq!(said(move |_, _| Scripted::json(200, &error)).await, [UNKNOWN; 3]);
}

#[tokio::test]
async fn a_create_without_an_identifier_is_looked_for() {
    for location in
        [json!(null), json!("https://x/Users"), json!("/Users/bulkId:a"), json!("/Groups/1"), json!("")]
    {
        assert_eq!(but(move |results| results[0]["location"] = location.clone()).await[0], UNKNOWN);
    }
    assert_eq!(but(|results| results[0]["location"] = json!("/users/a%2Fb/")).await[0], "done 201");
    assert_eq!(
        but(|results| {
            results[0]["location"] = json!(null);
            results[0]["response"] = json!({"id": "7"});
        })
        .await[0],
        "done 201"
    );
}

#[tokio::test]
async fn what_is_shown_comes_with_its_version() {
    let transport = service(config(100, 1 << 20), |operations, _| {
        let mut result = well(&operations[0]);
        result["response"] = json!({"id": "7", "meta": {"version": "W/\"1\""}});
        response(&[result])
    });
    let report = client(&transport).bulk([create("a", json!({}))]).await.unwrap();
    let done = report.outcomes[0].done().unwrap();
    assert_eq!(done.id.as_ref().unwrap().as_str(), "7");
    assert_eq!(done.version.as_ref().unwrap().as_str(), "W/\"1\"");
    assert_eq!(done.location.as_deref(), Some("https://x/Users/id-a"));
    assert!(done.resource.is_some());
}

#[tokio::test]
async fn each_error_is_of_the_class_that_it_is_alone() {
    for (status, word) in [
        ("400", "schema_mismatch fix_mapping"),
        ("403", "authorization escalate"),
        ("404", "not_found resolve_by_reading"),
        ("409", "conflict adopt"),
        ("412", "concurrency resolve_by_reading"),
        ("429", "rate_limited retry"),
        ("500", "server resolve_by_reading"),
        ("501", "unsupported escalate"),
        ("504", "unknown_outcome resolve_by_reading"),
        ("302", UNKNOWN),
    ] {
        assert_eq!(but(move |results| results[1]["status"] = json!(status)).await[1], word, "{status}");
    }
}

#[tokio::test]
async fn a_message_of_unknown_outcome_leaves_all_in_it_unknown_and_is_not_sent_again() {
    let whole = |operations: &[Value]| response(&operations.iter().map(well).collect::<Vec<_>>());
    let unknown = "unknown_outcome resolve_by_reading";
    assert_eq!(said(|_, _| Scripted::fails(Stage::MaybeSent, Connectivity::Timeout)).await, [unknown; 3]);
    assert_eq!(said(|_, _| Scripted::error(504, None, "")).await, [unknown; 3]);
    assert_eq!(said(|_, _| Scripted::status(202)).await, [unknown; 3]);
    assert_eq!(
        said(move |operations, _| whole(operations).breaks_after(90, Connectivity::Reset)).await,
        [unknown; 3]
    );
    assert_eq!(said(|_, _| Scripted::error(500, None, "")).await, ["server resolve_by_reading"; 3]);
    for answer in [
        Scripted::error(409, None, "something was in the way of something"),
        Scripted::status(200),
        Scripted::status(204),
        Scripted::json(200, &json!([])),
        Scripted::bytes(
            200,
            "application/scim+json",
            "{\"Operations\":[{\"bulkId\":\"a\",\"status\":\"201\"",
        ),
    ] {
        assert_eq!(said(move |_, _| answer.clone()).await, [UNKNOWN; 3]);
    }
    assert_eq!(
        said(|_, _| Scripted::error(400, Some("invalidSyntax"), "")).await,
        ["schema_mismatch fix_mapping"; 3]
    );
}

#[tokio::test]
async fn an_answer_larger_than_the_limit_is_unknown() {
    let transport = service(config(100, 1 << 20), all_well);
    let limits = scim_client::read::ReadLimits::default().with(|limits| limits.bytes_max = 300);
    let report = client(&transport).limits(limits).bulk(three()).await.unwrap();
    assert_eq!(words(&report), ["too_large resolve_by_reading"; 3]);
}

#[tokio::test]
async fn others_go_on_after_an_unknown_outcome_but_not_about_the_same_resource() {
    let transport = service(config(1, 1 << 20), |operations, body| match operations[0]["path"].as_str() {
        Some("/Users/1") => Scripted::fails(Stage::MaybeSent, Connectivity::Timeout),
        _ => all_well(operations, body),
    });
    let operations = [
        change("/Users/1", json!({"x": 1})),
        change("/Users/1", json!({"x": 2})),
        change("/Users/1", json!({"x": 3})),
        change("/Users/2", json!({})),
    ];
    let report = client(&transport).bulk(operations).await.unwrap();
    let doubt = "nobody knows what an earlier operation did to the same resource";
    assert_eq!(words(&report), ["unknown_outcome resolve_by_reading", doubt, doubt, "done 204"]);
}

#[tokio::test]
async fn what_was_left_alone_for_sure_is_in_no_doubt() {
    for status in ["404", "412", "409", "400"] {
        let transport =
            service(config(1, 1 << 20), move |operations, body| match &operations[0]["data"]["x"] {
                x if *x == 1 => response(&[json!({"method": "PATCH", "bulkId": "op0", "status": status})]),
                _ => all_well(operations, body),
            });
        let operations = [change("/Users/1", json!({"x": 1})), change("/Users/1", json!({"x": 2}))];
        let report = client(&transport).bulk(operations).await.unwrap();
        assert_eq!(words(&report)[1], "done 204", "{status}");
    }
}

#[tokio::test]
async fn what_a_server_left_out_when_it_stopped_was_not_tried() {
    let failed = |operation: &Value| json!({"method": operation["method"], "bulkId": operation["bulkId"], "status": "400"});
    for (take, expected) in [
        (
            vec![0],
            ["schema_mismatch fix_mapping", "as many others failed as may", "as many others failed as may"],
        ),
        // What it came by on its way there is another matter.
        (vec![1], [UNKNOWN, "schema_mismatch fix_mapping", "as many others failed as may"]),
    ] {
        let transport = service(config(100, 1 << 20), move |operations, _| {
            response(&take.iter().map(|one| failed(&operations[*one])).collect::<Vec<_>>())
        });
        let report = client(&transport).bulk(three()).fail_on_errors(1).await.unwrap();
        assert_eq!(words(&report), expected);
        assert!(matches!(report.outcomes[2], BulkOutcome::NotAttempted(NotAttempted::Errors)));
        assert_eq!(
            report.outcomes[0].error().unwrap().advice() == Advice::ResolveByReading,
            expected[0] == UNKNOWN
        );
    }
}

#[tokio::test]
async fn an_answer_that_contradicts_itself_does_not_say_where_a_server_stopped() {
    let stopped = |extra: Vec<Value>| {
        let failed = json!({"method": "POST", "bulkId": "a", "status": "400"});
        service(config(100, 1 << 20), move |_, _| response(&[vec![failed.clone()], extra.clone()].concat()))
    };
    let nameless = json!({"method": "PATCH", "location": "/Users/1", "status": "204"});
    let named = json!({"method": "PATCH", "bulkId": "op1", "status": "204"});
    let stranger = json!({"method": "PATCH", "bulkId": "stranger", "status": "204"});
    let nobodys = json!({"method": "PATCH", "location": "/Users/9", "status": "204"});
    for extra in [
        vec![nameless.clone(), nameless.clone()],
        vec![named.clone(), nameless],
        vec![named.clone(), named.clone()],
        vec![named.clone(), stranger],
        vec![named.clone(), nobodys],
    ] {
        let transport = stopped(extra.clone());
        let report = client(&transport).bulk(three()).fail_on_errors(1).await.unwrap();
        assert_eq!(words(&report)[2], UNKNOWN, "{extra:?}");
    }
    let report = client(&stopped(vec![named])).bulk(three()).fail_on_errors(1).await.unwrap();
    assert_eq!(words(&report)[2], "as many others failed as may");
}

#[tokio::test]
async fn what_nobody_can_read_does_not_say_that_the_server_stopped() {
    let transport = service(config(100, 1 << 20), |operations, _| {
        let mut first = well(&operations[0]);
        first["status"] = json!("fine");
        response(&[first])
    });
    let report = client(&transport).bulk(three()).fail_on_errors(1).await.unwrap();
    assert_eq!(words(&report), [UNKNOWN; 3]);
}

#[tokio::test]
async fn an_operation_that_was_answered_for_was_sent() {
    assert_eq!(but(|results| results[1]["status"] = json!("407")).await[1], UNKNOWN);
}

#[tokio::test]
async fn secrets_that_a_service_repeats_of_one_operation_are_not_passed_on() {
    let detail = "hunter2-x is too weak, says tok-3n-s3cret";
    let error = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "400", "detail": detail});
    let whole = error.clone();
    for answer in [
        service(config(100, 1 << 20), move |_, _| {
            response(&[json!({"method": "POST", "bulkId": "a", "status": "400", "response": error})])
        }),
        service(config(100, 1 << 20), move |_, _| Scripted::json(200, &whole)),
    ] {
        let client = client(&answer).auth(scim_client::auth::Bearer::new("tok-3n-s3cret"));
        let report = client.bulk([create("a", json!({"password": "hunter2-x"}))]).await.unwrap();
        let error = report.outcomes[0].error().unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains("is too weak"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("tok-3n"), "{text}");
    }
}
