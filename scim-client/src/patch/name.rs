//! Names of attributes, and what is known of some of them without a schema.

use serde_json::{Map, Value};

use crate::path::{AttributePath, Path};
use crate::resource::{Attributes, User, attribute};

/// The enterprise extension (RFC 7643 §4.3).
pub(super) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const CORE: &str = "urn:ietf:params:scim:schemas:core:";

/// The multi-valued attributes of RFC 7643's own resources.
const MULTI_VALUED: [&str; 11] = [
    "addresses",
    "emails",
    "entitlements",
    "groups",
    "ims",
    "members",
    "phoneNumbers",
    "photos",
    "roles",
    "schemas",
    "x509Certificates",
];

/// Whether an attribute of a resource itself (not of an extension) holds several values by RFC 7643.
pub(crate) fn is_multi_valued(name: &str) -> bool {
    MULTI_VALUED.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether an attribute of a resource itself holds members, which are told apart by `value` alone.
pub(super) fn is_members(name: &str) -> bool {
    name.eq_ignore_ascii_case("members")
}

/// Whether a path can spell that name (RFC 7643 §2.1, and `_` in front as some servers have it).
pub(super) fn is_attribute_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '$' | '_'))
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$'))
}

/// Whether this is the URN of a schema, which names an extension where an attribute's name is expected.
pub(crate) fn is_urn(name: &str) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"))
        && name.len() > 4
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.'))
}

/// Whether this is the URN of one of RFC 7643's resources, whose attributes stand in the resource itself.
pub(super) fn is_core(urn: &str) -> bool {
    urn.get(..CORE.len()).is_some_and(|start| start.eq_ignore_ascii_case(CORE))
}

/// Whether this is such a URN and not an attribute behind one: `…:core:2.0:User`.
pub(super) fn is_core_alone(urn: &str) -> bool {
    is_core(urn) && urn.get(CORE.len()..).is_some_and(|rest| rest.split(':').count() == 2)
}

/// Whether the server alone writes this attribute of a resource itself. `groups` is the server's in a user, and in what
/// does not say what it is; a kind of resource of somebody's own may have another `groups`.
pub(crate) fn is_managed(name: &str, resources: &[&Attributes]) -> bool {
    if ["id", "meta", "schemas"].iter().any(|managed| managed.eq_ignore_ascii_case(name)) {
        return true;
    }
    name.eq_ignore_ascii_case("groups") && may_be_user(resources)
}

/// Whether one of them says that it is a user, or none says what it is.
pub(super) fn may_be_user(resources: &[&Attributes]) -> bool {
    let mut schemas = resources.iter().flat_map(|resource| schemas(resource)).peekable();
    schemas.peek().is_none() || schemas.any(|urn| urn.eq_ignore_ascii_case(User::SCHEMA))
}

/// The URNs that a resource says it follows.
pub(super) fn schemas(resource: &Attributes) -> impl Iterator<Item = &str> {
    attribute(resource, "schemas").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The name as the map spells it.
pub(super) fn key_of(map: &Map<String, Value>, name: &str) -> Option<String> {
    if map.contains_key(name) {
        return Some(name.to_owned());
    }
    map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

/// The attribute of that name and schema.
pub(super) fn attribute_path(schema: Option<&str>, name: &str, sub: Option<&str>) -> AttributePath {
    AttributePath { schema: schema.map(str::to_owned), name: name.to_owned(), sub: sub.map(str::to_owned) }
}

/// Whether a path is about the members of a group, and nothing of its extensions.
pub(super) fn is_members_path(path: &Path) -> bool {
    is_members(&path.attribute.name) && path.attribute.schema.as_deref().is_none_or(is_core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_names_from_urns() {
        for name in ["userName", "$ref", "x509Certificates", "a-b_c"] {
            assert!(is_attribute_name(name), "{name}");
        }
        for name in ["", "-a", "9a", "a.b", "a b", "urn:x", "é"] {
            assert!(!is_attribute_name(name), "{name}");
        }
        assert!(is_urn(ENTERPRISE) && is_urn("URN:example:2.0:User"));
        assert!(!is_urn("urn:") && !is_urn("urnx:a") && !is_urn("urn:a b") && !is_urn("ur"));
        assert!(is_core(User::SCHEMA) && !is_core(ENTERPRISE));
    }
}
