//! The campaign: a state machine over decisions, observations and time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::access::{Access, Canonical, Item, ItemKey, ItemState, SnapshotHash};
use super::plan::{ReviewerRule, Settings};
use super::step::{Decision, NotIndependent, Observed, Phase, Record, ReviewError, RevokeIntent};
use super::{CHAIN_MAX, ITEMS_MAX, REASON_BYTES_MAX};
use crate::id::{CampaignId, PersonId};

/// A review of access, from its start to the last confirmed revocation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(from = "State", into = "State")]
pub struct Campaign {
    pub(super) id: CampaignId,
    pub(super) settings: Settings,
    pub(super) started_at: DateTime<Utc>,
    snapshot: SnapshotHash,
    pub(super) items: BTreeMap<ItemKey, Item>,
    pub(super) signed: BTreeMap<PersonId, DateTime<Utc>>,
    pub(super) reminded: BTreeSet<u16>,
    cancelled: Option<String>,
    pub(super) completed_at: Option<DateTime<Utc>>,
    /// Revocations that nobody decided on, where there are too many to go on.
    pub(super) held: Option<u64>,
    /// So many may, since somebody said so.
    pub(super) revokes_allowed: u64,
    /// How many are undecided, and how many revocations are under way. Follow from the items.
    pub(super) undecided: usize,
    revoking: usize,
}

#[derive(Clone, Deserialize, Serialize)]
struct State {
    id: CampaignId,
    settings: Settings,
    started_at: DateTime<Utc>,
    snapshot: SnapshotHash,
    items: Vec<Item>,
    signed: BTreeMap<PersonId, DateTime<Utc>>,
    reminded: BTreeSet<u16>,
    cancelled: Option<String>,
    completed_at: Option<DateTime<Utc>>,
    #[serde(default)]
    held: Option<u64>,
    #[serde(default)]
    revokes_allowed: u64,
}

impl Campaign {
    /// Begins: everything is assigned to the first independent reviewer that the rules name.
    ///
    /// # Errors
    /// Where there is nothing or too much, or one right of one person is there twice.
    pub fn start(
        id: CampaignId,
        settings: Settings,
        access: impl IntoIterator<Item = Access>,
        now: DateTime<Utc>,
    ) -> Result<Self, ReviewError> {
        let mut items = BTreeMap::new();
        for access in access {
            if items.len() >= ITEMS_MAX {
                return Err(ReviewError::TooManyItems);
            }
            let item = present(access, &settings.reviewers, None, 1, now);
            if let Some(twice) = items.insert(item.access.key(), item) {
                return Err(ReviewError::Twice(twice.access.key()));
            }
        }
        if items.is_empty() {
            return Err(ReviewError::Empty);
        }
        let mut canonical = Canonical::new(b"connector-health review campaign 1");
        canonical.text(id.as_str());
        items.values().for_each(|item| canonical.hash(&item.snapshot));
        let mut campaign = Self {
            id,
            settings,
            started_at: now,
            snapshot: canonical.finish(),
            undecided: items.len(),
            items,
            signed: BTreeMap::new(),
            reminded: BTreeSet::new(),
            cancelled: None,
            completed_at: None,
            held: None,
            revokes_allowed: 0,
            revoking: 0,
        };
        campaign.settle(now);
        Ok(campaign)
    }

