//! `Group` (RFC 7643 §4.2).

use crate::asserted::Asserted;
use crate::attributes;
use crate::resource::{Meta, Resource, ResourceId};
use crate::urn;

attributes! {
    /// A group.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Group {
        /// The URNs of the schemas that it follows.
        "schemas" => schemas: Vec<String>,
        /// The server's identifier.
        "id" => id: Option<ResourceId>,
        /// The client's identifier.
        "externalId" => external_id: Asserted<String>,
        /// The name.
        "displayName" => display_name: Asserted<String>,
        /// Who is in it.
        "members" => members: Asserted<Vec<Member>>,
        /// What the server says of the resource.
        "meta" => meta: Option<Meta>,
    }
}

attributes! {
    /// A member of a group.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Member, bare as value {
        /// The member's identifier with the same server.
        "value" => value: Asserted<String>,
        /// Where the member is.
        "$ref" => reference: Asserted<String>,
        /// `User` or `Group`.
        "type" => kind: Asserted<String>,
        /// The member's name to show.
        "display" => display: Asserted<String>,
    }
}

impl Group {
    /// The URN of the core schema.
    pub const SCHEMA: &'static str = urn::GROUP;

    /// A group of that name.
    pub fn new(display_name: impl Into<String>) -> Self {
        Self {
            schemas: vec![Self::SCHEMA.to_owned()],
            display_name: Asserted::Value(display_name.into()),
            ..Self::default()
        }
    }
}

impl Member {
    /// The resource of that identifier.
    pub fn new(id: &ResourceId) -> Self {
        Self { value: Asserted::Value(id.as_str().to_owned()), ..Self::default() }
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
