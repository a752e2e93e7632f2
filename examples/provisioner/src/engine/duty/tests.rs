//! In virtual time, without a network.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::alert::AlertRules;
use connector_health::connector::Connectors;
use connector_health::connector::Mode;
use connector_health::event::Lane;
use connector_health::monitor::Thresholds;
use connector_health::outbox::MassLeaverGuard;
use connector_health::sod::{Mitigation, SodRules, Standing};
use connector_health::{ConnectorId, EntitlementId, MemoryConnector, PersonId, RiskId};
use futures::TryStreamExt as _;
use tempfile::TempDir;

use super::{Engine, Refused};
use crate::engine::intake::Taken;
use crate::engine::{Settings, open_audit};
use crate::people::{Happening, Kind, Person};

const RULES: &str = r#"
version = 1
[[function]]
id = "PAY"
any = { payroll = ["payers"] }
[[function]]
id = "VENDOR"
any = { crm = ["vendors"] }
[[function]]
id = "AUDIT"
any = { crm = ["auditors"] }
[[risk]]
id = "R1"
level = "high"
functions = ["PAY", "VENDOR"]
remedy = REMEDY
[[risk]]
id = "R2"
level = "low"
functions = ["PAY", "AUDIT"]
remedy = "ask"
"#;

fn id(name: &str) -> PersonId {
    PersonId::new(name).unwrap()
}

struct Stage {
    dir: TempDir,
    engine: Engine,
    crm: MemoryConnector,
    payroll: MemoryConnector,
}

impl Stage {
    async fn new(remedy: &str) -> Self {
        Self::within(tempfile::tempdir().unwrap(), remedy).await
    }

    async fn within(dir: TempDir, remedy: &str) -> Self {
        let settings = Settings {
            data_dir: dir.path().to_owned(),
            thresholds: Thresholds::default(),
            rules: AlertRules::default(),
            probe_every: TimeDelta::hours(1),
            chart_step: TimeDelta::minutes(1),
            guard: MassLeaverGuard::off(),
            sinks: Vec::new(),
        };
        let (crm, payroll) = (MemoryConnector::new(), MemoryConnector::new());
        let connectors = Connectors::new()
            .with(ConnectorId::new("crm").unwrap(), crm.clone())
            .with(ConnectorId::new("payroll").unwrap(), payroll.clone());
        let engine = Engine::open(settings, connectors).await.unwrap();
        let rules = SodRules::parse(&RULES.replace("REMEDY", remedy)).unwrap();
        let engine = engine.with_rules(BTreeMap::new(), Some(rules));
        Self { dir, engine, crm, payroll }
    }

    /// Ends it, and makes what is stored of somebody's lane unreadable, as a bad disk may.
    async fn spoiled(self, connector: &str, person: &str) -> TempDir {
        let Self { dir, engine, .. } = self;
        engine.close().await.unwrap();
        let store = engine.outbox.into_store();
        assert!(store.is_some(), "nothing is being written");
        drop(store);
        let file = dir.path().join(crate::store::OUTBOX);
        let mut bytes = std::fs::read(&file).unwrap();
        let lane =
            format!("{{\"lane\":{{\"connector\":\"{connector}\",\"subject\":{{\"person\":\"{person}\"}}}}");
        let places: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(lane.as_bytes())).collect();
        assert!(!places.is_empty(), "it is stored");
        places.into_iter().for_each(|at| bytes[at] = b'?');
        std::fs::write(&file, bytes).unwrap();
        dir
    }

    async fn said(&self, kind: Kind, at: DateTime<Utc>, groups: &[&str]) -> Taken {
        let groups = groups.iter().map(|group| EntitlementId::new(*group).unwrap()).collect();
        let person =
            Person { user_name: Some("ann".to_owned()), groups: Some(groups), ..Person::named(id("emp-1")) };
        self.engine.take(&Happening { kind, at: Some(at), person }).await.unwrap()
    }

    /// What Ann has at an application.
    fn has(&self, at: &MemoryConnector, right: &str) -> bool {
        let right = EntitlementId::new(right).unwrap();
        at.accounts_of(&id("emp-1")).iter().any(|account| account.rights.contains(&right))
    }

    fn held(&self) -> Vec<(String, String)> {
        let duty = self.engine.duty();
        let held = duty["held"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        held.map(|held| (text(&held["id"]), text(&held["snapshot"]))).collect()
    }

    async fn trail(self) -> Vec<String> {
        self.engine.audit.clone().close().await.unwrap();
        let log = open_audit(self.dir.path()).await.unwrap();
        let mut hits = log.read(..);
        let mut types = Vec::new();
        while let Some(hit) = hits.try_next().await.unwrap() {
            types.push(hit.event_type.clone());
        }
        types
    }
}

fn count(trail: &[String], event_type: &str) -> usize {
    trail.iter().filter(|one| *one == event_type).count()
}

