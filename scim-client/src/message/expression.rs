//! Filters and paths where messages hold them as text.

use serde::de::Error;

use crate::filter::Filter;
use crate::path::{AttributePath, Path};
use crate::resource::value::{Scalar, ScalarValue, scalar_values};

macro_rules! expressions {
    ($($name:ty: $expected:literal),*) => {$(
        impl ScalarValue for $name {
            const EXPECTED: &'static str = $expected;

            fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
                scalar.into_text().parse().ok()
            }

            /// An empty text is none.
            fn try_scalar<E: Error>(scalar: Scalar<'_>) -> Result<Option<Self>, E> {
                match scalar {
                    Scalar::Text(text) if text.trim().is_empty() => Ok(None),
                    Scalar::Text(text) => text.parse().map(Some).map_err(E::custom),
                    _ => Err(E::custom(concat!("expected ", $expected))),
                }
            }
        }

        scalar_values!($name);
    )*};
}

expressions!(AttributePath: "the name of an attribute", Filter: "a filter", Path: "a path");
