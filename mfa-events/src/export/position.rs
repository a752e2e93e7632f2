//! How far sinks have come.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::TenantId;
use crate::store::Offset;

/// Most bytes of a sink's name; there is at least one.
pub const SINK_NAME_BYTES_MAX: usize = 256;

/// Remembers how far sinks have come.
///
/// An implementor promises that what [`save`](Self::save) has answered survives a power cut, and that [`load`](Self::load) never answers
/// a later position than the last that was saved: events would be passed over.
#[async_trait]
pub trait Positions: Send + Sync {
    /// The last event that this sink has taken of this tenant's; none where it has taken none.
    async fn load(&self, sink: &str, tenant: &TenantId) -> Result<Option<Offset>, PositionError>;

    /// The sink has taken everything up to here.
    async fn save(&self, sink: &str, tenant: &TenantId, to: Offset) -> Result<(), PositionError>;
}

/// Why a position is not known, or not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// It is there, and cannot be read.
    #[error("the position of a sink cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No position is kept under such a name.
    #[error("the name of a sink is 1 to {SINK_NAME_BYTES_MAX} bytes")]
    Name,
    /// It could not be kept.
    #[error("the position of a sink cannot be stored")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub(super) fn is_named(sink: &str) -> Result<(), PositionError> {
    match sink.len() {
        1..=SINK_NAME_BYTES_MAX => Ok(()),
        _ => Err(PositionError::Name),
    }
}

/// Positions for as long as the process lives; afterwards everything that is retained is sent again.
#[derive(Debug, Default)]
pub struct MemoryPositions(Mutex<HashMap<(String, TenantId), Offset>>);

#[async_trait]
impl Positions for MemoryPositions {
    async fn load(&self, sink: &str, tenant: &TenantId) -> Result<Option<Offset>, PositionError> {
        let positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(positions.get(&(sink.to_owned(), tenant.clone())).copied())
    }

    async fn save(&self, sink: &str, tenant: &TenantId, to: Offset) -> Result<(), PositionError> {
        let mut positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        positions.insert((sink.to_owned(), tenant.clone()), to);
        Ok(())
    }
}

/// Positions in a directory, a small file for each sink and tenant, replaced as a whole.
#[derive(Clone, Debug)]
pub struct FilePositions {
    dir: PathBuf,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Position {
    sink: String,
    tenant: TenantId,
    offset: Offset,
}

/// A position is a few hundred bytes; each byte of the names may take six.
const POSITION_BYTES_MAX: u64 = 4_096;
const _: () =
    assert!(6 * (SINK_NAME_BYTES_MAX + crate::id::ID_BYTES_MAX) + 100 < 4_096, "what is written is read");

impl FilePositions {
    /// In this directory, which is made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Names of sinks and tenants may hold anything, a path included: the file has their hash, and says whose it is.
    fn path(&self, sink: &str, tenant: &TenantId) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(u64::try_from(sink.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(sink);
        hash.update(tenant.as_str());
        let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("{name}.json"))
    }
}

#[async_trait]
impl Positions for FilePositions {
    async fn load(&self, sink: &str, tenant: &TenantId) -> Result<Option<Offset>, PositionError> {
        is_named(sink)?;
        let (path, sink, tenant) = (self.path(sink, tenant), sink.to_owned(), tenant.clone());
        let read = tokio::task::spawn_blocking(move || -> io::Result<Option<Offset>> {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut text = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, POSITION_BYTES_MAX), &mut text)?;
            let position: Position = serde_json::from_slice(&text)?;
            if position.sink != sink || position.tenant != tenant {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is another sink's"));
            }
            Ok(Some(position.offset))
        });
        read.await
            .map_err(|error| PositionError::Unreadable(error.into()))?
            .map_err(|error| PositionError::Unreadable(error.into()))
    }

    async fn save(&self, sink: &str, tenant: &TenantId, to: Offset) -> Result<(), PositionError> {
        is_named(sink)?;
        let (path, dir) = (self.path(sink, tenant), self.dir.clone());
        let position = Position { sink: sink.to_owned(), tenant: tenant.clone(), offset: to };
        let written =
            tokio::task::spawn_blocking(move || replace(&dir, &path, &serde_json::to_vec(&position)?));
        written
            .await
            .map_err(|error| PositionError::Failed(error.into()))?
            .map_err(|error| PositionError::Failed(error.into()))
    }
}

/// A reader sees the old text or the new one, after a power cut as well.
fn replace(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(dir)?.sync_all()
}
