//! From text to filters and back.

use scim_client::filter::{
    CompareOp, FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_TERMS_MAX, Filter, Literal, SyntaxFault,
};
use scim_client::path::AttributePath;

fn read(text: &str) -> Filter {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn eq(name: &str, value: &str) -> Filter {
    name.parse::<AttributePath>().unwrap().equals(value)
}

fn fault(text: &str) -> (SyntaxFault, usize) {
    let error = text.parse::<Filter>().expect_err(text);
    (error.fault(), error.column())
}

#[test]
fn reads_and_writes_every_example_of_the_rfc() {
    for text in [
        r#"userName eq "bjensen""#,
        r#"name.familyName co "O'Malley""#,
        r#"userName sw "J""#,
        r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J""#,
        "title pr",
        r#"meta.lastModified gt "2011-05-13T04:42:34Z""#,
        r#"meta.lastModified ge "2011-05-13T04:42:34Z""#,
        r#"meta.lastModified lt "2011-05-13T04:42:34Z""#,
        r#"meta.lastModified le "2011-05-13T04:42:34Z""#,
        r#"title pr and userType eq "Employee""#,
        r#"title pr or userType eq "Intern""#,
        r#"schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User""#,
        r#"userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")"#,
        r#"userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")"#,
        r#"userType eq "Employee" and emails[type eq "work" and value co "@example.com"]"#,
        r#"emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]"#,
    ] {
        assert_eq!(read(text).to_string(), text);
    }
    // The RFC encloses one comparison; the meaning does not need it.
    assert_eq!(
        read(r#"userType eq "Employee" and (emails.type eq "work")"#).to_string(),
        r#"userType eq "Employee" and emails.type eq "work""#
    );
}

#[test]
fn and_binds_tighter_than_or_and_not_tightest() {
    let (a, b, c) = (eq("a", "1"), eq("b", "2"), eq("c", "3"));
    let cases = [
        (r#"a eq "1" or b eq "2" and c eq "3""#, a.clone().or(b.clone().and(c.clone()))),
        (r#"a eq "1" and b eq "2" or c eq "3""#, a.clone().and(b.clone()).or(c.clone())),
        (r#"(a eq "1" or b eq "2") and c eq "3""#, a.clone().or(b.clone()).and(c.clone())),
        (r#"not (a eq "1") and b eq "2""#, (!a.clone()).and(b.clone())),
        (r#"not (a eq "1" and b eq "2")"#, !a.clone().and(b.clone())),
    ];
    for (text, filter) in cases {
        assert_eq!(read(text), filter);
        assert_eq!(filter.to_string(), text);
    }
    assert_eq!(read(r#"(a eq "1" and b eq "2") and (c eq "3")"#), a.and(b).and(c), "chains stay flat");
}

#[test]
fn operators_names_and_words_come_in_any_case() {
    assert_eq!(
        read(r#"USERNAME EQ "a" AND NoT(Active Eq TRUE) oR nickname eq NULL"#),
        read(r#"userName eq "a" and not (active eq true) or nickName eq null"#)
    );
    assert_ne!(read(r#"userName eq "a""#), read(r#"userName eq "A""#), "values keep their case");
}

#[test]
fn space_may_be_any_but_within_words() {
    assert_eq!(
        read(" ( a  eq \"1\"and\tb eq 2 )or emails[ type eq \"work\" ] "),
        read(r#"a eq "1" and b eq 2 or emails[type eq "work"]"#)
    );
}

#[test]
fn words_of_the_grammar_are_attribute_names_where_an_attribute_stands() {
    let text = r#"not eq "x" and and pr and or eq 1 or pr pr and eq eq null"#;
    assert_eq!(read(text).to_string(), text);
}

#[test]
fn a_comparison_after_the_brackets_is_one_within_them() {
    assert_eq!(
        read(r#"active eq true and emails[type eq "work" or primary pr].value EQ "x" and title pr"#)
            .to_string(),
        r#"active eq true and emails[(type eq "work" or primary pr) and value eq "x"] and title pr"#
    );
    assert_eq!(
        read(r#"emails[type eq "work"].value pr"#).to_string(),
        r#"emails[type eq "work" and value pr]"#
    );
}

#[test]
fn urns_with_dots_and_colons_name_the_schema() {
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let Filter::Compare(path, _, _) = read(&format!(r#"{enterprise}:manager.value eq "26118915""#)) else {
        panic!("not a comparison")
    };
    assert_eq!(path.schema.as_deref(), Some(enterprise));
    assert_eq!((path.name.as_str(), path.sub.as_deref()), ("manager", Some("value")));

    let Filter::Present(path) = read("members.$ref pr") else { panic!("not a presence") };
    assert_eq!((path.name.as_str(), path.sub.as_deref()), ("members", Some("$ref")));

    let Filter::Element(path, _) = read(&format!(r#"{enterprise}:badges[colour eq "red"]"#)) else {
        panic!("not an element")
    };
    assert_eq!((path.schema.as_deref(), path.name.as_str()), (Some(enterprise), "badges"));
}

#[test]
fn text_is_as_json_writes_it() {
    let literal = |text: &str| match read(&format!("a eq {text}")) {
        Filter::Compare(_, CompareOp::Equal, literal) => literal,
        other => panic!("{other}"),
    };
    assert_eq!(
        literal(r#""a\"b\\c\/d\u00e9\n\ud83d\ude00""#),
        Literal::String("a\"b\\c/d\u{e9}\n\u{1f600}".into())
    );
    assert_eq!(literal(r#""""#), Literal::String(String::new()));
    assert_eq!(literal(r#""\\""#), Literal::String("\\".into()));
    for number in ["0", "-1", "18446744073709551615", "1.5", "-0.25", "1e3", "1E-3"] {
        assert_eq!(literal(number), Literal::Number(serde_json::from_str(number).unwrap()));
    }
    let odd = Filter::Compare(
        AttributePath::named("a"),
        CompareOp::Equal,
        Literal::String("\" or id pr or a eq \"\\\u{0}\u{7f}\u{85}".into()),
    );
    assert_eq!(read(&odd.to_string()), odd, "a value cannot end its own quotes");
    assert!(!odd.to_string().chars().any(char::is_control));
}

#[test]
fn says_what_is_wrong_and_where() {
    use SyntaxFault::*;
    let cases = [
        ("", (Empty, 1)),
        ("  ", (Empty, 3)),
        ("userName", (ExpectedOperator, 9)),
        ("userName is \"x\"", (ExpectedOperator, 10)),
        ("userName eq", (ExpectedValue, 12)),
        ("userName eq bob", (ExpectedValue, 13)),
        ("userName eq 'bob'", (ExpectedValue, 13)),
        ("id eq 2819c223", (ExpectedValue, 7)),
        ("id eq 01", (BadNumber, 7)),
        ("id eq 1e999", (BadNumber, 7)),
        ("id eq -", (BadNumber, 7)),
        ("userName eq \"bob", (UnclosedText, 13)),
        ("userName eq \"bob\\\"", (UnclosedText, 13)),
        ("userName eq \"\\x\"", (BadText, 13)),
        ("userName eq \"\\ud83d\"", (BadText, 13)),
        ("userName eq \"a\nb\"", (BadText, 13)),
        ("userName eq \"é\" x", (ExpectedEnd, 17)),
        ("userName eq \"a\" \"b\"", (ExpectedEnd, 17)),
        ("a pr)", (ExpectedEnd, 5)),
        ("(a pr", (ExpectedParenthesis, 6)),
        ("(a pr]", (ExpectedParenthesis, 6)),
        ("emails[type eq 1", (ExpectedBracket, 17)),
        ("emails[type eq 1)", (ExpectedBracket, 17)),
        ("emails[]", (ExpectedAttribute, 8)),
        ("()", (ExpectedAttribute, 2)),
        ("a pr and", (ExpectedAttribute, 9)),
        ("a pr or or", (ExpectedOperator, 11)),
        ("emails[a[b pr]]", (NestedElement, 9)),
        ("not a pr", (ExpectedOperator, 5)),
        ("a.b.c pr", (AttributeName, 3)),
        (".a pr", (AttributeName, 1)),
        ("a. pr", (AttributeName, 3)),
        ("1a pr", (AttributeName, 1)),
        ("a@b pr", (AttributeName, 1)),
        ("urn:x: pr", (AttributeName, 7)),
        (":a pr", (AttributeName, 1)),
        ("ümlaut pr", (ExpectedAttribute, 1)),
        ("emails[type eq \"work\"].", (AttributeName, 24)),
        ("emails[type eq \"work\"].value", (ExpectedOperator, 29)),
        ("emails[type eq \"work\"].a.b eq 1", (AttributeName, 24)),
        ("emails[type eq \"work\"]x", (ExpectedEnd, 23)),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), expected, "{text}");
    }
    let error = "userName eq \"é\" oops".parse::<Filter>().unwrap_err();
    assert_eq!(error.to_string(), "column 17: expected `and`, `or` or the end");
    assert_eq!(error.offset(), 17);
}

#[test]
fn what_is_made_to_explode_ends_at_a_limit() {
    let nested =
        |depth: usize, open: &str, close: &str| format!("{}a pr{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("(", ")"), ("not (", ")")] {
        assert!(nested(FILTER_DEPTH_MAX, open, close).parse::<Filter>().is_ok());
        let (fault_found, column) = fault(&nested(FILTER_DEPTH_MAX + 1, open, close));
        assert_eq!((fault_found, column), (SyntaxFault::TooDeep, open.len() * (FILTER_DEPTH_MAX + 1)));
        assert_eq!(fault(&open.repeat(FILTER_BYTES_MAX / open.len())).0, SyntaxFault::TooDeep);
    }
    // Brackets count, too.
    let element = format!("{}emails[a pr]{}", "(".repeat(FILTER_DEPTH_MAX), ")".repeat(FILTER_DEPTH_MAX));
    assert_eq!(fault(&element), (SyntaxFault::TooDeep, FILTER_DEPTH_MAX + 7));

    let many = |terms: usize| vec!["a pr"; terms].join(" or ");
    let longest = many(FILTER_TERMS_MAX);
    assert_eq!(longest.parse::<Filter>().unwrap().to_string(), longest);
    assert_eq!(fault(&many(FILTER_TERMS_MAX + 1)), (SyntaxFault::TooManyTerms, longest.len() + 5));

    let long = |bytes: usize| format!("a eq \"{}\"", "x".repeat(bytes - 7));
    assert!(long(FILTER_BYTES_MAX).parse::<Filter>().is_ok());
    assert_eq!(fault(&long(FILTER_BYTES_MAX + 1)), (SyntaxFault::TooLong, FILTER_BYTES_MAX + 1));
}

#[test]
fn of_nothing_and_of_one_is_written_so_that_it_means_it() {
    assert_eq!(Filter::And(vec![eq("a", "1")]).to_string(), r#"a eq "1""#);
    assert_eq!(Filter::And(vec![]).to_string(), "id pr or not (id pr)");
    assert_eq!(Filter::Or(vec![]).to_string(), "id pr and not (id pr)");
    assert_eq!(Filter::And(vec![]).and(eq("a", "1")).to_string(), r#"a eq "1""#);
    assert_eq!(
        Filter::And(vec![eq("a", "1"), Filter::Or(vec![])]).to_string(),
        r#"a eq "1" and id pr and not (id pr)"#
    );
    assert_eq!(
        Filter::And(vec![eq("a", "1"), Filter::And(vec![])]).to_string(),
        r#"a eq "1" and (id pr or not (id pr))"#
    );
}

#[test]
fn is_a_string_in_json() {
    let filter = read(r#"userName eq "a""#);
    let json = serde_json::to_string(&filter).unwrap();
    assert_eq!(json, r#""userName eq \"a\"""#);
    assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
    let error = serde_json::from_str::<Filter>(r#""userName""#).unwrap_err();
    assert!(error.to_string().contains("column 9"), "{error}");
}
