//! `Group` (RFC 7643 §4.2).

use serde::{Deserialize, Serialize};

use crate::asserted::Asserted;
use crate::resource::{Extensions, Meta, Resource, ResourceId};

/// A group.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Group {
    /// The URNs of the schemas that it follows.
    pub schemas: Vec<String>,
    /// The server's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// The client's identifier.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub external_id: Asserted<String>,
    /// The name.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub display_name: Asserted<String>,
    /// Who is in it.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub members: Asserted<Vec<Member>>,
    /// What the server says of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// Extensions and attributes of no known name.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A member of a group.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Member {
    /// The member's identifier with the same server.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub value: Asserted<String>,
    /// Where the member is.
    #[serde(rename = "$ref", skip_serializing_if = "Asserted::is_absent")]
    pub reference: Asserted<String>,
    /// `User` or `Group`.
    #[serde(rename = "type", skip_serializing_if = "Asserted::is_absent")]
    pub kind: Asserted<String>,
    /// The member's name to show.
    #[serde(skip_serializing_if = "Asserted::is_absent")]
    pub display: Asserted<String>,
}

impl Group {
    /// The URN of the core schema.
    pub const SCHEMA: &'static str = "urn:ietf:params:scim:schemas:core:2.0:Group";

    /// A group of that name.
    pub fn new(display_name: impl Into<String>) -> Self {
        Self {
            schemas: vec![Self::SCHEMA.to_owned()],
            display_name: Asserted::Value(display_name.into()),
            ..Self::default()
        }
    }
}

impl Resource for Group {
    const SCHEMA: Option<&'static str> = Some(Self::SCHEMA);

    fn id(&self) -> Option<&ResourceId> {
        self.id.as_ref()
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }
}
