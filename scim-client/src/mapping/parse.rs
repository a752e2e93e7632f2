//! From TOML to rules. Collects every mistake it can find, each with its place.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::date::DateForm;
use super::expression::{Case, Expression, Output};
use super::mistake::{MISTAKES_MAX, MappingTextError, Mistake, mistake};
use super::{
    EXPRESSION_DEPTH_MAX, LOOKUP_ENTRIES_MAX, MAPPING_BYTES_MAX, Mapping, Occasion, RULES_MAX, Rule,
    SourceKind,
};
use crate::filter::{CompareOp, Filter};
use crate::patch::name;
use crate::path::{AttributePath, Path};
use crate::resource::Attributes;
use crate::urn;

pub(super) fn parse(text: &str) -> Result<Mapping, MappingTextError> {
    if text.len() > MAPPING_BYTES_MAX {
        let message = format!("the mapping is longer than {MAPPING_BYTES_MAX} bytes");
        return Err(MappingTextError::new(vec![mistake(text, 0, &message)]));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut mistakes: Vec<Mistake> = errors
            .iter()
            .take(MISTAKES_MAX)
            .map(|error| mistake(text, error.span().map_or(0, |span| span.start), error.message()))
            .collect();
        // One slip makes the rest of its line unreadable, too.
        mistakes.sort();
        mistakes.dedup_by_key(|mistake| mistake.line);
        return Err(MappingTextError::new(mistakes));
    }
    let mut reader = Reader { text, mistakes: Vec::new() };
    let mapping = reader.document(document.get_ref());
    match reader.mistakes.is_empty() {
        true => Ok(mapping),
        false => Err(MappingTextError::new(reader.mistakes)),
    }
}

type Node<'a> = Spanned<DeValue<'a>>;

struct Reader<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

/// Where an expression stands.
#[derive(Clone, Copy, PartialEq)]
enum Stands {
    /// For a target, whose options may stand beside it.
    ForTarget,
    /// Within another.
    Within,
}

/// The options that stand beside an expression of a target.
const TARGET_OPTIONS: [&str; 2] = ["on", "required"];
const EXPRESSIONS: [&str; 7] = ["copy", "constant", "join", "lower", "upper", "lookup", "date"];

