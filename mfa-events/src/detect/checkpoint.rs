//! What a detector was at an offset.

use serde::{Deserialize, Deserializer, Serialize};

use super::alert::Alert;
use super::directory::Directories;
use super::group::HashKey;
use super::lane::Kept;
use super::options::Counters;
use super::reorder::{Arrivals, Reorder};
use super::rule::RuleId;
use crate::id::TenantId;
use crate::store::Offset;

/// What a detector was at an offset, to go on from there.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Checkpoint {
    #[serde(deserialize_with = "own_version")]
    pub(super) version: u32,
    pub(super) tenant: TenantId,
    pub(super) offset: Offset,
    pub(super) clock: Option<i64>,
    pub(super) watermark: i64,
    pub(super) last_ingested: i64,
    pub(super) ticked: i64,
    pub(super) counters: Counters,
    pub(super) key: HashKey,
    pub(super) serial: u64,
    pub(super) sweep: usize,
    pub(super) waiting: Reorder,
    pub(super) arrivals: Arrivals,
    pub(super) untold: Vec<Alert>,
    pub(super) directories: Directories,
    pub(super) rules: Vec<(RuleId, Kept)>,
}

pub(super) const CHECKPOINT_VERSION: u32 = 2;

/// The version stands in front, so that a checkpoint of another one is not told by the first field that differs.
fn own_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        CHECKPOINT_VERSION => Ok(CHECKPOINT_VERSION),
        _ => Err(serde::de::Error::custom(CheckpointError::Version)),
    }
}

/// Why a checkpoint cannot be gone on from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Another version of this crate wrote it: read the log again instead.
    #[error("the checkpoint is of another version")]
    Version,
}

impl Checkpoint {
    /// Whose.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Where to read on.
    pub fn offset(&self) -> Offset {
        self.offset
    }
}
