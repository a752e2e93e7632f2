//! The pass over the accounts, and what follows from it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use chrono::{DateTime, Utc};

use super::index::{Index, Kept, keys_of};
use super::{
    Account, AccountName, Action, CANDIDATES_MAX, Counts, Differences, Finding, Intended, ListingEnd,
    OrphanPolicy, Priority, Received, ReconcileError, Report, Rule, Settings, Situation, Standing,
};
use crate::id::ConnectorId;

/// One pass over one connector's accounts.
pub struct Reconciliation {
    connector: ConnectorId,
    settings: Settings,
    index: Index,
    /// By intent, in the order of [`Index::kept`].
    matches: Vec<Match>,
    orphans: Vec<AccountName>,
    findings: Vec<Finding>,
    seen: HashSet<u128>,
    secrets: [RandomState; 2],
    accounts: u64,
    repeated: u64,
    protected: u64,
}

/// The accounts of one intent.
enum Match {
    /// None so far.
    Nobody,
    /// The account whose identifier is on record, as intended.
    Sound { user_name: Option<Box<str>>, active: bool },
    /// Anything else.
    Several(Vec<Candidate>),
}

struct Candidate {
    account: AccountName,
    rule: Rule,
    differences: Differences,
    /// The account carries another identifier than the one on record for the person.
    contradicts: bool,
}

impl Reconciliation {
    /// Takes all intents for a connector. They must be all: an account of a person who is left out looks like nobody's.
    ///
    /// # Errors
    /// Where there are more than [`INTENTS_MAX`](super::INTENTS_MAX), two for one person, or one that is too long.
    pub fn new(
        connector: ConnectorId,
        settings: Settings,
        intents: impl IntoIterator<Item = Intended>,
    ) -> Result<Self, ReconcileError> {
        let index = Index::new(&settings, intents)?;
        let mut matches = Vec::new();
        matches.resize_with(index.kept.len(), || Match::Nobody);
        Ok(Self {
            connector,
            settings,
            index,
            matches,
            orphans: Vec::new(),
            findings: Vec::new(),
            seen: HashSet::new(),
            secrets: [RandomState::new(), RandomState::new()],
            accounts: 0,
            repeated: 0,
            protected: 0,
        })
    }

    /// Takes the next account. One that was taken before (pages overlap while accounts are created) changes nothing.
    pub fn account(&mut self, received: Received) {
        let account = received.account;
        self.accounts = self.accounts.saturating_add(1);
        let [high, low] = self.secrets.each_ref().map(|secret| u128::from(secret.hash_one(&account.id)));
        if !self.seen.insert(high << 64 | low) {
            self.repeated = self.repeated.saturating_add(1);
            return;
        }
        let is_protected = |name: &str| self.settings.protected.contains(name);
        if is_protected(&account.id) || account.user_name.as_deref().is_some_and(is_protected) {
            self.protected = self.protected.saturating_add(1);
            self.index.contest(&account);
            return;
        }
        let (mut strong, mut weak) = (Vec::new(), Vec::new());
        for (rule, text) in keys_of(&account) {
            if !rule.is_strong() && !strong.is_empty() {
                break;
            }
            let found = if rule.is_strong() { &mut strong } else { &mut weak };
            for intent in self.index.find(rule, text) {
                if found.len() <= CANDIDATES_MAX && !found.iter().any(|(known, _)| *known == intent) {
                    found.push((intent, rule));
                }
            }
        }
        let fits = if strong.is_empty() { weak } else { strong };
        match fits.as_slice() {
            [] => self.orphans.push(name(&account)),
            [(intent, rule)] => self.matched(*intent, *rule, account),
            several => {
                let several: Vec<u32> = several.iter().map(|(intent, _)| *intent).collect();
                self.collide(&several, &account);
            }
        }
    }

    fn matched(&mut self, intent: u32, rule: Rule, account: Account) {
        let at = intent as usize;
        let (Some(kept), Some(found)) = (self.index.kept.get(at), self.matches.get_mut(at)) else { return };
        let differences = kept.differences(&account, &self.settings);
        let contradicts = contradicts(kept, &account);
        if rule == Rule::AccountId && !contradicts && differences.is_empty() && matches!(found, Match::Nobody)
        {
            let user_name = account.user_name.map(String::into_boxed_str);
            // What is sound is named again only beside a second candidate; a name costs memory a million times.
            *found = Match::Sound { user_name, active: account.active };
            return;
        }
        let candidate = Candidate { account: name(&account), rule, differences, contradicts };
        match found {
            Match::Several(several) if several.len() <= CANDIDATES_MAX => several.push(candidate),
            // One too many is too many already; but one that is active must not be passed over.
            Match::Several(several) => {
                if candidate.account.active
                    && let Some(last) = several.iter_mut().rev().find(|known| !known.account.active)
                {
                    *last = candidate;
                }
            }
            Match::Nobody => *found = Match::Several(vec![candidate]),
            Match::Sound { .. } => {
                let sound = std::mem::replace(found, Match::Nobody);
                *found = Match::Several(sound.into_candidate(kept).into_iter().chain([candidate]).collect());
            }
        }
    }

