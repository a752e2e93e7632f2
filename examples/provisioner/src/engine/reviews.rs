//! Access reviews: begun from what applications list, decided by people, executed through the outbox, kept step by step.

mod access;
mod journal;
mod observed;
mod shown;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::Entry;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::outbox::OutboxError;
use connector_health::review::{
    Campaign, Escalation, Recurrence, ReviewError, ReviewerRule, RevokeGuard, Settings, Undecided,
};
use connector_health::{CampaignId, ConnectorId, PersonId};
use serde::Deserialize;

use super::{Engine, EngineError, rfc3339};
use crate::files;
use journal::OnDisk;
pub(super) use observed::Seen;

/// Most campaigns that are kept.
pub(crate) const CAMPAIGNS_MAX: usize = 1_000;
/// Most bytes of a campaign's name.
const NAME_BYTES_MAX: usize = 200;
/// Most items of one answer.
pub(crate) const ITEMS_SHOWN_MAX: usize = 10_000;
/// How often what waits is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after a listing that failed a recurring review is tried again: twice as long after each that fails, up to the longest.
const AGAIN_AFTER: TimeDelta = TimeDelta::seconds(60);
const AGAIN_AFTER_MAX: TimeDelta = TimeDelta::hours(1);

/// What a campaign is to be like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) due_at: DateTime<Utc>,
    /// All of them where nothing is said.
    #[serde(default)]
    pub(crate) connectors: Option<BTreeSet<ConnectorId>>,
    pub(crate) reviewers: Vec<ReviewerRule>,
    #[serde(default)]
    pub(crate) remind_days: BTreeSet<u16>,
    #[serde(default)]
    pub(crate) escalations: Vec<Escalation>,
    #[serde(default = "waits")]
    pub(crate) undecided: Undecided,
    #[serde(default)]
    pub(crate) guard: RevokeGuard,
}

pub(crate) fn waits() -> Undecided {
    Undecided::Waits
}

/// A review that begins again and again.
#[derive(Clone, Debug)]
pub(crate) struct Recurring {
    pub(crate) owner: PersonId,
    pub(crate) when: Recurrence,
    /// Due when `when` says so.
    pub(crate) plan: Plan,
}

/// All campaigns.
pub(super) struct Reviews {
    dir: PathBuf,
    campaigns: tokio::sync::Mutex<BTreeMap<CampaignId, OnDisk>>,
    /// Those whose access is being listed, or could not be.
    beginning: Mutex<BTreeMap<CampaignId, Arc<Beginning>>>,
    /// Who answers for an application.
    owners: BTreeMap<ConnectorId, PersonId>,
    recurring: Vec<Recurring>,
}

#[derive(Default)]
struct Beginning {
    accounts: AtomicU64,
    /// How many before it failed.
    before: u32,
    failed: Mutex<Option<(DateTime<Utc>, String)>>,
}

impl Beginning {
    /// Whether it is under way, or failed not long enough ago to be tried again.
    fn waits(&self, now: DateTime<Utc>) -> bool {
        let doubled = 1_i32.checked_shl(self.before).filter(|doubled| *doubled > 0).unwrap_or(i32::MAX);
        let wait = AGAIN_AFTER.checked_mul(doubled).unwrap_or(AGAIN_AFTER_MAX).min(AGAIN_AFTER_MAX);
        self.failed().as_ref().is_none_or(|(at, _)| now.signed_duration_since(*at) < wait)
    }

    fn failed(&self) -> MutexGuard<'_, Option<(DateTime<Utc>, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something about a review was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("there is no such review")]
    NoSuch,
    #[error("no such grant waits")]
    NoSuchGrant,
    #[error("there is no such violation")]
    NoSuchViolation,
    #[error("its access is still being listed")]
    Beginning,
    #[error("{0}")]
    Plan(String),
    #[error("it may be, and is not granted yet, since the outbox does not take it: {0}; it is tried again")]
    NotTaken(String),
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Which items are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    pub(crate) reviewer: Option<PersonId>,
    pub(crate) person: Option<PersonId>,
    pub(crate) state: Option<String>,
    #[serde(default)]
    pub(crate) offset: usize,
    pub(crate) limit: Option<usize>,
}

/// In which form.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Json,
    Csv,
    Html,
}

