//! What the operations do with a service: read, look for, write; every request on record.

use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;

use crate::client::{Client, Endpoint, Query};
use crate::dialect::{Dialect, Update};
use crate::ensure::account::{Account, named, nameless};
use crate::ensure::{Care, FoundBy, MATCHES_MAX, Membership, Outcome, State};
use crate::error::{Error, ErrorKind, ScimType};
use crate::filter::{CompareOp, Filter, Literal};
use crate::message::PatchOp;
use crate::patch;
use crate::path::AttributePath;
use crate::resource::{Attributes, DynamicResource, Resource as _, ResourceId};
use crate::trace::Trace;

/// Resources asked for at a time, in look-ups.
const PAGE: usize = 100;

/// One kind of resource of one service, for the time of one operation.
pub(super) struct Reach {
    client: Client,
    resources: Endpoint<DynamicResource>,
    trace: Trace,
    /// Whether the service could not look for something that the account is known by.
    pub(super) left_unasked: AtomicBool,
}

/// What a look-up's filter holds for, as long as it is few.
#[derive(Clone, Default)]
pub(super) struct Matches {
    kept: Vec<Attributes>,
    count: usize,
}

impl Matches {
    pub(super) fn keep(&mut self, attributes: &Attributes) {
        self.count = self.count.saturating_add(1);
        if self.kept.len() < MATCHES_MAX {
            self.kept.push(attributes.clone());
        }
    }

    /// They, or how many there are where nobody could tell whose they are.
    pub(super) fn few(self) -> Result<Vec<Attributes>, Error> {
        if self.count > MATCHES_MAX {
            return Err(Error::new(ErrorKind::Ambiguous { matches: self.count }));
        }
        Ok(self.kept)
    }
}

/// How a write ended.
pub(super) enum Written {
    /// The service said that it did it.
    Done,
    /// It may have happened, or what was known is out of date: only a reading tells.
    LookAgain(Error),
    /// It did not happen.
    Refused(Error),
}

impl Reach {
    pub(super) fn users(client: &Client) -> Self {
        Self::to(client, "Users")
    }

    pub(super) fn groups(client: &Client) -> Self {
        Self::to(client, "Groups")
    }

    fn to(client: &Client, path: &'static str) -> Self {
        let trace = Trace::new();
        let client = client.traced(&trace);
        Self { resources: client.resources(path), client, trace, left_unasked: AtomicBool::new(false) }
    }

    pub(super) fn dialect(&self) -> &Dialect {
        self.client.spoken()
    }

    pub(super) fn care(&self) -> &Care {
        self.client.care_taken()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.client.now()
    }

    /// Gives the service the time to finish what it may be doing.
    pub(super) async fn settle(&self) {
        self.client.pause(self.care().settle).await;
    }

    pub(super) fn outcome(
        &self,
        state: State,
        id: Option<ResourceId>,
        found_by: Option<FoundBy>,
        confirmed_at: DateTime<Utc>,
    ) -> Outcome {
        let exchange = self.trace.exchange();
        let (attempts, attempts_left_out) = (exchange.attempts().to_vec(), exchange.left_out());
        Outcome { state, id, found_by, confirmed_at, divergent: Vec::new(), attempts, attempts_left_out }
    }

    /// The error with all attempts of the operation, not only its last request's.
    pub(super) fn with_evidence(&self, error: Error) -> Error {
        error.within(self.trace.take())
    }

