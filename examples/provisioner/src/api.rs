//! The HTTP API and the status page.

mod duty;
mod reviews;

use std::sync::Arc;

use audit_log::Entry;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use connector_health::export;
use connector_health::offboarding::Offboarding;
use connector_health::{ConnectorId, PersonId};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use crate::access::Access;
use crate::access::Role;
use crate::engine::{Apply, Engine, EngineError, TakeError};
use crate::people::{self, Happening, Kind, Person};

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 16 << 20;

const OPENAPI: &str = include_str!("../web/openapi.json");

/// Everything that is answered.
pub(crate) fn router(engine: Arc<Engine>, access: Access) -> Router {
    let guarded = Router::new()
        .route("/events", post(events))
        .route("/alerts", get(alerts))
        .route("/offboardings", get(offboardings))
        .route("/offboardings/{person}", get(offboarding))
        .route("/offboard/{person}", post(offboard))
        .route("/connectors/{connector}/replay", post(replay))
        .route("/connectors/{connector}/approve", post(approve))
        .route("/connectors/{connector}/reconciliation", get(reconciliation).post(reconcile))
        .route("/sources/{source}/approve", post(approve_source))
        .route("/api/status", get(status))
        .route("/metrics", get(metrics))
        .merge(reviews::routes())
        .merge(duty::routes())
        .route_layer(middleware::from_fn_with_state((access, engine.clone()), admit))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(engine);
    Router::new()
        .route("/", get(|| page("text/html; charset=utf-8", include_str!("../web/status.html"))))
        .route("/status.css", get(|| page("text/css; charset=utf-8", include_str!("../web/status.css"))))
        .route("/status.js", get(|| page("text/javascript; charset=utf-8", include_str!("../web/status.js"))))
        .route("/openapi.json", get(|| page("application/json", OPENAPI)))
        .merge(guarded)
        .layer(middleware::from_fn(harden))
}

