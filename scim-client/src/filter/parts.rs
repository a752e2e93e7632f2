//! The parts of complex attributes.

use super::Filter;
use super::attribute::{Attribute, Boolean, Reference, Text, Time};
use crate::path::{AttributePath, Path};

/// What the names of parts are relative to.
#[derive(Clone, Debug)]
enum Base {
    /// To a resource: `emails.type`.
    Whole(AttributePath),
    /// To one element: `type`.
    Element,
}

impl Base {
    fn part<K: super::Kind>(&self, name: &str) -> Attribute<K> {
        Attribute::of(match self {
            Self::Whole(attribute) => attribute.clone().part(name),
            Self::Element => AttributePath::named(name),
        })
    }

    /// Within an element there is only its value to speak of.
    fn whole(self) -> AttributePath {
        match self {
            Self::Whole(attribute) => attribute,
            Self::Element => AttributePath::named("value"),
        }
    }
}

macro_rules! complex {
    ($(#[$doc:meta])* $name:ident { $($(#[$part_doc:meta])* $part:ident $json:literal: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Base);

        impl $name {
            pub(super) fn of(path: AttributePath) -> Self {
                Self(Base::Whole(path))
            }

            $(
                $(#[$part_doc])*
                pub fn $part(&self) -> Attribute<$kind> {
                    self.0.part($json)
                }
            )*

            /// `pr`: it has a value.
            pub fn present(self) -> Filter {
                Filter::Present(self.0.whole())
            }

            /// `not (… pr)`: it has no value.
            pub fn absent(self) -> Filter {
                !self.present()
            }

            /// The attribute as what a PATCH changes.
            pub fn path(self) -> Path {
                Path::from(self.0.whole())
            }
        }
    };
}

macro_rules! plural {
    ($name:ident) => {
        impl $name {
            /// One and the same element is as `of` says: `emails[type eq "work" and value ew "@example.com"]`.
            pub fn element(self, of: impl FnOnce(&Self) -> Filter) -> Filter {
                Filter::Element(self.0.whole(), Box::new(of(&Self(Base::Element))))
            }

            /// The elements that are as `of` says, as what a PATCH changes.
            pub fn path_where(self, of: impl FnOnce(&Self) -> Filter) -> Path {
                Path::from(self.0.whole()).elements(of(&Self(Base::Element)))
            }
        }
    };
}

complex! {
    /// `meta`: what a server says of the resource itself.
    MetaParts {
        /// `User`, `Group`, …
        resource_type "resourceType": Text,
        /// When it was made.
        created "created": Time,
        /// When it was last changed.
        last_modified "lastModified": Time,
        /// Where it is.
        location "location": Reference,
        /// Its version.
        version "version": Text,
    }
}

complex! {
    /// `name`: the parts of a person's name.
    NameParts {
        /// The whole name.
        formatted "formatted": Text,
        /// The last name.
        family_name "familyName": Text,
        /// The first name.
        given_name "givenName": Text,
        /// The names between.
        middle_name "middleName": Text,
        /// What comes before the name.
        honorific_prefix "honorificPrefix": Text,
        /// What comes after it.
        honorific_suffix "honorificSuffix": Text,
    }
}

complex! {
    /// A multi-valued attribute of `User` with the sub-attributes of RFC 7643 §2.4.
    Plural {
        /// The value.
        value "value": Text,
        /// The value as shown to people.
        display "display": Text,
        /// `type`: `work`, `home`, …
        kind "type": Text,
        /// Whether it is the preferred one.
        primary "primary": Boolean,
    }
}

complex! {
    /// `addresses`.
    Address {
        /// The whole address.
        formatted "formatted": Text,
        /// Street and number.
        street_address "streetAddress": Text,
        /// The town.
        locality "locality": Text,
        /// The state or region.
        region "region": Text,
        /// The postal code.
        postal_code "postalCode": Text,
        /// The country, as ISO 3166-1 alpha-2.
        country "country": Text,
        /// `type`: `work`, `home`, `other`.
        kind "type": Text,
        /// Whether it is the preferred one.
        primary "primary": Boolean,
    }
}

complex! {
    /// `groups` of `User`.
    Membership {
        /// The group's identifier.
        value "value": Text,
        /// `$ref`: where the group is.
        reference "$ref": Reference,
        /// The group's name.
        display "display": Text,
        /// `type`: `direct` or `indirect`.
        kind "type": Text,
    }
}

complex! {
    /// `members` of `Group`.
    Grouping {
        /// The member's identifier.
        value "value": Text,
        /// `$ref`: where the member is.
        reference "$ref": Reference,
        /// The member's name.
        display "display": Text,
        /// `type`: `User` or `Group`.
        kind "type": Text,
    }
}

complex! {
    /// `manager` of the enterprise extension.
    Manager {
        /// The manager's identifier.
        value "value": Text,
        /// `$ref`: where the manager is.
        reference "$ref": Reference,
        /// The manager's name.
        display_name "displayName": Text,
    }
}

plural!(Plural);
plural!(Address);
plural!(Membership);
plural!(Grouping);