    /// Takes a reviewer's decision about what was shown under this hash. A revocation becomes an intent.
    ///
    /// # Errors
    /// Where it is not this person's to decide, the access changed since, the new reviewer is not independent, a reason is
    /// missing, or it is decided already.
    pub fn decide(
        &mut self,
        key: &ItemKey,
        by: &PersonId,
        snapshot: &SnapshotHash,
        decision: Decision,
        now: DateTime<Utc>,
    ) -> Result<(Record, Option<RevokeIntent>), ReviewError> {
        self.running()?;
        let item = self.items.get_mut(key).ok_or(ReviewError::Unknown)?;
        let is_reviewer = item.reviewer.as_ref() == Some(by);
        let passes_on = matches!(decision, Decision::Reassign { .. } | Decision::Delegate { .. });
        // What a delegate was lent cannot be passed on.
        if !is_reviewer && (passes_on || item.delegate.as_ref() != Some(by)) {
            return Err(ReviewError::NotReviewer(by.clone()));
        }
        if item.state != ItemState::Open {
            return Err(ReviewError::Decided);
        }
        if item.snapshot != *snapshot {
            return Err(ReviewError::Changed { snapshot: item.snapshot });
        }
        // Access may have been shown before it was known who granted it.
        independent(&item.access, by, &[])?;
        let record = |step: &str, to: Option<&PersonId>, reason: Option<&str>| Record {
            campaign: self.id.clone(),
            item: key.clone(),
            step: step.to_owned(),
            by: Some(by.clone()),
            to: to.cloned(),
            reason: reason.map(str::to_owned),
            at: now,
            snapshot: *snapshot,
        };
        match decision {
            Decision::Approve { reason } => {
                if item.access.justification.is_none() || reason.is_some() {
                    check_reason(reason.as_deref().unwrap_or_default())?;
                }
                let record = record("approved", None, reason.as_deref());
                self.set(key, ItemState::Approved { by: by.clone(), at: now }, now);
                Ok((record, None))
            }
            Decision::Revoke { reason } => {
                check_reason(&reason)?;
                let record = record("revoking", None, Some(&reason));
                let state = ItemState::Revoking { by: Some(by.clone()), at: now, reason, failure: None };
                self.set(key, state, now);
                let intent = self.items.get(key).and_then(|item| intent(&self.id, item));
                Ok((record, intent))
            }
            Decision::Reassign { to, reason } => {
                check_reason(&reason)?;
                pass_on(item, &to)?;
                item.reviewer = Some(to.clone());
                item.delegate = None;
                let record = record("reassigned", Some(&to), Some(&reason));
                self.signed.remove(&to);
                Ok((record, None))
            }
            Decision::Delegate { to, reason } => {
                check_reason(&reason)?;
                pass_on(item, &to)?;
                item.delegate = Some(to.clone());
                Ok((record("delegated", Some(&to), Some(&reason)), None))
            }
        }
    }

