//! How the attributes of discovered schemas compare.

use super::rules::{AttributeRules, Comparison, Rfc7643};
use crate::message::{AttributeKind, Schema, SchemaAttribute};

/// As a server publishes it (`/Schemas`), and where it does not say, as [`Rfc7643`] has it.
///
/// `id`, `externalId` and `meta` are the RFC's in any case: it fixes what they are like for every resource (§3.1). Where
/// a filter names no schema and two disagree, the exact one wins.
impl AttributeRules for Vec<Schema> {
    fn comparison(&self, schema: Option<&str>, name: &str, sub: Option<&str>) -> Option<Comparison> {
        let by_rfc = || Rfc7643.comparison(schema, name, sub);
        if ["id", "externalId", "meta"].iter().any(|fixed| fixed.eq_ignore_ascii_case(name)) {
            return by_rfc();
        }
        let mut published = self
            .iter()
            .filter(|candidate| is_meant(candidate, schema))
            .filter_map(|candidate| value_of(candidate.attribute(name)?, sub))
            .map(comparison);
        let first = published.next();
        if published.any(|other| other == Comparison::Exact) {
            Some(Comparison::Exact)
        } else {
            first.or_else(by_rfc)
        }
    }
}

/// A filter that names no schema means one of a resource's own attributes, not an extension's.
fn is_meant(candidate: &Schema, named: Option<&str>) -> bool {
    let id = candidate.id.as_ref().map(|id| id.as_str()).unwrap_or_default();
    match named {
        Some(named) => id.eq_ignore_ascii_case(named),
        None => !id.to_ascii_lowercase().contains(":extension:"),
    }
}

fn value_of<'s>(attribute: &'s SchemaAttribute, sub: Option<&str>) -> Option<&'s SchemaAttribute> {
    match sub {
        Some(sub) => attribute.sub_attribute(sub),
        None if attribute.sub_attributes.is_empty() => Some(attribute),
        None => attribute.sub_attribute("value"),
    }
}

fn comparison(attribute: &SchemaAttribute) -> Comparison {
    match attribute.kind() {
        AttributeKind::DateTime => Comparison::Instant,
        // Exact unless the server says otherwise (RFC 7643 §2.3.6, §2.3.7).
        AttributeKind::Reference | AttributeKind::Binary if attribute.case_exact != Some(false) => {
            Comparison::Exact
        }
        _ if attribute.is_case_exact() => Comparison::Exact,
        _ => Comparison::Caseless,
    }
}
