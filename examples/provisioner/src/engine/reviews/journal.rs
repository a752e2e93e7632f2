//! Campaigns on disk: each as it was at the last start, and a line for every step since.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use connector_health::review::{
    Access, Campaign, Decision, ItemKey, Notice, Observed, Record, ReviewError, SnapshotHash,
};
use connector_health::{CampaignId, ConnectorId, PersonId};
use serde::{Deserialize, Serialize};

use super::EngineError;
use crate::files;

/// What is done with a campaign. The same steps at the same times make the same campaign.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    Decide {
        item: ItemKey,
        by: PersonId,
        snapshot: SnapshotHash,
        decision: Decision,
    },
    Assign {
        item: ItemKey,
        to: PersonId,
        by: PersonId,
        reason: String,
    },
    Confirm {
        item: ItemKey,
    },
    Fail {
        item: ItemKey,
        why: String,
    },
    /// An application shows it, as it is now.
    Observe {
        access: Box<Access>,
    },
    /// An application shows it no more.
    Gone {
        item: ItemKey,
    },
    Sign {
        by: PersonId,
    },
    AllowRevokes {
        by: PersonId,
        revokes: u64,
        reason: String,
    },
    Cancel {
        by: PersonId,
        reason: String,
    },
    /// Time has passed.
    Tick,
}

/// What followed from a step.
#[derive(Default)]
pub(super) struct Followed {
    pub(super) record: Option<Record>,
    pub(super) notices: Vec<Notice>,
}

impl Step {
    /// Nothing has changed after an error.
    pub(super) fn apply(&self, campaign: &mut Campaign, at: DateTime<Utc>) -> Result<Followed, ReviewError> {
        let record = match self {
            Self::Decide { item, by, snapshot, decision } => {
                Some(campaign.decide(item, by, snapshot, decision.clone(), at)?.0)
            }
            Self::Assign { item, to, by, reason } => Some(campaign.assign(item, to, by, reason, at)?),
            Self::Confirm { item } => Some(campaign.revoke_confirmed(item, at)?),
            Self::Fail { item, why } => Some(campaign.revoke_failed(item, why, at)?),
            Self::Observe { access } => match campaign.observe((**access).clone(), at) {
                Observed::PresentedAgain(record) => Some(*record),
                _ => None,
            },
            Self::Gone { item } => Some(campaign.observe_gone(item, at)?),
            Self::AllowRevokes { by, revokes, reason } => {
                campaign.approve_revokes(by, *revokes, reason)?;
                None
            }
            Self::Sign { by } => {
                campaign.sign(by, at)?;
                None
            }
            Self::Cancel { by, reason } => {
                campaign.cancel(by, reason)?;
                None
            }
            Self::Tick => return Ok(Followed { record: None, notices: campaign.tick(at) }),
        };
        Ok(Followed { record, notices: Vec::new() })
    }
}

/// What was listed at one connector for a campaign.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Listed {
    pub(crate) accounts: u64,
    pub(crate) rights: u64,
    /// Accounts with rights that are nobody's: nobody can be asked about these.
    pub(crate) of_nobody: u64,
}

/// A campaign, and how it came about.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Kept {
    pub(super) campaign: Campaign,
    pub(super) listed: BTreeMap<ConnectorId, Listed>,
    /// By which recurring review, and for when.
    pub(super) series: Option<(String, DateTime<Utc>)>,
    /// Steps that are in it already.
    applied: u64,
}

#[derive(Deserialize, Serialize)]
struct Line {
    number: u64,
    at: DateTime<Utc>,
    step: Step,
}

/// A campaign that is kept.
pub(super) struct OnDisk {
    pub(super) kept: Kept,
    file: PathBuf,
    journal: File,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EngineError + use<> {
    let path = path.to_owned();
    move |source| EngineError::File { what, path, source }
}

impl OnDisk {
    /// Durable on return.
    pub(super) fn create(
        dir: &Path,
        campaign: Campaign,
        listed: BTreeMap<ConnectorId, Listed>,
        series: Option<(String, DateTime<Utc>)>,
    ) -> Result<Self, EngineError> {
        let file = dir.join(format!("{}.json", campaign.id()));
        let kept = Kept { campaign, listed, series, applied: 0 };
        files::private_file(&file.with_extension("steps"), b"")?;
        files::keep(&file, &kept)?;
        Self::with_journal(kept, file)
    }

