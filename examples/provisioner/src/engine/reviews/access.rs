//! Who has what, as applications list it, with what the outbox knows of how it came about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use connector_health::connector::ListedAccount;
use connector_health::event::{Lane, Subject};
use connector_health::review::{Access, ItemKey, ItemState};
use connector_health::store::OutboxStore as _;
use connector_health::{AccountId, Attribute, ConnectorId, EntitlementId, Intent, PersonId, Right};
use futures::StreamExt as _;

use super::journal::Listed;
use crate::engine::{Engine, EngineError, rfc3339};

/// Lanes, and events of one, that are read at a time.
const PAGE: usize = 1_000;
/// The attribute of a person that names their manager.
const MANAGER: &str = "manager";

/// What was listed everywhere.
pub(super) struct Gathered {
    pub(super) access: Vec<Access>,
    pub(super) listed: BTreeMap<ConnectorId, Listed>,
}

/// How somebody came to have a right.
pub(in crate::engine) struct Granted {
    pub(in crate::engine) at: DateTime<Utc>,
    approver: Option<String>,
    trigger: Option<String>,
}

impl Engine {
    /// Everything that applications list. An application that cannot be listed whole is an error: who is not asked about a right
    /// because its listing broke off has not reviewed it.
    pub(super) async fn gather(
        &self,
        connectors: &BTreeSet<ConnectorId>,
        accounts_seen: &AtomicU64,
    ) -> Result<Gathered, EngineError> {
        let mut found: BTreeMap<ItemKey, Access> = BTreeMap::new();
        let mut listed = BTreeMap::new();
        for (id, connector) in self.connectors.iter().filter(|(id, _)| connectors.contains(*id)) {
            let known = self.known_accounts(id).await?;
            let mut of_one = Listed::default();
            let connector = Arc::clone(connector);
            let mut accounts = connector.accounts();
            while let Some(account) = accounts.next().await {
                let account = account
                    .map_err(|failure| EngineError::Review(format!("`{id}` cannot be listed: {failure}")))?;
                of_one.accounts = of_one.accounts.saturating_add(1);
                accounts_seen.fetch_add(1, Ordering::Relaxed);
                if account.entitlements.is_empty() {
                    continue;
                }
                let Some(person) = account.person.clone().or_else(|| known.get(&account.account).cloned())
                else {
                    of_one.of_nobody = of_one.of_nobody.saturating_add(1);
                    continue;
                };
                let ListedAccount { account, entitlements, last_use, .. } = account;
                let access = self.access(id, &person, &account, entitlements, last_use).await?;
                of_one.rights = of_one.rights.saturating_add(access.len() as u64);
                found.extend(access.into_iter().map(|access| (access.key(), access)));
            }
            listed.insert(id.clone(), of_one);
        }
        self.reviewed_before(&mut found).await;
        Ok(Gathered { access: found.into_values().collect(), listed })
    }

    /// Whose accounts are, where these do not say it themselves.
    pub(in crate::engine) async fn known_accounts(
        &self,
        id: &ConnectorId,
    ) -> Result<BTreeMap<AccountId, PersonId>, EngineError> {
        let (mut known, mut after) = (BTreeMap::new(), None);
        loop {
            let lanes = self.outbox.store().lanes(id, after.as_ref(), PAGE).await?;
            let Some(last) = lanes.last() else { return Ok(known) };
            after = Some(last.lane.clone());
            known.extend(lanes.into_iter().filter_map(|record| match record.lane.subject {
                Subject::Person(person) => Some((record.account?, person)),
                Subject::Group(_) => None,
            }));
        }
    }

    /// What an account of somebody has. How it was granted is known of the account alone that is provisioned.
    pub(super) async fn access(
        &self,
        id: &ConnectorId,
        person: &PersonId,
        account: &AccountId,
        rights: BTreeSet<EntitlementId>,
        last_use: Option<DateTime<Utc>>,
    ) -> Result<Vec<Access>, EngineError> {
        let lane = Lane::person(id, person);
        let known = self.outbox.store().load(&lane).await?;
        let provisioned = known.as_ref().and_then(|known| known.record.account.clone());
        let manager = known.and_then(|known| match known.record.intended.attributes().remove(MANAGER)? {
            Attribute::Person(manager) => Some(manager),
            Attribute::Unique(name) => PersonId::new(name).ok(),
            Attribute::Plain(value) => PersonId::new(value.as_str()?).ok(),
        });
        let mut granted = match provisioned.is_none_or(|provisioned| provisioned == *account) {
            true => self.granted(&lane).await?,
            false => BTreeMap::new(),
        };
        let owner = self.reviews.owners.get(id);
        let access = rights.into_iter().map(|entitlement| {
            let how = granted.remove(&entitlement);
            Access {
                person: person.clone(),
                right: Right { connector: id.clone(), entitlement },
                account: Some(account.clone()),
                justification: how.as_ref().map(Granted::told),
                granted_by: how.as_ref().and_then(|how| PersonId::new(how.approver.as_deref()?).ok()),
                granted_at: how.as_ref().map(|how| how.at),
                // Applications do not tell it in a listing.
                valid_until: None,
                // Of the account: no application tells it of a single right.
                last_use,
                last_review: None,
                manager: manager.clone(),
                owner: owner.cloned(),
            }
        });
        Ok(access.collect())
    }

    /// The last grant of each right in a lane. One that was taken away since and is there nevertheless has none.
    pub(in crate::engine) async fn granted(
        &self,
        lane: &Lane,
    ) -> Result<BTreeMap<EntitlementId, Granted>, EngineError> {
        let (mut granted, mut after) = (BTreeMap::new(), None);
        loop {
            let events = self.outbox.store().history(lane, after, PAGE).await?;
            let Some(last) = events.last() else { return Ok(granted) };
            after = Some(last.order);
            for record in &events {
                match record.event.intent() {
                    Intent::Grant(right) => {
                        let how = Granted {
                            at: record.order.occurred_at,
                            approver: record.event.approver().map(str::to_owned),
                            trigger: record.event.trigger().map(str::to_owned),
                        };
                        granted.insert(right.clone(), how);
                    }
                    Intent::Revoke(right) => drop(granted.remove(right)),
                    Intent::Deprovision => granted.clear(),
                    _ => {}
                }
            }
        }
    }

    /// When each right was last approved in a review, unless it was granted anew since.
    pub(super) async fn reviewed_before(&self, found: &mut BTreeMap<ItemKey, Access>) {
        let campaigns = self.reviews.campaigns.lock().await;
        for campaign in campaigns.values() {
            for item in campaign.kept.campaign.items() {
                let ItemState::Approved { at, .. } = &item.state else { continue };
                let Some(access) = found.get_mut(&item.access.key()) else { continue };
                if access.granted_at.is_none_or(|granted| granted <= *at) {
                    access.last_review = access.last_review.max(Some(*at));
                }
            }
        }
    }
}

impl Granted {
    fn told(&self) -> String {
        let mut told = match &self.trigger {
            Some(trigger) => format!("{trigger} of {}", rfc3339(self.at)),
            None => format!("what the source said {}", rfc3339(self.at)),
        };
        if let Some(approver) = &self.approver {
            told.push_str(&format!(", approved by {approver}"));
        }
        told
    }
}
