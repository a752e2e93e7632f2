//! Many changes at once (RFC 7644 §3.7).

use std::fmt;
use std::future::IntoFuture;

use futures::future::BoxFuture;

use crate::client::{Client, EntityTag};
use crate::dialect::IfMatch;
use crate::error::Error;
#[cfg(doc)]
use crate::error::{Advice, ErrorKind};
use crate::message::{BulkMethod, BulkOperation};
use crate::resource::{DynamicResource, ResourceId};
use crate::trace::Exchange;

mod answer;
mod plan;
mod reference;
mod send;

use plan::{Limits, Plan};
use send::Run;

/// Most operations in one message, also where the server takes more.
pub const BULK_OPERATIONS_MAX: usize = 1_000;
/// Most bytes of one message, also where the server takes more: 1 MiB.
pub const BULK_BYTES_MAX: usize = 1 << 20;

/// Many changes at once. Await it.
///
/// **References.** `bulkId:ann`, anywhere in `data` or as a segment of `path`, stands for what the operation called `ann`
/// makes. A text is a reference where it begins so; in a `$ref`, where a segment does; in the `path` of a PATCH, where the
/// text that something is compared with does. Operations may come in any order: one that refers to others is sent after
/// them, with the identifiers that they were answered with. The server's own way of resolving references is not used, since
/// there are servers that resolve some of several and say that all went well. So nothing is done in a group before its new
/// members are known to be there, and users and groups are two messages.
///
/// References in a circle are refused before anything is sent, and the error names them. A circle is opened by whoever knows
/// which reference can come later: make one without it, and add it by a PATCH of `/Users/bulkId:ann`.
///
/// **Order.** Operations about the same path stay in their order. Between others only references count: what has to come
/// later for another reason (a name that one gives up and another takes) belongs into another bulk.
///
/// **Messages.** They are as large as [`ServiceProviderConfig`](crate::message::ServiceProviderConfig) lets them be, with
/// [`BULK_OPERATIONS_MAX`] and [`BULK_BYTES_MAX`] at the most; where a server answers 413 nevertheless, half as large. Where
/// the server has no `/Bulk`, as it says itself, as the [`Dialect`](crate::Dialect) knows, or as its answer shows (403, 404,
/// 405, 501), the operations are sent one by one, with the same outcomes.
///
/// **Nothing is sent twice blindly.** Where a message gets no answer, or one that does not say of each operation what became
/// of it, these are of unknown outcome: [`BulkOutcome::Failed`] with [`Advice::ResolveByReading`].
///
/// Dropping it gives it up: what was sent by then may have happened. A [`Trace`](crate::trace::Trace) shows the requests.
#[must_use = "nothing is sent before it is awaited"]
pub struct Bulk {
    client: Client,
    operations: Vec<BulkOperation>,
    fail_on_errors: Option<u64>,
    limits: Limits,
}

/// What became of all operations.
#[derive(Debug)]
#[non_exhaustive]
pub struct BulkReport {
    /// What became of each, in the order in which they were given.
    pub outcomes: Vec<BulkOutcome>,
    /// The requests behind them.
    pub exchange: Exchange,
}

/// What became of one operation.
#[derive(Debug)]
#[non_exhaustive]
pub enum BulkOutcome {
    /// The server says that it did it.
    Done(Box<BulkDone>),
    /// It did not, or nobody knows: as for a single request, [`Error::advice`] says what follows.
    Failed(Error),
    /// It was not tried, and nothing of it happened.
    NotAttempted(NotAttempted),
}

/// An operation that was performed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BulkDone {
    /// The status.
    pub status: u16,
    /// The resource: the new one's, where one was made. `None` for `/Me` alone.
    pub id: Option<ResourceId>,
    /// Where the server says that it is.
    pub location: Option<String>,
    /// The version that it has now, where the server tells.
    pub version: Option<EntityTag>,
    /// What it is now, where the server shows it. Most do not.
    pub resource: Option<DynamicResource>,
    /// The request that it was in.
    pub exchange: Exchange,
}

