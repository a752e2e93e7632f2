//! How the values of an attribute compare.

/// How the text of an attribute compares. Booleans and numbers compare as what they are.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Comparison {
    /// Without regard to case.
    Caseless,
    /// Character by character.
    Exact,
    /// As instants: the same moment in two time zones is equal.
    Instant,
}

/// What schemas say of how attributes compare.
///
/// Implement it for schemas of your own; a wrong [`Comparison::Caseless`] lets a look-up adopt an account whose
/// identifier only looks like the one that was asked for.
pub trait AttributeRules {
    /// How the attribute compares; `None` where it is not known. Then it compares without regard to case (RFC 7643
    /// §2.2), or as an instant where both sides are times.
    ///
    /// Names come in any case. `schema` is as the filter names it, `None` where it names none. Without `sub`, a complex
    /// attribute is meant by its `value`.
    fn comparison(&self, schema: Option<&str>, name: &str, sub: Option<&str>) -> Option<Comparison>;
}

/// The schemas of RFC 7643 §8.7: what all resources have, `User`, its enterprise extension, `Group`.
///
/// Exact are `id`, `externalId`, `meta` but for its times, everything that holds an `id` of another resource (`value` of
/// `members`, `groups` and `manager`), references (§2.3.7) and binary values (§2.3.6). The representations in §8.7
/// print `"caseExact": false` for some of these; the text of the RFC is followed, and errs on the side of not taking one
/// resource for another. All other text is without regard to case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rfc7643;

impl AttributeRules for Rfc7643 {
    fn comparison(&self, schema: Option<&str>, name: &str, sub: Option<&str>) -> Option<Comparison> {
        if schema.is_some_and(|schema| !is_standard(schema)) {
            return None;
        }
        let name_in = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let sub_is = |known: &str| sub.is_none_or(|sub| sub.eq_ignore_ascii_case(known));
        if sub.is_some_and(|sub| sub.eq_ignore_ascii_case("$ref")) {
            return Some(Comparison::Exact);
        }
        if name_in(&["meta"]) {
            let is_time = sub_is("created") || sub_is("lastModified");
            return Some(if is_time { Comparison::Instant } else { Comparison::Exact });
        }
        if name_in(&["id", "externalId", "profileUrl"])
            || (name_in(&["members", "groups", "manager", "photos", "x509Certificates"]) && sub_is("value"))
        {
            return Some(Comparison::Exact);
        }
        name_in(&CASELESS).then_some(Comparison::Caseless)
    }
}

/// Whether the URN is one of RFC 7643's. Older drafts' are not: they have no rules that anyone could look up.
fn is_standard(schema: &str) -> bool {
    const PREFIX: &str = "urn:ietf:params:scim:schemas:";
    let rest = schema.get(PREFIX.len()..).unwrap_or_default();
    schema.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        && ["core:2.0:User", "core:2.0:Group", "extension:enterprise:2.0:User"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(rest))
}

const CASELESS: [&str; 28] = [
    "userName",
    "name",
    "displayName",
    "nickName",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "password",
    "active",
    "emails",
    "phoneNumbers",
    "ims",
    "photos",
    "addresses",
    "groups",
    "entitlements",
    "roles",
    "x509Certificates",
    "members",
    "employeeNumber",
    "costCenter",
    "organization",
    "division",
    "department",
    "manager",
    "schemas",
];
