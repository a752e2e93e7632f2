//! Separation of duty.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use chrono::{DateTime, Utc};
use connector_health::sod::Mitigation;
use connector_health::{FunctionId, PersonId, RiskId};
use serde::Deserialize;
use serde_json::json;

use super::reviews::{No, Wanted, body, form, person};
use super::{said, shown};
use crate::access::Holder;
use crate::engine::{Engine, EngineError};

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/sod", get(duty))
        .route("/sod/held/{grant}/approval", post(approve))
        .route("/sod/held/{grant}/rejection", post(reject))
        .route("/sod/mitigations", post(mitigate))
        .route("/sod/revocations", post(revoke))
}

async fn duty(State(engine): State<Arc<Engine>>, Query(wanted): Query<Wanted>) -> Result<Response, No> {
    let (form, kind) = form(wanted.format.as_deref())?;
    Ok(([(header::CONTENT_TYPE, kind)], engine.duty_report(form)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// Of what was shown.
    snapshot: String,
    reason: String,
    until: Option<DateTime<Utc>>,
}

async fn approve(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(grant): Path<String>,
    bytes: Bytes,
) -> Result<Response, No> {
    let by = person(&holder)?;
    let Approval { snapshot, reason, until } = body(&bytes)?;
    // To its end, also where whoever decided goes away.
    let by = by.clone();
    let done =
        tokio::spawn(async move { engine.approve_grant(&grant, &by, &snapshot, &reason, until).await });
    done.await.unwrap_or_else(|error| Err(EngineError::Broken(error.to_string()).into()))?;
    Ok(said(StatusCode::OK, "it is granted"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejection {
    reason: String,
}

async fn reject(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(grant): Path<String>,
    bytes: Bytes,
) -> Result<Response, No> {
    let by = person(&holder)?;
    let Rejection { reason } = body(&bytes)?;
    engine.reject_grant(&grant, by, &reason).await?;
    Ok(said(StatusCode::OK, "it is not granted"))
}

async fn mitigate(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    bytes: Bytes,
) -> Result<Response, No> {
    let by = person(&holder)?;
    let mitigation: Mitigation = body(&bytes)?;
    // To its end: grants go on that waited for it.
    let by = by.clone();
    let done = tokio::spawn(async move { engine.mitigate(mitigation, &by).await });
    done.await.unwrap_or_else(|error| Err(EngineError::Broken(error.to_string()).into()))?;
    Ok(said(StatusCode::OK, "a control watches it"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    risk: RiskId,
    person: PersonId,
    function: Option<FunctionId>,
}

async fn revoke(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    bytes: Bytes,
) -> Result<Response, No> {
    let by = person(&holder)?;
    let Revocation { risk, person, function } = body(&bytes)?;
    let rights = engine.revoke_violation(&person, &risk, function, by).await?;
    Ok(shown(StatusCode::ACCEPTED, &json!({"rights": rights})))
}
