use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;
use vault_core::audit::Outcome;
use vault_core::id::IdError;
use vault_core::vault::{SecretError, VersionState};
use vault_core::{Effect, Expected, Kind, Secret, SecretPath, SecretString, Write, limits};

use crate::fixture::{Fixture, at, by, password, path};

#[tokio::test]
async fn every_kind_comes_back_as_it_went_in() {
    let fixture = Fixture::new().await;
    let fields =
        [("user", "admin"), ("password", "hunter2"), ("", "")].map(|(n, v)| (n.to_owned(), v.into()));
    let secrets = [
        (Kind::Password, password("hunter2")),
        (Kind::Password, password("")),
        (Kind::SshKey, Secret::SshKey { private_key: "-----BEGIN".into(), public_key: None }),
        (
            Kind::SshKey,
            Secret::SshKey {
                private_key: "-----BEGIN".into(), public_key: Some("ssh-ed25519 …".to_owned())
            },
        ),
        (Kind::Certificate, Secret::Certificate { chain: "pem\npem".to_owned(), private_key: "pem".into() }),
        (Kind::ApiToken, Secret::ApiToken("tök\0en".into())),
        (Kind::KeyValue, Secret::KeyValue(BTreeMap::from(fields))),
        (Kind::KeyValue, Secret::KeyValue(BTreeMap::new())),
    ];
    for (number, (kind, secret)) in secrets.into_iter().enumerate() {
        let path = path(&format!("kinds/{number}"));
        fixture.vault.write(&path, secret.clone(), &by("alice"), at(1)).await.unwrap();
        assert_eq!(fixture.vault.read(&path, &by("alice"), at(2)).await.unwrap(), secret);
        let described = fixture.vault.describe(&path, &by("alice"), at(3)).await.unwrap();
        assert_eq!(described.versions[&1].kind, kind);
        assert_eq!(described.versions[&1].created_by.as_str(), "alice");
        // And in another process.
        assert_eq!(fixture.reopened().await.read(&path, &by("alice"), at(4)).await.unwrap(), secret);
    }
}

#[tokio::test]
async fn versions_count_up_and_the_oldest_go() {
    let fixture = Fixture::new().await;
    let (vault, path, alice) = (&fixture.vault, path("a/b"), by("alice"));
    for number in 1..=5u32 {
        let write = Write::of(password(&number.to_string())).versions_max(3);
        assert_eq!(vault.write(&path, write, &alice, at(number.into())).await.unwrap(), number);
    }
    assert_eq!(vault.read(&path, &alice, at(9)).await.unwrap(), password("5"));
    assert_eq!(vault.read_version(&path, 3, &alice, at(9)).await.unwrap(), password("3"));
    for gone in [0, 1, 2, 6] {
        let error = vault.read_version(&path, gone, &alice, at(9)).await.unwrap_err();
        assert!(matches!(error, SecretError::NoVersion { version } if version == gone), "{error:?}");
    }
    for impossible in [0, limits::VERSIONS_MAX + 1] {
        let write = Write::of(password("x")).versions_max(impossible);
        assert!(matches!(vault.write(&path, write, &alice, at(9)).await, Err(SecretError::TooLarge(_))));
    }
}

#[tokio::test]
async fn check_and_set_lets_one_through() {
    let fixture = Fixture::new().await;
    let (vault, path, alice) = (&fixture.vault, path("a"), by("alice"));
    let put = async |text: &str, expected| {
        vault.write(&path, Write::of(password(text)).expecting(expected), &alice, at(1)).await
    };
    assert!(matches!(put("x", Expected::Version(1)).await, Err(SecretError::Unexpected { newest: None })));
    put("1", Expected::Absent).await.unwrap();
    assert!(matches!(put("x", Expected::Absent).await, Err(SecretError::Unexpected { newest: Some(1) })));
    let (a, b) = tokio::join!(put("a", Expected::Version(1)), put("b", Expected::Version(1)));
    assert!(a.is_ok() != b.is_ok());
    let stands = if a.is_ok() { "a" } else { "b" };
    assert_eq!(vault.read(&path, &alice, at(2)).await.unwrap(), password(stands));
}

