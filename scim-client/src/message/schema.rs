//! `Schema` and `ResourceType` (RFC 7643 §6, §7): what a server's resources look like.

use serde_json::Value;

use crate::attributes;
use crate::resource::keyword::keywords;
use crate::resource::{Meta, Resource, ResourceId};
use crate::urn;

attributes! {
    /// A schema.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Schema {
        /// [`urn::SCHEMA`].
        "schemas" => schemas: Vec<String>,
        /// Its URN.
        "id" => id: Option<ResourceId>,
        /// Its name: `User`.
        "name" => name: Option<String>,
        /// What it is of.
        "description" => description: Option<String>,
        /// What its resources have.
        "attributes" => attributes: Vec<SchemaAttribute>,
        /// What the server says of the resource.
        "meta" => meta: Option<Meta>,
    }
}

attributes! {
    /// An attribute and its characteristics (RFC 7643 §2.2, §7). A characteristic that is not given has the value that
    /// RFC 7643 §2.2 names: the methods say so.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct SchemaAttribute {
        /// Its name.
        "name" => name: Option<String>,
        /// What kind of value it has.
        "type" => kind: Option<AttributeKind>,
        /// Whether it can have several.
        "multiValued" => multi_valued: Option<bool>,
        /// What it is.
        "description" => description: Option<String>,
        /// Whether it must be given.
        "required" => required: Option<bool>,
        /// What values it usually has; texts mostly.
        "canonicalValues" => canonical_values: Vec<Value>,
        /// Whether upper and lower case are different.
        "caseExact" => case_exact: Option<bool>,
        /// Who may write it when.
        "mutability" => mutability: Option<Mutability>,
        /// When the server sends it.
        "returned" => returned: Option<Returned>,
        /// Among which resources no two have the same.
        "uniqueness" => uniqueness: Option<Uniqueness>,
        /// What a reference may be to: `User`, `external`, `uri`.
        "referenceTypes" => reference_types: Vec<String>,
        /// What a complex one consists of.
        "subAttributes" => sub_attributes: Vec<SchemaAttribute>,
    }
}

keywords! {
    /// Kinds of values (RFC 7643 §2.3).
    pub enum AttributeKind {
        /// Text.
        String = "string",
        /// True or false.
        Boolean = "boolean",
        /// A number with a fraction.
        Decimal = "decimal",
        /// A whole number.
        Integer = "integer",
        /// A date and time.
        DateTime = "dateTime",
        /// Bytes in base 64.
        Binary = "binary",
        /// A URI.
        Reference = "reference",
        /// Sub-attributes.
        Complex = "complex",
    }
}

keywords! {
    /// Who may write an attribute when (RFC 7643 §7).
    pub enum Mutability {
        /// Only the server.
        ReadOnly = "readOnly",
        /// The client, at any time.
        ReadWrite = "readWrite",
        /// The client, once.
        Immutable = "immutable",
        /// The client; the server never sends it.
        WriteOnly = "writeOnly",
    }
}

keywords! {
    /// When a server sends an attribute (RFC 7643 §7).
    pub enum Returned {
        /// Always.
        Always = "always",
        /// Never.
        Never = "never",
        /// Unless other attributes are asked for.
        Default = "default",
        /// When asked for.
        Request = "request",
    }
}

keywords! {
    /// Among which resources no two have the same value (RFC 7643 §7).
    pub enum Uniqueness {
        /// None: two may have the same.
        None = "none",
        /// Those of the server.
        Server = "server",
        /// All anywhere.
        Global = "global",
    }
}

impl Schema {
    /// The attribute of that name, in any case.
    pub fn attribute(&self, name: &str) -> Option<&SchemaAttribute> {
        named(&self.attributes, name)
    }
}

impl SchemaAttribute {
    /// What kind of value it has: text unless said otherwise, sub-attributes where there are some.
    pub fn kind(&self) -> AttributeKind {
        match &self.kind {
            Some(kind) => kind.clone(),
            None if self.sub_attributes.is_empty() => AttributeKind::String,
            None => AttributeKind::Complex,
        }
    }

    /// Whether it can have several values: not unless said.
    pub fn is_multi_valued(&self) -> bool {
        self.multi_valued.unwrap_or(false)
    }

    /// Whether it must be given: not unless said.
    pub fn is_required(&self) -> bool {
        self.required.unwrap_or(false)
    }

    /// Whether upper and lower case are different: not unless said.
    pub fn is_case_exact(&self) -> bool {
        self.case_exact.unwrap_or(false)
    }

    /// Who may write it when: the client at any time, unless said otherwise.
    pub fn mutability(&self) -> Mutability {
        self.mutability.clone().unwrap_or(Mutability::ReadWrite)
    }

    /// When the server sends it: by default, unless said otherwise.
    pub fn returned(&self) -> Returned {
        self.returned.clone().unwrap_or(Returned::Default)
    }

    /// Among which resources no two have the same: none, unless said otherwise.
    pub fn uniqueness(&self) -> Uniqueness {
        self.uniqueness.clone().unwrap_or(Uniqueness::None)
    }

    /// The part of that name, in any case.
    pub fn sub_attribute(&self, name: &str) -> Option<&SchemaAttribute> {
        named(&self.sub_attributes, name)
    }
}

fn named<'a>(attributes: &'a [SchemaAttribute], name: &str) -> Option<&'a SchemaAttribute> {
    attributes.iter().find(|attribute| {
        attribute.name.as_deref().is_some_and(|candidate| candidate.eq_ignore_ascii_case(name))
    })
}

attributes! {
    /// A kind of resources that a server has.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct ResourceType {
        /// [`urn::RESOURCE_TYPE`].
        "schemas" => schemas: Vec<String>,
        /// Its name, mostly.
        "id" => id: Option<ResourceId>,
        /// Its name: `User`.
        "name" => name: Option<String>,
        /// What it is.
        "description" => description: Option<String>,
        /// Where its resources are, below the base: `/Users`.
        "endpoint" => endpoint: Option<String>,
        /// The URN of its core schema.
        "schema" => schema: Option<String>,
        /// What extends it.
        "schemaExtensions" => schema_extensions: Vec<SchemaExtension>,
        /// What the server says of the resource.
        "meta" => meta: Option<Meta>,
    }
}

attributes! {
    /// A schema that extends a kind of resources.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct SchemaExtension, bare as schema {
        /// Its URN.
        "schema" => schema: Option<String>,
        /// Whether each resource must have it.
        "required" => required: Option<bool>,
    }
}

impl Resource for Schema {
    const SCHEMA: Option<&'static str> = Some(urn::SCHEMA);

    fn id(&self) -> Option<&ResourceId> {
        self.id.as_ref()
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }
}

impl Resource for ResourceType {
    const SCHEMA: Option<&'static str> = Some(urn::RESOURCE_TYPE);

    fn id(&self) -> Option<&ResourceId> {
        self.id.as_ref()
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }
}