    fn collide(&mut self, intents: &[u32], account: &Account) {
        self.index.contest(account);
        let kept: Vec<&Kept> =
            intents.iter().filter_map(|intent| self.index.kept.get(*intent as usize)).collect();
        let revoked = |kept: &&Kept| matches!(kept.standing, Standing::Revoked { .. });
        let of_leaver = account.active && kept.iter().any(revoked);
        self.findings.push(Finding {
            priority: if of_leaver { Priority::High } else { Priority::Medium },
            situation: Situation::Colliding,
            action: Action::Ask,
            persons: kept.iter().take(CANDIDATES_MAX).map(|kept| kept.person.clone()).collect(),
            accounts: vec![name(account)],
            rule: None,
            differences: Differences::default(),
            reason: match of_leaver {
                true => "the account fits several persons, one of whom is to have none".to_owned(),
                false => "the account fits several persons".to_owned(),
            },
        });
    }

    /// Concludes. What is missing and what is nobody's is known only when the listing was whole.
    pub fn finish(mut self, end: ListingEnd, at: DateTime<Utc>) -> Report {
        let end = end.and_then(|complete| complete.of(&self.connector, self.accounts));
        let mut counts = Counts {
            intents: self.index.kept.len() as u64,
            accounts: self.accounts,
            repeated: self.repeated,
            protected: self.protected,
            ..Counts::default()
        };
        let mut findings = std::mem::take(&mut self.findings);
        for orphan in std::mem::take(&mut self.orphans) {
            let action = match self.settings.orphans {
                OrphanPolicy::Disable if orphan.active => Action::Disable,
                _ => Action::Ask,
            };
            let priority = if orphan.active { Priority::Medium } else { Priority::Low };
            findings.push(orphan_of(
                orphan,
                Vec::new(),
                action,
                priority,
                "no person on record has this account",
            ));
        }
        for (kept, found) in self.index.kept.iter().zip(std::mem::take(&mut self.matches)) {
            match found {
                Match::Sound { active, .. } => counts.sound(active),
                Match::Several(candidates) => conclude(kept, candidates, &mut findings, &mut counts),
                // Who was not seen may be in the part that was not listed.
                Match::Nobody if end.is_err() => {}
                Match::Nobody => match kept.standing {
                    Standing::Revoked { .. } => counts.sound(false),
                    Standing::Active => findings.push(missing(kept, self.index.is_contested(kept))),
                },
            }
        }
        let incomplete = match end {
            Ok(_) => {
                hold_unusual(&self.settings, &counts, &mut findings);
                None
            }
            Err(incomplete) => {
                for finding in &mut findings {
                    finding.action = Action::Ask;
                    finding.reason.push_str("; the listing is incomplete");
                }
                Some(incomplete.reason().to_owned())
            }
        };
        findings.sort_by(|one, other| {
            (one.priority, one.situation, &one.persons)
                .cmp(&(other.priority, other.situation, &other.persons))
                .then_with(|| one.accounts.first().map(|a| &a.id).cmp(&other.accounts.first().map(|a| &a.id)))
        });
        for finding in &findings {
            counts.count(finding.situation);
        }
        Report { connector: self.connector, at, incomplete, counts, findings }
    }
}

impl Match {
    fn into_candidate(self, kept: &Kept) -> Option<Candidate> {
        let Self::Sound { user_name, active } = self else { return None };
        let id = kept.account_id.as_deref()?.to_owned();
        Some(Candidate {
            account: AccountName { id, user_name: user_name.map(String::from), active },
            rule: Rule::AccountId,
            differences: Differences::default(),
            contradicts: false,
        })
    }
}

/// Whether the account carries an identifier that is not the person's, although one is on record.
fn contradicts(kept: &Kept, account: &Account) -> bool {
    let other = |on_record: Option<&str>, carried: Option<&str>| match (on_record, carried) {
        (Some(on_record), Some(carried)) => !carried.is_empty() && on_record != carried,
        _ => false,
    };
    other(kept.account_id.as_deref(), Some(&account.id))
        || other(kept.external_id.as_deref(), account.external_id.as_deref())
}

