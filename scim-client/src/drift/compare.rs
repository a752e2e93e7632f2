//! One rule of a mapping against one attribute of a schema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Drift, DriftKind, Severity};
use crate::filter::{Filter, Literal};
use crate::mapping::{Mapping, Occasion, Output, Rule, attribute_of};
use crate::message::{AttributeKind, Mutability, Schema, SchemaAttribute};
use crate::patch::name;

/// What all resources have by RFC 7643 §3.1, whether schemas speak of it or not.
const COMMON: [&str; 4] = ["schemas", "id", "externalId", "meta"];

pub(super) fn drifts(mapping: &Mapping, schemas: &[Schema]) -> Vec<Drift> {
    let find = |urn: &str| {
        schemas
            .iter()
            .find(|schema| schema.id.as_ref().is_some_and(|id| id.as_str().eq_ignore_ascii_case(urn)))
    };
    let mut comparison = Comparison { mapping, drifts: Vec::new() };
    let mut urns: BTreeSet<&str> = BTreeSet::from([mapping.schema()]);
    urns.extend(mapping.rules.iter().filter_map(|rule| rule.target.attribute.schema.as_deref()));
    for urn in urns {
        let own = urn == mapping.schema();
        let of_schema =
            |rule: &&Rule| rule.target.attribute.schema.as_deref().unwrap_or(mapping.schema()) == urn;
        let rules: Vec<&Rule> = mapping.rules.iter().filter(of_schema).collect();
        match find(urn) {
            None => comparison.push(urn.to_owned(), DriftKind::SchemaMissing, Severity::Blocks),
            Some(schema) if schema.attributes.is_empty() => {}
            Some(schema) => {
                for rule in &rules {
                    comparison.rule(rule, schema);
                }
                comparison.required(schema, &rules, if own { None } else { Some(urn) });
            }
        }
    }
    comparison.drifts
}

struct Comparison<'a> {
    mapping: &'a Mapping,
    drifts: Vec<Drift>,
}

