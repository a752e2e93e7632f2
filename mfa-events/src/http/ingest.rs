//! Events in.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde::Serialize;
use uuid::Uuid;

use super::keys::{Caller, Sender};
use super::{Problem, Shared, Uncertain, body};
use crate::batch::{Batch, BatchError, Form, Item};
use crate::event::{self, Event, ReadError};
use crate::limits::BATCH_BYTES_MAX;
use crate::log::Which;
use crate::store::{Appended, EventStore};

/// What became of a message.
#[derive(Serialize)]
struct Report {
    /// Events that are new.
    accepted: usize,
    /// Events that were known already.
    known: usize,
    /// Those that are kept, new or known, in their order.
    events: Vec<Kept>,
    /// Those that are not, in their order.
    rejected: Vec<Rejected>,
    /// Events beyond the most that one message may have: they are to be sent again.
    unread: usize,
}

#[derive(Serialize)]
struct Kept {
    index: usize,
    event_id: Uuid,
    /// The cursor of the stream behind it.
    offset: String,
}

#[derive(Serialize)]
struct Rejected {
    index: usize,
    line: usize,
    errors: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    code: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
}

impl Fault {
    fn new(code: &'static str, pointer: &str, message: String) -> Self {
        Self { code, pointer: pointer.to_owned(), line: None, column: None, message }
    }
}

pub(super) async fn events<S: EventStore>(
    State(api): State<Shared<S>>,
    Sender(caller): Sender,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // Whoever has sent too much already need not send the rest first.
    caller.sends(0)?;
    let mut room = caller.room();
    let body = body::read(&headers, body, BATCH_BYTES_MAX, Some(&mut room)).await?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = match kind.split(';').next().unwrap_or_default().trim() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Form::Lines,
        _ => Form::Any,
    };
    let batch = Batch::read(&body, form).map_err(|error| match error {
        BatchError::TooLong => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", error.to_string()),
        BatchError::Empty | BatchError::Form(_) => Problem::bad(error.to_string()),
    })?;
    caller.sends(batch.items.len())?;
    let report = append(&api, &caller, batch).await?;
    let status = match report.events.is_empty() {
        true => StatusCode::UNPROCESSABLE_ENTITY,
        false => StatusCode::OK,
    };
    Ok((status, Json(report)).into_response())
}

async fn append<S: EventStore>(api: &Shared<S>, caller: &Caller, batch: Batch) -> Result<Report, Problem> {
    let tenant = &caller.tenant;
    let mut report =
        Report { accepted: 0, known: 0, events: Vec::new(), rejected: Vec::new(), unread: batch.unread };
    let mut events: Vec<Event> = Vec::new();
    let mut places = Vec::new();
    for (index, Item { line, event }) in batch.items.into_iter().enumerate() {
        match event {
            Ok(event) => {
                places.push((index, line, event.id()));
                events.push(event);
            }
            Err(error) => report.rejected.push(Rejected { index, line, errors: faults(error) }),
        }
    }
    let turn = caller.tenant_usage.events(events.len()).await;
    let uncertain =
        || places.iter().map(|(index, _, event_id)| Uncertain { index: *index, event_id: *event_id });
    let appended = api.log.append(tenant, events, Utc::now()).await;
    let appended = appended.map_err(|error| Problem::of_append(&error, uncertain()))?;
    drop(turn);
    if let Some(journal) = &api.journal
        && let Some(last) = appended.iter().map(|appended| appended.offset()).max()
    {
        journal.holds(tenant, last).await.map_err(|_| Problem::unknown(uncertain()))?;
    }
    for ((index, line, event_id), appended) in places.into_iter().zip(appended) {
        match appended {
            Appended::New(_) => report.accepted = report.accepted.saturating_add(1),
            Appended::Known(_) => report.known = report.known.saturating_add(1),
            Appended::Conflict(_) => {
                let message = "another event with this event_id is kept already".to_owned();
                let errors = vec![Fault::new("conflict", "/event_id", message)];
                report.rejected.push(Rejected { index, line, errors });
                continue;
            }
        }
        let offset = api.cursors.cursor(tenant, &Which::All, appended.offset());
        report.events.push(Kept { index, event_id, offset });
    }
    report.rejected.sort_by_key(|rejected| rejected.index);
    Ok(report)
}

fn faults(error: ReadError) -> Vec<Fault> {
    match error {
        ReadError::Form { line, column, pointer, message } => {
            vec![Fault { line: Some(line), column: Some(column), ..Fault::new("form", &pointer, message) }]
        }
        ReadError::Event(error) => {
            let fault = |fault: &event::Fault| Fault::new("event", &fault.pointer, fault.message.clone());
            error.faults().iter().map(fault).collect()
        }
        ReadError::TooLong => vec![Fault::new("too_long", "", error.to_string())],
    }
}