#[tokio::test]
async fn what_the_outbox_does_not_take_is_not_called_granted_and_is_told_once() {
    let stage = Stage::new("\"ask\"").await;
    let now = Utc::now();
    stage.said(Kind::Joiner, now, &["vendors"]).await;
    // From further ahead than clocks differ, so that the outbox does not take it.
    let taken = stage.said(Kind::Mover, now + TimeDelta::hours(1), &["vendors", "payers"]).await;
    assert_eq!(taken.waiting.len(), 1, "{taken:?}");
    let (grant, snapshot) = stage.held().remove(0);
    let approved = stage.engine.approve_grant(&grant, &id("ciso"), &snapshot, "fine", None).await;
    assert!(matches!(approved, Err(Refused::NotTaken(_))), "{approved:?}");
    assert_eq!(stage.held().len(), 1);
    for second in 0..200 {
        stage.engine.release_held(now + TimeDelta::seconds(second)).await.unwrap();
    }
    // When its time has come it is taken.
    stage.engine.release_held(now + TimeDelta::hours(2)).await.unwrap();
    assert_eq!(stage.held(), []);
    let trail = stage.trail().await;
    assert_eq!((count(&trail, "sod.not_released"), count(&trail, "sod.released")), (1, 2), "{trail:?}");
}

#[tokio::test]
async fn an_approval_is_of_the_risks_that_were_shown_and_of_no_others() {
    let stage = Stage::new("\"ask\"").await;
    let now = Utc::now();
    stage.said(Kind::Joiner, now, &["vendors"]).await;
    stage.said(Kind::Mover, now, &["vendors", "payers"]).await;
    let (grant, shown) = stage.held().remove(0);
    stage.said(Kind::Mover, now + TimeDelta::seconds(1), &["vendors", "payers", "auditors"]).await;
    for looked in [false, true] {
        if looked {
            stage.engine.look_at_duty(now).await.unwrap();
        }
        let refused = stage.engine.approve_grant(&grant, &id("ciso"), &shown, "fine", None).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("would violate R2, too"), "{why}");
    }
    let other = stage.engine.approve_grant(&grant, &id("ciso"), &"0".repeat(64), "fine", None).await;
    assert!(other.unwrap_err().to_string().contains("not of this grant"));
    let (_, now_shown) = stage.held().remove(0);
    assert_ne!(now_shown, shown);
    stage.engine.approve_grant(&grant, &id("ciso"), &now_shown, "fine", None).await.unwrap();
    assert_eq!(stage.held(), []);
    let violations = stage.engine.duty.violations();
    let mitigated = |one: &super::Violation| matches!(one.standing, Standing::Mitigated(_));
    assert_eq!(violations.values().flatten().filter(|one| mitigated(one)).count(), 2);
}

#[tokio::test]
async fn what_is_not_confirmed_to_be_gone_counts_as_had() {
    for remedy in ["\"ask\"", "\"revoke\""] {
        let stage = Stage::new(remedy).await;
        let now = Utc::now();
        stage.said(Kind::Joiner, now, &["vendors"]).await;
        stage.engine.pass().await.unwrap();
        assert!(stage.has(&stage.crm, "vendors"));
        stage.crm.set(Mode::Down);
        let taken = stage.said(Kind::Mover, now + TimeDelta::seconds(1), &["payers"]).await;
        assert_eq!((taken.denied.len(), taken.waiting.len()), (0, 1), "{taken:?}");
        stage.engine.pass().await.unwrap();
        stage.engine.look_at_duty(now).await.unwrap();
        assert!(stage.has(&stage.crm, "vendors") && !stage.has(&stage.payroll, "payers"));
        // The line again, while it is still so.
        let taken = stage.said(Kind::Mover, now + TimeDelta::seconds(2), &["payers"]).await;
        assert_eq!((taken.denied.len(), taken.waiting.len()), (0, 1), "{taken:?}");
        assert_eq!(stage.held().len(), 1);
        stage.crm.set(Mode::Ok);
        let later = now + TimeDelta::hours(1);
        stage.engine.outbox.work(&stage.engine.connectors, later).await.unwrap();
        assert!(!stage.has(&stage.crm, "vendors"));
        stage.engine.look_at_duty(now).await.unwrap();
        assert_eq!(stage.held(), []);
        stage.engine.outbox.work(&stage.engine.connectors, later).await.unwrap();
        assert!(stage.has(&stage.payroll, "payers"));
        assert!(stage.engine.duty.violations().is_empty());
    }
}

async fn watched(stage: &Stage, days: i64) -> DateTime<Utc> {
    let now = Utc::now();
    stage.said(Kind::Joiner, now, &["vendors"]).await;
    let control = Mitigation {
        risk: RiskId::new("R1").unwrap(),
        person: id("emp-1"),
        control: "monthly look".to_owned(),
        owner: id("ciso"),
        expires: now + TimeDelta::days(days),
    };
    stage.engine.mitigate(control, &id("ciso")).await.unwrap();
    stage.said(Kind::Mover, now, &["vendors", "payers"]).await;
    stage.engine.pass().await.unwrap();
    assert!(stage.has(&stage.payroll, "payers"));
    now
}

fn told(stage: &Stage) -> String {
    stage.engine.notices().values().map(|notice| notice.text.clone()).collect()
}

