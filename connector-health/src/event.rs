//! What is to happen to whom, and since when: the input of the outbox.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::id::{ConnectorId, EntitlementId, EventId, PersonId};

/// Most attributes in one event.
pub const EVENT_ATTRIBUTES_MAX: usize = 256;
/// Most bytes of an event, as JSON.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Most arrays and objects within each other in one attribute: what is kept lies in more of them, and must be read back.
pub const EVENT_DEPTH_MAX: usize = 64;
/// Most bytes of an attribute's name, a unique value, a trigger and a correlation id.
pub const NAME_BYTES_MAX: usize = 256;

/// Whom a lane is about: what never changes, never a name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A person's account and its rights.
    Person(PersonId),
    /// A group's own attributes. Who is in it belongs to the members' lanes.
    Group(EntitlementId),
}

/// What is strictly in order: the events about one subject in one application.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Lane {
    /// The application.
    pub connector: ConnectorId,
    /// Whom it is about.
    pub subject: Subject,
}

impl Lane {
    /// A person's.
    pub fn person(connector: &ConnectorId, person: &PersonId) -> Self {
        Self { connector: connector.clone(), subject: Subject::Person(person.clone()) }
    }

    /// A group's.
    pub fn group(connector: &ConnectorId, group: &EntitlementId) -> Self {
        Self { connector: connector.clone(), subject: Subject::Group(group.clone()) }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Person(person) => write!(f, "{person} in {}", self.connector),
            Subject::Group(group) => write!(f, "group {group} in {}", self.connector),
        }
    }
}

/// Place of an event among all: by when it happened, then by when it was accepted.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Order {
    /// When it happened at its source.
    pub occurred_at: DateTime<Utc>,
    /// Grows with each event that the outbox accepts.
    pub seq: u64,
}

/// Value of an attribute. Values are not shown by `Debug`: some are personal. Passwords do not belong here at all.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// Any value.
    Plain(Value),
    /// No two accounts of the application may have it at the same time, a user name say: who releases it goes before who claims it.
    Unique(String),
    /// Another person who has an account there, a manager say: theirs is made first.
    Person(PersonId),
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(…)",
            Self::Unique(_) => "Unique(…)",
            Self::Person(_) => "Person(…)",
        })
    }
}

impl<T: Into<Value>> From<T> for Attribute {
    fn from(value: T) -> Self {
        Self::Plain(value.into())
    }
}

/// Attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;
/// Attributes to set, and to remove where there is no value.
pub type Changes = BTreeMap<String, Option<Attribute>>;

/// What is to be so from then on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// An active account with these attributes and, of those that are managed, no others.
    Provision(Attributes),
    /// As `Provision`, for somebody who had left: rights that were had before do not come back.
    Reactivate(Attributes),
    /// Changes attributes, unique ones included (a rename), and never whether the account is active.
    Update(Changes),
    /// A right is had.
    Grant(EntitlementId),
    /// A right is no longer had.
    Revoke(EntitlementId),
    /// No access: the account is disabled or absent, and has no rights.
    Deprovision,
    /// Attributes of a group, which is made where it is not there.
    Group(Changes),
}

