//! Users and groups.

use scim_client::Asserted;
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::{EnterpriseUser, Group, Name, Password, User};
use serde_json::{Value, json};

fn read<T: for<'a> serde::Deserialize<'a>>(json: &str) -> T {
    from_slice(json.as_bytes(), &ReadLimits::default()).unwrap()
}

/// RFC 7643 §8.3, shortened only in the photo and the certificate.
const ENTERPRISE_USER: &str = r#"{
  "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
              "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
  "id": "2819c223-7f76-453a-919d-413861904646",
  "externalId": "701984",
  "userName": "bjensen@example.com",
  "name": {"formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara",
           "middleName": "Jane", "honorificPrefix": "Ms.", "honorificSuffix": "III"},
  "displayName": "Babs Jensen",
  "nickName": "Babs",
  "profileUrl": "https://login.example.com/bjensen",
  "emails": [{"value": "bjensen@example.com", "type": "work", "primary": true},
             {"value": "babs@jensen.org", "type": "home"}],
  "addresses": [{"streetAddress": "100 Universal City Plaza", "locality": "Hollywood", "region": "CA",
                 "postalCode": "91608", "country": "USA",
                 "formatted": "100 Universal City Plaza\nHollywood, CA 91608 USA", "type": "work"}],
  "phoneNumbers": [{"value": "555-555-5555", "type": "work"}, {"value": "555-555-4444", "type": "mobile"}],
  "ims": [{"value": "someaimhandle", "type": "aim"}],
  "photos": [{"value": "https://photos.example.com/profilephoto/72930000000Ccne/F", "type": "photo"}],
  "userType": "Employee",
  "title": "Tour Guide",
  "preferredLanguage": "en-US",
  "locale": "en-US",
  "timezone": "America/Los_Angeles",
  "active": true,
  "password": "t1meMa$heen",
  "groups": [{"value": "e9e30dba-f08f-4109-8486-d5c6a331660a", "$ref": "../Groups/e9e30dba-f08f-4109-8486-d5c6a331660a",
              "display": "Tour Guides"}],
  "x509Certificates": [{"value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAwTjELMAkGA1UEBhMCVVMx"}],
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
    "employeeNumber": "701984", "costCenter": "4130", "organization": "Universal Studios",
    "division": "Theme Park", "department": "Tour Operations",
    "manager": {"value": "26118915-6090-4610-87e4-49d8ca9f808d",
                "$ref": "../Users/26118915-6090-4610-87e4-49d8ca9f808d", "displayName": "John Smith"}},
  "meta": {"resourceType": "User", "created": "2010-01-23T04:56:22Z", "lastModified": "2011-05-13T04:42:34Z",
           "version": "W\/\"3694e05e9dff591\"", "location": "https://example.com/v2/Users/2819c223-7f76-453a-919d-413861904646"}
}"#;

