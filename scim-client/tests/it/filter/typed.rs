//! Filters made of typed attributes.

use chrono::{TimeZone, Utc};
use scim_client::dialect::FilterForm;
use scim_client::filter::{Filter, Text, attribute, enterprise, group, user};
use scim_client::resource::ResourceId;

#[test]
fn each_operator_is_written_as_the_grammar_has_it() {
    let time = Utc.with_ymd_and_hms(2011, 5, 13, 4, 42, 34).unwrap();
    let cases = [
        (user::user_name().eq("x"), r#"userName eq "x""#),
        (user::user_name().ne("x"), r#"userName ne "x""#),
        (user::display_name().contains("x"), r#"displayName co "x""#),
        (user::user_name().starts_with("a"), r#"userName sw "a""#),
        (user::emails().value().ends_with("@x"), r#"emails.value ew "@x""#),
        (user::title().present(), "title pr"),
        (user::title().absent(), "not (title pr)"),
        (user::name().present(), "name pr"),
        (user::active().eq(false), "active eq false"),
        (user::meta().last_modified().gt(time), r#"meta.lastModified gt "2011-05-13T04:42:34Z""#),
        (user::meta().created().le(time), r#"meta.created le "2011-05-13T04:42:34Z""#),
        (user::id().eq(ResourceId::new("1")), r#"id eq "1""#),
        (group::members().reference().starts_with("x"), r#"members.$ref sw "x""#),
        (
            enterprise::manager().value().eq("26118915"),
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "26118915""#,
        ),
        (attribute("urn:x:2.0:User:level").unwrap().ge(3), "urn:x:2.0:User:level ge 3"),
        (attribute("badge").unwrap().of_kind::<Text>().lt("b"), r#"badge lt "b""#),
    ];
    for (filter, text) in cases {
        assert_eq!(filter.to_string(), text);
        assert_eq!(text.parse::<Filter>().unwrap(), filter);
    }
    assert!(attribute("a b").is_err());
}

#[test]
fn names_within_an_element_are_relative_to_it() {
    let filter = group::members().element(|member| member.value().eq("2819c223") & member.kind().eq("User"));
    assert_eq!(filter.to_string(), r#"members[value eq "2819c223" and type eq "User"]"#);
    let path = user::emails().path_where(|email| email.kind().eq("work")).part("value");
    assert_eq!(path.to_string(), r#"emails[type eq "work"].value"#);
}

#[test]
fn chains_stay_flat_and_are_enclosed_where_the_meaning_needs_it() {
    let any = ["a", "b", "c"].into_iter().map(|name| user::user_name().eq(name)).reduce(Filter::or).unwrap();
    let filter = user::active().eq(true) & any.clone() & !user::title().present();
    assert_eq!(
        filter.to_string(),
        r#"active eq true and (userName eq "a" or userName eq "b" or userName eq "c") and not (title pr)"#
    );
    assert!(matches!(any, Filter::Or(parts) if parts.len() == 3));
}

#[test]
fn a_server_that_reads_only_equalities_is_asked_for_those() {
    let in_form = |filter: Filter| filter.in_form(FilterForm::EqualAnd).map(|filter| filter.to_string());
    let name = || user::user_name().eq("a");
    assert_eq!(in_form(name()).as_deref(), Some(r#"userName eq "a""#));
    assert_eq!(in_form(name() & user::title().present()).as_deref(), Some(r#"userName eq "a""#));
    assert_eq!(
        in_form(name() & user::active().eq(true)).as_deref(),
        Some(r#"userName eq "a" and active eq true"#)
    );
    for other in [
        name() | user::user_name().eq("b"),
        !name(),
        user::user_name().ne("a"),
        user::user_name().starts_with("a"),
        user::emails().element(|email| email.value().eq("a")),
        "title eq null".parse().unwrap(),
    ] {
        assert_eq!(in_form(other), None);
    }
    assert_eq!(
        (name() & user::active().eq(true)).written(FilterForm::Equal).as_deref(),
        Some(r#"userName eq "a""#),
        "one comparison is all that some servers read"
    );
    let all = name() | !user::title().present();
    assert_eq!(all.in_form(FilterForm::Full), Some(all));
}

#[test]
fn where_and_has_no_precedence_parentheses_say_what_belongs_together() {
    let written = |text: &str| text.parse::<Filter>().unwrap().written(FilterForm::Grouped).unwrap();
    for (text, grouped) in [
        ("a pr or b pr and c pr", "a pr or (b pr and c pr)"),
        ("(a pr or b pr) and c pr", "(a pr or b pr) and c pr"),
        ("a pr and b pr and c pr", "a pr and b pr and c pr"),
        ("not (a pr or b pr and c pr)", "not (a pr or (b pr and c pr))"),
        ("e[a pr or b pr and c pr]", "e[a pr or (b pr and c pr)]"),
    ] {
        assert_eq!(written(text), grouped);
        assert_eq!(grouped.parse::<Filter>().unwrap(), text.parse().unwrap());
    }
}