    /// Reads one; `None` where it is not there and the service itself answers.
    pub(super) async fn read(&self, id: &ResourceId) -> Result<Option<Attributes>, Error> {
        match self.resources.get(id).await {
            Ok(read) => {
                let attributes = read.into_inner().attributes;
                // What was not asked for is not believed.
                if named(&attributes, "id").is_some_and(|read| read == id.as_str()) {
                    return Ok(Some(attributes));
                }
                Err(Error::new(ErrorKind::Protocol).detail("another resource came than was asked for"))
            }
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an account by its identifier.
    pub(super) async fn account(&self, id: &ResourceId, found_by: FoundBy) -> Result<Option<Account>, Error> {
        let Some(attributes) = self.read(id).await? else { return Ok(None) };
        Account::new(attributes, found_by).map(Some)
    }

    /// All that a filter holds for, evaluated here: a server that ignores it gives every resource it has.
    pub(super) async fn matching(&self, filter: &Filter) -> Result<Vec<Attributes>, Error> {
        let mut found = Matches::default();
        self.list(Some(filter), |attributes| {
            if filter.matches(attributes) {
                found.keep(attributes);
            }
        })
        .await?;
        found.few()
    }

    /// Any one there is.
    pub(super) async fn any(&self) -> Result<Option<Attributes>, Error> {
        let mut listed = self.question(None).page_size(1).stream();
        Ok(listed.try_next().await?.map(|resource| resource.attributes))
    }

    /// Shows every resource that the server lists for a filter, whatever it holds. Where it ends well, the list was whole.
    pub(super) async fn list(
        &self,
        filter: Option<&Filter>,
        mut each: impl FnMut(&Attributes),
    ) -> Result<(), Error> {
        let mut listed = self.question(filter).page_size(PAGE).stream();
        while let Some(resource) = listed.try_next().await? {
            each(&resource.attributes);
        }
        Ok(())
    }

    fn question(&self, filter: Option<&Filter>) -> Query<DynamicResource> {
        let all = self.resources.list();
        let query = match filter {
            Some(filter) => all.filter(filter.clone()),
            None => all,
        };
        let max = u64::try_from(self.care().lookup_resources_max).unwrap_or(u64::MAX);
        query.unverified().undiscovered().at_most(max)
    }

    /// Whether a group holds a member, with a server that does not show members.
    pub(super) async fn group_holds(&self, group: &ResourceId, member: &ResourceId) -> Result<bool, Error> {
        let filter = Filter::And(vec![
            equal(None, "id", None, group.as_str()),
            equal(None, "members", Some("value"), member.as_str()),
        ]);
        // A wider question would be answered with every group.
        if filter.in_form(self.dialect().filters).as_ref() != Some(&filter) {
            return Ok(false);
        }
        let mut holds = false;
        let listed = self
            .list(Some(&filter), |attributes| {
                holds |= named(attributes, "id").is_some_and(|id| id == group.as_str());
            })
            .await;
        match listed {
            Ok(()) => Ok(holds),
            // It shows no members and cannot be asked for one: an empty group shows none either.
            Err(error) if is_about_the_filter(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes one; hands back its identifier.
    pub(super) async fn create(&self, wanted: &Attributes) -> Result<ResourceId, Error> {
        let mut wanted = wanted.clone();
        // Saying that there is nothing says nothing of an account that is not there yet.
        wanted.retain(|name, value| {
            !value.is_null() && !name.eq_ignore_ascii_case("id") && !name.eq_ignore_ascii_case("meta")
        });
        let made = self.resources.create(&DynamicResource::new(wanted)).await?;
        made.id().cloned().ok_or_else(nameless)
    }

    /// Brings one from what was read to what is wanted, in the way of the dialect.
    pub(super) async fn change(&self, id: &ResourceId, read: &Attributes, wanted: &Attributes) -> Written {
        match self.dialect().update {
            Update::Replace => {
                let mut whole = wanted.clone();
                whole.retain(|name, _| !name.eq_ignore_ascii_case("meta"));
                written(self.resources.replace(id, &DynamicResource::new(whole)).await)
            }
            Update::Patch => self.patch(id, read, &patch::towards(read, wanted)).await,
        }
    }

    /// Puts a member into a group or takes it out.
    pub(super) async fn set_member(
        &self,
        group: &ResourceId,
        read: &Attributes,
        member: &ResourceId,
        wanted: Membership,
    ) -> Written {
        let patch = match wanted {
            Membership::Member => PatchOp::new().add_members([member]),
            Membership::NotMember => PatchOp::new().remove_members([member]),
        };
        if self.dialect().update == Update::Replace {
            let mut whole = read.clone();
            whole.retain(|name, _| !name.eq_ignore_ascii_case("meta"));
            return match patch::apply(&mut whole, &patch) {
                Ok(()) => written(self.resources.replace(group, &DynamicResource::new(whole)).await),
                Err(error) => Written::Refused(Error::new(ErrorKind::Invalid).because(error)),
            };
        }
        self.patch(group, read, &patch).await
    }

    async fn patch(&self, id: &ResourceId, read: &Attributes, patch: &PatchOp) -> Written {
        let messages = match patch.in_dialect(self.dialect(), read) {
            Ok(messages) => messages,
            Err(error) => return Written::Refused(Error::new(ErrorKind::Invalid).because(error)),
        };
        for message in &messages {
            match written(self.resources.patch(id, message).await) {
                Written::Done => {}
                other => return other,
            }
        }
        Written::Done
    }

    pub(super) async fn delete(&self, id: &ResourceId) -> Written {
        written(self.resources.delete(id).await)
    }

    /// Makes sure that the service answers for what it is.
    pub(super) async fn alive(&self) -> Result<(), Error> {
        self.client.check_base().await
    }

    /// Whether filters were seen to find what is there, or not to.
    pub(super) fn filter_trust(&self) -> Option<bool> {
        self.client.filter_trust().get()
    }

    pub(super) fn trust_filters(&self, sound: bool) {
        self.client.filter_trust().set(sound);
    }
}

/// A comparison for equality.
pub(super) fn equal(schema: Option<&str>, name: &str, sub: Option<&str>, value: &str) -> Filter {
    let path = AttributePath {
        schema: schema.map(str::to_owned),
        name: name.to_owned(),
        sub: sub.map(str::to_owned),
    };
    Filter::Compare(path, CompareOp::Equal, Literal::String(value.to_owned()))
}

/// Whether the server cannot look for what was asked, rather than that it failed.
pub(super) fn is_about_the_filter(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unsupported
            | ErrorKind::SchemaMismatch(
                ScimType::InvalidFilter
                    | ScimType::InvalidPath
                    | ScimType::InvalidValue
                    | ScimType::InvalidSyntax
            )
    ) || (matches!(error.kind(), ErrorKind::SchemaMismatch(_)) && error.http_status() == Some(400))
}

/// What a write's answer means: whoever may have been heard is asked again, whoever said no is believed.
fn written<T>(result: Result<T, Error>) -> Written {
    match result {
        Ok(_) => Written::Done,
        Err(error) => match error.kind() {
            // Gone, or changed: what was read before is out of date.
            ErrorKind::NotFound | ErrorKind::Concurrency | ErrorKind::Server => Written::LookAgain(error),
            _ if error.may_have_happened() => Written::LookAgain(error),
            _ => Written::Refused(error),
        },
    }
}
