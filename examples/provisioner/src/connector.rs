//! An application that speaks SCIM, as `connector-health` wants to know it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use connector_health::account::given_up;
use connector_health::connector::{
    Access, Confirmation, Connector, Failure, FailureKind, Found, ListedAccount, Operation, Right, Target,
};
use connector_health::event::{Attribute, Attributes, Changes};
use connector_health::{AccountId, EntitlementId, PersonId};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use scim_client::ensure::{Deprovision, Identity, Membership, Outcome, State};
use scim_client::error::Authentication;
use scim_client::filter::Filter;
use scim_client::filter::{group, user};
use scim_client::mapping::Mapping;
use scim_client::resource::{Group, Resource as _, ResourceId, User};
use scim_client::{Client, Error, ErrorKind};
use serde_json::{Map, Value};

/// Attributes of a person as events have them, where no mapping is given.
pub(crate) const PLAIN_MAPPING: &str = r#"
version = 1

[source]
user_name = "string"
display_name = "string"
email = "string"

[attributes]
userName = { copy = "user_name", required = true }
displayName = "display_name"
'emails[type eq "work"].value' = "email"
"#;

/// The attribute of a person that becomes the name to sign in with.
pub(crate) const USER_NAME: &str = "user_name";

/// How long the record of a leaver waits for their account to be called otherwise.
const RENAME_MAX: Duration = Duration::from_secs(10);

/// An application behind a SCIM service.
pub(crate) struct ScimConnector {
    client: Client,
    mapping: Mapping,
    how: Deprovision,
}

impl ScimConnector {
    pub(crate) fn new(client: Client, mapping: Mapping, how: Deprovision) -> Self {
        Self { client, mapping, how }
    }

    async fn deprovision(&self, target: &Target) -> Result<Confirmation, Failure> {
        let outcome = self.client.ensure_deprovisioned(&identity(target), self.how).await.map_err(failure)?;
        let mut confirmation = confirmed(&outcome)?;
        if let Some(user) = outcome.id.as_ref()
            && !matches!(outcome.state, State::Deleted | State::AlreadyAbsent)
        {
            // What somebody may is taken away after whether they can sign in at all.
            let is_stripped = self.strip_account(user, &BTreeSet::new()).await?;
            let renamed = tokio::time::timeout(RENAME_MAX, self.give_up_name(target, user)).await;
            let is_renamed =
                match renamed.unwrap_or_else(|_| Ok(Name::Kept("no answer in time".to_owned())))? {
                    Name::Own => false,
                    Name::GivenUp => true,
                    Name::Kept(why) => {
                        confirmation.residuals.push(format!("`{USER_NAME}` is not its own any more: {why}"));
                        false
                    }
                };
            if is_stripped || is_renamed {
                confirmation.found = Found::Changed;
            }
        }
        Ok(confirmation)
    }

    /// A name that an account which stays should not have any more may be somebody else's next: it takes one that nobody will claim. A
    /// failure is only that somebody is let in again by it.
    async fn give_up_name(&self, target: &Target, user: &ResourceId) -> Result<Name, Failure> {
        let Some(own) = target.unique.get(USER_NAME) else { return Ok(Name::Own) };
        let kept = |error: Error| Ok(Name::Kept(error.to_string()));
        let read = match self.client.users().get(user).await {
            Ok(read) => read,
            Err(error) => return kept(error),
        };
        let Some(has) = read.user_name.value() else { return Ok(Name::Own) };
        let free = given_up(&account_id(user)?, has);
        // Services may change the case of what they are given.
        if [own, &free].iter().any(|name| name.to_lowercase() == has.to_lowercase()) {
            return Ok(Name::Own);
        }
        let target = Target { account: Some(account_id(user)?), ..target.clone() };
        let renamed =
            self.ensure(&target, Map::from_iter([("userName".to_owned(), Value::from(free))])).await;
        match self.client.users().get(user).await {
            Ok(read) if read.active.value() != Some(&false) => {
                let said = "to be called otherwise brought the account back";
                Err(Failure::new(FailureKind::Divergent, said).perhaps_effective())
            }
            Ok(_) => {
                Ok(renamed.map_or_else(|failure| Name::Kept(failure.message().to_owned()), |_| Name::GivenUp))
            }
            Err(error) => kept(error),
        }
    }

