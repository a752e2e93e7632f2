//! One page of a listing, taken apart while it arrives.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use http::Method;

use crate::client::Client;
use crate::client::receive::{Head, Reply};
use crate::error::{Error, ErrorKind};
use crate::filter::Filter;
use crate::message::Page;
use crate::read::{Element, ListSplitter};
use crate::resource::{Attributes, Resource};
use crate::response;
use crate::trace::Exchange;
use crate::transport::Body;
use crate::urn;

/// Bytes of a page that are read before the first resource is given: nearly all pages then arrive whole or are asked for
/// again as a whole, and a reader that takes its time does not keep the connection waiting.
const READ_AHEAD_BYTES: usize = 4 << 20;

/// A page whose resources are taken out one by one.
pub(super) struct OpenPage {
    method: Method,
    path: String,
    exchange: Exchange,
    /// What has arrived.
    pieces: VecDeque<Bytes>,
    current: Bytes,
    /// What has not.
    rest: Option<Body>,
    splitter: ListSplitter,
    /// Whether it is an array without anything around it.
    bare: bool,
}

/// A resource of a page.
pub(super) struct Found<R> {
    pub(super) resource: R,
    /// Whether it is as the caller's filter says; it is as the server's filter says in any case.
    pub(super) wanted: bool,
}

/// What resources of a page have to be like.
#[derive(Clone, Debug, Default)]
pub(super) struct Sieve {
    /// The filter that the server was asked with.
    pub(super) asked: Option<Filter>,
    /// The caller's filter, where it says more than the server's.
    pub(super) wanted: Option<Filter>,
}

impl OpenPage {
    pub(super) async fn open(client: &Client, request: http::Request<Bytes>) -> Result<Self, Error> {
        let reply = client.call_reading(request, |_, head, body| read_ahead(head, body)).await;
        let reply = match reply {
            Err(error) if *error.kind() == ErrorKind::NotFound => {
                return Err(client.judge_not_found(error).await);
            }
            reply => reply?,
        };
        let Reply { method, path, value: (pieces, rest), exchange } = reply;
        let splitter = ListSplitter::new(client.shared.limits);
        let first = pieces.iter().flatten().find(|byte| !byte.is_ascii_whitespace());
        let bare = first == Some(&b'[');
        Ok(Self { method, path, exchange, pieces, current: Bytes::new(), rest, splitter, bare })
    }

    /// The next resource; `None` at the end of the page, which [`finish`](Self::finish) then speaks of.
    pub(super) async fn next<R: Resource>(
        &mut self,
        sieve: &Sieve,
        mut seen: impl FnMut(Option<&str>, &[u8]) -> Result<bool, Error>,
    ) -> Result<Option<Found<R>>, Error> {
        loop {
            let mut input: &[u8] = &self.current;
            let before = input.len();
            let found = match self.splitter.next(&mut input) {
                Ok(Some(element)) => Some(judge::<R>(&element, sieve, &mut seen)),
                Ok(None) => None,
                Err(error) => Some(Err(error.into())),
            };
            let taken = before.saturating_sub(input.len());
            self.current.advance(taken);
            match found {
                Some(Ok(Some(found))) => return Ok(Some(found)),
                // It came before.
                Some(Ok(None)) => {}
                Some(Err(error)) => return Err(self.error(error)),
                None => match self.piece().await? {
                    Some(piece) => self.current = piece,
                    None => return Ok(None),
                },
            }
        }
    }

    /// What the page says of itself.
    pub(super) fn finish(self) -> Result<Page, Error> {
        let Self { method, path, exchange, splitter, bare, .. } = self;
        let is_empty = splitter.elements() == 0;
        let failed = |error: Error| error.about(method, path).after(exchange);
        let page = match splitter.finish() {
            Ok(page) => page,
            Err(error) => return Err(failed(error.into())),
        };
        // An object that holds nothing and says nothing may be anything: “nobody” has to be said.
        let is_list = page.total_results.is_some()
            || page.schemas.iter().any(|schema| schema.eq_ignore_ascii_case(urn::LIST_RESPONSE));
        if is_empty && !is_list && !bare {
            return Err(failed(Error::new(ErrorKind::Protocol).detail("the answer is no list")));
        }
        Ok(page)
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn error(&self, error: Error) -> Error {
        error.about(self.method.clone(), self.path.clone()).after(self.exchange.clone())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(piece) = self.pieces.pop_front() {
            return Ok(Some(piece));
        }
        let Some(rest) = &mut self.rest else {
            return Ok(None);
        };
        match rest.next().await {
            Some(Ok(piece)) => Ok(Some(piece)),
            Some(Err(error)) => Err(self.error(Error::from(error))),
            None => Ok(None),
        }
    }
}

async fn read_ahead(head: Head, mut body: Body) -> Result<(VecDeque<Bytes>, Option<Body>), Error> {
    let mut pieces = VecDeque::new();
    let mut bytes = 0_usize;
    let mut checked = false;
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if !checked && !piece.trim_ascii().is_empty() {
            response::check_is_json(&head.headers, &piece)?;
            checked = true;
        }
        // A piece takes room of its own, however small it is.
        bytes = bytes.saturating_add(piece.len()).saturating_add(size_of::<Bytes>());
        pieces.push_back(piece);
        if bytes >= READ_AHEAD_BYTES {
            return Ok((pieces, Some(body)));
        }
    }
    Ok((pieces, None))
}

/// Reads a resource and holds it against the filters.
fn judge<R: Resource>(
    element: &Element<'_>,
    sieve: &Sieve,
    seen: &mut impl FnMut(Option<&str>, &[u8]) -> Result<bool, Error>,
) -> Result<Option<Found<R>>, Error> {
    let resource: R = element.read()?;
    let id = resource.id().map(crate::resource::ResourceId::as_str);
    if !seen(id, element.bytes())? {
        return Ok(None);
    }
    let mut wanted = true;
    if sieve.asked.is_some() || sieve.wanted.is_some() {
        let attributes: Attributes = element.read()?;
        if sieve.asked.as_ref().is_some_and(|filter| !filter.matches(&attributes)) {
            return Err(Error::new(ErrorKind::Protocol).detail(format!(
                "the server ignores the filter: resource {} of the list is not as the filter says",
                element.index().saturating_add(1)
            )));
        }
        wanted = sieve.wanted.as_ref().is_none_or(|filter| filter.matches(&attributes));
    }
    Ok(Some(Found { resource, wanted }))
}