    /// As a crash left it.
    pub(super) fn open(file: PathBuf) -> Result<Self, EngineError> {
        let unreadable = |why: String| {
            failed("cannot read", &file)(std::io::Error::new(std::io::ErrorKind::InvalidData, why))
        };
        let mut kept: Kept = files::kept(&file)?.ok_or_else(|| unreadable("it is gone".to_owned()))?;
        let journal = file.with_extension("steps");
        let text = match std::fs::read_to_string(&journal) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.map_err(failed("cannot read", &journal))?,
        };
        // Whoever sent a step whose line was torn by a crash got no answer, and sends it again.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let line: Line = serde_json::from_str(line).map_err(|error| unreadable(error.to_string()))?;
            if line.number <= kept.applied {
                continue;
            }
            line.step
                .apply(&mut kept.campaign, line.at)
                .map_err(|error| unreadable(format!("step {}: {error}", line.number)))?;
            kept.applied = line.number;
        }
        if !text.is_empty() {
            files::keep(&file, &kept)?;
            files::private_file(&journal, b"")?;
        }
        Self::with_journal(kept, file)
    }

    fn with_journal(kept: Kept, file: PathBuf) -> Result<Self, EngineError> {
        let path = file.with_extension("steps");
        let journal =
            std::fs::OpenOptions::new().append(true).open(&path).map_err(failed("cannot write", &path))?;
        Ok(Self { kept, file, journal })
    }

    /// Writes down a step that was applied. Durable on return; after an error nothing is known: read it again.
    pub(super) fn note(&mut self, step: Step, at: DateTime<Utc>) -> Result<(), EngineError> {
        let number = self.kept.applied.saturating_add(1);
        let mut line = serde_json::to_string(&Line { number, at, step })
            .map_err(|error| failed("cannot write", &self.file)(error.into()))?;
        line.push('\n');
        self.journal
            .write_all(line.as_bytes())
            .and_then(|()| self.journal.sync_data())
            .map_err(failed("cannot write", &self.file))?;
        self.kept.applied = number;
        Ok(())
    }

    /// Takes back what was not written down.
    pub(super) fn again(&mut self) -> Result<(), EngineError> {
        *self = Self::open(self.file.clone())?;
        Ok(())
    }
}

/// The campaigns of a directory.
#[derive(Default)]
pub(super) struct All {
    pub(super) campaigns: BTreeMap<CampaignId, OnDisk>,
    /// Names of those whose files make no sense, and why.
    pub(super) unreadable: Vec<(String, String)>,
}

/// Where a campaign is put that cannot be read: nothing is written over it, and each start tells of it.
const UNREADABLE: &str = "unreadable";

/// Those of a directory. One that makes no sense is put aside: the others go on.
pub(super) fn all(dir: &Path) -> Result<All, EngineError> {
    let entries = std::fs::read_dir(dir).map_err(failed("cannot read", dir))?;
    let mut all = All::default();
    for entry in entries {
        let path = entry.map_err(failed("cannot read", dir))?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => match OnDisk::open(path.clone()) {
                Ok(campaign) => drop(all.campaigns.insert(campaign.kept.campaign.id().clone(), campaign)),
                Err(EngineError::File { source, .. }) if is_nonsense(&source) => {
                    let aside = path.with_extension(UNREADABLE);
                    std::fs::rename(&path, &aside).map_err(failed("cannot put aside", &path))?;
                    let steps = path.with_extension("steps");
                    if steps.exists() {
                        std::fs::rename(&steps, path.with_extension("unreadable-steps"))
                            .map_err(failed("cannot put aside", &steps))?;
                    }
                    all.unreadable.push((name, format!("`{}`: {source}", aside.display())));
                }
                Err(error) => return Err(error),
            },
            Some(UNREADABLE) => {
                all.unreadable.push((name, format!("`{}` was put aside earlier", path.display())));
            }
            _ => {}
        }
    }
    all.unreadable.sort();
    all.unreadable.dedup_by(|later, first| later.0 == first.0);
    Ok(all)
}