/// Why an operation was not tried.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NotAttempted {
    /// As many others failed as [`Bulk::fail_on_errors`] says.
    Errors,
    /// It refers to what was not made, or is not known to have been.
    Reference {
        /// The operation that was to make it.
        bulk_id: String,
    },
    /// Nobody knows what an earlier operation about the same resource did.
    InDoubt,
    /// Another failed in a way that no request of this connector can get around now: no connection, credential refused, too
    /// many requests.
    Connector,
}

impl Client {
    /// Many changes at once: in as few requests as the server allows, or one by one where it has no `/Bulk`.
    ///
    /// ```no_run
    /// # async fn example(app: scim_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use scim_client::client::BulkOutcome;
    /// use scim_client::message::{BulkOperation, PatchOp};
    /// use scim_client::resource::{ResourceId, User};
    ///
    /// let join = PatchOp::new().add_members([&ResourceId::new("bulkId:ann")]);
    /// let operations = [
    ///     BulkOperation::patch("/Groups/e9e30dba", &join)?,
    ///     BulkOperation::create("/Users", "ann", &User::new("ann"))?,
    /// ];
    /// for outcome in app.bulk(operations).fail_on_errors(10).await?.outcomes {
    ///     match outcome {
    ///         BulkOutcome::Done(done) => println!("{:?}", done.id),
    ///         BulkOutcome::Failed(error) => println!("{error}"),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Awaiting gives [`ErrorKind::Invalid`] where an operation lacks what it needs, where two have the same `bulkId`, where a
    /// reference leads nowhere or in a circle, and whatever keeps the service from saying whether it has `/Bulk`. Nothing was
    /// sent to be changed then. What goes wrong later is in the outcomes.
    pub fn bulk(&self, operations: impl IntoIterator<Item = BulkOperation>) -> Bulk {
        Bulk {
            client: self.clone(),
            operations: operations.into_iter().collect(),
            fail_on_errors: None,
            limits: Limits { operations_max: BULK_OPERATIONS_MAX, bytes_max: BULK_BYTES_MAX },
        }
    }
}

impl Bulk {
    /// Stops after so many errors, over all messages together; 0 counts as 1. Unknown outcomes are errors, too. Without it,
    /// all is tried.
    pub fn fail_on_errors(mut self, errors: u64) -> Self {
        self.fail_on_errors = Some(errors);
        self
    }

    /// At most so many operations in a message; more than [`BULK_OPERATIONS_MAX`] counts as this, 0 as 1.
    pub fn operations_max(mut self, operations: usize) -> Self {
        self.limits.operations_max = operations.clamp(1, BULK_OPERATIONS_MAX);
        self
    }

    /// At most so many bytes in a message; more than [`BULK_BYTES_MAX`] counts as this. An operation that is larger by itself
    /// ends as [`ErrorKind::TooLarge`].
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.limits.bytes_max = bytes.min(BULK_BYTES_MAX);
        self
    }

    async fn run(mut self) -> Result<BulkReport, Error> {
        let mut operations = std::mem::take(&mut self.operations);
        operations.iter_mut().for_each(|operation| self.condition(operation));
        Run::of(self.client, Plan::new(operations, self.fail_on_errors)?).perform(self.limits).await
    }

    /// The condition as the dialect has it.
    fn condition(&self, operation: &mut BulkOperation) {
        match self.client.shared.dialect.if_match {
            IfMatch::Never => operation.version = None,
            IfMatch::WhenKnown => {}
            IfMatch::Any if operation.method == Some(BulkMethod::Post) => operation.version = None,
            IfMatch::Any => operation.version = Some("*".to_owned()),
        }
    }
}

impl IntoFuture for Bulk {
    type Output = Result<BulkReport, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl BulkOutcome {
    /// What was done, where it was.
    pub fn done(&self) -> Option<&BulkDone> {
        match self {
            Self::Done(done) => Some(done),
            Self::Failed(_) | Self::NotAttempted(_) => None,
        }
    }

    /// What went wrong, where it was tried.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Done(_) | Self::NotAttempted(_) => None,
        }
    }
}

impl fmt::Display for NotAttempted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "as many others failed as may",
            Self::Reference { bulk_id } => return write!(f, "`{bulk_id}`, which it refers to, was not made"),
            Self::InDoubt => "nobody knows what an earlier operation did to the same resource",
            Self::Connector => "no request of this connector can work now",
        })
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("operations", &self.operations.len()).finish_non_exhaustive()
    }
}