#[test]
fn reads_the_enterprise_user_of_rfc_7643_and_writes_it_back() {
    let user: User = read(ENTERPRISE_USER);
    assert_eq!(user.user_name, "bjensen@example.com".into());
    assert_eq!(user.name.value().unwrap().honorific_suffix, "III".into());
    assert_eq!(user.emails.value().unwrap().len(), 2);
    assert_eq!(user.groups.value().unwrap()[0].display, "Tour Guides".into());
    assert_eq!(user.meta.as_ref().unwrap().version.as_deref(), Some(r#"W/"3694e05e9dff591""#));
    let enterprise = user.extensions.extension::<EnterpriseUser>().unwrap().into_value().unwrap();
    assert_eq!(enterprise.manager.value().unwrap().display_name, "John Smith".into());
    assert_eq!(user.extensions.0.len(), 1, "every other attribute has a field");
    let document: Value = serde_json::from_str(ENTERPRISE_USER).unwrap();
    assert_eq!(serde_json::to_value(&user).unwrap(), document);
}

#[test]
fn reads_the_group_of_rfc_7643() {
    let group: Group = read(
        r#"{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "id": "e9e30dba-f08f-4109-8486-d5c6a331660a",
            "displayName": "Tour Guides",
            "members": [{"value": "2819c223-7f76-453a-919d-413861904646",
                         "$ref": "https://example.com/v2/Users/2819c223-7f76-453a-919d-413861904646", "display": "Babs Jensen"},
                        {"value": "902c246b-6245-4190-8e05-00816be7344a", "display": "Mandy Pepperidge"}]}"#,
    );
    assert_eq!(group.members.value().unwrap()[1].display, "Mandy Pepperidge".into());
}

#[test]
fn keeps_absent_null_and_value_apart() {
    let user: User =
        read(r#"{"displayName": null, "title": "", "emails": [], "name": null, "nickName": []}"#);
    assert_eq!(user.user_name, Asserted::Absent);
    assert_eq!(user.display_name, Asserted::Null);
    assert_eq!(user.title, "".into());
    assert_eq!(user.emails, Asserted::Value(Vec::new()));
    assert_eq!(user.name, Asserted::Null);
    assert_eq!(user.nick_name, Asserted::Null, "RFC 7643 §2.5: an empty array is no value");
    assert_eq!(
        serde_json::to_value(&user).unwrap(),
        json!({"displayName": null, "title": "", "emails": [], "name": null, "nickName": null}),
    );
}

#[test]
fn reads_what_servers_get_wrong() {
    let user: User = read(
        r#"{"ID": 4711, "USERNAME": ["bjensen"], "Active": "False", "schemas": "urn:ietf:params:scim:schemas:core:2.0:User",
            "emails": {"Value": "a@example.com", "primary": "TRUE", "verified": true}, "roles": "admin",
            "entitlements": ["one", null, {"value": 2}], "name": "Babs Jensen", "favouriteColour": {"rgb": [1, 2.5, -3]},
            "meta": {"location": "/Users/4711", "tenant": "t1"},
            "URN:ietf:params:scim:schemas:extension:enterprise:2.0:user": {"Department": "Tours", "manager": "26118915"}}"#,
    );
    assert_eq!(user.id.as_ref().unwrap().as_str(), "4711");
    assert_eq!(user.user_name, "bjensen".into());
    assert_eq!(user.active, false.into());
    assert_eq!(user.schemas, [User::SCHEMA]);
    let emails = user.emails.value().unwrap();
    assert_eq!((emails.len(), &emails[0].primary), (1, &true.into()));
    assert_eq!(emails[0].extensions.0["verified"], json!(true));
    assert_eq!(user.roles.value().unwrap()[0].value, "admin".into());
    let entitled: Vec<_> =
        user.entitlements.value().unwrap().iter().map(|entry| entry.value.value().unwrap()).collect();
    assert_eq!(entitled, ["one", "2"]);
    assert_eq!(user.name.value().unwrap().formatted, "Babs Jensen".into());
    assert_eq!(user.extensions.0["favouriteColour"], json!({"rgb": [1, 2.5, -3]}));
    assert_eq!(user.meta.unwrap().location.as_deref(), Some("/Users/4711"));
    let enterprise = user.extensions.extension::<EnterpriseUser>().unwrap().into_value().unwrap();
    assert_eq!(enterprise.department, "Tours".into());
    assert_eq!(enterprise.manager.value().unwrap().value, "26118915".into());
}

#[test]
fn an_extension_replaces_the_one_of_another_case() {
    let mut user: User =
        read(r#"{"urn:IETF:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Tours"}}"#);
    let mut enterprise = EnterpriseUser::default();
    enterprise.department = "Rides".into();
    user.extensions.set_extension(&enterprise).unwrap();
    assert_eq!(
        serde_json::to_value(&user).unwrap(),
        json!({"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Rides"}}),
    );
}

#[test]
fn does_not_write_an_attribute_twice() {
    let mut user = User::new("bjensen");
    user.extensions.0.insert("USERNAME".to_owned(), json!("jsmith"));
    assert!(serde_json::to_string(&user).is_err());
}

#[test]
fn a_password_is_written_and_never_shown() {
    let mut user = User::new("bjensen");
    user.password = Asserted::Value(Password::new("t1meMa$heen"));
    assert!(serde_json::to_string(&user).unwrap().contains("t1meMa$heen"));
    assert!(!format!("{user:?}").contains("t1meMa$heen"));
    let read_back: User = read(&serde_json::to_string(&user).unwrap());
    assert_eq!(read_back, user);
}

#[test]
fn a_name_is_made_field_by_field() {
    let mut user = User::new("bjensen");
    let mut name = Name::default();
    name.family_name = "Jensen".into();
    user.name = name.into();
    assert_eq!(
        serde_json::to_value(&user).unwrap(),
        json!({"schemas": [User::SCHEMA], "userName": "bjensen", "name": {"familyName": "Jensen"}}),
    );
}

/// Written from the shapes that Microsoft's documentation of its provisioning service shows.
#[test]
fn reads_a_user_as_entra_sends_it() {
    let user: User = read(
        r#"{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
                        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
            "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef", "userName": "Test_User_ab6490ee", "active": true,
            "emails": [{"primary": true, "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
            "meta": {"resourceType": "User"},
            "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
            "roles": ["{\"id\":\"18d14569\",\"value\":\"Admin\",\"displayName\":\"Admin\"}"],
            "addresses": [{"type": "work", "primary": "True", "region": "WA"}]}"#,
    );
    assert_eq!(user.external_id, "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef".into());
    // A role as text that is JSON is kept as it came.
    assert_eq!(
        user.roles.value().unwrap()[0].value,
        r#"{"id":"18d14569","value":"Admin","displayName":"Admin"}"#.into()
    );
    assert_eq!(user.addresses.value().unwrap()[0].primary, true.into());
}

/// Written from the shapes that Okta's documentation of its SCIM client shows.
#[test]
fn reads_a_user_and_a_group_as_okta_sends_them() {
    let user: User = read(
        r#"{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "test.user@okta.local",
            "name": {"givenName": "Test", "familyName": "User"},
            "emails": [{"primary": true, "value": "test.user@okta.local", "type": "work"}],
            "displayName": "Test User", "locale": "en-US", "externalId": "00ujl29u0le5T6Aj10h7", "groups": [],
            "password": "1mz050nq", "active": true}"#,
    );
    assert_eq!(user.groups, Asserted::Value(Vec::new()));
    assert_eq!(user.password.value().unwrap().expose(), "1mz050nq");
    let group: Group = read(
        r#"{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "id": "abf4dd94-a4c0-4f67-89c9-76b03340cb9b",
            "displayName": "Test SCIMv2", "members": [{"value": "b1c794f24f4c49f4b5d503a4cb2686ea", "display": "SCIM 2 Group A"}],
            "meta": null}"#,
    );
    assert_eq!(group.members.value().unwrap()[0].display, "SCIM 2 Group A".into());
    assert_eq!(group.meta, None);
}
