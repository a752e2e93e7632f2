//! Applications with an HTTP API of their own, described in TOML.
//!
//! The description has a request for each thing to do (look-up, create, update, disable, delete, list, grant, revoke) and says what its answer
//! must be like. It holds no program and no secret; what events bring goes into its holes, encoded for the place where each stands. No write
//! counts until [`read`](HttpDescription) has shown its effect.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use ::http::{Request, Response};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::account::{
    self, Account, Accounts, Latch, Leaver, MATCHES_MAX, Managed, ValueChanges, Values, is_blank,
};
use crate::connector::{
    Access, Confirmation, Connector, Failure, FailureKind, ListedAccount, Operation, Right,
};
use crate::id::{AccountId, EntitlementId, PersonId};
use crate::intended::LANE_ENTITLEMENTS_MAX;
use crate::transport::{HttpTransport, is_page, refusal};

mod description;
mod template;

use description::{Call, Next};
use template::Fill;

pub use description::{DESCRIPTION_BYTES_MAX, DescriptionError, HttpDescription};

/// Most accounts in a listing; an application that sends more never comes to an end.
pub const LISTED_MAX: u64 = 10_000_000;

/// Where secrets are, by the names that descriptions use.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The secret of that name, as it is now. It is asked for with each request, so that a rotated one is used at once.
    async fn secret(&self, name: &str) -> Result<Zeroizing<String>, Failure>;
}

#[async_trait]
impl Secrets for BTreeMap<String, Zeroizing<String>> {
    async fn secret(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        let secret = self.get(name).cloned();
        secret
            .ok_or_else(|| Failure::new(FailureKind::Authentication, format!("there is no secret `{name}`")))
    }
}

/// An application behind an HTTP API, as a [`Connector`].
pub struct HttpConnector {
    description: HttpDescription,
    transport: Arc<dyn HttpTransport>,
    secrets: Arc<dyn Secrets>,
    latch: Latch,
}

impl HttpConnector {
    /// Of this application. Every request goes to the host in the description and to no other.
    pub fn new(
        description: HttpDescription,
        transport: impl HttpTransport + 'static,
        secrets: impl Secrets + 'static,
    ) -> Self {
        Self {
            description,
            transport: Arc::new(transport),
            secrets: Arc::new(secrets),
            latch: Latch::default(),
        }
    }

