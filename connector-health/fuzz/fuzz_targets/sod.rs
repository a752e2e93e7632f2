//! Any text as rules of separation of duty. A mistake lies within the text. Whoever has every right that is named violates every
//! risk, and no risk without one of its functions; a remedy that revokes ends the violation.
#![no_main]

use chrono::DateTime;
use connector_health::PersonId;
use connector_health::sod::{Holding, HoldingState, Remediation, SodRules};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let rules = match SodRules::parse(text) {
        Ok(rules) => rules,
        Err(error) => {
            let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
            assert!(!error.mistakes().is_empty());
            for mistake in error.mistakes() {
                assert!(mistake.line >= 1 && mistake.line <= lines && mistake.column >= 1);
                assert!(mistake.message.chars().all(|c| !c.is_control()));
            }
            return;
        }
    };
    let person = PersonId::new("p").expect("a person");
    let now = DateTime::UNIX_EPOCH;
    let rights = rules.functions().iter().flat_map(|function| function.all.iter().chain(&function.any));
    let mut all: Vec<Holding> = rights
        .map(|right| Holding { right: right.clone(), state: HoldingState::Current, since: now })
        .collect();
    let violations = rules.check(&person, &all, now);
    assert_eq!(violations.len(), rules.risks().len());
    for violation in &violations {
        let _ = violation.to_string();
        if let Remediation::Revoke { rights, .. } = rules.remediation(violation) {
            let left: Vec<Holding> =
                all.iter().filter(|holding| !rights.contains(&holding.right)).cloned().collect();
            assert!(rules.check(&person, &left, now).iter().all(|left| left.risk != violation.risk));
        }
    }
    if let Some(wanted) = all.pop().map(|holding| holding.right) {
        all.retain(|holding| holding.right != wanted);
        let verdict = rules.would(&person, &all, &wanted, now);
        let after = rules.risks().len();
        assert!(verdict.violations().len() + rules.check(&person, &all, now).len() >= after);
    }
    assert!(rules.check(&person, &[], now).is_empty());
    for warning in rules.warnings() {
        let _ = warning.to_string();
    }
});
