//! What a service says of itself, asked for once.

use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt as _;
use http::Method;
use tokio::sync::OnceCell;

use crate::client::pager::Mode;
use crate::client::{Client, Received};
use crate::error::{Error, ErrorKind};
use crate::message::{ListResponse, ResourceType, Schema, ServiceProviderConfig};
use crate::request;
use crate::resource::{Group, ResourceId, User};

/// Most resource types that are read.
const RESOURCE_TYPES_MAX: u64 = 256;

/// What was asked for so far.
#[derive(Default)]
pub(crate) struct Discovery(Mutex<Arc<Cells>>);

#[derive(Default)]
struct Cells {
    config: OnceCell<Arc<ServiceProviderConfig>>,
    capabilities: OnceCell<Arc<ServiceProviderConfig>>,
    schemas: OnceCell<Arc<Vec<Schema>>>,
    resource_types: OnceCell<Arc<Vec<ResourceType>>>,
}

impl Discovery {
    fn cells(&self) -> Arc<Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Client {
    /// What the server can do (RFC 7643 §5). Asked for once, also as a list of one, and by the older name
    /// `ServiceProviderConfigs`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none.
    pub async fn service_provider_config(&self) -> Result<Arc<ServiceProviderConfig>, Error> {
        let cells = self.shared.state.discovery.cells();
        cells.config.get_or_try_init(|| self.fetch_config()).await.cloned()
    }

    /// The schemas of the server (RFC 7643 §7), asked for once: at most [`SCHEMAS_MAX`](crate::client::SCHEMAS_MAX).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it shows none.
    pub async fn schemas(&self) -> Result<Arc<Vec<Schema>>, Error> {
        let cells = self.shared.state.discovery.cells();
        let schemas = || async { self.discover_schemas().await.map(Arc::new) };
        cells.schemas.get_or_try_init(schemas).await.cloned()
    }

    /// The kinds of resources of the server (RFC 7643 §6), asked for once. Users and groups where it does not say.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn resource_types(&self) -> Result<Arc<Vec<ResourceType>>, Error> {
        let cells = self.shared.state.discovery.cells();
        let types = || async {
            let types = self.resources::<ResourceType>("ResourceTypes").list().mode(Mode::PlainThenIndex);
            let found = types.at_most(RESOURCE_TYPES_MAX).stream().try_collect::<Vec<_>>().await;
            match found {
                Err(error) if is_silence(&error) => Ok(Arc::new(standard_types())),
                found => found.map(Arc::new),
            }
        };
        cells.resource_types.get_or_try_init(types).await.cloned()
    }

    /// Asks again for what the service says of itself, when it is next needed.
    pub fn forget_discovery(&self) {
        *self.shared.state.discovery.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    /// What the server can do, as far as it says: one that says nothing can do what RFC 7644 demands.
    pub(crate) async fn capabilities(&self) -> Result<Arc<ServiceProviderConfig>, Error> {
        let cells = self.shared.state.discovery.cells();
        let capabilities = || async {
            match self.service_provider_config().await {
                Err(error) if is_silence(&error) => Ok(Arc::default()),
                config => config,
            }
        };
        cells.capabilities.get_or_try_init(capabilities).await.cloned()
    }

    async fn fetch_config(&self) -> Result<Arc<ServiceProviderConfig>, Error> {
        let fetch = async |path| {
            let request = request::bare(Method::GET, &self.shared.base.at(path)?, &self.shared.user_agent)?;
            self.call(request).await
        };
        let received = match fetch(self.shared.dialect.config_path).await {
            Err(error) if *error.kind() == ErrorKind::NotFound => {
                fetch("ServiceProviderConfigs").await.map_err(|_| error)?
            }
            result => result?,
        };
        only(&received).map(Arc::new)
    }
}

/// The one there is: itself, or in a list.
fn only(received: &Received) -> Result<ServiceProviderConfig, Error> {
    if let Ok(list) = received.read::<ListResponse<ServiceProviderConfig>>()
        && let [config] = list.resources.as_slice()
    {
        return Ok(config.clone());
    }
    received.read()
}

/// Whether an error says no more than that the server does not tell.
fn is_silence(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::Unsupported
            | ErrorKind::Authorization
            | ErrorKind::Protocol
            | ErrorKind::SchemaMismatch(_)
    )
}

fn standard_types() -> Vec<ResourceType> {
    [("User", "/Users", User::SCHEMA), ("Group", "/Groups", Group::SCHEMA)]
        .into_iter()
        .map(|(name, endpoint, schema)| ResourceType {
            id: Some(ResourceId::new(name)),
            name: Some(name.to_owned()),
            endpoint: Some(endpoint.to_owned()),
            schema: Some(schema.to_owned()),
            ..ResourceType::default()
        })
        .collect()
}
