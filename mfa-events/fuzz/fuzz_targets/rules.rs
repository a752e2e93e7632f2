#![no_main]

use libfuzzer_sys::fuzz_target;
use mfa_events::detect::rule::{MISTAKES_MAX, Rules};

// Whatever is written: rules that keep their bounds, or mistakes with places that are in the text.
fuzz_target!(|text: &str| {
    match Rules::from_toml(text) {
        Ok(rules) => {
            for rule in &rules {
                assert!(rule.window_ms() > 0 && rule.quiet >= rule.window);
                assert_eq!(rules.find(rule.id.as_str()), Some(rule));
            }
            serde_json::to_string(&rules).expect("rules are written");
        }
        Err(error) => {
            let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
            assert!((1..=MISTAKES_MAX).contains(&error.mistakes().len()));
            for mistake in error.mistakes() {
                assert!((1..=lines).contains(&mistake.line) && mistake.column >= 1);
                assert!(!mistake.message.is_empty() && !mistake.message.chars().any(char::is_control));
            }
        }
    }
});
