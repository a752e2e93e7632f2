//! Business users of S/4HANA Cloud, over SOAP.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;

use super::SapLogon;
use super::rfc::endpoint;
use super::soap::{Effects, Endpoint};
use super::xml::{Element, Writer, is_writable};
use crate::account::{self, Account, Accounts, Latch, Leaver, MATCHES_MAX, Managed, ValueChanges, Values};
use crate::connector::{
    Access, Confirmation, Connector, Failure, FailureKind, ListedAccount, Operation, Right,
};
use crate::id::{AccountId, EntitlementId, PersonId};
use crate::transport::HttpTransport;

/// Most users in one request; SAP's documentation warns of timeouts beyond.
pub const BATCH_MAX: usize = 100;

/// How business users look in the tenant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusinessUserSettings {
    /// `https://my300000-api.s4hana.cloud.sap`.
    pub url: String,
    /// Node and field by the names that events use: `user_name = "User.UserName"`, `family_name = "PersonalInformation.LastName"`,
    /// `email = "WorkplaceInformation.EmailAddress"`.
    pub attributes: BTreeMap<String, String>,
    /// Names in events that SAP has no field for.
    #[serde(default)]
    pub passed_by: BTreeSet<String>,
    /// Whether somebody who left is also marked for archiving, besides being locked. SAP deletes nobody at once.
    #[serde(default)]
    pub archive_leavers: bool,
}

/// Business users as a [`Connector`]. **Built from documentation, not tried against SAP.**
///
/// A person is known by `PersonExternalID`, an account by `PersonID`; rights are business roles, written one by one (complete
/// transmission indicators are false, so that what is not said stays). The severity in the answer decides, not the HTTP status.
pub struct BusinessUsers {
    settings: BusinessUserSettings,
    base: String,
    logon: SapLogon,
    transport: Arc<dyn HttpTransport>,
    latch: Latch,
}