#[tokio::test]
async fn the_end_of_a_control_is_told_ahead_and_followed_as_the_rule_says() {
    let stage = Stage::new("\"revoke\"\nrevoke = \"PAY\"").await;
    let now = watched(&stage, 30).await;
    for day in [1, 15, 16, 17, 22, 23, 24, 29, 29] {
        stage.engine.look_at_duty(now + TimeDelta::days(day)).await.unwrap();
        assert_eq!(told(&stage).contains("ciso answers for it"), day > 15, "{day}: {}", told(&stage));
    }
    stage.engine.pass().await.unwrap();
    assert!(stage.has(&stage.payroll, "payers"));
    for _ in 0..3 {
        stage.engine.look_at_duty(now + TimeDelta::days(30)).await.unwrap();
    }
    stage.engine.pass().await.unwrap();
    assert!(!stage.has(&stage.payroll, "payers") && stage.has(&stage.crm, "vendors"));
    // It watches nothing any more, and is not kept.
    for _ in 0..2 {
        stage.engine.look_at_duty(now + TimeDelta::days(30)).await.unwrap();
    }
    assert_eq!(told(&stage), "");
    assert_eq!(stage.engine.duty()["mitigations"], serde_json::json!([]));
    let trail = stage.trail().await;
    assert_eq!(count(&trail, "sod.control_expiring"), 3, "{trail:?}");
    for once in ["sod.control_expired", "sod.revoking", "sod.control_ended"] {
        assert_eq!(count(&trail, once), 1, "{once}: {trail:?}");
    }
}

#[tokio::test]
async fn a_violation_whose_control_has_ended_is_open_until_somebody_renews_it() {
    let stage = Stage::new("\"mitigate\"").await;
    let now = watched(&stage, 30).await;
    stage.engine.look_at_duty(now + TimeDelta::days(31)).await.unwrap();
    let short = stage.engine.duty_in_short();
    assert_eq!(short["violations"][0]["risk"], "R1", "{short}");
    assert!(told(&stage).contains("renews it"), "{}", told(&stage));
    let again = Mitigation {
        risk: RiskId::new("R1").unwrap(),
        person: id("emp-1"),
        control: "monthly look".to_owned(),
        owner: id("ciso"),
        expires: now + TimeDelta::days(300),
    };
    stage.engine.mitigate(again, &id("ciso")).await.unwrap();
    stage.engine.look_at_duty(now + TimeDelta::days(31)).await.unwrap();
    assert_eq!(told(&stage), "");
    assert_eq!(stage.engine.duty_in_short()["violations"], serde_json::json!([]));
    let lane = Lane::person(&ConnectorId::new("payroll").unwrap(), &id("emp-1"));
    assert!(stage.engine.granted(&lane).await.unwrap().keys().any(|right| right.as_str() == "payers"));
}

#[tokio::test]
async fn what_cannot_be_read_of_somebody_is_told_and_stops_nobody_else() {
    let stage = Stage::new("\"ask\"").await;
    let now = Utc::now();
    stage.said(Kind::Joiner, now, &["vendors"]).await;
    let other = Person { user_name: Some("bo".to_owned()), ..Person::named(id("emp-2")) };
    stage.engine.take(&Happening { kind: Kind::Joiner, at: Some(now), person: other }).await.unwrap();
    stage.engine.pass().await.unwrap();
    stage.crm.set(Mode::Down);
    for person in ["emp-1", "emp-2"] {
        let leaves = Happening { kind: Kind::Leaver, at: Some(now), person: Person::named(id(person)) };
        stage.engine.take(&leaves).await.unwrap();
    }
    let dir = stage.spoiled("crm", "emp-1").await;
    let stage = Stage::within(dir, "\"ask\"").await;
    stage.crm.set(Mode::Down);
    stage.engine.pass().await.unwrap();
    stage.engine.survey_duty().await.unwrap();
    stage.engine.look_at_duty(now).await.unwrap();
    let status = stage.engine.status().await.unwrap();
    assert_eq!(
        status["unreadable"],
        serde_json::json!([{"connector": "crm", "person": "emp-1"}]),
        "{status}"
    );
    let leavers: Vec<&str> =
        status["leavers"].as_array().unwrap().iter().map(|one| one["person"].as_str().unwrap()).collect();
    assert!(leavers.contains(&"emp-1") && leavers.contains(&"emp-2"), "{status}");
    assert!(told(&stage).contains("cannot be read"), "{}", told(&stage));
    // The other goes out, and an alert says why the first does not.
    stage.crm.set(Mode::Ok);
    for later in 1..4 {
        let later = now + TimeDelta::hours(later);
        stage.engine.outbox.work(&stage.engine.connectors, later).await.unwrap();
        stage.engine.tell(later).await.unwrap();
    }
    let alerts = stage.engine.alerts().await.unwrap();
    let unreadable = |alert: &connector_health::alert::Alert| alert.failure_type.code() == "unreadable";
    assert!(alerts.iter().any(unreadable), "{alerts:?}");
    let status = stage.engine.status().await.unwrap();
    assert_eq!(status["leavers"].as_array().unwrap().len(), 1, "{status}");
    let trail = stage.trail().await;
    assert!(count(&trail, "record.unreadable") > 0, "{trail:?}");
}