async fn page(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Lets in who may; whoever asks for a change is on record before it happens.
async fn admit(
    State((access, engine)): State<(Access, Arc<Engine>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(holder) = access.holder(request.headers()) else {
        let mut refusal = said(StatusCode::UNAUTHORIZED, "a bearer token is needed, and this is not it");
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refusal;
    };
    let path = request.uri().path();
    let may = holder.role.may(request.method(), path);
    if !may || !Role::Reader.may(request.method(), path) {
        let entry = Entry::new("api.request")
            .actor(&holder.name)
            .target(request.uri().path())
            .outcome(if may { "success" } else { "denied" })
            .field("role", holder.role);
        if let Err(error) = engine.note(entry).await {
            return failed(&error);
        }
    }
    if !may {
        return said(
            StatusCode::FORBIDDEN,
            match holder.role {
                Role::Reviewer => "this token is good for its reviews only",
                Role::Reader | Role::Operator => "this token is good for reading only",
            },
        );
    }
    let holder = holder.clone();
    request.extensions_mut().insert(holder);
    next.run(request).await
}

/// Nothing but our own script runs on the page, nobody frames it, and nothing that concerns people is kept by a cache.
async fn harden(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

fn shown(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

pub(crate) fn said(status: StatusCode, message: impl Into<String>) -> Response {
    shown(status, &json!({"message": message.into()}))
}

/// The service itself failed: the reason is for its log.
pub(crate) fn failed(error: &dyn std::fmt::Display) -> Response {
    crate::say(&format!("a request failed: {error}"));
    said(StatusCode::INTERNAL_SERVER_ERROR, "the provisioner failed; its log says why")
}

impl IntoResponse for EngineError {
    fn into_response(self) -> Response {
        failed(&self)
    }
}

async fn events(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    taken(&engine, &body, None).await
}

/// Takes what is in a body. `at` is when it happened where it does not say so itself.
pub(crate) async fn taken(engine: &Arc<Engine>, body: &[u8], at: Option<DateTime<Utc>>) -> Response {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            return said(StatusCode::BAD_REQUEST, format!("not UTF-8 from byte {} on", error.valid_up_to()));
        }
    };
    let mut happenings = match people::read(text) {
        Ok(happenings) => happenings,
        Err(mistakes) => {
            return shown(StatusCode::BAD_REQUEST, &json!({"accepted": 0, "mistakes": mistakes}));
        }
    };
    for happening in &mut happenings {
        happening.at = happening.at.or(at);
    }
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    // What was accepted before a failure is durable, and sending it again does no harm. It goes on to its end also where whoever sent it goes
    // away: others who grant something to the same people wait for that end.
    let engine = Arc::clone(engine);
    let all = tokio::spawn(async move { engine.take_all(&happenings).await });
    let all = all.await.unwrap_or_else(|error| Err(EngineError::Broken(error.to_string())));
    let answers = match all {
        Ok(answers) => answers,
        Err(error) => return failed(&error),
    };
    let mut is_transient = false;
    for (number, answer) in answers.into_iter().enumerate() {
        is_transient |= match &answer {
            Ok(done) => done.is_stuck,
            Err(error) => error.is_transient(),
        };
        match answer {
            Ok(done) => match done.not_done() {
                None => taken.push(done),
                Some(why) => refused.push(json!({"line": number + 1, "message": why})),
            },
            Err(TakeError::Mistake(mistake)) => {
                refused.push(json!({"line": number + 1, "message": mistake.to_string()}));
            }
            Err(error @ TakeError::Failed(_)) => return failed(&error),
        }
    }
    let status = match refused.is_empty() {
        true => StatusCode::ACCEPTED,
        // Senders say it again, all of it, and what was accepted is known by then.
        false if is_transient => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    shown(status, &json!({"accepted": taken.len(), "taken": taken, "refused": refused}))
}

async fn alerts(State(engine): State<Arc<Engine>>) -> Response {
    let alerts = match engine.alerts().await {
        Ok(alerts) => alerts,
        Err(error) => return failed(&error),
    };
    match serde_json::to_value(alerts) {
        Ok(alerts) => shown(StatusCode::OK, &alerts),
        Err(error) => failed(&error),
    }
}

async fn status(State(engine): State<Arc<Engine>>) -> Result<Response, EngineError> {
    Ok(shown(StatusCode::OK, &engine.status().await?))
}

async fn offboardings(State(engine): State<Arc<Engine>>) -> Response {
    shown(StatusCode::OK, &json!({"open": engine.open_leavers()}))
}

#[derive(Deserialize)]
struct Form {
    format: Option<String>,
}

async fn offboarding(
    State(engine): State<Arc<Engine>>,
    Path(person): Path<String>,
    Query(form): Query<Form>,
) -> Result<Response, EngineError> {
    let Ok(person) = PersonId::new(&person) else {
        return Ok(said(StatusCode::BAD_REQUEST, "this is no identifier of a person"));
    };
    let offboarding: Offboarding = engine.offboarding(&person).await?;
    if offboarding.systems.is_empty() {
        return Ok(said(StatusCode::NOT_FOUND, "nobody of that identifier is known here"));
    }
    Ok(match form.format.as_deref() {
        None | Some("json") => match serde_json::to_value(&offboarding) {
            Ok(value) => shown(StatusCode::OK, &value),
            Err(error) => failed(&error),
        },
        Some("csv") => {
            ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], export::csv([&offboarding])).into_response()
        }
        Some("html") => {
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], export::html(&offboarding)).into_response()
        }
        Some(_) => said(StatusCode::BAD_REQUEST, "`format` is `json`, `csv` or `html`"),
    })
}

