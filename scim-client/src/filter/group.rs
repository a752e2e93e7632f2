//! Attributes of `Group` (RFC 7643 §4.2).

use super::attribute::{Attribute, Text};
use super::parts::Grouping;
pub use super::resource::{external_id, id, meta, schemas};
use crate::path::AttributePath;

super::resource::attributes! {
    None;
    /// The name.
    display_name "displayName": Attribute<Text>;
    /// Who is in it.
    members "members": Grouping;
}