    async fn account(
        &self,
        target: &Target,
        attributes: &Attributes,
        rights: &BTreeSet<EntitlementId>,
    ) -> Result<Confirmation, Failure> {
        let mut source = Map::new();
        // What the mapping knows and the person does not have is not to be there.
        for (name, _) in self.mapping.sources() {
            source.insert(name.to_owned(), Value::Null);
        }
        source.extend(attributes.iter().map(|(name, value)| (name.clone(), plain(value))));
        let mut desired = self.mapping.apply(&source).map_err(unmapped)?;
        desired.insert("active".to_owned(), Value::Bool(true));
        let mut confirmation = self.ensure(target, desired).await?;
        let target = Target { account: confirmation.account.clone(), ..target.clone() };
        for right in rights {
            if self.entitlement(&target, right, Right::Granted).await?.found == Found::Changed {
                confirmation.found = Found::Changed;
            }
        }
        Ok(confirmation)
    }

    async fn attributes(&self, target: &Target, changes: &Changes) -> Result<Confirmation, Failure> {
        let user = self.find(target).await?.ok_or_else(no_account)?;
        // What the mapping cannot do without, a name to sign in with, is said again where it does not change.
        let known = target.unique.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let mut source: Map<String, Value> = known.collect();
        source.extend(
            changes.iter().map(|(name, value)| (name.clone(), value.as_ref().map_or(Value::Null, plain))),
        );
        let desired = self.mapping.apply_update(&source).map_err(unmapped)?;
        let target = Target { account: Some(account_id(&user)?), ..target.clone() };
        self.ensure(&target, desired).await
    }

    async fn ensure(
        &self,
        target: &Target,
        mut desired: Map<String, Value>,
    ) -> Result<Confirmation, Failure> {
        desired.insert("externalId".to_owned(), Value::from(target.person.as_str()));
        desired.entry("schemas").or_insert_with(|| Value::from(vec![User::SCHEMA]));
        let desired: User = serde_json::from_value(Value::Object(desired))
            .map_err(|error| Failure::new(FailureKind::SchemaMismatch, error.to_string()))?;
        let outcome = self.client.ensure_user(&identity(target), &desired).await.map_err(failure)?;
        if outcome.divergent.is_empty() {
            return confirmed(&outcome);
        }
        let paths: Vec<&str> = outcome.divergent.iter().map(|divergence| divergence.path.as_str()).collect();
        let said = format!("the application took it and shows otherwise: {}", paths.join(", "));
        Err(Failure::new(FailureKind::Divergent, said).perhaps_effective())
    }

    async fn entitlement(
        &self,
        target: &Target,
        entitlement: &EntitlementId,
        right: Right,
    ) -> Result<Confirmation, Failure> {
        let user = match (self.find(target).await?, right) {
            (Some(user), _) => user,
            (None, Right::Revoked) => return Ok(Confirmation::read(Found::Absent)),
            (None, Right::Granted) => return Err(no_account()),
        };
        let group = match (self.find_group(entitlement).await?, right) {
            (Some(group), _) => group,
            (None, Right::Revoked) => return Ok(Confirmation::read(Found::AlreadySo).of(account_id(&user)?)),
            (None, Right::Granted) => self.make_group(entitlement).await?,
        };
        let wanted = match right {
            Right::Granted => Membership::Member,
            Right::Revoked => Membership::NotMember,
        };
        let outcome = self.client.ensure_membership(&group, &user, wanted).await.map_err(failure)?;
        Ok(confirmed(&outcome)?.of(account_id(&user)?))
    }

