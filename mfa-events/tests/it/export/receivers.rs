//! Receivers that stand in for Splunk and Azure. The vendors' own clients are sent to them first (`judges`), so that what they ask
//! for is what those send.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testbed::Stub;
use testbed::http::{Answer, Request};

pub(crate) const TOKEN: &str = "EA33046C-6FEC-4DC0-AC66-4326E58B54C3";

/// What came, and what is answered in place of the usual.
#[derive(Default)]
struct State {
    batches: Vec<Vec<Value>>,
    script: VecDeque<Answer>,
    asked: Vec<Request>,
    acks: VecDeque<bool>,
    ack_is_on: bool,
    poison: Option<&'static str>,
}

/// A receiver of either kind.
pub(crate) struct Receiver {
    stub: Stub,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    fn start(answer: impl Fn(&Request, &mut State) -> Answer + Send + Sync + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let stub = Stub::start(move |request| {
            let mut state = shared.lock().unwrap();
            state.asked.push(request.clone());
            match state.script.pop_front() {
                Some(scripted) => scripted,
                None => answer(request, &mut state),
            }
        });
        Self { stub: stub.unwrap(), state }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.stub.addr()
    }

    /// Each request's events.
    pub(crate) fn batches(&self) -> Vec<Vec<Value>> {
        self.state.lock().unwrap().batches.clone()
    }

    /// All requests.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Answers these first.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().script.extend(answers);
    }

    /// Acknowledges, and says these when it is asked; then yes.
    pub(crate) fn acknowledge(&self, acks: impl IntoIterator<Item = bool>) {
        let mut state = self.state.lock().unwrap();
        state.ack_is_on = true;
        state.acks.extend(acks);
    }

    /// Finds every request bad that has an event of this actor's, and does not say which it is.
    pub(crate) fn poison(&self, actor: &'static str) {
        self.state.lock().unwrap().poison = Some(actor);
    }

    /// An HTTP Event Collector.
    pub(crate) fn hec() -> Self {
        Self::start(hec)
    }

    /// A data collection endpoint.
    pub(crate) fn sentinel() -> Self {
        Self::start(sentinel)
    }
}

pub(crate) fn said(status: u16, body: &Value) -> Answer {
    Answer::new(status, "application/json", body.to_string())
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request
        .headers
        .iter()
        .find(|(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn hec(request: &Request, state: &mut State) -> Answer {
    let channel = header(request, "x-splunk-request-channel");
    match header(request, "authorization") {
        None => return said(401, &json!({ "text": "Token is required", "code": 2 })),
        Some(value) if value == format!("Splunk {TOKEN}") => {}
        Some(_) => return said(403, &json!({ "text": "Invalid token", "code": 4 })),
    }
    if request.method != "POST" {
        return said(405, &json!({}));
    }
    if state.ack_is_on && channel.is_none() {
        return said(400, &json!({ "text": "Data channel is missing", "code": 10 }));
    }
    match request.path() {
        "/services/collector/ack" if state.ack_is_on => {
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            let is_indexed = state.acks.pop_front().unwrap_or(true);
            let acks =
                asked["acks"].as_array().unwrap().iter().map(|ack| (ack.to_string(), is_indexed.into()));
            return said(200, &json!({ "acks": Value::Object(acks.collect()) }));
        }
        "/services/collector/event" | "/services/collector" => {}
        _ => {
            return said(
                404,
                &json!({ "text": "The requested URL was not found on this server.", "code": 404 }),
            );
        }
    }
    let mut entries = Vec::new();
    for entry in serde_json::Deserializer::from_slice(&request.body).into_iter::<Value>() {
        let number = entries.len();
        let bad = |text: &str, code: u64| {
            said(400, &json!({ "text": text, "code": code, "invalid-event-number": number }))
        };
        let Ok(entry) = entry else { return bad("Invalid data format", 6) };
        let Some(object) = entry.as_object() else { return bad("Invalid data format", 6) };
        match object.get("event") {
            None | Some(Value::Null) => return bad("Event field is required", 12),
            Some(Value::String(text)) if text.is_empty() => return bad("Event field cannot be blank", 13),
            Some(_) => {}
        }
        const KNOWN: [&str; 7] = ["event", "fields", "host", "index", "source", "sourcetype", "time"];
        if object.keys().any(|key| !KNOWN.contains(&key.as_str())) || !object["time"].is_number() {
            return bad("Invalid data format", 6);
        }
        if object.get("index").is_some_and(|index| index == "other") {
            return bad("Incorrect index", 7);
        }
        entries.push(entry);
    }
    if state.poison.is_some_and(|actor| entries.iter().any(|entry| entry["event"]["actor_id"] == actor)) {
        return said(400, &json!({ "text": "Invalid data format", "code": 6 }));
    }
    if entries.is_empty() {
        return said(400, &json!({ "text": "No data", "code": 5 }));
    }
    state.batches.push(entries);
    match state.ack_is_on {
        true => said(200, &json!({ "text": "Success", "code": 0, "ackId": state.batches.len() - 1 })),
        false => said(200, &json!({ "text": "Success", "code": 0 })),
    }
}

/// The limit of a call, before compression and after it, as the vendor's client has it.
const CALL_BYTES_MAX: usize = 1024 * 1024;

fn sentinel(request: &Request, state: &mut State) -> Answer {
    if header(request, "authorization") != Some(&format!("Bearer {TOKEN}")) {
        return said(401, &json!({ "error": { "code": "InvalidToken", "message": "" } }));
    }
    let target =
        "/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-MfaEvents_CL?api-version=2023-01-01";
    if request.method != "POST" || request.target != target {
        return said(404, &json!({ "error": { "code": "NotFound", "message": request.target } }));
    }
    if header(request, "content-type") != Some("application/json") {
        return said(415, &json!({}));
    }
    let mut rows = Vec::new();
    match header(request, "content-encoding") {
        Some("gzip") => _ = flate2::read::GzDecoder::new(&request.body[..]).read_to_end(&mut rows).unwrap(),
        None => rows.clone_from(&request.body),
        Some(_) => return said(415, &json!({})),
    }
    if request.body.len() > CALL_BYTES_MAX || rows.len() > CALL_BYTES_MAX {
        return said(413, &json!({ "error": { "code": "ContentLengthLimitExceeded", "message": "" } }));
    }
    match serde_json::from_slice::<Vec<Value>>(&rows) {
        Ok(rows) if state.poison.is_some_and(|actor| rows.iter().any(|row| row["actor_id"] == actor)) => {
            said(400, &json!({ "error": { "code": "InvalidPayload", "message": "" } }))
        }
        Ok(rows) if rows.iter().all(|row| row["TimeGenerated"].is_string()) => {
            state.batches.push(rows);
            Answer::new(204, "application/json", "")
        }
        _ => said(400, &json!({ "error": { "code": "InvalidPayload", "message": "" } })),
    }
}
