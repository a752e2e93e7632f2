//! Detection over a log.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::alert::Alert;
use super::checkpoint::{Checkpoint, CheckpointError};
use super::explain::Explanation;
use super::group::Group;
use super::options::Options;
use super::rule::Rules;
use super::tenant::TenantDetector;
use crate::id::TenantId;
use crate::log::{EventLog, PAGE_EVENTS_MAX, ReadError, Which};
use crate::store::{EventStore, Offset, Record};

/// Most events that [`Detector::advance`] takes in at once: nobody who sends much keeps it from telling what it has found.
pub const ADVANCED_EVENTS_MAX: usize = 16 * PAGE_EVENTS_MAX;

/// What a step through a tenant's log has told.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Advanced {
    /// What opened, grew or closed, in this order.
    pub alerts: Vec<Alert>,
    /// The end of the log was reached. Otherwise there is more to read at once.
    pub is_up_to_date: bool,
    /// After which offset, and up to which one, events were no longer kept: nothing was looked for among them.
    pub lost: Option<(Offset, Offset)>,
}

/// All rules over the events of all tenants, each apart: one [`TenantDetector`] for each.
#[derive(Debug)]
pub struct Detector {
    rules: Rules,
    options: Options,
    tenants: BTreeMap<TenantId, TenantDetector>,
}

impl Detector {
    /// With these rules.
    pub fn new(rules: Rules) -> Self {
        Self::with(rules, Options::default())
    }

    /// With these rules and options.
    pub fn with(rules: Rules, options: Options) -> Self {
        Self { rules, options, tenants: BTreeMap::new() }
    }

    /// Reads a tenant's log on, [`ADVANCED_EVENTS_MAX`] events at most, and tells what follows for alerts.
    ///
    /// Keep the [`checkpoint`](Self::checkpoint) once the alerts are kept. After a crash before that the same alerts come again, under
    /// the same ids.
    ///
    /// Events that retention took before they were looked at are passed over, and [`Advanced::lost`] says which.
    ///
    /// # Errors
    /// Where the log cannot be read. Where that happens on the way, the alerts until then are told, and the error the next time.
    ///
    /// # Cancellation
    /// A future that is dropped has taken in what it has read, and its alerts are lost: go back to the last checkpoint.
    pub async fn advance<S: EventStore>(
        &mut self,
        log: &EventLog<S>,
        tenant: &TenantId,
        now: DateTime<Utc>,
    ) -> Result<Advanced, ReadError> {
        let mut advanced = Advanced::default();
        let mut after = self.offset(tenant);
        let mut events = 0_usize;
        while events < ADVANCED_EVENTS_MAX {
            let page = match log.read(tenant, &Which::All, after, PAGE_EVENTS_MAX).await {
                Ok(page) => page,
                Err(ReadError::Gone { earliest }) if earliest > after => {
                    let from = advanced.lost.map_or(after, |(from, _)| from);
                    advanced.lost = Some((from, earliest));
                    self.of(tenant).pass_over(earliest);
                    after = earliest;
                    continue;
                }
                Err(error) if advanced.alerts.is_empty() && advanced.lost.is_none() => return Err(error),
                Err(_) => return Ok(advanced),
            };
            self.observe(tenant, &page.records, &mut advanced.alerts);
            events = events.saturating_add(page.records.len());
            after = page.next;
            if page.is_up_to_date {
                self.tick(tenant, now, &mut advanced.alerts);
                advanced.is_up_to_date = true;
                break;
            }
        }
        Ok(advanced)
    }

    /// Takes events of a tenant in, in the order of their log.
    pub fn observe(&mut self, tenant: &TenantId, records: &[Record], alerts: &mut Vec<Alert>) {
        self.of(tenant).observe_all(records, alerts);
    }

    /// Says that it is now: see [`TenantDetector::tick`].
    pub fn tick(&mut self, tenant: &TenantId, now: DateTime<Utc>, alerts: &mut Vec<Alert>) {
        self.of(tenant).tick(now, alerts);
    }

    fn of(&mut self, tenant: &TenantId) -> &mut TenantDetector {
        self.tenants
            .entry(tenant.clone())
            .or_insert_with(|| TenantDetector::new(tenant.clone(), &self.rules, self.options.clone()))
    }

    /// Where to read on in a tenant's log.
    pub fn offset(&self, tenant: &TenantId) -> Offset {
        self.tenants.get(tenant).map_or(Offset::START, TenantDetector::offset)
    }

    /// A tenant's, where it has taken in an event.
    pub fn tenant(&self, tenant: &TenantId) -> Option<&TenantDetector> {
        self.tenants.get(tenant)
    }

    /// Why an alert has not opened: see [`TenantDetector::explain`].
    pub fn explain(&self, tenant: &TenantId, rule: &str, group: &Group) -> Option<Explanation> {
        self.tenants.get(tenant)?.explain(rule, group)
    }

    /// What it is now for a tenant.
    pub fn checkpoint(&self, tenant: &TenantId) -> Option<Checkpoint> {
        self.tenants.get(tenant).map(TenantDetector::checkpoint)
    }

    /// Goes on from a checkpoint, in place of what is known of its tenant.
    ///
    /// # Errors
    /// Where another version of this crate wrote it.
    pub fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let tenant = checkpoint.tenant().clone();
        let detector = TenantDetector::restore(checkpoint, &self.rules, self.options.clone())?;
        self.tenants.insert(tenant, detector);
        Ok(())
    }

    /// Its rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}