    async fn strip(&self, target: &Target, keep: &BTreeSet<EntitlementId>) -> Result<Confirmation, Failure> {
        let Some(user) = self.find(target).await? else {
            return Ok(Confirmation::read(Found::Absent));
        };
        let found = if self.strip_account(&user, keep).await? { Found::Changed } else { Found::AlreadySo };
        Ok(Confirmation::read(found).of(account_id(&user)?))
    }

    /// Takes an account out of all groups but these; whether it was in one.
    async fn strip_account(
        &self,
        user: &ResourceId,
        keep: &BTreeSet<EntitlementId>,
    ) -> Result<bool, Failure> {
        let mut changed = false;
        for (group, name) in self.groups_of(user).await? {
            if keep.iter().any(|kept| Some(kept.as_str()) == name.as_deref()) {
                continue;
            }
            self.client.ensure_membership(&group, user, Membership::NotMember).await.map_err(failure)?;
            changed = true;
        }
        Ok(changed)
    }

    async fn groups_of(&self, user: &ResourceId) -> Result<Vec<(ResourceId, Option<String>)>, Failure> {
        let in_it = |group: &Group| {
            group.members.value().is_some_and(|members| {
                members.iter().any(|member| member.value.value().map(String::as_str) == Some(user.as_str()))
            })
        };
        let quoted = Value::from(user.as_str());
        let asked: Result<Filter, _> = format!("members.value eq {quoted}").parse();
        let groups = self.client.groups();
        // Servers that do not show members in lists cannot be held against the filter: each group is then read.
        let listed: Result<Vec<Group>, Error> = match asked {
            Ok(filter) => groups.filter(filter).unverified().all().await,
            Err(_) => groups.list().all().await,
        };
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) if cannot_be_asked(&error) => groups.list().all().await.map_err(failure)?,
            Err(error) => return Err(failure(error)),
        };
        let mut found = Vec::new();
        for group in listed {
            let Some(id) = group.id().cloned() else { continue };
            let name = group.display_name.value().cloned();
            let is_member = match group.members.value() {
                Some(_) => in_it(&group),
                None => in_it(&groups.get(&id).await.map_err(failure)?.resource),
            };
            if is_member {
                found.push((id, name));
            }
        }
        Ok(found)
    }

    async fn group(&self, group: &EntitlementId) -> Result<Confirmation, Failure> {
        if self.find_group(group).await?.is_some() {
            return Ok(Confirmation::read(Found::AlreadySo));
        }
        self.make_group(group).await?;
        Ok(Confirmation::read(Found::Changed))
    }

    async fn find_group(&self, entitlement: &EntitlementId) -> Result<Option<ResourceId>, Failure> {
        let named = group::display_name().eq(entitlement.as_str());
        let found = self.client.groups().filter(named).all().await.map_err(failure)?;
        let name = |group: &Group| group.display_name.value().cloned().unwrap_or_default();
        let mut exact = found.iter().filter(|group| name(group) == entitlement.as_str());
        match (exact.next(), exact.next(), found.first()) {
            (Some(group), None, _) => Ok(group.id().cloned()),
            (None, _, None) => Ok(None),
            (Some(_), Some(_), _) => Err(Failure::new(
                FailureKind::Ambiguous,
                format!("several groups are called `{entitlement}`"),
            )),
            // Services do not tell the case of names apart, and rules about rights do.
            (None, _, Some(other)) => {
                let said = format!("the group is called `{}` there, not `{entitlement}`", name(other));
                Err(Failure::new(FailureKind::Ambiguous, said))
            }
        }
    }

    async fn make_group(&self, entitlement: &EntitlementId) -> Result<ResourceId, Failure> {
        let made = self.client.groups().create(&Group::new(entitlement.as_str())).await;
        if let Err(error) = made {
            // Somebody else may have made it, or the answer may have been lost: a look tells.
            return match self.find_group(entitlement).await? {
                Some(group) => Ok(group),
                None => Err(failure(error)),
            };
        }
        self.find_group(entitlement)
            .await?
            .ok_or_else(|| Failure::new(FailureKind::Divergent, "the group was made and is not found"))
    }

    /// The account, where there is one that is the person's.
    async fn find(&self, target: &Target) -> Result<Option<ResourceId>, Failure> {
        let users = self.client.users();
        if let Some(account) = &target.account {
            let id = ResourceId::new(account.as_str());
            match users.get(&id).await {
                Ok(found) if is_of(&found, &target.person) => return Ok(Some(id)),
                Ok(_) => {}
                Err(error) if *error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failure(error)),
            }
        }
        let theirs = user::external_id().eq(target.person.as_str());
        match users.filter(theirs).one().await {
            Ok(Some(found)) => return Ok(found.id().cloned()),
            Ok(None) => {}
            Err(error) if cannot_be_asked(&error) => {}
            Err(error) => return Err(failure(error)),
        }
        let Some(name) = target.unique.get(USER_NAME) else { return Ok(None) };
        let found = users.filter(user::user_name().eq(name.as_str())).one().await.map_err(failure)?;
        Ok(found.filter(|found| is_of(found, &target.person)).and_then(|found| found.id().cloned()))
    }

    async fn listed(&self) -> Result<BoxStream<'_, Result<ListedAccount, Failure>>, Failure> {
        // Who is in which group is only known by the groups; users come one by one afterwards.
        let mut rights: HashMap<String, BTreeSet<EntitlementId>> = HashMap::new();
        let mut groups = self.client.groups().list().stream();
        while let Some(group) = groups.try_next().await.map_err(failure)? {
            let Some(name) = group.display_name.value() else { continue };
            let Ok(right) = EntitlementId::new(name) else { continue };
            for member in
                group.members.value().into_iter().flatten().filter_map(|member| member.value.value())
            {
                rights.entry(member.clone()).or_default().insert(right.clone());
            }
        }
        let users = self.client.users().list().stream();
        Ok(users.map(move |user| listed(&user.map_err(failure)?, &rights)).boxed())
    }
}

