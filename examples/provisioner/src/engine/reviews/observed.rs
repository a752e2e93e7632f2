//! What a listing shows of rights that are under review: gone ones are closed by it, and others than were shown are presented again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use connector_health::review::{Access, Item, ItemKey, ItemState, Phase};
use connector_health::{AccountId, CampaignId, ConnectorId, EntitlementId, PersonId};

use super::journal::Step;
use super::{Engine, EngineError, Refused};

/// Rights of each account of each person, as an application lists them: all of them.
pub(in crate::engine) type Seen = BTreeMap<(PersonId, AccountId), BTreeSet<EntitlementId>>;

/// What is to be looked at: items of one connector, by campaign.
type Looked = BTreeMap<CampaignId, Vec<Item>>;

impl Engine {
    /// Whether rights at a connector are under review.
    pub(in crate::engine) async fn is_reviewed(&self, id: &ConnectorId) -> bool {
        let campaigns = self.reviews.campaigns.lock().await;
        campaigns.values().any(|campaign| {
            campaign.kept.campaign.phase() != Phase::Complete && campaign.kept.listed.contains_key(id)
        })
    }

    /// Takes a listing that was begun at `at` and is complete.
    pub(in crate::engine) async fn observe_reviews(
        self: &Arc<Self>,
        id: &ConnectorId,
        seen: &Seen,
        at: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        let looked: Looked = {
            let campaigns = self.reviews.campaigns.lock().await;
            let unfinished = campaigns.iter().filter(|(_, on_disk)| {
                let campaign = &on_disk.kept.campaign;
                campaign.phase() != Phase::Complete && campaign.progress(at).started_at <= at
            });
            let of = |item: &&Item| item.access.right.connector == *id;
            let items = unfinished
                .map(|(id, on_disk)| (id, on_disk.kept.campaign.items().filter(of).cloned().collect()));
            items.map(|(id, items)| (id.clone(), items)).collect()
        };
        for (campaign, items) in looked {
            for item in items {
                let Some(step) = self.seen(id, seen, item, at).await? else { continue };
                match self.step(&campaign, step, Utc::now()).await {
                    // Decided, or over, meanwhile.
                    Ok(()) | Err(Refused::Review(_)) => {}
                    Err(Refused::Engine(error)) => return Err(error),
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    async fn seen(
        &self,
        id: &ConnectorId,
        seen: &Seen,
        item: Item,
        at: DateTime<Utc>,
    ) -> Result<Option<Step>, EngineError> {
        let ItemKey { person, right, account } = item.access.key();
        let by = match &account {
            Some(account) => seen.get_key_value(&(person.clone(), account.clone())),
            None => seen
                .iter()
                .find(|((whose, _), rights)| *whose == person && rights.contains(&right.entitlement)),
        };
        let by = by.filter(|(_, rights)| rights.contains(&right.entitlement));
        // What came about after the listing began is not in it.
        let is_stale = match item.state {
            ItemState::Revoked { confirmed_at, .. } => confirmed_at >= at,
            ItemState::Gone { at: gone } => gone >= at,
            _ => {
                item.asked_at.is_some_and(|asked| asked >= at)
                    || item.access.granted_at.is_some_and(|granted| granted >= at)
            }
        };
        if is_stale {
            return Ok(None);
        }
        let is_closed = matches!(item.state, ItemState::Revoked { .. } | ItemState::Gone { .. });
        let Some(((_, by), _)) = by else {
            return Ok((!is_closed).then(|| Step::Gone { item: item.access.key() }));
        };
        if matches!(item.state, ItemState::Revoking { .. }) {
            return Ok(None);
        }
        let now = self.access(id, &person, by, [right.entitlement].into(), None).await?;
        let now = now.into_iter().map(|access| Access { account: account.clone(), ..access });
        let mut now: BTreeMap<ItemKey, Access> = now.map(|access| (access.key(), access)).collect();
        self.reviewed_before(&mut now).await;
        Ok(now.into_values().next().map(|access| Step::Observe { access: Box::new(access) }))
    }
}
