//! `/Bulk`, asked for with the crate's messages and without its client.

use super::*;
use scim_client::message::{BulkOperation, BulkRequest, BulkResponse};

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

    let mixed = vec![post("/Users", "taken", user("bulk-one")), post("/Users", "free", user("bulk-three"))];
    let mut request = BulkRequest::of(mixed.clone());
    let told = |done: Result<Vec<(Option<String>, u16)>, String>| match done {
        Err(no) => no,
        Ok(done) => {
            let of = |wanted: &str| {
                done.iter().find(|(id, _)| id.as_deref() == Some(wanted)).map(|(_, status)| *status)
            };
            match (of("taken"), of("free")) {
                (Some(409), Some(201)) => "409 and 201".to_owned(),
                (Some(409), None) => "409 and no more".to_owned(),
                _ => format!("{done:?}"),
            }
        }
    };
    subject.note("bulk: an error beside what works", "409 and 201", told(subject.bulk(&request).await));
    request.fail_on_errors = Some(1);
    request.operations[1] = post("/Users", "free", user("bulk-four"));
    subject.note("bulk: `failOnErrors` of 1", "409 and no more", told(subject.bulk(&request).await));
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