/// What a query selects.
enum Select<'a> {
    /// All employees.
    All,
    ExternalId(&'a str),
    Id(&'a str),
    /// From and to, both included.
    Ids(u64, u64),
    UserName(&'a str),
}

struct Answered {
    users: Vec<Element>,
    has_more: bool,
    total: Option<u64>,
}

impl BusinessUsers {
    /// Of this tenant.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] where the address is none, or a field not one that is known here.
    pub fn new(
        settings: BusinessUserSettings,
        logon: SapLogon,
        transport: impl HttpTransport + 'static,
    ) -> Result<Self, Failure> {
        let base = endpoint(&settings.url)?;
        if let Some(unknown) = settings.attributes.values().find(|place| !FIELDS.contains(&place.as_str())) {
            return Err(Failure::new(
                FailureKind::Unsupported,
                format!("`{unknown}` is no node and field that is known here"),
            ));
        }
        Ok(Self { settings, base, logon, transport: Arc::new(transport), latch: Latch::default() })
    }

    async fn call(
        &self,
        service: &str,
        effects: Effects,
        is_probe: bool,
        body: impl FnOnce(&mut Writer),
    ) -> Result<Element, Failure> {
        if !is_probe {
            self.latch.check()?;
        }
        let url = format!("{}/sap/bc/srt/scs_ext/sap/{service}", self.base);
        let endpoint = Endpoint { transport: &*self.transport, url: &url, logon: &self.logon };
        let outcome = endpoint.call(effects, "xmlns:aba=\"http://sap.com/xi/ABA\"", body).await;
        self.latch.note(&outcome, is_probe);
        outcome
    }

    async fn query(&self, select: &Select<'_>, hits_max: u32, is_probe: bool) -> Result<Answered, Failure> {
        let (interval, field, code, lower, upper) = match select {
            Select::All => ("", "", "", String::new(), None),
            Select::ExternalId(id) => {
                ("PersonExternalIDInterval", "PersonExtID", "1", (*id).to_owned(), None)
            }
            Select::Id(id) => ("PersonIDInterval", "PersonID", "1", (*id).to_owned(), None),
            Select::UserName(name) => ("UserNameInterval", "UserName", "1", (*name).to_owned(), None),
            Select::Ids(from, to) => {
                ("PersonIDInterval", "PersonID", "3", format!("{from:010}"), Some(format!("{to:010}")))
            }
        };
        if !is_writable(&lower) {
            return Err(Failure::new(FailureKind::SchemaMismatch, "a value holds control characters"));
        }
        let body = |out: &mut Writer| {
            out.nest("aba:BusinessUserSimpleByElementsQuery_sync", |out| {
                out.nest("BusinessUser", |out| {
                    if !interval.is_empty() {
                        out.nest(interval, |out| {
                            out.leaf("IntervalBoundaryTypeCode", code);
                            out.leaf(&format!("LowerBoundary{field}"), &lower);
                            upper.iter().for_each(|upper| out.leaf(&format!("UpperBoundary{field}"), upper));
                        });
                    }
                    out.nest("BusinessPartnerRoleCodeInterval", |out| {
                        out.leaf("IntervalBoundaryTypeCode", "1");
                        out.leaf("LowerBoundaryBusinessPartnerRoleCode", EMPLOYEE);
                    });
                });
                out.nest("QueryProcessingConditions", |out| {
                    out.leaf("QueryHitsTotalNumberIndicator", "true");
                    out.leaf("QueryHitsMaximumNumberValue", &hits_max.to_string());
                    out.leaf("QueryHitsUnlimitedIndicator", "false");
                });
            });
        };
        let answer = self.call("querybusinessuserin", Effects::None, is_probe, body).await?;
        if !answer.name.starts_with("BusinessUserSimpleByElements") {
            return Err(Failure::new(FailureKind::Server, "the answer is to another request"));
        }
        judge(&answer)?;
        let conditions = answer.child("ResponseProcessingConditions");
        // The documentation spells the name in this way; a system may spell it right.
        let more = ["MoreHitsAvailableIndiactor", "MoreHitsAvailableIndicator"];
        let has_more = more
            .iter()
            .any(|name| conditions.and_then(|conditions| conditions.at(&[name])).is_some_and(is_true));
        let total = conditions
            .and_then(|conditions| conditions.at(&["HitsTotalNumberValue"]))
            .and_then(|total| total.parse().ok());
        let users: Vec<Element> = answer.all("BusinessUser").cloned().collect();
        if u64::try_from(users.len()).unwrap_or(u64::MAX) > hits_max.into() {
            return Err(Failure::new(
                FailureKind::Divergent,
                "the system answers with more users than were asked for",
            ));
        }
        Ok(Answered { users, has_more, total })
    }

    async fn find(&self, select: &Select<'_>) -> Result<Vec<Account>, Failure> {
        let limit = u32::try_from(MATCHES_MAX.saturating_add(1)).unwrap_or(u32::MAX);
        let answered = self.query(select, limit, false).await?;
        if answered.has_more || answered.users.len() > MATCHES_MAX {
            return Err(Failure::new(FailureKind::Ambiguous, "a look-up found too many users"));
        }
        answered.users.iter().map(|user| self.account(user)).collect()
    }

    fn account(&self, user: &Element) -> Result<Account, Failure> {
        let unreadable = |what: &str| {
            Failure::new(FailureKind::SchemaMismatch, format!("a business user has no readable {what}"))
        };
        let id = user
            .at(&["PersonID"])
            .and_then(|id| AccountId::new(id).ok())
            .ok_or_else(|| unreadable("PersonID"))?;
        let person = user
            .at(&["PersonExternalID"])
            .map(PersonId::new)
            .transpose()
            .map_err(|_| unreadable("PersonExternalID"))?;
        let attributes = self.settings.attributes.iter().filter_map(|(name, place)| {
            let (node, field) = place.split_once('.')?;
            Some((name.clone(), Value::from(user.at(&[node, field])?)))
        });
        let is_archived = user.at(&["MarkedForArchivingIndicator"]).is_some_and(is_true);
        let (is_locked, roles) = match user.child("User") {
            None => (true, BTreeSet::new()),
            Some(logon) => {
                let roles = logon
                    .all("Role")
                    .map(|role| role.at(&["RoleName"]).and_then(|name| EntitlementId::new(name).ok()));
                let roles = roles.collect::<Option<_>>().ok_or_else(|| unreadable("role"))?;
                (logon.at(&["LockedIndicator"]).is_some_and(is_true), roles)
            }
        };
        // Where leavers are archived too, being locked alone is not yet what was wanted.
        let is_out = match self.settings.archive_leavers {
            true => is_locked && is_archived,
            false => is_locked,
        };
        Ok(Account {
            id,
            person,
            access: if is_out { Access::Disabled } else { Access::Active },
            attributes: attributes.collect(),
            entitlements: roles,
            last_use: None,
        })
    }

    /// Sends the users that `body` writes; nothing is confirmed by that.
    async fn maintain(&self, body: impl FnOnce(&mut Writer)) -> Result<Element, Failure> {
        let answer = self
            .call("managebusinessuserin", Effects::Some, false, |out| {
                out.nest("aba:BusinessUserBundleMaintainRequest_sync", body)
            })
            .await?;
        match answer.name.starts_with("BusinessUserBundleMaintain") {
            true => Ok(answer),
            false => {
                Err(Failure::new(FailureKind::Server, "the answer is to another request").perhaps_effective())
            }
        }
    }

    async fn maintain_one(
        &self,
        action: &str,
        key: Key<'_>,
        content: impl FnOnce(&mut Writer),
    ) -> Result<Element, Failure> {
        let (Key::Account(text) | Key::Person(text)) = key;
        if !is_writable(text) {
            return Err(Failure::new(FailureKind::SchemaMismatch, "a value holds control characters"));
        }
        let answer = self.maintain(|out| user(out, action, key, content)).await?;
        let mut confirmed = answer.all("BusinessUser");
        let (Some(only), None) = (confirmed.next(), confirmed.next()) else {
            judge(&answer)?;
            return Err(
                Failure::new(FailureKind::Server, "the answer is not about one user").perhaps_effective()
            );
        };
        judge(only)?;
        judge(&answer)?;
        Ok(only.clone())
    }

    fn lock(out: &mut Writer, archive: bool, access: Access) {
        let flag = |on: bool| if on { "true" } else { "false" };
        let is_out = access == Access::Disabled;
        if archive {
            out.leaf("MarkedForArchivingIndicator", flag(is_out));
        }
        out.nest(&format!("User {UPDATE} {ROLES_STAY}"), |out| out.leaf("LockedIndicator", flag(is_out)));
    }

    /// Locks many at once, in requests of at most [`BATCH_MAX`] users: the quickest way to shut out the leavers of a long outage. **Nothing
    /// is confirmed by it**: each still needs its operation, which then finds it done.
    pub async fn lock_all(&self, accounts: &[AccountId]) -> Vec<(AccountId, Result<(), Failure>)> {
        let mut outcomes = Vec::with_capacity(accounts.len());
        for batch in accounts.chunks(BATCH_MAX) {
            let archive = self.settings.archive_leavers;
            let sent = self.maintain(|out| {
                for account in batch.iter().filter(|account| is_writable(account.as_str())) {
                    user(out, "02", Key::Account(account.as_str()), |out| {
                        Self::lock(out, archive, Access::Disabled)
                    });
                }
            });
            let answer = sent.await;
            for account in batch {
                let outcome = match &answer {
                    Err(failure) => Err(failure.clone()),
                    Ok(answer) => match answer
                        .all("BusinessUser")
                        .find(|user| user.at(&["PersonID"]) == Some(account.as_str()))
                    {
                        Some(user) => judge(user),
                        None => Err(Failure::new(FailureKind::Server, "the answer leaves the user out")
                            .perhaps_effective()),
                    },
                };
                outcomes.push((account.clone(), outcome));
            }
        }
        outcomes
    }

    /// Nodes with the fields that they are to have, in the order in which the service has them.
    fn nodes(&self, values: &Values) -> Result<Vec<Node>, Failure> {
        let mut nodes = Vec::new();
        for node in NODES {
            let mut fields = Vec::new();
            // The order of fields within a node is the documentation's.
            for place in FIELDS.iter().filter(|place| place.split_once('.').is_some_and(|(of, _)| of == node))
            {
                let Some((name, _)) = self.settings.attributes.iter().find(|(_, mapped)| mapped == place)
                else {
                    continue;
                };
                let text = match values.get(name) {
                    None => continue,
                    Some(Value::Null) => String::new(),
                    Some(Value::String(text)) if is_writable(text) => text.clone(),
                    Some(Value::Number(number)) => number.to_string(),
                    Some(Value::Bool(truth)) => truth.to_string(),
                    Some(_) => {
                        return Err(Failure::new(
                            FailureKind::SchemaMismatch,
                            format!("`{name}` holds what no field can"),
                        ));
                    }
                };
                let field = place.split_once('.').map(|(_, field)| field.to_owned()).unwrap_or_default();
                fields.push((field, text));
            }
            nodes.push((node, fields));
        }
        Ok(nodes)
    }
}

/// A node's name and its fields.
type Node = (&'static str, Vec<(String, String)>);

enum Key<'a> {
    Account(&'a str),
    Person(&'a str),
}

fn user(out: &mut Writer, action: &str, key: Key<'_>, content: impl FnOnce(&mut Writer)) {
    out.nest(&format!("BusinessUser actionCode=\"{action}\" {NODES_STAY}"), |out| {
        match key {
            Key::Account(id) => out.leaf("PersonID", id),
            Key::Person(id) => out.leaf("PersonExternalID", id),
        }
        out.leaf("BusinessPartnerRoleCode", EMPLOYEE);
        content(out);
    });
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "TRUE" | "True" | "1" | "X")
}

/// The severity in a log decides: 1 informs, 2 warns, 3 is an error. Its texts are left out, as they repeat values.
fn judge(element: &Element) -> Result<(), Failure> {
    let Some(log) = element.child("Log") else { return Ok(()) };
    let severities = log
        .at(&["MaximumLogItemSeverityCode"])
        .into_iter()
        .chain(log.all("Item").filter_map(|item| item.at(&["SeverityCode"])));
    let severities: Vec<&str> = severities.collect();
    if severities.iter().all(|severity| matches!(*severity, "1" | "2")) {
        return Ok(());
    }
    let worst = log.all("Item").find(|item| !matches!(item.at(&["SeverityCode"]), Some("1" | "2")));
    let message = worst.and_then(|item| item.at(&["TypeID"])).unwrap_or("without a number");
    Err(Failure::new(FailureKind::SchemaMismatch, format!("the system reports an error, message {message}")))
}

impl fmt::Debug for BusinessUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusinessUsers").field("url", &self.base).finish_non_exhaustive()
    }
}

#[async_trait]
impl Accounts for BusinessUsers {
    fn leaver(&self) -> Leaver {
        // Archiving is part of being out, as nothing is deleted.
        Leaver::Disable
    }

    fn manages(&self, attribute: &str) -> Managed {
        if self.settings.attributes.contains_key(attribute) {
            Managed::Yes
        } else if self.settings.passed_by.contains(attribute) {
            Managed::PassedBy
        } else {
            Managed::No
        }
    }

    async fn by_account(&self, account: &AccountId) -> Result<Option<Account>, Failure> {
        let mut found = self.find(&Select::Id(account.as_str())).await?.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(one), None) if one.id == *account => Ok(Some(one)),
            (Some(_), None) => Err(Failure::new(FailureKind::Divergent, STRANGER)),
            (Some(_), Some(_)) => {
                Err(Failure::new(FailureKind::Ambiguous, "several users have one PersonID"))
            }
        }
    }

    async fn by_person(&self, person: &PersonId) -> Result<Vec<Account>, Failure> {
        let found = self.find(&Select::ExternalId(person.as_str())).await?;
        match found.iter().all(|account| account.person.as_ref() == Some(person)) {
            true => Ok(found),
            false => Err(Failure::new(FailureKind::Divergent, STRANGER)),
        }
    }

    async fn by_unique(&self, attribute: &str, value: &str) -> Result<Vec<Account>, Failure> {
        if self.settings.attributes.get(attribute).map(String::as_str) != Some(USER_NAME) {
            return Ok(Vec::new());
        }
        let found = self.find(&Select::UserName(value)).await?;
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
        let nodes = self.nodes(attributes)?;
        let made = self
            .maintain_one("01", Key::Person(person.as_str()), |out| {
                for (node, fields) in &nodes {
                    let is_logon = *node == "User";
                    if fields.is_empty() && !is_logon {
                        continue;
                    }
                    let stays = if is_logon { ROLES_STAY } else { "" };
                    out.nest(format!("{node} actionCode=\"01\" {stays}").trim_end(), |out| {
                        fields.iter().for_each(|(field, text)| out.leaf(field, text));
                        if is_logon {
                            out.leaf("LockedIndicator", "false");
                        }
                    });
                }
            })
            .await?;
        Ok(made.at(&["PersonID"]).and_then(|id| AccountId::new(id).ok()))
    }

    async fn link(&self, _: &Account, _: &PersonId) -> Result<(), Failure> {
        Err(Failure::new(
            FailureKind::Unsupported,
            "an employee without PersonExternalID is given one in HR, not here",
        ))
    }

    async fn change(&self, account: &Account, changes: &ValueChanges) -> Result<(), Failure> {
        let mut values = account.attributes.clone();
        values
            .extend(changes.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or(Value::Null))));
        let nodes = self.nodes(&values)?;
        let touched = |node: &str| {
            let places = changes.keys().filter_map(|name| self.settings.attributes.get(name));
            places.filter_map(|place| place.split_once('.')).any(|(of, _)| of == node)
        };
        self.maintain_one("02", Key::Account(account.id.as_str()), |out| {
            // A node is sent with all of its fields that are known, so that it does not matter what becomes of those left out.
            for (node, fields) in nodes.iter().filter(|(node, _)| touched(node)) {
                let stays = if *node == "User" { ROLES_STAY } else { "" };
                out.nest(format!("{node} {UPDATE} {stays}").trim_end(), |out| {
                    fields.iter().for_each(|(field, text)| out.leaf(field, text))
                });
            }
        })
        .await
        .map(drop)
    }

    async fn set_access(&self, account: &Account, access: Access) -> Result<(), Failure> {
        let archive = self.settings.archive_leavers;
        let key = Key::Account(account.id.as_str());
        self.maintain_one("02", key, |out| Self::lock(out, archive, access)).await.map(drop)
    }

    async fn set_right(
        &self,
        account: &Account,
        entitlement: &EntitlementId,
        right: Right,
    ) -> Result<(), Failure> {
        if !is_writable(entitlement.as_str()) {
            return Err(Failure::new(FailureKind::SchemaMismatch, "a value holds control characters"));
        }
        let action = match right {
            Right::Granted => "01",
            Right::Revoked => "03",
        };
        self.maintain_one("02", Key::Account(account.id.as_str()), |out| {
            out.nest(&format!("User {UPDATE} {ROLES_STAY}"), |out| {
                out.nest(&format!("Role actionCode=\"{action}\""), |out| {
                    out.leaf("RoleName", entitlement.as_str())
                });
            });
        })
        .await
        .map(drop)
    }

    async fn delete(&self, _: &Account) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Unsupported, "business users are archived, not deleted"))
    }

    fn agrees(&self, attribute: &str, wanted: &Value, found: &Value) -> bool {
        let is_name = self.settings.attributes.get(attribute).map(String::as_str) == Some(USER_NAME);
        match (wanted, found) {
            // SAP writes names of users in capitals.
            (Value::String(wanted), Value::String(found)) if is_name => {
                wanted.to_uppercase() == found.to_uppercase()
            }
            (Value::String(wanted), Value::String(found)) => wanted.trim() == found,
            (Value::Number(wanted), Value::String(found)) => wanted.to_string() == *found,
            (Value::Bool(wanted), Value::String(found)) => wanted.to_string() == *found,
            _ => wanted == found,
        }
    }
}

