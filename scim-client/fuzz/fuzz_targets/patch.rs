//! Three lines of JSON: a resource, another, and a PATCH. The difference of the resources leads from one to the other; the
//! PATCH is applied as a whole or not at all, in every form that a dialect gives it.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use scim_client::Dialect;
use scim_client::dialect::{BooleanForm, MemberRemoval, PatchForm};
use scim_client::message::PatchOp;
use scim_client::patch::{ApplyErrorKind, apply, between, equivalent, normalise, towards};
use scim_client::resource::Attributes;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut object = || match serde_json::from_slice(lines.next()?) {
        Ok(value @ Value::Object(_)) if names_differ(&value) => value.as_object().cloned(),
        _ => None,
    };
    let (Some(old), Some(new)) = (object(), object()) else { return };

    let patch = between(&old, &new);
    assert_eq!(patch.is_empty(), equivalent(&old, &new));
    let mut changed = old.clone();
    match apply(&mut changed, &patch) {
        Ok(()) => assert!(equivalent(&changed, &new)),
        // Two elements cannot both be the primary one.
        Err(error) => assert_eq!((error.kind, &changed), (ApplyErrorKind::InvalidValue, &old)),
    }
    let mut changed = old.clone();
    if apply(&mut changed, &towards(&old, &new)).is_ok() {
        assert!(towards(&changed, &new).is_empty());
    }

    let Some(Ok(patch)) = lines.next().map(serde_json::from_slice::<PatchOp>) else { return };
    let mut changed = old.clone();
    match apply(&mut changed, &patch) {
        Ok(()) => assert_eq!(changed.get("id"), old.get("id")),
        Err(error) => {
            assert!(error.operation < patch.operations.len());
            assert_eq!(changed, old);
        }
    }
    if let Ok(once) = normalise(&patch) {
        assert_eq!(normalise(&once).as_ref(), Ok(&once));
    }
    for form in [PatchForm::Standard, PatchForm::PerAttribute, PatchForm::Unfiltered, PatchForm::Pathless] {
        for removal in [MemberRemoval::Filter, MemberRemoval::Value, MemberRemoval::Replace] {
            let dialect = Dialect::rfc7644().with(|dialect| {
                dialect.patch = form;
                dialect.member_removal = removal;
                dialect.booleans = BooleanForm::Text;
                dialect.members_per_patch_max = Some(2);
            });
            for message in patch.in_dialect(&dialect, &old).unwrap_or_default() {
                assert!(!message.is_empty());
                let _ = apply(&mut old.clone(), &message);
            }
        }
    }
});

/// Whether no object in it has a name twice but for case: nothing that is read does.
fn names_differ(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.iter().all(names_differ),
        Value::Object(map) => {
            let mut names = HashSet::new();
            (map as &Attributes)
                .iter()
                .all(|(name, value)| names.insert(name.to_ascii_lowercase()) && names_differ(value))
        }
        _ => true,
    }
}
