//! Resources one at a time: create, get, replace, patch, delete.

use std::future::IntoFuture;
use std::marker::PhantomData;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::client::receive::Received;
use crate::client::{Answer, Client, EntityTag};
use crate::dialect::{IfMatch, Support};
use crate::error::{Error, ErrorKind};
use crate::message::{PatchOp, PatchOperation};
use crate::request::{self, Address};
use crate::resource::{DynamicResource, Resource, ResourceId};

/// The resources of one kind.
///
/// Its operations do nothing before they are awaited. Dropping one gives it up: what the server then did is unknown, and
/// the client goes on.
#[derive(Debug)]
pub struct Endpoint<R> {
    pub(super) client: Client,
    pub(super) path: String,
    pub(super) kind: PhantomData<fn() -> R>,
}

impl<R: Resource> Endpoint<R> {
    /// Reads one.
    ///
    /// Awaiting gives [`ErrorKind::NotFound`] where it is not there and the service itself answers, and
    /// [`ErrorKind::BaseUrl`] where nothing there answers as SCIM does.
    pub fn get(&self, id: &ResourceId) -> Call<Answer<R>> {
        Call::new(&self.client, Method::GET, self.at(id), Ok(Bytes::new()), |_, received| {
            Box::pin(async move { read_one(received) })
        })
    }

    /// Reads one, unless it is still in the version that is known: `None` then.
    pub fn get_if_changed(&self, id: &ResourceId, known: &EntityTag) -> Call<Option<Answer<R>>> {
        let mut call = Call::new(&self.client, Method::GET, self.at(id), Ok(Bytes::new()), |_, received| {
            Box::pin(async move {
                if received.status == StatusCode::NOT_MODIFIED {
                    return Ok(None);
                }
                read_one(received).map(Some)
            })
        });
        call.condition = Some((IF_NONE_MATCH, known.clone()));
        call
    }

    /// Makes one, and gives it as the server keeps it.
    ///
    /// Where the answer does not show it, it is read from where the answer says it is. Awaiting gives
    /// [`ErrorKind::Conflict`] where something is in the way.
    pub fn create(&self, resource: &R) -> Call<Answer<R>> {
        let endpoint = self.clone();
        Call::new(&self.client, Method::POST, self.root(), json(resource), move |client, received| {
            Box::pin(created(client, endpoint, received))
        })
    }

    /// Puts this in the place of one. The condition that the dialect wants is taken from the resource's `meta.version`.
    pub fn replace(&self, id: &ResourceId, resource: &R) -> Call<Answer<R>> {
        let endpoint = self.clone();
        let known = EntityTag::of(resource);
        let (address, id) = (self.at_whole(id), id.clone());
        let mut call =
            Call::new(&self.client, Method::PUT, address, json(resource), move |client, received| {
                Box::pin(async move {
                    received.check_done()?;
                    if received.is_empty() {
                        return read_again(client, &endpoint, &id, received).await;
                    }
                    read_one(received)
                })
            });
        call.condition = known.map(|known| (IF_MATCH, known));
        call
    }

    /// Changes one, with the operations as they stand. `None` where the server does not show what it became, as most do
    /// not.
    pub fn patch(&self, id: &ResourceId, patch: &PatchOp) -> Call<Answer<Option<R>>> {
        let address =
            if patch.operations.iter().all(is_about_members) { self.at(id) } else { self.at_whole(id) };
        Call::new(&self.client, Method::PATCH, address, json(patch), |client, received| {
            Box::pin(async move {
                received.check_done()?;
                if received.is_empty() {
                    return Ok(received.answer(None, None));
                }
                let resource: R = received.read_resource()?;
                client.saw_service();
                let version = EntityTag::of(&resource);
                Ok(received.answer(Some(resource), version))
            })
        })
    }

    /// Deletes one.
    ///
    /// Awaiting gives [`ErrorKind::NotFound`] where it was not there and the service itself answers.
    pub fn delete(&self, id: &ResourceId) -> Call<Answer<()>> {
        Call::new(&self.client, Method::DELETE, self.at_whole(id), Ok(Bytes::new()), |_, received| {
            Box::pin(async move {
                received.check_done()?;
                Ok(received.answer((), None))
            })
        })
    }

    /// The client it belongs to.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn root(&self) -> Result<Address, Error> {
        self.client.shared.base.at(&self.path)
    }

    fn at(&self, id: &ResourceId) -> Result<Address, Error> {
        self.client.shared.base.resource(&self.path, id)
    }

    /// The address of one of which more than the members is to change.
    fn at_whole(&self, id: &ResourceId) -> Result<Address, Error> {
        let fixed = self.client.shared.dialect.membership_only;
        if self.path == "Groups" && fixed.iter().any(|prefix| id.as_str().starts_with(prefix)) {
            return Err(only_members());
        }
        self.at(id)
    }
}