impl Reviews {
    pub(super) fn open(dir: PathBuf) -> Result<Self, EngineError> {
        files::private_dir(&dir)?;
        let journal::All { campaigns, unreadable } = journal::all(&dir)?;
        let mut beginning = BTreeMap::new();
        for (name, why) in unreadable {
            crate::say(&format!("review {name} cannot be used, and the others go on: {why}"));
            if let Ok(id) = CampaignId::new(name) {
                let failed = Mutex::new(Some((Utc::now(), why)));
                beginning.insert(id, Arc::new(Beginning { failed, ..Beginning::default() }));
            }
        }
        Ok(Self {
            campaigns: tokio::sync::Mutex::new(campaigns),
            dir,
            beginning: Mutex::new(beginning),
            owners: BTreeMap::new(),
            recurring: Vec::new(),
        })
    }

    fn beginning(&self) -> MutexGuard<'_, BTreeMap<CampaignId, Arc<Beginning>>> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Knows who answers for applications, and which reviews begin again and again.
    #[must_use]
    pub(crate) fn with_reviews(
        mut self,
        owners: BTreeMap<ConnectorId, PersonId>,
        recurring: Vec<Recurring>,
    ) -> Self {
        self.reviews.owners = owners;
        self.reviews.recurring = recurring;
        self
    }

    /// Begins a campaign: lists access in the background. The campaign is there, and durable, once that is done.
    pub(crate) async fn begin_review(
        self: &Arc<Self>,
        plan: Plan,
        owner: PersonId,
    ) -> Result<CampaignId, Refused> {
        let now = Utc::now();
        let named = |plan: &Plan| format!("{}-{}", slug(&plan.name), now.format("%Y%m%d-%H%M%S"));
        let id = CampaignId::new(named(&plan)).map_err(|error| Refused::Plan(error.to_string()))?;
        self.begin(id, plan, owner, None).await
    }

    async fn begin(
        self: &Arc<Self>,
        id: CampaignId,
        plan: Plan,
        owner: PersonId,
        series: Option<(String, DateTime<Utc>)>,
    ) -> Result<CampaignId, Refused> {
        let refused = |why: &str| Err(Refused::Plan(why.to_owned()));
        if plan.name.trim().is_empty()
            || plan.name.len() > NAME_BYTES_MAX
            || plan.name.chars().any(char::is_control)
        {
            return refused("`name` is 1 to 200 bytes of text");
        }
        if plan.reviewers.is_empty() {
            return refused("`reviewers` says who decides: \"manager\", \"owner\", or one by name");
        }
        if series.is_none() && plan.due_at <= Utc::now() {
            return refused("`due_at` is past");
        }
        let all: BTreeSet<ConnectorId> = self.connectors.iter().map(|(id, _)| id.clone()).collect();
        let connectors = plan.connectors.clone().unwrap_or_else(|| all.clone());
        if let Some(unknown) = connectors.iter().find(|connector| !all.contains(*connector)) {
            return Err(Refused::Plan(format!("there is no connector `{unknown}`")));
        }
        if connectors.is_empty() {
            return refused("`connectors` is empty: nothing would be reviewed");
        }
        let campaigns = self.reviews.campaigns.lock().await;
        if campaigns.len() >= CAMPAIGNS_MAX {
            return Err(Refused::Plan(format!("at most {CAMPAIGNS_MAX} reviews are kept")));
        }
        let beginning = {
            let mut known = self.reviews.beginning();
            let runs = known.get(&id).is_some_and(|known| known.failed().is_none());
            if runs || campaigns.contains_key(&id) {
                return refused("a review of that name has just begun");
            }
            let before = known.get(&id).map_or(0, |failed| failed.before.saturating_add(1).min(16));
            let beginning = Arc::new(Beginning { before, ..Beginning::default() });
            known.insert(id.clone(), Arc::clone(&beginning));
            beginning
        };
        drop(campaigns);
        let settings = Settings {
            name: plan.name,
            owner,
            due_at: plan.due_at,
            reviewers: plan.reviewers,
            remind_days: plan.remind_days,
            escalations: plan.escalations,
            undecided: plan.undecided,
            guard: plan.guard,
        };
        let (engine, started) = (Arc::clone(self), id.clone());
        tokio::spawn(async move {
            match engine.start_review(&started, settings, &connectors, series, &beginning).await {
                Ok(()) => drop(engine.reviews.beginning().remove(&started)),
                Err(error) => {
                    engine.trouble(&format!("review {started}"), format!("it did not begin: {error}"));
                    *beginning.failed() = Some((Utc::now(), error.to_string()));
                }
            }
        });
        Ok(id)
    }