/// What one person's candidates mean.
fn conclude(kept: &Kept, candidates: Vec<Candidate>, findings: &mut Vec<Finding>, counts: &mut Counts) {
    let (strong, weak): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|c| c.rule.is_strong());
    let (owned, lookalikes) = if strong.is_empty() { (weak, Vec::new()) } else { (strong, weak) };
    let revoked = matches!(kept.standing, Standing::Revoked { .. });
    for lookalike in lookalikes {
        let reason = match revoked {
            true => {
                "it has the name or address of a person who is to have none, and is not the account on record"
            }
            false => "it has a person's name or address, and that person has another account",
        };
        let priority = match (lookalike.account.active, revoked) {
            (true, true) => Priority::High,
            (true, false) => Priority::Medium,
            (false, _) => Priority::Low,
        };
        findings.push(orphan_of(lookalike.account, vec![kept.person.clone()], Action::Ask, priority, reason));
    }
    let any_active = owned.iter().any(|candidate| candidate.account.active);
    let sure = owned.len() == 1 && owned.iter().all(|candidate| !candidate.contradicts);
    let Some(first) = owned.first() else { return };
    let rule = Some(first.rule);
    let (priority, situation, action, reason) = match kept.standing {
        Standing::Revoked { .. } if !any_active => return counts.sound(false),
        Standing::Revoked { confirmed_at } => {
            let action = if sure { Action::Disable } else { Action::Ask };
            let doubt = if sure { "" } else { ", and it is not certain that the account is theirs" };
            match confirmed_at {
                Some(at) => (
                    Priority::Critical,
                    Situation::FalseCompletion,
                    action,
                    format!(
                        "the record says revoked, confirmed {}; the application says active{doubt}",
                        at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
                    ),
                ),
                None if sure => (
                    Priority::High,
                    Situation::Drifted,
                    action,
                    "access is to be revoked and the account is still active".to_owned(),
                ),
                None => (
                    Priority::High,
                    Situation::Disputed,
                    action,
                    format!("access is to be revoked and an account is active{doubt}"),
                ),
            }
        }
        Standing::Active if owned.len() > 1 => {
            (Priority::Medium, Situation::Disputed, Action::Ask, "several accounts fit the person".to_owned())
        }
        Standing::Active if !sure => (
            Priority::Medium,
            Situation::Disputed,
            Action::Ask,
            "the account that fits carries another identifier than the one on record".to_owned(),
        ),
        Standing::Active if first.rule == Rule::ExternalId && kept.account_id.is_none() => (
            Priority::Low,
            Situation::Unlinked,
            Action::Link,
            "the account carries the identifier that was given to it".to_owned(),
        ),
        Standing::Active if !first.rule.is_strong() => (
            Priority::Low,
            Situation::Unlinked,
            Action::Adopt,
            "it is the only account with the person's name or address".to_owned(),
        ),
        Standing::Active if first.differences.is_empty() => return counts.sound(first.account.active),
        Standing::Active => {
            (Priority::Low, Situation::Drifted, Action::Correct, "it is not as intended".to_owned())
        }
    };
    let differences = if owned.len() == 1 { first.differences.clone() } else { Differences::default() };
    findings.push(Finding {
        priority,
        situation,
        action,
        persons: vec![kept.person.clone()],
        accounts: owned.into_iter().take(CANDIDATES_MAX).map(|candidate| candidate.account).collect(),
        rule,
        differences,
        reason,
    });
}

fn missing(kept: &Kept, contested: bool) -> Finding {
    let (action, reason) = match (contested, kept.account_id.is_some()) {
        (true, _) => (
            Action::Ask,
            "no account is theirs, and one that may not be has their name, address or identifier",
        ),
        (false, true) => (Action::Recreate, "the account on record is gone"),
        (false, false) => (Action::Recreate, "there is no account"),
    };
    Finding {
        priority: Priority::Medium,
        situation: Situation::Missing,
        action,
        persons: vec![kept.person.clone()],
        accounts: Vec::new(),
        rule: None,
        differences: Differences::default(),
        reason: reason.to_owned(),
    }
}

fn orphan_of(
    account: AccountName,
    persons: Vec<crate::id::PersonId>,
    action: Action,
    priority: Priority,
    reason: &str,
) -> Finding {
    Finding {
        priority,
        situation: Situation::Orphan,
        action,
        persons,
        accounts: vec![account],
        rule: None,
        differences: Differences::default(),
        reason: reason.to_owned(),
    }
}

/// Proposes nothing about a whole kind when there is unusually much of it.
fn hold_unusual(settings: &Settings, counts: &Counts, findings: &mut [Finding]) {
    for (situation, whole) in [(Situation::Missing, counts.intents), (Situation::Orphan, counts.accounts)] {
        let some = findings.iter().filter(|finding| finding.situation == situation).count() as u64;
        let limit = whole.saturating_mul(u64::from(settings.unusual_percent)) / 100;
        if some <= settings.unusual_min || some <= limit {
            continue;
        }
        for finding in findings.iter_mut().filter(|finding| finding.situation == situation) {
            if finding.action != Action::Ask {
                finding.action = Action::Ask;
                finding.reason.push_str("; unusually many are");
            }
        }
    }
}

fn name(account: &Account) -> AccountName {
    AccountName { id: account.id.clone(), user_name: account.user_name.clone(), active: account.active }
}
