//! Rules as people write them.

use mfa_events::detect::rule::{Kind, PUBLISHED, RULES_BYTES_MAX, Rules};

#[test]
fn the_rules_that_come_with_the_crate_are_rules() {
    let rules = Rules::from_toml(PUBLISHED).unwrap();
    assert_eq!(rules, Rules::published());
    assert_eq!(rules.len(), 17);
    let stuffing = rules.find("credential-stuffing").unwrap();
    assert_eq!(stuffing.window_ms(), 600_000);
    assert_eq!(stuffing.quiet, stuffing.window);
    assert!(matches!(stuffing.kind, Kind::DistinctCount { threshold: 10, success_clears: true, .. }));
}

/// A rule that is right, with one line changed.
fn with(line: &str, instead: &str) -> String {
    let text = r#"version = 1
[[rule]]
id = "stuffing"
name = "Stuffing"
severity = "high"
kind = "distinct-count"
of = "actor"
threshold = 10
window = "10m"
group_by = "source"
select = { event_type = "login.failure" }
"#;
    assert!(text.contains(line), "{line}");
    Rules::from_toml(text).unwrap();
    text.replacen(line, instead, 1)
}

#[test]
fn tells_mistakes_with_their_places() {
    let cases = [
        ("version = 1", "version = 2", (1, 11, "`version` must be 1")),
        ("threshold = 10", "threshold = 1", (8, 13, "`threshold` is 2 to 1000")),
        ("threshold = 10", "threshold = 1001", (8, 13, "`threshold` is 2 to 1000")),
        ("threshold = 10\n", "", (2, 1, "`threshold` is missing")),
        ("\"10m\"", "\"ten\"", (9, 10, "a span of time is as in")),
        ("\"10m\"", "\"0s\"", (9, 10, "it is 1ms to 31d")),
        ("\"10m\"", "\"99999999999999999d\"", (9, 10, "a span of time is as in")),
        ("\"10m\"", "\"10m\"\nquiet = \"9m\"", (10, 9, "`quiet` is at least as long as `window`")),
        ("\"source\"", "\"actor\"", (10, 12, "is not grouped by that")),
        ("\"source\"", "\"planet\"", (10, 12, "unknown variant")),
        ("of = \"actor\"", "of = \"source\"", (10, 12, "different sources are counted")),
        ("of = \"actor\"", "of = \"actor\"\nactors = 3", (8, 10, "a rule of this kind has no `actors`")),
        ("\"login.failure\"", "[]", (11, 25, "a condition without values")),
        ("event_type = \"login.failure\"", "outcome = \"failure\"", (11, 10, "`event_type` is missing")),
        (
            "\"login.failure\"",
            "\"login.failure\", failure_reason = \"wrong_code\"",
            (11, 10, "no event of this type has `failure_reason`"),
        ),
        ("severity = \"high\"", "severity = \"hïgh\"", (5, 12, "unknown variant")),
        ("name = \"Stuffing\"", "name = \"\\u001b[2J\"", (4, 8, "`name` is one line")),
        ("name", "nom", (4, 1, "unknown field `nom`")),
    ];
    for (line, instead, (at, column, message)) in cases {
        let error = Rules::from_toml(&with(line, instead)).unwrap_err();
        let first = &error.mistakes()[0];
        assert_eq!((first.line, first.column), (at, column), "{error}");
        assert!(first.message.contains(message), "{error}");
    }
}

#[test]
fn tells_many_mistakes_at_once() {
    let twice = with("threshold = 10", "threshold = 0\nspeed_km_h = 3.0");
    let text = format!("{twice}{}", twice.strip_prefix("version = 1\n").unwrap());
    let error = Rules::from_toml(&text).unwrap_err();
    let lines: Vec<_> = error.mistakes().iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [8, 9, 14, 19, 20][..].to_vec(), "{error}");
    assert!(error.to_string().contains("rule `stuffing` is there twice"));
}

#[test]
fn refuses_what_is_too_large() {
    assert!(Rules::from_toml(&"#".repeat(RULES_BYTES_MAX + 1)).is_err());
    let one = with("version = 1\n", "");
    let many: String = (0..65).map(|number| one.replacen("stuffing", &format!("r{number}"), 1)).collect();
    let error = Rules::from_toml(&format!("version = 1\n{many}")).unwrap_err();
    assert!(error.to_string().contains("more than 64 rules"));
}
