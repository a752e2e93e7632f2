//! Rules in the languages of others.

mod judges;

use mfa_events::render::{Form, Names, RenderError, kql, sigma, spl};
use mfa_events::{Rule, Rules};
use proptest::prelude::*;

use crate::export::golden;

type Render = fn(&Rule, Form) -> Result<String, RenderError>;

/// Each language and form with the end of its file's name.
pub(crate) const LANGUAGES: [(&str, Render); 5] = [
    ("sliding.spl", |rule, _| spl(rule, &Names::default(), Form::Sliding)),
    ("tumbling.spl", |rule, _| spl(rule, &Names::default(), Form::Tumbling)),
    ("sliding.kql", |rule, _| kql(rule, &Names::default(), Form::Sliding)),
    ("tumbling.kql", |rule, _| kql(rule, &Names::default(), Form::Tumbling)),
    ("sigma.yml", |rule, _| sigma(rule)),
];

#[test]
fn reads_as_the_golden_files_show() {
    let mut refused = String::new();
    for rule in &Rules::published() {
        for (end, render) in LANGUAGES {
            match render(rule, Form::Sliding) {
                Ok(text) => golden(&format!("render/{}.{end}", rule.id), &text),
                Err(error) => refused.push_str(&format!("{}.{end}: {error}\n", rule.id)),
            }
        }
    }
    // What cannot be said is one of these, and nothing else.
    golden("render/refused.txt", &refused);
}

fn rule(toml: &str) -> Rule {
    Rules::from_toml(&format!("version = 1\n[[rule]]\n{toml}")).unwrap().iter().next().unwrap().clone()
}

#[test]
fn a_rule_is_said_with_the_names_of_those_who_run_it() {
    let rule = rule(
        "id = \"x\"\nname = \"x\"\nseverity = \"low\"\nkind = \"count\"\nthreshold = 7\nwindow = \"90s\"\ngroup_by = \"actor\"\n\
         select = { event_type = \"account.locked\" }",
    );
    let names = Names::default()
        .index("identity-2")
        .and_then(|names| names.sourcetype("ocsf"))
        .and_then(|names| names.table("Auth_CL"))
        .and_then(|names| names.field("actor_id", "user.uid"))
        .and_then(|names| names.field("time", "EventTime"))
        .unwrap();
    let search = spl(&rule, &names, Form::Sliding).unwrap();
    for part in [
        "index=\"identity-2\" sourcetype=\"ocsf\"",
        "actor_id='user.uid'",
        "_time='EventTime'",
        "time_window=90s",
        "events>=7",
    ] {
        assert!(search.contains(part), "{part} is not in\n{search}");
    }
    let query = kql(&rule, &names, Form::Tumbling).unwrap();
    for part in [
        "let seen = Auth_CL",
        "happened = EventTime",
        "actor_id = tostring(user.uid)",
        "= 90s;",
        "events >= 7",
    ] {
        assert!(query.contains(part), "{part} is not in\n{query}");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    for name in
        ["", "a b", "a\"b", "a'b", "a\\b", "a`b", "a|b", "a\nb", "a]b", "é", "a;b", "$a$", &"a".repeat(129)]
    {
        assert_eq!(Names::default().index(name).unwrap_err(), RenderError::Name, "{name}");
        assert_eq!(Names::default().sourcetype(name).unwrap_err(), RenderError::Name, "{name}");
        assert_eq!(Names::default().table(name).unwrap_err(), RenderError::Name, "{name}");
        assert_eq!(Names::default().field("actor_id", name).unwrap_err(), RenderError::Name, "{name}");
    }
    for name in ["1a", "a-b", "a..b", ".a", "a:b"] {
        assert_eq!(Names::default().field("actor_id", name).unwrap_err(), RenderError::Name, "{name}");
    }
    let error = Names::default().field("device_id", "x").unwrap_err();
    assert_eq!(error.to_string(), "no query has a field `device_id`");
}

#[test]
fn what_cannot_be_said_is_an_error() {
    let sequence = rule(
        "id = \"x\"\nname = \"x\"\nseverity = \"low\"\nkind = \"sequence\"\nwindow = \"1h\"\ngroup_by = \"actor\"\n\
         steps = [{ select = { event_type = \"login.failure\" } }, { select = { event_type = \"login.success\" }, at_least = 2 }]",
    );
    for (end, render) in LANGUAGES {
        let error = render(&sequence, Form::Sliding).unwrap_err();
        assert!(error.to_string().contains("only the first step"), "{end}: {error}");
    }
    let fine = rule(
        "id = \"x\"\nname = \"x\"\nseverity = \"low\"\nkind = \"count\"\nthreshold = 7\nwindow = \"1500ms\"\ngroup_by = \"actor\"\n\
         select = { event_type = \"account.locked\" }",
    );
    assert!(spl(&fine, &Names::default(), Form::Sliding).unwrap_err().to_string().contains("whole seconds"));
    assert!(sigma(&fine).unwrap_err().to_string().contains("whole seconds"));
    assert!(kql(&fine, &Names::default(), Form::Sliding).unwrap().contains("= 1500ms;"));
}

/// A published rule with other texts for people. Rules from files have one line of name; nothing is taken for granted here.
pub(crate) fn told(rule: &Rule, name: &str, description: &str) -> Rule {
    let mut rule = rule.clone();
    name.clone_into(&mut rule.name);
    rule.description = Some(description.to_owned());
    rule
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(
            prop_oneof![
                prop::sample::select("`\"'\\|[]{}$%#*/;:-&!,?=\n\r\u{2028}\u{85}\u{feff}\t ab".chars().collect::<Vec<_>>()),
                any::<char>(),
            ],
            0..40,
        )
        .prop_map(|characters| characters.into_iter().collect()),
        1 => Just("``` | delete index=* ```".to_owned()),
        1 => Just("x\n.drop table MfaEvents_CL".to_owned()),
        1 => Just("x\"\nlevel: low\n---\ntitle: \"y".to_owned()),
        1 => Just("*/ ; // x".to_owned()),
    ]
}

proptest! {
    #[test]
    fn no_text_of_a_rule_leaves_its_comment((name, description) in (hostile(), hostile())) {
        for rule in &Rules::published() {
            for (end, render) in LANGUAGES {
                let Ok(plain) = render(&told(rule, "x", "x"), Form::Sliding) else { continue };
                let text = render(&told(rule, &name, &description), Form::Sliding).unwrap();
                prop_assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
                // Without comments and titles, what is left is the same.
                prop_assert_eq!(said(end, &text), said(end, &plain), "{}", end);
            }
        }
    }
}

/// What a text says to machines.
fn said(end: &str, text: &str) -> String {
    match end.rsplit('.').next().unwrap() {
        "spl" => {
            let parts: Vec<&str> = text.split("```").collect();
            assert_eq!(parts.len() % 2, 1, "a comment has no end:\n{text}");
            parts.into_iter().step_by(2).collect()
        }
        "kql" => text.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n"),
        _ => {
            // A line that is a text between quotation marks, whatever is escaped in it.
            let lines = text
                .lines()
                .filter(|line| !(line.starts_with("title: ") || line.starts_with("description: ")));
            for line in
                text.lines().filter(|line| line.starts_with("title: ") || line.starts_with("description: "))
            {
                let value = line.split_once(": ").unwrap().1;
                serde_json::from_str::<String>(value).unwrap();
            }
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}
