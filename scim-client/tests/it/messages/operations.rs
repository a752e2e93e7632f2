//! PATCH, bulk and search.

use scim_client::dialect::VerbCase;
use scim_client::message::{
    BulkMethod, BulkOperation, BulkRequest, BulkResponse, BulkStatus, PatchOp, PatchOperation, PatchVerb,
    SearchRequest, SortOrder,
};
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::User;
use serde_json::{Value, json};

fn read<T: for<'a> serde::Deserialize<'a>>(json: &Value) -> T {
    from_slice(json.to_string().as_bytes(), &ReadLimits::default()).unwrap()
}

#[test]
fn a_patch_is_written_as_rfc_7644_has_it() {
    let mut patch = PatchOp {
        operations: vec![
            PatchOperation {
                verb: PatchVerb::Replace,
                path: Some(r#"emails[type eq "work"].value"#.parse().unwrap()),
                value: Some(json!("b@example.com")),
            },
            PatchOperation { verb: PatchVerb::Remove, path: Some("nickName".parse().unwrap()), value: None },
            PatchOperation { verb: PatchVerb::Add, path: None, value: Some(json!({"active": false})) },
        ],
        verbs: VerbCase::Lower,
    };
    let written = serde_json::to_value(&patch).unwrap();
    assert_eq!(
        written,
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [
                {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "b@example.com"},
                {"op": "remove", "path": "nickName"},
                {"op": "add", "value": {"active": false}},
            ],
        }),
    );
    assert_eq!(read::<PatchOp>(&written), patch);
    patch.verbs = VerbCase::Title;
    assert_eq!(serde_json::to_value(&patch).unwrap()["Operations"][1]["op"], "Remove");
}

#[test]
fn reads_patches_as_entra_and_okta_send_them() {
    let entra: PatchOp = read(&json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [
            {"op": "Replace", "path": "active", "value": "False"},
            {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "Tours"},
            {"op": "Remove", "path": "members", "value": [{"value": "f648f8d5ea4e4cd38e9c"}]},
            {"op": "Add", "path": "manager", "value": null},
        ],
    }));
    assert_eq!(entra.operations[0].verb, PatchVerb::Replace);
    assert_eq!(entra.operations[0].value, Some(json!("False")));
    assert_eq!(entra.operations[2].value, Some(json!([{"value": "f648f8d5ea4e4cd38e9c"}])));
    assert_eq!(entra.operations[3].value, Some(Value::Null));

    let okta: PatchOp =
        read(&json!({"operations": {"OP": "replace", "path": "", "value": {"active": false}}}));
    assert_eq!(
        okta.operations,
        [PatchOperation { verb: PatchVerb::Replace, path: None, value: Some(json!({"active": false})) }],
    );
}

#[test]
fn a_patch_that_cannot_be_meant_is_refused_at_its_place() {
    for (patch, path, reason) in [
        (r#"{"Operations": [{"op": "move"}]}"#, "Operations[0].op", "expected `add`, `remove` or `replace`"),
        (
            r#"{"Operations": [{"op": "add"}, {"path": "a"}]}"#,
            "Operations[1]",
            "expected an operation with `op`",
        ),
        (
            r#"{"Operations": [{"op": "add", "path": "a[b eq"}]}"#,
            "Operations[0].path",
            "column 7: expected a value",
        ),
    ] {
        let error = from_slice::<PatchOp>(patch.as_bytes(), &ReadLimits::default()).unwrap_err();
        assert_eq!(error.path(), path);
        assert!(error.to_string().starts_with(reason), "{error}");
    }
}

#[test]
fn a_bulk_request_is_written_as_rfc_7644_has_it() {
    let patch = PatchOp {
        operations: vec![PatchOperation {
            verb: PatchVerb::Remove,
            path: Some("title".parse().unwrap()),
            value: None,
        }],
        verbs: VerbCase::Lower,
    };
    let mut request = BulkRequest::of(vec![
        BulkOperation::create("/Users", "qwerty", &User::new("Alice")).unwrap(),
        BulkOperation::replace("/Users/b7c14771", &User::new("Bob")).unwrap(),
        BulkOperation::patch("/Users/5d8d29d3", &patch).unwrap(),
        BulkOperation::delete("/Users/e9025315"),
    ]);
    request.fail_on_errors = Some(1);
    let written = serde_json::to_value(&request).unwrap();
    assert_eq!(
        written,
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
            "failOnErrors": 1,
            "Operations": [
                {"method": "POST", "path": "/Users", "bulkId": "qwerty",
                 "data": {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "Alice"}},
                {"method": "PUT", "path": "/Users/b7c14771",
                 "data": {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "Bob"}},
                {"method": "PATCH", "path": "/Users/5d8d29d3",
                 "data": {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                          "Operations": [{"op": "remove", "path": "title"}]}},
                {"method": "DELETE", "path": "/Users/e9025315"},
            ],
        }),
    );
    assert_eq!(read::<BulkRequest>(&written), request);
}

#[test]
fn reads_a_bulk_response_with_statuses_of_each_form() {
    let response: BulkResponse = read(&json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"],
        "Operations": [
            {"location": "https://example.com/v2/Users/92b725cd", "method": "post", "bulkId": "qwerty",
             "version": "W/\"oY4m4wn58tkVjJxK\"", "status": "201"},
            {"method": "PUT", "status": 412, "response": {"status": "412", "detail": "changed"}},
            {"method": "PATCH", "status": {"code": 204, "description": "No Content"}},
            {"method": "DELETE", "status": "404 Not Found"},
            {"method": "PURGE", "status": null},
            {"status": "fine"},
        ],
    }));
    let statuses: Vec<_> = response.operations.iter().map(|one| one.status.map(|status| status.0)).collect();
    assert_eq!(statuses, [Some(201), Some(412), Some(204), Some(404), None, None]);
    assert_eq!(response.operations[0].method, Some(BulkMethod::Post));
    assert_eq!(response.operations[4].method, Some(BulkMethod::Other("PURGE".to_owned())));
    assert!(BulkStatus(201).is_success() && !BulkStatus(412).is_success());
    assert_eq!(serde_json::to_value(BulkStatus(201)).unwrap(), json!("201"));
}

#[test]
fn a_search_is_written_as_rfc_7644_has_it() {
    let mut search = SearchRequest::new();
    search.attributes = vec!["displayName".parse().unwrap(), "userName".parse().unwrap()];
    search.filter = Some(r#"displayName sw "smith""#.parse().unwrap());
    search.sort_by = Some("name.familyName".parse().unwrap());
    search.sort_order = Some(SortOrder::Descending);
    search.start_index = Some(1);
    search.count = Some(10);
    let written = serde_json::to_value(&search).unwrap();
    assert_eq!(
        written,
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
            "attributes": ["displayName", "userName"],
            "filter": "displayName sw \"smith\"",
            "sortBy": "name.familyName",
            "sortOrder": "descending",
            "startIndex": 1,
            "count": 10,
        }),
    );
    assert_eq!(read::<SearchRequest>(&written), search);
}