pub(super) fn only_members() -> Error {
    Error::new(ErrorKind::Unsupported).detail("of this group only the members can be changed, by PATCH")
}

pub(super) fn is_about_members(operation: &PatchOperation) -> bool {
    operation.path.as_ref().is_some_and(|path| path.attribute.name.eq_ignore_ascii_case("members"))
}

/// The resource that stands for whoever the credential belongs to: `/Me` (RFC 7644 §3.11).
#[derive(Debug)]
pub struct Me<R> {
    client: Client,
    kind: PhantomData<fn() -> R>,
}

impl Client {
    /// The resource of whoever the credential belongs to.
    pub fn me<R: Resource>(&self) -> Me<R> {
        Me { client: self.clone(), kind: PhantomData }
    }

    /// Reads the object at a path below the base, whether it has an `id` or not: `ServiceProviderConfig`, `Schemas/urn:…`.
    ///
    /// Awaiting gives the errors of [`Endpoint::get`].
    pub fn document(&self, path: &str) -> Call<Answer<DynamicResource>> {
        Call::new(self, Method::GET, self.shared.base.at(path), Ok(Bytes::new()), |_, received| {
            Box::pin(async move {
                let document: DynamicResource = received.read_resource()?;
                let version = EntityTag::of(&document);
                Ok(received.answer(document, version))
            })
        })
    }
}

impl<R: Resource> Me<R> {
    /// Reads it. Awaiting gives [`ErrorKind::Unsupported`] where the server has no `/Me`.
    pub fn get(&self) -> Call<Answer<R>> {
        Call::new(&self.client, Method::GET, self.at(), Ok(Bytes::new()), |_, received| {
            Box::pin(async move { read_one(received) })
        })
    }

    /// Puts this in its place.
    pub fn replace(&self, resource: &R) -> Call<Answer<R>> {
        let mut call = Call::new(&self.client, Method::PUT, self.at(), json(resource), |_, received| {
            Box::pin(async move {
                received.check_done()?;
                read_one(received)
            })
        });
        call.condition = EntityTag::of(resource).map(|known| (IF_MATCH, known));
        call
    }

    /// Changes it.
    pub fn patch(&self, patch: &PatchOp) -> Call<Answer<Option<R>>> {
        Call::new(&self.client, Method::PATCH, self.at(), json(patch), |_, received| {
            Box::pin(async move {
                received.check_done()?;
                if received.is_empty() {
                    return Ok(received.answer(None, None));
                }
                let resource: R = received.read_resource()?;
                Ok(received.answer(Some(resource), None))
            })
        })
    }

    /// Deletes it.
    pub fn delete(&self) -> Call<Answer<()>> {
        Call::new(&self.client, Method::DELETE, self.at(), Ok(Bytes::new()), |_, received| {
            Box::pin(async move {
                received.check_done()?;
                Ok(received.answer((), None))
            })
        })
    }

    fn at(&self) -> Result<Address, Error> {
        if self.client.shared.dialect.me == Support::No {
            return Err(Error::new(ErrorKind::Unsupported).detail("this service has no `/Me`"));
        }
        self.client.shared.base.at("Me")
    }
}

// Derived, this would ask that the resources can be cloned.
impl<R> Clone for Endpoint<R> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), path: self.path.clone(), kind: PhantomData }
    }
}

impl<R> Clone for Me<R> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), kind: PhantomData }
    }
}

type Finish<T> = Box<dyn FnOnce(Client, Received) -> BoxFuture<'static, Result<T, Error>> + Send>;

/// One request about one resource. Await it.
#[must_use = "nothing is sent before it is awaited"]
pub struct Call<T> {
    client: Client,
    method: Method,
    address: Result<Address, Error>,
    body: Result<Bytes, Error>,
    condition: Option<(HeaderName, EntityTag)>,
    finish: Finish<T>,
}

impl<T> std::fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

impl<T> Call<T> {
    fn new(
        client: &Client,
        method: Method,
        address: Result<Address, Error>,
        body: Result<Bytes, Error>,
        finish: impl FnOnce(Client, Received) -> BoxFuture<'static, Result<T, Error>> + Send + 'static,
    ) -> Self {
        Self { client: client.clone(), method, address, body, condition: None, finish: Box::new(finish) }
    }

    /// A write that takes place only while the resource is in this version: [`ErrorKind::Concurrency`] where it is not.
    ///
    /// The dialect has the last word: with [`IfMatch::Never`] there is no condition, and with [`IfMatch::Any`] any
    /// version will do. Reads and creates know no such condition and stay as they are.
    pub fn if_match(mut self, version: &EntityTag) -> Self {
        if matches!(self.method, Method::PUT | Method::PATCH | Method::DELETE) {
            self.condition = Some((IF_MATCH, version.clone()));
        }
        self
    }

