//! Watched policy files.

use std::sync::mpsc::channel;

use session_filter::source::{FileError, FileEvent};
use session_filter::{FilePolicy, PolicySource, Target, User};

const IDS: &str = "[[permit]]\nusers=['alice']\ntargets=['*']\ncommands=['id']\n";
const DFS: &str = "[[permit]]\nusers=['alice']\ntargets=['*']\ncommands=['df']\n";

fn may(source: &FilePolicy, line: &str) -> bool {
    source.policy().check(&User::new("alice"), &Target::new("web-1"), line).is_allowed()
}

#[test]
fn a_change_comes_into_force_and_a_mistake_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.toml");
    std::fs::write(&path, IDS).unwrap();
    let (events, happened) = channel();
    let source = FilePolicy::open_with(&path, move |event| {
        let _ = events.send(match event {
            FileEvent::Replaced(policy) => Ok(policy.digest().to_owned()),
            FileEvent::Rejected(error) => Err(error.to_string()),
            _ => unreachable!(),
        });
    })
    .unwrap();
    assert!(may(&source, "id") && !may(&source, "df"));
    let before = source.version();

    std::fs::write(&path, DFS).unwrap();
    assert_eq!(happened.recv().unwrap().unwrap(), source.policy().digest());
    assert!(may(&source, "df") && !may(&source, "id"));
    assert_ne!(source.version(), before);
    assert_eq!(futures::executor::block_on(source.changed(before)), source.version());

    std::fs::write(&path, "[[permit]]\nusers = alice\n").unwrap();
    let rejected = happened.recv().unwrap().unwrap_err();
    assert!(rejected.contains("line 2, column 9: "), "{rejected}");
    assert!(may(&source, "df"), "the old policy stays in force");
    assert!(matches!(source.last_error().as_deref(), Some(FileError::Mistakes { .. })));

    std::fs::remove_file(&path).unwrap();
    assert!(happened.recv().unwrap().unwrap_err().contains("is missing"));
    assert!(may(&source, "df"));
    assert!(matches!(source.last_error().as_deref(), Some(FileError::Missing { .. })));

    let beside = directory.path().join("new.toml");
    std::fs::write(&beside, IDS).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    assert!(happened.recv().unwrap().is_ok());
    assert!(may(&source, "id"));
    assert!(source.last_error().is_none());
}

#[test]
fn refuses_to_start_without_a_policy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.toml");
    assert!(matches!(FilePolicy::open(&path), Err(FileError::Missing { .. })));
    assert!(matches!(FilePolicy::open(directory.path()), Err(FileError::NotAFile { .. })));
    std::fs::write(&path, b"# \xff").unwrap();
    assert!(matches!(FilePolicy::open(&path), Err(FileError::NotUtf8 { .. })));
    std::fs::write(&path, "permit = 1").unwrap();
    assert!(matches!(FilePolicy::open(&path), Err(FileError::Mistakes { .. })));
    std::fs::write(&path, vec![b'#'; session_filter::limits::POLICY_BYTES_MAX + 1]).unwrap();
    assert!(matches!(FilePolicy::open(&path), Err(FileError::TooLong { .. })));
}
