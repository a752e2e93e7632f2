//! Requests and single resources.

use super::*;

/// A request, taken apart.
pub(super) struct Asked<'r> {
    pub(super) request: &'r http::Request<Bytes>,
    pub(super) query: Vec<(String, String)>,
}

impl Asked<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn json(&self) -> Result<Value, Refusal> {
        let kind = self.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/scim+json") && !kind.starts_with("application/json") {
            return Err(Refusal::new(415, None, "the content is not SCIM"));
        }
        serde_json::from_slice(self.request.body())
            .map_err(|error| Refusal::bad("invalidSyntax", error.to_string()))
    }
}

impl Fake {
    pub(super) fn serve(&self, request: &http::Request<Bytes>) -> Outcome {
        let manners = &*self.manners;
        let query = request.uri().query().unwrap_or_default();
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let asked = Asked { request, query };
        if let Some(refusal) = self.meter.as_ref().and_then(|meter| meter.refuses(request.method())) {
            return Ok(refusal);
        }
        if asked.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return Err(Refusal::new(401, None, "no"));
        }
        if manners.user_agent_wanted && asked.header("user-agent").unwrap_or_default().is_empty() {
            return Err(Refusal::new(403, None, "requests must have a User-Agent"));
        }
        let path = request.uri().path().strip_prefix(manners.base_path);
        let path = path.ok_or_else(|| Refusal::new(404, None, "there is nothing here"))?;
        if manners.csrf {
            let is_read = request.method() == http::Method::GET;
            match asked.header("x-csrf-token") {
                Some(token) if is_read && token.eq_ignore_ascii_case("fetch") => {
                    let answer = self.route(&asked, path).unwrap_or_else(|refusal| refusal.answer(manners));
                    return Ok(answer
                        .header("x-csrf-token", CSRF)
                        .header("set-cookie", &format!("{SESSION}; path=/; secure; HttpOnly")));
                }
                Some(CSRF) if asked.header("cookie").is_some_and(|cookie| cookie.contains(SESSION)) => {}
                _ if is_read => {}
                _ => {
                    let refusal = Refusal::new(403, None, "CSRF token validation failed");
                    return Ok(refusal.answer(manners).header("x-csrf-token", "Required"));
                }
            }
        }
        self.route(&asked, path)
    }

    fn route(&self, asked: &Asked<'_>, path: &str) -> Outcome {
        let segments: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let kind = Kind::ALL.into_iter().find(|kind| segments.first() == Some(&kind.endpoint()));
        let not_here = || Refusal::new(404, None, "there is no such endpoint");
        match (asked.request.method().as_str(), kind, &segments[..]) {
            (
                "GET",
                None,
                ["ServiceProviderConfig" | "ServiceProviderConfigs" | "Schemas" | "ResourceTypes", ..],
            ) => self.discover(&segments).ok_or_else(not_here),
            ("POST", None, ["Bulk"]) => self.bulk(asked),
            (_, None, ["Me"]) => self.me(asked),
            ("GET", Some(kind), [_]) => self.list(kind, &asked.query),
            ("POST", Some(kind), [_, ".search"]) => self.search(kind, asked),
            ("POST", Some(kind), [_]) => self.create(kind, asked.json()?).map(|record| self.made(&record)),
            ("GET", Some(kind), [_, id]) => {
                let record = self.find(kind, id)?;
                if self.manners.versions && asked.header("if-none-match") == Some(&record.tag()) {
                    return Ok(Scripted::status(304));
                }
                Ok(self.shown(200, &record, &asked.query))
            }
            ("PUT", Some(kind), [_, id]) => {
                self.unchanged(kind, id, asked)?;
                let record = self.replace(kind, id, asked.json()?)?;
                Ok(self.shown(200, &record, &[]))
            }
            ("PATCH", Some(kind), [_, id]) => {
                self.unchanged(kind, id, asked)?;
                let record = self.patch(kind, id, &asked.json()?)?;
                match record {
                    Some(record) if self.manners.patch_answers_resource => Ok(self.shown(200, &record, &[])),
                    _ => Ok(Scripted::status(204)),
                }
            }
            ("DELETE", Some(kind), [_, id]) => {
                self.unchanged(kind, id, asked)?;
                self.delete(kind, id)?;
                Ok(Scripted::status(204))
            }
            _ => Err(not_here()),
        }
    }

    fn me(&self, asked: &Asked<'_>) -> Outcome {
        let me = self.lock().records.iter().find(|record| record.text("userName") == Some("me")).cloned();
        match me {
            Some(record) if self.manners.me && asked.request.method() == http::Method::GET => {
                Ok(self.shown(200, &record, &[]))
            }
            Some(_) | None if self.manners.me => Err(Refusal::new(404, None, "nobody")),
            _ => Err(Refusal::new(501, None, "there is no such endpoint")),
        }
    }

    pub(super) fn create(&self, kind: Kind, body: Value) -> Result<Record, Refusal> {
        let attributes = self.taken(kind, body)?;
        let mut state = self.lock();
        state.free(kind, &attributes, None)?;
        state.made += 1;
        let number = state.made;
        let id = match (self.manners.id_prefixes, kind) {
            (None, _) => format!("{number:08x}-0000-4000-8000-000000000000"),
            (Some((user, _)), Kind::User) => format!("{user}{number:010}"),
            (Some((_, group)), Kind::Group) => format!("{group}{number:06}"),
        };
        let record = Record { kind, id, attributes, version: 1, changed: number };
        state.records.push(record.clone());
        Ok(record)
    }

    pub(super) fn replace(&self, kind: Kind, id: &str, body: Value) -> Result<Record, Refusal> {
        self.find(kind, id)?;
        let attributes = self.taken(kind, body)?;
        self.keep(kind, id, attributes)
    }

    /// `None` where the change removed the resource.
    pub(super) fn patch(&self, kind: Kind, id: &str, body: &Value) -> Result<Option<Record>, Refusal> {
        let record = self.find(kind, id)?;
        let attributes = self.patched(&record, body)?;
        let attributes = self.taken(kind, Value::Object(attributes))?;
        let record = self.keep(kind, id, attributes)?;
        let disabled = record.attributes.get("active") == Some(&Value::Bool(false));
        if kind == Kind::User && disabled && self.manners.disabled == Disabled::Deleted {
            self.lock().records.retain(|record| record.id != id);
            return Ok(None);
        }
        Ok(Some(record))
    }

    pub(super) fn delete(&self, kind: Kind, id: &str) -> Result<(), Refusal> {
        self.find(kind, id)?;
        let mut state = self.lock();
        match (self.manners.deleted, kind) {
            (Deleted::Disabled, Kind::User) => {
                for record in state.records.iter_mut().filter(|record| record.id == id) {
                    record.attributes.insert("active".to_owned(), false.into());
                    record.version += 1;
                }
                Ok(())
            }
            _ => {
                state.records.retain(|record| record.id != id);
                for record in &mut state.records {
                    if let Some(Value::Array(members)) = record.attributes.get_mut("members") {
                        members.retain(|member| member["value"] != id);
                    }
                }
                Ok(())
            }
        }
    }

    fn keep(&self, kind: Kind, id: &str, attributes: Map<String, Value>) -> Result<Record, Refusal> {
        let mut state = self.lock();
        state.free(kind, &attributes, Some(id))?;
        state.made += 1;
        let changed = state.made;
        let record = state.records.iter_mut().find(|record| record.id == id);
        let record = record.ok_or_else(|| Refusal::new(404, None, "it has gone"))?;
        if record.attributes != attributes {
            *record = Record { attributes, version: record.version + 1, changed, ..record.clone() };
        }
        Ok(record.clone())
    }

    pub(super) fn find(&self, kind: Kind, id: &str) -> Result<Record, Refusal> {
        let state = self.lock();
        let found = state.records.iter().find(|record| record.kind == kind && record.id == id);
        found.cloned().ok_or_else(|| Refusal::new(404, None, format!("Resource {id} not found")))
    }

    fn unchanged(&self, kind: Kind, id: &str, asked: &Asked<'_>) -> Result<(), Refusal> {
        match asked.header("if-match") {
            Some(tag) if self.manners.versions && tag != "*" && self.find(kind, id)?.tag() != tag => {
                Err(Refusal::new(412, None, "it was changed meanwhile"))
            }
            _ => Ok(()),
        }
    }

    /// What is kept of a resource that came, or why it cannot be.
    fn taken(&self, kind: Kind, body: Value) -> Result<Map<String, Value>, Refusal> {
        let Value::Object(mut body) = body else {
            return Err(Refusal::bad("invalidSyntax", "a resource is an object"));
        };
        body.retain(|name, value| !is_read_only(name) && !is_nothing(value));
        let schemas = body.remove("schemas");
        // A resource that was patched here comes without.
        let has_schema = |schemas: &Value| {
            schemas.as_array().is_some_and(|all| all.iter().any(|one| one == kind.schema()))
        };
        if schemas.is_some_and(|schemas| !has_schema(&schemas)) {
            return Err(Refusal::bad("invalidSyntax", "the schema of the resource is missing"));
        }
        let wanted = if kind == Kind::User { "userName" } else { "displayName" };
        if body.get(wanted).and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Err(Refusal::bad("invalidValue", format!("{wanted} is required")));
        }
        if let Some(active) = body.get_mut("active") {
            *active = self.boolean(active)?;
        }
        if self.manners.unknown_attributes == Unknown::Refused
            && let Some(unknown) = body.keys().find(|name| !KNOWN.contains(&name.as_str()))
        {
            return Err(Refusal::bad("invalidSyntax", format!("{unknown} is not known")));
        }
        let emails = body.get("emails").and_then(Value::as_array).map_or(0, Vec::len);
        if self.manners.emails_max.is_some_and(|most| emails > most) {
            return Err(Refusal::bad("invalidValue", "too many emails"));
        }
        if self.manners.upper_case_names
            && let Some(Value::String(name)) = body.get_mut("userName")
        {
            *name = name.to_uppercase();
        }
        Ok(body)
    }

    fn boolean(&self, value: &Value) -> Result<Value, Refusal> {
        match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::String(text) if self.manners.booleans != Booleans::Json => {
                Ok(text.eq_ignore_ascii_case("true").into())
            }
            _ => Err(Refusal::bad("invalidValue", "active is a boolean")),
        }
    }

    /// The resource as a client sees it.
    pub(super) fn resource(&self, record: &Record) -> Map<String, Value> {
        let mut resource = Map::new();
        let mut schemas = vec![record.kind.schema()];
        if record.attributes.contains_key(ENTERPRISE) {
            schemas.push(ENTERPRISE);
        }
        resource.insert("schemas".to_owned(), schemas.into());
        resource.insert("id".to_owned(), record.id.clone().into());
        let mut meta = json!({
            "resourceType": record.kind.name(),
            "created": "2026-01-31T09:00:00Z",
            "lastModified": format!("2026-01-31T09:{:02}:{:02}Z", record.changed / 60 % 60, record.changed % 60),
        });
        if let Some(location) = self.location(record) {
            meta["location"] = location.into();
        }
        if self.manners.versions {
            meta["version"] = record.tag().into();
        }
        resource.insert("meta".to_owned(), meta);
        resource.extend(record.attributes.clone().into_iter().filter(|(name, _)| name != "password"));
        if self.manners.booleans == Booleans::TextGiven
            && let Some(active) = resource.get_mut("active")
        {
            *active = if *active == true { "True".into() } else { "False".into() };
        }
        resource
    }

    fn location(&self, record: &Record) -> Option<String> {
        let relative = format!("{}/{}/{}", self.manners.base_path, record.kind.endpoint(), record.id);
        match self.manners.locations {
            Locations::Absolute => Some(format!("https://scim.example.com{relative}")),
            Locations::Relative => Some(relative),
            Locations::None => None,
        }
    }

    fn made(&self, record: &Record) -> Scripted {
        let answer = self.shown(201, record, &[]);
        match self.location(record) {
            Some(location) => answer.header("location", &location),
            None => answer,
        }
    }

    fn shown(&self, status: u16, record: &Record, query: &[(String, String)]) -> Scripted {
        let resource = listing::chosen(self.resource(record), query);
        let answer = Scripted::json(status, &Value::Object(resource));
        if self.manners.versions { answer.header("etag", &record.tag()) } else { answer }
    }
}

impl State {
    /// Whether the names in it are free.
    fn free(&self, kind: Kind, attributes: &Map<String, Value>, own: Option<&str>) -> Result<(), Refusal> {
        let name = if kind == Kind::User { "userName" } else { "displayName" };
        let wanted = attributes.get(name).and_then(Value::as_str).unwrap_or_default();
        let taken = self.records.iter().any(|record| {
            record.kind == kind
                && Some(record.id.as_str()) != own
                && record.text(name).is_some_and(|taken| taken.eq_ignore_ascii_case(wanted))
        });
        if taken { Err(Refusal::new(409, Some("uniqueness"), format!("{name} is taken"))) } else { Ok(()) }
    }
}

impl Record {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Value::as_str)
    }

    fn tag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }
}

pub(super) fn is_read_only(name: &str) -> bool {
    ["id", "meta", "groups"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

const CSRF: &str = "c3NyZi10b2tlbg==";
const SESSION: &str = "SAP_SESSIONID=fake";
const KNOWN: [&str; 19] = [
    "schemas",
    "externalId",
    "userName",
    "name",
    "displayName",
    "nickName",
    "profileUrl",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "active",
    "password",
    "emails",
    "phoneNumbers",
    "roles",
    "members",
    ENTERPRISE,
];
