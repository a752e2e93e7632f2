//! Connectors that are made with a secret, made anew when it changes.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector_health::connector::{Confirmation, Connector, Failure, FailureKind, ListedAccount, Operation};
use futures::channel::mpsc;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use scim_client::auth::{Credential, Fingerprint};

use crate::secrets::StoredSecret;

type Make = Box<dyn Fn(&Credential) -> Result<Arc<dyn Connector>, String> + Send + Sync>;

/// A connector whose secret lies somewhere else.
pub(crate) struct Renewed {
    secret: Arc<StoredSecret>,
    make: Make,
    made: Mutex<(Fingerprint, Arc<dyn Connector>)>,
}

impl Renewed {
    /// Made with the secret as it is now. Says why it cannot be.
    pub(crate) fn new(
        secret: Arc<StoredSecret>,
        make: impl Fn(&Credential) -> Result<Arc<dyn Connector>, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let credential = secret.now()?;
        let made = make(&credential)?;
        Ok(Self { secret, make: Box::new(make), made: Mutex::new((credential.fingerprint(), made)) })
    }

    fn current(&self) -> Result<Arc<dyn Connector>, Failure> {
        let failed = |why: String| Failure::new(FailureKind::Authentication, why);
        let credential = self.secret.now().map_err(failed)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != credential.fingerprint() {
            *made = (credential.fingerprint(), (self.make)(&credential).map_err(failed)?);
        }
        Ok(Arc::clone(&made.1))
    }
}

#[async_trait]
impl Connector for Renewed {
    async fn probe(&self) -> Result<(), Failure> {
        self.current()?.probe().await
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        self.current()?.ensure(operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        let connector = match self.current() {
            Ok(connector) => connector,
            Err(failure) => return stream::once(async { Err(failure) }).boxed(),
        };
        // The listing borrows from the connector that it began with, whatever takes its place meanwhile.
        let (mut sender, listed) = mpsc::channel(0);
        let listing = async move {
            let mut accounts = connector.accounts();
            while let Some(account) = accounts.next().await {
                if sender.send(account).await.is_err() {
                    break;
                }
            }
        };
        stream::select(listed, listing.into_stream().filter_map(async |()| None)).boxed()
    }
}