#[tokio::test]
async fn writers_side_by_side_lose_nothing() {
    let fixture = Fixture::new().await;
    let (path, alice) = (path("a"), by("alice"));
    let writers = (0..40).map(|number| {
        let (vault, path, alice) = (fixture.vault.clone(), path.clone(), alice.clone());
        let write = Write::of(password(&number.to_string())).versions_max(100);
        tokio::spawn(async move { vault.write(&path, write, &alice, at(number)).await.unwrap() })
    });
    let mut numbers = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        numbers.push(writer.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn deleted_comes_back_and_destroyed_does_not() {
    let fixture = Fixture::new().await;
    let (vault, path, alice) = (&fixture.vault, path("a"), by("alice"));
    vault.write(&path, password("1"), &alice, at(1)).await.unwrap();
    vault.write(&path, password("2"), &alice, at(2)).await.unwrap();
    vault.delete(&path, &[2], &alice, at(3)).await.unwrap();
    assert!(matches!(vault.read(&path, &alice, at(4)).await, Err(SecretError::Deleted)));
    assert_eq!(vault.read_version(&path, 1, &alice, at(4)).await.unwrap(), password("1"));
    vault.undelete(&path, &[2], &alice, at(5)).await.unwrap();
    assert_eq!(vault.read(&path, &alice, at(6)).await.unwrap(), password("2"));
    vault.destroy(&path, &[2], &alice, at(7)).await.unwrap();
    vault.destroy(&path, &[2], &alice, at(8)).await.unwrap();
    assert!(matches!(vault.read(&path, &alice, at(9)).await, Err(SecretError::Destroyed)));
    assert!(matches!(vault.undelete(&path, &[2], &alice, at(9)).await, Err(SecretError::Destroyed)));
    let described = vault.describe(&path, &alice, at(9)).await.unwrap();
    assert_eq!(described.versions[&2].state, VersionState::Destroyed(at(7)));
    assert!(matches!(
        vault.delete(&path, &[1, 7], &alice, at(9)).await,
        Err(SecretError::NoVersion { version: 7 })
    ));
    assert_eq!(vault.read_version(&path, 1, &alice, at(9)).await.unwrap(), password("1"), "all or none");
    // A destroyed version's number is not used again.
    assert_eq!(vault.write(&path, password("3"), &alice, at(9)).await.unwrap(), 3);
    vault.remove(&path, &alice, at(10)).await.unwrap();
    assert!(matches!(vault.read(&path, &alice, at(11)).await, Err(SecretError::Absent)));
    assert!(matches!(vault.remove(&path, &alice, at(11)).await, Err(SecretError::Absent)));
    let rows = vault_core::Store::scan(&fixture.store, b"", None, 100).await.unwrap();
    assert_eq!(rows.len(), 1, "the header alone is left");
}

#[tokio::test]
async fn what_has_expired_is_not_read() {
    let fixture = Fixture::new().await;
    let (vault, path, alice) = (&fixture.vault, path("a"), by("alice"));
    vault.write(&path, Write::of(password("x")).expires_at(at(100)), &alice, at(1)).await.unwrap();
    vault.read(&path, &alice, at(100) - TimeDelta::milliseconds(1)).await.unwrap();
    let records = fixture.records();
    assert!(matches!(vault.read(&path, &alice, at(100)).await, Err(SecretError::Expired)));
    assert_eq!(fixture.told(records), [("secret.read".to_owned(), Outcome::Blocked, Some("expired"))]);
}

#[tokio::test]
async fn ten_mebibytes_are_refused_by_name() {
    let fixture = Fixture::new().await;
    let (vault, path, alice) = (&fixture.vault, path("a"), by("alice"));
    let most = limits::SECRET_BYTES_MAX - 5;
    vault.write(&path, password(&"x".repeat(most)), &alice, at(1)).await.unwrap();
    for bytes in [most + 1, 10 << 20] {
        let error = vault.write(&path, password(&"x".repeat(bytes)), &alice, at(2)).await.unwrap_err();
        assert!(error.to_string().contains("SECRET_BYTES_MAX"), "{error}");
        assert_eq!(error.effect(), Effect::None);
    }
    let field = |name: String| Secret::KeyValue(BTreeMap::from([(name, SecretString::from("x"))]));
    let error = vault.write(&path, field("n".repeat(257)), &alice, at(3)).await.unwrap_err();
    assert!(error.to_string().contains("FIELD_NAME_BYTES_MAX"), "{error}");
    let many = (0..257).map(|n| (n.to_string(), SecretString::from("x"))).collect();
    let error = vault.write(&path, Secret::KeyValue(many), &alice, at(3)).await.unwrap_err();
    assert!(error.to_string().contains("FIELDS_MAX"), "{error}");
    assert_eq!(vault.describe(&path, &alice, at(4)).await.unwrap().newest, 1);
}

#[tokio::test]
async fn labels_are_bounded_and_beside_the_secret() {
    let fixture = Fixture::new().await;
    let (vault, path, alice) = (&fixture.vault, path("a"), by("alice"));
    let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    assert!(matches!(vault.label(&path, label("a", "b"), &alice, at(1)).await, Err(SecretError::Absent)));
    vault.write(&path, password("x"), &alice, at(1)).await.unwrap();
    vault.label(&path, label("owner", "team-db"), &alice, at(2)).await.unwrap();
    assert_eq!(vault.describe(&path, &alice, at(3)).await.unwrap().labels, label("owner", "team-db"));
    vault.write(&path, password("y"), &alice, at(4)).await.unwrap();
    assert_eq!(vault.describe(&path, &alice, at(5)).await.unwrap().labels, label("owner", "team-db"));
    let long = vault.label(&path, label("a", &"b".repeat(513)), &alice, at(6)).await.unwrap_err();
    assert!(long.to_string().contains("LABEL_BYTES_MAX"));
    let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
    assert!(vault.label(&path, many, &alice, at(6)).await.unwrap_err().to_string().contains("LABELS_MAX"));
}

#[tokio::test]
async fn lists_are_pages_in_order() {
    let fixture = Fixture::new().await;
    let (vault, alice) = (&fixture.vault, by("alice"));
    for name in ["b/2", "a", "b/1", "b", "bc", "c/d/e"] {
        vault.write(&path(name), password("x"), &alice, at(1)).await.unwrap();
    }
    let list = async |prefix: &str, after: Option<SecretPath>, max| {
        let paths = vault.list(prefix, after.as_ref(), max, &alice, at(2)).await.unwrap();
        paths.iter().map(|path| path.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list("", None, 100).await, ["a", "b", "b/1", "b/2", "bc", "c/d/e"]);
    assert_eq!(list("b/", None, 100).await, ["b/1", "b/2"]);
    assert_eq!(list("b", Some(path("b")), 2).await, ["b/1", "b/2"]);
    assert!(list("z", None, 100).await.is_empty());
}

#[test]
fn a_path_is_segments() {
    for good in ["a", "a/b", "ä/…", "a b", &"x".repeat(512)] {
        SecretPath::new(good).unwrap();
    }
    for (bad, why) in [
        ("", IdError::Empty),
        ("/a", IdError::Segment),
        ("a/", IdError::Segment),
        ("a//b", IdError::Segment),
        ("a/../b", IdError::Segment),
        (".", IdError::Segment),
        ("a\0b", IdError::Control),
        ("a\nb", IdError::Control),
        (&"x".repeat(513), IdError::TooLong),
    ] {
        assert_eq!(SecretPath::new(bad).unwrap_err(), why, "{bad:?}");
    }
}

/// What the naive model keeps of a secret.
#[derive(Clone, Debug, Default)]
struct Model {
    newest: u32,
    versions: BTreeMap<u32, (String, Option<i64>, char)>,
}

#[derive(Clone, Debug)]
enum Step {
    Write(String, Option<u32>, Option<i64>),
    Read(Option<u32>),
    Delete(u32),
    Undelete(u32),
    Destroy(u32),
    Remove,
    Rotate,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0u32..6;
    let step = prop_oneof![
        3 => ("[a-z]{0,8}", proptest::option::of(number.clone()), proptest::option::of(0i64..30))
            .prop_map(|(text, expected, expires)| Step::Write(text, expected, expires)),
        3 => proptest::option::of(number.clone()).prop_map(Step::Read),
        1 => number.clone().prop_map(Step::Delete),
        1 => number.clone().prop_map(Step::Undelete),
        1 => number.prop_map(Step::Destroy),
        1 => Just(Step::Remove),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn behaves_like_a_naive_model(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async move {
            let fixture = Fixture::new().await;
            let (mut vault, path, alice) = (fixture.vault.clone(), path("a"), by("alice"));
            let mut model: Option<Model> = None;
            for (time, step) in (0i64..).zip(steps) {
                let now = at(time);
                match step {
                    Step::Write(text, expected, expires) => {
                        let newest = model.as_ref().map(|model| model.newest);
                        let write = Write::of(password(&text)).versions_max(3);
                        let write = match expected {
                            Some(0) => write.expecting(Expected::Absent),
                            Some(version) => write.expecting(Expected::Version(version)),
                            None => write,
                        };
                        let write = match expires { Some(s) => write.expires_at(at(s)), None => write };
                        let done = vault.write(&path, write, &alice, now).await;
                        if expected.is_none_or(|expected| expected == newest.unwrap_or(0)) {
                            let model = model.get_or_insert_default();
                            model.newest += 1;
                            model.versions.insert(model.newest, (text, expires, 'l'));
                            while model.versions.len() > 3 { model.versions.pop_first(); }
                            assert_eq!(done.unwrap(), model.newest);
                        } else {
                            assert!(matches!(done, Err(SecretError::Unexpected { newest: found }) if found == newest));
                        }
                    }
                    Step::Read(version) => {
                        let read = match version {
                            Some(version) => vault.read_version(&path, version, &alice, now).await,
                            None => vault.read(&path, &alice, now).await,
                        };
                        let said = match read {
                            Ok(Secret::Password(text)) => text.expose().to_owned(),
                            Err(SecretError::Absent) => "(absent)".to_owned(),
                            Err(SecretError::NoVersion { .. }) => "(none)".to_owned(),
                            Err(SecretError::Deleted) => "(deleted)".to_owned(),
                            Err(SecretError::Destroyed) => "(destroyed)".to_owned(),
                            Err(SecretError::Expired) => "(expired)".to_owned(),
                            other => panic!("{other:?}"),
                        };
                        let expected = match &model {
                            None => "(absent)".to_owned(),
                            Some(model) => match model.versions.get(&version.unwrap_or(model.newest)) {
                                None => "(none)".to_owned(),
                                Some((_, _, 'd')) => "(deleted)".to_owned(),
                                Some((_, _, 'x')) => "(destroyed)".to_owned(),
                                Some((_, Some(expires), _)) if *expires <= time => "(expired)".to_owned(),
                                Some((text, _, _)) => text.clone(),
                            },
                        };
                        assert_eq!(said, expected);
                    }
                    Step::Delete(version) | Step::Undelete(version) | Step::Destroy(version) => {
                        let to = match step { Step::Delete(_) => 'd', Step::Undelete(_) => 'l', _ => 'x' };
                        let done = match to {
                            'd' => vault.delete(&path, &[version], &alice, now).await,
                            'l' => vault.undelete(&path, &[version], &alice, now).await,
                            _ => vault.destroy(&path, &[version], &alice, now).await,
                        };
                        let known = model.as_mut().and_then(|model| model.versions.get_mut(&version));
                        match known {
                            None => { done.unwrap_err(); }
                            Some((_, _, 'x')) if to == 'l' => assert!(matches!(done, Err(SecretError::Destroyed))),
                            Some((_, _, 'x')) => done.unwrap(),
                            Some(known) => { known.2 = to; done.unwrap(); }
                        }
                    }
                    Step::Remove => assert_eq!(vault.remove(&path, &alice, now).await.is_ok(), model.take().is_some()),
                    Step::Rotate => { vault.rotate_data_key(&alice, now).await.unwrap(); }
                    Step::Reopen => vault = fixture.reopened().await,
                }
            }
        });
    }
}
