use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::id::ActorId;
use crate::kind::Kind;

/// What is known of a secret, without what is in it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// Number of the newest version, whatever became of it. The next one has one more.
    pub newest: u32,
    /// Versions that are kept.
    pub versions: BTreeMap<u32, Version>,
    /// How many are kept.
    pub versions_max: u32,
    /// What somebody wrote beside it. Encrypted, but not treated as secret.
    pub labels: BTreeMap<String, String>,
    /// When the first version was written.
    pub created_at: DateTime<Utc>,
}

/// A version of a secret.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Version {
    /// What it is.
    pub kind: Kind,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: ActorId,
    /// From when on it is not read any more.
    pub expires_at: Option<DateTime<Utc>>,
    /// What became of it.
    pub state: VersionState,
    /// Stands in the version's own row as well: one of an earlier secret on the same path does not fit here.
    mark: String,
}

/// What became of a version.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "at")]
pub enum VersionState {
    /// It can be read.
    Live,
    /// It cannot be read until it is undeleted.
    Deleted(DateTime<Utc>),
    /// It is gone.
    Destroyed(DateTime<Utc>),
}

pub(super) const MARK_BYTES: usize = 16;

impl Version {
    pub(super) fn new(
        kind: Kind,
        created_at: DateTime<Utc>,
        created_by: ActorId,
        expires_at: Option<DateTime<Utc>>,
        mark: &[u8; MARK_BYTES],
    ) -> Self {
        let mark = HEXLOWER.encode(mark);
        Self { kind, created_at, created_by, expires_at, state: VersionState::Live, mark }
    }

    pub(super) fn is_marked(&self, mark: &[u8]) -> bool {
        HEXLOWER.encode(mark) == self.mark
    }
}
