//! What can be found out without changing anything.

use http::header::{ETAG, IF_NONE_MATCH};
use scim_client::Error;
use scim_client::filter::Filter;
use scim_client::message::{ErrorForm, ResourceType, Schema, ServiceProviderConfig};
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::{Attributes, DynamicResource, Resource as _, attribute};
use scim_client::{ErrorKind, urn};
use serde_json::{Value, json};

use super::ask::{Ask, Asker, Seen};
use super::finding::{Findings, Standing};
use super::refused;
use crate::progress::Progress;

/// What the server says of itself.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) config: Option<ServiceProviderConfig>,
    pub(super) types: Vec<ResourceType>,
    pub(super) schemas: Vec<Schema>,
    pub(super) users: Option<u64>,
}

/// A look at one side of the server. What gave no answer is unclear, unless nothing does any more.
struct Reader<'a> {
    asker: &'a mut Asker,
    findings: &'a mut Findings,
    progress: &'a Progress,
    /// Requests in a row without an answer.
    silent: usize,
}

/// Requests in a row without an answer before the rest is not asked for.
const SILENT_MAX: usize = 3;

type Result<T> = std::result::Result<T, Error>;
type Judged = (Standing, String);

/// Asks everything.
///
/// # Errors
/// Where the credential is refused, or nothing answers any more.
pub(super) async fn ask(asker: &mut Asker, findings: &mut Findings, progress: &Progress) -> Result<Known> {
    let mut reader = Reader { asker, findings, progress, silent: 0 };
    let mut known = reader.discovery().await?;
    let users = reader.lists(&mut known).await?;
    reader.filters(&known, &users).await?;
    reader.selection(&known, &users).await?;
    reader.single(&users).await?;
    reader.rest(&known).await?;
    Ok(known)
}

/// A few users, as an answer showed them.
struct Users(Vec<Attributes>);

impl Users {
    /// One with an identifier and a name.
    fn sample(&self) -> Option<(&str, &str, &Attributes)> {
        self.0.iter().find_map(|user| Some((text(user, "id")?, text(user, "userName")?, user)))
    }
}

fn text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attribute(attributes, name)?.as_str().filter(|text| !text.is_empty())
}