impl Comparison<'_> {
    fn push(&mut self, attribute: String, kind: DriftKind, severity: Severity) {
        self.drifts.push(Drift { attribute, kind, severity });
    }

    fn rule(&mut self, rule: &Rule, schema: &Schema) {
        let target = &rule.target;
        let text = attribute_of(target);
        let attribute_name = &target.attribute.name;
        let Some(attribute) = schema.attribute(attribute_name) else {
            let common = target.attribute.schema.is_none()
                && COMMON.iter().any(|common| common.eq_ignore_ascii_case(attribute_name));
            if !common {
                self.push(text, DriftKind::Missing, Severity::Blocks);
            }
            return;
        };
        if attribute.mutability() == Mutability::ReadOnly {
            return self.push(text, DriftKind::ReadOnly, Severity::Blocks);
        }
        let several = attribute.is_multi_valued();
        if target.element.is_some() && !several {
            return self.push(text, DriftKind::SingleValued, Severity::Blocks);
        }
        if let Some(filter) = target.element.as_deref() {
            self.filter(filter, attribute, &text);
        }
        let Some(sub) = target.sub_attribute() else {
            self.whole(rule, attribute, text);
            return;
        };
        if several && target.element.is_none() {
            return self.push(text, DriftKind::MultiValued, Severity::Blocks);
        }
        // Servers that name no parts of a complex attribute take any.
        if attribute.sub_attributes.is_empty() && attribute.kind() == AttributeKind::Complex {
            return;
        }
        match attribute.sub_attribute(sub) {
            None => self.push(text, DriftKind::Missing, Severity::Blocks),
            Some(part) if part.mutability() == Mutability::ReadOnly => {
                self.push(text, DriftKind::ReadOnly, Severity::Blocks);
            }
            Some(part) => {
                let once = [attribute, part].iter().any(|one| one.mutability() == Mutability::Immutable);
                self.occasion(rule, once, &text);
                self.value(rule, part, part.is_multi_valued(), &text);
            }
        }
    }

    /// A rule for an attribute as a whole.
    fn whole(&mut self, rule: &Rule, attribute: &SchemaAttribute, text: String) {
        self.occasion(rule, attribute.mutability() == Mutability::Immutable, &text);
        let several = attribute.is_multi_valued();
        // A text for a complex attribute with several values is written as the `value` of an element.
        let own = rule.target.attribute.schema.is_none();
        let is_wrapped = several && own && name::is_multi_valued(&rule.target.attribute.name);
        let output = rule.expression.output(self.mapping);
        let part = (attribute.kind() == AttributeKind::Complex && is_wrapped && output != Output::Complex)
            .then(|| attribute.sub_attribute("value"))
            .flatten();
        match part {
            Some(part) => self.value(rule, part, true, &text),
            None => {
                if several && !is_wrapped && !matches!(output, Output::Strings | Output::Complex) {
                    self.push(text.clone(), DriftKind::MultiValued, Severity::Blocks);
                }
                self.value(rule, attribute, several, &text);
            }
        }
    }

    fn occasion(&mut self, rule: &Rule, once: bool, text: &str) {
        if once && rule.occasion == Occasion::Always {
            self.push(text.to_owned(), DriftKind::Immutable, Severity::Warns);
        }
    }

    /// What the rule writes against what may stand there.
    fn value(&mut self, rule: &Rule, attribute: &SchemaAttribute, several: bool, text: &str) {
        let output = rule.expression.output(self.mapping);
        if output == Output::Strings && !several {
            return self.push(text.to_owned(), DriftKind::SingleValued, Severity::Blocks);
        }
        if let Some(severity) = mismatch(output, &attribute.kind()) {
            let kind = DriftKind::Type {
                written: as_kind(output).as_str().to_owned(),
                schema: attribute.kind().as_str().to_owned(),
            };
            return self.push(text.to_owned(), kind, severity);
        }
        for value in rule.expression.known_values(self.mapping).into_iter().filter_map(Value::as_str) {
            self.canonical(value, attribute, text);
        }
    }

    /// `emails[type eq "work"]` writes `work` where there is no such element.
    fn filter(&mut self, filter: &Filter, attribute: &SchemaAttribute, text: &str) {
        let mut open = vec![filter];
        while let Some(filter) = open.pop() {
            match filter {
                Filter::And(parts) => open.extend(parts),
                Filter::Compare(path, _, literal) if !attribute.sub_attributes.is_empty() => {
                    match (attribute.sub_attribute(&path.name), literal) {
                        (None, _) => {
                            let part = format!("{}.{}", without_part(text), path.name);
                            self.push(part, DriftKind::Missing, Severity::Blocks);
                        }
                        (Some(part), Literal::String(value)) => self.canonical(value, part, text),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    fn canonical(&mut self, value: &str, attribute: &SchemaAttribute, text: &str) {
        let named = attribute.canonical_values.iter().filter_map(Value::as_str);
        let is_same = |known: &str| match attribute.is_case_exact() {
            true => known == value,
            false => known.to_lowercase() == value.to_lowercase(),
        };
        let mut named = named.peekable();
        if named.peek().is_none() || named.any(is_same) || text.to_ascii_lowercase().ends_with("password") {
            return;
        }
        self.push(text.to_owned(), DriftKind::CanonicalValue { value: value.to_owned() }, Severity::Warns);
    }

    /// What the server requires, and no rule is sure to write.
    fn required(&mut self, schema: &Schema, rules: &[&Rule], urn: Option<&str>) {
        for attribute in &schema.attributes {
            let Some(attribute_name) = attribute.name.as_deref() else { continue };
            let text = match urn {
                Some(urn) => format!("{urn}:{attribute_name}"),
                None => attribute_name.to_owned(),
            };
            if attribute.mutability() == Mutability::ReadOnly
                || COMMON.iter().any(|common| common.eq_ignore_ascii_case(attribute_name))
            {
                continue;
            }
            let of_attribute: Vec<&Rule> = rules
                .iter()
                .filter(|rule| rule.target.attribute.name.eq_ignore_ascii_case(attribute_name))
                .copied()
                .collect();
            if attribute.is_required() {
                self.required_one(text.clone(), of_attribute.iter().copied(), false);
            }
            // Parts are required where there is a value to be part of.
            if of_attribute.is_empty()
                || of_attribute.iter().any(|rule| rule.target.sub_attribute().is_none())
            {
                continue;
            }
            for part in attribute.sub_attributes.iter().filter(|part| part.is_required()) {
                let Some(part_name) = part.name.as_deref() else { continue };
                let of_part = of_attribute.iter().copied().filter(|rule| {
                    rule.target.sub_attribute().is_some_and(|sub| sub.eq_ignore_ascii_case(part_name))
                });
                if part.mutability() != Mutability::ReadOnly {
                    self.required_one(format!("{text}.{part_name}"), of_part, true);
                }
            }
        }
    }

    /// A rule that may give nothing warns. For a part that is enough: its whole may give nothing with it.
    fn required_one<'r>(&mut self, text: String, rules: impl Iterator<Item = &'r Rule>, is_part: bool) {
        let mut rules = rules.peekable();
        if rules.peek().is_none() {
            self.push(text, DriftKind::Required, Severity::Blocks);
        } else if !is_part && !rules.any(|rule| rule.required || rule.expression.is_constant()) {
            self.push(text, DriftKind::Required, Severity::Warns);
        }
    }
}

fn without_part(text: &str) -> &str {
    let name_at = text.rfind(':').map_or(0, |at| at.saturating_add(1));
    match text.rfind('.') {
        Some(dot) if dot > name_at => text.get(..dot).unwrap_or(text),
        _ => text,
    }
}

fn as_kind(output: Output) -> AttributeKind {
    match output {
        Output::String | Output::Strings => AttributeKind::String,
        Output::Boolean => AttributeKind::Boolean,
        Output::Integer => AttributeKind::Integer,
        Output::Decimal => AttributeKind::Decimal,
        Output::DateTime => AttributeKind::DateTime,
        Output::Complex => AttributeKind::Complex,
    }
}

/// What follows where such a value is written for that kind; `None` where it fits.
fn mismatch(output: Output, kind: &AttributeKind) -> Option<Severity> {
    use AttributeKind as K;
    let fits = match (output, kind) {
        (Output::String | Output::Strings, K::String | K::Reference | K::Binary) => true,
        (Output::String | Output::Strings, K::DateTime) => return Some(Severity::Warns),
        (Output::DateTime, K::DateTime | K::String) => true,
        (Output::Boolean, K::Boolean)
        | (Output::Integer, K::Integer | K::Decimal)
        | (Output::Decimal, K::Decimal) => true,
        (Output::Complex, K::Complex) => true,
        // A kind that RFC 7643 does not know may be anything.
        (
            _,
            K::String
            | K::Boolean
            | K::Decimal
            | K::Integer
            | K::DateTime
            | K::Binary
            | K::Reference
            | K::Complex,
        ) => false,
        _ => true,
    };
    (!fits).then_some(Severity::Blocks)
}
