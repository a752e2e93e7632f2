//! Names of people, tenants and what else an event refers to.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Most bytes of an identifier.
pub const ID_BYTES_MAX: usize = 256;

/// Why a text is no identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing is there.
    #[error("an identifier must not be empty")]
    Empty,
    /// More than [`ID_BYTES_MAX`].
    #[error("an identifier has at most {ID_BYTES_MAX} bytes")]
    TooLong,
    /// Characters that could act on a terminal or end a line.
    #[error("an identifier must not hold control characters")]
    Control,
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        Err(IdError::Empty)
    } else if text.len() > ID_BYTES_MAX {
        Err(IdError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(IdError::Control)
    } else {
        Ok(())
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Opaque, compared byte by byte, cheap to clone; 1 to [`ID_BYTES_MAX`] bytes without control characters.
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Of this text.
            ///
            /// # Errors
            /// Where it is empty, too long or holds control characters.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                check(text).map(|()| Self(text.into()))
            }

            /// As it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::event::text(deserializer, |text| Self::new(text))
            }
        }
    )*};
}

ids! {
    /// Whose events these are. It comes from whoever is asked to take events, never from the events.
    TenantId;
    /// Who logged in, or tried to: what never changes and is never given to another.
    ActorId;
    /// What the event refers to besides: a target, a session, a device, a correlation.
    Reference;
}
