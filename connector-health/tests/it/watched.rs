//! An application that several workers share, in one process or in several, and that sees whether two work on one account at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use connector_health::connector::{Connector, ListedAccount, MemoryConnector};
use connector_health::{Confirmation, Failure, Operation};
use futures::stream::BoxStream;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Sees everything that is asked of an application.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) application: MemoryConnector,
    busy: Arc<Mutex<BTreeSet<String>>>,
    overlaps: Arc<Mutex<Vec<String>>>,
    seen: watch::Sender<usize>,
}

fn subject(operation: &Operation) -> String {
    match operation {
        Operation::Deprovision { target }
        | Operation::Account { target, .. }
        | Operation::Attributes { target, .. }
        | Operation::Entitlement { target, .. }
        | Operation::Strip { target, .. } => target.person.to_string(),
        Operation::Group { group, .. } => format!("group {group}"),
    }
}

impl Watched {
    pub(crate) fn new(application: MemoryConnector) -> Self {
        Self { application, busy: Arc::default(), overlaps: Arc::default(), seen: watch::Sender::new(0) }
    }

    /// Accounts that two workers were at, at a time.
    pub(crate) fn overlaps(&self) -> Vec<String> {
        self.overlaps.lock().unwrap().clone()
    }

    /// Waits until so many operations have begun.
    pub(crate) async fn has_seen(&self, operations: usize) {
        self.seen.subscribe().wait_for(|seen| *seen >= operations).await.unwrap();
    }

    /// Answers [`Remote`] connectors, each on a connection of its own.
    pub(crate) async fn serve(&self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(self.clone(), stream));
        }
    }
}

async fn answer(watched: Watched, stream: TcpStream) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let operation: Operation = serde_json::from_str(&line).unwrap();
        let answer = watched.ensure(&operation).await;
        // Whoever asked may have been killed.
        if write.write_all(format!("{}\n", serde_json::to_string(&answer).unwrap()).as_bytes()).await.is_err()
        {
            return;
        }
    }
}

#[async_trait]
impl Connector for Watched {
    async fn probe(&self) -> Result<(), Failure> {
        self.application.probe().await
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        let subject = subject(operation);
        if !self.busy.lock().unwrap().insert(subject.clone()) {
            self.overlaps.lock().unwrap().push(subject.clone());
        }
        self.seen.send_modify(|seen| *seen += 1);
        // Others get their turn meanwhile.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        let answer = self.application.ensure(operation).await;
        self.busy.lock().unwrap().remove(&subject);
        answer
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        self.application.accounts()
    }
}

/// A [`Watched`] of another process.
pub(crate) struct Remote(pub(crate) String);

impl Remote {
    async fn ask(&self, operation: &Operation) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.0).await?;
        stream.write_all(format!("{}\n", serde_json::to_string(operation)?).as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok(line)
    }
}

#[async_trait]
impl Connector for Remote {
    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        let answer = self.ask(operation).await.map_err(|error| Failure::unknown(error.to_string()))?;
        serde_json::from_str(&answer).unwrap()
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        Box::pin(futures::stream::empty())
    }
}
