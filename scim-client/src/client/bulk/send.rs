//! Messages sent and answers taken, until nothing is left to send.

use bytes::Bytes;
use http::Method;
use http::header::{HeaderValue, IF_MATCH, LOCATION};

use super::answer::{self, Source};
use super::plan::{Limits, Message, Plan, Planned};
use super::{BulkDone, BulkOutcome, BulkReport};
use crate::client::Client;
use crate::client::endpoint::{is_about_members, only_members};
use crate::client::receive::Received;
use crate::dialect::Support;
use crate::error::{Advice, Error, ErrorKind};
use crate::message::{BulkResponse, PatchOp};
use crate::request;
use crate::resource::{DynamicResource, Resource as _};
use crate::trace::Exchange;

const PATH: &str = "Bulk";

/// A bulk while it is being sent.
pub(super) struct Run {
    client: Client,
    plan: Plan,
    exchange: Exchange,
    /// Whether something failed that no request can get around now.
    is_over: bool,
}

impl Run {
    pub(super) fn of(client: Client, plan: Plan) -> Self {
        Self { client, plan, exchange: Exchange::default(), is_over: false }
    }

    pub(super) async fn perform(mut self, most: Limits) -> Result<BulkReport, Error> {
        self.refuse_fixed();
        let mut limits = if self.plan.is_empty() { None } else { self.client.bulk_limits(most).await? };
        while !self.is_over {
            match limits {
                Some(most) => {
                    let Some(message) = self.plan.message(most) else { break };
                    limits = self.send(message, most).await;
                }
                None => {
                    let Some(index) = self.plan.single() else { break };
                    self.send_one(index).await;
                }
            }
        }
        Ok(BulkReport { outcomes: self.plan.finish(), exchange: self.exchange })
    }

    /// Sends a message; hands back the limits of the next, or `None` where the server has no `/Bulk`.
    async fn send(&mut self, message: Message, limits: Limits) -> Option<Limits> {
        let error = match self.client.post_bulk(message.body).await {
            Ok((answer, received)) => {
                self.exchange.append(received.exchange.clone());
                let source = Source {
                    exchange: &received.exchange,
                    at: received.at,
                    shown: &received.shown,
                    base_path: received.path.strip_suffix("/Bulk").unwrap_or_default(),
                };
                let sent: Vec<&Planned> =
                    message.operations.iter().filter_map(|index| self.plan.get(*index)).collect();
                let outcomes = answer::judge(&sent, &answer.operations, message.fail_on_errors, &source);
                for (index, outcome) in message.operations.into_iter().zip(outcomes) {
                    self.end(index, outcome);
                }
                return Some(limits);
            }
            Err(error) => error,
        };
        self.exchange.append(error.exchange().clone());
        match error.kind() {
            ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::Authorization => {
                self.plan.put_back(&message.operations);
                return None;
            }
            // It said so before it did anything.
            ErrorKind::TooLarge if error.http_status() == Some(413) && message.operations.len() > 1 => {
                self.plan.put_back(&message.operations);
                return Some(Limits { operations_max: message.operations.len() / 2, ..limits });
            }
            _ => {}
        }
        let error = of_all(error);
        for index in message.operations {
            self.end(index, BulkOutcome::Failed(error.again()));
        }
        Some(limits)
    }

    /// Sends an operation by itself.
    async fn send_one(&mut self, index: usize) {
        let Some(operation) = self.plan.get(index) else { return };
        let sent = match self.client.request_of(operation) {
            Ok(request) => self.client.call(request).await,
            Err(error) => Err(error),
        };
        let outcome = match sent {
            Ok(received) => {
                self.exchange.append(received.exchange.clone());
                match answered_alone(operation, &received) {
                    Ok(done) => BulkOutcome::Done(Box::new(done)),
                    Err(error) => BulkOutcome::Failed(error),
                }
            }
            Err(error) => {
                self.exchange.append(error.exchange().clone());
                BulkOutcome::Failed(error)
            }
        };
        self.end(index, outcome);
    }

