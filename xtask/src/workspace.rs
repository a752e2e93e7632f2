//! What cargo says about this workspace.

use std::env;
use std::path::{Path, PathBuf};

use cargo_metadata::{MetadataCommand, TargetKind};

use crate::failure::Failure;

/// The workspace that holds this program.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target_dir: PathBuf,
    library_crates: Vec<String>,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self, Failure> {
        let metadata =
            MetadataCommand::new().manifest_path(own_root().join("Cargo.toml")).no_deps().exec()?;
        let library_crates = metadata
            .workspace_packages()
            .iter()
            .filter(|package| package.publish.as_ref().is_none_or(|registries| !registries.is_empty()))
            .filter(|package| package.targets.iter().any(|target| target.kind.contains(&TargetKind::Lib)))
            .map(|package| package.name.to_string())
            .collect();
        Ok(Self {
            root: metadata.workspace_root.into_std_path_buf(),
            target_dir: metadata.target_directory.into_std_path_buf(),
            library_crates,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target_dir(&self) -> &Path {
        &self.target_dir
    }

    /// The crates that are published.
    pub(crate) fn library_crates(&self) -> &[String] {
        &self.library_crates
    }
}

/// Where the sources are: cargo says it when it runs us; a binary that is run by hand remembers it.
fn own_root() -> PathBuf {
    let own = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let own = PathBuf::from(own);
    own.parent().map_or(own.clone(), Path::to_path_buf)
}

/// Looks for `program` in `PATH` and where Debian keeps servers.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}