impl Reader<'_> {
    /// `None` where no answer came.
    async fn send(&mut self, what: &str, ask: Ask) -> Result<Option<Seen>> {
        self.progress.step(what);
        match self.asker.send(ask).await {
            Ok(seen) => {
                self.silent = 0;
                Ok(Some(seen))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Authentication(_)) => Err(error),
            Err(error) => {
                self.silent += 1;
                if self.silent >= SILENT_MAX { Err(error) } else { Ok(None) }
            }
        }
    }

    async fn discovery(&mut self) -> Result<Known> {
        let mut known = Known::default();
        let mut seen = self.send("ServiceProviderConfig", Ask::get(&["ServiceProviderConfig"])).await?;
        let mut at = "`/ServiceProviderConfig`";
        if seen.as_ref().is_some_and(|seen| seen.status == 404) {
            seen = self.send("ServiceProviderConfigs", Ask::get(&["ServiceProviderConfigs"])).await?;
            at = "`/ServiceProviderConfigs`";
        }
        known.config = seen.as_ref().and_then(read_config);
        let judged = match (&known.config, &seen) {
            (Some(_), _) if at.ends_with("s`") => (Standing::Deviates, format!("at {at}")),
            (Some(_), _) => (Standing::Conforms, "shown".to_owned()),
            (None, seen) => not_shown(seen.as_ref()),
        };
        self.findings.note("discovery.config", "`ServiceProviderConfig`", "shown", judged);
        if let Some(seen) = seen.as_ref().filter(|_| known.config.is_some()) {
            self.findings.note(
                "form.content_type",
                "content type",
                "application/scim+json",
                content_type(seen),
            );
        }
        let seen = self.send("ResourceTypes", Ask::get(&["ResourceTypes"])).await?;
        known.types = seen.as_ref().map(read_many).unwrap_or_default();
        let judged = match known.types.len() {
            0 => not_shown(seen.as_ref()),
            count => (Standing::Conforms, format!("{count} kinds")),
        };
        self.findings.note("discovery.types", "`ResourceTypes`", "shown", judged);
        let seen = self.send("Schemas", Ask::get(&["Schemas"])).await?;
        known.schemas = seen.as_ref().map(read_many).unwrap_or_default();
        let has_users = known
            .schemas
            .iter()
            .any(|schema| schema.id.as_ref().is_some_and(|id| id.as_str().eq_ignore_ascii_case(urn::USER)));
        let judged = match known.schemas.len() {
            0 => not_shown(seen.as_ref()),
            count if has_users => (Standing::Conforms, format!("{count} schemas")),
            count => (Standing::Deviates, format!("{count} schemas, none of users")),
        };
        self.findings.note("discovery.schemas", "`Schemas`", "shown", judged);
        Ok(known)
    }

    async fn lists(&mut self, known: &mut Known) -> Result<Users> {
        let first = Ask::get(&["Users"]).query(&[("startIndex", "1"), ("count", "2")]);
        let Some(seen) = self.send("list of users", first).await? else {
            self.findings.note("list.unfiltered", "list without a filter", "shown", silence());
            return Ok(Users(Vec::new()));
        };
        if seen.status == 401 {
            return Err(refused().about(http::Method::GET, "Users").status(401));
        }
        let Some(list) = seen.list().filter(|_| seen.is_success()) else {
            self.findings.note("list.unfiltered", "list without a filter", "shown", not_shown(Some(&seen)));
            return Ok(Users(Vec::new()));
        };
        self.findings.note(
            "list.unfiltered",
            "list without a filter",
            "shown",
            (Standing::Conforms, "shown"),
        );
        let total = list.page.total_results;
        known.users = total;
        let here = list.resources.len();
        let judged = match total {
            Some(_) if is_text(&seen, "totalResults") => (Standing::Deviates, "as text".to_owned()),
            Some(_) => (Standing::Conforms, "a number".to_owned()),
            None => (Standing::Deviates, "missing".to_owned()),
        };
        self.findings.note("list.total", "`totalResults`", "a number", judged);
        let judged = match here {
            0..=2 if total.is_some_and(|total| total > 2) => {
                (Standing::Conforms, "at most so many".to_owned())
            }
            0..=2 => (Standing::Unclear, "too few users to see".to_owned()),
            more => (Standing::Deviates, format!("{more} come for `count=2`")),
        };
        self.findings.note("list.count", "`count`", "at most so many", judged);
        let users: Vec<Attributes> =
            list.resources.into_iter().map(|user| user.attributes).take(50).collect();
        self.users_form(&users);
        self.paging(known, total, &users).await?;
        Ok(Users(users))
    }

    /// How values of users are written.
    fn users_form(&mut self, users: &[Attributes]) {
        let Some(user) = users.first() else { return };
        let judged = match attribute(user, "active") {
            Some(Value::Bool(_)) => (Standing::Conforms, "JSON boolean".to_owned()),
            Some(Value::String(text)) => (Standing::Deviates, format!("text: `{text}`")),
            Some(_) => (Standing::Deviates, "something else".to_owned()),
            None => (Standing::Absent, "not shown".to_owned()),
        };
        self.findings.note("form.boolean", "`active`", "JSON boolean", judged);
        let location =
            attribute(user, "meta").and_then(|meta| attribute(meta.as_object()?, "location")?.as_str());
        let judged = match location {
            Some(location) if location.contains("://") => (Standing::Conforms, "absolute"),
            Some(_) => (Standing::Deviates, "relative"),
            None => (Standing::Deviates, "none"),
        };
        self.findings.note("form.location", "`meta.location`", "absolute", judged);
    }

    async fn paging(&mut self, known: &Known, total: Option<u64>, users: &[Attributes]) -> Result<()> {
        let ids = |seen: &Seen| -> Option<Vec<String>> {
            let list = seen.list()?;
            Some(list.resources.iter().filter_map(|one| Some(one.id()?.as_str().to_owned())).collect())
        };
        let ask = Ask::get(&["Users"]).query(&[("startIndex", "2"), ("count", "1")]);
        let seen = self.send("paging by index", ask).await?;
        let second = users.get(1).and_then(|user| text(user, "id"));
        let judged = match (seen.as_ref().and_then(ids), second) {
            (None, _) => refused_or_silent(seen.as_ref()),
            (Some(_), None) => (Standing::Unclear, "needs two users".to_owned()),
            (Some(here), Some(second)) => match here.as_slice() {
                [only] if only == second => (Standing::Conforms, "page by page".to_owned()),
                [] => (Standing::Deviates, "the second page is empty".to_owned()),
                [only] if users.first().and_then(|user| text(user, "id")) == Some(only.as_str()) => {
                    (Standing::Deviates, "`startIndex` is ignored".to_owned())
                }
                [_] => (Standing::Deviates, "another order each time".to_owned()),
                _ => (Standing::Deviates, "`count` is ignored".to_owned()),
            },
        };
        self.findings.note("list.index", "paging by index", "page by page", judged);
        let beyond = total.unwrap_or(0).saturating_add(1_000).to_string();
        let ask = Ask::get(&["Users"]).query(&[("startIndex", &beyond), ("count", "2")]);
        let seen = self.send("a page beyond the end", ask).await?;
        let judged = match seen.as_ref().and_then(|seen| seen.list()) {
            Some(list) if list.resources.is_empty() => (Standing::Conforms, "nothing".to_owned()),
            Some(_) => (Standing::Deviates, "resources come".to_owned()),
            None => refused_or_silent(seen.as_ref()),
        };
        self.findings.note("list.beyond", "a page beyond the end", "nothing", judged);
        let seen = self.send("count=0", Ask::get(&["Users"]).query(&[("count", "0")])).await?;
        let judged = match seen.as_ref().and_then(|seen| seen.list()) {
            Some(list) if !list.resources.is_empty() => (Standing::Deviates, "resources come".to_owned()),
            Some(list) if list.page.total_results == total => {
                (Standing::Conforms, "the total alone".to_owned())
            }
            Some(_) => (Standing::Deviates, "another total".to_owned()),
            None => refused_or_silent(seen.as_ref()),
        };
        self.findings.note("list.zero", "`count=0`", "the total alone", judged);
        let says = known.config.as_ref().and_then(|config| config.pagination.as_ref()?.cursor);
        let ask = Ask::get(&["Users"]).query(&[("cursor", ""), ("count", "1")]);
        let seen = self.send("paging by cursor", ask).await?;
        let next = seen.as_ref().and_then(|seen| seen.list()?.page.next_cursor);
        let judged = match (next, says) {
            (Some(_), _) => (Standing::Conforms, "offered".to_owned()),
            (None, Some(true)) if total.is_none_or(|total| total < 2) => {
                (Standing::Unclear, "needs two users".to_owned())
            }
            (None, Some(true)) => (Standing::Deviates, "announced, and no cursor comes".to_owned()),
            (None, _) => (Standing::Absent, "not offered".to_owned()),
        };
        self.findings.note("list.cursor", "paging by cursor", "optional (RFC 9865)", judged);
        Ok(())
    }

    async fn filters(&mut self, known: &Known, users: &Users) -> Result<()> {
        let nobody = format!("provisioner-probe-nobody-{:016x}", fastrand::u64(..));
        let sample = users.sample();
        let name = sample.map_or(nobody.as_str(), |(_, name, _)| name);
        let quoted = Value::from(name).to_string();
        let other_case = Value::from(swapped(name)).to_string();
        let nobody_quoted = Value::from(nobody.as_str()).to_string();
        let external = sample.and_then(|(_, _, user)| text(user, "externalId"));
        let external = external.map_or(nobody_quoted.clone(), |id| Value::from(id).to_string());
        let begin: String = name.chars().take(3).collect();
        let (begin, end) = (Value::from(begin).to_string(), {
            let skip = name.chars().count().saturating_sub(3);
            Value::from(name.chars().skip(skip).collect::<String>()).to_string()
        });
        let part_of_name = sample.is_some_and(|(_, _, user)| {
            attribute(user, "name").and_then(|name| attribute(name.as_object()?, "familyName")).is_some()
        });
        let with_emails = sample.is_some_and(|(_, _, user)| attribute(user, "emails").is_some());
        let family = sample.and_then(|(_, _, user)| attribute(user, "name")?.as_object());
        let family = family.and_then(|name| text(name, "familyName")).unwrap_or(&nobody);
        let family = Value::from(family).to_string();
        let email =
            sample.and_then(|(_, _, user)| attribute(user, "emails")?.as_array()?.first()?.as_object());
        let email = email.and_then(|email| text(email, "value")).unwrap_or(&nobody);
        let email = Value::from(email).to_string();
        let external_shown = sample.is_some_and(|(_, _, user)| text(user, "externalId").is_some());
        // (code, what, filter, whether the sample must be found)
        let there = sample.is_some();
        let checks: [(&'static str, &'static str, String, bool); 14] = [
            ("filter.eq", "filter `eq`", format!("userName eq {quoted}"), there),
            ("filter.case", "filter `eq`, in another case", format!("userName eq {other_case}"), there),
            (
                "filter.external_id",
                "filter `eq` of `externalId`",
                format!("externalId eq {external}"),
                external_shown,
            ),
            ("filter.and", "filter `and`", format!("userName eq {quoted} and userName eq {quoted}"), there),
            (
                "filter.or",
                "filter `or`",
                format!("userName eq {nobody_quoted} or userName eq {quoted}"),
                there,
            ),
            (
                "filter.precedence",
                "filter `and` before `or`",
                format!("userName eq {quoted} or userName eq {quoted} and userName eq {nobody_quoted}"),
                there,
            ),
            (
                "filter.not",
                "filter `not`",
                format!("userName eq {quoted} and not (userName eq {nobody_quoted})"),
                there,
            ),
            ("filter.sw", "filter `sw`", format!("userName sw {begin}"), there),
            ("filter.ew", "filter `ew`", format!("userName ew {end}"), there),
            ("filter.co", "filter `co`", format!("userName co {begin}"), there),
            ("filter.pr", "filter `pr`", "userName pr".to_owned(), there),
            (
                "filter.gt",
                "filter `gt` of a time",
                "meta.lastModified gt \"1990-01-01T00:00:00Z\"".to_owned(),
                there,
            ),
            ("filter.sub", "filter, a sub-attribute", format!("name.familyName eq {family}"), part_of_name),
            ("filter.element", "filter, an element", format!("emails[value eq {email}]"), with_emails),
        ];
        for (code, what, filter, found) in checks {
            let ask = Ask::get(&["Users"]).query(&[("filter", &filter), ("count", "5")]);
            let seen = self.send(what, ask).await?;
            let mut judged = judge_filter(seen.as_ref(), &filter, found, code != "filter.precedence");
            if code == "filter.case" && judged.0 == Standing::Deviates && judged.1 == "not found" {
                judged.1 = "upper and lower case are told apart".to_owned();
            }
            if known.config.as_ref().and_then(|config| config.filter.as_ref()?.supported) == Some(false)
                && judged.0 == Standing::Deviates
            {
                judged.0 = Standing::Absent;
            }
            self.findings.note(code, what, if found { "found" } else { "an empty list" }, judged);
        }
        let filter = format!("userName eq {nobody_quoted}");
        let seen = self.send("nobody", Ask::get(&["Users"]).query(&[("filter", &filter)])).await?;
        let judged = match &seen {
            Some(seen) if seen.status == 404 => (Standing::Deviates, "status 404".to_owned()),
            seen => judge_filter(seen.as_ref(), &filter, false, true),
        };
        self.findings.note("filter.nobody", "filter that finds nobody", "an empty list", judged);
        let ask = Ask::get(&["Users"]).query(&[("filter", "userName is \"x\""), ("count", "1")]);
        let judged = match self.send("no filter at all", ask).await? {
            Some(seen) if seen.status == 400 => {
                let named = seen.outcome();
                let conforms = named.contains("invalidFilter");
                (if conforms { Standing::Conforms } else { Standing::Deviates }, named)
            }
            Some(seen) if seen.is_success() => (Standing::Deviates, "taken".to_owned()),
            seen => refused_or_silent(seen.as_ref()),
        };
        self.findings.note("filter.wrong", "what is no filter", "refused (400 invalidFilter)", judged);
        self.search(&filter).await
    }

    async fn search(&mut self, filter: &str) -> Result<()> {
        let body = json!({"schemas": [urn::SEARCH_REQUEST], "filter": filter, "startIndex": 1, "count": 1});
        let ask = Ask::new(http::Method::POST, &["Users", ".search"]).body(body);
        let judged = match self.send(".search", ask).await? {
            Some(seen) if seen.list().is_some_and(|list| list.resources.is_empty()) => {
                (Standing::Conforms, "done".to_owned())
            }
            Some(seen) if seen.is_success() => {
                (Standing::Deviates, "gives what was not asked for".to_owned())
            }
            Some(seen) => (Standing::Absent, seen.outcome()),
            None => silence(),
        };
        self.findings.note("search.post", "POST to `.search`", "done", judged);
        Ok(())
    }

    async fn selection(&mut self, known: &Known, users: &Users) -> Result<()> {
        let ask = Ask::get(&["Users"]).query(&[("sortBy", "userName"), ("count", "20")]);
        let seen = self.send("sortBy", ask).await?;
        let says = known.config.as_ref().and_then(|config| config.sort.as_ref()?.supported);
        let names: Option<Vec<String>> = seen.as_ref().and_then(|seen| seen.list()).map(|list| {
            let names = list.resources.iter().filter_map(|user| text(&user.attributes, "userName"));
            names.map(str::to_lowercase).collect()
        });
        let judged = match (names, says) {
            (Some(names), _) if names.len() < 2 => (Standing::Unclear, "needs two users".to_owned()),
            (Some(names), _) if names.is_sorted() => (Standing::Conforms, "in order".to_owned()),
            (Some(_), Some(true)) => (Standing::Deviates, "announced, and not in order".to_owned()),
            (Some(_), _) => (Standing::Absent, "ignored".to_owned()),
            (None, Some(true)) => refused_or_silent(seen.as_ref()),
            (None, _) => (Standing::Absent, refused_or_silent(seen.as_ref()).1),
        };
        self.findings.note("list.sort", "`sortBy`", "optional", judged);
        let Some((_, _, sample)) = users.sample() else { return Ok(()) };
        let extra = sample.keys().find(|name| {
            !["id", "schemas", "meta", "userName", "externalId"]
                .iter()
                .any(|kept| kept.eq_ignore_ascii_case(name))
        });
        for (code, what, parameter, value) in [
            ("list.attributes", "`attributes`", "attributes", Some("userName")),
            ("list.excluded", "`excludedAttributes`", "excludedAttributes", extra.map(String::as_str)),
        ] {
            let (Some(value), Some(extra)) = (value, extra) else { continue };
            let ask = Ask::get(&["Users"]).query(&[(parameter, value), ("count", "2")]);
            let seen = self.send(what, ask).await?;
            let list = seen.as_ref().and_then(|seen| seen.list());
            let judged = match list {
                Some(list) if list.resources.is_empty() => (Standing::Unclear, "nobody came".to_owned()),
                Some(list)
                    if list.resources.iter().any(|user| attribute(&user.attributes, extra).is_some()) =>
                {
                    (Standing::Deviates, "ignored".to_owned())
                }
                Some(_) => (Standing::Conforms, "done".to_owned()),
                None => refused_or_silent(seen.as_ref()),
            };
            self.findings.note(code, what, "done", judged);
        }
        Ok(())
    }

    async fn single(&mut self, users: &Users) -> Result<()> {
        let unknown = format!("provisioner-probe-{:016x}", fastrand::u64(..));
        let seen = self.send("an unknown id", Ask::get(&["Users", &unknown])).await?;
        let judged = match &seen {
            Some(seen) if seen.status == 404 => (Standing::Conforms, "404".to_owned()),
            Some(seen) if seen.is_success() => (Standing::Deviates, "somebody comes".to_owned()),
            seen => refused_or_silent(seen.as_ref()),
        };
        self.findings.note("get.unknown", "an unknown id", "404", judged);
        if let Some(seen) = seen.filter(|seen| !seen.is_success()) {
            let judged = match seen.refusal().form {
                ErrorForm::Scim if is_number(&seen, "status") => {
                    (Standing::Deviates, "as SCIM has it, `status` is a number")
                }
                ErrorForm::Scim => (Standing::Conforms, "as SCIM has it"),
                ErrorForm::Json => (Standing::Deviates, "other JSON"),
                ErrorForm::Html => (Standing::Deviates, "a page for people"),
                ErrorForm::Empty => (Standing::Deviates, "empty"),
                _ => (Standing::Deviates, "plain text"),
            };
            self.findings.note("form.error", "form of errors", "as SCIM has it", judged);
        }
        let Some((id, _, _)) = users.sample() else { return Ok(()) };
        let Some(seen) = self.send("one user", Ask::get(&["Users", id])).await? else { return Ok(()) };
        let judged = match seen.attributes() {
            Some(user) if text(&user, "id") == Some(id) => (Standing::Conforms, "shown".to_owned()),
            Some(_) if seen.is_success() => (Standing::Deviates, "somebody else comes".to_owned()),
            _ => refused_or_silent(Some(&seen)),
        };
        self.findings.note("get.user", "one user", "shown", judged);
        let shown = seen.attributes().unwrap_or_default();
        let meta = attribute(&shown, "meta").and_then(Value::as_object);
        let of_meta = meta.and_then(|meta| text(meta, "version")).map(str::to_owned);
        let header = seen.header(ETAG).map(str::to_owned);
        let judged = match (&header, &of_meta) {
            (Some(tag), Some(version)) if tag == version => {
                (Standing::Conforms, "`ETag` and `meta.version`".to_owned())
            }
            (Some(_), Some(_)) => (Standing::Deviates, "`ETag` and `meta.version` differ".to_owned()),
            (Some(_), None) => (Standing::Conforms, "`ETag` alone".to_owned()),
            (None, Some(version)) if version.ends_with('"') => {
                (Standing::Conforms, "`meta.version` alone".to_owned())
            }
            (None, Some(_)) => (Standing::Deviates, "`meta.version` is no entity tag".to_owned()),
            (None, None) => (Standing::Absent, "none".to_owned()),
        };
        self.findings.note("get.version", "version", "optional", judged);
        if let Some(tag) = header.or(of_meta.filter(|version| version.ends_with('"'))) {
            let ask = Ask::get(&["Users", id]).header(IF_NONE_MATCH, tag);
            let judged = match self.send("a known version", ask).await? {
                Some(seen) if seen.status == 304 => (Standing::Conforms, "not sent again".to_owned()),
                Some(seen) if seen.is_success() => (Standing::Absent, "sent again".to_owned()),
                seen => refused_or_silent(seen.as_ref()),
            };
            self.findings.note("get.if_none_match", "a read of a known version", "optional", judged);
        }
        Ok(())
    }

    async fn rest(&mut self, known: &Known) -> Result<()> {
        let seen = self.send("groups", Ask::get(&["Groups"]).query(&[("count", "1")])).await?;
        let judged = match seen.as_ref().and_then(|seen| seen.list()) {
            Some(list) => (Standing::Conforms, list.page.total_results.map_or("shown".to_owned(), groups)),
            None => match &seen {
                Some(seen) => (Standing::Absent, seen.outcome()),
                None => silence(),
            },
        };
        self.findings.note("groups.list", "list of groups", "shown", judged);
        let judged = match self.send("/Me", Ask::get(&["Me"])).await? {
            Some(seen) if seen.is_success() => (Standing::Conforms, "answers".to_owned()),
            Some(seen) => (Standing::Absent, seen.outcome()),
            None => silence(),
        };
        self.findings.note("me", "`/Me`", "optional", judged);
        let bulk = known.config.as_ref().and_then(|config| config.bulk.as_ref()?.supported);
        let judged = match bulk {
            Some(true) => (Standing::Conforms, "announced; not tried"),
            Some(false) => (Standing::Absent, "not offered"),
            None => (Standing::Unclear, "nothing is said of it"),
        };
        self.findings.note("bulk", "`/Bulk`", "optional", judged);
        if self.asker.can_be_anonymous() {
            let ask = Ask::get(&["Users"]).query(&[("count", "1")]).anonymous();
            let judged = match self.send("without a credential", ask).await? {
                Some(seen) if matches!(seen.status, 401 | 403) => {
                    (Standing::Conforms, format!("refused ({})", seen.status))
                }
                Some(seen) if seen.list().is_some() => {
                    (Standing::Deviates, "USERS ARE SHOWN TO ANYBODY".to_owned())
                }
                Some(seen) => (Standing::Deviates, seen.outcome()),
                None => silence(),
            };
            self.findings.note("anonymous", "a list without a credential", "refused (401)", judged);
        }
        Ok(())
    }
}

