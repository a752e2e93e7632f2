//! Access reviews.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use connector_health::review::{Decision, ItemKey, SnapshotHash};
use connector_health::{AccountId, CampaignId, ConnectorId, EntitlementId, PersonId, Right};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{failed, said, shown};
use crate::access::{Holder, Role};
use crate::engine::{Engine, Form, Plan, Refused, Which};

/// Most decisions of one request.
const DECISIONS_MAX: usize = 10_000;

pub(super) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/reviews", get(list).post(start))
        .route("/reviews/{campaign}", get(progress))
        .route("/reviews/{campaign}/items", get(items))
        .route("/reviews/{campaign}/decisions", post(decide))
        .route("/reviews/{campaign}/assignments", post(assign))
        .route("/reviews/{campaign}/revocations", post(approve_revokes))
        .route("/reviews/{campaign}/signature", post(sign))
        .route("/reviews/{campaign}/cancellation", post(cancel))
        .route("/reviews/{campaign}/report", get(report))
}

/// Why a request is answered with no.
pub(super) enum No {
    Refused(Refused),
    Unreadable(String),
    /// What people decide is decided by a person.
    Nobodys,
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(Refused::Engine(error)) => failed(&error),
            Self::Refused(no @ (Refused::NoSuch | Refused::NoSuchGrant | Refused::NoSuchViolation)) => {
                said(StatusCode::NOT_FOUND, no.to_string())
            }
            Self::Refused(no @ (Refused::Beginning | Refused::NotTaken(_))) => {
                said(StatusCode::CONFLICT, no.to_string())
            }
            Self::Refused(no) => said(StatusCode::UNPROCESSABLE_ENTITY, no.to_string()),
            Self::Unreadable(why) => said(StatusCode::BAD_REQUEST, why),
            Self::Nobodys => said(
                StatusCode::FORBIDDEN,
                "this token is nobody's: `person` beside it in the settings says whose decisions these are",
            ),
        }
    }
}

/// What a body says, or why it says nothing.
pub(super) fn body<T: DeserializeOwned>(body: &Bytes) -> Result<T, No> {
    serde_json::from_slice(body).map_err(|error| No::Unreadable(error.to_string()))
}

/// Whose token it is.
pub(super) fn person(holder: &Holder) -> Result<&PersonId, No> {
    holder.person.as_ref().ok_or(No::Nobodys)
}

fn campaign(name: &str) -> Result<CampaignId, No> {
    CampaignId::new(name).map_err(|_| Refused::NoSuch.into())
}

/// A reviewer sees what is theirs.
fn only(holder: &Holder) -> Result<Option<&PersonId>, No> {
    match holder.role {
        Role::Reviewer => person(holder).map(Some),
        Role::Reader | Role::Operator => Ok(None),
    }
}

async fn list(State(engine): State<Arc<Engine>>) -> Response {
    shown(StatusCode::OK, &json!(engine.reviews().await))
}

async fn start(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    bytes: Bytes,
) -> Result<Response, No> {
    let owner = person(&holder)?;
    let plan: Plan = body(&bytes)?;
    let id = engine.begin_review(plan, owner.clone()).await?;
    Ok(shown(StatusCode::ACCEPTED, &json!({"campaign": id})))
}

async fn progress(State(engine): State<Arc<Engine>>, Path(name): Path<String>) -> Result<Response, No> {
    let progress = engine.review(&campaign(&name)?).await?;
    Ok(shown(StatusCode::OK, &progress))
}

async fn items(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, No> {
    let items = engine.review_items(&campaign(&name)?, &which, only(&holder)?).await?;
    Ok(shown(StatusCode::OK, &items))
}

#[derive(Deserialize)]
struct Item {
    person: PersonId,
    connector: ConnectorId,
    entitlement: EntitlementId,
    /// Where somebody has it by several.
    account: Option<AccountId>,
}

impl Item {
    async fn key(self, engine: &Engine, campaign: &CampaignId) -> Result<ItemKey, Refused> {
        let right = Right { connector: self.connector, entitlement: self.entitlement };
        engine.review_item(campaign, self.person, right, self.account).await
    }
}

#[derive(Deserialize)]
struct Decided {
    #[serde(flatten)]
    item: Item,
    /// Of what was shown.
    snapshot: SnapshotHash,
    #[serde(flatten)]
    decision: Decision,
}

async fn decide(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Response, No> {
    let (by, campaign) = (person(&holder)?, campaign(&name)?);
    let decisions: Vec<Decided> = body(&bytes)?;
    if decisions.len() > DECISIONS_MAX {
        let why = format!("at most {DECISIONS_MAX} decisions at a time");
        return Err(No::Unreadable(why));
    }
    let (mut taken, mut refused) = (0_u64, Vec::new());
    for (number, Decided { item, snapshot, decision }) in decisions.into_iter().enumerate() {
        let decided = match item.key(&engine, &campaign).await {
            Ok(key) => engine.decide(&campaign, by, key, snapshot, decision).await,
            Err(why) => Err(why),
        };
        match decided {
            Ok(()) => taken = taken.saturating_add(1),
            // Each by itself: what was taken until then is durable.
            Err(why @ (Refused::Review(_) | Refused::Plan(_))) => {
                refused.push(json!({"number": number + 1, "message": why.to_string()}));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let status = if refused.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let why: Vec<&str> = refused.iter().filter_map(|one| one.get("message")?.as_str()).collect();
    Ok(shown(status, &json!({"taken": taken, "refused": refused, "message": why.join("; ")})))
}

#[derive(Deserialize)]
struct Assigned {
    #[serde(flatten)]
    item: Item,
    to: PersonId,
    reason: String,
}

async fn assign(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Response, No> {
    let (by, campaign) = (person(&holder)?, campaign(&name)?);
    let Assigned { item, to, reason } = body(&bytes)?;
    let key = item.key(&engine, &campaign).await?;
    engine.assign(&campaign, by, key, to, reason).await?;
    Ok(said(StatusCode::OK, "assigned"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approved {
    /// How many were shown to be held.
    revokes: u64,
    reason: String,
}

async fn approve_revokes(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Response, No> {
    let Approved { revokes, reason } = body(&bytes)?;
    engine.approve_revokes(&campaign(&name)?, person(&holder)?, revokes, reason).await?;
    Ok(said(StatusCode::OK, "they go"))
}

async fn sign(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(name): Path<String>,
) -> Result<Response, No> {
    engine.sign(&campaign(&name)?, person(&holder)?).await?;
    Ok(said(StatusCode::OK, "signed"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancelled {
    reason: String,
}

async fn cancel(
    State(engine): State<Arc<Engine>>,
    Extension(holder): Extension<Holder>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Response, No> {
    let Cancelled { reason } = body(&bytes)?;
    engine.cancel(&campaign(&name)?, person(&holder)?, reason).await?;
    Ok(said(StatusCode::OK, "cancelled"))
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    pub(super) format: Option<String>,
}

/// What a report is asked for as, and its content type.
pub(super) fn form(format: Option<&str>) -> Result<(Form, &'static str), No> {
    match format {
        None | Some("json") => Ok((Form::Json, "application/json")),
        Some("csv") => Ok((Form::Csv, "text/csv; charset=utf-8")),
        Some("html") => Ok((Form::Html, "text/html; charset=utf-8")),
        Some(_) => Err(No::Unreadable("`format` is `json`, `csv` or `html`".to_owned())),
    }
}

async fn report(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, No> {
    let (form, kind) = form(wanted.format.as_deref())?;
    let report = engine.review_report(&campaign(&name)?, form).await?;
    Ok(([(header::CONTENT_TYPE, kind)], report).into_response())
}
