//! The client.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::auth::Authenticate;
use crate::clock::{Clock, SystemClock};
use crate::dialect::Dialect;
use crate::ensure::Care;
use crate::error::{Error, ErrorKind};
use crate::mapping::Mapping;
use crate::read::ReadLimits;
use crate::request::{Base, USER_AGENT};
use crate::resilience::Latch;
use crate::resource::{Group, Resource, User};
use crate::trace::Trace;
use crate::transport::Transport;

mod answer;
mod bulk;
mod csrf;
mod discovery;
mod drift;
mod endpoint;
mod exchange;
mod gate;
mod listing;
mod liveness;
mod page;
mod pager;
mod receive;
mod seen;

pub use answer::{Answer, EntityTag};
pub use bulk::{BULK_BYTES_MAX, BULK_OPERATIONS_MAX, Bulk, BulkDone, BulkOutcome, BulkReport, NotAttempted};
pub use drift::{SCHEMA_BYTES_MAX, SCHEMAS_BELIEVED, SCHEMAS_MAX};
pub use endpoint::{Call, Endpoint, Me};
pub use listing::{LISTED_MAX, Order, Query};
pub use pager::PAGES_MAX;

use csrf::Csrf;
use discovery::Discovery;
use gate::{Gate, Settings};
use liveness::Liveness;
use receive::Received;

/// A connection to one SCIM service. Cheap to clone; clones share limits, credentials and connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    trace: Option<Trace>,
}

#[derive(Clone)]
struct Shared {
    base: Base,
    transport: Arc<dyn Transport>,
    auth: Option<Arc<dyn Authenticate>>,
    clock: Arc<dyn Clock>,
    dialect: Dialect,
    timeout: Duration,
    user_agent: HeaderValue,
    care: Care,
    limits: ReadLimits,
    resilience: Settings,
    gate: Arc<Gate>,
    mappings: Vec<Arc<Mapping>>,
    dangerous_plain_http: bool,
    /// What is asked is asked on the side: another request shows whether the credential works.
    aside: bool,
    state: Arc<State>,
}

/// What is known of the service, with one credential.
#[derive(Default)]
struct State {
    csrf: Csrf,
    discovery: Discovery,
    liveness: Liveness,
    latch: Latch,
    shown: drift::Shown,
    filters: seen::FilterTrust,
}

impl Client {
    /// A client of the service at `base`, such as `https://app.example.com/scim/v2`, over the network.
    ///
    /// # Errors
    /// As [`over`](Self::over) and [`ReqwestTransport::new`](crate::transport::ReqwestTransport::new).
    #[cfg(feature = "reqwest")]
    pub fn new(base: &str) -> Result<Self, Error> {
        Self::over(base, crate::transport::ReqwestTransport::new()?)
    }

    /// A client of the service at `base`, over `transport`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where `base` is no `http` or `https` URL, or holds a user name, a query or a fragment.
    pub fn over(base: &str, transport: impl Transport + 'static) -> Result<Self, Error> {
        Ok(Self {
            shared: Arc::new(Shared {
                base: Base::parse(base)?,
                transport: Arc::new(transport),
                auth: None,
                clock: Arc::new(SystemClock),
                dialect: Dialect::rfc7644(),
                timeout: Duration::from_secs(30),
                user_agent: HeaderValue::from_static(USER_AGENT),
                care: Care::default(),
                limits: ReadLimits::default(),
                resilience: Settings::default(),
                gate: Arc::default(),
                mappings: Vec::new(),
                dangerous_plain_http: false,
                aside: false,
                state: Arc::default(),
            }),
            trace: None,
        })
    }

    /// With this credential.
    ///
    /// It is shown over TLS, and without only to a service on this machine: with any other `http` base URL every request is
    /// [`ErrorKind::Invalid`] and none is sent, unless [`dangerous_plain_http`](Self::dangerous_plain_http) says so.
    #[must_use]
    pub fn auth(mut self, auth: impl Authenticate + 'static) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.auth = Some(Arc::new(auth));
        // A session belongs to whom it was opened by.
        shared.state = Arc::default();
        self
    }

    /// Shows the credential without encryption where the base URL is `http` on another machine: whoever listens has it,
    /// and whoever is in between answers in the service's place.
    #[must_use]
    pub fn dangerous_plain_http(mut self) -> Self {
        Arc::make_mut(&mut self.shared).dangerous_plain_http = true;
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

    /// With this timeout for each attempt: connecting, sending and the head of the answer together, and again for each
    /// wait for a piece of the answer. 30 s where nothing is said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        Arc::make_mut(&mut self.shared).timeout = timeout;
        self
    }

    /// With this name in `User-Agent`. There is always one: some services refuse requests without.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where no header can carry it, or it is empty.
    pub fn user_agent(mut self, name: &str) -> Result<Self, Error> {
        let refused = || Error::new(ErrorKind::Invalid).detail("no header can carry this user agent");
        let name = Some(name.trim()).filter(|name| !name.is_empty()).ok_or_else(refused)?;
        Arc::make_mut(&mut self.shared).user_agent = HeaderValue::from_str(name).map_err(|_| refused())?;
        Ok(self)
    }

    /// With these limits of what is read of one answer, after decompression.
    #[must_use]
    pub fn limits(mut self, limits: ReadLimits) -> Self {
        Arc::make_mut(&mut self.shared).limits = limits;
        self
    }

    /// For what is asked on the side.
    fn aside(&self) -> Self {
        let mut client = self.clone();
        Arc::make_mut(&mut client.shared).aside = true;
        client
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

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.shared.base)
            .field("dialect", &self.shared.dialect.name)
            .finish_non_exhaustive()
    }
}
