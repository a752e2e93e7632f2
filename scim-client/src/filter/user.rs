//! Attributes of `User` (RFC 7643 §4.1).

use super::attribute::{Attribute, Boolean, Reference, Text};
use super::parts::{Address, Membership, NameParts, Plural};
pub use super::resource::{external_id, id, meta, schemas};
use crate::path::AttributePath;

super::resource::attributes! {
    None;
    /// The name to sign in with.
    user_name "userName": Attribute<Text>;
    /// The parts of the person's name.
    name "name": NameParts;
    /// The name to show.
    display_name "displayName": Attribute<Text>;
    /// The casual name.
    nick_name "nickName": Attribute<Text>;
    /// A page about the person.
    profile_url "profileUrl": Attribute<Reference>;
    /// The job title.
    title "title": Attribute<Text>;
    /// How the person belongs: `Contractor`, `Employee`, …
    user_type "userType": Attribute<Text>;
    /// The language that the person prefers.
    preferred_language "preferredLanguage": Attribute<Text>;
    /// The person's locale.
    locale "locale": Attribute<Text>;
    /// The person's time zone.
    timezone "timezone": Attribute<Text>;
    /// Whether the account can be used.
    active "active": Attribute<Boolean>;
    /// Addresses for mail.
    emails "emails": Plural;
    /// Telephone numbers.
    phone_numbers "phoneNumbers": Plural;
    /// Addresses for instant messages.
    ims "ims": Plural;
    /// Pictures of the person.
    photos "photos": Plural;
    /// Postal addresses.
    addresses "addresses": Address;
    /// The groups that the user is in.
    groups "groups": Membership;
    /// What the user is entitled to.
    entitlements "entitlements": Plural;
    /// The user's roles.
    roles "roles": Plural;
    /// The user's certificates.
    x509_certificates "x509Certificates": Plural;
}
