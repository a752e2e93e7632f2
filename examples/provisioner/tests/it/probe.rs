use crate::fake::{Fake, Manner};
use crate::golden;
use crate::run::{scim, scim_json};

#[test]
fn a_simple_server_gets_a_dialect_that_asks_little() {
    let fake = Fake::start(Manner::Simple);
    let said = scim(&["probe", &fake.base()]);
    assert_eq!(said.status, 0, "{said:?}");
    golden::check("probe-simple.txt", &said.out);
    let said = scim_json(&["probe", &fake.base()]).json().remove(0);
    assert_eq!(said["dialect"]["best"]["dialect"], "okta", "{said}");
    assert!(said["wrote"] == false && said["left_behind"].as_array().unwrap().is_empty());
}

#[test]
fn a_server_that_ignores_what_it_is_asked_is_found_out() {
    let fake = Fake::start(Manner::Careless);
    let said = scim_json(&["probe", &fake.base()]).json().remove(0);
    let seen = |check: &str| {
        let findings = said["findings"].as_array().unwrap().iter();
        let found = findings.filter(|finding| finding["check"] == check).collect::<Vec<_>>();
        (found[0]["standing"].as_str().unwrap().to_owned(), found[0]["seen"].as_str().unwrap().to_owned())
    };
    for check in ["filter.eq", "filter.or", "filter.co", "filter.nobody"] {
        let (standing, text) = seen(check);
        assert!(standing == "deviates" && text.starts_with("IGNORED"), "{check}: {standing} {text}");
    }
    for check in ["list.index", "list.zero", "list.beyond", "list.attributes", "filter.wrong"] {
        assert_eq!(seen(check).0, "deviates", "{check}");
    }
    assert_eq!(seen("anonymous").0, "conforms");
}

#[test]
fn a_server_that_lists_nothing_without_a_filter_is_still_looked_at() {
    let fake = Fake::start(Manner::Sparse);
    let said = scim(&["probe", &fake.base()]);
    // Neither what it can do nor a list is shown: nothing says that this is a SCIM service, except its refusal.
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("tooMany"), "{said:?}");
}

#[test]
fn a_probe_only_reads() {
    let fake = Fake::start(Manner::Simple);
    assert_eq!(scim(&["probe", &fake.base()]).status, 0);
    let writes: Vec<String> = fake
        .requests()
        .into_iter()
        .filter(|request| !request.starts_with("GET ") && request != "POST /scim/v2/Users/.search")
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
}
