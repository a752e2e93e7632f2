//! Any bytes as the answer to a bulk request: one outcome for each operation, whatever it says, and none is done of which it
//! does not hold a status of success and what it is recognised by.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use scim_client::client::BulkOutcome;
use scim_client::dialect::{Dialect, Support};
use scim_client::message::BulkOperation;
use scim_client::resilience::Retry;
use scim_client::transport::{MemoryTransport, Scripted};
use scim_client::{Advice, Client};
use serde_json::json;

fuzz_target!(|input: &[u8]| {
    let answer = Scripted::bytes(200, "application/scim+json", input.to_vec());
    let transport = MemoryTransport::new(move |request| match request.uri().path() {
        "/Bulk" => answer.clone(),
        "/ServiceProviderConfig" => Scripted::json(200, &json!({"schemas": ["x"]})),
        _ => Scripted::status(500),
    });
    let patch = |id: &str, data| {
        let mut operation = BulkOperation::delete(format!("/Users/{id}"));
        operation.method = Some("PATCH".into());
        operation.data = Some(data);
        operation
    };
    let operations = [
        BulkOperation::create("/Users", "ann", &json!({"userName": "ann"})).expect("this is JSON"),
        patch("1", json!({"x": 1})),
        patch("1", json!({"x": 2})),
        BulkOperation::delete("/Users/2"),
        patch("bulkId:ann", json!({"x": 3})),
    ];
    let client = Client::over("https://app.example", transport.clone()).expect("this is a base");
    let client = client.retry(Retry::never());
    let client = client.dialect(Dialect::rfc7644().with(|dialect| dialect.bulk = Support::Yes));
    let report = block_on(client.bulk(operations).fail_on_errors(3).into_future())
        .expect("what goes wrong is in the outcomes");
    assert_eq!(report.outcomes.len(), 5);
    let text = String::from_utf8_lossy(input);
    for outcome in &report.outcomes {
        match outcome {
            BulkOutcome::Done(done) => {
                assert!((200..300).contains(&done.status) && done.id.is_some());
                assert!(text.contains('2'));
            }
            BulkOutcome::Failed(error) => {
                assert!(error.to_string().chars().all(|c| !c.is_control()));
                // Whatever was sent and is not told of has to be looked for.
                assert!(error.http_status().is_some() || error.advice() == Advice::ResolveByReading);
            }
            _ => {}
        }
    }
    // Whatever was said, nothing was sent again.
    let sent = transport.requests();
    assert!(sent.iter().filter(|request| request.uri().path() == "/Bulk").count() <= 2);
});
