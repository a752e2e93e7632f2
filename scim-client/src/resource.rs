//! Resources: what SCIM servers keep.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::asserted::Asserted;

mod group;
mod user;

pub use group::{Group, Member};
pub use user::{Email, Name, User};

/// The attributes of a resource as JSON. Names compare without case (RFC 7643 §2.1): use [`attribute`] to look one up.
pub type Attributes = Map<String, Value>;

/// The attribute of that name, whatever its case.
pub fn attribute<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a Value> {
    attributes.get(name).or_else(|| {
        attributes.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

/// A kind of resource as a Rust type.
///
/// Reading is lenient (names without regard to case, unknown attributes kept or passed over, `"False"` for `false`),
/// writing is strict: what is serialised is what RFC 7643 describes.
pub trait Resource: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The URN of its core schema; `None` for a type that reads any kind.
    const SCHEMA: Option<&'static str>;

    /// The server's identifier, once it has one.
    fn id(&self) -> Option<&ResourceId>;

    /// What the server says of the resource itself.
    fn meta(&self) -> Option<&Meta>;
}

/// A server's identifier of a resource: opaque, may hold any character, compared exactly (RFC 7643 §3.1).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct ResourceId(String);

impl ResourceId {
    /// The identifier.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a server says of a resource itself (RFC 7643 §3.1).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Meta {
    /// `User`, `Group`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// When it was made, as the server wrote it: servers write many forms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it was last changed, as the server wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Where it is; some servers write a path without a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The version, which is an entity tag with most servers (and a time with SAP S/4HANA Cloud).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Any resource, as its attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicResource {
    /// All attributes, `schemas`, `id` and `meta` among them.
    pub attributes: Attributes,
    id: Option<ResourceId>,
    meta: Option<Meta>,
}

impl DynamicResource {
    /// From its attributes.
    pub fn new(attributes: Attributes) -> Self {
        let id = attribute(&attributes, "id").and_then(Value::as_str).map(ResourceId::new);
        let meta = attribute(&attributes, "meta").and_then(|meta| serde_json::from_value(meta.clone()).ok());
        Self { attributes, id, meta }
    }
}

impl Serialize for DynamicResource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.attributes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DynamicResource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Attributes::deserialize(deserializer).map(Self::new)
    }
}

impl Resource for DynamicResource {
    const SCHEMA: Option<&'static str> = None;

    fn id(&self) -> Option<&ResourceId> {
        self.id.as_ref()
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }
}

/// A schema extension as a Rust type.
pub trait Extension: Serialize + DeserializeOwned {
    /// Its URN, which is also the name of its attribute.
    const SCHEMA: &'static str;
}

/// The extensions of a resource (and whatever else it holds that its type does not name), by attribute name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Extensions(pub Attributes);

impl Extensions {
    /// The extension, where the resource speaks of it.
    ///
    /// # Errors
    /// Where what is there cannot be read as `E`.
    pub fn extension<E: Extension>(&self) -> Result<Asserted<E>, serde_json::Error> {
        match attribute(&self.0, E::SCHEMA) {
            None => Ok(Asserted::Absent),
            Some(Value::Null) => Ok(Asserted::Null),
            Some(value) => serde_json::from_value(value.clone()).map(Asserted::Value),
        }
    }

    /// Sets the extension.
    ///
    /// # Errors
    /// Where `E` cannot be written as JSON.
    pub fn set_extension<E: Extension>(&mut self, extension: &E) -> Result<(), serde_json::Error> {
        self.0.insert(E::SCHEMA.to_owned(), serde_json::to_value(extension)?);
        Ok(())
    }
}
