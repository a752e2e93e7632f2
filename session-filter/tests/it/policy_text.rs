//! Mistakes in a policy text, with their places. Golden files in `tests/golden/`; `BLESS=1` writes them anew.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use session_filter::Policy;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn every_mistake_is_shown_with_line_and_column() {
    let mut seen = 0;
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let said = match Policy::from_toml(&std::fs::read_to_string(&path).unwrap()) {
            Ok(policy) => policy.warnings().iter().map(|warning| format!("warning: {warning}\n")).collect(),
            Err(error) => format!("{error}\n"),
        };
        let expected = path.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        assert_eq!(said, std::fs::read_to_string(&expected).unwrap(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} golden files");
}

#[test]
fn a_raw_terminal_beside_a_list_of_commands_does_not_load() {
    let rule = |user: &str, target: &str, rest: &str| {
        format!("[[permit]]\nusers=['{user}']\ntargets=['{target}']\n{rest}\n")
    };
    let raw = "mode='unrestricted'";
    let list = "commands=['id']";
    let load = |a: String, b: String| Policy::from_toml(&format!("{a}{b}")).map(drop);
    assert!(load(rule("alice", "web-1", raw), rule("alice", "web-1", list)).is_err());
    assert!(load(rule("role:x", "tag:y", list), rule("role:x", "tag:y", raw)).is_err());
    assert!(load(rule("alice", "web-1", raw), rule("alice", "web-2", list)).is_ok());
    assert!(load(rule("alice", "web-1", raw), rule("bob", "web-1", list)).is_ok());
    let one = Policy::from_toml(&rule("alice", "web-1", "mode='unrestricted'\ncommands=['id']")).unwrap_err();
    assert_eq!((one.mistakes()[0].line, one.mistakes()[0].column), (5, 10));
}

#[test]
fn deeply_nested_text_is_a_mistake_and_not_a_crash() {
    for text in [
        "[".repeat(200_000),
        format!("redact = {}", "[".repeat(200_000)),
        format!("permit = {}", "{a=".repeat(100_000)),
        "a.".repeat(200_000),
    ] {
        assert!(Policy::from_toml(&text).is_err());
    }
}

#[test]
fn messages_stay_short_whatever_is_wrong() {
    let long = "é".repeat(100_000);
    let rule = |rest: &str| format!("[[permit]]\nusers=['a']\ntargets=['t']\n{rest}\n");
    for text in [
        rule(&format!("commands=['ls > {long}']")),
        rule(&format!("commands=['id']\nidle='{long}'")),
        rule(&format!("commands=['id']\nwhen={{zone='{long}'}}")),
        rule(&format!("commands=['id']\nwhen={{hours='{long}', days='{long}'}}")),
        rule(&format!("commands=['id']\n'{long}'=1")),
        rule(&format!("commands=['/{}/vi']", "x".repeat(10_000))),
        format!("redact=['({long}']"),
        format!(
            "[[permit]]\nusers=['{long}', ' {long}']\ntargets=['t']\nmode='unrestricted'\ncommands=['id']"
        ),
        format!("{long} = {long}"),
    ] {
        let error = Policy::from_toml(&text).unwrap_err();
        assert!(error.to_string().len() < 3 * 1024, "{} bytes", error.to_string().len());
        assert!(error.mistakes().iter().all(|mistake| mistake.message.len() <= 2 * 1024 + 3));
    }
    let many: String = (0..1000).map(|n| format!("'vi {} {n}',", "é".repeat(2000))).collect();
    let error = Policy::from_toml(&rule(&format!("commands=[{many}]"))).unwrap_err();
    assert_eq!(error.mistakes().len(), session_filter::limits::MISTAKES_MAX);
    let shown = error.to_string();
    assert!(shown.len() < 20 * 1024, "{} bytes", shown.len());
    assert!(shown.lines().last().unwrap().starts_with("… and "), "{shown}");
}

#[test]
fn one_long_line_full_of_rules_and_mistakes_is_read_in_one_go() {
    let rule = "{users=['a'],targets=['t'],commands=['id','df','w','vi','vi','vi']},";
    let error = Policy::from_toml(&format!("permit=[{}]", rule.repeat(9_000))).unwrap_err();
    let places = error.mistakes().iter().map(|mistake| (mistake.line, mistake.column)).take(3);
    assert_eq!(places.collect::<Vec<_>>(), [(1, 60), (1, 65), (1, 70)]);
    let accents = "permit=[{users=['é','é'],targets=['t'],commands=['vi','é','vi']}]";
    let error = Policy::from_toml(accents).unwrap_err();
    assert_eq!(error.mistakes().iter().map(|mistake| mistake.column).collect::<Vec<_>>(), [50, 59]);
}

#[test]
fn the_digest_names_the_text() {
    let policy = Policy::from_toml("").unwrap();
    // SHA-256 of nothing.
    assert_eq!(policy.digest(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn an_index_too_large_to_build_is_refused() {
    let names: Vec<String> = (0..1000).map(|n| format!("'n{n}'")).collect();
    let names = names.join(",");
    let text = format!("[[permit]]\nusers=[{names}]\ntargets=[{names}]\ncommands=['id']\n");
    let error = Policy::from_toml(&text).unwrap_err().to_string();
    assert!(error.starts_with("line 1, column 1: up to here"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn never_panics(text in r#"(\[\[permit\]\]\n|users = \["a"\]\n|targets = \["\*"\]\n|commands = \["[ -~]{0,10}"\]\n|when = \{[ -~]{0,20}\}\n|[ -~\n]{0,20}){0,8}"#) {
        if let Err(error) = Policy::from_toml(&text) {
            prop_assert!(!error.mistakes().is_empty());
            for mistake in error.mistakes() {
                prop_assert!(mistake.line >= 1 && mistake.line <= text.split('\n').count());
                prop_assert!(mistake.column >= 1);
            }
        }
    }
}
