//! Resources: what SCIM servers keep.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::asserted::Asserted;
use crate::message::without_password;

mod complex;
mod enterprise;
mod group;
mod json;
pub(crate) mod keyword;
mod multi_valued;
mod password;
mod user;
pub(crate) mod value;

pub use complex::Complex;
#[doc(hidden)]
pub use complex::{read_complex, read_field, write_complex};
pub use enterprise::{EnterpriseUser, Manager};
pub use group::{Group, Member};
pub use multi_valued::MultiValued;
pub use password::Password;
pub use user::{
    Address, Email, Entitlement, InstantMessaging, Membership, Name, PhoneNumber, Photo, Role, User,
    X509Certificate,
};
pub use value::{AttributeField, AttributeValue};

pub(crate) use complex::{read_entries, write_entries};
pub(crate) use json::JsonObject;

/// Said of a name that appears twice in an object.
pub(crate) const DUPLICATE: &str = "this name appears twice";

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

crate::attributes! {
    /// What a server says of a resource itself (RFC 7643 §3.1).
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Meta {
        /// `User`, `Group`, …
        "resourceType" => resource_type: Option<String>,
        /// When it was made, as the server wrote it: servers write many forms.
        "created" => created: Option<String>,
        /// When it was last changed, as the server wrote it.
        "lastModified" => last_modified: Option<String>,
        /// Where it is; some servers write a path without a host.
        "location" => location: Option<String>,
        /// The version, which is an entity tag with most servers (and a time with SAP S/4HANA Cloud).
        "version" => version: Option<String>,
    }
}

/// Any resource, as its attributes. `Debug` shows no password.
#[derive(Clone, Default, PartialEq)]
pub struct DynamicResource {
    /// All attributes, `schemas`, `id` and `meta` among them.
    pub attributes: Attributes,
    id: Option<ResourceId>,
    meta: Option<Meta>,
}

impl DynamicResource {
    /// From its attributes. [`Resource::id`] and [`Resource::meta`] are those that it is made with.
    pub fn new(attributes: Attributes) -> Self {
        let id = attribute(&attributes, "id").and_then(|id| ResourceId::read(id).ok().flatten());
        let meta = attribute(&attributes, "meta").and_then(|meta| Meta::read(meta).ok().flatten());
        Self { attributes, id, meta }
    }
}

impl fmt::Debug for DynamicResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = without_password(Value::Object(self.attributes.clone()));
        f.debug_struct("DynamicResource").field("attributes", &attributes).finish_non_exhaustive()
    }
}

impl Serialize for DynamicResource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.attributes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DynamicResource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JsonObject::deserialize(deserializer).map(|JsonObject(attributes)| Self::new(attributes))
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

/// The attributes of a resource, as patches, filters and mappings want them.
///
/// # Errors
/// Where the resource cannot be written as a JSON object.
pub fn to_attributes(resource: &impl Serialize) -> Result<Attributes, serde_json::Error> {
    match serde_json::to_value(resource)? {
        Value::Object(attributes) => Ok(attributes),
        _ => Err(serde::ser::Error::custom("not written as an object")),
    }
}

/// The resource that these attributes describe.
///
/// # Errors
/// Where they are not those of such a resource.
pub fn from_attributes<R: Resource>(attributes: Attributes) -> Result<R, serde_json::Error> {
    serde_json::from_value(Value::Object(attributes))
}

/// A schema extension as a Rust type: one of [`attributes!`](crate::attributes), or with serde's derives.
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
            Some(value) => E::deserialize(value).map(Asserted::Value),
        }
    }

    /// Sets the extension.
    ///
    /// # Errors
    /// Where `E` cannot be written as JSON.
    pub fn set_extension<E: Extension>(&mut self, extension: &E) -> Result<(), serde_json::Error> {
        let value = serde_json::to_value(extension)?;
        self.remove(E::SCHEMA);
        self.0.insert(E::SCHEMA.to_owned(), value);
        Ok(())
    }

    /// Takes an attribute away, whatever its case.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let key = self.0.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
        self.0.remove(&key)
    }
}
