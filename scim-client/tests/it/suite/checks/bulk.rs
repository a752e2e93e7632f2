//! `/Bulk`: what a server makes of references, asked without the client, and what the client makes of the server.

use super::*;
use scim_client::client::{BulkOutcome, BulkReport, NotAttempted};
use scim_client::message::{BulkOperation, BulkRequest, BulkResponse, PatchOp};

pub(super) async fn all(subject: &Subject) {
    let user = |name: &str| subject.user(name).attributes;
    let post =
        |path: &str, bulk_id: &str, data: Attributes| BulkOperation::create(path, bulk_id, &data).unwrap();
    let group = resource(json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "displayName": subject.name_for("bulk-group"),
        "members": [{ "value": "bulkId:one" }, { "value": "bulkId:two" }],
    }));
    let request = BulkRequest::of(vec![
        post("/Users", "one", user("bulk-one")),
        post("/Users", "two", user("bulk-two")),
        post("/Groups", "both", group.attributes),
    ]);
    let members = match subject.bulk(&request).await {
        Err(no) => no,
        Ok(done) if done.iter().all(|(_, status)| *status == 201) && done.len() == 3 => {
            let found = subject
                .groups()
                .list()
                .all()
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", subject.name));
            let ours = found
                .iter()
                .find(|one| one.attributes["displayName"] == subject.name_for("bulk-group").as_str());
            let members = ours.and_then(|ours| ours.attributes.get("members")).cloned().unwrap_or_default();
            let values: Vec<&str> =
                members.as_array().into_iter().flatten().filter_map(|one| one["value"].as_str()).collect();
            match values.iter().any(|value| value.starts_with("bulkId:")) {
                false => format!("{} members", values.len()),
                true => "not all are resolved".to_owned(),
            }
        }
        Ok(done) => format!("{done:?}"),
    };
    subject.note("bulk: references to what is made in it", "2 members", members);

    resolved(subject, request.operations).await;

    let mixed = |free: &str| [post("/Users", "taken", user("bulk-five")), post("/Users", "free", user(free))];
    let all = subject.client.bulk(mixed("bulk-three")).await;
    let seen = told(all.unwrap_or_else(|error| panic!("{}: {error}", subject.name)), subject);
    subject.note("bulk: an error beside what works", "409 and 201", seen);
    let stopped = subject.client.bulk(mixed("bulk-four")).fail_on_errors(1).await;
    let seen = told(stopped.unwrap_or_else(|error| panic!("{}: {error}", subject.name)), subject);
    subject.note("bulk: `failOnErrors` of 1", "409 and no more", seen);
}

/// What the client says of a user whose name is taken and one whose name is free. Where there is no `/Bulk` it has to say
/// the same.
fn told(report: BulkReport, subject: &Subject) -> String {
    let said = match report.outcomes.as_slice() {
        [BulkOutcome::Failed(error), BulkOutcome::Done(done)] if *error.kind() == ErrorKind::Conflict => {
            format!("{} and {}", error.http_status().unwrap(), done.status)
        }
        [BulkOutcome::Failed(error), BulkOutcome::NotAttempted(NotAttempted::Errors)]
            if *error.kind() == ErrorKind::Conflict =>
        {
            format!("{} and no more", error.http_status().unwrap())
        }
        other => format!("{other:?}"),
    };
    if report.exchange.attempts().iter().any(|attempt| attempt.path.ends_with("/Bulk")) {
        return said;
    }
    assert!(said.starts_with("409 and"), "{}: {said}", subject.name);
    "unsupported".to_owned()
}

/// Through the client everything that is referred to is found in its place, whatever the server makes of references.
async fn resolved(subject: &Subject, operations: Vec<BulkOperation>) {
    let names = ["bulk-five", "bulk-six"].map(|name| subject.user(name).attributes);
    let mut operations = operations;
    for (operation, name) in operations.iter_mut().zip(names) {
        operation.data = Some(Value::Object(name));
    }
    operations[2].data.as_mut().unwrap()["displayName"] = json!(subject.name_for("bulk-resolved"));
    // The group comes first, and changes once it is there.
    let change = PatchOp::new().remove_members([&ResourceId::new("bulkId:two")]);
    let change = change.in_dialect(&Dialect::rfc7644(), &Attributes::new()).unwrap().remove(0);
    operations.push(BulkOperation::patch("/Groups/bulkId:both", &change).unwrap());
    operations.rotate_right(2);
    let report = subject.client.bulk(operations).await;
    let report = report.unwrap_or_else(|error| panic!("{}: {error}", subject.name));
    let ids: Vec<ResourceId> = report
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            BulkOutcome::Done(done) => done.id.clone().unwrap(),
            // A server may not know this way to remove a member; the rest has to be done all the same.
            BulkOutcome::Failed(error) if error.method() == Some(&http::Method::PATCH) => {
                assert!(matches!(error.kind(), ErrorKind::SchemaMismatch(_)), "{}: {error}", subject.name);
                ResourceId::new("")
            }
            other => panic!("{}: {other:?}", subject.name),
        })
        .collect();
    let [both, changed, one, two] = ids.as_slice() else { panic!("{ids:?}") };
    let now = subject.now(&subject.groups(), both).await;
    let mut members: Vec<&str> =
        now["members"].as_array().unwrap().iter().filter_map(|one| one["value"].as_str()).collect();
    members.sort_unstable();
    let mut expected = if changed == both { vec![one.as_str()] } else { vec![one.as_str(), two.as_str()] };
    expected.sort_unstable();
    assert_eq!(members, expected, "{}", subject.name);
}

impl Subject {
    /// The status of each operation, by its `bulkId`; or how the request as a whole is refused.
    async fn bulk(&self, request: &BulkRequest) -> Result<Vec<(Option<String>, u16)>, String> {
        let body = serde_json::to_vec(request).unwrap();
        let (status, answer) = self.raw("POST", "Bulk", body).await;
        if status != 200 {
            return Err(format!("unsupported ({status})"));
        }
        let answer: BulkResponse = serde_json::from_value(answer).unwrap();
        let of = |result: scim_client::message::BulkResult| {
            (result.bulk_id, result.status.map_or(0, |status| status.0))
        };
        Ok(answer.operations.into_iter().map(of).collect())
    }
}