    /// The campaign's owner names a reviewer, for what has none or whose reviewer cannot decide.
    ///
    /// # Errors
    /// Where `by` is not the owner, the reviewer is not independent, a reason is missing, or it is decided already.
    pub fn assign(
        &mut self,
        key: &ItemKey,
        to: &PersonId,
        by: &PersonId,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Record, ReviewError> {
        self.running()?;
        if *by != self.settings.owner {
            return Err(ReviewError::NotOwner(by.clone()));
        }
        let item = self.items.get_mut(key).ok_or(ReviewError::Unknown)?;
        if !item.state.is_undecided() {
            return Err(ReviewError::Decided);
        }
        check_reason(reason)?;
        pass_on(item, to)?;
        item.reviewer = Some(to.clone());
        item.asked_at.get_or_insert(now);
        item.delegate = None;
        item.state = ItemState::Open;
        self.signed.remove(to);
        Ok(self.observed(key, "assigned", Some(by), Some(to), Some(reason), now))
    }

    /// A read confirmed that a right that was to be revoked is gone.
    ///
    /// # Errors
    /// Where no revocation of it is under way.
    pub fn revoke_confirmed(&mut self, key: &ItemKey, now: DateTime<Utc>) -> Result<Record, ReviewError> {
        let item = self.items.get(key).ok_or(ReviewError::Unknown)?;
        let ItemState::Revoking { by, at, .. } = &item.state else { return Err(ReviewError::NotRevoking) };
        let revoked = ItemState::Revoked { by: by.clone(), at: *at, confirmed_at: now };
        self.set(key, revoked, now);
        Ok(self.observed(key, "revoked", None, None, None, now))
    }

    /// An attempt to revoke failed. It is still to be done.
    ///
    /// # Errors
    /// Where no revocation of it is under way.
    pub fn revoke_failed(
        &mut self,
        key: &ItemKey,
        why: &str,
        now: DateTime<Utc>,
    ) -> Result<Record, ReviewError> {
        let item = self.items.get_mut(key).ok_or(ReviewError::Unknown)?;
        let ItemState::Revoking { failure, .. } = &mut item.state else {
            return Err(ReviewError::NotRevoking);
        };
        *failure = Some(crate::mistake::shown(why));
        Ok(self.observed(key, "revoke_failed", None, None, Some(why), now))
    }

    /// Revocations that are not confirmed: for the outbox, which knows those it has.
    pub fn revokes(&self) -> Vec<RevokeIntent> {
        self.items.values().filter_map(|item| intent(&self.id, item)).collect()
    }

    /// Takes access as it is now. Another grant than was shown is presented again, decided on or not.
    pub fn observe(&mut self, access: Access, now: DateTime<Utc>) -> Observed {
        let key = access.key();
        let Some(item) = self.items.get(&key).filter(|_| self.running().is_ok()) else {
            return Observed::NotReviewed;
        };
        let regranted = matches!(item.state, ItemState::Revoked { .. } | ItemState::Gone { .. });
        if item.access.is_same_grant(&access) && !regranted {
            return Observed::Same;
        }
        if matches!(item.state, ItemState::Revoking { .. }) {
            return Observed::Revoking;
        }
        let presented = item.presented.saturating_add(1);
        let again = present(access, &self.settings.reviewers, item.reviewer.as_ref(), presented, now);
        let was_undecided = item.state.is_undecided();
        if let Some(reviewer) = &again.reviewer {
            self.signed.remove(reviewer);
        }
        self.items.insert(key.clone(), again);
        if !was_undecided {
            self.undecided = self.undecided.saturating_add(1);
        }
        Observed::PresentedAgain(Box::new(self.observed(&key, "presented_again", None, None, None, now)))
    }

    /// A read found that the right is gone. What was under way is confirmed by that.
    ///
    /// # Errors
    /// Where the campaign has no such item or is over, or it was closed already other than by approval.
    pub fn observe_gone(&mut self, key: &ItemKey, now: DateTime<Utc>) -> Result<Record, ReviewError> {
        match self.items.get(key).ok_or(ReviewError::Unknown)?.state {
            ItemState::Revoking { .. } => return self.revoke_confirmed(key, now),
            ItemState::Revoked { .. } | ItemState::Gone { .. } => return Err(ReviewError::Decided),
            ItemState::Unassigned | ItemState::Open | ItemState::Approved { .. } => self.running()?,
        }
        self.set(key, ItemState::Gone { at: now }, now);
        Ok(self.observed(key, "gone", None, None, None, now))
    }

    /// A reviewer states that all their decisions are made and meant. Undone when something is presented to them again.
    ///
    /// # Errors
    /// Where something of theirs is undecided, or they review nothing.
    pub fn sign(&mut self, reviewer: &PersonId, now: DateTime<Utc>) -> Result<(), ReviewError> {
        if self.cancelled.is_some() {
            return Err(ReviewError::Over);
        }
        let (mut theirs, mut undecided) = (0_u64, 0_u64);
        for item in self.items.values().filter(|item| item.reviewer.as_ref() == Some(reviewer)) {
            theirs = theirs.saturating_add(1);
            undecided = undecided.saturating_add(u64::from(item.state.is_undecided()));
        }
        match (theirs, undecided) {
            (0, _) => Err(ReviewError::NotReviewer(reviewer.clone())),
            (_, 0) => {
                self.signed.insert(reviewer.clone(), now);
                Ok(())
            }
            (_, undecided) => Err(ReviewError::Undecided(undecided)),
        }
    }

    /// Calls the campaign off. What was decided stays decided, and revocations under way go on.
    ///
    /// # Errors
    /// Where `by` does not run it, no reason is given, or it is over.
    pub fn cancel(&mut self, by: &PersonId, reason: &str) -> Result<(), ReviewError> {
        self.running()?;
        if *by != self.settings.owner {
            return Err(ReviewError::NotOwner(by.clone()));
        }
        check_reason(reason)?;
        self.cancelled = Some(reason.to_owned());
        Ok(())
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        match (self.cancelled.is_some(), self.undecided, self.revoking) {
            (true, ..) => Phase::Cancelled,
            (_, 0, 0) => Phase::Complete,
            (_, 0, _) => Phase::Remediation,
            _ => Phase::Active,
        }
    }

    /// Which campaign it is.
    pub fn id(&self) -> &CampaignId {
        &self.id
    }

    /// How it runs.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The hash of all that was shown at the start, in the order of items: SHA-256 over `connector-health review campaign 1`,
    /// the identifier after its length, and each item's hash.
    pub fn snapshot(&self) -> SnapshotHash {
        self.snapshot
    }

    /// One item.
    pub fn item(&self, key: &ItemKey) -> Option<&Item> {
        self.items.get(key)
    }

    /// All items, by person and right.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// What this person may decide on now.
    pub fn open_for<'c>(&'c self, person: &'c PersonId) -> impl Iterator<Item = &'c Item> {
        let theirs = move |item: &&Item| {
            item.state == ItemState::Open
                && (item.reviewer.as_ref() == Some(person) || item.delegate.as_ref() == Some(person))
        };
        self.items.values().filter(theirs)
    }

    pub(super) fn running(&self) -> Result<(), ReviewError> {
        match self.cancelled.is_some() || self.completed_at.is_some() {
            true => Err(ReviewError::Over),
            false => Ok(()),
        }
    }

    pub(super) fn observed(
        &self,
        key: &ItemKey,
        step: &str,
        by: Option<&PersonId>,
        to: Option<&PersonId>,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> Record {
        let shown = self.items.get(key).map_or(self.snapshot, |item| item.snapshot);
        Record {
            campaign: self.id.clone(),
            item: key.clone(),
            step: step.to_owned(),
            by: by.cloned(),
            to: to.cloned(),
            reason: reason.map(crate::mistake::shown),
            at: now,
            snapshot: shown,
        }
    }

    pub(super) fn set(&mut self, key: &ItemKey, state: ItemState, now: DateTime<Utc>) {
        let Some(item) = self.items.get_mut(key) else { return };
        let before = std::mem::replace(&mut item.state, state);
        let revoking = |state: &ItemState| usize::from(matches!(state, ItemState::Revoking { .. }));
        let undecided = |state: &ItemState| usize::from(state.is_undecided());
        self.undecided =
            self.undecided.saturating_sub(undecided(&before)).saturating_add(undecided(&item.state));
        self.revoking = self.revoking.saturating_sub(revoking(&before)).saturating_add(revoking(&item.state));
        self.settle(now);
    }

    fn settle(&mut self, now: DateTime<Utc>) {
        if self.phase() == Phase::Complete && self.completed_at.is_none() {
            self.completed_at = Some(now);
        }
    }
}

/// Shows access to whoever reviewed it before, or to the first that the rules name, if independent.
fn present(
    access: Access,
    rules: &[ReviewerRule],
    before: Option<&PersonId>,
    presented: u32,
    now: DateTime<Utc>,
) -> Item {
    let named = rules.iter().filter_map(|rule| match rule {
        ReviewerRule::Manager => access.manager.as_ref(),
        ReviewerRule::Owner => access.owner.as_ref(),
        ReviewerRule::Named(person) => Some(person),
    });
    let reviewer =
        before.into_iter().chain(named).find(|person| independent(&access, person, &[]).is_ok()).cloned();
    Item {
        snapshot: access.snapshot(),
        state: if reviewer.is_some() { ItemState::Open } else { ItemState::Unassigned },
        chain: reviewer.iter().cloned().collect(),
        asked_at: reviewer.as_ref().map(|_| now),
        reviewer,
        delegate: None,
        presented,
        escalated: 0,
        access,
    }
}

pub(super) fn independent(access: &Access, person: &PersonId, chain: &[PersonId]) -> Result<(), ReviewError> {
    let why = if *person == access.person {
        NotIndependent::Own
    } else if access.granted_by.as_ref() == Some(person) {
        NotIndependent::Granted
    } else if chain.contains(person) {
        NotIndependent::Before
    } else {
        return Ok(());
    };
    Err(ReviewError::NotIndependent { person: person.clone(), why })
}

fn pass_on(item: &mut Item, to: &PersonId) -> Result<(), ReviewError> {
    independent(&item.access, to, &item.chain)?;
    if item.chain.len() >= CHAIN_MAX {
        return Err(ReviewError::PassedOnTooOften);
    }
    item.chain.push(to.clone());
    Ok(())
}

pub(super) fn intent(campaign: &CampaignId, item: &Item) -> Option<RevokeIntent> {
    let ItemState::Revoking { by, at, reason, .. } = &item.state else { return None };
    Some(RevokeIntent {
        campaign: campaign.clone(),
        item: item.access.key(),
        decided_by: by.clone(),
        decided_at: *at,
        reason: reason.clone(),
        snapshot: item.snapshot,
    })
}

pub(super) fn check_reason(reason: &str) -> Result<(), ReviewError> {
    match reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        true => Err(ReviewError::Reason),
        false => Ok(()),
    }
}

impl From<State> for Campaign {
    fn from(state: State) -> Self {
        let undecided = state.items.iter().filter(|item| item.state.is_undecided()).count();
        let revoking =
            state.items.iter().filter(|item| matches!(item.state, ItemState::Revoking { .. })).count();
        Self {
            id: state.id,
            settings: state.settings,
            started_at: state.started_at,
            snapshot: state.snapshot,
            items: state.items.into_iter().map(|item| (item.access.key(), item)).collect(),
            signed: state.signed,
            reminded: state.reminded,
            cancelled: state.cancelled,
            completed_at: state.completed_at,
            held: state.held,
            revokes_allowed: state.revokes_allowed,
            undecided,
            revoking,
        }
    }
}

impl From<Campaign> for State {
    fn from(campaign: Campaign) -> Self {
        Self {
            id: campaign.id,
            settings: campaign.settings,
            started_at: campaign.started_at,
            snapshot: campaign.snapshot,
            items: campaign.items.into_values().collect(),
            signed: campaign.signed,
            reminded: campaign.reminded,
            cancelled: campaign.cancelled,
            completed_at: campaign.completed_at,
            held: campaign.held,
            revokes_allowed: campaign.revokes_allowed,
        }
    }
}
