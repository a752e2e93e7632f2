//! Where mapping and schemas no longer agree, looked for when the server refuses a write.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use tokio::sync::Mutex;

use crate::client::Client;
use crate::client::pager::Mode;
use crate::drift::{self, Drift};
use crate::error::{Error, ErrorKind, ScimType};
use crate::mapping::Mapping;
use crate::message::Schema;
use crate::resilience::Effect;
use crate::resource::{Group, User};

/// How long schemas that were discovered for a refused write are believed; how long a failure to discover them keeps the
/// next refused write from asking again.
pub const SCHEMAS_BELIEVED: Duration = Duration::from_secs(5 * 60);
/// Most schemas of a server that are read.
pub const SCHEMAS_MAX: u64 = 256;
/// Most bytes of one of them.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// What was discovered last, and when.
#[derive(Default)]
pub(crate) struct Shown(Mutex<Option<Seen>>);

struct Seen {
    at: DateTime<Utc>,
    schemas: Option<Arc<Vec<Schema>>>,
}

impl Client {
    /// With this mapping for resources of its schema: a write that the server refuses as
    /// [`SchemaMismatch`](ErrorKind::SchemaMismatch) then comes back with what the server's schemas and the mapping do not
    /// agree on, in [`Error::drifts`] and in [`Advice::FixMapping`](crate::Advice::FixMapping).
    ///
    /// For that the schemas are discovered, once in [`SCHEMAS_BELIEVED`] and within the time of one request; where they
    /// cannot be, the error comes as it is. There is one mapping for each schema, the last that was given.
    #[must_use]
    pub fn mapping(mut self, mapping: Mapping) -> Self {
        let mappings = &mut Arc::make_mut(&mut self.shared).mappings;
        mappings.retain(|known| !known.schema().eq_ignore_ascii_case(mapping.schema()));
        mappings.push(Arc::new(mapping));
        self
    }

    /// What the server's schemas and a mapping do not agree on now, the severe first: for whoever looks before a write is
    /// refused. The schemas are discovered anew.
    ///
    /// # Errors
    /// Where the schemas cannot be discovered.
    pub async fn drifts(&self, mapping: &Mapping) -> Result<Vec<Drift>, Error> {
        let schemas = Arc::new(self.discover_schemas().await?);
        let seen = Seen { at: self.shared.clock.now(), schemas: Some(schemas.clone()) };
        *self.shared.state.shown.0.lock().await = Some(seen);
        Ok(drift::check(mapping, &schemas))
    }

    /// The error of a write, with what drifted where that may be why. It is the same error in any case.
    pub(super) async fn explained(&self, error: Error) -> Error {
        let Some(mapping) = self.mapping_behind(&error) else { return error };
        // Boxed: a write that fails makes reads, which do not come here.
        match Box::pin(self.schemas_shown()).await {
            Some(schemas) => {
                let drifts = drift::check(&mapping, &schemas);
                error.drifted(drifts)
            }
            None => error,
        }
    }

    /// The mapping that has to answer for an error.
    fn mapping_behind(&self, error: &Error) -> Option<Arc<Mapping>> {
        let ErrorKind::SchemaMismatch(scim_type) = error.kind() else { return None };
        let about_values = !matches!(
            scim_type,
            ScimType::TooMany | ScimType::Cursor | ScimType::InvalidFilter | ScimType::InvalidVersion
        );
        let (method, path) = (error.method()?, error.path()?);
        if !about_values || Effect::of(method, path) == Effect::None {
            return None;
        }
        let place = self.shared.base.place_of(path)?;
        let schema = match place {
            "Groups" => Group::SCHEMA,
            "Users" | "Me" => User::SCHEMA,
            // Of other kinds of resources there is one mapping, or it is not known which of them is meant.
            _ => {
                let mut others = self.shared.mappings.iter().filter(|mapping| {
                    ![User::SCHEMA, Group::SCHEMA]
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(mapping.schema()))
                });
                return others.next().filter(|_| others.next().is_none()).cloned();
            }
        };
        self.shared.mappings.iter().find(|mapping| mapping.schema().eq_ignore_ascii_case(schema)).cloned()
    }

    async fn schemas_shown(&self) -> Option<Arc<Vec<Schema>>> {
        // One asks, the others wait; who is dropped while asking lets the next one ask.
        let mut shown = self.shared.state.shown.0.lock().await;
        let now = self.shared.clock.now();
        if let Some(seen) = &*shown
            && (now - seen.at).to_std().is_ok_and(|age| age < SCHEMAS_BELIEVED)
        {
            return seen.schemas.clone();
        }
        // Whoever waits for the error of a write does not wait for a list that drips.
        // The write was let in, so a refusal here would say nothing of the credential.
        let client = self.aside();
        let schemas = tokio::select! {
            schemas = client.discover_schemas() => schemas.ok().map(Arc::new),
            () = self.shared.clock.sleep(self.shared.timeout) => None,
        };
        *shown = Some(Seen { at: now, schemas: schemas.clone() });
        schemas
    }

    /// They are kept, all of them: so they have limits of their own.
    pub(super) async fn discover_schemas(&self) -> Result<Vec<Schema>, Error> {
        let limits = self.shared.limits.with(|limits| {
            limits.element_bytes_max = limits.element_bytes_max.min(SCHEMA_BYTES_MAX);
        });
        let schemas =
            self.clone().limits(limits).resources::<Schema>("Schemas").list().mode(Mode::PlainThenIndex);
        schemas.at_most(SCHEMAS_MAX).stream().try_collect().await
    }
}
