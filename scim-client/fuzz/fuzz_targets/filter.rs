//! Any text as a filter, and any JSON as the resource that it is asked about. What is read is written so that it reads the
//! same and holds of the same resources; a filter and its negation never agree; a weaker form holds wherever the filter does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scim_client::dialect::FilterForm;
use scim_client::filter::{FILTER_BYTES_MAX, Filter};
use scim_client::path::AttributePath;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let (filter, resource) = match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &b"{}"[..]),
    };
    let Ok(text) = std::str::from_utf8(filter) else { return };
    let filter = match text.parse::<Filter>() {
        Ok(filter) => filter,
        Err(error) => {
            assert!(error.offset() <= text.len() && error.column() >= 1);
            assert!(error.to_string().chars().all(|c| !c.is_control()));
            return;
        }
    };
    assert!(text.len() <= FILTER_BYTES_MAX);
    let written = filter.to_string();
    assert!(written.chars().all(|c| !c.is_control()));
    // Escapes are longer than what they stand for, so that what is written may be too long to be read.
    if written.len() <= FILTER_BYTES_MAX {
        let again: Filter = written.parse().expect("what is written is a filter");
        assert_eq!(again, filter);
        assert_eq!(again.to_string(), written);
    }

    let Ok(Value::Object(resource)) = serde_json::from_slice(resource) else { return };
    let holds = filter.matches(&resource);
    assert_eq!((!filter.clone()).matches(&resource), !holds);
    for form in [FilterForm::Grouped, FilterForm::EqualAnd, FilterForm::Equal] {
        if let Some(weaker) = filter.in_form(form) {
            assert!(!holds || weaker.matches(&resource));
        }
    }
    for (name, value) in &resource {
        let of = AttributePath::named(name.clone());
        let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let any = elements.iter().any(|element| !element.is_null() && filter.matches_element(&of, element));
        if !value.is_null() && !matches!(filter, Filter::Element(..)) {
            assert_eq!(Filter::Element(of, Box::new(filter.clone())).matches(&resource), any);
        }
    }
});
