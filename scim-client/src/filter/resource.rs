//! Attributes that every resource has (RFC 7643 §3.1).

use super::attribute::{Attribute, Reference, Text};
use super::parts::MetaParts;
use crate::path::AttributePath;

/// Declares attributes as functions of the JSON name in snake case.
macro_rules! attributes {
    ($schema:expr; $($(#[$doc:meta])* $name:ident $json:literal: $kind:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name() -> $kind {
            const SCHEMA: Option<&str> = $schema;
            <$kind>::of(AttributePath { schema: SCHEMA.map(str::to_owned), name: $json.to_owned(), sub: None })
        }
    )*};
}

pub(super) use attributes;

attributes! {
    None;
    /// The server's identifier.
    id "id": Attribute<Text>;
    /// The client's identifier.
    external_id "externalId": Attribute<Text>;
    /// What the server says of the resource itself.
    meta "meta": MetaParts;
    /// The URNs of the schemas that it follows.
    schemas "schemas": Attribute<Reference>;
}
