//! `User` (RFC 7643 §4.1).

use serde::{Deserialize, Serialize};

use crate::asserted::Asserted;
use crate::resource::{Extensions, Meta, Resource, ResourceId};

/// A user.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct User {
    /// The URNs of the schemas that it follows.
    pub schemas: Vec<String>,
    /// The server's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// The client's identifier.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub external_id: Asserted<String>,
    /// The name to sign in with; unique with the server.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub user_name: Asserted<String>,
    /// The parts of the person's name.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub name: Asserted<Name>,
    /// The name to show.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub display_name: Asserted<String>,
    /// Whether the account can be used.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub active: Asserted<bool>,
    /// Addresses.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub emails: Asserted<Vec<Email>>,
    /// What the server says of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// Extensions and attributes of no known name.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A person's name (RFC 7643 §4.1.1).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Name {
    /// The whole name.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub formatted: Asserted<String>,
    /// The last name.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub family_name: Asserted<String>,
    /// The first name.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub given_name: Asserted<String>,
}

/// An address (RFC 7643 §4.1.2).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Email {
    /// The address.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub value: Asserted<String>,
    /// `work`, `home`, `other`.
    #[serde(rename = "type", skip_serializing_if = "Asserted::is_absent")]
    pub kind: Asserted<String>,
    /// Whether it is the preferred one.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub primary: Asserted<bool>,
}

impl User {
    /// The URN of the core schema.
    pub const SCHEMA: &'static str = "urn:ietf:params:scim:schemas:core:2.0:User";

    /// A user of that name.
    pub fn new(user_name: impl Into<String>) -> Self {
        Self {
            schemas: vec![Self::SCHEMA.to_owned()],
            user_name: Asserted::Value(user_name.into()),
            ..Self::default()
        }
    }
}

impl Resource for User {
    const SCHEMA: Option<&'static str> = Some(Self::SCHEMA);

    fn id(&self) -> Option<&ResourceId> {
        self.id.as_ref()
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }
}