    async fn start_review(
        &self,
        id: &CampaignId,
        settings: Settings,
        connectors: &BTreeSet<ConnectorId>,
        series: Option<(String, DateTime<Utc>)>,
        beginning: &Beginning,
    ) -> Result<(), Refused> {
        let gathered = self.gather(connectors, &beginning.accounts).await?;
        let campaign = Campaign::start(id.clone(), settings, gathered.access, Utc::now())?;
        let entry = Entry::new("review.started")
            .actor(campaign.settings().owner.as_str())
            .target(id.as_str())
            .outcome("success")
            .field("due_at", rfc3339(campaign.settings().due_at))
            .field("items", campaign.items().count())
            .field("snapshot", campaign.snapshot())
            .field("listed", &gathered.listed);
        self.record(entry).await?;
        let mut campaigns = self.reviews.campaigns.lock().await;
        campaigns.insert(id.clone(), OnDisk::create(&self.reviews.dir, campaign, gathered.listed, series)?);
        self.settled(&format!("review {id}"));
        Ok(())
    }

    /// Works until dropped: begins reviews that recur, lets time pass, follows what was decided, and looks who violates what.
    pub(crate) async fn watch_access(self: &Arc<Self>) -> Result<Infallible, EngineError> {
        let mut is_surveyed = false;
        loop {
            match self.look_at_access(is_surveyed, Utc::now()).await {
                Ok(()) => is_surveyed = true,
                // The work says so.
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look_at_access(
        self: &Arc<Self>,
        is_surveyed: bool,
        now: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        if !is_surveyed {
            self.survey_duty().await?;
        }
        self.look_at_duty(now).await?;
        self.recur(now).await?;
        self.follow_reviews(now).await
    }

    async fn recur(self: &Arc<Self>, now: DateTime<Utc>) -> Result<(), EngineError> {
        for recurring in &self.reviews.recurring {
            let name = &recurring.plan.name;
            let last = {
                let campaigns = self.reviews.campaigns.lock().await;
                let ours = campaigns.values().filter_map(|campaign| campaign.kept.series.as_ref());
                ours.filter(|(series, _)| series == name).map(|(_, begun)| *begun).max()
            };
            let Some((begins, due_at)) = recurring.when.due(last, now) else { continue };
            let id = format!("{}-{}", slug(name), begins.format("%Y-%m-%d"));
            let Ok(id) = CampaignId::new(id) else { continue };
            if self.reviews.beginning().get(&id).is_some_and(|known| known.waits(now)) {
                continue;
            }
            let plan = Plan { due_at, ..recurring.plan.clone() };
            let series = Some((name.clone(), begins));
            match self.begin(id.clone(), plan, recurring.owner.clone(), series).await {
                Ok(_) => {}
                Err(Refused::Engine(error)) => return Err(error),
                Err(refused) => self.trouble(&format!("review {id}"), format!("it did not begin: {refused}")),
            }
        }
        Ok(())
    }
}

impl From<OutboxError> for Refused {
    fn from(error: OutboxError) -> Self {
        Self::Engine(error.into())
    }
}

/// Part of a file's name.
fn slug(name: &str) -> String {
    let plain = name.to_ascii_lowercase();
    let parts =
        plain.split(|character: char| !character.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let slug: String = parts.collect::<Vec<_>>().join("-").chars().take(40).collect();
    if slug.is_empty() { "review".to_owned() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_fails_is_tried_again_less_and_less_often() {
        let at = Utc::now();
        for (before, wait) in
            [(0, 60), (1, 120), (2, 240), (5, 1920), (6, 3600), (16, 3600), (u32::MAX, 3600)]
        {
            let failed = Mutex::new(Some((at, "down".to_owned())));
            let beginning = Beginning { failed, before, ..Beginning::default() };
            assert!(beginning.waits(at + TimeDelta::seconds(wait - 1)), "{before}");
            assert!(!beginning.waits(at + TimeDelta::seconds(wait)), "{before}");
        }
        assert!(Beginning::default().waits(at), "it is under way");
    }
}
