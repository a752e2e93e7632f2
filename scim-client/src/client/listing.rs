//! Many resources: filters, order, pages, one stream.

use std::fmt;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use http::Method;
use serde_json::{Map, Value};

use crate::client::page::{OpenPage, Sieve};
use crate::client::pager::{Ask, Mode, Pager, Step, Take};
use crate::client::{Client, Endpoint};
use crate::dialect::{Paging, Support};
use crate::error::{Error, ErrorKind, ScimType};
use crate::filter::Filter;
use crate::path::AttributePath;
use crate::request::{self, URI_BYTES_MAX};
use crate::resource::Resource;
use crate::urn;

/// Resources of a page that are asked for where neither caller nor server says how many.
const PAGE_SIZE: u64 = 100;
/// Most resources of a page that are asked for because the server says it can.
const PAGE_SIZE_DISCOVERED_MAX: u64 = 1_000;
/// Most resources of one listing where the caller does not say.
pub const LISTED_MAX: u64 = 10_000_000;

/// A question for resources.
#[derive(Debug)]
#[must_use = "nothing is asked before it is streamed or collected"]
pub struct Query<R> {
    endpoint: Endpoint<R>,
    filter: Option<Filter>,
    verified: bool,
    sort_by: Option<(AttributePath, Order)>,
    attributes: Vec<String>,
    excluded: Vec<String>,
    page_size: Option<u64>,
    by_post: bool,
    mode: Option<Mode>,
    resources_max: u64,
}

/// In which order resources come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// The least first.
    Ascending,
    /// The greatest first.
    Descending,
}

impl<R: Resource> Endpoint<R> {
    /// All of them.
    pub fn list(&self) -> Query<R> {
        Query {
            endpoint: self.clone(),
            filter: None,
            verified: true,
            sort_by: None,
            attributes: Vec::new(),
            excluded: Vec::new(),
            page_size: None,
            by_post: false,
            mode: None,
            resources_max: LISTED_MAX,
        }
    }

    /// Those for which the filter holds.
    pub fn filter(&self, filter: impl Into<Filter>) -> Query<R> {
        self.list().filter(filter)
    }
}

impl Client {
    /// Resources of all kinds (RFC 7644 §3.4.2.1).
    pub fn search<R: Resource>(&self) -> Query<R> {
        self.resources("").list()
    }
}