    async fn request(&self, call: &Call, fill: &Fill) -> Result<Request<Bytes>, Failure> {
        let mut url = self.description.base.as_str().trim_end_matches('/').to_owned();
        url.push_str(&call.path.path(fill)?);
        let mut separator = '?';
        for (name, template) in &call.query {
            if let Some(value) = template.query(fill)? {
                url.push(separator);
                url.extend(::url::form_urlencoded::byte_serialize(name.as_bytes()));
                url.push('=');
                url.push_str(&value);
                separator = '&';
            }
        }
        let unfit = |what: &str| Failure::new(FailureKind::SchemaMismatch, what);
        let body = match &call.body {
            Some(body) => body.fill(fill)?.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            None => Value::Null,
        };
        let bytes = match &call.body {
            Some(_) => serde_json::to_vec(&body).map_err(|_| unfit("the body cannot be written"))?,
            None => Vec::new(),
        };
        let mut request = Request::new(Bytes::from(bytes));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = url.parse().map_err(|_| unfit("the URL cannot be requested"))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, template) in &self.description.headers {
            let mut found: BTreeMap<&str, Zeroizing<String>> = BTreeMap::new();
            for secret in template.secrets() {
                found.insert(secret, self.secrets.secret(secret).await?);
            }
            let text = template.header(|secret| found.get(secret).map(|secret| secret.to_string()));
            let value = text.and_then(|text| HeaderValue::from_str(&text).ok());
            let mut value = value.ok_or_else(|| unfit("a header holds what no header may"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }

    /// One exchange; nothing where the answer says that there is nothing. A read has no effect, whatever became of it.
    async fn call(&self, call: &Call, fill: &Fill) -> Result<Option<Value>, Failure> {
        self.latch.check()?;
        let outcome = self.exchange(call, fill).await;
        self.latch.note(&outcome, false);
        outcome
    }

    async fn exchange(&self, call: &Call, fill: &Fill) -> Result<Option<Value>, Failure> {
        let request = self.request(call, fill).await?;
        let is_read = call.is_read;
        let outcome = match self.transport.send(request).await {
            Ok(response) => understand(call, &response),
            Err(failure) => Err(failure),
        };
        outcome.map_err(|failure| if is_read { without_effect(failure) } else { failure })
    }

    /// A write: what it answers is looked at no further than the description says.
    async fn write(&self, call: Option<&Call>, what: &str, fill: Fill) -> Result<Option<Value>, Failure> {
        let call = call.ok_or_else(|| {
            Failure::new(FailureKind::Unsupported, format!("the description has no `{what}`"))
        })?;
        self.call(call, &fill).await
    }

    async fn account(&self, json: &Value) -> Result<Account, Failure> {
        let shape = &self.description.account;
        let unreadable = |what: &str| {
            Failure::new(FailureKind::SchemaMismatch, format!("an account has no readable {what}"))
        };
        let id = json.pointer(&shape.id).and_then(plain).and_then(|id| AccountId::new(id).ok());
        let id = id.ok_or_else(|| unreadable("identifier"))?;
        let person = match json.pointer(&shape.person).filter(|value| !is_blank(value)) {
            None => None,
            Some(value) => {
                let person = plain(value).and_then(|person| PersonId::new(person).ok());
                Some(person.ok_or_else(|| unreadable("identifier of a person"))?)
            }
        };
        let access = if shape.disabled.holds(json) { Access::Disabled } else { Access::Active };
        let attributes = shape.attributes.iter().filter_map(|(name, place)| {
            let value = json.pointer(place).filter(|value| !is_blank(value))?;
            Some((name.clone(), value.clone()))
        });
        let attributes = attributes.collect();
        let entitlements = match (&shape.entitlements, &self.description.rights) {
            (None, _) => BTreeSet::new(),
            (Some(shape), None) => entitlements(json.pointer(&shape.at), &shape.id)?,
            (Some(shape), Some(rights)) => {
                let answer = self.call(rights, &of(&id, person.as_ref())).await?;
                entitlements(answer.as_ref().and_then(|answer| answer.pointer(&shape.at)), &shape.id)?
            }
        };
        let last_use = shape.last_use.as_ref().and_then(|place| json.pointer(place)?.as_str());
        let last_use = last_use.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let last_use = last_use.map(|at| at.to_utc());
        Ok(Account { id, person, access, attributes, entitlements, last_use })
    }

    async fn matches(&self, call: &Call, fill: &Fill) -> Result<Vec<Account>, Failure> {
        let Some(answer) = self.call(call, fill).await? else { return Ok(Vec::new()) };
        let found = items(&answer, &call.at)?;
        if found.len() > MATCHES_MAX {
            return Err(Failure::new(FailureKind::Ambiguous, "a look-up found too many accounts"));
        }
        let mut accounts = Vec::with_capacity(found.len());
        for json in found {
            accounts.push(self.account(json).await?);
        }
        Ok(accounts)
    }

    async fn next_listed(&self, mut listing: Listing) -> Result<Option<(ListedAccount, Listing)>, Failure> {
        loop {
            if let Some(json) = listing.page.pop_front() {
                listing.listed = listing.listed.saturating_add(1);
                if listing.listed > LISTED_MAX {
                    return Err(Failure::new(FailureKind::Server, "the listing never comes to an end"));
                }
                let account = self.account(&json).await?;
                return Ok(Some((account.into(), listing)));
            }
            let Some(fill) = listing.next.take() else {
                return match listing.total.is_some_and(|total| total != listing.listed) {
                    true => {
                        Err(Failure::new(FailureKind::Divergent, "the listing is not as long as it says"))
                    }
                    false => Ok(None),
                };
            };
            let call = &self.description.list;
            let answer = self.call(call, &fill).await?;
            let mut answer = answer.ok_or_else(|| Failure::new(FailureKind::Missing, "there is no list"))?;
            if let Some(place) = &self.description.total {
                let total = answer.pointer(place).and_then(Value::as_u64);
                let total = total.ok_or_else(|| {
                    Failure::new(FailureKind::SchemaMismatch, "the list does not say how long it is")
                })?;
                listing.total = Some(total);
            }
            listing.next = self.following(&fill, &answer, &listing)?;
            let page = answer.pointer_mut(&call.at).map(Value::take);
            let Some(Value::Array(page)) = page else { return Err(no_list()) };
            if page.is_empty() && !matches!(self.description.next, Next::Cursor(_)) {
                listing.next = None;
            }
            listing.pages = listing.pages.saturating_add(1);
            if listing.pages > LISTED_MAX {
                return Err(Failure::new(FailureKind::Server, "the listing never comes to an end"));
            }
            listing.page = page.into();
        }
    }

    fn following(&self, now: &Fill, answer: &Value, listing: &Listing) -> Result<Option<Fill>, Failure> {
        let count = items(answer, &self.description.list.at)?.len();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        Ok(match &self.description.next {
            Next::Nowhere => None,
            Next::Cursor(place) => {
                let cursor = answer
                    .pointer(place)
                    .filter(|cursor| !is_blank(cursor) && **cursor != Value::Bool(false));
                match cursor {
                    None => None,
                    Some(cursor) if plain(cursor).is_none() || now.get("cursor") == Some(cursor) => {
                        return Err(Failure::new(
                            FailureKind::Server,
                            "the list goes on where it is already",
                        ));
                    }
                    Some(cursor) => Some(Fill::from([("cursor".to_owned(), cursor.clone())])),
                }
            }
            Next::Page(first) => {
                Some(numbered("page", first.saturating_add(listing.pages).saturating_add(1)))
            }
            Next::Offset(first) => {
                Some(numbered("offset", first.saturating_add(listing.listed).saturating_add(count)))
            }
        })
    }
}

fn numbered(name: &str, number: u64) -> Fill {
    Fill::from([(name.to_owned(), number.into())])
}

#[derive(Default)]
struct Listing {
    page: VecDeque<Value>,
    next: Option<Fill>,
    total: Option<u64>,
    listed: u64,
    pages: u64,
}

/// What the answer says, by status, type and conditions.
fn understand(call: &Call, response: &Response<Bytes>) -> Result<Option<Value>, Failure> {
    let status = response.status();
    if call.absent.contains(&status.as_u16()) {
        return Ok(None);
    }
    let is_success = match call.success.as_slice() {
        [] => status.is_success(),
        listed => listed.contains(&status.as_u16()),
    };
    if !is_success {
        return Err(refusal(response));
    }
    if is_page(response) {
        return Err(Failure::new(FailureKind::Authentication, "a page for people came instead of an answer")
            .perhaps_effective());
    }
    let unreadable = || Failure::new(FailureKind::Server, "the answer is no JSON").perhaps_effective();
    let json = match response.body().iter().all(u8::is_ascii_whitespace) {
        true => Value::Null,
        false => serde_json::from_slice(response.body()).map_err(|_| unreadable())?,
    };
    match call.when.iter().all(|condition| condition.holds(&json)) {
        true => Ok(Some(json)),
        false => Err(Failure::new(FailureKind::Server, "the answer does not say what success says")
            .perhaps_effective()),
    }
}

fn without_effect(failure: Failure) -> Failure {
    let same = Failure::new(failure.kind(), failure.message());
    match failure.wait() {
        Some(wait) => same.retry_after(wait),
        None => same,
    }
}

fn items<'a>(answer: &'a Value, place: &str) -> Result<&'a [Value], Failure> {
    answer.pointer(place).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(no_list)
}

