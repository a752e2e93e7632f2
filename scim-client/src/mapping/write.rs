//! A resource from what the rules give.

use serde_json::{Map, Value, json};

use super::{Mapping, MappingError, MappingErrorKind, Occasion, Rule};
use crate::asserted::Asserted;
use crate::message::PatchOp;
use crate::patch::{self, ApplyErrorKind};
use crate::path::{AttributePath, Path};
use crate::resource::Attributes;

pub(super) fn resource(
    mapping: &Mapping,
    source: &Attributes,
    occasions: &[Occasion],
) -> Result<Attributes, MappingError> {
    let mut resource = Attributes::from_iter([("schemas".to_owned(), json!([mapping.schema]))]);
    let mut unassigned = Vec::new();
    for rule in mapping.rules.iter().filter(|rule| occasions.contains(&rule.occasion)) {
        let error = |kind| MappingError { attribute: attribute_of(&rule.target), kind };
        match rule.expression.evaluate(mapping, source).map_err(error)? {
            Asserted::Absent | Asserted::Null if rule.required => {
                return Err(error(MappingErrorKind::Required));
            }
            Asserted::Absent => {}
            Asserted::Null => unassigned.push(rule),
            Asserted::Value(value) => {
                add(&mut resource, rule, value).map_err(|kind| error(MappingErrorKind::Write(kind)))?
            }
        }
    }
    for rule in unassigned {
        unassign(&mut resource, &rule.target);
    }
    Ok(resource)
}

/// The attribute without the filter, which may hold values.
pub(crate) fn attribute_of(path: &Path) -> String {
    let attribute = AttributePath { sub: None, ..path.attribute.clone() };
    match path.sub_attribute() {
        Some(sub) => attribute.part(sub).to_string(),
        None => attribute.to_string(),
    }
}

fn add(resource: &mut Attributes, rule: &Rule, value: Value) -> Result<(), ApplyErrorKind> {
    let one = PatchOp::new().add(rule.target.clone(), value);
    let done = patch::normalise(&one).and_then(|one| patch::apply(resource, &one));
    done.map_err(|error| error.kind)
}

/// Says that the target has no value, unless something else gave it one.
fn unassign(resource: &mut Attributes, target: &Path) {
    let holder = match &target.attribute.schema {
        Some(urn) => match resource.entry(urn.clone()).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(extension) => extension,
            _ => return,
        },
        None => resource,
    };
    let own = target.attribute.schema.is_none();
    let name = &target.attribute.name;
    let several = target.element.is_some() || (own && patch::name::is_multi_valued(name));
    match (target.sub_attribute(), holder.get_mut(name)) {
        (_, None) if several => {
            holder.insert(name.clone(), Value::Array(Vec::new()));
        }
        (None, None) => {
            holder.insert(name.clone(), Value::Null);
        }
        (Some(sub), None) => {
            holder.insert(name.clone(), Value::Object(Map::from_iter([(sub.to_owned(), Value::Null)])));
        }
        (Some(sub), Some(Value::Object(parts))) => {
            parts.entry(sub).or_insert(Value::Null);
        }
        (Some(sub), Some(Value::Array(elements))) => {
            for element in elements {
                let meant = target
                    .element
                    .as_deref()
                    .is_none_or(|filter| filter.matches_element(&target.attribute, element));
                if let (true, Value::Object(parts)) = (meant, element) {
                    parts.entry(sub).or_insert(Value::Null);
                }
            }
        }
        _ => {}
    }
}