impl<R: Resource> Query<R> {
    /// Those for which this filter holds, too.
    ///
    /// Where the dialect cannot say the filter, the server is asked for more, and the rest is left out here.
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        let filter = filter.into();
        self.filter = Some(match self.filter.take() {
            Some(before) => before.and(filter),
            None => filter,
        });
        self
    }

    /// Gives what the server gives, without a look whether the filter holds.
    ///
    /// There are servers that ignore filters. Whoever then takes what came for what was asked for changes accounts of
    /// strangers: so each resource is held against the filter, and the first that is not as it says ends the stream with
    /// [`ErrorKind::Protocol`]. Turn that off only to hold them against the filter yourself, or for attributes that the
    /// server filters by and never shows.
    pub fn unverified(mut self) -> Self {
        self.verified = false;
        self
    }

    /// In this order. [`ErrorKind::Unsupported`] where the server says that it cannot sort.
    pub fn sort_by(mut self, attribute: impl Into<AttributePath>, order: Order) -> Self {
        self.sort_by = Some((attribute.into(), order));
        self
    }

    /// With these attributes only, those that every answer shows, and those that the filter needs.
    pub fn attributes<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.attributes.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Without these attributes, except those that the filter needs.
    pub fn excluding<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.excluded.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// In pages of so many. Servers give fewer as they like; one that finds it too many is asked for half.
    pub fn page_size(mut self, resources: usize) -> Self {
        self.page_size = u64::try_from(resources).ok();
        self
    }

    /// By POST to `/.search`, so that nothing of the question stands in a URL, where intermediaries log it. A question
    /// too long for a URL goes this way by itself.
    pub fn by_post(mut self) -> Self {
        self.by_post = true;
        self
    }

    /// Ends the stream with [`ErrorKind::TooLarge`] where there are more; [`LISTED_MAX`] where nothing is said.
    pub fn at_most(mut self, resources: u64) -> Self {
        self.resources_max = resources;
        self
    }

    /// Without a look at what the service says of its pages: for look-ups, whose answer is one page nearly always.
    pub(crate) fn undiscovered(self) -> Self {
        let mode = match self.endpoint.client.shared.dialect.paging {
            Paging::None => Mode::None,
            Paging::Index => Mode::Index,
            Paging::Cursor => Mode::Cursor,
            Paging::Discover => Mode::IndexOrCursor,
        };
        self.mode(mode)
    }

    pub(super) fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The resources, page by page as they are wanted. One page at most is in memory, and of a page larger than 4 MiB
    /// only a part.
    ///
    /// The stream ends with `None` only where the listing is whole: where pages repeat, overlap, run dry before the total,
    /// or the total shrinks, it ends with [`ErrorKind::Paging`], and nothing may be concluded from what did not come.
    pub fn stream(self) -> BoxStream<'static, Result<R, Error>> {
        let listing = Listing { query: self, begun: None, page: None };
        stream::try_unfold(listing, |mut listing| async move {
            Ok(listing.next().await?.map(|resource| (resource, listing)))
        })
        .boxed()
    }

    /// The resources, all in memory.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn all(self) -> Result<Vec<R>, Error> {
        self.stream().try_collect().await
    }

    /// The one resource for which the filter holds, where there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`] where there are several; as [`stream`](Self::stream).
    pub async fn one(mut self) -> Result<Option<R>, Error> {
        let plan = self.plan()?;
        // Two are enough to see that it is not one; and no answer of a server that ignores the filter is larger. What is
        // left out here may be any number.
        if plan.sieve.wanted.is_none() && plan.is_asked {
            self.page_size = Some(2);
            self = self.undiscovered();
        }
        let mut listing = Listing { query: self, begun: None, page: None };
        let Some(found) = listing.next().await? else {
            return Ok(None);
        };
        // Asking on tells whether there is another.
        if listing.next().await?.is_none() {
            return Ok(Some(found));
        }
        let matches = listing.total_here().await?.and_then(|total| usize::try_from(total).ok());
        let matches = matches.unwrap_or_default().max(2);
        Err(Error::new(ErrorKind::Ambiguous { matches }))
    }

    /// Where there is no next page, an answer as long as any can be looks the same whether there is more or not.
    fn check_fullness(&self, seen: u64) -> Result<(), Error> {
        let dialect = &self.endpoint.client.shared.dialect;
        let most = dialect.page_size_max.and_then(|most| u64::try_from(most).ok());
        match most {
            Some(most) if dialect.paging == Paging::None && seen >= most => {
                Err(Error::new(ErrorKind::Paging).detail(format!(
                    "{most} resources came, and this service gives no more at a time: there may be more"
                )))
            }
            _ => Ok(()),
        }
    }

    fn plan(&self) -> Result<Plan, Error> {
        let dialect = &self.endpoint.client.shared.dialect;
        let written = self.filter.as_ref().and_then(|filter| filter.written(dialect.filters));
        if written.is_none() && dialect.unfiltered_lists == Support::No {
            return Err(Error::new(ErrorKind::Unsupported)
                .detail("this service lists nothing without a filter that it can read"));
        }
        let Some(filter) = &self.filter else {
            return Ok(Plan { written: None, sieve: Sieve::default(), is_asked: false });
        };
        let asked = filter.in_form(dialect.filters);
        let wanted = (self.verified && asked.as_ref() != Some(filter)).then(|| filter.clone());
        let is_asked = asked.is_some();
        let asked = asked.filter(|_| self.verified);
        Ok(Plan { written, sieve: Sieve { asked, wanted }, is_asked })
    }
}

/// How a question is put.
struct Plan {
    /// The filter as the server reads it.
    written: Option<String>,
    sieve: Sieve,
    /// Whether the server is asked with a filter at all.
    is_asked: bool,
}

struct Listing<R> {
    query: Query<R>,
    begun: Option<Begun>,
    page: Option<OpenPage>,
}

/// A listing under way.
struct Begun {
    plan: Plan,
    pager: Pager,
    whole: bool,
}