impl Intent {
    /// In a word.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Provision(_) => "provision",
            Self::Reactivate(_) => "reactivate",
            Self::Update(changes) if changes.values().any(|to| matches!(to, Some(Attribute::Unique(_)))) => {
                "rename"
            }
            Self::Update(_) => "update",
            Self::Grant(_) => "grant",
            Self::Revoke(_) => "revoke",
            Self::Deprovision => "deprovision",
            Self::Group(_) => "group",
        }
    }

    /// Whether it may change which unique values the account has.
    pub(crate) fn touches_unique(&self) -> bool {
        match self {
            Self::Provision(_) | Self::Reactivate(_) | Self::Deprovision => true,
            Self::Update(_) => self.claims().next().is_some() || self.removes(),
            Self::Grant(_) | Self::Revoke(_) | Self::Group(_) => false,
        }
    }

    /// Whether an account may come of it.
    pub(crate) fn makes_account(&self) -> bool {
        matches!(self, Self::Provision(_) | Self::Reactivate(_))
    }

    fn removes(&self) -> bool {
        matches!(self, Self::Update(changes) if changes.values().any(Option::is_none))
    }

    /// Unique values that are wanted.
    pub(crate) fn claims(&self) -> impl Iterator<Item = (&String, &String)> {
        self.attributes().filter_map(|(name, value)| match value {
            Attribute::Unique(value) => Some((name, value)),
            Attribute::Plain(_) | Attribute::Person(_) => None,
        })
    }

    fn attributes(&self) -> impl Iterator<Item = (&String, &Attribute)> {
        let (whole, changed) = match self {
            Self::Provision(attributes) | Self::Reactivate(attributes) => (Some(attributes), None),
            Self::Update(changes) | Self::Group(changes) => (None, Some(changes)),
            Self::Grant(_) | Self::Revoke(_) | Self::Deprovision => (None, None),
        };
        let changed = changed.into_iter().flatten();
        whole
            .into_iter()
            .flatten()
            .chain(changed.filter_map(|(name, value)| value.as_ref().map(|value| (name, value))))
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        let (whole, changed) = match self {
            Self::Provision(attributes) | Self::Reactivate(attributes) => (Some(attributes), None),
            Self::Update(changes) | Self::Group(changes) => (None, Some(changes)),
            Self::Grant(_) | Self::Revoke(_) | Self::Deprovision => (None, None),
        };
        whole.into_iter().flat_map(BTreeMap::keys).chain(changed.into_iter().flat_map(BTreeMap::keys))
    }
}

/// Something that happened at a source (HR, a directory, a person's decision) and that an application must follow.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Event {
    id: EventId,
    lane: Lane,
    intent: Intent,
    occurred_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trigger: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approver: Option<String>,
}

/// An event that does not say yet when it happened.
#[derive(Clone, Debug)]
pub struct Draft {
    lane: Lane,
    intent: Intent,
}

impl Draft {
    /// When it happened at its source. The event is named by a new UUID until [`Event::id`] names it.
    pub fn occurred_at(self, at: DateTime<Utc>) -> Event {
        let id = EventId::new(Uuid::now_v7().to_string()).unwrap_or_else(|_| unreachable!("a UUID is short"));
        Event {
            id,
            lane: self.lane,
            intent: self.intent,
            occurred_at: at,
            trigger: None,
            correlation_id: None,
            approver: None,
        }
    }
}

/// Why an event cannot be accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// More than [`EVENT_ATTRIBUTES_MAX`].
    #[error("an event has at most {EVENT_ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    /// More than [`EVENT_DEPTH_MAX`].
    #[error("an attribute has at most {EVENT_DEPTH_MAX} arrays and objects within each other")]
    TooDeep,
    /// More than [`EVENT_BYTES_MAX`].
    #[error("an event has at most {EVENT_BYTES_MAX} bytes")]
    TooLong,
    /// A name is empty, longer than [`NAME_BYTES_MAX`] or holds control characters.
    #[error("`{0}` is empty, too long or holds control characters")]
    Name(&'static str),
    /// A group's event about a person, or the other way round.
    #[error("the intent does not belong to such a subject")]
    Subject,
}

impl Event {
    /// About a person's account.
    pub fn person(connector: &ConnectorId, person: &PersonId, intent: Intent) -> Draft {
        Draft { lane: Lane::person(connector, person), intent }
    }

    /// Somebody joined.
    pub fn provision(connector: &ConnectorId, person: &PersonId, attributes: Attributes) -> Draft {
        Self::person(connector, person, Intent::Provision(attributes))
    }

    /// Somebody who had left comes back.
    pub fn reactivate(connector: &ConnectorId, person: &PersonId, attributes: Attributes) -> Draft {
        Self::person(connector, person, Intent::Reactivate(attributes))
    }

    /// Attributes change.
    pub fn update(connector: &ConnectorId, person: &PersonId, changes: Changes) -> Draft {
        Self::person(connector, person, Intent::Update(changes))
    }

