//! Writing and reading undo each other; evaluation agrees with a naive model.

use proptest::prelude::*;
use scim_client::filter::{CompareOp, Filter, Literal};
use scim_client::path::{AttributePath, Path};
use serde_json::{Number, Value, json};

const URN: &str = "urn:example:2.0:User";

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z][a-zA-Z0-9_-]{0,6}",
        Just("$ref".to_owned()),
        Just("not".to_owned()),
        Just("and".to_owned())
    ]
}

fn any_attribute() -> impl Strategy<Value = AttributePath> {
    let schema = proptest::option::of(prop_oneof![
        "urn:[a-z]{1,5}:[a-z0-9.-]{1,8}:User",
        Just("urn:example:1.0".to_owned()),
        Just("https://example.com/schemas/user:x".to_owned()),
    ]);
    (schema, name(), proptest::option::of(name())).prop_map(|(schema, name, sub)| AttributePath {
        schema,
        name,
        sub,
    })
}

fn any_op() -> impl Strategy<Value = CompareOp> {
    use CompareOp::*;
    prop::sample::select(vec![
        Equal,
        NotEqual,
        Contains,
        StartsWith,
        EndsWith,
        Greater,
        GreaterOrEqual,
        Less,
        LessOrEqual,
    ])
}

fn any_literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(|number| Literal::Number(number.into())),
        any::<u64>().prop_map(|number| Literal::Number(number.into())),
        any::<f64>().prop_filter_map("finite", |number| Number::from_f64(number).map(Literal::Number)),
        any::<String>().prop_map(Literal::String),
        r#"["\\\[\]() \n\u{0}-\u{ff}]{0,12}"#.prop_map(Literal::String),
    ]
}

fn combined(leaf: impl Strategy<Value = Filter> + 'static) -> BoxedStrategy<Filter> {
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| left.and(right)),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| left.or(right)),
            inner.prop_map(|filter| !filter),
        ]
    })
    .boxed()
}

fn within_element() -> BoxedStrategy<Filter> {
    combined(prop_oneof![
        any_attribute().prop_map(Filter::Present),
        (any_attribute(), any_op(), any_literal())
            .prop_map(|(path, op, literal)| Filter::Compare(path, op, literal)),
    ])
}

fn any_filter() -> BoxedStrategy<Filter> {
    combined(prop_oneof![
        3 => any_attribute().prop_map(Filter::Present),
        3 => (any_attribute(), any_op(), any_literal()).prop_map(|(path, op, literal)| Filter::Compare(path, op, literal)),
        1 => (any_attribute(), within_element()).prop_map(|(path, inner)| Filter::Element(path, Box::new(inner))),
    ])
}

/// Filters over the few names and values of [`any_resource`], so that they often hold.
fn likely_filter() -> BoxedStrategy<Filter> {
    fn compare(names: Vec<&'static str>) -> impl Strategy<Value = Filter> {
        let text = prop::sample::select(vec![
            "",
            "a",
            "A",
            "b",
            "ab",
            "AB",
            "true",
            "False",
            "2020-01-01T00:00:00Z",
            "2020-01-01T01:00:00+01:00",
        ]);
        let literal = prop_oneof![
            1 => Just(Literal::Null),
            1 => any::<bool>().prop_map(Literal::Bool),
            2 => (-2_i64..3).prop_map(|number| Literal::Number(number.into())),
            5 => text.prop_map(|text| Literal::String(text.to_owned())),
        ];
        (prop::sample::select(names), any_op(), literal)
            .prop_map(|(name, op, literal)| Filter::Compare(name.parse().unwrap(), op, literal))
    }
    fn present(names: Vec<&'static str>) -> impl Strategy<Value = Filter> {
        prop::sample::select(names).prop_map(|name| Filter::Present(name.parse().unwrap()))
    }
    let names = vec![
        "id",
        "USERNAME",
        "active",
        "name.familyName",
        "name",
        "emails",
        "emails.type",
        "emails.value",
        "members.value",
        "meta.created",
        "level",
        "urn:example:2.0:User:level",
        "urn:example:2.0:User:id",
    ];
    let parts = vec!["value", "TYPE", "primary", "familyName"];
    let inner = combined(prop_oneof![compare(parts.clone()), present(parts)]);
    let element = (prop::sample::select(vec!["emails", "members", "name", "level"]), inner)
        .prop_map(|(name, inner)| Filter::Element(name.parse().unwrap(), Box::new(inner)));
    combined(prop_oneof![3 => compare(names.clone()), 1 => present(names), 1 => element])
}

