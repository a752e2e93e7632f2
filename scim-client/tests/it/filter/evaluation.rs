//! What holds of which resource.

use scim_client::filter::{AttributeRules, Comparison, Filter};
use scim_client::path::AttributePath;
use scim_client::resource::Attributes;
use serde_json::{Value, json};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn barbara() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
        "id": "2819c223",
        "externalId": "BJ-1",
        "userName": "bjensen@example.com",
        "name": { "familyName": "Jensen", "givenName": "Barbara" },
        "nickName": "",
        "title": null,
        "active": true,
        "emails": [
            { "value": "bjensen@example.com", "type": "work", "primary": true },
            { "value": "babs@jensen.org", "type": "home" },
        ],
        "ims": [],
        "photos": [{}],
        "roles": ["admin", { "value": "auditor", "primary": "False" }],
        "loginCount": 17,
        "ratio": 0.5,
        "meta": {
            "created": "2010-01-23T04:56:22Z",
            "lastModified": "2011-05-13T04:42:34.500+02:00",
            "version": "W/\"a330bc54f0671c9\"",
        },
        ENTERPRISE: { "employeeNumber": "701984", "manager": { "value": "26118915", "displayName": "John" } },
        "urn:example:2.0:User": { "id": "Case", "lastSeen": "2011-05-13T02:00:00Z", "tags": ["x", "y"] },
    })
}

fn attributes(value: &Value) -> &Attributes {
    value.as_object().unwrap()
}

fn holds(filter: &str) -> bool {
    let read: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
    read.matches(attributes(&barbara()))
}

fn all_hold(filters: &[&str]) {
    for filter in filters {
        assert!(holds(filter), "{filter}");
        assert!(!holds(&format!("not ({filter})")), "{filter}");
    }
}

fn none_holds(filters: &[&str]) {
    for filter in filters {
        assert!(!holds(filter), "{filter}");
        assert!(holds(&format!("not ({filter})")), "{filter}");
    }
}

#[test]
fn case_is_as_the_schemas_say() {
    all_hold(&[
        r#"userName eq "BJensen@Example.com""#,
        r#"USERNAME sw "BJ" and userName ew ".COM" and userName co "SEN@""#,
        r#"id eq "2819c223""#,
        r#"externalId sw "BJ""#,
        r#"urn:ietf:params:scim:schemas:core:2.0:User:externalId eq "BJ-1""#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.displayName eq "john""#,
        r#"urn:example:2.0:User:id eq "case""#,
        r#"name.familyname eq "jensen""#,
    ]);
    none_holds(&[
        r#"id eq "2819C223""#,
        r#"externalId eq "bj-1""#,
        r#"externalId sw "bj""#,
        r#"externalId co "j""#,
        r#"externalId ew "J-1" and externalId ew "j-1""#,
        r#"urn:ietf:params:scim:schemas:core:2.0:User:externalId eq "bj-1""#,
        r#"meta.version eq "w/\"a330bc54f0671c9\"""#,
    ]);
}

