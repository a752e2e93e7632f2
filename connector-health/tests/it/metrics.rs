//! Figures, as a recorder gets them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use connector_health::alert::Backlog;
use connector_health::monitor::FailureClass;
use connector_health::{ConnectorId, Tier, metrics as figures};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use crate::monitor::start;

#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, f64>>>);

struct Figure(String, Recorded);

impl Figure {
    fn put(&self, value: f64) {
        self.1.0.lock().unwrap().insert(self.0.clone(), value);
    }
}

impl CounterFn for Figure {
    fn increment(&self, value: u64) {
        *self.1.0.lock().unwrap().entry(self.0.clone()).or_default() += value as f64;
    }
    fn absolute(&self, value: u64) {
        self.put(value as f64);
    }
}

impl GaugeFn for Figure {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.put(value);
    }
}

impl HistogramFn for Figure {
    fn record(&self, value: f64) {
        self.put(value);
    }
}

impl Recorded {
    fn figure(&self, key: &Key) -> Arc<Figure> {
        let mut labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        Arc::new(Figure(format!("{}{{{}}}", key.name(), labels.join(",")), self.clone()))
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.0.lock().unwrap().insert(format!("described {}", name.as_str()), 1.0);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(name, unit, text);
    }
    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(name, unit, text);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.figure(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.figure(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.figure(key))
    }
}

#[test]
fn have_the_names_of_the_conventions_and_nobody_in_their_labels() {
    let recorded = Recorded::default();
    let crm = ConnectorId::new("crm").unwrap();
    metrics::with_local_recorder(&recorded, || {
        figures::request(
            &crm,
            "PATCH",
            Some(401),
            Some(FailureClass::CredentialRefused),
            Duration::from_millis(250),
        );
        figures::request(
            &crm,
            "ann@example.com",
            None,
            Some(FailureClass::Unreachable),
            Duration::from_millis(500),
        );
        figures::operation(&crm, "deprovision", None, Duration::from_secs(2));
        let counts = Backlog {
            provisioning_queued: 7,
            deprovisioning_queued: 3,
            deprovisioning_failed: 1,
            oldest_deprovision_at: Some(start() - TimeDelta::seconds(90)),
            ..Backlog::default()
        };
        figures::queue(&crm, &counts, start());
        figures::state(&crm, Tier::Degraded);
        figures::superseded(&crm, 2);
        figures::superseded(&crm, 3);
    });
    let recorded = recorded.0.lock().unwrap().clone();
    let expected = [
        (
            "http.client.request.duration{connector=crm,error.type=credential_refused,http.request.method=PATCH,http.response.status_code=401}",
            0.25,
        ),
        (
            "http.client.request.duration{connector=crm,error.type=unreachable,http.request.method=_OTHER}",
            0.5,
        ),
        ("connector.operation.duration{connector=crm,operation=deprovision}", 2.0),
        ("connector.queue.depth{connector=crm,kind=provisioning_queued}", 7.0),
        ("connector.queue.depth{connector=crm,kind=provisioning_failed}", 0.0),
        ("connector.queue.depth{connector=crm,kind=deprovisioning_queued}", 3.0),
        ("connector.queue.depth{connector=crm,kind=deprovisioning_failed}", 1.0),
        ("connector.queue.oldest_age{connector=crm}", 90.0),
        ("connector.state{connector=crm,state=healthy}", 0.0),
        ("connector.state{connector=crm,state=unknown}", 0.0),
        ("connector.state{connector=crm,state=degraded}", 1.0),
        ("connector.state{connector=crm,state=failed}", 0.0),
        ("connector.replay.superseded{connector=crm}", 5.0),
    ];
    let expected: BTreeMap<String, f64> =
        expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(recorded, expected);
}

#[test]
fn are_described() {
    let recorded = Recorded::default();
    metrics::with_local_recorder(&recorded, figures::describe);
    assert_eq!(recorded.0.lock().unwrap().len(), 6);
}
