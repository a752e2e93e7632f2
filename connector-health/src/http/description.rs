//! What an application's private API is like, in TOML.

use std::collections::{BTreeMap, BTreeSet};

use ::http::{HeaderName, Method};
use serde::Deserialize;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::template::{Body, Template};
use crate::account::Leaver;

/// Most bytes of a description.
pub const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;

/// A description that cannot be used, and where that is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct DescriptionError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// What an application's API is like: checked, ready for use.
#[derive(Clone, Debug)]
pub struct HttpDescription {
    pub(super) base: url::Url,
    pub(super) leaver: Leaver,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) account: AccountShape,
    pub(super) passed_by: BTreeSet<String>,
    pub(super) ignore_case: BTreeSet<String>,
    pub(super) probe: Call,
    pub(super) read: Call,
    pub(super) find_person: Call,
    pub(super) find_unique: BTreeMap<String, Call>,
    pub(super) list: Call,
    pub(super) next: Next,
    pub(super) total: Option<String>,
    pub(super) create: Option<Call>,
    pub(super) update: Option<Call>,
    pub(super) sends_all: bool,
    pub(super) disable: Option<Call>,
    pub(super) enable: Option<Call>,
    pub(super) delete: Option<Call>,
    pub(super) grant: Option<Call>,
    pub(super) revoke: Option<Call>,
    pub(super) link: Option<Call>,
    pub(super) rights: Option<Call>,
}

/// One request and what its answer has to be like.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Whether it changes nothing, searches that are sent as POST included.
    pub(super) is_read: bool,
    pub(super) path: Template,
    pub(super) query: Vec<(String, Template)>,
    pub(super) body: Option<Body>,
    pub(super) success: Vec<u16>,
    pub(super) absent: Vec<u16>,
    pub(super) when: Vec<Condition>,
    /// Where in the answer the account is, or the list of them.
    pub(super) at: String,
    /// Where in the answer the new account's name is.
    pub(super) id: Option<String>,
}

/// A place in JSON and what is to be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    pub(super) at: String,
    pub(super) is: Value,
}

impl Condition {
    pub(super) fn holds(&self, value: &Value) -> bool {
        value.pointer(&self.at) == Some(&self.is)
    }
}

/// Where in an account's JSON everything is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountShape {
    pub(super) id: String,
    pub(super) person: String,
    /// Whatever else is there counts as active.
    pub(super) disabled: Condition,
    pub(super) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) entitlements: Option<EntitlementShape>,
    /// Where it says when somebody last logged in (RFC 3339). What is no time there counts as unknown.
    #[serde(default)]
    pub(super) last_use: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntitlementShape {
    /// Where the list is: in the account, or in the answer to `rights`.
    pub(super) at: String,
    /// Where in each element its identifier is; the element itself without it.
    #[serde(default)]
    pub(super) id: String,
}

/// How a list goes on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Next {
    /// It does not.
    #[default]
    Nowhere,
    /// With what is there in the answer, as `{cursor}`; nothing there is the end.
    Cursor(String),
    /// With the next number, from this one, as `{page}`; an empty page is the end.
    Page(u64),
    /// With how many there were so far, as `{offset}`; an empty page is the end.
    Offset(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    base_url: String,
    #[serde(default)]
    dangerous_plain_text: bool,
    #[serde(default)]
    leaver: Leaver,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    account: AccountShape,
    #[serde(default)]
    passed_by: BTreeSet<String>,
    #[serde(default)]
    ignore_case: BTreeSet<String>,
    probe: RawCall,
    read: RawCall,
    find_person: RawCall,
    #[serde(default)]
    find_unique: BTreeMap<String, RawCall>,
    list: RawCall,
    create: Option<RawCall>,
    update: Option<RawCall>,
    disable: Option<RawCall>,
    enable: Option<RawCall>,
    delete: Option<RawCall>,
    grant: Option<RawCall>,
    revoke: Option<RawCall>,
    link: Option<RawCall>,
    rights: Option<RawCall>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCall {
    method: Option<String>,
    path: String,
    #[serde(default)]
    query: BTreeMap<String, String>,
    body: Option<toml::Value>,
    #[serde(default)]
    success: Vec<u16>,
    #[serde(default)]
    absent: Vec<u16>,
    #[serde(default)]
    when: Vec<Condition>,
    #[serde(default)]
    at: String,
    id: Option<String>,
    #[serde(default)]
    next: Next,
    total: Option<String>,
    #[serde(default)]
    sends: Sends,
}

/// What an update sends.
#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Sends {
    /// What changes; what goes is `null`.
    #[default]
    Changes,
    /// All attributes; what goes is not there.
    All,
}

/// A key and what is wrong with it.
type Wrong = (String, String);