#[test]
fn a_letter_that_only_looks_alike_is_another_letter() {
    let of = |user_name: &str, filter: &str| {
        let filter: Filter = filter.parse().unwrap();
        filter.matches(attributes(&json!({ "userName": user_name })))
    };
    assert!(of("MÜLLER", r#"userName eq "müller""#));
    assert!(of("ΑΘΗΝΑ", r#"userName co "θη""#));
    assert!(!of("\u{212a}arl", r#"userName eq "karl""#), "the Kelvin sign is no k");
    assert!(!of("\u{130}an", r#"userName sw "i""#), "nor a dotted capital I an i");
    assert!(!of("ma\u{17f}s", r#"userName eq "mass""#), "nor a long s an s");
    assert!(!of("stra\u{df}e", r#"userName eq "strasse""#));
    assert!(!of("e\u{301}", "userName eq \"\u{e9}\""));
}

#[test]
fn any_element_of_several_is_enough_and_ne_is_the_negation() {
    all_hold(&[
        r#"emails.type eq "home""#,
        r#"emails.value ew "jensen.org" and emails.type eq "work""#,
        r#"emails co "babs""#,
        r#"emails eq "babs@jensen.org""#,
        r#"emails.type ne "other""#,
        r#"userName ne "x""#,
        r#"missing ne "x""#,
        r#"title ne "x""#,
        r#"urn:example:2.0:User:tags eq "y""#,
        r#"schemas eq "URN:ietf:params:scim:schemas:core:2.0:User""#,
    ]);
    none_holds(&[r#"emails.type ne "home""#, r#"urn:example:2.0:User:tags ne "y""#, r#"missing eq "x""#]);
}

#[test]
fn an_element_has_to_be_all_that_the_brackets_say() {
    all_hold(&[
        r#"emails[type eq "work" and value ew "example.com"]"#,
        r#"emails[type eq "home" and not (primary pr)]"#,
        r#"emails[not (type eq "work")]"#,
        r#"emails[TYPE eq "HOME"]"#,
        "emails[value pr]",
        r#"name[givenName eq "barbara"]"#,
        r#"roles[value eq "ADMIN"]"#,
        r#"roles[value eq "auditor" and primary eq false]"#,
        r#"roles eq "admin" and roles.value eq "admin" and roles.value eq "auditor""#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager[value eq "26118915"]"#,
    ]);
    none_holds(&[
        r#"emails[type eq "work" and value ew "jensen.org"]"#,
        r#"emails[display pr]"#,
        r#"ims[not (type eq "x")]"#,
        r#"missing[not (type eq "x")]"#,
        r#"title[not (type eq "x")]"#,
    ]);
}

#[test]
fn null_and_nothing_are_no_value() {
    all_hold(&[
        "userName pr",
        "active pr",
        "emails pr",
        "emails.primary pr",
        "name pr",
        "loginCount pr",
        "roles pr",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr",
        "title eq null",
        "missing eq null",
        "userName ne null",
    ]);
    none_holds(&[
        "title pr",
        "nickName pr",
        "ims pr",
        "photos pr",
        "missing pr",
        "emails.display pr",
        "name.middleName pr",
        "title ne null",
        "userName eq null",
        "userName gt null",
        "title co null",
        r#"title eq """#,
    ]);
    all_hold(&[r#"nickName eq """#, r#"userName co """#]);
}

#[test]
fn times_compare_as_instants() {
    all_hold(&[
        r#"meta.created eq "2010-01-23T05:56:22+01:00""#,
        r#"meta.created eq "2010-01-23T04:56:22""#,
        r#"meta.lastModified lt "2011-05-13T04:42:34Z""#,
        r#"meta.lastModified gt "2011-05-13T02:42:34Z""#,
        r#"meta.lastModified ge "2011-05-13T02:42:34.5Z" and meta.lastModified le "2011-05-13T02:42:34.500Z""#,
        r#"meta.created sw "2010-01""#,
        r#"urn:example:2.0:User:lastSeen eq "2011-05-13T03:00:00+01:00""#,
        r#"urn:example:2.0:User:lastSeen lt "2011-05-13T03:00:00Z""#,
    ]);
    none_holds(&[
        r#"meta.created gt "yesterday""#,
        r#"meta.created le "yesterday""#,
        r#"meta.created ne "2010-01-23T05:56:22+01:00""#,
        r#"meta.created eq "2010-01-23""#,
    ]);
    // Text that looks like a time stays text where the schema says that it is text.
    let named: Filter = r#"userName eq "2010-01-23T05:56:22+01:00""#.parse().unwrap();
    assert!(!named.matches(attributes(&json!({ "userName": "2010-01-23T04:56:22Z" }))));
}

#[test]
fn order_is_that_of_the_type() {
    all_hold(&[
        "loginCount gt 9",
        "loginCount ge 17 and loginCount le 17 and loginCount eq 17",
        "loginCount eq 17.0",
        "loginCount lt 1e2",
        "ratio lt 1 and ratio gt 0 and ratio eq 5e-1",
        r#"userName gt "A" and userName lt "C""#,
        r#"externalId gt "B" and externalId lt "b""#,
    ]);
    none_holds(&[
        "active gt false",
        "active ge true",
        "loginCount lt 9",
        r#"loginCount eq "17""#,
        r#"loginCount co "1""#,
        "userName gt 1",
        r#"active co "tr""#,
    ]);
    let large: Filter = "n lt 18446744073709551615".parse().unwrap();
    assert!(large.matches(attributes(&json!({ "n": 18_446_744_073_709_551_614_u64 }))));
    assert!(!large.matches(attributes(&json!({ "n": u64::MAX }))));
}

#[test]
fn booleans_may_be_text() {
    let of = |active: Value, filter: &str| {
        filter.parse::<Filter>().unwrap().matches(attributes(&json!({ "active": active })))
    };
    for (active, filter) in [
        (json!("False"), "active eq false"),
        (json!(false), r#"active eq "False""#),
        (json!("TRUE"), "active eq true"),
        (json!("true"), r#"active eq "True""#),
        (json!(true), "active ne false"),
    ] {
        assert!(of(active, filter), "{filter}");
    }
    for (active, filter) in
        [(json!("no"), "active eq false"), (json!(0), "active eq false"), (json!(true), r#"active eq "yes""#)]
    {
        assert!(!of(active, filter), "{filter}");
    }
}

#[test]
fn one_element_can_be_asked_by_itself() {
    let members = AttributePath::named("members");
    let by_value: Filter = r#"value eq "Abc""#.parse().unwrap();
    assert!(by_value.matches_element(&members, &json!({ "value": "Abc", "display": "x" })));
    assert!(by_value.matches_element(&members, &json!("Abc")));
    assert!(!by_value.matches_element(&members, &json!({ "value": "abc" })), "an id is exact");
    assert!(!by_value.matches_element(&members, &Value::Null));
    assert!(by_value.matches_element(&AttributePath::named("emails"), &json!({ "value": "abc" })));

    let primary: Filter = r#"type eq "work" and primary eq "True""#.parse().unwrap();
    assert!(primary.matches_element(&"roles".parse().unwrap(), &json!({ "type": "Work", "primary": true })));
}

#[test]
fn rules_of_other_schemas_are_followed() {
    struct Exact;
    impl AttributeRules for Exact {
        fn comparison(&self, schema: Option<&str>, name: &str, sub: Option<&str>) -> Option<Comparison> {
            match (schema, name, sub) {
                (None, "userName", None) | (None, "emails", Some("type")) => Some(Comparison::Exact),
                (Some("urn:example:2.0:User"), "lastSeen", None) => Some(Comparison::Caseless),
                _ => None,
            }
        }
    }
    let barbara = barbara();
    let holds = |filter: &str| filter.parse::<Filter>().unwrap().matches_by(&Exact, attributes(&barbara));
    assert!(holds(r#"userName eq "bjensen@example.com" and emails[type eq "work"]"#));
    assert!(!holds(r#"userName eq "BJENSEN@example.com""#));
    assert!(!holds(r#"emails[type eq "WORK"]"#));
    assert!(!holds(r#"emails.type eq "WORK""#));
    assert!(holds(r#"id eq "2819C223""#));
    assert!(!holds(r#"urn:example:2.0:User:lastSeen eq "2011-05-13T03:00:00+01:00""#));
}

#[test]
fn schemas_that_a_server_publishes_are_followed() {
    let schemas: Vec<scim_client::message::Schema> = serde_json::from_value(json!([
        {
            "id": "urn:ietf:params:scim:schemas:core:2.0:User",
            "attributes": [
                { "name": "userName", "type": "string", "caseExact": true },
                { "name": "externalId", "type": "string", "caseExact": false },
                { "name": "loginCount", "type": "integer" },
                { "name": "emails", "type": "complex", "multiValued": true, "subAttributes": [
                    { "name": "value", "type": "string", "caseExact": true },
                    { "name": "type", "type": "string", "caseExact": false },
                ] },
            ],
        },
        {
            "id": "urn:example:extension:2.0:User",
            "attributes": [
                { "name": "lastSeen", "type": "dateTime" },
                { "name": "page", "type": "reference" },
                { "name": "nickName", "type": "string", "caseExact": true },
            ],
        },
    ]))
    .unwrap();
    let mut resource = barbara();
    resource["nickName"] = json!("Babs");
    resource["urn:example:extension:2.0:User"] =
        json!({ "lastSeen": "2011-05-13T02:00:00Z", "page": "https://example.com/Babs" });
    let holds = |filter: &str| filter.parse::<Filter>().unwrap().matches_by(&schemas, attributes(&resource));
    for filter in [
        r#"userName eq "bjensen@example.com""#,
        r#"emails[TYPE eq "WORK" and value eq "bjensen@example.com"]"#,
        r#"emails eq "babs@jensen.org""#,
        r#"nickName eq "babs""#,
        "loginCount eq 17",
        r#"title eq null and name.familyName eq "JENSEN""#,
        r#"urn:example:extension:2.0:User:lastSeen eq "2011-05-13T03:00:00+01:00""#,
        r#"urn:example:extension:2.0:User:page sw "https""#,
        r#"externalId eq "BJ-1""#,
    ] {
        assert!(holds(filter), "{filter}");
    }
    for filter in [
        r#"userName eq "BJENSEN@example.com""#,
        r#"emails eq "BABS@jensen.org""#,
        r#"urn:example:extension:2.0:User:page sw "HTTPS""#,
        r#"externalId eq "bj-1""#,
        r#"meta.version eq "w/\"a330bc54f0671c9\"""#,
    ] {
        assert!(!holds(filter), "{filter}");
    }
}

#[test]
fn of_nothing_all_hold_and_none_does() {
    let none = Attributes::new();
    assert!(Filter::And(vec![]).matches(&none));
    assert!(!Filter::Or(vec![]).matches(&none));
    // As they are written, they mean the same.
    assert!(Filter::And(vec![]).to_string().parse::<Filter>().unwrap().matches(&none));
    assert!(!Filter::Or(vec![]).to_string().parse::<Filter>().unwrap().matches(&none));
}
