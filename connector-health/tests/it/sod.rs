//! Separation of duty.

mod model;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use connector_health::sod::*;
use connector_health::{ConnectorId, EntitlementId, PersonId, Right, RiskId};

const RULES: &str = r#"
version = 1

[[function]]
id = "create vendors"
any = { sap = ["Z_VENDOR"], erp = ["vendor-admin"] }

[[function]]
id = "pay vendors"
all = { sap = ["Z_PAY", "Z_RELEASE"] }

[[function]]
id = "audit"
all = { audit = ["reader"] }
any = { sap = ["Z_AUDIT"], erp = ["auditor"] }

[[risk]]
id = "P001"
level = "critical"
functions = ["create vendors", "pay vendors"]
remedy = "revoke"
revoke = "pay vendors"

[[risk]]
id = "P002"
level = "medium"
functions = ["create vendors", "audit"]
remedy = "mitigate"

[[risk]]
id = "P003"
level = "low"
functions = ["pay vendors", "audit"]
remedy = "ask"
"#;

fn rules() -> SodRules {
    SodRules::parse(RULES).unwrap()
}

fn ada() -> PersonId {
    PersonId::new("ada").unwrap()
}

fn now() -> DateTime<Utc> {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn right(text: &str) -> Right {
    let (connector, entitlement) = text.split_once('/').unwrap();
    Right {
        connector: ConnectorId::new(connector).unwrap(),
        entitlement: EntitlementId::new(entitlement).unwrap(),
    }
}

fn has(texts: &[&str]) -> Vec<Holding> {
    let days = texts.iter().zip(1..);
    days.map(|(text, day)| Holding {
        right: right(text.trim_end_matches('?')),
        state: if text.ends_with('?') { HoldingState::Pending } else { HoldingState::Current },
        since: format!("2026-01-{day:02}T00:00:00Z").parse().unwrap(),
    })
    .collect()
}

fn mitigation(risk: &str, expires: &str) -> Mitigation {
    Mitigation {
        risk: RiskId::new(risk).unwrap(),
        person: ada(),
        control: "monthly review".into(),
        owner: PersonId::new("boss").unwrap(),
        expires: expires.parse().unwrap(),
    }
}

#[test]
fn a_violation_across_systems_is_explained() {
    let violations = rules().check(&ada(), &has(&["sap/Z_PAY", "sap/Z_RELEASE?", "erp/vendor-admin"]), now());
    assert_eq!(violations.len(), 1);
    assert_eq!(
        violations[0].to_string(),
        "ada violates risk `P001` (critical): `create vendors` by vendor-admin on erp; \
         `pay vendors` by Z_PAY on sap and Z_RELEASE on sap (pending)"
    );
}

#[test]
fn all_takes_all_and_any_takes_one() {
    let rules = rules();
    let violated = |texts: &[&str]| -> Vec<String> {
        rules.check(&ada(), &has(texts), now()).iter().map(|v| v.risk.to_string()).collect()
    };
    assert_eq!(violated(&["sap/Z_PAY", "erp/vendor-admin"]), [""; 0]);
    assert_eq!(violated(&["audit/reader", "erp/vendor-admin"]), [""; 0]);
    assert_eq!(violated(&["erp/auditor", "erp/vendor-admin"]), [""; 0]);
    assert_eq!(violated(&["audit/reader", "erp/auditor", "erp/vendor-admin"]), ["P002"]);
    assert_eq!(
        violated(&["audit/reader", "erp/auditor", "erp/vendor-admin", "sap/Z_PAY", "sap/Z_RELEASE"]),
        ["P001", "P002", "P003"]
    );
    // The same name on another connector is another right.
    assert_eq!(violated(&["sap/Z_PAY", "sap/Z_RELEASE", "crm/vendor-admin"]), [""; 0]);
}

#[test]
fn a_grant_is_checked_before_it_is_made_with_what_is_on_its_way() {
    let rules = rules();
    let would = |texts: &[&str], wanted| rules.would(&ada(), &has(texts), &right(wanted), now());
    let deny = would(&["sap/Z_PAY?", "erp/vendor-admin?"], "sap/Z_RELEASE");
    assert!(matches!(&deny, Verdict::Deny(v) if v.len() == 1), "{deny:?}");
    assert!(matches!(would(&["audit/reader", "erp/vendor-admin"], "sap/Z_AUDIT"), Verdict::MitigateFirst(_)));
    assert!(matches!(would(&["audit/reader", "sap/Z_PAY", "erp/auditor"], "sap/Z_RELEASE"), Verdict::Ask(_)));
    assert_eq!(would(&["sap/Z_PAY"], "sap/Z_RELEASE"), Verdict::Allow(vec![]));
    assert_eq!(would(&[], "crm/anything"), Verdict::Allow(vec![]));
    // The worst of what would follow decides.
    let all = would(&["audit/reader", "erp/auditor", "sap/Z_PAY", "sap/Z_RELEASE"], "sap/Z_VENDOR");
    assert!(matches!(&all, Verdict::Deny(v) if v.len() == 2), "{all:?}");
}

#[test]
fn an_old_violation_is_not_held_against_another_right() {
    let rules = rules();
    let violating = has(&["sap/Z_PAY", "sap/Z_RELEASE", "sap/Z_VENDOR"]);
    assert_eq!(rules.would(&ada(), &violating, &right("audit/reader"), now()), Verdict::Allow(vec![]));
    assert!(matches!(rules.would(&ada(), &violating, &right("erp/vendor-admin"), now()), Verdict::Deny(_)));
}

#[test]
fn a_mitigation_bears_a_violation_until_it_expires() {
    let mut rules = rules();
    rules.mitigate(mitigation("P001", "2026-07-01T00:00:00Z")).unwrap();
    let holdings = has(&["sap/Z_PAY", "sap/Z_RELEASE", "sap/Z_VENDOR"]);
    let violation = &rules.check(&ada(), &holdings, now())[0];
    assert!(
        violation.to_string().ends_with("; mitigated by `monthly review` until 2026-07-01"),
        "{violation}"
    );
    assert_eq!(rules.remediation(violation), Remediation::Mitigated);
    assert!(matches!(rules.would(&ada(), &holdings, &right("erp/vendor-admin"), now()), Verdict::Allow(_)));

    let expired = "2026-07-01T00:00:00Z".parse().unwrap();
    let violation = &rules.check(&ada(), &holdings, expired)[0];
    assert!(
        violation.to_string().ends_with("; the control `monthly review` expired 2026-07-01"),
        "{violation}"
    );
    assert!(matches!(rules.remediation(violation), Remediation::Revoke { .. }));
    assert!(matches!(rules.would(&ada(), &holdings, &right("erp/vendor-admin"), expired), Verdict::Deny(_)));
    assert_eq!(rules.expiring(now(), "2026-07-02T00:00:00Z".parse().unwrap()).len(), 1);

    // It is the person's, and nobody else's.
    let eve = PersonId::new("eve").unwrap();
    assert_eq!(rules.check(&eve, &holdings, now())[0].standing, Standing::Open);
    assert!(rules.unmitigate(&RiskId::new("P001").unwrap(), &ada()).is_some());
    assert_eq!(rules.check(&ada(), &holdings, now())[0].standing, Standing::Open);
}

#[test]
fn nobody_mitigates_their_own_violation() {
    let own = Mitigation { owner: ada(), ..mitigation("P001", "2027-01-01T00:00:00Z") };
    assert_eq!(rules().mitigate(own), Err(MitigationError::OwnViolation(ada())));
    let unknown = mitigation("P999", "2027-01-01T00:00:00Z");
    assert!(matches!(rules().mitigate(unknown), Err(MitigationError::UnknownRisk(_))));
    let empty = Mitigation { control: " ".into(), ..mitigation("P001", "2027-01-01T00:00:00Z") };
    assert_eq!(rules().mitigate(empty), Err(MitigationError::NoControl));
}

#[test]
fn remedies_follow_the_risk() {
    let rules = rules();
    let remediation = |texts: &[&str]| rules.remediation(&rules.check(&ada(), &has(texts), now())[0]);
    assert!(matches!(
        remediation(&["sap/Z_PAY", "sap/Z_RELEASE", "sap/Z_VENDOR", "erp/vendor-admin"]),
        Remediation::Revoke { function, rights } if function.as_str() == "pay vendors" && rights == [right("sap/Z_PAY")]
    ));
    assert_eq!(
        remediation(&["audit/reader", "sap/Z_AUDIT", "sap/Z_VENDOR"]),
        Remediation::Mitigate { owner_before: None }
    );
    assert_eq!(remediation(&["audit/reader", "sap/Z_AUDIT", "sap/Z_PAY", "sap/Z_RELEASE"]), Remediation::Ask);
}

#[test]
fn without_a_name_the_function_that_came_last_is_taken_away() {
    let rules = SodRules::parse(&RULES.replace("revoke = \"pay vendors\"\n", "")).unwrap();
    let violations =
        rules.check(&ada(), &has(&["sap/Z_PAY", "sap/Z_RELEASE", "sap/Z_VENDOR", "erp/vendor-admin"]), now());
    let Remediation::Revoke { function, rights } = rules.remediation(&violations[0]) else { panic!() };
    assert_eq!(function.as_str(), "create vendors");
    assert_eq!(rights, [right("erp/vendor-admin"), right("sap/Z_VENDOR")], "each of them suffices");
}

#[test]
fn mistakes_have_line_and_column() {
    let with = |more: &str| SodRules::parse(&format!("{RULES}{more}")).unwrap_err().to_string();
    let lines = RULES.lines().count();
    assert_eq!(
        with(
            "[[risk]]\nid = \"P4\"\nlevel = \"high\"\nfunctions = [\"audit\", \"typo\"]\nremedy = \"ask\"\n"
        ),
        format!("line {}, column 23: there is no function `typo`", lines + 4)
    );
    assert_eq!(
        with(
            "[[risk]]\nid = \"P1\"\nlevel = \"hihg\"\nfunctions = [\"audit\"]\nremedy = \"ask\"\nremedie = 1\n"
        ),
        format!(
            "line {}, column 9: `level` must be one of low, medium, high, critical\n\
             line {}, column 13: a risk is of two functions or more\n\
             line {}, column 1: a risk has no `remedie` (it has id, name, level, functions, remedy, revoke)",
            lines + 3,
            lines + 4,
            lines + 6
        )
    );
    for (more, part) in [
        ("[[function]]\nid = \"f\"\n", "a function takes rights"),
        (
            "[[function]]\nid = \"f\"\nall = { a = [\"r\"] }\nany = { a = [\"r\"] }\n",
            "r on a is in `all` and in `any`",
        ),
        ("[[function]]\nid = \"audit\"\nall = { a = [\"r\"] }\n", "function `audit` is there twice"),
        (
            "[[mitigation]]\nrisk = \"P1\"\nperson = \"a\"\nowner = \"b\"\ncontrol = \"c\"\nexpires = 2027-01-01T00:00:00Z\n",
            "there is no risk `P1`",
        ),
        (
            "[[mitigation]]\nrisk = \"P001\"\nperson = \"a\"\nowner = \"a\"\ncontrol = \"c\"\nexpires = 2027-01-01T00:00:00Z\n",
            "cannot answer for the control of their own violation",
        ),
        (
            "[[mitigation]]\nrisk = \"P001\"\nperson = \"a\"\nowner = \"b\"\ncontrol = \"c\"\n",
            "no control is for ever",
        ),
        (
            "[[mitigation]]\nrisk = \"P001\"\nperson = \"a\"\nowner = \"b\"\ncontrol = \"c\"\nexpires = 2027-01-01\n",
            "an instant with an offset",
        ),
        ("[[risk]\n", "line 35, column 8: unclosed array table"),
    ] {
        let message = with(more);
        assert!(message.contains(part), "{message}");
    }
    assert!(SodRules::parse("").unwrap_err().to_string().contains("`version` is missing"));
}

#[test]
fn rules_that_are_probably_not_meant_are_warned_of() {
    let rules = SodRules::parse(
        r#"
version = 1
function = [
    { id = "a", any = { x = ["1", "2"] } },
    { id = "b", any = { x = ["2", "3"] } },
    { id = "c", all = { x = ["4"] } },
    { id = "c2", all = { x = ["4"] } },
    { id = "unused", all = { x = ["5"] } },
]
risk = [
    { id = "r1", level = "low", functions = ["a", "b"], remedy = "ask" },
    { id = "r2", level = "low", functions = ["b", "a"], remedy = "ask" },
    { id = "r3", level = "low", functions = ["a", "b", "c"], remedy = "ask" },
    { id = "r4", level = "low", functions = ["a", "c2"], remedy = "ask" },
]
"#,
    )
    .unwrap();
    let warnings: Vec<String> = rules.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "functions `c` and `c2` take the same rights",
            "no risk names function `unused`",
            "2 on x alone violates risk `r1`: it suffices for each of its functions",
            "risks `r1` and `r2` have the same functions",
            "2 on x alone violates risk `r2`: it suffices for each of its functions",
            "whoever violates risk `r3` violates risk `r1`, too",
        ]
    );
    let catalogue: BTreeSet<Right> = ["x/1", "x/2"].map(right).into_iter().collect();
    let never: Vec<String> = rules.never(&catalogue).iter().map(ToString::to_string).collect();
    assert_eq!(never.len(), 2);
    assert!(never[0].starts_with("risk `r3` can never be violated: function `c`"), "{never:?}");
}