impl<R: Resource> Listing<R> {
    async fn next(&mut self) -> Result<Option<R>, Error> {
        if self.begun.is_none() {
            self.begun = Some(self.query.begin().await?);
        }
        loop {
            let Some(begun) = &mut self.begun else {
                return Ok(None);
            };
            if begun.whole {
                return Ok(None);
            }
            let Some(page) = &mut self.page else {
                match self.query.open(begun).await? {
                    Some(page) => self.page = Some(page),
                    None => begun.whole = true,
                }
                continue;
            };
            let pager = &mut begun.pager;
            let found = page
                .next::<R>(&begun.plan.sieve, |id, bytes| {
                    let take = match id {
                        Some(id) => pager.resource(id),
                        None => pager.resource(bytes),
                    };
                    Ok(take? == Take::Give)
                })
                .await?;
            match found {
                Some(found) if found.wanted => return Ok(Some(found.resource)),
                Some(_) => {}
                None => {
                    let Some(page) = self.page.take() else { continue };
                    let (method, path) = (page.method().clone(), page.path().to_owned());
                    let says = page.finish()?;
                    self.query.endpoint.client.saw_service();
                    let step = begun.pager.end_of_page(&says).map_err(|error| error.about(method, path))?;
                    begun.whole = step == Step::Whole;
                    if begun.whole {
                        self.query.check_fullness(begun.pager.seen())?;
                    }
                }
            }
        }
    }
}

impl<R: Resource> Listing<R> {
    /// How many there are, as this page says at its end; `None` where the server counts others too.
    async fn total_here(&mut self) -> Result<Option<u64>, Error> {
        let Some(begun) = &self.begun else { return Ok(None) };
        if begun.plan.sieve.wanted.is_some() {
            return Ok(None);
        }
        let Some(mut page) = self.page.take() else { return Ok(begun.pager.total()) };
        while page.next::<R>(&begun.plan.sieve, |_, _| Ok(true)).await?.is_some() {}
        Ok(page.finish()?.total_results)
    }
}

impl<R: Resource> Query<R> {
    async fn begin(&self) -> Result<Begun, Error> {
        let client = &self.endpoint.client;
        let dialect = &client.shared.dialect;
        if self.sort_by.is_some() {
            let can = match dialect.sort {
                Support::Yes => true,
                Support::No => false,
                Support::Discover => {
                    let config = client.capabilities().await?;
                    config.sort.as_ref().and_then(|sort| sort.supported) != Some(false)
                }
            };
            if !can {
                return Err(Error::new(ErrorKind::Unsupported).detail("this server does not sort"));
            }
        }
        let mut size = self.page_size;
        let mode = match (self.mode, dialect.paging) {
            (Some(mode), _) => mode,
            (None, Paging::None) => Mode::None,
            (None, Paging::Index) => Mode::Index,
            (None, Paging::Cursor) => Mode::Cursor,
            (None, Paging::Discover) => {
                let config = client.capabilities().await?;
                let paging = config.pagination.as_ref();
                let most = paging
                    .and_then(|paging| paging.page_size_max)
                    .or_else(|| config.filter.as_ref().and_then(|filter| filter.results_max))
                    .filter(|most| *most > 0);
                size = match (size, most) {
                    (Some(size), Some(most)) => Some(size.min(most)),
                    (None, most) => most.map(|most| most.min(PAGE_SIZE_DISCOVERED_MAX)),
                    (size, None) => size,
                };
                match paging.and_then(|paging| paging.cursor) {
                    Some(true) => Mode::CursorOrIndex,
                    Some(false) => Mode::Index,
                    None => Mode::IndexOrCursor,
                }
            }
        };
        let mut size = size.unwrap_or(PAGE_SIZE);
        if let Some(most) = dialect.page_size_max.and_then(|most| u64::try_from(most).ok()) {
            size = size.min(most);
        }
        Ok(Begun { plan: self.plan()?, pager: Pager::new(mode, size, self.resources_max), whole: false })
    }