/// What became of the name of somebody who left.
enum Name {
    /// Nobody else waits for it.
    Own,
    GivenUp,
    /// It could not be changed, and why.
    Kept(String),
}

#[async_trait]
impl Connector for ScimConnector {
    async fn probe(&self) -> Result<(), Failure> {
        // How often a refused credential is shown is for whoever asks for probes to say.
        self.client.forgive();
        // `ServiceProviderConfig` is shown to anyone by some services; a list is not.
        self.client.users().list().page_size(1).stream().try_next().await.map_err(failure)?;
        Ok(())
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        match operation {
            Operation::Deprovision { target } => self.deprovision(target).await,
            Operation::Account { target, attributes, rights } => {
                self.account(target, attributes, rights).await
            }
            Operation::Attributes { target, changes } => self.attributes(target, changes).await,
            Operation::Entitlement { target, entitlement, right } => {
                self.entitlement(target, entitlement, *right).await
            }
            Operation::Strip { target, keep } => self.strip(target, keep).await,
            Operation::Group { group, .. } => self.group(group).await,
        }
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        stream::once(self.listed()).try_flatten().boxed()
    }
}

fn listed(user: &User, rights: &HashMap<String, BTreeSet<EntitlementId>>) -> Result<ListedAccount, Failure> {
    let id = user.id().ok_or_else(|| Failure::new(FailureKind::Server, "an account without an `id`"))?;
    let mut attributes: Attributes = BTreeMap::new();
    if let Some(name) = user.user_name.value() {
        attributes.insert(USER_NAME.to_owned(), Attribute::Unique(name.clone()));
    }
    if let Some(name) = user.display_name.value() {
        attributes.insert("display_name".to_owned(), Attribute::Plain(Value::from(name.as_str())));
    }
    if let Some(email) = user.emails.value().and_then(|emails| emails.first()?.value.value()) {
        attributes.insert("email".to_owned(), Attribute::Plain(Value::from(email.as_str())));
    }
    Ok(ListedAccount {
        account: account_id(id)?,
        person: user.external_id.value().and_then(|id| PersonId::new(id).ok()),
        access: if user.active.value() == Some(&false) { Access::Disabled } else { Access::Active },
        attributes,
        entitlements: rights.get(id.as_str()).cloned().unwrap_or_default(),
        // SCIM has no attribute for it.
        last_use: None,
    })
}

