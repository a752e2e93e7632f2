//! What a source says about people, and what follows for each application.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use connector_health::event::{Attributes, Changes, EventError, Lane};
use connector_health::outbox::{Lanes, OutboxError};
use connector_health::store::OutboxStore;
use connector_health::{Attribute, ConnectorId, EntitlementId, Event, EventId, Outbox, PersonId};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

use crate::connector::USER_NAME;

/// Attributes that every person may have; `attributes` has the others.
pub(crate) const PLAIN: &[&str] = &[USER_NAME, "display_name", "email"];
/// Most groups of one person in one event.
pub(crate) const GROUPS_MAX: usize = 1_000;

/// One line of a source.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Happening {
    /// What happened.
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// When; the time of arrival where it says nothing.
    #[serde(default)]
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) person: Person,
}

/// What happened to somebody.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Joiner,
    Mover,
    Leaver,
}

impl Kind {
    pub(crate) fn event_type(self) -> &'static str {
        match self {
            Self::Joiner => "person.joined",
            Self::Mover => "person.moved",
            Self::Leaver => "person.left",
        }
    }
}

/// Somebody, as a source describes them. What it does not speak of stays as it is; `null` takes it away.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Person {
    pub(crate) id: PersonId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_name: Option<String>,
    #[serde(default, deserialize_with = "spoken_of", skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "spoken_of", skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) groups: Option<Vec<EntitlementId>>,
    /// By name; what it does not name stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<String, Option<String>>,
}

fn spoken_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Why a line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Mistake {
    #[error("a joiner needs `person.user_name`")]
    NoUserName,
    #[error("nobody of that identifier has joined: send the joiner first, then this again")]
    Unknown,
    #[error("somebody has at most {GROUPS_MAX} groups")]
    TooManyGroups,
    #[error("`{0}` has a place of its own beside `attributes`")]
    NotThere(String),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error("what is known of {0} cannot be read")]
    Unreadable(Lane),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

impl Happening {
    /// What it means for each application, in the order in which it has to be accepted.
    pub(crate) async fn events<S: OutboxStore>(
        &self,
        outbox: &Outbox<S>,
        connectors: &[ConnectorId],
        now: DateTime<Utc>,
    ) -> Result<Vec<Event>, Mistake> {
        let at = self.at.unwrap_or(now);
        let person = &self.person;
        if person.groups.as_ref().is_some_and(|groups| groups.len() > GROUPS_MAX) {
            return Err(Mistake::TooManyGroups);
        }
        let misplaced = |name: &&String| PLAIN.contains(&name.as_str()) || name.as_str() == "groups";
        if let Some(name) = person.attributes.keys().find(misplaced) {
            return Err(Mistake::NotThere(name.clone()));
        }
        let Lanes { readable: known, unreadable, .. } = outbox.lanes_of(&person.id).await?;
        // What somebody has follows from all of it. Who leaves does so wherever they can be taken out.
        if self.kind != Kind::Leaver
            && let Some(lane) = unreadable.first()
        {
            return Err(Mistake::Unreadable(lane.clone()));
        }
        // What changes about nobody would wait for ever, and hold up the joiner that comes late.
        if self.kind == Kind::Mover && known.is_empty() {
            return Err(Mistake::Unknown);
        }
        // Somebody may still have access to what is no longer configured: that is seen, too.
        let mut everywhere: Vec<ConnectorId> = connectors.to_vec();
        if self.kind == Kind::Leaver {
            everywhere.extend(known.iter().map(|record| record.lane.connector.clone()));
            everywhere.extend(unreadable.iter().map(|lane| lane.connector.clone()));
            everywhere.sort();
            everywhere.dedup();
        }
        let mut events = Vec::new();
        for connector in &everywhere {
            let record = known.iter().find(|record| record.lane == Lane::person(connector, &person.id));
            let mut drafts = Vec::new();
            match self.kind {
                Kind::Leaver => drafts.push(Event::deprovision(connector, &person.id)),
                Kind::Joiner => {
                    let attributes = person.attributes()?;
                    let has_left = record.is_some_and(|record| record.intended.last_deprovision().is_some());
                    drafts.push(if has_left {
                        Event::reactivate(connector, &person.id, attributes)
                    } else {
                        Event::provision(connector, &person.id, attributes)
                    });
                    let groups = person.groups.iter().flatten();
                    drafts.extend(groups.map(|group| Event::grant(connector, &person.id, group)));
                }
                Kind::Mover => {
                    let changes = person.changes();
                    if !changes.is_empty() {
                        drafts.push(Event::update(connector, &person.id, changes));
                    }
                    if let Some(wanted) = &person.groups {
                        let had = record.map(|record| record.intended.entitlements()).unwrap_or_default();
                        let lost = had.iter().filter(|group| !wanted.contains(group));
                        drafts.extend(lost.map(|group| Event::revoke(connector, &person.id, group)));
                        let won = wanted.iter().filter(|group| !had.contains(group));
                        drafts.extend(won.map(|group| Event::grant(connector, &person.id, group)));
                    }
                }
            }
            for draft in drafts {
                let event = draft.occurred_at(at);
                let id = self.name(connector, &event, at);
                let event = event.named(id).correlated(self.correlation(at));
                event.check()?;
                events.push(event);
            }
        }
        Ok(events)
    }

