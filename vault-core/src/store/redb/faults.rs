//! A disk that fails at every call in turn, and then loses what was not synced, or does not.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Builder, StorageBackend};

use super::RedbStore;
use crate::store::{Batch, Effect, Store as _, StoreError};

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    live: Vec<u8>,
    synced: Vec<u8>,
    calls: usize,
    fails_at: Option<usize>,
}

impl Disk {
    fn of(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Platter { live: image.clone(), synced: image, calls: 0, fails_at: None })))
    }

    fn change(&self, change: impl FnOnce(&mut Platter)) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.calls += 1;
        // From then on nothing works any more.
        if platter.fails_at.is_some_and(|at| platter.calls > at) {
            return Err(io::Error::other("planted"));
        }
        change(&mut platter);
        Ok(())
    }

    fn open(&self) -> Result<RedbStore, StoreError> {
        RedbStore::of(Builder::new().create_with_backend(self.clone()), None)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let part = platter.live.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|platter| platter.live.resize(usize::try_from(len).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|platter| platter.synced = platter.live.clone())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        self.change(|platter| platter.live[start..start + data.len()].copy_from_slice(data))
    }
}

fn batch(number: u8) -> Batch {
    Batch::new().put(*b"a", [number]).put([b'n', number], vec![number; 3000]).delete([b'n', number - 1])
}

async fn seen(store: &RedbStore) -> (u64, Vec<(Vec<u8>, Vec<u8>)>) {
    let rows = store.scan(b"", None, 100).await.unwrap();
    (store.generation().await.unwrap(), rows.into_iter().map(|(key, row)| (key, row.value)).collect())
}

#[tokio::test]
async fn at_each_failing_call_of_the_disk_a_commit_happens_whole_or_not_at_all_and_says_so() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    for number in 1..4 {
        store.commit(batch(number)).await.unwrap();
    }
    let before = seen(&store).await;
    // As it is while a process has it open.
    let image = disk.0.lock().unwrap().synced.clone();
    drop(store);
    let after = {
        let store = Disk::of(image.clone()).open().unwrap();
        store.commit(batch(4)).await.unwrap();
        seen(&store).await
    };
    let mut failures = 0;
    for fails_at in 0.. {
        let disk = Disk::of(image.clone());
        let store = disk.open().unwrap();
        {
            let mut platter = disk.0.lock().unwrap();
            platter.fails_at = Some(platter.calls + fails_at);
        }
        let done = store.commit(batch(4)).await;
        if done.is_err() {
            let next = store.commit(batch(5)).await.unwrap_err();
            assert!(matches!(next, StoreError::Stopped), "{fails_at}: {next:?}");
            assert!(matches!(store.read(b"a").await, Err(StoreError::Stopped)));
        }
        let images = {
            let platter = disk.0.lock().unwrap();
            [platter.live.clone(), platter.synced.clone()]
        };
        drop(store);
        for (which, image) in images.into_iter().enumerate() {
            let found = seen(&Disk::of(image).open().unwrap()).await;
            match &done {
                Ok(_) => assert_eq!(found, after, "{fails_at}, {which}: a commit that was answered is there"),
                Err(error) if error.effect() == Effect::None => {
                    assert_eq!(found, before, "{fails_at}, {which}")
                }
                Err(_) => assert!(found == before || found == after, "{fails_at}, {which}: {found:?}"),
            }
        }
        if done.is_ok() {
            break;
        }
        failures += 1;
    }
    assert!(failures >= 4, "{failures} calls of the disk");
}