/// Ranges of `PersonID` that are still to be listed, halved where one holds more than an answer.
struct Listing {
    ranges: Vec<(u64, u64)>,
    page: Vec<Element>,
    listed: u64,
    total: Option<u64>,
}

impl BusinessUsers {
    async fn next_listed(&self, mut listing: Listing) -> Result<Option<(ListedAccount, Listing)>, Failure> {
        loop {
            if let Some(user) = listing.page.pop() {
                listing.listed = listing.listed.saturating_add(1);
                return Ok(Some((self.account(&user)?.into(), listing)));
            }
            let Some((from, to)) = listing.ranges.pop() else {
                // Whoever has an identifier that is no number lies in no range.
                return match listing.total.is_some_and(|total| total == listing.listed) {
                    true => Ok(None),
                    false => Err(Failure::new(
                        FailureKind::Divergent,
                        "the listing is not as long as the system says",
                    )),
                };
            };
            if listing.total.is_none() {
                let total = self.query(&Select::All, 1, false).await?.total;
                let silent = || {
                    Failure::new(
                        FailureKind::SchemaMismatch,
                        "the system does not say how many users there are",
                    )
                };
                listing.total = Some(total.ok_or_else(silent)?);
            }
            let answered = self.query(&Select::Ids(from, to), LISTED_AT_ONCE, false).await?;
            if !answered.has_more {
                listing.page = answered.users;
            } else if from == to {
                return Err(Failure::new(FailureKind::Ambiguous, "several users have one PersonID"));
            } else {
                let middle = from.midpoint(to);
                listing.ranges.push((middle.saturating_add(1), to));
                listing.ranges.push((from, middle));
            }
        }
    }
}

