//! One behaviour suite for every server, real or not, and what each deviates in.
//!
//! A check asks through the client and notes what it saw beside what RFC 7644 says. What the client claims is asserted on the spot: a server
//! may be as odd as it likes, but the client must not be wrong about it. What the server does differently goes into
//! `docs/deviations.md`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use scim_client::auth::Bearer;
use scim_client::clock::Clock;
use scim_client::dialect::Dialect;
use scim_client::resource::{Attributes, DynamicResource, ResourceId};
use scim_client::transport::{Body, Transport, TransportError};
use scim_client::{Client, Endpoint, Error, ErrorKind};
use serde_json::{Value, json};

mod checks;

/// A server under test.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    dialect: Dialect,
    wire: Wire,
    base: String,
    token: String,
    /// What was seen, by behaviour.
    seen: Mutex<Seen>,
    /// Makes names unlike those of other runs against the same server.
    mark: String,
}

/// What RFC 7644 says and what was seen, by behaviour, in the order of the checks.
pub(crate) type Seen = Vec<(&'static str, &'static str, String)>;

impl Subject {
    pub(crate) fn new(
        name: &'static str,
        base: &str,
        token: &str,
        dialect: Dialect,
        transport: impl Transport + 'static,
    ) -> Self {
        let wire = Wire { inner: Arc::new(transport), last: Arc::default() };
        let client =
            Client::over(base, wire.clone()).unwrap().auth(Bearer::new(token)).dialect(dialect.clone());
        Self {
            name,
            client,
            dialect,
            base: base.to_owned(),
            token: token.to_owned(),
            wire,
            seen: Mutex::default(),
            mark: "run".to_owned(),
        }
    }

    /// The same with a clock whose waits are over at once.
    pub(crate) fn hasty(mut self) -> Self {
        self.client = self.client.clock(Hasty::new());
        self
    }

    /// Runs all checks.
    pub(crate) async fn examine(self) -> Examined {
        checks::all(&self).await;
        Examined { name: self.name, seen: self.seen.into_inner().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Notes what was seen.
    fn note(&self, behaviour: &'static str, standard: &'static str, seen: impl Into<String>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((behaviour, standard, seen.into()));
    }

    fn users(&self) -> Endpoint<DynamicResource> {
        self.client.resources("Users")
    }

    fn groups(&self) -> Endpoint<DynamicResource> {
        self.client.resources("Groups")
    }

    /// A name that only this check uses.
    fn name_for(&self, check: &str) -> String {
        format!("{}-{check}@example.com", self.mark)
    }

    /// A user as it is sent.
    fn user(&self, check: &str) -> DynamicResource {
        resource(json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": self.name_for(check),
            "externalId": format!("hr-{check}"),
            "name": { "givenName": "Barbara", "familyName": "Jensen" },
            "displayName": "Barbara Jensen",
            "title": "Engineer",
            "active": true,
            "emails": [{ "value": self.name_for(check), "type": "work", "primary": true }],
        }))
    }

    async fn made(&self, check: &str) -> (ResourceId, DynamicResource) {
        let made = self.users().create(&self.user(check)).await;
        let made = made.unwrap_or_else(|error| panic!("{}: {check}: {error}", self.name)).into_inner();
        (id_of(&made), made)
    }

    /// Asks without the client, for what the client would not let pass. Asks again where that was too often.
    async fn raw(&self, method: &str, target: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let body = body.into();
        loop {
            let request = http::Request::builder()
                .method(method)
                .uri(format!("{}/{target}", self.base))
                .header("content-type", "application/scim+json")
                .header("authorization", format!("Bearer {}", self.token))
                .header("user-agent", "suite");
            let request = request.body(body.clone()).unwrap();
            let answer = self.wire.inner.send(request, Duration::from_secs(30)).await.unwrap();
            let status = answer.status().as_u16();
            if status == 429 {
                continue;
            }
            let body: Vec<Bytes> = answer.into_body().try_collect().await.unwrap();
            return (status, serde_json::from_slice(&body.concat()).unwrap_or_default());
        }
    }

    /// The last answer as it came over the wire.
    fn last(&self) -> Heads {
        self.wire.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A clock whose waits are over at once.
pub(crate) struct Hasty(Mutex<DateTime<Utc>>);

impl Hasty {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Utc::now()))
    }
}

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
        tokio::task::yield_now().await;
    }
}

/// What came of a subject.
pub(crate) struct Examined {
    pub(crate) name: &'static str,
    pub(crate) seen: Seen,
}

pub(crate) fn resource(value: Value) -> DynamicResource {
    let Value::Object(attributes) = value else { panic!("a resource is an object") };
    DynamicResource::new(attributes)
}

pub(crate) fn id_of(resource: &DynamicResource) -> ResourceId {
    scim_client::resource::Resource::id(resource).expect("a resource that was read has an id").clone()
}