fn no_list() -> Failure {
    Failure::new(FailureKind::SchemaMismatch, "the answer has no list where one is described")
}

/// Identifiers are texts or numbers.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn entitlements(list: Option<&Value>, id: &str) -> Result<BTreeSet<EntitlementId>, Failure> {
    let unreadable = || Failure::new(FailureKind::SchemaMismatch, "an account's rights cannot be read");
    let list = match list {
        // Nothing said is not the same as no rights.
        None => return Err(unreadable()),
        Some(Value::Null) => return Ok(BTreeSet::new()),
        Some(list) => list.as_array().ok_or_else(unreadable)?,
    };
    if list.len() > LANE_ENTITLEMENTS_MAX {
        return Err(unreadable());
    }
    let read = |value: &Value| value.pointer(id).and_then(plain).and_then(|id| EntitlementId::new(id).ok());
    list.iter().map(|value| read(value).ok_or_else(unreadable)).collect()
}

fn of(id: &AccountId, person: Option<&PersonId>) -> Fill {
    let person = person.map(|person| ("person".to_owned(), person.as_str().into()));
    [("id".to_owned(), id.as_str().into())].into_iter().chain(person).collect()
}

impl fmt::Debug for HttpConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnector")
            .field("base_url", &self.description.base.as_str())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Accounts for HttpConnector {
    fn leaver(&self) -> Leaver {
        self.description.leaver
    }

    fn manages(&self, attribute: &str) -> Managed {
        if self.description.account.attributes.contains_key(attribute) {
            Managed::Yes
        } else if self.description.passed_by.contains(attribute) {
            Managed::PassedBy
        } else {
            Managed::No
        }
    }

    async fn by_account(&self, account: &AccountId) -> Result<Option<Account>, Failure> {
        let call = &self.description.read;
        let Some(answer) = self.call(call, &of(account, None)).await? else { return Ok(None) };
        let json = answer.pointer(&call.at).ok_or_else(|| {
            Failure::new(FailureKind::SchemaMismatch, "the answer has no account where one is described")
        })?;
        let read = self.account(json).await?;
        match read.id == *account {
            true => Ok(Some(read)),
            false => Err(Failure::new(FailureKind::Divergent, STRANGER)),
        }
    }

    async fn by_person(&self, person: &PersonId) -> Result<Vec<Account>, Failure> {
        let fill = Fill::from([("person".to_owned(), person.as_str().into())]);
        let found = self.matches(&self.description.find_person, &fill).await?;
        match found.iter().all(|account| account.person.as_ref() == Some(person)) {
            true => Ok(found),
            false => Err(Failure::new(FailureKind::Divergent, STRANGER)),
        }
    }

    async fn by_unique(&self, attribute: &str, value: &str) -> Result<Vec<Account>, Failure> {
        let Some(call) = self.description.find_unique.get(attribute) else { return Ok(Vec::new()) };
        let found = self.matches(call, &Fill::from([("value".to_owned(), value.into())])).await?;
        let wanted = Value::from(value);
        let has = |account: &Account| {
            account.attributes.get(attribute).is_some_and(|found| self.agrees(attribute, &wanted, found))
        };
        match found.iter().all(has) {
            true => Ok(found),
            false => Err(Failure::new(FailureKind::Divergent, STRANGER)),
        }
    }

    async fn create(&self, person: &PersonId, attributes: &Values) -> Result<Option<AccountId>, Failure> {
        let mut fill: Fill = attributes.clone();
        fill.insert("person".to_owned(), person.as_str().into());
        let call = self.description.create.as_ref();
        let answer = self.write(call, "create", fill).await?;
        let place = call.and_then(|call| call.id.as_ref());
        let id = place.zip(answer.as_ref()).and_then(|(place, answer)| answer.pointer(place)).and_then(plain);
        Ok(id.and_then(|id| AccountId::new(id).ok()))
    }

    async fn link(&self, account: &Account, person: &PersonId) -> Result<(), Failure> {
        self.write(self.description.link.as_ref(), "link", of(&account.id, Some(person))).await.map(drop)
    }

    async fn change(&self, account: &Account, changes: &ValueChanges) -> Result<(), Failure> {
        let mut fill = of(&account.id, account.person.as_ref());
        if self.description.sends_all {
            fill.extend(account.attributes.clone());
        }
        for (name, value) in changes {
            match value {
                Some(value) => {
                    fill.insert(name.clone(), value.clone());
                }
                None if self.description.sends_all => {
                    fill.remove(name);
                }
                None => {
                    fill.insert(name.clone(), Value::Null);
                }
            }
        }
        self.write(self.description.update.as_ref(), "update", fill).await.map(drop)
    }

    async fn set_access(&self, account: &Account, access: Access) -> Result<(), Failure> {
        let (call, what) = match access {
            Access::Active => (&self.description.enable, "enable"),
            Access::Disabled => (&self.description.disable, "disable"),
        };
        self.write(call.as_ref(), what, of(&account.id, account.person.as_ref())).await.map(drop)
    }

    async fn set_right(
        &self,
        account: &Account,
        entitlement: &EntitlementId,
        right: Right,
    ) -> Result<(), Failure> {
        let mut fill = of(&account.id, account.person.as_ref());
        fill.insert("entitlement".to_owned(), entitlement.as_str().into());
        let (call, what) = match right {
            Right::Granted => (&self.description.grant, "grant"),
            Right::Revoked => (&self.description.revoke, "revoke"),
        };
        self.write(call.as_ref(), what, fill).await.map(drop)
    }

    async fn delete(&self, account: &Account) -> Result<(), Failure> {
        self.write(self.description.delete.as_ref(), "delete", of(&account.id, account.person.as_ref()))
            .await
            .map(drop)
    }

    fn agrees(&self, attribute: &str, wanted: &Value, found: &Value) -> bool {
        match (wanted, found) {
            (Value::String(wanted), Value::String(found))
                if self.description.ignore_case.contains(attribute) =>
            {
                wanted.to_lowercase() == found.to_lowercase()
            }
            (Value::Array(wanted), Value::Array(found)) => {
                wanted.len() == found.len()
                    && wanted.iter().all(|value| found.contains(value))
                    && found.iter().all(|value| wanted.contains(value))
            }
            _ => wanted == found,
        }
    }
}

#[async_trait]
impl Connector for HttpConnector {
    async fn probe(&self) -> Result<(), Failure> {
        let outcome = self.exchange(&self.description.probe, &Fill::new()).await;
        self.latch.note(&outcome, true);
        match outcome? {
            Some(_) => Ok(()),
            None => Err(Failure::new(FailureKind::Missing, "the probe finds nothing")),
        }
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        account::ensure(self, operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        let first = match self.description.next {
            Next::Nowhere | Next::Cursor(_) => Fill::new(),
            Next::Page(first) => numbered("page", first),
            Next::Offset(first) => numbered("offset", first),
        };
        let listing = Listing { next: Some(first), ..Listing::default() };
        stream::try_unfold(listing, |listing| self.next_listed(listing)).boxed()
    }
}

const STRANGER: &str = "the application answers with an account that was not asked for";