impl Reader<'_> {
    fn mistake(&mut self, offset: usize, message: impl AsRef<str>) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake(self.text, offset, message.as_ref()));
        }
    }

    fn document(&mut self, document: &DeTable<'_>) -> Mapping {
        self.known_keys(document, &["version", "schema", "source", "attributes", "lookup"], "a mapping");
        match document.get("version") {
            None => self.mistake(0, "`version` is missing (it is 1)"),
            Some(value) => match value.get_ref() {
                DeValue::Integer(number) if number.to_string() == "1" => {}
                _ => self.mistake(value.span().start, "`version` must be 1"),
            },
        }
        let mut mapping = Mapping {
            schema: urn::USER.to_owned(),
            sources: BTreeMap::new(),
            rules: Vec::new(),
            lookups: BTreeMap::new(),
        };
        if let Some(value) = document.get("schema") {
            match value.get_ref().as_str() {
                Some(schema) if name::is_urn(schema) => mapping.schema = schema.to_owned(),
                _ => self.mistake(value.span().start, "`schema` must be the URN of a schema"),
            }
        }
        if let Some(table) = self.table(document, "source") {
            self.sources(table, &mut mapping);
        }
        if let Some(value) = document.get("lookup")
            && let Some(table) = self.as_table(value, "`lookup`")
        {
            self.lookups(table, &mut mapping);
        }
        if let Some(table) = self.table(document, "attributes") {
            self.rules(table, &mut mapping);
        }
        mapping
    }

    fn table<'t>(&mut self, document: &'t DeTable<'_>, key: &str) -> Option<&'t DeTable<'t>> {
        match document.get(key) {
            Some(value) => self.as_table(value, &format!("`{key}`")),
            None => {
                self.mistake(0, format!("`[{key}]` is missing"));
                None
            }
        }
    }

    fn as_table<'t>(&mut self, value: &'t Node<'_>, what: &str) -> Option<&'t DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.mistake(value.span().start, format!("{what} must be a table"));
        }
        table
    }

    fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for (key, _) in table.iter() {
            if !known.contains(&key.get_ref().as_ref()) {
                let all = known.join("`, `");
                self.mistake(
                    key.span().start,
                    format!("`{}` is not known in {what} (`{all}` are)", key.get_ref()),
                );
            }
        }
    }

    fn sources(&mut self, table: &DeTable<'_>, mapping: &mut Mapping) {
        const KINDS: &str = "`string`, `boolean`, `integer`, `decimal` or `strings`";
        for (key, value) in table.iter() {
            if mapping.sources.len() >= RULES_MAX {
                return self
                    .mistake(key.span().start, format!("more than {RULES_MAX} attributes of the source"));
            }
            let kind = match value.get_ref().as_str() {
                Some("string") => SourceKind::String,
                Some("boolean") => SourceKind::Boolean,
                Some("integer") => SourceKind::Integer,
                Some("decimal") => SourceKind::Decimal,
                Some("strings") => SourceKind::Strings,
                _ => {
                    self.mistake(value.span().start, format!("`{}` must be {KINDS}", key.get_ref()));
                    // Known all the same: one mistake is enough.
                    SourceKind::String
                }
            };
            mapping.sources.insert(key.get_ref().clone().into_owned(), kind);
        }
    }

    fn lookups(&mut self, tables: &DeTable<'_>, mapping: &mut Mapping) {
        let mut count = 0usize;
        for (key, value) in tables.iter() {
            let table_name = key.get_ref();
            let Some(table) = self.as_table(value, &format!("`lookup.{table_name}`")) else { continue };
            let mut entries = BTreeMap::new();
            let mut kind = None;
            for (entry, value) in table.iter() {
                count = count.saturating_add(1);
                if count > LOOKUP_ENTRIES_MAX {
                    return self
                        .mistake(entry.span().start, format!("more than {LOOKUP_ENTRIES_MAX} entries"));
                }
                let Some(result) = self.scalar(value) else { continue };
                if *kind.get_or_insert(Output::of(&result)) != Output::of(&result) {
                    self.mistake(value.span().start, "the results of one table must be of one kind");
                }
                entries.insert(entry.get_ref().clone().into_owned(), result);
            }
            if table.is_empty() {
                self.mistake(value.span().start, format!("`lookup.{table_name}` is empty"));
            }
            mapping.lookups.insert(table_name.clone().into_owned(), entries);
        }
    }

    fn scalar(&mut self, value: &Node<'_>) -> Option<Value> {
        let json = constant(value, 0).filter(|json| !json.is_array() && !json.is_object());
        if json.is_none() {
            self.mistake(value.span().start, "must be a text, a number or a boolean");
        }
        json
    }

    fn rules(&mut self, table: &DeTable<'_>, mapping: &mut Mapping) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        if entries.is_empty() {
            self.mistake(0, "`[attributes]` maps nothing");
        }
        for (key, value) in entries {
            let offset = key.span().start;
            if mapping.rules.len() >= RULES_MAX {
                return self.mistake(offset, format!("more than {RULES_MAX} attributes"));
            }
            let target = self.target(key.get_ref(), offset, mapping);
            let expression = self.expression(value, mapping, Stands::ForTarget, EXPRESSION_DEPTH_MAX);
            let (occasion, required) = self.options(value);
            if let (Some(target), Some(expression)) = (target, expression) {
                mapping.rules.push(Rule { target, expression, occasion, required });
            }
        }
    }

    fn target(&mut self, text: &str, offset: usize, mapping: &Mapping) -> Option<Path> {
        let mut path: Path = match text.parse() {
            Ok(path) => path,
            Err(error) => {
                self.mistake(offset, format!("`{text}` is no path: {error}"));
                return None;
            }
        };
        let attribute = &mut path.attribute;
        if attribute.schema.as_deref().is_some_and(|schema| schema.eq_ignore_ascii_case(&mapping.schema)) {
            attribute.schema = None;
        }
        let own = Attributes::from_iter([("schemas".to_owned(), json!([mapping.schema]))]);
        let wrong = if name::is_urn(&attribute.name) {
            Some("names an extension, not an attribute of one")
        } else if attribute.schema.is_none() && name::is_managed(&attribute.name, &[&own]) {
            Some("is written by the server alone")
        } else if path.element.as_deref().is_some_and(|filter| !is_equal_and(filter)) {
            Some("chooses an element by more than `eq` and `and`, so it cannot be made where there is none")
        } else if path.element.is_some() && path.sub.is_none() {
            Some("names a whole element: name its part, such as `.value`")
        } else if mapping.rules.iter().any(|rule| overlap(&rule.target, &path)) {
            Some("is written by another target already")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.mistake(offset, format!("`{text}` {wrong}"));
            return None;
        }
        Some(path)
    }

    fn options(&mut self, value: &Node<'_>) -> (Occasion, bool) {
        let Some(table) = value.get_ref().as_table() else { return (Occasion::Always, false) };
        let occasion = match table.get("on") {
            None => Occasion::Always,
            Some(on) => match on.get_ref().as_str() {
                Some("always") => Occasion::Always,
                Some("create") => Occasion::Create,
                _ => {
                    self.mistake(on.span().start, "`on` must be `create` or `always`");
                    Occasion::Always
                }
            },
        };
        let required = table.get("required").is_some_and(|required| {
            required.get_ref().as_bool().unwrap_or_else(|| {
                self.mistake(required.span().start, "`required` must be true or false");
                false
            })
        });
        (occasion, required)
    }

    fn expression(
        &mut self,
        value: &Node<'_>,
        mapping: &Mapping,
        stands: Stands,
        depth: usize,
    ) -> Option<Expression> {
        let offset = value.span().start;
        if let Some(source) = value.get_ref().as_str() {
            return self.copy(source, offset, mapping);
        }
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(offset, "an expression is the name of an attribute of the source, or a table");
            return None;
        };
        let Some(depth) = depth.checked_sub(1) else {
            self.mistake(offset, format!("expressions nest deeper than {EXPRESSION_DEPTH_MAX}"));
            return None;
        };
        let mut kinds = table.iter().filter(|(key, _)| EXPRESSIONS.contains(&key.get_ref().as_ref()));
        let (Some((key, inner)), None) = (kinds.next(), kinds.next()) else {
            let all = EXPRESSIONS.join("`, `");
            self.mistake(offset, format!("an expression has exactly one of `{all}`"));
            return None;
        };
        let mut known = vec![key.get_ref().as_ref()];
        known.extend(match key.get_ref().as_ref() {
            "join" => ["with"].as_slice(),
            "lookup" => &["in", "default"],
            "date" => &["from", "to"],
            _ => &[],
        });
        if stands == Stands::ForTarget {
            known.extend(TARGET_OPTIONS);
        }
        self.known_keys(table, &known, &format!("an expression `{}`", key.get_ref()));
        match key.get_ref().as_ref() {
            "copy" => match inner.get_ref().as_str() {
                Some(source) => self.copy(source, inner.span().start, mapping),
                None => {
                    self.mistake(inner.span().start, "`copy` names an attribute of the source");
                    None
                }
            },
            "constant" => {
                let value = constant(inner, 0);
                if value.is_none() {
                    self.mistake(
                        inner.span().start,
                        "the constant cannot be written as JSON, or nests too deeply",
                    );
                }
                value.map(Expression::Constant)
            }
            "join" => self.join(table, inner, mapping, depth),
            "lookup" => self.lookup(table, inner, mapping, depth),
            "date" => {
                let of = self.text_expression(inner, mapping, depth);
                let from = self.date_form(table, "from");
                let to = self.date_form(table, "to");
                Some(Expression::Date { of: of?, from: from?, to: to? })
            }
            case => {
                let of = self.text_expression(inner, mapping, depth)?;
                let case = if case == "lower" { Case::Lower } else { Case::Upper };
                Some(Expression::Case { of, case })
            }
        }
    }

    fn copy(&mut self, source: &str, offset: usize, mapping: &Mapping) -> Option<Expression> {
        if mapping.sources.contains_key(source) {
            return Some(Expression::Copy(source.to_owned()));
        }
        self.mistake(offset, format!("`{source}` is not an attribute of the source"));
        None
    }

    /// An expression whose value is used as text.
    fn text_expression(
        &mut self,
        value: &Node<'_>,
        mapping: &Mapping,
        depth: usize,
    ) -> Option<Box<Expression>> {
        let expression = self.expression(value, mapping, Stands::Within, depth)?;
        if matches!(expression.output(mapping), Output::Strings | Output::Complex) {
            self.mistake(value.span().start, "a list or an object cannot be used as text");
            return None;
        }
        Some(Box::new(expression))
    }

    fn join(
        &mut self,
        table: &DeTable<'_>,
        parts: &Node<'_>,
        mapping: &Mapping,
        depth: usize,
    ) -> Option<Expression> {
        let with = match table.get("with") {
            None => Some(String::new()),
            Some(with) => {
                let text = with.get_ref().as_str();
                if text.is_none() {
                    self.mistake(with.span().start, "`with` must be a text");
                }
                text.map(str::to_owned)
            }
        };
        let Some(list) = parts.get_ref().as_array().filter(|list| !list.is_empty()) else {
            self.mistake(parts.span().start, "`join` must be a list of expressions");
            return None;
        };
        if list.len() > RULES_MAX {
            self.mistake(parts.span().start, format!("`join` has more than {RULES_MAX} parts"));
            return None;
        }
        let parts: Vec<Option<Box<Expression>>> =
            list.iter().map(|part| self.text_expression(part, mapping, depth)).collect();
        let parts: Option<Vec<Expression>> = parts.into_iter().map(|part| part.map(|part| *part)).collect();
        Some(Expression::Join { parts: parts?, with: with? })
    }

    fn lookup(
        &mut self,
        table: &DeTable<'_>,
        of: &Node<'_>,
        mapping: &Mapping,
        depth: usize,
    ) -> Option<Expression> {
        let expression = self.text_expression(of, mapping, depth);
        let Some(named) = table.get("in") else {
            self.mistake(of.span().start, "`lookup` needs `in`: the name of a table");
            return None;
        };
        let Some((name, entries)) =
            named.get_ref().as_str().and_then(|name| mapping.lookups.get_key_value(name))
        else {
            self.mistake(named.span().start, "there is no such `[lookup]` table");
            return None;
        };
        let default = match table.get("default") {
            None => None,
            Some(default) => {
                let value = self.scalar(default)?;
                if entries.values().next().is_some_and(|other| Output::of(other) != Output::of(&value)) {
                    self.mistake(
                        default.span().start,
                        "`default` must be of the kind of the table's results",
                    );
                    return None;
                }
                Some(value)
            }
        };
        Some(Expression::Lookup { of: expression?, table: name.clone(), default })
    }

    fn date_form(&mut self, table: &DeTable<'_>, key: &str) -> Option<DateForm> {
        let Some(value) = table.get(key) else { return Some(DateForm::Rfc3339) };
        let parsed = value.get_ref().as_str().ok_or("must be a text").and_then(DateForm::parse);
        parsed.map_err(|message| self.mistake(value.span().start, format!("`{key}`: {message}"))).ok()
    }
}

