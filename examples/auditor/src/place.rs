//! Where the log and its keys are.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A log directory and, where there is one, its keys directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log: PathBuf,
    pub(crate) keys: Option<PathBuf>,
}

impl Place {
    /// Finds the log in or at `data_dir`. Keys that were named must be there; those beside the log need not.
    pub(crate) fn find(data_dir: Option<&Path>, keys: Option<&Path>) -> Result<Self, Failure> {
        let data_dir = data_dir.ok_or_else(|| {
            Failure::Unusable("say where the log is: `--data-dir DIR` (see `auditor --help`)".into())
        })?;
        let unusable = |text: String| Err(Failure::Unusable(text));
        match std::fs::read_dir(data_dir) {
            Err(error) => {
                return unusable(format!("cannot read directory `{}`: {error}", data_dir.display()));
            }
            Ok(_) if keys.is_some_and(|keys| !keys.is_dir()) => {
                let keys = keys.unwrap_or(data_dir);
                return unusable(format!("there is no keys directory `{}`", keys.display()));
            }
            Ok(_) => {}
        }
        let inside = data_dir.join("audit");
        let (log, beside) = if inside.is_dir() {
            (inside, data_dir.join("keys"))
        } else if is_log(data_dir) {
            let around = data_dir.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
            (data_dir.to_owned(), around.unwrap_or_default().join("keys"))
        } else {
            return unusable(format!(
                "no log in `{}`: it has neither a directory `audit` nor segments of a log",
                data_dir.display()
            ));
        };
        let keys = keys.map(Path::to_owned).or_else(|| Some(beside).filter(|beside| beside.is_dir()));
        Ok(Self { log, keys })
    }
}

/// Whether a directory looks like a log: it has segments, or what a log leaves behind when they were taken away.
fn is_log(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.any(|name| {
        name == "checkpoint" || name == "lock" || (name.starts_with("segment-") && name.ends_with(".log"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(data_dir: &Path, keys: Option<&Path>) -> Option<Place> {
        Place::find(Some(data_dir), keys).ok()
    }

    #[test]
    fn finds_the_log_in_a_data_directory_with_the_keys_beside_it() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(data.path().join("audit")).unwrap();
        let log = data.path().join("audit");
        assert_eq!(find(data.path(), None), Some(Place { log: log.clone(), keys: None }));
        let keys = data.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        assert_eq!(find(data.path(), None), Some(Place { log, keys: Some(keys) }));
    }

    #[test]
    fn a_log_directory_itself_will_do() {
        let data = tempfile::tempdir().unwrap();
        let (log, keys) = (data.path().join("log"), data.path().join("keys"));
        std::fs::create_dir_all(&log).unwrap();
        std::fs::create_dir_all(&keys).unwrap();
        assert_eq!(find(&log, None), None, "an empty directory is no log");
        std::fs::write(log.join("segment-00000000.log"), b"").unwrap();
        let keys = keys.canonicalize().unwrap();
        assert_eq!(find(&log, None), Some(Place { log: log.clone(), keys: Some(keys) }));
    }

    #[test]
    fn what_was_named_must_be_there() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(data.path().join("audit")).unwrap();
        assert_eq!(find(data.path(), Some(&data.path().join("nowhere"))), None);
        assert_eq!(find(&data.path().join("nowhere"), None), None);
        assert!(Place::find(None, None).is_err());
    }
}
