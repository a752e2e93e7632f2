//! Words of a fixed set, which servers extend.

/// Declares an enum of words: read in any case, kept as they are where they are unknown.
macro_rules! keywords {
    (
        $(#[$outer:meta])*
        pub enum $name:ident {
            $( $(#[$doc:meta])* $variant:ident = $text:literal, )*
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$doc])* #[doc = concat!("`", $text, "`")] $variant, )*
            /// Another word.
            Other(String),
        }

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $text, )*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                $(
                    if word.eq_ignore_ascii_case($text) {
                        return Self::$variant;
                    }
                )*
                Self::Other(word.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl $crate::resource::value::ScalarValue for $name {
            const EXPECTED: &'static str = "a word";

            fn from_scalar(scalar: $crate::resource::value::Scalar<'_>) -> Option<Self> {
                Some(Self::from(scalar.into_text().as_str()))
            }
        }

        $crate::resource::value::scalar_values!($name);
    };
}
pub(crate) use keywords;
