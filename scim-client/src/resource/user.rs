//! `User` (RFC 7643 §4.1).

use crate::asserted::Asserted;
use crate::attributes;
use crate::resource::{Meta, MultiValued, Password, Resource, ResourceId};
use crate::urn;

attributes! {
    /// A user.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct User {
        /// The URNs of the schemas that it follows.
        "schemas" => schemas: Vec<String>,
        /// The server's identifier.
        "id" => id: Option<ResourceId>,
        /// The client's identifier.
        "externalId" => external_id: Asserted<String>,
        /// The name to sign in with; unique with the server.
        "userName" => user_name: Asserted<String>,
        /// The parts of the person's name.
        "name" => name: Asserted<Name>,
        /// The name to show.
        "displayName" => display_name: Asserted<String>,
        /// How the person is called.
        "nickName" => nick_name: Asserted<String>,
        /// A page about the person.
        "profileUrl" => profile_url: Asserted<String>,
        /// The position: `Vice President`.
        "title" => title: Asserted<String>,
        /// `Employee`, `Contractor`, …
        "userType" => user_type: Asserted<String>,
        /// The language to speak to the person in: `en-US`.
        "preferredLanguage" => preferred_language: Asserted<String>,
        /// Where the person is, for dates and numbers: `en-US`.
        "locale" => locale: Asserted<String>,
        /// `America/Los_Angeles`
        "timezone" => timezone: Asserted<String>,
        /// Whether the account can be used.
        "active" => active: Asserted<bool>,
        /// A new password. Servers never send it.
        "password" => password: Asserted<Password>,
        /// Addresses of mail.
        "emails" => emails: Asserted<Vec<Email>>,
        /// Telephone numbers.
        "phoneNumbers" => phone_numbers: Asserted<Vec<PhoneNumber>>,
        /// Addresses of instant messaging.
        "ims" => ims: Asserted<Vec<InstantMessaging>>,
        /// Pictures, as URLs.
        "photos" => photos: Asserted<Vec<Photo>>,
        /// Addresses where the person lives or works.
        "addresses" => addresses: Asserted<Vec<Address>>,
        /// The groups that the user is in, which only the server writes: memberships change by the group.
        "groups" => groups: Asserted<Vec<Membership>>,
        /// What the user is entitled to.
        "entitlements" => entitlements: Asserted<Vec<Entitlement>>,
        /// Roles.
        "roles" => roles: Asserted<Vec<Role>>,
        /// Certificates, each DER in base 64.
        "x509Certificates" => x509_certificates: Asserted<Vec<X509Certificate>>,
        /// What the server says of the resource.
        "meta" => meta: Option<Meta>,
    }
}

attributes! {
    /// A person's name (RFC 7643 §4.1.1).
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Name, bare as formatted {
        /// The whole name.
        "formatted" => formatted: Asserted<String>,
        /// The last name.
        "familyName" => family_name: Asserted<String>,
        /// The first name.
        "givenName" => given_name: Asserted<String>,
        /// The middle names.
        "middleName" => middle_name: Asserted<String>,
        /// `Ms.`
        "honorificPrefix" => honorific_prefix: Asserted<String>,
        /// `III`
        "honorificSuffix" => honorific_suffix: Asserted<String>,
    }
}

attributes! {
    /// Where a person lives or works (RFC 7643 §4.1.2).
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct Address, bare as formatted {
        /// The whole, with line breaks.
        "formatted" => formatted: Asserted<String>,
        /// Street, number and more, with line breaks.
        "streetAddress" => street_address: Asserted<String>,
        /// City.
        "locality" => locality: Asserted<String>,
        /// State.
        "region" => region: Asserted<String>,
        /// Postal code.
        "postalCode" => postal_code: Asserted<String>,
        /// Country, by ISO 3166-1 alpha-2.
        "country" => country: Asserted<String>,
        /// `work`, `home`, `other`
        "type" => kind: Asserted<String>,
        /// Whether it is the preferred one.
        "primary" => primary: Asserted<bool>,
    }
}

/// An address of mail.
pub type Email = MultiValued;
/// A telephone number.
pub type PhoneNumber = MultiValued;
/// An address of instant messaging.
pub type InstantMessaging = MultiValued;
/// A picture.
pub type Photo = MultiValued;
/// A group that the user is in; `kind` is `direct` or `indirect`.
pub type Membership = MultiValued;
/// What the user is entitled to.
pub type Entitlement = MultiValued;
/// A role.
pub type Role = MultiValued;
/// A certificate.
pub type X509Certificate = MultiValued;

impl User {
    /// The URN of the core schema.
    pub const SCHEMA: &'static str = urn::USER;

    /// A user of that name.
    pub fn new(user_name: impl Into<String>) -> Self {
        Self {
            schemas: vec![Self::SCHEMA.to_owned()],
            user_name: Asserted::Value(user_name.into()),
            ..Self::default()
        }
    }
}

impl Resource for User {
    const SCHEMA: Option<&'static str> = Some(Self::SCHEMA);

    fn id(&self) -> Option<&ResourceId> {
        self.id.as_ref()
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }
}