    fn end(&mut self, index: usize, outcome: BulkOutcome) {
        self.is_over |= outcome.error().is_some_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::NotSent(_)
                    | ErrorKind::Authentication(_)
                    | ErrorKind::BaseUrl
                    | ErrorKind::RateLimited { .. }
            )
        });
        self.plan.end(index, outcome);
    }

    /// Of some groups the dialect says that only the members change.
    fn refuse_fixed(&mut self) {
        let fixed = self.client.shared.dialect.membership_only;
        if fixed.is_empty() {
            return;
        }
        for index in 0..self.plan.len() {
            let Some(operation) = self.plan.get(index) else { continue };
            let is_fixed = matches!(operation.segments.as_slice(), [groups, id]
                if groups == "Groups" && fixed.iter().any(|prefix| id.starts_with(prefix)));
            if is_fixed && !changes_members_alone(operation) {
                self.plan.end(index, BulkOutcome::Failed(only_members()));
            }
        }
    }
}

impl Client {
    /// How much goes into a message to this server; `None` where it has no `/Bulk`.
    async fn bulk_limits(&self, most: Limits) -> Result<Option<Limits>, Error> {
        let support = self.shared.dialect.bulk;
        if support == Support::No {
            return Ok(None);
        }
        let capabilities = self.capabilities().await?;
        let said = capabilities.bulk.as_ref();
        if support == Support::Discover && said.and_then(|bulk| bulk.supported) != Some(true) {
            return Ok(None);
        }
        // A limit of nothing is none: a server that means it answers 413.
        let within = |most: usize, said: Option<u64>| {
            let said = said.filter(|said| *said > 0).and_then(|said| usize::try_from(said).ok());
            said.map_or(most, |said| said.min(most))
        };
        Ok(Some(Limits {
            operations_max: within(most.operations_max, said.and_then(|bulk| bulk.operations_max)),
            bytes_max: within(most.bytes_max, said.and_then(|bulk| bulk.payload_bytes_max)),
        }))
    }

    /// Sends a message and reads the answer.
    async fn post_bulk(&self, body: Vec<u8>) -> Result<(BulkResponse, Received), Error> {
        let address = self.shared.base.at(PATH)?;
        let request = request::with_body(Method::POST, &address, &self.shared.user_agent, body.into())?;
        let received = self.call(request).await?;
        received.check_done()?;
        let answer: BulkResponse = received.read()?;
        if answer.operations.is_empty() {
            // An error that comes with a status of success is an error nevertheless.
            received.read_resource::<DynamicResource>()?;
        }
        self.saw_service();
        Ok((answer, received))
    }

    /// The request that an operation is by itself.
    fn request_of(&self, operation: &Planned) -> Result<http::Request<Bytes>, Error> {
        let address = self.shared.base.below(operation.segments.iter().map(String::as_str))?;
        let user_agent = &self.shared.user_agent;
        let mut request = match &operation.data {
            None => request::bare(operation.method.clone(), &address, user_agent)?,
            Some(data) => {
                let body = data.to_string().into();
                request::with_body(operation.method.clone(), &address, user_agent, body)?
            }
        };
        if let Some(version) = operation.version.as_deref().filter(|_| operation.method != Method::POST) {
            let condition = HeaderValue::from_str(version).map_err(|error| {
                Error::new(ErrorKind::Invalid).detail("no header can carry this version").because(error)
            })?;
            request.headers_mut().insert(IF_MATCH, condition);
        }
        Ok(request)
    }
}

/// What the answer to an operation by itself says.
fn answered_alone(operation: &Planned, received: &Received) -> Result<BulkDone, Error> {
    let shows_one = !received.is_empty() && operation.method != Method::DELETE;
    let resource = if shows_one { Some(received.read_resource::<DynamicResource>()?) } else { None };
    let location = received.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.map(str::to_owned).or_else(|| resource.as_ref()?.meta()?.location.clone());
    answer::done(operation, received.status, location, received.version(), resource, &received.exchange)
        .map_err(|error| received.error(error))
}

/// The error of a message, for each operation in it. What does not say that nothing was done leaves all of them unknown.
fn of_all(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotSent(_)
        | ErrorKind::Authentication(_)
        | ErrorKind::BaseUrl
        | ErrorKind::RateLimited { .. }
        | ErrorKind::SchemaMismatch(_)
        | ErrorKind::Invalid => error,
        ErrorKind::TooLarge if error.http_status() == Some(413) => error,
        _ if !error.was_sent() || error.advice() == Advice::ResolveByReading => error,
        _ => error.turned_into(ErrorKind::Protocol),
    }
}

fn changes_members_alone(operation: &Planned) -> bool {
    let changes = || serde_json::from_value::<PatchOp>(operation.data.clone()?).ok();
    operation.method == Method::PATCH
        && changes().is_some_and(|changes| changes.operations.iter().all(is_about_members))
}
