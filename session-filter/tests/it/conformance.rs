//! Our own implementations keep what their traits promise.

use session_filter::record::MemoryRecorder;
use session_filter::{Policy, SharedPolicy, conformance};

#[tokio::test]
async fn the_memory_recorder_keeps_its_promises() {
    let recorder = MemoryRecorder::default();
    conformance::recorder(&recorder, || async {
        recorder.events().iter().map(|event| event.event_id).collect()
    })
    .await;
}

#[tokio::test]
async fn the_shared_policy_keeps_its_promises() {
    let source = SharedPolicy::new(Policy::from_toml("").unwrap());
    conformance::policy_source(&source, |policy| async { source.set(policy) }).await;
}
