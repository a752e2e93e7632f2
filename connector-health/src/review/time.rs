//! What time does to a campaign: reminders, escalations, and what nobody decided on.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, Utc};

use super::access::{Item, ItemKey, ItemState};
use super::campaign::{Campaign, check_reason, independent, intent};
use super::plan::Undecided;
use super::step::{Notice, ReviewError};
use crate::id::PersonId;

impl Campaign {
    /// Lets time pass: reminders, escalations, and what nobody decided on. Each is given out once. Where more would be revoked than
    /// [`RevokeGuard`](super::RevokeGuard) admits, all of it waits for [`approve_revokes`](Self::approve_revokes).
    pub fn tick(&mut self, now: DateTime<Utc>) -> Vec<Notice> {
        if self.running().is_err() {
            return Vec::new();
        }
        let mut notices = self.remind(now);
        if self.undecided == 0 || now < self.settings.due_at {
            self.held = None;
            return notices;
        }
        let undecided = self.items.iter().filter(|(_, item)| item.state.is_undecided());
        let (lapsed, others): (Vec<ItemKey>, Vec<ItemKey>) = {
            let (lapsed, others): (Vec<_>, Vec<_>) = undecided.partition(|(_, item)| self.lapses(item, now));
            let keys = |of: Vec<(&ItemKey, &Item)>| of.into_iter().map(|(key, _)| key.clone()).collect();
            (keys(lapsed), keys(others))
        };
        for key in others {
            notices.extend(self.escalate(&key, now));
        }
        if self.holds(lapsed.len() as u64, &mut notices) {
            for key in lapsed {
                notices.extend(self.escalate(&key, now));
            }
            return notices;
        }
        for key in lapsed {
            let reason = "nobody decided in time".to_owned();
            self.set(&key, ItemState::Revoking { by: None, at: now, reason, failure: None }, now);
            let intent = self.items.get(&key).and_then(|item| intent(&self.id, item));
            notices.extend(intent.map(Notice::Revoked));
        }
        notices
    }

    /// Whether somebody was asked about it for long enough, and it goes because they did not decide.
    fn lapses(&self, item: &Item, now: DateTime<Utc>) -> bool {
        let Undecided::Revoked { after_days } = self.settings.undecided else { return false };
        // Nobody was asked.
        if item.state != ItemState::Open {
            return false;
        }
        match item.asked_at.filter(|asked| *asked > self.settings.due_at) {
            None => self.is_past(after_days, now),
            Some(asked) => {
                let until = asked.checked_add_days(Days::new(u64::from(after_days.max(1))));
                until.is_some_and(|until| until <= now)
            }
        }
    }

    /// Whether so many more revocations that nobody decided on are held. Told when their number changes.
    fn holds(&mut self, more: u64, notices: &mut Vec<Notice>) -> bool {
        if more == 0 {
            self.held = None;
            return false;
        }
        let lapsed = |item: &&Item| {
            matches!(item.state, ItemState::Revoking { by: None, .. } | ItemState::Revoked { by: None, .. })
        };
        let revokes = more.saturating_add(self.items.values().filter(lapsed).count() as u64);
        let items = self.items.len() as u64;
        if revokes <= self.revokes_allowed || self.settings.guard.admits(revokes, items) {
            self.held = None;
            return false;
        }
        if self.held.replace(revokes) != Some(revokes) {
            notices.push(Notice::RevokesHeld { revokes, items });
        }
        true
    }

    /// Whoever runs the campaign lets revocations go on that nobody decided on, as many as they were shown to be: the next
    /// [`tick`](Self::tick) gives them out.
    ///
    /// # Errors
    /// Where `by` does not run it, none are held, others are than these, a reason is missing, or it is over.
    pub fn approve_revokes(&mut self, by: &PersonId, revokes: u64, reason: &str) -> Result<(), ReviewError> {
        self.running()?;
        if *by != self.settings.owner {
            return Err(ReviewError::NotOwner(by.clone()));
        }
        check_reason(reason)?;
        match self.held {
            None => Err(ReviewError::NotHeld),
            Some(held) if held != revokes => Err(ReviewError::HeldOthers(held)),
            Some(held) => {
                self.revokes_allowed = held;
                Ok(())
            }
        }
    }

    /// Revocations that nobody decided on and that wait for [`approve_revokes`](Self::approve_revokes), with those that went on before.
    pub fn revokes_held(&self) -> Option<u64> {
        self.held
    }

    fn remind(&mut self, now: DateTime<Utc>) -> Vec<Notice> {
        let due_at = self.settings.due_at;
        let come: Vec<u16> = self
            .settings
            .remind_days
            .iter()
            .filter(|days| !self.reminded.contains(days))
            .filter(|days| due_at.checked_sub_days(Days::new(u64::from(**days))).is_some_and(|at| at <= now))
            .copied()
            .collect();
        self.reminded.extend(&come);
        if come.is_empty() || now >= due_at {
            return Vec::new();
        }
        let mut open: BTreeMap<&PersonId, u64> = BTreeMap::new();
        for item in self.items.values().filter(|item| item.state == ItemState::Open) {
            for reviewer in item.reviewer.iter().chain(&item.delegate) {
                let count = open.entry(reviewer).or_default();
                *count = count.saturating_add(1);
            }
        }
        let each = open.into_iter();
        each.map(|(reviewer, open)| Notice::Reminder { reviewer: reviewer.clone(), open, due_at }).collect()
    }

    /// To the last escalation that has come.
    fn escalate(&mut self, key: &ItemKey, now: DateTime<Utc>) -> Option<Notice> {
        let come = self.settings.escalations.iter().filter(|step| self.is_past(step.after_days, now)).count();
        let come = u32::try_from(come).unwrap_or(u32::MAX);
        let to = self
            .settings
            .escalations
            .iter()
            .filter(|step| self.is_past(step.after_days, now))
            .max_by_key(|step| step.after_days)?
            .to
            .clone();
        let item = self.items.get_mut(key)?;
        if item.escalated >= come {
            return None;
        }
        item.escalated = come;
        if item.reviewer.as_ref() == Some(&to) {
            return None;
        }
        if let Err(error) = independent(&item.access, &to, &[]) {
            let ReviewError::NotIndependent { why, .. } = error else { return None };
            return Some(Notice::NotEscalated { item: key.clone(), to, why });
        }
        // An escalation goes through however often an item was passed on, and to whom it was before.
        item.chain.push(to.clone());
        item.reviewer = Some(to.clone());
        item.asked_at.get_or_insert(now);
        item.delegate = None;
        item.state = ItemState::Open;
        self.signed.remove(&to);
        Some(Notice::Escalated(self.observed(key, "escalated", None, Some(&to), None, now)))
    }

    fn is_past(&self, after_days: u16, now: DateTime<Utc>) -> bool {
        let at = self.settings.due_at.checked_add_days(Days::new(u64::from(after_days)));
        at.is_some_and(|at| at <= now)
    }
}