impl HttpDescription {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// The first thing that cannot be used, with its line and column.
    pub fn parse(text: &str) -> Result<Self, DescriptionError> {
        if text.len() > DESCRIPTION_BYTES_MAX {
            let message = format!("a description has at most {DESCRIPTION_BYTES_MAX} bytes");
            return Err(DescriptionError { line: 1, column: 1, message });
        }
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            at(text, offset, error.message().to_owned())
        })?;
        file.check().map_err(|(key, what)| at(text, locate(text, &key), format!("`{key}` {what}")))
    }

    /// Attributes that accounts have, by the names that events use.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.account.attributes.keys().map(String::as_str)
    }

    /// Secrets that its headers refer to.
    pub fn secrets(&self) -> BTreeSet<&str> {
        self.headers.iter().flat_map(|(_, template)| template.secrets()).collect()
    }
}

fn at(text: &str, offset: usize, message: String) -> DescriptionError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    DescriptionError { line, column, message }
}

/// Where the value of a key begins, or of the longest part of it that is there.
fn locate(text: &str, key: &str) -> usize {
    let Ok(document) = DeTable::parse(text) else { return 0 };
    let mut table = document.get_ref();
    let mut found = 0;
    for part in key.split('.') {
        let Some(value) = table.get(part) else { break };
        found = value.span().start;
        let DeValue::Table(next) = value.get_ref() else { break };
        table = next;
    }
    found
}

impl File {
    fn check(self) -> Result<HttpDescription, Wrong> {
        let base = self.base()?;
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let key = format!("headers.{name}");
            let template = Template::parse(value).map_err(|what| (key.clone(), what))?;
            let name = name.parse().map_err(|_| (key.clone(), "is no header's name".to_owned()))?;
            if template.holes().next().is_some() {
                return Err((key, "may have `{secret:…}` and no other hole".to_owned()));
            }
            headers.push((name, template));
        }
        self.account.check()?;
        let attributes: BTreeSet<&str> = self.account.attributes.keys().map(String::as_str).collect();
        let of_account = ["id", "person"];
        let with_attributes: Vec<&str> = of_account.into_iter().chain(attributes.iter().copied()).collect();
        let next = self.list.next.clone();
        let paging: &[&str] = match next {
            Next::Nowhere => &[],
            Next::Cursor(_) => &["cursor"],
            Next::Page(_) => &["page"],
            Next::Offset(_) => &["offset"],
        };
        let pointers = [Some(&self.list.at), self.list.total.as_ref()];
        let cursor = if let Next::Cursor(place) = &next { Some(place) } else { None };
        pointers.into_iter().flatten().chain(cursor).try_for_each(|place| pointer("list", place))?;
        let total = self.list.total.clone();
        let sends_all = self.update.as_ref().is_some_and(|update| update.sends == Sends::All);
        for (what, call) in [("create", &self.create), ("update", &self.update)] {
            let Some(call) = call else { continue };
            let Some(body) = &call.body else { return Err((what.to_owned(), "needs a body".to_owned())) };
            let body = Body::parse(&format!("{what}.body"), body)?;
            let holes = body.holes();
            // What is not in the request would be confirmed as somebody else left it, or never.
            if let Some(left_out) = attributes.iter().find(|name| !holes.contains(*name)) {
                return Err((
                    format!("{what}.body"),
                    format!("leaves out `{left_out}`, which `account.attributes` has"),
                ));
            }
            if what == "create" && !holes.contains(&"person") {
                return Err((
                    format!("{what}.body"),
                    "leaves out `person`, by which the account is found again".to_owned(),
                ));
            }
        }
        if self.rights.is_some() && self.account.entitlements.is_none() {
            return Err((
                "rights".to_owned(),
                "needs `account.entitlements`, which says how they are read".to_owned(),
            ));
        }
        for (name, call) in [("grant", &self.grant), ("revoke", &self.revoke)] {
            if call.is_some() && self.account.entitlements.is_none() {
                return Err((
                    name.to_owned(),
                    "needs `account.entitlements`, by which it is confirmed".to_owned(),
                ));
            }
        }
        let ends_access = match self.leaver {
            Leaver::Disable => self.disable.is_some(),
            Leaver::Delete => self.delete.is_some(),
            Leaver::DisableThenDelete => self.disable.is_some() && self.delete.is_some(),
        };
        if !ends_access {
            return Err((
                "leaver".to_owned(),
                "needs requests (`disable`, `delete`) that are not described".to_owned(),
            ));
        }
        let writes = |name: &str, call: Option<RawCall>, holes: &[&str]| {
            call.map(|call| call.check(name, holes, Some(Method::POST))).transpose()
        };
        let mut find_unique = BTreeMap::new();
        for (name, call) in self.find_unique {
            let key = format!("find_unique.{name}");
            if !attributes.contains(name.as_str()) {
                return Err((
                    key,
                    "is about an attribute that `account.attributes` does not have".to_owned(),
                ));
            }
            find_unique.insert(name, call.check(&key, &["value"], None)?);
        }
        Ok(HttpDescription {
            base,
            leaver: self.leaver,
            headers,
            probe: self.probe.check("probe", &[], None)?,
            read: self.read.check("read", &["id"], None)?,
            find_person: self.find_person.check("find_person", &["person"], None)?,
            find_unique,
            list: self.list.check("list", paging, None)?,
            next,
            total,
            create: writes("create", self.create, &with_attributes)?,
            update: writes("update", self.update, &with_attributes)?,
            sends_all,
            disable: writes("disable", self.disable, &of_account)?,
            enable: writes("enable", self.enable, &of_account)?,
            delete: writes("delete", self.delete, &of_account)?,
            grant: writes("grant", self.grant, &["id", "person", "entitlement"])?,
            revoke: writes("revoke", self.revoke, &["id", "person", "entitlement"])?,
            link: writes("link", self.link, &of_account)?,
            rights: self.rights.map(|call| call.check("rights", &of_account, None)).transpose()?,
            account: self.account,
            passed_by: self.passed_by,
            ignore_case: self.ignore_case,
        })
    }

    fn base(&self) -> Result<url::Url, Wrong> {
        let wrong = |what: &str| ("base_url".to_owned(), what.to_owned());
        let base = url::Url::parse(&self.base_url).map_err(|error| wrong(&format!("is no URL: {error}")))?;
        match (base.scheme(), self.dangerous_plain_text) {
            ("https", _) | ("http", true) => {}
            ("http", false) => {
                return Err(wrong("must begin with `https://`: everybody on the way reads the rest"));
            }
            _ => return Err(wrong("must begin with `https://`")),
        }
        if !base.username().is_empty()
            || base.password().is_some()
            || base.query().is_some()
            || base.fragment().is_some()
        {
            return Err(wrong("has a host, a port and a path and nothing else"));
        }
        Ok(base)
    }
}