fn groups(total: u64) -> String {
    match total {
        1 => "1 group".to_owned(),
        total => format!("{total} groups"),
    }
}

fn read_config(seen: &Seen) -> Option<ServiceProviderConfig> {
    if !seen.is_success() {
        return None;
    }
    let list = from_slice::<scim_client::message::ListResponse<ServiceProviderConfig>>(
        &seen.body,
        &ReadLimits::default(),
    );
    if let Ok(mut list) = list
        && list.resources.len() == 1
    {
        return list.resources.pop();
    }
    let config: ServiceProviderConfig = from_slice(&seen.body, &ReadLimits::default()).ok()?;
    // Any object reads as one that says nothing.
    (config.patch.is_some() || config.filter.is_some() || !config.schemas.is_empty()).then_some(config)
}

fn read_many<R: scim_client::resource::Resource>(seen: &Seen) -> Vec<R> {
    if !seen.is_success() {
        return Vec::new();
    }
    from_slice::<scim_client::message::ListResponse<R>>(&seen.body, &ReadLimits::default())
        .map(|list| list.resources)
        .unwrap_or_default()
}

fn silence() -> Judged {
    (Standing::Unclear, "no answer".to_owned())
}

fn refused_or_silent(seen: Option<&Seen>) -> Judged {
    match seen {
        Some(seen) if seen.is_success() => (Standing::Deviates, "something that is not SCIM".to_owned()),
        Some(seen) => (Standing::Deviates, seen.outcome()),
        None => silence(),
    }
}

