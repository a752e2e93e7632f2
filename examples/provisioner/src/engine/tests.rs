//! What is kept, and what is too long to be.

use connector_health::MemoryConnector;
use futures::TryStreamExt as _;

use super::*;
use crate::people::{Happening, Kind, Person};

#[tokio::test]
async fn where_nothing_can_be_recorded_nothing_is_taken_and_the_work_stops() {
    let dir = tempfile::tempdir().unwrap();
    let crm = ConnectorId::new("crm").unwrap();
    let settings = Settings {
        data_dir: dir.path().to_owned(),
        thresholds: Thresholds::default(),
        rules: AlertRules::default(),
        probe_every: TimeDelta::hours(1),
        chart_step: TimeDelta::minutes(1),
        guard: MassLeaverGuard::off(),
        sinks: Vec::new(),
    };
    let connectors = Connectors::new().with(crm.clone(), MemoryConnector::default());
    let engine = Engine::open(settings, connectors).await.unwrap();
    engine.audit.clone().close().await.unwrap();
    let person =
        Person { user_name: Some("ann".to_owned()), ..Person::named(PersonId::new("emp-1").unwrap()) };
    let joins = Happening { kind: Kind::Joiner, at: None, person };
    assert!(matches!(engine.take(&joins).await, Err(TakeError::Failed(_))));
    assert_eq!(engine.outbox.counts(&crm).await.unwrap().provisioning_queued, 0);
    let why = engine.run().await.unwrap_err().to_string();
    assert!(why.contains("audit log"), "{why}");
}

#[tokio::test]
async fn an_entry_that_is_too_long_is_recorded_in_short_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        data_dir: dir.path().to_owned(),
        thresholds: Thresholds::default(),
        rules: AlertRules::default(),
        probe_every: TimeDelta::hours(1),
        chart_step: TimeDelta::minutes(1),
        guard: MassLeaverGuard::off(),
        sinks: Vec::new(),
    };
    let engine = Engine::open(settings, Connectors::new()).await.unwrap();
    let many: Vec<String> = (0..10_000).map(|n| format!("right-{n}")).collect();
    engine.record(Entry::new("x.y").outcome("success").field("all", &many)).await.unwrap();
    engine.record(Entry::new("x.z").outcome("success").field("all", capped(&many))).await.unwrap();
    engine.audit.clone().close().await.unwrap();
    let shown = capped(&many);
    assert_eq!((&shown["count"], &shown["first"][0]), (&json!(10_000), &json!("right-0")));
    assert!(shown.to_string().len() < LIST_BYTES_MAX);
    assert_eq!(capped(&["one"]), json!(["one"]));
    let log = open_audit(dir.path()).await.unwrap();
    let mut hits = log.read(..);
    let mut types = Vec::new();
    while let Some(hit) = hits.try_next().await.unwrap() {
        if !hit.event_type.starts_with("log.") {
            types.push(hit.event_type.clone());
        }
    }
    assert_eq!(types, ["entry.too_long", "x.z"]);
}