impl AccountShape {
    fn check(&self) -> Result<(), Wrong> {
        pointer("account.id", &self.id)?;
        pointer("account.person", &self.person)?;
        pointer("account.disabled", &self.disabled.at)?;
        self.last_use.iter().try_for_each(|place| pointer("account.last_use", place))?;
        for (name, place) in &self.attributes {
            let key = format!("account.attributes.{name}");
            pointer(&key, place)?;
            if matches!(name.as_str(), "id" | "person" | "entitlement") {
                return Err((key, "is a name that has a meaning of its own".to_owned()));
            }
        }
        match &self.entitlements {
            Some(shape) => {
                pointer("account.entitlements.at", &shape.at)?;
                pointer("account.entitlements.id", &shape.id)
            }
            None => Ok(()),
        }
    }
}

/// RFC 6901: nothing, or parts that begin with a slash.
fn pointer(key: &str, text: &str) -> Result<(), Wrong> {
    match text.is_empty() || text.starts_with('/') {
        true => Ok(()),
        false => Err((key.to_owned(), format!("has `{text}`, which is no JSON pointer: it begins with `/`"))),
    }
}

impl RawCall {
    /// `writes` is the method where none is said; without it the request reads, and has no body.
    fn check(self, name: &str, holes: &[&str], writes: Option<Method>) -> Result<Call, Wrong> {
        let key = |part: &str| format!("{name}.{part}");
        let is_read = writes.is_none();
        let method = match &self.method {
            None => writes.unwrap_or(Method::GET),
            Some(method) => match method.as_str() {
                "GET" if is_read => Method::GET,
                "POST" if is_read && self.body.is_some() => Method::POST,
                "POST" | "PUT" | "PATCH" | "DELETE" if !is_read => {
                    method.parse().map_err(|_| (key("method"), "is no method".to_owned()))?
                }
                _ => return Err((key("method"), format!("must not be `{method}` here"))),
            },
        };
        let path = Template::parse(&self.path).map_err(|what| (key("path"), what))?;
        if !self.path.starts_with('/') || self.path.contains(['?', '#']) || self.path.contains("//") {
            return Err((
                key("path"),
                "must begin with `/` and have neither query nor empty parts".to_owned(),
            ));
        }
        let mut query = Vec::new();
        for (parameter, value) in &self.query {
            let key = format!("{name}.query.{parameter}");
            query.push((parameter.clone(), Template::parse(value).map_err(|what| (key, what))?));
        }
        let body = self.body.as_ref().map(|body| Body::parse(&key("body"), body)).transpose()?;
        let in_query = query.iter().flat_map(|(_, template)| template.holes());
        let all = path.holes().chain(in_query).chain(body.iter().flat_map(Body::holes));
        for hole in all {
            if !holes.contains(&hole) {
                return Err((name.to_owned(), format!("has `{{{hole}}}`, which nothing fills here")));
            }
        }
        let secret = path.secrets().chain(query.iter().flat_map(|(_, template)| template.secrets())).next();
        if secret.is_some() {
            return Err((name.to_owned(), "must not have secrets in its URL, which is logged".to_owned()));
        }
        pointer(&key("at"), &self.at)?;
        self.when.iter().try_for_each(|condition| pointer(&key("when"), &condition.at))?;
        self.id.iter().try_for_each(|place| pointer(&key("id"), place))?;
        let statuses = self.success.iter().chain(&self.absent);
        if let Some(odd) =
            statuses.copied().find(|status| !(200..600).contains(status) || (300..400).contains(status))
        {
            return Err((name.to_owned(), format!("has the status {odd}, which says no such thing")));
        }
        Ok(Call {
            method,
            is_read,
            path,
            query,
            body,
            success: self.success,
            absent: self.absent,
            when: self.when,
            at: self.at,
            id: self.id,
        })
    }
}
