//! The client.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::auth::Authenticate;
use crate::clock::{Clock, SystemClock};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind};
use crate::resource::{Group, Resource, User};
use crate::trace::Trace;
use crate::transport::Transport;

mod exchange;

/// A connection to one SCIM service. Cheap to clone; clones share limits, credentials and connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    trace: Option<Trace>,
}

#[derive(Clone)]
#[expect(dead_code, reason = "the operations are being written")]
struct Shared {
    base: Url,
    transport: Arc<dyn Transport>,
    auth: Option<Arc<dyn Authenticate>>,
    clock: Arc<dyn Clock>,
    dialect: Dialect,
    timeout: Duration,
}

/// The resources of one kind.
#[derive(Clone)]
#[expect(dead_code, reason = "the operations are being written")]
pub struct Endpoint<R> {
    client: Client,
    path: String,
    kind: PhantomData<fn() -> R>,
}

impl Client {
    /// A client of the service at `base`, over `transport`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where `base` is no `http` or `https` URL, or holds a user name, a query or a fragment.
    pub fn over(base: &str, transport: impl Transport + 'static) -> Result<Self, Error> {
        let base = Url::parse(base).map_err(|error| Error::new(ErrorKind::Invalid).because(error))?;
        Ok(Self {
            shared: Arc::new(Shared {
                base,
                transport: Arc::new(transport),
                auth: None,
                clock: Arc::new(SystemClock),
                dialect: Dialect::rfc7644(),
                timeout: Duration::from_secs(30),
            }),
            trace: None,
        })
    }

    /// With this credential.
    #[must_use]
    pub fn auth(mut self, auth: impl Authenticate + 'static) -> Self {
        Arc::make_mut(&mut self.shared).auth = Some(Arc::new(auth));
        self
    }

    /// With this dialect.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        Arc::make_mut(&mut self.shared).dialect = dialect;
        self
    }

    /// With this clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        Arc::make_mut(&mut self.shared).clock = Arc::new(clock);
        self
    }

    /// The users.
    pub fn users(&self) -> Endpoint<User> {
        self.resources("Users")
    }

    /// The groups.
    pub fn groups(&self) -> Endpoint<Group> {
        self.resources("Groups")
    }

    /// The resources at a path below the base, as its resource type names it (`Devices`).
    pub fn resources<R: Resource>(&self, path: &str) -> Endpoint<R> {
        Endpoint { client: self.clone(), path: path.to_owned(), kind: PhantomData }
    }
}
