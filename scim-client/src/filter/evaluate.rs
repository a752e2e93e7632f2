//! Whether a resource is as a filter says.

use serde_json::Value;

use super::compare::holds;
use super::{AttributeRules, CompareOp, Comparison, Filter, Literal, Rfc7643};
use crate::path::AttributePath;
use crate::resource::{Attributes, attribute};

impl Filter {
    /// Whether a resource is as the filter says, by the case rules of the schemas in RFC 7643.
    ///
    /// * A multi-valued attribute compares so where any of its elements does; `ne` is the negation of `eq`, so that no
    ///   element may be equal. A complex one is meant by its `value`; a bare value is the `value` of itself.
    /// * `null`, an empty array, an empty object and empty text are no value: `pr` does not hold and `eq null` does.
    /// * Times compare as instants; text in any case is lower-cased one character at a time, ASCII and the rest kept
    ///   apart; a composed character is not equal to its decomposition.
    /// * `"True"` is `true`. Other values of different types are not equal, and neither comes first.
    pub fn matches(&self, resource: &Attributes) -> bool {
        self.matches_by(&Rfc7643, resource)
    }

    /// Whether a resource is as the filter says, by other rules.
    pub fn matches_by(&self, rules: &dyn AttributeRules, resource: &Attributes) -> bool {
        self.holds(&Scope { rules, subject: Subject::Resource(resource) })
    }

    /// Whether one element of `of` is as the filter says. The filter is what stands in the brackets of a value path.
    ///
    /// An element that is a bare value (`"members": ["2819c223"]`) is the `value` of itself.
    pub fn matches_element(&self, of: &AttributePath, element: &Value) -> bool {
        self.matches_element_by(&Rfc7643, of, element)
    }

    /// Whether one element of `of` is as the filter says, by other rules.
    pub fn matches_element_by(
        &self,
        rules: &dyn AttributeRules,
        of: &AttributePath,
        element: &Value,
    ) -> bool {
        self.holds(&Scope { rules, subject: Subject::Element(of, element) })
    }

    fn holds(&self, scope: &Scope<'_>) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.holds(scope)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(scope)),
            Self::Not(inner) => !inner.holds(scope),
            Self::Present(path) => scope.has_value(path),
            Self::Compare(path, CompareOp::Equal, Literal::Null) => !scope.has_value(path),
            Self::Compare(path, CompareOp::NotEqual, Literal::Null) => scope.has_value(path),
            Self::Compare(path, CompareOp::NotEqual, literal) => {
                !scope.any_value(path, |value, rule| holds(value, CompareOp::Equal, literal, rule))
            }
            Self::Compare(path, op, literal) => {
                scope.any_value(path, |value, rule| holds(value, *op, literal, rule))
            }
            Self::Element(path, inner) => scope.any_element(path, |element| {
                inner.holds(&Scope { rules: scope.rules, subject: Subject::Element(path, element) })
            }),
        }
    }
}

/// What attribute names are relative to.
struct Scope<'a> {
    rules: &'a dyn AttributeRules,
    subject: Subject<'a>,
}

enum Subject<'a> {
    Resource(&'a Attributes),
    Element(&'a AttributePath, &'a Value),
}

impl<'a> Scope<'a> {
    fn find(&self, path: &AttributePath) -> Option<&'a Value> {
        match self.subject {
            Subject::Resource(resource) => path.find(resource),
            Subject::Element(_, element) => part(element, &path.name),
        }
    }

    fn rule(&self, path: &AttributePath) -> Option<Comparison> {
        match self.subject {
            Subject::Resource(_) => {
                self.rules.comparison(path.schema.as_deref(), &path.name, path.sub.as_deref())
            }
            Subject::Element(of, _) => {
                self.rules.comparison(of.schema.as_deref(), &of.name, Some(&path.name))
            }
        }
    }

    fn has_value(&self, path: &AttributePath) -> bool {
        self.find(path).is_some_and(|value| match &path.sub {
            None => has_value(value),
            Some(sub) => elements(value).iter().filter_map(|element| part(element, sub)).any(has_value),
        })
    }

    fn any_value(&self, path: &AttributePath, test: impl Fn(&Value, Option<Comparison>) -> bool) -> bool {
        let Some(found) = self.find(path) else { return false };
        let rule = self.rule(path);
        let sub = path.sub.as_deref().unwrap_or("value");
        elements(found)
            .iter()
            .filter_map(|element| part(element, sub))
            .flat_map(elements)
            .any(|value| test(value, rule))
    }

    fn any_element(&self, path: &AttributePath, test: impl Fn(&Value) -> bool) -> bool {
        let Some(found) = self.find(path) else { return false };
        match &path.sub {
            None => elements(found).iter().any(test),
            Some(sub) => {
                elements(found).iter().filter_map(|element| part(element, sub)).flat_map(elements).any(test)
            }
        }
    }
}

/// The elements of a multi-valued attribute; a single value is its only element, and null none.
fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(elements) => elements,
        single => std::slice::from_ref(single),
    }
}

/// A part of a complex value. A bare value is the `value` of itself.
fn part<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(parts) => attribute(parts, name),
        Value::Null | Value::Array(_) => None,
        bare => name.eq_ignore_ascii_case("value").then_some(bare),
    }
}

fn has_value(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => elements.iter().any(has_value),
        Value::Object(parts) => parts.values().any(has_value),
        Value::Bool(_) | Value::Number(_) => true,
    }
}