    /// The same line gives the same names, so that a source may send it again.
    fn name(&self, connector: &ConnectorId, event: &Event, at: DateTime<Utc>) -> EventId {
        let said = serde_json::to_string(&(connector, event.intent(), &self.person.id, at, self.kind))
            .unwrap_or_default();
        let name = HEXLOWER.encode(&Sha256::digest(said.as_bytes()));
        // INVARIANT: a hash in hexadecimal is short and has no control characters.
        EventId::new(name).unwrap_or_else(|_| event.id().clone())
    }

    /// What the events of one line have in common.
    pub(crate) fn correlation(&self, at: DateTime<Utc>) -> String {
        let said = serde_json::to_string(&(self.kind, &self.person.id, at)).unwrap_or_default();
        let hash = HEXLOWER.encode(&Sha256::digest(said.as_bytes()));
        hash.get(..32).unwrap_or(&hash).to_owned()
    }
}

impl Person {
    /// Of whom nothing is said but who it is.
    pub(crate) fn named(id: PersonId) -> Self {
        Self {
            id,
            user_name: None,
            display_name: None,
            email: None,
            groups: None,
            attributes: BTreeMap::new(),
        }
    }

    fn attributes(&self) -> Result<Attributes, Mistake> {
        let user_name = self.user_name.as_deref().filter(|name| !name.trim().is_empty());
        let user_name = user_name.ok_or(Mistake::NoUserName)?;
        let mut attributes = Attributes::new();
        attributes.insert(USER_NAME.to_owned(), Attribute::Unique(user_name.to_owned()));
        for (name, value) in [("display_name", &self.display_name), ("email", &self.email)] {
            if let Some(Some(value)) = value {
                attributes.insert(name.to_owned(), Attribute::from(value.as_str()));
            }
        }
        let others = self.attributes.iter();
        attributes.extend(
            others.filter_map(|(name, value)| Some((name.clone(), Attribute::from(value.as_deref()?)))),
        );
        Ok(attributes)
    }

    fn changes(&self) -> Changes {
        let mut changes = Changes::new();
        if let Some(name) = &self.user_name {
            changes.insert(USER_NAME.to_owned(), Some(Attribute::Unique(name.clone())));
        }
        for (name, value) in [("display_name", &self.display_name), ("email", &self.email)] {
            if let Some(value) = value {
                changes.insert(name.to_owned(), value.as_deref().map(Attribute::from));
            }
        }
        let others = self.attributes.iter();
        changes.extend(others.map(|(name, value)| (name.clone(), value.as_deref().map(Attribute::from))));
        changes
    }
}

/// A line that is wrong, and where.
#[derive(Debug, Serialize)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

/// Reads one event, an array of them, or one on each line; nothing of a text with a mistake is taken.
pub(crate) fn read(text: &str) -> Result<Vec<Happening>, Vec<BadLine>> {
    let bad = |line: usize, error: &serde_json::Error| BadLine {
        line: line + error.line().max(1) - 1,
        column: error.column(),
        // Its place stands beside it.
        message: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| vec![bad(1, &error)]);
    }
    // One event may stand on several lines; several stand on one each.
    if let Ok(one) = serde_json::from_str::<Happening>(text) {
        return Ok(vec![one]);
    }
    let (mut happenings, mut mistakes) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(happening) => happenings.push(happening),
            Err(error) => mistakes.push(bad(number + 1, &error)),
        }
    }
    if mistakes.is_empty() { Ok(happenings) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    use connector_health::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn who_leaves_does_so_everywhere_though_a_lane_of_theirs_cannot_be_read() {
        let connector = |id| ConnectorId::new(id).unwrap();
        let (crm, wiki) = (connector("crm"), connector("wiki"));
        let store = MemoryStore::new();
        let outbox = Outbox::open(store.clone()).await.unwrap();
        let now = Utc::now();
        let person =
            Person { user_name: Some("ann".to_owned()), ..Person::named(PersonId::new("emp-1").unwrap()) };
        let said = |kind| Happening { kind, at: Some(now), person: person.clone() };
        let joins = said(Kind::Joiner).events(&outbox, &[crm.clone(), wiki.clone()], now).await.unwrap();
        for accepted in outbox.accept_all(joins, now).await {
            accepted.unwrap();
        }
        store.spoil(&Lane::person(&crm, &person.id));
        // That one is not configured any more.
        let leaves = said(Kind::Leaver).events(&outbox, std::slice::from_ref(&wiki), now).await.unwrap();
        let whence: Vec<_> = leaves.iter().map(|event| event.lane().connector.clone()).collect();
        assert_eq!(whence, [crm.clone(), wiki.clone()]);
        let accepted = outbox.accept_all(leaves, now).await;
        assert_eq!(accepted.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
        let again = said(Kind::Joiner).events(&outbox, &[crm, wiki], now).await;
        assert!(matches!(again, Err(Mistake::Unreadable(_))), "{again:?}");
    }
}