    /// A unique value changes, the user name say.
    pub fn rename(connector: &ConnectorId, person: &PersonId, name: &str, to: &str) -> Draft {
        let to = Some(Attribute::Unique(to.to_owned()));
        Self::update(connector, person, Changes::from([(name.to_owned(), to)]))
    }

    /// Somebody gets a right.
    pub fn grant(connector: &ConnectorId, person: &PersonId, entitlement: &EntitlementId) -> Draft {
        Self::person(connector, person, Intent::Grant(entitlement.clone()))
    }

    /// Somebody loses a right.
    pub fn revoke(connector: &ConnectorId, person: &PersonId, entitlement: &EntitlementId) -> Draft {
        Self::person(connector, person, Intent::Revoke(entitlement.clone()))
    }

    /// Somebody leaves.
    pub fn deprovision(connector: &ConnectorId, person: &PersonId) -> Draft {
        Self::person(connector, person, Intent::Deprovision)
    }

    /// A group's own attributes change.
    pub fn group(connector: &ConnectorId, group: &EntitlementId, changes: Changes) -> Draft {
        Draft { lane: Lane::group(connector, group), intent: Intent::Group(changes) }
    }

    /// Names it as its source does, so that the same event sent twice is known to be one.
    #[must_use]
    pub fn named(self, id: EventId) -> Self {
        Self { id, ..self }
    }

    /// What set it off: the HR system's event, a ticket.
    #[must_use]
    pub fn triggered_by(self, trigger: impl Into<String>) -> Self {
        Self { trigger: Some(trigger.into()), ..self }
    }

    /// What it belongs together with in other systems.
    #[must_use]
    pub fn correlated(self, id: impl Into<String>) -> Self {
        Self { correlation_id: Some(id.into()), ..self }
    }

    /// Who approved it.
    #[must_use]
    pub fn approved_by(self, approver: impl Into<String>) -> Self {
        Self { approver: Some(approver.into()), ..self }
    }

    /// Its name.
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// Where it belongs.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// What is to be so.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// When it happened at its source.
    pub fn time(&self) -> DateTime<Utc> {
        self.occurred_at
    }

    /// What set it off.
    pub fn trigger(&self) -> Option<&str> {
        self.trigger.as_deref()
    }

    /// What it belongs together with.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// Who approved it.
    pub fn approver(&self) -> Option<&str> {
        self.approver.as_deref()
    }

    /// Whether it is within the limits of this module.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check(&self) -> Result<(), EventError> {
        let of_group = matches!(self.lane.subject, Subject::Group(_));
        if of_group != matches!(self.intent, Intent::Group(_)) {
            return Err(EventError::Subject);
        }
        if self.intent.names().count() > EVENT_ATTRIBUTES_MAX {
            return Err(EventError::TooManyAttributes);
        }
        // Before it is written, which takes as many calls as it is deep.
        let is_deep =
            |value: &Attribute| matches!(value, Attribute::Plain(value) if !fits(value, EVENT_DEPTH_MAX));
        if self.intent.attributes().any(|(_, value)| is_deep(value)) {
            return Err(EventError::TooDeep);
        }
        let names = self.intent.names().map(|name| ("attribute", name));
        let unique = self.intent.claims().map(|(_, value)| ("unique value", value));
        let of_source = [("trigger", &self.trigger), ("correlation_id", &self.correlation_id)];
        let of_source = of_source.into_iter().chain([("approver", &self.approver)]);
        let of_source = of_source.filter_map(|(what, text)| text.as_ref().map(|text| (what, text)));
        for (what, text) in names.chain(unique).chain(of_source) {
            if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
                return Err(EventError::Name(what));
            }
        }
        match serde_json::to_vec(self) {
            Ok(json) if json.len() <= EVENT_BYTES_MAX => Ok(()),
            Ok(_) | Err(_) => Err(EventError::TooLong),
        }
    }
}

/// Whether no more than `depth` arrays and objects lie within each other.
fn fits(value: &Value, depth: usize) -> bool {
    let within = |value: &Value| fits(value, depth.saturating_sub(1));
    match value {
        Value::Array(values) => depth > 0 && values.iter().all(within),
        Value::Object(values) => depth > 0 && values.values().all(within),
        _ => true,
    }
}
