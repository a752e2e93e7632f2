//! The sub-attributes that values of multi-valued attributes have by default (RFC 7643 §2.4).

use crate::asserted::Asserted;
use crate::attributes;

attributes! {
    /// One value of a multi-valued attribute (RFC 7643 §2.4): an address of mail, a role.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct MultiValued, bare as value {
        /// The value itself.
        "value" => value: Asserted<String>,
        /// The URL of what the value names.
        "$ref" => reference: Asserted<String>,
        /// The value to show.
        "display" => display: Asserted<String>,
        /// `work`, `home`, `other`, …
        "type" => kind: Asserted<String>,
        /// Whether it is the preferred one: at most one value is.
        "primary" => primary: Asserted<bool>,
    }
}

impl MultiValued {
    /// With that value.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: Asserted::Value(value.into()), ..Self::default() }
    }

    /// Of that type: `work`.
    #[must_use]
    pub fn of_type(mut self, kind: impl Into<String>) -> Self {
        self.kind = Asserted::Value(kind.into());
        self
    }

    /// The preferred one.
    #[must_use]
    pub fn primary(mut self) -> Self {
        self.primary = Asserted::Value(true);
        self
    }
}
