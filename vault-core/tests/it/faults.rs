//! A store that fails at every write in turn: nothing was done, or it is said that nobody knows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use vault_core::store::{Batch, Row};
use vault_core::vault::{HandleError, SealError, Walk};
use vault_core::{
    Effect, Expected, MemoryAudit, MemoryStore, Secret, Store, StoreError, Vault, VaultError, Write,
};

use crate::fixture::{KEY, StaticKey, at, by, password, path};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// Nothing is written, and the store knows.
    Before,
    /// Nothing is written, and the store does not know.
    Lost,
    /// It is written, and the store does not know.
    After,
}

/// Passes everything on, but for one write.
#[derive(Clone)]
pub(crate) struct Failing {
    inside: MemoryStore,
    writes: Arc<AtomicUsize>,
    at: Arc<Mutex<Option<(usize, Failure)>>>,
}

impl Failing {
    pub(crate) fn new(inside: MemoryStore) -> Self {
        Self { inside, writes: Arc::default(), at: Arc::default() }
    }

    pub(crate) fn fail_at(&self, write: usize, failure: Failure) {
        *self.at.lock().unwrap() = Some((write, failure));
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Store for Failing {
    async fn read(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        self.inside.read(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        self.inside.scan(prefix, after, rows_max).await
    }

    async fn generation(&self) -> Result<u64, StoreError> {
        self.inside.generation().await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        let write = self.writes.fetch_add(1, Ordering::SeqCst);
        let failure = self.at.lock().unwrap().filter(|(at, _)| *at == write).map(|(_, failure)| failure);
        match failure {
            None => self.inside.commit(batch).await,
            Some(Failure::Before) => Err(StoreError::Failed("planted".into())),
            Some(Failure::Lost) => Err(StoreError::Unknown("planted".into())),
            Some(Failure::After) => {
                self.inside.commit(batch).await?;
                Err(StoreError::Unknown("planted".into()))
            }
        }
    }
}

/// What a step of the story says of itself.
#[derive(Debug)]
struct Told {
    done: bool,
    effect: Effect,
}

fn told<T, E>(done: Result<T, E>, effect: impl Fn(&E) -> Effect) -> Told {
    match done {
        Ok(_) => Told { done: true, effect: Effect::None },
        Err(error) => Told { done: false, effect: effect(&error) },
    }
}

fn of_seal(error: &SealError) -> Effect {
    match error {
        SealError::Vault(error) => error.effect(),
        _ => Effect::None,
    }
}

/// All that is stored, as somebody sees it who opens the vault anew with either lock.
async fn seen(store: &MemoryStore) -> Vec<String> {
    let copy = store.snapshot();
    let mut lines = vec![];
    let mut opened = None;
    for key in [KEY, StaticKey([2; 32])] {
        // Without records, so that nothing stands in the way.
        if let Ok(vault) =
            Vault::open(copy.clone(), MemoryAudit::new()).unseal(&key, &by("oracle"), at(0)).await
        {
            lines.push(format!("opens with {}", key.0[0]));
            opened = Some(vault);
        }
    }
    let Some(vault) = opened else { return vec!["no vault".to_owned()] };
    lines.push(format!("keys {:?}", vault.data_keys().await.unwrap()));
    for path in vault.list("", None, 100, &by("oracle"), at(0)).await.unwrap() {
        let described = vault.describe(&path, &by("oracle"), at(0)).await.unwrap();
        for (number, version) in described.versions {
            let read = vault.read_version(&path, number, &by("oracle"), at(0)).await;
            lines.push(format!(
                "{path} {number} {:?} {:?}",
                version.state,
                read.map(text).map_err(|e| e.to_string())
            ));
        }
    }
    let rows = copy.scan(b"", None, 1000).await.unwrap();
    lines.extend(
        rows.iter().map(|(key, row)| format!("{} {}", String::from_utf8_lossy(key), row.value.len())),
    );
    // Which data key each row needs: re-encryption changes nothing else.
    lines.extend(rows.iter().map(|(_, row)| format!("{:?}", row.value.get(1..5))));
    lines
}

fn text(secret: Secret) -> String {
    match secret {
        Secret::Password(text) => text.expose().to_owned(),
        other => format!("{:?}", other.kind()),
    }
}

/// One of everything that writes. After each step: what it said, and what is there.
async fn story(store: &Failing, audit: &MemoryAudit) -> Vec<(&'static str, Told, Vec<String>)> {
    let root = by("root");
    let mut steps = Vec::new();
    let sealed = Vault::open(store.clone(), audit.clone());
    macro_rules! step {
        ($name:literal, $done:expr, $effect:expr) => {{
            let told = told($done.await, $effect);
            steps.push(($name, told, seen(&store.inside).await));
        }};
    }
    step!("initialise", sealed.initialise(&KEY, &root, at(0)), of_seal);
    // A vault that sealed itself is opened again, with whichever lock it has.
    let open = async || {
        for key in [KEY, StaticKey([2; 32])] {
            if let Ok(vault) = Vault::open(store.clone(), audit.clone()).unseal(&key, &root, at(1)).await {
                return Some(vault);
            }
        }
        None
    };
    let Some(vault) = open().await else { return steps };
    let (a, b) = (path("a"), path("b"));
    step!("write", vault.write(&a, password("1"), &root, at(1)), |e| e.effect());
    step!("write again", vault.write(&a, Write::of(password("2")).versions_max(2), &root, at(1)), |e| e
        .effect());
    step!("write third", vault.write(&a, password("3"), &root, at(1)), |e| e.effect());
    step!(
        "write other",
        vault.write(&b, Write::of(password("b")).expecting(Expected::Absent), &root, at(1)),
        |e| { e.effect() }
    );
    step!("delete", vault.delete(&b, &[1], &root, at(2)), |e| e.effect());
    step!("destroy", vault.destroy(&a, &[3], &root, at(2)), |e| e.effect());
    let of_handle = |error: &HandleError| match error {
        HandleError::Vault(error) => error.effect(),
        _ => Effect::None,
    };
    let handle = vault.wrap(&password("w"), TimeDelta::minutes(1), &root, at(3)).await;
    let handle = {
        let named = handle.as_ref().ok().cloned();
        steps.push(("wrap", told(handle, of_handle), seen(&store.inside).await));
        named
    };
    if let Some(handle) = &handle {
        step!("unwrap", vault.unwrap_handle(handle, &root, at(4)), of_handle);
    }
    step!("sweep", vault.sweep_handles(10, &root, at(90)), VaultError::effect);
    step!("rotate data key", vault.rotate_data_key(&root, at(5)), |error| match error {
        vault_core::vault::DataKeyError::Vault(error) => error.effect(),
        _ => Effect::None,
    });
    let Some(vault) = open().await else { return steps };
    for _ in 0..4 {
        let mut walk = Walk::default();
        let walked = async {
            loop {
                let walked = vault.reencrypt(&walk, 100, &root, at(6)).await?;
                match walked.next {
                    Some(next) => walk = next,
                    None => return Ok::<_, VaultError>(()),
                }
                if walked.moved > 0 {
                    return Ok(());
                }
            }
        };
        step!("reencrypt", walked, VaultError::effect);
    }
    step!("retire", vault.retire_data_keys(&root, at(7)), |error| match error {
        vault_core::vault::DataKeyError::Vault(error) => error.effect(),
        _ => Effect::None,
    });
    let Some(vault) = open().await else { return steps };
    step!("change lock", vault.rotate_key_encryption_key(&KEY, &StaticKey([2; 32]), &root, at(8)), of_seal);
    let Some(vault) = open().await else { return steps };
    step!("remove", vault.remove(&b, &root, at(9)), |e| e.effect());
    steps
}

#[tokio::test]
async fn at_each_failing_write_the_vault_is_unchanged_or_says_that_it_may_not_be() {
    let whole = Failing::new(MemoryStore::new());
    let undisturbed = story(&whole, &MemoryAudit::new()).await;
    assert!(undisturbed.iter().all(|(name, told, _)| told.done || panic!("{name}: {told:?}")));
    assert!(whole.writes() >= 17, "{} writes", whole.writes());
    for write in 0..whole.writes() {
        for failure in [Failure::Before, Failure::Lost, Failure::After] {
            let store = Failing::new(MemoryStore::new());
            store.fail_at(write, failure);
            let audit = MemoryAudit::new();
            let steps = story(&store, &audit).await;
            let mut before = vec!["no vault".to_owned()];
            let mut failed = 0;
            for (name, told, after) in steps {
                let place = format!("write {write}, {failure:?}, {name}: {told:?}");
                if !told.done && told.effect == Effect::None {
                    assert_eq!(after, before, "{place}: it says that nothing was done");
                }
                if told.effect == Effect::Unknown {
                    failed += 1;
                    let is_changed = failure == Failure::After;
                    assert_eq!(after != before, is_changed, "{place}");
                }
                assert!(after != ["no vault"] || name == "initialise", "{place}: the vault cannot be opened");
                before = after;
            }
            assert_eq!(failed, usize::from(failure != Failure::Before), "write {write}, {failure:?}");
            // The records tell the same.
            let events = audit.events();
            let unknown = events.iter().filter(|event| {
                event.reason == Some("store_failed") && event.outcome == vault_core::audit::Outcome::Unknown
            });
            assert_eq!(
                unknown.count(),
                usize::from(failure != Failure::Before),
                "write {write}, {failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_secret_is_not_handed_out_where_the_handle_may_live_on() {
    for failure in [Failure::Before, Failure::Lost, Failure::After] {
        let store = Failing::new(MemoryStore::new());
        let root = by("root");
        let vault =
            Vault::open(store.clone(), MemoryAudit::new()).initialise(&KEY, &root, at(0)).await.unwrap();
        let handle = vault.wrap(&password("w"), TimeDelta::minutes(1), &root, at(0)).await.unwrap();
        store.fail_at(store.writes(), failure);
        vault.unwrap_handle(&handle, &root, at(1)).await.unwrap_err();
        let second = vault.unwrap_handle(&handle, &root, at(2)).await;
        assert_eq!(second.is_ok(), failure != Failure::After, "{failure:?}: {second:?}");
    }
}
