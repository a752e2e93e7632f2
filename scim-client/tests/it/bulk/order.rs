//! What is sent after what.

use super::*;

#[tokio::test]
async fn what_is_referred_to_goes_first_and_its_identifier_takes_the_place() {
    let transport = service(config(100, 1 << 20), all_well);
    let report = client(&transport)
        .bulk([
            change(
                "/Groups/bulkId:guides",
                json!({"Operations": [{
                "op": "remove", "path": "members[value eq \"bulkId:bob\"]"}]}),
            ),
            BulkOperation::create(
                "/Groups",
                "guides",
                &json!({"members": [
                {"value": "bulkId:ann", "$ref": "../Users/bulkId:ann"}, {"value": "bulkId:bob"}]}),
            )
            .unwrap(),
            create("bob", json!({"manager": {"value": "bulkId:ann"}})),
            create("ann", json!({"userName": "ann"})),
            BulkOperation::delete("/Users/26118915"),
        ])
        .await
        .unwrap();
    assert_eq!(words(&report), ["done 204", "done 201", "done 201", "done 201", "done 204"]);
    let ids: Vec<&str> =
        report.outcomes.iter().map(|outcome| outcome.done().unwrap().id.as_ref().unwrap().as_str()).collect();
    assert_eq!(ids, ["id-guides", "id-guides", "id-bob", "id-ann", "26118915"]);
    assert_eq!(
        paths(&transport),
        [vec!["/Users", "/Users/26118915"], vec!["/Users"], vec!["/Groups"], vec!["/Groups/id-guides"]]
    );
    let sent = messages(&transport);
    assert_eq!(sent[1]["Operations"][0]["data"], json!({"manager": {"value": "id-ann"}}));
    assert_eq!(
        sent[2]["Operations"][0]["data"],
        json!({"members": [{"value": "id-ann", "$ref": "../Users/id-ann"}, {"value": "id-bob"}]})
    );
    assert_eq!(sent[3]["Operations"][0]["data"]["Operations"][0]["path"], "members[value eq \"id-bob\"]");
    assert_eq!(report.exchange.attempts().len(), 4);
}

#[tokio::test]
async fn what_cannot_be_in_an_order_is_refused_before_anything_is_sent() {
    let refused = [
        (
            vec![
                create("c", json!({"x": "bulkId:b"})),
                create("a", json!({"manager": {"value": "bulkId:b"}})),
                create("b", json!({"manager": {"value": "bulkId:a"}})),
            ],
            "operations refer to each other in a circle: `a`, `b`;",
        ),
        (vec![create("a", json!({"x": "bulkId:a"}))], "in a circle: `a`;"),
        (vec![create("a", json!({"x": "bulkId:b"}))], "operation `a` refers to `b`, and none is called that"),
        (vec![change("/Users/bulkId:b", json!({}))], "refers to `b`"),
        (vec![create("a", json!({})), create("a", json!({}))], "two operations are called `a`"),
        (vec![create("", json!({}))], "an empty `bulkId`"),
        (vec![BulkOperation::delete("/Users")], "names no resource"),
        (vec![BulkOperation::delete("/")], "has no path"),
        (vec![BulkOperation::delete("/Users/..")], "`.` or `..`"),
        (vec![BulkOperation::delete("/Users/1?x")], "a query"),
        (vec![BulkOperation::delete("/Users/%ff")], "no UTF-8"),
        (vec![BulkOperation::default()], "has no method"),
    ];
    for (operations, why) in refused {
        let transport = MemoryTransport::scripted([]);
        let error = client(&transport).bulk(operations).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid);
        assert!(error.explanation().unwrap().contains(why), "{error}");
        assert!(!error.was_sent() && transport.requests().is_empty());
    }
    let mut change_by_name = change("/Users/1", json!({}));
    change_by_name.bulk_id = Some("one".to_owned());
    let error = client(&MemoryTransport::scripted([]))
        .bulk([change_by_name, create("a", json!({"x": "bulkId:one"}))])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`one`, which makes nothing"), "{error}");
}

#[tokio::test]
async fn a_circle_is_opened_by_a_later_change() {
    let transport = service(config(100, 1 << 20), all_well);
    let report = client(&transport)
        .bulk([
            create("ann", json!({"manager": {"value": "bulkId:bob"}})),
            create("bob", json!({})),
            change("/Users/bulkId:bob", json!({"manager": {"value": "bulkId:ann"}})),
        ])
        .await
        .unwrap();
    assert_eq!(words(&report), ["done 201", "done 201", "done 204"]);
    assert_eq!(messages(&transport)[2]["Operations"][0]["data"]["manager"]["value"], "id-ann");
}

