//! What is written is read back as it was.

use proptest::prelude::*;
use scim_client::Asserted;
use scim_client::message::{ListResponse, PatchOp, PatchOperation, PatchVerb, Schema, ServiceProviderConfig};
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::{
    Address, Attributes, DynamicResource, EnterpriseUser, Extensions, Group, Manager, Member, Meta,
    MultiValued, Name, Password, ResourceId, User, from_attributes, to_attributes,
};
use serde_json::Value;

fn asserted<T: Clone + std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Asserted<T>> {
    prop_oneof![Just(Asserted::Absent), Just(Asserted::Null), value.prop_map(Asserted::Value)]
}

fn text() -> impl Strategy<Value = Asserted<String>> {
    asserted("\\PC{0,8}|[\u{0}-\u{1f}\"\\\\]{1,3}")
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Names that no type here has.
fn extensions() -> impl Strategy<Value = Extensions> {
    prop::collection::btree_map("(urn:x:|x-)[a-z]{1,4}", json(), 0..3)
        .prop_map(|map| Extensions(map.into_iter().collect::<Attributes>()))
}

prop_compose! {
    fn multi_valued()(
        value in text(), reference in text(), display in text(), kind in text(),
        primary in asserted(any::<bool>()), extensions in extensions(),
    ) -> MultiValued {
        let mut one = MultiValued::default();
        (one.value, one.reference, one.display, one.kind) = (value, reference, display, kind);
        (one.primary, one.extensions) = (primary, extensions);
        one
    }
}

prop_compose! {
    fn address()(street in text(), country in text(), primary in asserted(any::<bool>())) -> Address {
        let mut address = Address::default();
        (address.street_address, address.country, address.primary) = (street, country, primary);
        address
    }
}

prop_compose! {
    fn name()(family_name in text(), given_name in text(), formatted in text()) -> Name {
        let mut name = Name::default();
        (name.family_name, name.given_name, name.formatted) = (family_name, given_name, formatted);
        name
    }
}

fn several<T: Clone + std::fmt::Debug>(
    one: impl Strategy<Value = T>,
) -> impl Strategy<Value = Asserted<Vec<T>>> {
    asserted(prop::collection::vec(one, 0..3))
}

prop_compose! {
    fn user()(
        id in prop::option::of("\\PC{0,6}"),
        texts in prop::collection::vec(text(), 10),
        name in asserted(name()),
        active in asserted(any::<bool>()),
        password in asserted("\\PC{0,6}".prop_map(Password::new)),
        plural in prop::collection::vec(several(multi_valued()), 8),
        addresses in several(address()),
        version in prop::option::of("\\PC{0,6}"),
        extensions in extensions(),
        department in text(),
        manager in asserted(text()),
    ) -> User {
        let mut user = User::new("bjensen");
        user.id = id.map(ResourceId::new);
        let mut texts = texts.into_iter();
        for field in [
            &mut user.external_id, &mut user.user_name, &mut user.display_name, &mut user.nick_name,
            &mut user.profile_url, &mut user.title, &mut user.user_type, &mut user.preferred_language,
            &mut user.locale, &mut user.timezone,
        ] {
            *field = texts.next().unwrap();
        }
        let mut plural = plural.into_iter();
        for field in [
            &mut user.emails, &mut user.phone_numbers, &mut user.ims, &mut user.photos, &mut user.groups,
            &mut user.entitlements, &mut user.roles, &mut user.x509_certificates,
        ] {
            *field = plural.next().unwrap();
        }
        (user.name, user.active, user.password, user.addresses) = (name, active, password, addresses);
        user.meta = version.map(|version| {
            let mut meta = Meta::default();
            meta.version = Some(version);
            meta
        });
        user.extensions = extensions;
        let mut enterprise = EnterpriseUser::default();
        enterprise.department = department;
        enterprise.manager = match manager {
            Asserted::Absent => Asserted::Absent,
            Asserted::Null => Asserted::Null,
            Asserted::Value(value) => {
                let mut manager = Manager::default();
                manager.value = value;
                manager.into()
            }
        };
        user.extensions.set_extension(&enterprise).unwrap();
        assert_eq!(user.extensions.extension::<EnterpriseUser>().unwrap(), Asserted::Value(enterprise));
        user
    }
}

proptest! {
    #[test]
    fn of_a_user(user in user()) {
        let written = serde_json::to_vec(&user).unwrap();
        let read: User = from_slice(&written, &ReadLimits::default()).unwrap();
        prop_assert_eq!(&read, &user);
        let pretty = serde_json::to_vec_pretty(&user).unwrap();
        prop_assert_eq!(&from_slice::<User>(&pretty, &ReadLimits::default()).unwrap(), &user);

        let attributes = to_attributes(&user).unwrap();
        prop_assert_eq!(&from_attributes::<User>(attributes.clone()).unwrap(), &user);
        let dynamic: DynamicResource = from_slice(&written, &ReadLimits::default()).unwrap();
        prop_assert_eq!(&dynamic.attributes, &attributes);
        prop_assert_eq!(serde_json::to_value(&dynamic).unwrap(), Value::Object(attributes));
    }

    #[test]
    fn of_a_list_of_groups(
        names in prop::collection::vec((text(), prop::collection::vec(text(), 0..3)), 0..4),
        cursor in prop::option::of("\\PC{0,8}"),
    ) {
        let groups = names.into_iter().map(|(name, members)| {
            let mut group = Group::new("a");
            group.display_name = name;
            group.members = Asserted::Value(members.into_iter().map(|value| {
                let mut member = Member::default();
                member.value = value;
                member
            }).collect());
            group
        });
        let mut list = ListResponse::of(groups.collect::<Vec<_>>());
        list.page.next_cursor = cursor;
        let written = serde_json::to_vec(&list).unwrap();
        prop_assert_eq!(from_slice::<ListResponse<Group>>(&written, &ReadLimits::default()).unwrap(), list);
    }

    #[test]
    fn of_a_patch(operations in prop::collection::vec(
        (0..3_u8, prop::option::of(prop_oneof![
            Just("userName"), Just("name.familyName"), Just("emails[type eq \"work\"].value"),
            Just("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager"),
        ]), prop::option::of(json())), 0..4)
    ) {
        let operations = operations.into_iter().map(|(verb, path, value)| PatchOperation {
            verb: [PatchVerb::Add, PatchVerb::Remove, PatchVerb::Replace][usize::from(verb)],
            path: path.map(|path| path.parse().unwrap()),
            value,
        });
        let patch = PatchOp { operations: operations.collect(), ..PatchOp::default() };
        let written = serde_json::to_vec(&patch).unwrap();
        prop_assert_eq!(from_slice::<PatchOp>(&written, &ReadLimits::default()).unwrap(), patch);
    }

    #[test]
    fn whatever_is_read_is_written_as_what_is_read_again(
        document in json().prop_filter("an object", Value::is_object),
        names in prop::collection::vec(prop_oneof![
            Just("id"), Just("USERNAME"), Just("emails"), Just("name"), Just("active"), Just("meta"), Just("schemas"),
            Just("patch"), Just("bulk"), Just("attributes"), Just("password"), Just("filter"),
        ], 0..6),
        values in prop::collection::vec(json(), 6),
    ) {
        let Value::Object(mut object) = document else { unreachable!() };
        object.extend(names.into_iter().map(str::to_owned).zip(values));
        let bytes = serde_json::to_vec(&object).unwrap();
        if let Ok(user) = from_slice::<User>(&bytes, &ReadLimits::default()) {
            let written = serde_json::to_vec(&user).unwrap();
            prop_assert_eq!(from_slice::<User>(&written, &ReadLimits::default()).unwrap(), user);
        }
        if let Ok(config) = from_slice::<ServiceProviderConfig>(&bytes, &ReadLimits::default()) {
            let written = serde_json::to_vec(&config).unwrap();
            prop_assert_eq!(from_slice::<ServiceProviderConfig>(&written, &ReadLimits::default()).unwrap(), config);
        }
        if let Ok(schema) = from_slice::<Schema>(&bytes, &ReadLimits::default()) {
            let written = serde_json::to_vec(&schema).unwrap();
            prop_assert_eq!(from_slice::<Schema>(&written, &ReadLimits::default()).unwrap(), schema);
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = from_slice::<User>(&bytes, &ReadLimits::default());
        let _ = from_slice::<ListResponse<Group>>(&bytes, &ReadLimits::default());
    }
}
