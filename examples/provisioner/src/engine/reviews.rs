//! Access reviews: begun from what applications list, decided by people, executed through the outbox, kept step by step.

mod access;
mod journal;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::Entry;
use chrono::{DateTime, Utc};
use connector_health::lane::EventState;
use connector_health::outbox::{AcceptError, OutboxError};
use connector_health::review::export;
use connector_health::review::{
    Campaign, Decision, Escalation, Item, ItemKey, Notice, Phase, Record, Recurrence, ReviewError,
    ReviewerRule, RevokeIntent, Settings, SnapshotHash, Undecided,
};
use connector_health::{CampaignId, ConnectorId, Event, EventId, Intent, PersonId};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Engine, EngineError, rfc3339};
use crate::files;
use journal::{Followed, OnDisk, Step};

/// Most campaigns that are kept.
pub(crate) const CAMPAIGNS_MAX: usize = 1_000;
/// Most bytes of a campaign's name.
const NAME_BYTES_MAX: usize = 200;
/// Most items of one answer.
pub(crate) const ITEMS_SHOWN_MAX: usize = 10_000;
/// How often what waits is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after a listing that failed a recurring review is tried again.
const AGAIN_AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(60);
/// Events that one revocation is followed through: superseded, granted anew, revoked again.
const FOLLOWED_MAX: u32 = 64;

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
    failed: Mutex<Option<(DateTime<Utc>, String)>>,
}