#[tokio::test]
async fn operations_about_one_resource_stay_in_their_order() {
    let transport = service(config(2, 1 << 20), all_well);
    let report = client(&transport)
        .bulk([
            change("/Groups/1", json!({"x": "bulkId:ann"})),
            BulkOperation::delete("/Groups/1"),
            BulkOperation::delete("/Groups/2"),
            create("ann", json!({})),
            change("/Groups/3", json!({})),
        ])
        .await
        .unwrap();
    assert!(words(&report).iter().all(|word| word.starts_with("done")));
    assert_eq!(
        paths(&transport),
        [vec!["/Groups/2", "/Users"], vec!["/Groups/1", "/Groups/1"], vec!["/Groups/3"]]
    );
    let methods: Vec<_> = messages(&transport)[1]["Operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["method"].clone())
        .collect();
    assert_eq!(methods, ["PATCH", "DELETE"]);
}

#[tokio::test]
async fn what_refers_to_something_that_failed_is_not_tried() {
    let transport = service(config(100, 1 << 20), |operations, _| {
        let of = |operation: &Value| match operation["bulkId"].as_str() {
            Some("ann") => json!({"method": "POST", "bulkId": "ann", "status": "409",
                "response": {"status": "409", "scimType": "uniqueness", "detail": "taken"}}),
            _ => well(operation),
        };
        response(&operations.iter().map(of).collect::<Vec<_>>())
    });
    let report = client(&transport)
        .bulk([
            create("ann", json!({})),
            create("bob", json!({"manager": {"value": "bulkId:ann"}})),
            create("eve", json!({"manager": {"value": "bulkId:bob"}})),
            change("/Groups/1", json!({"x": "bulkId:eve"})),
            change("/Groups/1", json!({"x": 1})),
        ])
        .await
        .unwrap();
    assert_eq!(
        words(&report),
        [
            "conflict adopt",
            "`ann`, which it refers to, was not made",
            "`bob`, which it refers to, was not made",
            "`eve`, which it refers to, was not made",
            "done 204"
        ]
    );
    let error = report.outcomes[0].error().unwrap();
    assert_eq!(error.explanation(), Some("taken"));
    assert_eq!((error.http_status(), error.path()), (Some(409), Some("/scim/v2/Users")));
    assert_eq!(error.attempts().len(), 1);
}

/// Answers well, but for creates of `ann` and changes of `lost`.
fn without_ann(operations: &[Value], _: &Value) -> Scripted {
    let of = |operation: &Value| match operation["bulkId"].as_str() {
        Some("ann") => json!({"method": "POST", "bulkId": "ann", "status": "409"}),
        Some("lost") => json!({"method": "PATCH", "bulkId": "lost", "status": "504"}),
        _ => well(operation),
    };
    response(&operations.iter().map(of).collect::<Vec<_>>())
}

#[tokio::test]
async fn what_is_left_out_lets_nothing_overtake_what_came_before_it() {
    let transport = service(config(100, 1 << 20), without_ann);
    let report = client(&transport)
        .bulk([
            change("/Groups/1", json!({"first": "bulkId:eve"})),
            change("/Groups/1", json!({"x": "bulkId:ann"})),
            change("/Groups/1", json!({"last": 1})),
            create("ann", json!({})),
            create("bob", json!({})),
            create("eve", json!({"manager": {"value": "bulkId:bob"}})),
        ])
        .await
        .unwrap();
    assert_eq!(words(&report)[0], "done 204");
    assert_eq!(words(&report)[2], "done 204");
    let sent = messages(&transport);
    let last = sent.last().unwrap()["Operations"].as_array().unwrap();
    assert_eq!(
        last.iter().map(|one| &one["data"]).collect::<Vec<_>>(),
        [&json!({"first": "id-eve"}), &json!({"last": 1})]
    );
}

#[tokio::test]
async fn doubt_about_a_resource_goes_past_what_is_left_out() {
    // That there is no `ann` is known before, with and after that nobody knows what became of the first change.
    for (limit, position) in [(1, 0), (1, 3), (100, 0), (100, 3)] {
        let transport = service(config(limit, 1 << 20), without_ann);
        let mut operations = vec![
            change("/Groups/1", json!({})),
            change("/Groups/1", json!({"x": "bulkId:ann"})),
            change("/Groups/1", json!({"x": 1})),
        ];
        operations[0].bulk_id = Some("lost".to_owned());
        operations.insert(position, create("ann", json!({})));
        let mut words = words(&client(&transport).bulk(operations).await.unwrap());
        words.remove(position);
        assert_eq!(
            words,
            [
                "unknown_outcome resolve_by_reading",
                "`ann`, which it refers to, was not made",
                "nobody knows what an earlier operation did to the same resource"
            ],
            "{limit}, {position}"
        );
        let sent = paths(&transport).concat();
        assert_eq!(sent.iter().filter(|path| *path == "/Groups/1").count(), 1);
    }
}

#[tokio::test]
async fn a_quote_within_a_text_begins_no_reference() {
    for name in ["nobody", "ann"] {
        let path = format!("members[display eq \"x\\\"bulkId:{name}\"]");
        let removal = json!({"Operations": [{"op": "remove", "path": path}]});
        let transport = service(config(100, 1 << 20), all_well);
        let operations = [create("ann", json!({})), change("/Groups/1", removal.clone())];
        let report = client(&transport).bulk(operations).await.unwrap();
        assert_eq!(words(&report), ["done 201", "done 204"]);
        assert_eq!(messages(&transport)[0]["Operations"][1]["data"], removal);
    }
}
