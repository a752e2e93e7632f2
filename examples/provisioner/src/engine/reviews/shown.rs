//! How far campaigns are, and what there is to decide on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use connector_health::review::{Item, Phase, export};
use connector_health::{CampaignId, PersonId};
use serde_json::{Value, json};

use super::journal::OnDisk;
use super::{Beginning, Engine, EngineError, Form, ITEMS_SHOWN_MAX, Refused, Which, rfc3339};

impl Engine {
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
    pub(in crate::engine) async fn unfinished_reviews(&self, now: DateTime<Utc>) -> Vec<Value> {
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
                "revokes_held": progress.revokes_held,
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
