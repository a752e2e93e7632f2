//! The same violations as the plainest reading of the rules.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

type FunctionSets = (BTreeSet<u8>, BTreeSet<u8>);

fn functions() -> impl Strategy<Value = Vec<FunctionSets>> {
    let sets = proptest::collection::btree_set(0..10u8, 0..4).prop_flat_map(|all| {
        let any = proptest::collection::btree_set(0..10u8, 0..4);
        (Just(all), any)
    });
    let one = sets.prop_map(|(all, any)| {
        let any: BTreeSet<u8> = any.difference(&all).copied().collect();
        match all.is_empty() && any.is_empty() {
            true => (BTreeSet::from([0]), any),
            false => (all, any),
        }
    });
    proptest::collection::vec(one, 4)
}

fn name(right: u8) -> Right {
    self::right(&format!("c{}/r{right}", right % 3))
}

fn text(functions: &[FunctionSets], risks: &[BTreeSet<usize>]) -> String {
    let mut text = "version = 1\n".to_owned();
    for (n, (all, any)) in functions.iter().enumerate() {
        writeln!(text, "[[function]]\nid = \"f{n}\"").unwrap();
        for (key, rights) in [("all", all), ("any", any)] {
            let of = |connector: u8| -> Vec<String> {
                rights
                    .iter()
                    .filter(|right| *right % 3 == connector)
                    .map(|right| format!("r{right}"))
                    .collect()
            };
            let tables: Vec<String> = (0..3)
                .filter(|connector| !of(*connector).is_empty())
                .map(|connector| format!("c{connector} = {:?}", of(connector)))
                .collect();
            if !tables.is_empty() {
                writeln!(text, "{key} = {{ {} }}", tables.join(", ")).unwrap();
            }
        }
    }
    for (n, risk) in risks.iter().enumerate() {
        let names: Vec<String> = risk.iter().map(|function| format!("f{function}")).collect();
        let remedy = ["ask", "mitigate", "revoke"][n % 3];
        writeln!(
            text,
            "[[risk]]\nid = \"R{n}\"\nlevel = \"high\"\nfunctions = {names:?}\nremedy = {remedy:?}"
        )
        .unwrap();
    }
    text
}

fn violated(functions: &[FunctionSets], risks: &[BTreeSet<usize>], held: &BTreeSet<u8>) -> BTreeSet<String> {
    let has = |function: &usize| {
        let (all, any) = &functions[*function];
        all.is_subset(held) && (any.is_empty() || !any.is_disjoint(held))
    };
    let violated = risks.iter().enumerate().filter(|(_, risk)| risk.iter().all(has));
    violated.map(|(n, _)| format!("R{n}")).collect()
}

fn holdings(held: &BTreeSet<u8>) -> Vec<Holding> {
    held.iter()
        .map(|right| Holding { right: name(*right), state: HoldingState::Current, since: now() })
        .collect()
}

proptest! {
    #[test]
    fn agrees_with_the_plain_reading(
        functions in functions(),
        risks in proptest::collection::vec(proptest::collection::btree_set(0..4usize, 2..4), 0..5),
        held in proptest::collection::btree_set(0..10u8, 0..8),
        wanted in 0..10u8,
    ) {
        let rules = SodRules::parse(&text(&functions, &risks)).unwrap();
        let names = |violations: &[Violation]| -> BTreeSet<String> {
            violations.iter().map(|violation| violation.risk.to_string()).collect()
        };
        let violations = rules.check(&ada(), &holdings(&held), now());
        prop_assert_eq!(names(&violations), violated(&functions, &risks, &held));

        // What a remediation revokes is enough.
        for violation in &violations {
            if let Remediation::Revoke { rights, .. } = rules.remediation(violation) {
                prop_assert!(!rights.is_empty());
                let mut left = holdings(&held);
                left.retain(|holding| !rights.contains(&holding.right));
                let left = names(&rules.check(&ada(), &left, now()));
                prop_assert!(!left.contains(violation.risk.as_str()));
            }
        }

        // Before the grant: everything new, and nothing that has nothing to do with the right.
        let mut with = held.clone();
        with.insert(wanted);
        let after = violated(&functions, &risks, &with);
        let verdict = rules.would(&ada(), &holdings(&held), &name(wanted), now());
        let said = names(verdict.violations());
        prop_assert!(said.is_subset(&after));
        let new: BTreeSet<String> = after.difference(&violated(&functions, &risks, &held)).cloned().collect();
        prop_assert!(new.is_subset(&said), "{:?} {:?}", new, said);
        let part = |risk: &str| {
            let n: usize = risk.trim_start_matches('R').parse().unwrap();
            risks[n].iter().any(|f| functions[*f].0.contains(&wanted) || functions[*f].1.contains(&wanted))
        };
        prop_assert_eq!(said, after.into_iter().filter(|risk| part(risk)).collect());
        let open = matches!(verdict, Verdict::Allow(_));
        prop_assert_eq!(open, verdict.violations().is_empty());
    }

    #[test]
    fn any_text_is_rules_or_mistakes(text in "(version = 1\n)?(\\[\\[(function|risk|mitigation)\\]\\]\n|(id|any|all|functions|level|revoke|expires) = (\"[a-z]?\"|\\[\"a\"\\]|\\{ x = \\[\"a\"\\] \\}|7)\n){0,12}") {
        if let Err(error) = SodRules::parse(&text) {
            prop_assert!(!error.mistakes().is_empty());
        }
    }
}
