//! Who is told what happens, and who says which connectors may be used: where a monitor is connected.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::connector::Failure;
use crate::event::Lane;
use crate::id::ConnectorId;
use crate::lane::QueueCounts;
use crate::outbox::OutboxError;

/// What a probe is called in [`Attempted::operation`].
pub const PROBE: &str = "probe";

/// An answer of an application, or none.
#[derive(Clone, Debug)]
pub struct Attempted<'a> {
    /// Which application.
    pub connector: &'a ConnectorId,
    /// What was asked of it: [`PROBE`], or the name of an operation.
    pub operation: &'static str,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
    /// How it failed; `None` where a read confirmed it.
    pub failure: Option<&'a Failure>,
}

/// One pass over the due work of a connector, or a probe where nothing was due.
#[derive(Clone, Debug)]
pub struct Cycle<'a> {
    /// Which.
    pub connector: &'a ConnectorId,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// Events that were confirmed.
    pub delivered: u64,
    /// Events that another one made needless.
    pub superseded: u64,
    /// Attempts that failed, the probe included.
    pub failed: u64,
    /// Whether work that was due is left: the cycle has failed.
    pub left_due: Left,
    /// What waits now.
    pub counts: QueueCounts,
}

/// Whether a cycle has done what was due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Left {
    /// All of it.
    Nothing,
    /// Something is left.
    Some,
}

/// Something that a pass could do nothing about. It is tried again in the next one; the others go on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stuck<'a> {
    /// Which application.
    pub connector: &'a ConnectorId,
    /// Which lane; `None` where the queue of the connector itself cannot be read.
    pub lane: Option<&'a Lane>,
    /// Why.
    pub error: &'a OutboxError,
    /// When.
    pub at: DateTime<Utc>,
}

/// Is told what happens, within the pass: must not block.
pub trait Observer: Send + Sync {
    /// An application answered, or did not.
    fn attempted(&self, attempted: &Attempted<'_>) {
        let _ = attempted;
    }

    /// A pass over a connector ended.
    fn cycle(&self, cycle: &Cycle<'_>) {
        let _ = cycle;
    }

    /// A lane is stuck.
    fn stuck(&self, stuck: &Stuck<'_>) {
        let _ = stuck;
    }

    /// So many leavers are held for somebody's approval now, in all; none where the last one was approved or rejected.
    fn held(&self, connector: &ConnectorId, leavers: u64) {
        let _ = (connector, leavers);
    }

    /// An event of this lane ended, or somebody decided about one: what depends on how its person stands is to be looked at.
    fn settled(&self, lane: &Lane) {
        let _ = lane;
    }
}

/// What may be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Everything.
    Open,
    /// A probe first; everything, leavers first, where it is good.
    Probe,
    /// Nothing, no probe either.
    Stop,
}

/// Says which connectors may be used.
pub trait Gate: Send + Sync {
    /// What may be sent there now.
    fn admission(&self, connector: &ConnectorId, now: DateTime<Utc>) -> Admission;
}

/// Everything may be used. The outbox itself still probes first where a connector failed when last used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Always;

impl Gate for Always {
    fn admission(&self, _: &ConnectorId, _: DateTime<Utc>) -> Admission {
        Admission::Open
    }
}

/// Is told and says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

impl<T: Observer + ?Sized> Observer for std::sync::Arc<T> {
    fn attempted(&self, attempted: &Attempted<'_>) {
        (**self).attempted(attempted);
    }

    fn cycle(&self, cycle: &Cycle<'_>) {
        (**self).cycle(cycle);
    }

    fn stuck(&self, stuck: &Stuck<'_>) {
        (**self).stuck(stuck);
    }

    fn held(&self, connector: &ConnectorId, leavers: u64) {
        (**self).held(connector, leavers);
    }

    fn settled(&self, lane: &Lane) {
        (**self).settled(lane);
    }
}

impl<T: Gate + ?Sized> Gate for std::sync::Arc<T> {
    fn admission(&self, connector: &ConnectorId, now: DateTime<Utc>) -> Admission {
        (**self).admission(connector, now)
    }
}