fn not_shown(seen: Option<&Seen>) -> Judged {
    match seen {
        Some(seen) if seen.is_success() => (Standing::Deviates, "nothing in it".to_owned()),
        Some(seen) => (Standing::Deviates, seen.outcome()),
        None => silence(),
    }
}

fn content_type(seen: &Seen) -> Judged {
    match seen.content_type() {
        Some(kind) if kind.eq_ignore_ascii_case("application/scim+json") => {
            (Standing::Conforms, "application/scim+json".to_owned())
        }
        Some(kind) => (Standing::Deviates, kind.to_owned()),
        None => (Standing::Deviates, "none".to_owned()),
    }
}

/// What an answer to a filter says of it. Each resource is held against the filter, since a server that ignores it
/// answers with success, too.
fn judge_filter(seen: Option<&Seen>, filter: &str, found: bool, verify: bool) -> Judged {
    let Some(seen) = seen else { return silence() };
    let Some(list) = seen.list() else { return refused_or_silent(Some(seen)) };
    let holds = |user: &DynamicResource| {
        filter.parse::<Filter>().is_ok_and(|filter| filter.matches(&user.attributes))
    };
    let strangers = list.resources.iter().filter(|user| !holds(user)).count();
    match (list.resources.is_empty(), strangers) {
        (false, more) if more > 0 && verify => {
            (Standing::Deviates, "IGNORED: others come, who are not as it says".to_owned())
        }
        (false, _) if found => (Standing::Conforms, "found".to_owned()),
        (true, _) if found => (Standing::Deviates, "not found".to_owned()),
        (true, _) => (Standing::Conforms, "an empty list".to_owned()),
        (false, _) => (Standing::Conforms, "found".to_owned()),
    }
}

fn swapped(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect()
}

fn is_text(seen: &Seen, name: &str) -> bool {
    seen.attributes().is_some_and(|all| attribute(&all, name).is_some_and(Value::is_string))
}

fn is_number(seen: &Seen, name: &str) -> bool {
    seen.attributes().is_some_and(|all| attribute(&all, name).is_some_and(Value::is_number))
}