fn any_resource() -> impl Strategy<Value = Value> {
    fn scalar() -> impl Strategy<Value = Value> {
        prop::sample::select(vec![
            Value::Null,
            json!(""),
            json!("a"),
            json!("A"),
            json!("ab"),
            json!("B"),
            json!("TRUE"),
            json!("false"),
            json!("2020-01-01T00:00:00Z"),
            json!("2020-01-01T00:30:00+01:00"),
            json!(true),
            json!(false),
            json!(-1),
            json!(0),
            json!(1),
            json!(1.5),
        ])
    }
    fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
        prop::collection::vec(proptest::option::of(scalar()), names.len()).prop_map(|values| {
            let present =
                names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            Value::Object(present.collect())
        })
    }
    fn elements() -> impl Strategy<Value = Value> {
        let element = prop_oneof![3 => object(&["value", "Type", "primary"]), 1 => scalar()];
        prop_oneof![
            4 => prop::collection::vec(element, 0..4).prop_map(Value::Array),
            1 => object(&["value", "type"]),
        ]
    }
    (
        object(&["id", "userName", "active", "level"]),
        proptest::option::of(object(&["familyName", "givenName"])),
        proptest::option::of(elements()),
        proptest::option::of(elements()),
        proptest::option::of(object(&["created"])),
        proptest::option::of(object(&["level", "ID"])),
    )
        .prop_map(|(mut resource, name, emails, members, meta, extension)| {
            let parts =
                [("name", name), ("Emails", emails), ("members", members), ("meta", meta), (URN, extension)];
            for (name, part) in parts {
                if let Some(part) = part {
                    resource[name] = part;
                }
            }
            resource
        })
}

/// The rules over again, in the plainest way: each attribute is first a list of plain values.
mod model {
    use chrono::DateTime;
    use scim_client::filter::{CompareOp, Filter, Literal};
    use serde_json::Value;

    fn member(value: &Value, name: &str) -> Value {
        value
            .as_object()
            .and_then(|parts| {
                parts
                    .iter()
                    .find(|(key, _)| key.to_lowercase() == name.to_lowercase())
                    .map(|(_, value)| value)
            })
            .cloned()
            .unwrap_or(Value::Null)
    }