async fn offboard(State(engine): State<Arc<Engine>>, Path(person): Path<String>) -> Response {
    let Ok(id) = PersonId::new(&person) else {
        return said(StatusCode::BAD_REQUEST, "this is no identifier of a person");
    };
    let person = Person::named(id);
    match engine.take(&Happening { kind: Kind::Leaver, at: None, person }).await {
        Ok(taken) => {
            let status = match taken.refused.is_empty() {
                true => StatusCode::ACCEPTED,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            match serde_json::to_value(taken) {
                Ok(taken) => shown(status, &taken),
                Err(error) => failed(&error),
            }
        }
        Err(error) if error.is_transient() => said(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(TakeError::Mistake(mistake)) => said(StatusCode::UNPROCESSABLE_ENTITY, mistake.to_string()),
        Err(error) => failed(&error),
    }
}

async fn replay(
    State(engine): State<Arc<Engine>>,
    Path(connector): Path<String>,
) -> Result<Response, EngineError> {
    let known = match ConnectorId::new(&connector) {
        Ok(connector) => engine.replay(&connector).await?,
        Err(_) => false,
    };
    Ok(match known {
        true => said(StatusCode::ACCEPTED, "it is probed now, and what waits goes out if it answers"),
        false => said(StatusCode::NOT_FOUND, "there is no such connector"),
    })
}

async fn approve(
    State(engine): State<Arc<Engine>>,
    Path(connector): Path<String>,
) -> Result<Response, EngineError> {
    let Ok(connector) = ConnectorId::new(&connector) else {
        return Ok(said(StatusCode::NOT_FOUND, "there is no such connector"));
    };
    let approved = engine.approve(&connector).await?;
    Ok(shown(StatusCode::OK, &json!({"approved": approved})))
}

async fn approve_source(
    State(engine): State<Arc<Engine>>,
    Path(source): Path<String>,
) -> Result<Response, EngineError> {
    Ok(match engine.approve_source(&source).await? {
        true => said(StatusCode::ACCEPTED, "it goes on"),
        false => said(StatusCode::NOT_FOUND, "nothing there waits for approval"),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    apply: Option<Apply>,
}

async fn reconcile(
    State(engine): State<Arc<Engine>>,
    Path(connector): Path<String>,
    Query(Reconcile { apply }): Query<Reconcile>,
) -> Result<Response, EngineError> {
    let Some(connector) = ConnectorId::new(&connector).ok().filter(|connector| engine.knows(connector))
    else {
        return Ok(said(StatusCode::NOT_FOUND, "there is no such connector"));
    };
    Ok(match engine.reconcile(&connector, apply).await? {
        true => said(StatusCode::ACCEPTED, "accounts are being listed; a GET here shows how far it is"),
        false => said(StatusCode::CONFLICT, "accounts are being listed already"),
    })
}

async fn reconciliation(State(engine): State<Arc<Engine>>, Path(connector): Path<String>) -> Response {
    let shown_of = ConnectorId::new(&connector).ok().and_then(|connector| engine.reconciliation(&connector));
    match shown_of {
        Some(found) => shown(StatusCode::OK, &found),
        None => said(StatusCode::NOT_FOUND, "nothing was reconciled there since the service started"),
    }
}

/// Prometheus' text format, under OpenTelemetry's names with `_` for `.`.
async fn metrics(State(engine): State<Arc<Engine>>) -> Result<Response, EngineError> {
    let status = engine.status().await?;
    let mut text = String::new();
    let mut family = |name: &str, about: &str, kind: &str, values: Vec<(String, f64)>| {
        text.push_str(&format!("# HELP {name} {about}\n# TYPE {name} {kind}\n"));
        for (labels, value) in values {
            text.push_str(&format!("{name}{{{labels}}} {value}\n"));
        }
    };
    let connectors: Vec<&Value> =
        status.get("connectors").and_then(Value::as_array).into_iter().flatten().collect();
    let label = |connector: &Value| {
        let id = connector.get("id").and_then(Value::as_str).unwrap_or_default();
        format!("connector=\"{}\"", id.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let number =
        |connector: &Value, name: &str| connector.get(name).and_then(Value::as_f64).unwrap_or_default();
    let state = |connector: &Value| match connector.get("state").and_then(Value::as_str) {
        Some("healthy") => 0.0,
        Some("degraded") => 1.0,
        Some("failed") => 2.0,
        _ => -1.0,
    };
    family(
        "connector_state",
        "0 healthy, 1 degraded, 2 failed, -1 not seen yet",
        "gauge",
        connectors.iter().map(|connector| (label(connector), state(connector))).collect(),
    );
    let depth = |kind: &'static str, field: &'static str| {
        connectors
            .iter()
            .map(move |connector| (format!("{},kind=\"{kind}\"", label(connector)), number(connector, field)))
    };
    family(
        "connector_queue_depth",
        "Changes that wait",
        "gauge",
        depth("provisioning", "provisioning_queued")
            .chain(depth("deprovisioning", "deprovisioning_queued"))
            .collect(),
    );
    family(
        "connector_queue_failed",
        "Changes that wait and whose last attempt failed",
        "gauge",
        depth("provisioning", "provisioning_failed")
            .chain(depth("deprovisioning", "deprovisioning_failed"))
            .collect(),
    );
    family(
        "connector_queue_oldest_age_seconds",
        "Age of the oldest deprovisioning that waits",
        "gauge",
        connectors
            .iter()
            .map(|connector| (label(connector), number(connector, "oldest_deprovision_age_s")))
            .collect(),
    );
    family(
        "offboardings_open",
        "People who left and are not confirmed to be out everywhere",
        "gauge",
        vec![(String::new(), status.get("leavers_open").and_then(Value::as_f64).unwrap_or_default())],
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