    /// The answer shall show these attributes and those that every answer shows (RFC 7644 §3.9). With a dialect that does
    /// not know this, it shows all.
    pub fn attributes<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.parameter("attributes", names)
    }

    /// The answer shall not show these attributes.
    pub fn excluding<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.parameter("excludedAttributes", names)
    }

    fn parameter<N: AsRef<str>>(mut self, name: &str, names: impl IntoIterator<Item = N>) -> Self {
        if self.client.shared.dialect.attribute_selection == Support::No {
            return self;
        }
        let names: Vec<_> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        if let (Ok(address), false) = (&mut self.address, names.is_empty()) {
            address.parameter(name, &names.join(","));
        }
        self
    }

    fn request(&mut self) -> Result<http::Request<Bytes>, Error> {
        let shared = &self.client.shared;
        let address = std::mem::replace(&mut self.address, Err(Error::new(ErrorKind::Invalid)))?;
        let body = std::mem::replace(&mut self.body, Ok(Bytes::new()))?;
        let mut request = if body.is_empty() {
            request::bare(self.method.clone(), &address, &shared.user_agent)?
        } else {
            request::with_body(self.method.clone(), &address, &shared.user_agent, body)?
        };
        let is_change = matches!(self.method, Method::PUT | Method::PATCH | Method::DELETE);
        let condition = match (&self.condition, shared.dialect.if_match) {
            (_, IfMatch::Any) if is_change => Some((IF_MATCH, HeaderValue::from_static("*"))),
            (Some((name, _)), IfMatch::Never) if *name == IF_MATCH => None,
            (Some((name, tag)), _) => {
                HeaderValue::from_str(tag.as_str()).ok().map(|value| (name.clone(), value))
            }
            (None, _) => None,
        };
        if let Some((name, value)) = condition {
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

impl<T: Send + 'static> IntoFuture for Call<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let request = self.request()?;
            let (client, sent) = (self.client, request.body().clone());
            let result = match client.call(request).await {
                Ok(received) => (self.finish)(client.clone(), received).await,
                Err(error) => Err(error),
            };
            match result {
                Err(error) => Err(client.explained(error.concealing(&sent)).await),
                done => done,
            }
        })
    }
}

fn json(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Error::new(ErrorKind::Invalid).because(error))
}

fn read_one<R: Resource>(received: Received) -> Result<Answer<R>, Error> {
    let resource: R = received.read_resource()?;
    if resource.id().is_none_or(|id| id.as_str().is_empty()) {
        return Err(received.error(Error::new(ErrorKind::Protocol).detail("a resource without an `id`")));
    }
    let version = EntityTag::of(&resource);
    Ok(received.answer(resource, version))
}

async fn created<R: Resource>(
    client: Client,
    endpoint: Endpoint<R>,
    received: Received,
) -> Result<Answer<R>, Error> {
    received.check_done()?;
    let shown = if received.is_empty() { None } else { Some(received.read_resource::<R>()?) };
    match shown {
        Some(resource) if resource.id().is_some_and(|id| !id.as_str().is_empty()) => {
            client.saw_service();
            let version = EntityTag::of(&resource);
            Ok(received.answer(resource, version))
        }
        _ => match located(&received) {
            Some(id) => read_again(client, &endpoint, &id, received).await,
            None => Err(received.error(
                Error::new(ErrorKind::Protocol)
                    .detail("the answer does not say what the new resource's `id` is"),
            )),
        },
    }
}

/// Reads what a write left, where the write's answer does not show it.
async fn read_again<R: Resource>(
    client: Client,
    endpoint: &Endpoint<R>,
    id: &ResourceId,
    written: Received,
) -> Result<Answer<R>, Error> {
    // The write has happened, whatever becomes of the reading.
    let unseen = |error: Error| {
        let status = written.status.as_u16();
        Error::new(ErrorKind::Protocol)
            .detail("it was written, and what it became could not be read")
            .about(written.method.clone(), written.path.clone())
            .status(status)
            .because(error)
            .after(written.exchange.clone())
    };
    let request = endpoint.at(id).and_then(|at| request::bare(Method::GET, &at, &client.shared.user_agent));
    let read = client.call(request.map_err(unseen)?).await.map_err(unseen)?;
    let mut answer: Answer<R> = read_one(read).map_err(unseen)?;
    let mut exchange = written.exchange.clone();
    exchange.append(std::mem::take(&mut answer.exchange));
    Ok(Answer { exchange, status: written.status.as_u16(), ..answer })
}

/// The identifier in `Location`: its last segment, as servers write hosts and prefixes there that only they know.
fn located(received: &Received) -> Option<ResourceId> {
    let location = received.headers.get(LOCATION)?.to_str().ok()?;
    let path = location.split(['?', '#']).next()?;
    let segment = path.trim_end_matches('/').rsplit('/').next().filter(|segment| !segment.is_empty())?;
    let id = percent_decode_str(segment).decode_utf8().ok()?;
    Some(ResourceId::new(id))
}