/// The value as JSON; `None` for numbers that JSON cannot hold, dates, and what nests too deeply.
fn constant(value: &Node<'_>, depth: usize) -> Option<Value> {
    if depth > EXPRESSION_DEPTH_MAX {
        return None;
    }
    let inner = |value: &Node<'_>| constant(value, depth.saturating_add(1));
    match value.get_ref() {
        DeValue::String(text) => Some(Value::String(text.clone().into_owned())),
        DeValue::Boolean(bool) => Some(Value::Bool(*bool)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| Value::Number(number.into())),
        DeValue::Float(number) => number.as_str().parse().ok().and_then(Number::from_f64).map(Value::Number),
        DeValue::Datetime(_) => None,
        DeValue::Array(elements) => elements.iter().map(inner).collect::<Option<_>>().map(Value::Array),
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| Some((key.get_ref().clone().into_owned(), inner(value)?)))
            .collect::<Option<Map<_, _>>>()
            .map(Value::Object),
    }
}

fn is_equal_and(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(is_equal_and),
        Filter::Compare(path, CompareOp::Equal, _) => path.sub.is_none(),
        _ => false,
    }
}

/// Whether two targets write the same.
fn overlap(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| AttributePath { sub: None, ..path.attribute.clone() };
    if whole(one) != whole(other) {
        return false;
    }
    let sub = |path: &Path| path.sub_attribute().map(str::to_ascii_lowercase);
    match (&one.element, &other.element) {
        (Some(element), Some(other_element)) if element != other_element => false,
        (Some(_), Some(_)) => sub(one) == sub(other),
        (None, None) => sub(one).is_none() || sub(other).is_none() || sub(one) == sub(other),
        // One writes into elements, the other all of them.
        _ => true,
    }
}
