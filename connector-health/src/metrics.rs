//! Figures for the [`metrics`](https://docs.rs/metrics) facade, under the names of OpenTelemetry's conventions.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `http.client.request.duration` | histogram, seconds | `connector`, `http.request.method`, `http.response.status_code`, `error.type` |
//! | `connector.operation.duration` | histogram, seconds | `connector`, `operation`, `error.type` |
//! | `connector.queue.depth` | gauge | `connector`, `kind` |
//! | `connector.queue.oldest_age` | gauge, seconds | `connector` |
//! | `connector.state` | gauge, 1 for the tier that it has and 0 for the others | `connector`, `state` |
//! | `connector.replay.superseded` | counter | `connector` |
//!
//! No label holds anything about a person. A connector's name is one of the configuration's; operation names are of the program's text,
//! and methods that HTTP does not name are `_OTHER`, so that nobody can make up new series.

use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::ConnectorId;
use crate::alert::Backlog;
use crate::monitor::{FailureClass, Tier};

const REQUEST_DURATION: &str = "http.client.request.duration";
const OPERATION_DURATION: &str = "connector.operation.duration";
const QUEUE_DEPTH: &str = "connector.queue.depth";
const QUEUE_OLDEST_AGE: &str = "connector.queue.oldest_age";
const STATE: &str = "connector.state";
const REPLAY_SUPERSEDED: &str = "connector.replay.superseded";

/// Tells the recorder what the figures are. Once, at the start.
pub fn describe() {
    describe_histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "Duration of HTTP requests to connected applications"
    );
    describe_histogram!(
        OPERATION_DURATION,
        Unit::Seconds,
        "Duration of operations on connected applications"
    );
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "Changes that wait for a connector");
    describe_gauge!(QUEUE_OLDEST_AGE, Unit::Seconds, "Age of the oldest deprovisioning that waits");
    describe_gauge!(STATE, Unit::Count, "Tier of a connector: 1 for the one it has");
    describe_counter!(REPLAY_SUPERSEDED, Unit::Count, "Changes that a later one took over");
}

/// One HTTP request was answered with `status`, or ended with `error` without an answer.
pub fn request(
    connector: &ConnectorId,
    method: &str,
    status: Option<u16>,
    error: Option<FailureClass>,
    duration: Duration,
) {
    let known = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    let method = known.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
    let mut labels =
        vec![("connector", connector.as_str().to_owned()), ("http.request.method", method.to_owned())];
    labels.extend(status.map(|status| ("http.response.status_code", status.to_string())));
    labels.extend(error_type(error));
    histogram!(REQUEST_DURATION, &labels).record(duration.as_secs_f64());
}

/// One operation (`create`, `deprovision`, …) ended, with `error` where it failed.
pub fn operation(
    connector: &ConnectorId,
    operation: &'static str,
    error: Option<FailureClass>,
    duration: Duration,
) {
    let mut labels = vec![("connector", connector.as_str().to_owned()), ("operation", operation.to_owned())];
    labels.extend(error_type(error));
    histogram!(OPERATION_DURATION, &labels).record(duration.as_secs_f64());
}

/// What waits for a connector at `now`.
pub fn queue(connector: &ConnectorId, counts: &Backlog, now: DateTime<Utc>) {
    let connector = connector.as_str();
    let depths = [
        ("provisioning_queued", counts.provisioning_queued),
        ("provisioning_failed", counts.provisioning_failed),
        ("deprovisioning_queued", counts.deprovisioning_queued),
        ("deprovisioning_failed", counts.deprovisioning_failed),
    ];
    for (kind, depth) in depths {
        gauge!(QUEUE_DEPTH, "connector" => connector.to_owned(), "kind" => kind).set(depth as f64);
    }
    let age =
        counts.oldest_deprovision_at.map(|since| now.signed_duration_since(since).num_milliseconds().max(0));
    gauge!(QUEUE_OLDEST_AGE, "connector" => connector.to_owned())
        .set(age.unwrap_or_default() as f64 / 1_000.0);
}

/// How a connector is.
pub fn state(connector: &ConnectorId, tier: Tier) {
    for each in [Tier::Healthy, Tier::Unknown, Tier::Degraded, Tier::Failed] {
        let here = if each == tier { 1.0 } else { 0.0 };
        gauge!(STATE, "connector" => connector.as_str().to_owned(), "state" => each.code()).set(here);
    }
}

/// Replay took over this many changes by later ones.
pub fn superseded(connector: &ConnectorId, changes: u64) {
    counter!(REPLAY_SUPERSEDED, "connector" => connector.as_str().to_owned()).increment(changes);
}

fn error_type(error: Option<FailureClass>) -> Option<(&'static str, String)> {
    error.map(|class| ("error.type", class.code().to_owned()))
}
