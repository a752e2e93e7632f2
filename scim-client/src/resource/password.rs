//! A password on its way to a server.

use std::fmt;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::resource::value::{Scalar, ScalarValue, scalar_values};

/// A password on its way to a server. Wiped from memory when dropped, never in `Debug`; written where the user is
/// written.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// The password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    /// As text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl ScalarValue for Password {
    const EXPECTED: &'static str = "text";

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        Some(Self::new(scalar.into_text()))
    }
}

scalar_values!(Password);