fn is_of(user: &User, person: &PersonId) -> bool {
    user.external_id.value().is_none_or(|id| id == person.as_str())
}

fn identity(target: &Target) -> Identity {
    let mut identity = Identity::external(target.person.as_str());
    if let Some(account) = &target.account {
        identity = identity.with_id(ResourceId::new(account.as_str()));
    }
    if let Some(name) = target.unique.get(USER_NAME) {
        identity = identity.with_user_name(name);
    }
    identity
}

fn account_id(id: &ResourceId) -> Result<AccountId, Failure> {
    AccountId::new(id.as_str()).map_err(|error| Failure::new(FailureKind::Server, error.to_string()))
}

/// A value as the mapping reads it. A person's attribute that is another person is that one's identifier.
fn plain(value: &Attribute) -> Value {
    match value {
        Attribute::Plain(value) => value.clone(),
        Attribute::Unique(text) => Value::from(text.as_str()),
        Attribute::Person(person) => Value::from(person.as_str()),
    }
}

fn confirmed(outcome: &Outcome) -> Result<Confirmation, Failure> {
    let found = match outcome.state {
        State::AlreadyAbsent => Found::Absent,
        State::Unchanged | State::AlreadyDisabled => Found::AlreadySo,
        _ => Found::Changed,
    };
    let mut confirmation = Confirmation::read(found);
    confirmation.status = outcome.attempts.iter().rev().find_map(|attempt| attempt.outcome.status());
    confirmation.account = outcome.id.as_ref().map(account_id).transpose()?;
    Ok(confirmation)
}

fn no_account() -> Failure {
    Failure::new(FailureKind::Missing, "the person has no account there")
}

fn unmapped(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::SchemaMismatch, error.to_string())
}

/// Whether the service does not know how to look for what it was asked, rather than that it failed.
fn cannot_be_asked(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::SchemaMismatch(_))
}

/// What the client says went wrong, in the words of `connector-health`.
fn failure(error: Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::NotSent(_) | ErrorKind::UnknownOutcome(_) | ErrorKind::BaseUrl => {
            FailureKind::Connectivity
        }
        ErrorKind::Authentication(Authentication::LoginPage) => FailureKind::LoginPage,
        ErrorKind::Authentication(_) => FailureKind::Authentication,
        ErrorKind::Authorization => FailureKind::Authorization,
        ErrorKind::RateLimited { .. } => FailureKind::RateLimited,
        ErrorKind::SchemaMismatch(_) | ErrorKind::Invalid | ErrorKind::TooLarge => {
            FailureKind::SchemaMismatch
        }
        // Who has the name now may be about to give it up.
        ErrorKind::Conflict | ErrorKind::ConflictInvisible | ErrorKind::OtherOwner => FailureKind::Conflict,
        ErrorKind::Ambiguous { .. } => FailureKind::Ambiguous,
        ErrorKind::NotFound | ErrorKind::Concurrency => FailureKind::Missing,
        ErrorKind::Unconfirmed => FailureKind::Divergent,
        ErrorKind::Unsupported => FailureKind::Unsupported,
        _ => FailureKind::Server,
    };
    let mut failure = Failure::new(kind, error.to_string());
    if let ErrorKind::RateLimited { retry_after: Some(after) } = error.kind() {
        failure = failure.retry_after(*after);
    }
    if error.was_sent() && error.advice() == scim_client::Advice::ResolveByReading {
        failure = failure.perhaps_effective();
    }
    failure
}