/// Whether it is what was read that is wrong, rather than that it could not be read.
fn is_nonsense(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use connector_health::Right;
    use connector_health::review::{ItemState, Phase, ReviewerRule, RevokeGuard, Settings, Undecided};

    use super::*;

    fn campaign() -> Campaign {
        let id = |name: &str| PersonId::new(name).unwrap();
        let now = Utc::now();
        let access = ["ann", "bo"].map(|person| Access {
            person: id(person),
            right: Right {
                connector: ConnectorId::new("crm").unwrap(),
                entitlement: connector_health::EntitlementId::new("admins").unwrap(),
            },
            account: None,
            justification: Some("as HR says".to_owned()),
            granted_by: None,
            granted_at: None,
            valid_until: None,
            last_review: None,
            last_use: None,
            manager: Some(id("boss")),
            owner: None,
        });
        let settings = Settings {
            name: "Q1".to_owned(),
            owner: id("ciso"),
            due_at: now + chrono::TimeDelta::days(7),
            reviewers: vec![ReviewerRule::Manager],
            remind_days: [].into(),
            escalations: Vec::new(),
            undecided: Undecided::Waits,
            guard: RevokeGuard::default(),
        };
        Campaign::start(CampaignId::new("q1").unwrap(), settings, access, now).unwrap()
    }

    fn decide(on_disk: &mut OnDisk, number: usize, decision: Decision) {
        let item = on_disk.kept.campaign.items().nth(number).unwrap().clone();
        let by = PersonId::new("boss").unwrap();
        let step = Step::Decide { item: item.access.key(), by, snapshot: item.snapshot, decision };
        let now = Utc::now();
        step.apply(&mut on_disk.kept.campaign, now).unwrap();
        on_disk.note(step, now).unwrap();
    }

    #[test]
    fn every_step_outlives_a_crash_and_a_torn_one_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut on_disk = OnDisk::create(dir.path(), campaign(), BTreeMap::new(), None).unwrap();
        decide(&mut on_disk, 0, Decision::Approve { reason: None });
        decide(&mut on_disk, 1, Decision::Revoke { reason: "moved".to_owned() });
        let steps = dir.path().join("q1.steps");
        let whole = std::fs::read(&steps).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        // Cut after each byte: a step is there whole or not at all, and the next run goes on from it.
        for cut in 0..=whole.len() {
            let copy = tempfile::tempdir().unwrap();
            std::fs::copy(dir.path().join("q1.json"), copy.path().join("q1.json")).unwrap();
            std::fs::write(copy.path().join("q1.steps"), &whole[..cut]).unwrap();
            let mut campaigns = all(copy.path()).unwrap().campaigns;
            let (_, on_disk) = campaigns.pop_first().unwrap();
            let campaign = &on_disk.kept.campaign;
            let steps = [second, whole.len()].iter().filter(|end| cut >= **end).count();
            assert_eq!(campaign.progress(Utc::now()).decisions_made, steps as u64, "cut at {cut}");
            assert_eq!(campaign.phase() == Phase::Remediation, steps == 2);
            drop(on_disk);
            assert_eq!(std::fs::metadata(copy.path().join("q1.steps")).unwrap().len(), 0);
            // The folded form is read again, and a crash between folding and emptying does no harm.
            std::fs::write(copy.path().join("q1.steps"), &whole[..cut]).unwrap();
            let (_, again) = all(copy.path()).unwrap().campaigns.pop_first().unwrap();
            assert_eq!(again.kept.campaign.progress(Utc::now()).decisions_made, steps as u64);
        }
        drop(on_disk);
        let (_, mut again) = all(dir.path()).unwrap().campaigns.pop_first().unwrap();
        let key = again.kept.campaign.items().nth(1).unwrap().access.key();
        let (step, now) = (Step::Confirm { item: key.clone() }, Utc::now());
        step.apply(&mut again.kept.campaign, now).unwrap();
        // Not written down: taken back.
        again.again().unwrap();
        assert!(matches!(again.kept.campaign.item(&key).unwrap().state, ItemState::Revoking { .. }));
    }

    #[test]
    fn what_is_held_and_what_was_let_go_outlives_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let mut campaign = serde_json::to_value(campaign()).unwrap();
        campaign["settings"]["undecided"] = serde_json::json!({"revoked": {"after_days": 1}});
        campaign["settings"]["guard"] = serde_json::json!({"always_allowed": 1});
        let campaign = serde_json::from_value(campaign).unwrap();
        let mut on_disk = OnDisk::create(dir.path(), campaign, BTreeMap::new(), None).unwrap();
        let late = Utc::now() + chrono::TimeDelta::days(9);
        let ciso = PersonId::new("ciso").unwrap();
        let allow = || Step::AllowRevokes { by: ciso.clone(), revokes: 2, reason: "told".to_owned() };
        let mut held = Vec::new();
        for step in [Step::Tick, allow(), Step::Tick] {
            step.apply(&mut on_disk.kept.campaign, late).unwrap();
            on_disk.note(step, late).unwrap();
            let (_, again) = all(dir.path()).unwrap().campaigns.pop_first().unwrap();
            assert_eq!(again.kept.campaign, on_disk.kept.campaign);
            held.push((again.kept.campaign.revokes_held(), again.kept.campaign.revokes().len()));
            on_disk = again;
        }
        assert_eq!(held, [(Some(2), 0), (Some(2), 0), (None, 2)]);
    }

    #[test]
    fn a_campaign_that_makes_no_sense_is_put_aside_and_told_at_each_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut on_disk = OnDisk::create(dir.path(), campaign(), BTreeMap::new(), None).unwrap();
        decide(&mut on_disk, 0, Decision::Approve { reason: None });
        drop(on_disk);
        // A step that cannot follow from the one before.
        let steps = dir.path().join("q1.steps");
        let line = std::fs::read_to_string(&steps).unwrap();
        std::fs::write(&steps, format!("{line}{}", line.replace("\"number\":1", "\"number\":2"))).unwrap();
        std::fs::write(dir.path().join("torn.json"), b"{").unwrap();
        for _ in 0..2 {
            let all = all(dir.path()).unwrap();
            let names: Vec<&str> = all.unreadable.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!((names, all.campaigns.len()), (vec!["q1", "torn"], 0));
        }
        assert!(dir.path().join("q1.unreadable-steps").exists());
    }
}