impl Beginning {
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
        let beginning = Arc::new(Beginning::default());
        {
            let mut known = self.reviews.beginning();
            let runs = known.get(&id).is_some_and(|known| known.failed().is_none());
            if runs || campaigns.contains_key(&id) {
                return refused("a review of that name has just begun");
            }
            known.insert(id.clone(), Arc::clone(&beginning));
        }
        drop(campaigns);
        let settings = Settings {
            name: plan.name,
            owner,
            due_at: plan.due_at,
            reviewers: plan.reviewers,
            remind_days: plan.remind_days,
            escalations: plan.escalations,
            undecided: plan.undecided,
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
        self.look_at_duty().await?;
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
            let waits = self.reviews.beginning().get(&id).is_some_and(|known| {
                known.failed().as_ref().is_none_or(|(at, _)| now.signed_duration_since(*at) < AGAIN_AFTER)
            });
            if waits {
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

    async fn follow_reviews(self: &Arc<Self>, now: DateTime<Utc>) -> Result<(), EngineError> {
        let unfinished: Vec<CampaignId> = {
            let campaigns = self.reviews.campaigns.lock().await;
            let unfinished =
                campaigns.iter().filter(|(_, campaign)| campaign.kept.campaign.phase() != Phase::Complete);
            unfinished.map(|(id, _)| id.clone()).collect()
        };
        for id in unfinished {
            match self.step(&id, Step::Tick, now).await {
                Ok(()) => {}
                Err(Refused::Engine(error)) => return Err(error),
                Err(_) => continue,
            }
            let revokes = match self.reviews.campaigns.lock().await.get(&id) {
                Some(campaign) => campaign.kept.campaign.revokes(),
                None => continue,
            };
            for intent in revokes {
                let step = match self.revocation(&intent, now).await? {
                    Revocation::Waits => continue,
                    Revocation::Confirmed => Step::Confirm { item: intent.item.clone() },
                    Revocation::Failed(why) => Step::Fail { item: intent.item.clone(), why },
                };
                match self.step(&id, step, now).await {
                    Ok(()) | Err(Refused::Review(_)) => {}
                    Err(Refused::Engine(error)) => return Err(error),
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    /// Does something with a campaign: to its end, also where whoever asked for it goes away.
    async fn step(self: &Arc<Self>, id: &CampaignId, step: Step, now: DateTime<Utc>) -> Result<(), Refused> {
        let (engine, id) = (Arc::clone(self), id.clone());
        let done = tokio::spawn(async move { engine.take_step(&id, step, now).await });
        done.await.unwrap_or_else(|error| {
            let why = format!("a step of a review: {error}");
            self.broke(&why);
            Err(EngineError::Broken(why).into())
        })
    }

    /// Recorded first, then written down; taken back where either fails. Must not be dropped halfway.
    async fn take_step(&self, id: &CampaignId, step: Step, now: DateTime<Utc>) -> Result<(), Refused> {
        let mut campaigns = self.reviews.campaigns.lock().await;
        let Some(on_disk) = campaigns.get_mut(id) else {
            return Err(match self.reviews.beginning().get(id) {
                Some(beginning) => match &*beginning.failed() {
                    Some((_, why)) => Refused::Plan(format!("it did not begin: {why}")),
                    None => Refused::Beginning,
                },
                None => Refused::NoSuch,
            });
        };
        let campaign = &mut on_disk.kept.campaign;
        let state = |campaign: &Campaign| match &step {
            Step::Fail { item, .. } => campaign.item(item).map(|item| item.state.clone()),
            _ => None,
        };
        let (was, before) = (campaign.phase(), state(campaign));
        let followed = step.apply(campaign, now)?;
        // Said once, as it is kept.
        if before.is_some() && before == state(campaign) {
            return Ok(());
        }
        let mut entries: Vec<Entry> = followed.record.iter().map(entry).collect();
        entries.extend(followed.notices.iter().map(|notice| noticed(id, notice)));
        match &step {
            Step::Tick if followed.notices.is_empty() => return Ok(()),
            Step::Sign { by } => {
                let signed = Entry::new("review.signed").actor(by.as_str()).target(id.as_str());
                entries.push(signed.outcome("success"));
            }
            Step::Cancel { by, reason } => {
                let cancelled = Entry::new("review.cancelled").actor(by.as_str()).target(id.as_str());
                entries.push(cancelled.outcome("success").field("message", reason));
            }
            _ => {}
        }
        if campaign.phase() == Phase::Complete && was != Phase::Complete {
            let progress = campaign.progress(now);
            let completed = Entry::new("review.completed").target(id.as_str()).outcome("success");
            entries.push(
                completed
                    .field("items", progress.decisions_total)
                    .field("revoked", progress.revokes_confirmed)
                    .field("snapshot", campaign.snapshot()),
            );
        }
        let written = async {
            for entry in entries {
                self.record(entry).await?;
            }
            on_disk.note(step, now)
        };
        if let Err(error) = written.await {
            if let Err(worse) = on_disk.again() {
                self.broke(&worse.to_string());
            }
            return Err(error.into());
        }
        self.tell_reviewers(id, &followed);
        self.wake.notify_one();
        Ok(())
    }

    fn tell_reviewers(&self, id: &CampaignId, followed: &Followed) {
        for notice in &followed.notices {
            if let Notice::Reminder { reviewer, open, due_at } = notice {
                crate::say(&format!(
                    "review {id}: {reviewer} has {open} to decide until {}",
                    rfc3339(*due_at)
                ));
            }
        }
    }

    /// How a revocation stands. One that the outbox does not have yet is given to it; of one name however often.
    async fn revocation(&self, intent: &RevokeIntent, now: DateTime<Utc>) -> Result<Revocation, EngineError> {
        let (person, right) = (&intent.item.person, &intent.item.right);
        let mut again = 0;
        for _ in 0..FOLLOWED_MAX {
            let name = name(intent, again);
            let Some(mut known) = self.outbox.event(&name).await? else {
                let event = Event::revoke(&right.connector, person, &right.entitlement)
                    .occurred_at(if again == 0 { intent.decided_at } else { now })
                    .named(name)
                    .triggered_by(
                        format!("review {}", intent.campaign).chars().take(100).collect::<String>(),
                    );
                let event = match &intent.decided_by {
                    Some(by) => event.approved_by(by.as_str()),
                    None => event,
                };
                return match self.outbox.accept(event, now).await {
                    Ok(_) => Ok(Revocation::Waits),
                    Err(AcceptError::Outbox(error)) => Err(self.not_accepted(error)),
                    Err(error) => Ok(Revocation::Failed(error.to_string())),
                };
            };
            // Whatever says more than it may confirm it, too.
            let mut hops = 0;
            while let EventState::Superseded { by, .. } = &known.state {
                let Some(next) = self.outbox.event(by).await? else { break };
                known = next;
                hops += 1;
                if hops > FOLLOWED_MAX {
                    break;
                }
            }
            let takes_away = match known.event.intent() {
                Intent::Deprovision => true,
                Intent::Revoke(of) => *of == right.entitlement,
                _ => false,
            };
            match (&known.state, takes_away) {
                (EventState::Succeeded { .. }, true) => return Ok(Revocation::Confirmed),
                // Granted anew after the decision, which still stands.
                (_, false) => again += 1,
                (EventState::Dead { by, reason, .. } | EventState::Rejected { by, reason, .. }, true) => {
                    return Ok(Revocation::Failed(format!("{by} gave it up: {reason}")));
                }
                _ => {
                    // Nothing is sent to an application that is down: that is why it waits.
                    let health = self.fleet.health(now);
                    let tier = health.iter().find(|one| one.connector == right.connector).map(|one| one.tier);
                    return Ok(match (&known.last_failure, tier) {
                        (Some(failure), _) => Revocation::Failed(failure.message().to_owned()),
                        (None, Some(tier)) if tier.is_bad() => {
                            Revocation::Failed(format!("`{}` is {tier}", right.connector))
                        }
                        _ => Revocation::Waits,
                    });
                }
            }
        }
        Ok(Revocation::Failed("it is granted again and again".to_owned()))
    }

    /// A reviewer's decision. Durable on return.
    pub(crate) async fn decide(
        self: &Arc<Self>,
        id: &CampaignId,
        by: &PersonId,
        item: ItemKey,
        snapshot: SnapshotHash,
        decision: Decision,
    ) -> Result<(), Refused> {
        self.step(id, Step::Decide { item, by: by.clone(), snapshot, decision }, Utc::now()).await
    }

    /// The campaign's owner names a reviewer. Durable on return.
    pub(crate) async fn assign(
        self: &Arc<Self>,
        id: &CampaignId,
        by: &PersonId,
        item: ItemKey,
        to: PersonId,
        reason: String,
    ) -> Result<(), Refused> {
        self.step(id, Step::Assign { item, to, by: by.clone(), reason }, Utc::now()).await
    }

    /// A reviewer states that all decisions are made and meant.
    pub(crate) async fn sign(self: &Arc<Self>, id: &CampaignId, by: &PersonId) -> Result<(), Refused> {
        self.step(id, Step::Sign { by: by.clone() }, Utc::now()).await
    }

    /// The campaign's owner calls it off.
    pub(crate) async fn cancel(
        self: &Arc<Self>,
        id: &CampaignId,
        by: &PersonId,
        reason: String,
    ) -> Result<(), Refused> {
        self.step(id, Step::Cancel { by: by.clone(), reason }, Utc::now()).await
    }

    /// How far each campaign is, those that could not begin included.
    pub(crate) async fn reviews(&self) -> Vec<Value> {
        let now = Utc::now();
        let mut shown: Vec<Value> = Vec::new();
        for campaign in self.reviews.campaigns.lock().await.values() {
            shown.push(progress(campaign, now));
        }
        shown.extend(self.reviews.beginning().iter().map(|(id, beginning)| begins(id, beginning)));
        shown
    }

    /// How far each is that is not over.
    pub(super) async fn unfinished_reviews(&self, now: DateTime<Utc>) -> Vec<Value> {
        let campaigns = self.reviews.campaigns.lock().await;
        let unfinished = campaigns
            .values()
            .map(|campaign| campaign.kept.campaign.progress(now))
            .filter(|progress| matches!(progress.phase, Phase::Active | Phase::Remediation));
        let shown = unfinished.map(|progress| {
            json!({
                "campaign": progress.campaign,
                "name": progress.name,
                "phase": progress.phase,
                "due_at": rfc3339(progress.due_at),
                "overdue": progress.overdue,
                "decisions_made": progress.decisions_made,
                "decisions_total": progress.decisions_total,
                "revokes_waiting": progress.revokes_waiting,
                "unassigned": progress.unassigned,
            })
        });
        shown.collect()
    }

    /// How far one is.
    pub(crate) async fn review(&self, id: &CampaignId) -> Result<Value, Refused> {
        if let Some(campaign) = self.reviews.campaigns.lock().await.get(id) {
            return Ok(progress(campaign, Utc::now()));
        }
        let beginning = self.reviews.beginning().get(id).map(Arc::clone).ok_or(Refused::NoSuch)?;
        Ok(begins(id, &beginning))
    }

    /// Items of a campaign, in their order. `only` sees what is, was or may be theirs to decide.
    pub(crate) async fn review_items(
        &self,
        id: &CampaignId,
        which: &Which,
        only: Option<&PersonId>,
    ) -> Result<Value, Refused> {
        let campaigns = self.reviews.campaigns.lock().await;
        let campaign = &campaigns.get(id).ok_or(Refused::NoSuch)?.kept.campaign;
        let theirs = |item: &&Item| {
            only.is_none_or(|only| item.delegate.as_ref() == Some(only) || item.chain.contains(only))
        };
        let state = |item: &&Item| {
            which.state.as_ref().is_none_or(|wanted| {
                serde_json::to_value(&item.state)
                    .is_ok_and(|state| state.get("state") == Some(&json!(wanted)))
            })
        };
        let asked = campaign
            .items()
            .filter(theirs)
            .filter(|item| {
                which.reviewer.as_ref().is_none_or(|reviewer| {
                    item.reviewer.as_ref() == Some(reviewer) || item.delegate.as_ref() == Some(reviewer)
                })
            })
            .filter(|item| which.person.as_ref().is_none_or(|person| item.access.person == *person))
            .filter(state);
        let limit = which.limit.unwrap_or(ITEMS_SHOWN_MAX).min(ITEMS_SHOWN_MAX);
        let mut total = 0_usize;
        let mut items = Vec::new();
        for item in asked {
            if total >= which.offset && items.len() < limit {
                items.push(item);
            }
            total = total.saturating_add(1);
        }
        Ok(json!({"total": total, "offset": which.offset, "items": items}))
    }

    /// The whole of a campaign, for an auditor.
    pub(crate) async fn review_report(&self, id: &CampaignId, form: Form) -> Result<String, Refused> {
        let campaigns = self.reviews.campaigns.lock().await;
        let campaign = &campaigns.get(id).ok_or(Refused::NoSuch)?.kept.campaign;
        let now = Utc::now();
        Ok(match form {
            Form::Json => {
                export::json(campaign, now).map_err(|error| EngineError::Review(error.to_string()))?
            }
            Form::Csv => export::csv(campaign),
            Form::Html => export::html(campaign, now),
        })
    }
}

enum Revocation {
    Waits,
    Confirmed,
    Failed(String),
}

impl From<OutboxError> for Refused {
    fn from(error: OutboxError) -> Self {
        Self::Engine(error.into())
    }
}

/// The same decision gives the same name, so that it may be given to the outbox again.
fn name(intent: &RevokeIntent, again: u32) -> EventId {
    let said = json!(["review", intent.campaign, intent.item, intent.decided_at, again]).to_string();
    let name = HEXLOWER.encode(&Sha256::digest(said.as_bytes()));
    // INVARIANT: a hash in hexadecimal is short and has no control characters.
    EventId::new(name).unwrap_or_else(|_| unreachable!("a hash is a name"))
}

fn entry(record: &Record) -> Entry {
    let entry = Entry::new(format!("review.{}", record.step))
        .target(record.item.person.as_str())
        .outcome(if record.step == "revoke_failed" { "failure" } else { "success" })
        .field("campaign", &record.campaign)
        .field("connector", &record.item.right.connector)
        .field("entitlement", &record.item.right.entitlement)
        .field("snapshot", record.snapshot)
        .field("to", &record.to)
        .field("message", &record.reason);
    match &record.by {
        Some(by) => entry.actor(by.as_str()),
        None => entry,
    }
}

fn noticed(id: &CampaignId, notice: &Notice) -> Entry {
    let of = |event_type: &str, target: &str| {
        Entry::new(event_type).target(target).outcome("success").field("campaign", id)
    };
    match notice {
        Notice::Reminder { reviewer, open, due_at } => {
            of("review.reminded", reviewer.as_str()).field("open", open).field("due_at", rfc3339(*due_at))
        }
        Notice::Escalated(record) => entry(record),
        Notice::NotEscalated { item, to, why } => of("review.not_escalated", item.person.as_str())
            .field("connector", &item.right.connector)
            .field("entitlement", &item.right.entitlement)
            .field("to", to)
            .field("message", why.to_string()),
        Notice::Revoked(intent) => of("review.revoking", intent.item.person.as_str())
            .field("connector", &intent.item.right.connector)
            .field("entitlement", &intent.item.right.entitlement)
            .field("snapshot", intent.snapshot)
            .field("message", &intent.reason),
        _ => of("review.noticed", id.as_str()),
    }
}

fn progress(campaign: &OnDisk, now: DateTime<Utc>) -> Value {
    let mut shown = serde_json::to_value(campaign.kept.campaign.progress(now)).unwrap_or_default();
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("owner".to_owned(), json!(campaign.kept.campaign.settings().owner));
        shown.insert("snapshot".to_owned(), json!(campaign.kept.campaign.snapshot()));
        shown.insert("listed".to_owned(), json!(campaign.kept.listed));
    }
    shown
}

fn begins(id: &CampaignId, beginning: &Beginning) -> Value {
    let accounts = beginning.accounts.load(Ordering::Relaxed);
    match &*beginning.failed() {
        None => json!({"campaign": id, "phase": "listing", "accounts": accounts}),
        Some((at, why)) => {
            json!({"campaign": id, "phase": "failed", "accounts": accounts, "message": why, "at": rfc3339(*at)})
        }
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
