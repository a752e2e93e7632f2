//! What is counted and found.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use serde::Serialize;

use super::keys::{Caller, Reader};
use super::{Problem, Shared};
use crate::id::TenantId;
use crate::log::Which;
use crate::metrics::Report;
use crate::store::EventStore;

/// The last 24 hours.
#[derive(Serialize)]
pub(super) struct Answer {
    tenant_id: TenantId,
    /// A cursor of the stream: everything before it is counted.
    stream_offset: String,
    #[serde(flatten)]
    report: Report,
}

pub(super) async fn metrics<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(Caller { tenant, .. }): Reader,
) -> Result<Json<Answer>, Problem> {
    let counted = api.metrics.report(&tenant, Utc::now()).await?;
    let stream_offset = api.cursors.cursor(&tenant, &Which::All, counted.offset);
    Ok(Json(Answer { tenant_id: tenant, stream_offset, report: counted.report }))
}

#[derive(Serialize)]
pub(super) struct Found {
    alerts: Vec<serde_json::Value>,
}

pub(super) async fn alerts<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(Caller { tenant, .. }): Reader,
) -> Result<Json<Found>, Problem> {
    let Some(alerts) = &api.alerts else {
        let detail = "this service does not look for attacks, so it has no alerts";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no_detection", detail));
    };
    match alerts.alerts(&tenant).await {
        Ok(alerts) => Ok(Json(Found { alerts })),
        Err(_) => Err(Problem::unavailable("unavailable", "alerts cannot be read")),
    }
}