    fn spread(value: Value) -> Vec<Value> {
        match value {
            Value::Null => vec![],
            Value::Array(values) => values.into_iter().filter(|value| !value.is_null()).collect(),
            single => vec![single],
        }
    }

    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.iter().all(is_empty),
            Value::Object(parts) => parts.values().all(is_empty),
            _ => false,
        }
    }

    /// The attribute's values: as they are, and each as the value that a comparison is with.
    fn values(root: &Value, path: &str) -> (Vec<Value>, Vec<Value>) {
        let (scope, local) = match path.rsplit_once(':') {
            Some((schema, local)) => (member(root, schema), local),
            None => (root.clone(), path),
        };
        let (name, sub) = local.split_once('.').map_or((local, None), |(name, sub)| (name, Some(sub)));
        let whole = match &scope {
            bare if !bare.is_object() && name.eq_ignore_ascii_case("value") => spread(bare.clone()),
            scope => spread(member(scope, name)),
        };
        let part = |value: &Value, name: &str| match value {
            Value::Object(_) => spread(member(value, name)),
            bare if name == "value" => vec![bare.clone()],
            _ => vec![],
        };
        match sub {
            None => (whole.clone(), whole.iter().flat_map(|value| part(value, "value")).collect()),
            Some(sub) => {
                let parts: Vec<_> = whole.iter().flat_map(|value| part(value, sub)).collect();
                (parts.clone(), parts)
            }
        }
    }

    pub(super) fn holds(filter: &Filter, root: &Value, of: Option<&str>) -> bool {
        match filter {
            Filter::And(parts) => parts.iter().filter(|part| holds(part, root, of)).count() == parts.len(),
            Filter::Or(parts) => parts.iter().filter(|part| holds(part, root, of)).count() > 0,
            Filter::Not(inner) => !holds(inner, root, of),
            Filter::Present(path) => !values(root, &path.to_string()).0.iter().all(is_empty),
            Filter::Compare(path, CompareOp::NotEqual, literal) => {
                !holds(&Filter::Compare(path.clone(), CompareOp::Equal, literal.clone()), root, of)
            }
            Filter::Compare(path, CompareOp::Equal, Literal::Null) => {
                !holds(&Filter::Present(path.clone()), root, of)
            }
            Filter::Compare(path, op, literal) => {
                let name = path.to_string();
                let full = of.map_or(name.clone(), |of| format!("{of}.{name}"));
                values(root, &name).1.iter().any(|value| compares(&full, value, *op, literal))
            }
            Filter::Element(path, inner) => values(root, &path.to_string())
                .0
                .iter()
                .any(|element| holds(inner, element, Some(&path.to_string()))),
            _ => unreachable!(),
        }
    }

    fn compares(path: &str, value: &Value, op: CompareOp, literal: &Literal) -> bool {
        let path = path.to_lowercase();
        let truth = |text: &str| text.to_lowercase().parse::<bool>().ok();
        let ordering = match (value, literal) {
            (Value::Bool(left), Literal::Bool(right)) => return op == CompareOp::Equal && left == right,
            (Value::String(left), Literal::Bool(right)) => {
                return op == CompareOp::Equal && truth(left) == Some(*right);
            }
            (Value::Bool(left), Literal::String(right)) => {
                return op == CompareOp::Equal && truth(right) == Some(*left);
            }
            (Value::Number(left), Literal::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
            (Value::String(left), Literal::String(right)) => {
                let exact = ["id", "members", "members.value"].contains(&path.as_str());
                let (left, right) = if exact {
                    (left.clone(), right.clone())
                } else {
                    (left.to_lowercase(), right.to_lowercase())
                };
                match op {
                    CompareOp::Contains => return left.contains(&right),
                    CompareOp::StartsWith => return left.starts_with(&right),
                    CompareOp::EndsWith => return left.ends_with(&right),
                    _ => {}
                }
                let known = ["username", "name", "name.familyname", "active", "emails"];
                let is_text = exact || known.contains(&path.as_str()) || path.starts_with("emails.");
                let is_text = is_text || path.starts_with("name.");
                let times =
                    DateTime::parse_from_rfc3339(&left).ok().zip(DateTime::parse_from_rfc3339(&right).ok());
                match times {
                    Some((left, right)) if !is_text => Some(left.cmp(&right)),
                    _ if path == "meta.created" && op != CompareOp::Equal => {
                        // Equal text is not before itself, and not after: it is at the same time.
                        return left == right
                            && matches!(op, CompareOp::GreaterOrEqual | CompareOp::LessOrEqual)
                            && times.is_some();
                    }
                    _ => Some(left.cmp(&right)),
                }
            }
            _ => None,
        };
        ordering.is_some_and(|ordering| match op {
            CompareOp::Equal => ordering.is_eq(),
            CompareOp::Greater => ordering.is_gt(),
            CompareOp::GreaterOrEqual => ordering.is_ge(),
            CompareOp::Less => ordering.is_lt(),
            CompareOp::LessOrEqual => ordering.is_le(),
            _ => false,
        })
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same(filter in any_filter()) {
        let text = filter.to_string();
        let read: Filter = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(&read, &filter, "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn what_is_read_is_written_so_that_it_reads_the_same(text in r#"(a|not|emails\[|\(|\)|\]| and | or |not \(| eq | pr|"x"|1|b\.c| ){1,14}"#) {
        if let Ok(filter) = text.parse::<Filter>() {
            prop_assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
        }
    }

    #[test]
    fn no_text_is_too_much_for_the_reader(text in any::<String>()) {
        for error in [text.parse::<Filter>().err(), text.parse::<Path>().err(), text.parse::<AttributePath>().err()] {
            prop_assert!(error.is_none_or(|error| error.offset() <= text.len() && error.column() > 0));
        }
    }

    #[test]
    fn paths_too(attribute in any_attribute(), element in proptest::option::of(within_element()), sub in proptest::option::of(name())) {
        let mut path = Path::from(attribute);
        if let Some(element) = element {
            path = path.elements(element);
            path.sub = sub;
        }
        let text = path.to_string();
        let read: Path = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(&read, &path, "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn any_text_in_a_name_stays_a_name(name in any::<String>(), sub in proptest::option::of(any::<String>())) {
        let path = AttributePath { schema: None, name, sub };
        if let Ok(read) = path.to_string().parse::<AttributePath>() {
            // What reads differently was encoded, and is the name of nothing.
            prop_assert!(read == path || path.to_string().contains('%'), "{:?} became {:?}", path, read);
        }
    }

    #[test]
    fn evaluation_agrees_with_the_model(filter in likely_filter(), resource in any_resource()) {
        let found = filter.matches(resource.as_object().unwrap());
        prop_assert_eq!(found, model::holds(&filter, &resource, None), "{} on {}", filter, resource);
    }

    #[test]
    fn a_weaker_form_holds_wherever_the_filter_does(filter in likely_filter(), resource in any_resource()) {
        use scim_client::dialect::FilterForm;
        let resource = resource.as_object().unwrap();
        for form in [FilterForm::Full, FilterForm::Grouped, FilterForm::EqualAnd, FilterForm::Equal] {
            if let Some(weaker) = filter.in_form(form) {
                prop_assert!(!filter.matches(resource) || weaker.matches(resource), "{} but not {}", filter, weaker);
                prop_assert_eq!(filter.written(form).unwrap().parse::<Filter>().unwrap(), weaker);
            }
        }
    }
}
