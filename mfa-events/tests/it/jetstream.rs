//! The log in a stream of a real message server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::Client;
use mfa_events::store::StoreError;
use mfa_events::store::jetstream::{JetStreamError, JetStreamOptions};
use mfa_events::{Event, EventLog, JetStreamStore, LoginFailure, Offset, TenantId};
use tempfile::TempDir;
use testbed::{NatsOptions, NatsServer};

use crate::event::at;

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn failure(actor: &str) -> Event {
    LoginFailure::new(actor).at(at()).try_into().unwrap()
}

/// A server, and files of those who use it.
struct Bed {
    server: NatsServer,
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        Self::with(NatsOptions::new())
    }

    fn with(options: NatsOptions) -> Self {
        Self { server: NatsServer::start(options).unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn client(&self) -> Client {
        async_nats::connect(self.server.url()).await.unwrap()
    }

    async fn open(&self, name: &str) -> JetStreamStore {
        open(self.client().await, &self.path(name)).await
    }

    async fn refused(&self, name: &str) -> JetStreamError {
        JetStreamStore::open(self.client().await, options(), self.path(name)).await.unwrap_err()
    }
}

fn options() -> JetStreamOptions {
    JetStreamOptions::new().dangerously_unreplicated().limit(Duration::from_secs(20))
}

/// A file is free once what followed into it has ended.
async fn open(client: Client, path: &Path) -> JetStreamStore {
    loop {
        match JetStreamStore::open(client.clone(), options(), path).await {
            Err(JetStreamError::Copy(StoreError::Locked)) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

#[cfg(feature = "conformance")]
#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn the_store_in_a_stream_keeps_its_promises_with_the_copy_that_it_had() {
    let bed = Bed::new();
    mfa_events::conformance::store(async || bed.open("copy").await).await;
}

#[cfg(feature = "conformance")]
#[tokio::test]
#[ignore = "needs nats-server: cargo xtask test"]
async fn the_store_in_a_stream_keeps_its_promises_with_a_new_copy_each_time() {
    let bed = Bed::new();
    let mut opened = 0;
    mfa_events::conformance::store(async || {
        opened += 1;
        bed.open(&format!("copy-{opened}")).await
    })
    .await;
}