    /// The next page; `None` where the server says with a 404 that there is nothing.
    async fn open(&self, begun: &mut Begun) -> Result<Option<OpenPage>, Error> {
        let client = &self.endpoint.client;
        loop {
            let request = self.request(&begun.plan, begun.pager.ask())?;
            match OpenPage::open(client, request).await {
                Ok(page) => return Ok(Some(page)),
                Err(error) => match error.kind() {
                    ErrorKind::NotFound
                        if client.shared.dialect.not_found_is_empty && begun.plan.written.is_some() =>
                    {
                        return Ok(None);
                    }
                    ErrorKind::SchemaMismatch(ScimType::TooMany) if begun.pager.smaller() => {}
                    ErrorKind::SchemaMismatch(_) if begun.pager.without_cursors() => {}
                    ErrorKind::SchemaMismatch(ScimType::Cursor) => {
                        return Err(error.turned_into(ErrorKind::Paging));
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    fn request(&self, plan: &Plan, ask: &Ask) -> Result<http::Request<Bytes>, Error> {
        let shared = &self.endpoint.client.shared;
        let parameters = self.parameters(plan, ask);
        let by_post = |parameters: Vec<(&str, Value)>| {
            if shared.dialect.search_post == Support::No {
                return Err(Error::new(ErrorKind::Unsupported)
                    .detail("this server has no `/.search`, and the question does not go into a URL"));
            }
            let address = shared.base.at(&format!("{}/.search", self.endpoint.path))?;
            let mut body: Map<String, Value> =
                parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            body.insert("schemas".to_owned(), vec![urn::SEARCH_REQUEST].into());
            let body = Value::Object(body).to_string();
            request::with_body(Method::POST, &address, &shared.user_agent, body.into())
        };
        if self.by_post {
            return by_post(parameters);
        }
        let mut address = self.endpoint.root()?;
        for (name, value) in &parameters {
            match value {
                Value::String(text) => address.parameter(name, text),
                Value::Array(names) => {
                    let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
                    address.parameter(name, &names.join(","));
                }
                value => address.parameter(name, &value.to_string()),
            }
        }
        if address.bytes() > URI_BYTES_MAX {
            return by_post(parameters);
        }
        request::bare(Method::GET, &address, &shared.user_agent)
    }

    fn parameters(&self, plan: &Plan, ask: &Ask) -> Vec<(&'static str, Value)> {
        let mut parameters: Vec<(&'static str, Value)> = Vec::new();
        if let Some(filter) = &plan.written {
            parameters.push(("filter", filter.clone().into()));
        }
        if let Some((attribute, order)) = &self.sort_by {
            parameters.push(("sortBy", attribute.to_string().into()));
            if *order == Order::Descending {
                parameters.push(("sortOrder", "descending".into()));
            }
        }
        let needed = match &self.filter {
            Some(filter) if plan.sieve.asked.is_some() || plan.sieve.wanted.is_some() => needed(filter),
            _ => Vec::new(),
        };
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let selects = self.endpoint.client.shared.dialect.attribute_selection != Support::No;
        if selects && !self.attributes.is_empty() {
            let mut names = self.attributes.clone();
            for name in needed.iter().map(ToString::to_string) {
                if !names.iter().any(|known| same(known, &name)) {
                    names.push(name);
                }
            }
            parameters.push(("attributes", names.into()));
        }
        let excluded: Vec<_> = self
            .excluded
            .iter()
            .filter(|name| {
                !needed.iter().any(|needed| same(&needed.to_string(), name) || same(&needed.name, name))
            })
            .cloned()
            .collect();
        if selects && !excluded.is_empty() {
            parameters.push(("excludedAttributes", excluded.into()));
        }
        match ask {
            Ask::Plain => {}
            Ask::First { count } => parameters.push(("count", (*count).into())),
            Ask::Index { start, count } => {
                parameters.push(("startIndex", (*start).into()));
                parameters.push(("count", (*count).into()));
            }
            Ask::Cursor { cursor, count } => {
                parameters.push(("cursor", cursor.clone().into()));
                parameters.push(("count", (*count).into()));
            }
        }
        parameters
    }
}

/// The attributes that a filter looks at, as wholes.
fn needed(filter: &Filter) -> Vec<AttributePath> {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(needed).collect(),
        Filter::Not(part) => needed(part),
        Filter::Present(path) | Filter::Compare(path, _, _) | Filter::Element(path, _) => {
            vec![AttributePath { sub: None, ..path.clone() }]
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
        })
    }
}