#[async_trait]
impl Connector for BusinessUsers {
    async fn probe(&self) -> Result<(), Failure> {
        self.query(&Select::All, 1, true).await.map(drop)
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        account::ensure(self, operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        let listing = Listing { ranges: vec![(0, PERSON_ID_MAX)], page: Vec::new(), listed: 0, total: None };
        stream::try_unfold(listing, |listing| self.next_listed(listing)).boxed()
    }
}

const STRANGER: &str = "the system answers with a user that was not asked for";
const EMPLOYEE: &str = "BUP003";
const USER_NAME: &str = "User.UserName";
const UPDATE: &str = "actionCode=\"02\"";
const ROLES_STAY: &str = "roleListCompleteTransmissionIndicator=\"false\"";
const NODES_STAY: &str = "personalInformationListCompleteTransmissionIndicator=\"false\" userListCompleteTransmissionIndicator=\"false\" \
    workplaceInformationListCompleteTransmissionIndicator=\"false\"";
const PERSON_ID_MAX: u64 = 9_999_999_999;
const LISTED_AT_ONCE: u32 = 200;
/// In the order of the service.
const NODES: [&str; 3] = ["PersonalInformation", "User", "WorkplaceInformation"];
const FIELDS: [&str; 13] = [
    "PersonalInformation.FormOfAddress",
    "PersonalInformation.FirstName",
    "PersonalInformation.LastName",
    "PersonalInformation.PersonFullName",
    "PersonalInformation.CorrespondenceLanguage",
    "PersonalInformation.MiddleName",
    "User.UserName",
    "User.LogonLanguageCode",
    "User.TimeZoneCode",
    "WorkplaceInformation.EmailAddress",
    "WorkplaceInformation.FunctionalTitleName",
    "WorkplaceInformation.Department",
    "WorkplaceInformation.Building",
];