/// An error as one word and its status.
fn word(error: &Error) -> String {
    match error.http_status() {
        Some(status) => format!("{} ({status})", error.kind().code()),
        None => error.kind().code().to_owned(),
    }
}

/// The headers of an answer, and the method it is to.
#[derive(Clone, Debug, Default)]
struct Heads {
    method: String,
    headers: http::HeaderMap,
}

impl Heads {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A transport that remembers the last answer.
#[derive(Clone)]
struct Wire {
    inner: Arc<dyn Transport>,
    last: Arc<Mutex<Heads>>,
}

#[async_trait]
impl Transport for Wire {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        let method = request.method().to_string();
        let answer = self.inner.send(request, timeout).await?;
        let headers = answer.headers().clone();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Heads { method, headers };
        Ok(answer)
    }
}

/// The committed file, of which each test owns one part.
pub(crate) fn check_part(part: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/deviations.md");
    let (begin, end) = (format!("<!-- begin {part} -->\n"), format!("<!-- end {part} -->\n"));
    let bless = std::env::var_os("BLESS").is_some();
    // Two tests may renew their parts at the same time.
    let lock = std::fs::File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    lock.lock().unwrap();
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    let found = file.split_once(&begin).and_then(|(before, rest)| {
        let (old, after) = rest.split_once(&end)?;
        Some((before.to_owned(), old.to_owned(), after.to_owned()))
    });
    let (before, old, after) = found.unwrap_or_else(|| panic!("{} lacks the part `{part}`", path.display()));
    if bless {
        std::fs::write(&path, format!("{before}{begin}{text}{end}{after}")).unwrap();
    } else {
        assert!(
            old == text,
            "docs/deviations.md is not what was seen (BLESS=1 renews it); seen:\n{text}\ncommitted:\n{old}"
        );
    }
}

/// All servers side by side: a row for each behaviour.
pub(crate) fn table(all: &[Examined]) -> String {
    let mut text = String::from("\n| behaviour | RFC 7644 |");
    for one in all {
        write!(text, " {} |", one.name).unwrap();
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(all.len()));
    text.push('\n');
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for (behaviour, standard, _) in all.iter().flat_map(|one| &one.seen) {
        if !rows.contains(&(behaviour, standard)) {
            rows.push((behaviour, standard));
        }
    }
    for (behaviour, standard) in rows {
        write!(text, "| {behaviour} | {standard} |").unwrap();
        for one in all {
            let seen = one
                .seen
                .iter()
                .find(|(known, ..)| *known == behaviour)
                .map_or("–", |(.., seen)| seen.as_str());
            write!(text, " {} |", if seen == standard { "✓" } else { seen }).unwrap();
        }
        text.push('\n');
    }
    text + "\n"
}

/// A list for each server of what it does differently.
pub(crate) fn lists(all: &[Examined]) -> String {
    let mut text = String::new();
    for one in all {
        write!(text, "\n### {}\n\n", one.name).unwrap();
        let different = one.seen.iter().filter(|(_, standard, seen)| seen != standard);
        let (left_out, different): (Vec<_>, Vec<_>) = different.partition(|(behaviour, _, seen)| {
            OPTIONAL.contains(behaviour)
                && ["unsupported", "no versions", "paging"].iter().any(|no| seen.starts_with(no))
        });
        // What is alike in several respects of one thing is said once.
        let mut said: Vec<(String, &str, &str)> = Vec::new();
        for (behaviour, standard, seen) in different {
            let (thing, respect) = behaviour.split_once(": ").unwrap_or((behaviour, ""));
            match said.iter_mut().find(|(known, as_standard, as_seen)| {
                !respect.is_empty()
                    && known.starts_with(&format!("{thing}: "))
                    && *as_standard == *standard
                    && *as_seen == seen.as_str()
            }) {
                Some((known, ..)) => write!(known, "; {respect}").unwrap(),
                None => said.push(((*behaviour).to_owned(), standard, seen)),
            }
        }
        for (behaviour, standard, seen) in said {
            writeln!(text, "* {behaviour} → {seen} (RFC 7644: {standard})").unwrap();
        }
        let whole = |behaviour: &'static str| match behaviour.split_once(": ") {
            Some((thing @ ("bulk" | "version"), _)) => thing,
            _ => behaviour,
        };
        let mut left_out: Vec<&str> = left_out.iter().map(|(behaviour, ..)| whole(behaviour)).collect();
        left_out.dedup();
        if !left_out.is_empty() {
            writeln!(text, "* left out, as it is optional: {}", left_out.join("; ")).unwrap();
        }
    }
    text + "\n"
}

/// What RFC 7644 lets a server do without.
const OPTIONAL: [&str; 9] = [
    "bulk: references to what is made in it",
    "bulk: an error beside what works",
    "bulk: `failOnErrors` of 1",
    "`.search`",
    "`sortBy`",
    "list: by cursor",
    "version: a write in an old one",
    "version: a read of the known one",
    "`/Me`",
];
