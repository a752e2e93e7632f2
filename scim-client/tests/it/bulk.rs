//! Many changes at once.

use bytes::Bytes;
use scim_client::client::{BulkOutcome, BulkReport, NotAttempted};
use scim_client::message::BulkOperation;
use scim_client::resilience::Retry;
use scim_client::transport::{MemoryTransport, Scripted};
use scim_client::{Advice, Client, ErrorKind};
use serde_json::{Value, json};

use crate::suite::Hasty;

mod answers;
mod claims;
mod order;
mod properties;
mod ways;

fn client(transport: &MemoryTransport) -> Client {
    let client = Client::over("https://app.example/scim/v2", transport.clone()).unwrap();
    client.retry(Retry::never()).clock(Hasty::new())
}

fn config(operations_max: u64, bytes_max: u64) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "bulk": {"supported": true, "maxOperations": operations_max, "maxPayloadSize": bytes_max},
    })
}

fn response(operations: &[Value]) -> Scripted {
    let urn = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
    Scripted::json(200, &json!({"schemas": [urn], "Operations": operations}))
}

/// A service with `/Bulk` that is a closure from a request to its answer.
fn service(
    config: Value,
    bulk: impl Fn(&[Value], &Value) -> Scripted + Send + Sync + 'static,
) -> MemoryTransport {
    MemoryTransport::new(move |request| match request.uri().path() {
        "/scim/v2/ServiceProviderConfig" => Scripted::json(200, &config),
        "/scim/v2/Bulk" => {
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            bulk(body["Operations"].as_array().unwrap(), &body)
        }
        path => panic!("nobody asks for {path}"),
    })
}

/// That all went well: `POST` of `ann` makes `id-ann`.
fn well(operation: &Value) -> Value {
    let path = operation["path"].as_str().unwrap();
    let (status, location) = match operation["method"].as_str().unwrap() {
        "POST" => ("201", format!("https://x{path}/id-{}", operation["bulkId"].as_str().unwrap())),
        _ => ("204", format!("https://x{path}")),
    };
    json!({"method": operation["method"], "bulkId": operation["bulkId"], "location": location, "status": status})
}

fn all_well(operations: &[Value], _: &Value) -> Scripted {
    response(&operations.iter().map(well).collect::<Vec<_>>())
}

fn create(name: &str, data: Value) -> BulkOperation {
    BulkOperation::create("/Users", name, &data).unwrap()
}

fn change(path: &str, data: Value) -> BulkOperation {
    let mut operation = BulkOperation::delete(path);
    operation.method = Some("PATCH".into());
    operation.data = Some(data);
    operation
}

/// The messages that were sent.
fn messages(transport: &MemoryTransport) -> Vec<Value> {
    let bulk = |request: &http::Request<Bytes>| request.uri().path() == "/scim/v2/Bulk";
    transport
        .requests()
        .iter()
        .filter(|request| bulk(request))
        .map(|request| serde_json::from_slice(request.body()).unwrap())
        .collect()
}

/// The operations of each message, by path.
fn paths(transport: &MemoryTransport) -> Vec<Vec<String>> {
    let path = |operation: &Value| operation["path"].as_str().unwrap().to_owned();
    let of = |message: &Value| message["Operations"].as_array().unwrap().iter().map(path).collect();
    messages(transport).iter().map(of).collect()
}

/// Each outcome as one word.
fn words(report: &BulkReport) -> Vec<String> {
    let word = |outcome: &BulkOutcome| match outcome {
        BulkOutcome::Done(done) => format!("done {}", done.status),
        BulkOutcome::Failed(error) => format!("{} {}", error.kind().code(), error.advice().code()),
        BulkOutcome::NotAttempted(why) => why.to_string(),
        _ => unreachable!(),
    };
    report.outcomes.iter().map(word).collect()
}

const UNKNOWN: &str = "protocol resolve_by_reading";
