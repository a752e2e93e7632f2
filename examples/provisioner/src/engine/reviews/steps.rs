//! What is done with a campaign, and what follows from it: recorded, written down, and carried out through the outbox.

use std::sync::Arc;

use audit_log::Entry;
use chrono::{DateTime, Utc};
use connector_health::event::Lane;
use connector_health::lane::EventState;
use connector_health::outbox::AcceptError;
use connector_health::review::{
    Access, Campaign, Decision, ItemKey, Notice, Phase, Record, RevokeIntent, SnapshotHash,
};
use connector_health::store::OutboxStore as _;
use connector_health::{AccountId, CampaignId, Event, EventId, Intent, PersonId, Right};
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::journal::{Followed, Step};
use super::{Engine, EngineError, Refused, rfc3339};

/// Events that one revocation is followed through: superseded, granted anew, revoked again.
const FOLLOWED_MAX: u32 = 64;

enum Revocation {
    Waits,
    Confirmed,
    Failed(String),
}

impl Engine {
    pub(super) async fn follow_reviews(self: &Arc<Self>, now: DateTime<Utc>) -> Result<(), EngineError> {
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
            let (revokes, held) = match self.reviews.campaigns.lock().await.get(&id) {
                Some(campaign) => (campaign.kept.campaign.revokes(), campaign.kept.campaign.revokes_held()),
                None => continue,
            };
            let source = format!("revocations of review {id}");
            match held {
                None => self.settled(&source),
                Some(held) => self.trouble(
                    &source,
                    format!(
                        "nobody decided on {held} rights, which is unusually many: they stay until `provisioner review approve {id} \
                         --revokes {held}`"
                    ),
                ),
            }
            for intent in revokes {
                let stands = match self.revocation(&intent, now).await {
                    Err(error) if error.is_of_record() => {
                        Revocation::Failed(format!("what is stored of it cannot be read: {error}"))
                    }
                    stands => stands?,
                };
                let step = match stands {
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
    pub(super) async fn step(
        self: &Arc<Self>,
        id: &CampaignId,
        step: Step,
        now: DateTime<Utc>,
    ) -> Result<(), Refused> {
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
        // Nothing of note was seen.
        let is_seeing = matches!(step, Step::Observe { .. });
        let (was, before) = (campaign.phase(), state(campaign));
        let followed = step.apply(campaign, now)?;
        if is_seeing && followed.record.is_none() {
            return Ok(());
        }
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
            Step::AllowRevokes { by, revokes, reason } => {
                let allowed = Entry::new("review.revokes_approved").actor(by.as_str()).target(id.as_str());
                let allowed = allowed.outcome("success").field("revokes", revokes);
                entries.push(allowed.field("message", reason));
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
        let lane = Lane::person(&right.connector, person);
        let known = match self.outbox.store().load(&lane).await {
            Err(error) => return Err(error.into()),
            Ok(known) => known,
        };
        let provisioned = known.and_then(|known| known.record.account);
        if let (Some(reviewed), Some(provisioned)) = (&intent.item.account, provisioned)
            && *reviewed != provisioned
        {
            return Ok(Revocation::Failed(format!(
                "account `{reviewed}` is not the one that is provisioned for {person}: take it away there, and `provisioner reconcile {}` \
                 confirms it",
                right.connector
            )));
        }
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
                    Err(AcceptError::Outbox(error)) => {
                        Err(EngineError::Broken(format!("the outbox: {error}")))
                    }
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

    /// The item that is meant: where somebody has several accounts at an application, the account says which.
    pub(crate) async fn review_item(
        &self,
        id: &CampaignId,
        person: PersonId,
        right: Right,
        account: Option<AccountId>,
    ) -> Result<ItemKey, Refused> {
        let key = ItemKey { person, right, account };
        let campaigns = self.reviews.campaigns.lock().await;
        let Some(campaign) = campaigns.get(id).map(|campaign| &campaign.kept.campaign) else {
            // Whoever takes the step says why.
            return Ok(key);
        };
        if key.account.is_some() || campaign.item(&key).is_some() {
            return Ok(key);
        }
        let theirs = campaign.items().map(|item| &item.access);
        let theirs = theirs.filter(|access| access.person == key.person && access.right == key.right);
        let fits: Vec<ItemKey> = theirs.map(Access::key).collect();
        match fits.as_slice() {
            [] => Ok(key),
            [one] => Ok(one.clone()),
            several => {
                let named =
                    several.iter().filter_map(|key| key.account.as_ref()).map(|one| format!("`{one}`"));
                let named = named.collect::<Vec<_>>().join(", ");
                Err(Refused::Plan(format!(
                    "`{}` has it by several accounts: `account` is one of {named}",
                    key.person
                )))
            }
        }
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

    /// The campaign's owner lets revocations go on that nobody decided on. Durable on return.
    pub(crate) async fn approve_revokes(
        self: &Arc<Self>,
        id: &CampaignId,
        by: &PersonId,
        revokes: u64,
        reason: String,
    ) -> Result<(), Refused> {
        self.step(id, Step::AllowRevokes { by: by.clone(), revokes, reason }, Utc::now()).await
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
        .field("account", &record.item.account)
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
        Notice::RevokesHeld { revokes, items } => {
            let held = Entry::new("review.revokes_held").target(id.as_str()).outcome("failure");
            held.field("campaign", id).field("revokes", revokes).field("items", items)
        }
        _ => of("review.noticed", id.as_str()),
    }
}
