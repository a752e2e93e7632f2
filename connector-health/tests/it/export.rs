//! What auditors are given cannot act on their machines.

use connector_health::connector::MemoryConnector;
use connector_health::export::{CSV_COLUMNS, csv, html, json};
use connector_health::outbox::{Exception, Outbox};
use connector_health::{ConnectorId, Connectors, Event, MemoryStore, PersonId};

use crate::company::{at, named, options, run};

#[test]
fn names_from_outside_are_no_formulas_and_no_scripts() {
    let evil = PersonId::new("=HYPERLINK(\"http://x\")").unwrap();
    let connector = ConnectorId::new("<script>alert(1)</script>").unwrap();
    let record = run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(connector.clone(), MemoryConnector::new());
        outbox
            .accept(Event::provision(&connector, &evil, named("x")).occurred_at(at(0)), at(0))
            .await
            .unwrap();
        outbox.work(&connectors, at(0)).await.unwrap();
        outbox.accept(Event::deprovision(&connector, &evil).occurred_at(at(1)), at(1)).await.unwrap();
        outbox.work(&connectors, at(61)).await.unwrap();
        let other = ConnectorId::new("erp").unwrap();
        let leaves = Event::deprovision(&other, &evil).occurred_at(at(1));
        outbox.accept(leaves.clone(), at(1)).await.unwrap();
        let exception = Exception {
            owner: "@owner".to_owned(),
            reason: "<img src=x>\r\n=1+1".to_owned(),
            expires_at: at(9999),
        };
        outbox.except(leaves.id(), &exception, at(2)).await.unwrap();
        outbox.offboarding(&evil, at(61)).await.unwrap()
    });
    let sheet = csv([&record]);
    assert_eq!(sheet.lines().count(), 3, "{sheet}");
    assert_eq!(sheet.lines().next().unwrap().matches(',').count() + 1, CSV_COLUMNS.len());
    assert!(sheet.contains("\"'=HYPERLINK(\"\"http://x\"\")\",\"complete\""), "{sheet}");
    let page = html(&record);
    assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    assert!(
        page.contains("&lt;script&gt;") && page.contains("CC6.2") && page.contains("1 min 0 s"),
        "{page}"
    );
    let value: serde_json::Value = serde_json::from_str(&json(&record).unwrap()).unwrap();
    assert_eq!(value["state"], "complete");
    let confirmed = &value["systems"][0]["evidence"];
    assert_eq!(confirmed["event_type"], "account.deprovisioned");
    assert_eq!(confirmed["confirmed_at"], "2023-11-14T22:14:21.000Z");
    assert_eq!(confirmed["attempts"][0]["operation"], "ensure_deprovisioned");
    assert_eq!(value["systems"][1]["status"], "excepted");
}

#[test]
fn reviews_and_violations_from_outside_are_no_formulas_and_no_scripts() {
    use connector_health::review::{self, Access, Campaign, Decision, ReviewerRule, Settings, Undecided};
    use connector_health::sod::{Holding, HoldingState, SodRules};
    use connector_health::{CampaignId, EntitlementId, Right};

    let evil = "=HYPERLINK(\"http://x\")";
    let right = Right {
        connector: ConnectorId::new("erp").unwrap(),
        entitlement: EntitlementId::new("<script>alert(1)</script>").unwrap(),
    };
    let boss = PersonId::new("boss").unwrap();
    let access = Access {
        person: PersonId::new(evil).unwrap(),
        right: right.clone(),
        account: None,
        justification: Some("@SUM(1)".to_owned()),
        granted_by: None,
        granted_at: Some(at(0)),
        valid_until: None,
        last_review: Some(at(1)),
        last_use: None,
        manager: Some(boss.clone()),
        owner: None,
    };
    let settings = Settings {
        name: "<img src=x>".to_owned(),
        owner: PersonId::new("ciso").unwrap(),
        due_at: at(9999),
        reviewers: vec![ReviewerRule::Manager],
        remind_days: [].into(),
        escalations: Vec::new(),
        undecided: Undecided::Waits,
        guard: review::RevokeGuard::default(),
    };
    let id = CampaignId::new("q1").unwrap();
    let mut campaign = Campaign::start(id, settings, [access], at(2)).unwrap();
    let item = campaign.items().next().unwrap().clone();
    let decision = Decision::Revoke { reason: "+1\r\n=2".to_owned() };
    campaign.decide(&item.access.key(), &boss, &item.snapshot, decision, at(3)).unwrap();
    campaign.revoke_failed(&item.access.key(), "<img src=y>", at(4)).unwrap();
    let sheet = review::export::csv(&campaign);
    assert_eq!(sheet.lines().count(), 2, "{sheet}");
    assert_eq!(sheet.lines().next().unwrap().matches(',').count() + 1, review::export::CSV_COLUMNS.len());
    for cell in ["\"'=HYPERLINK(\"\"http://x\"\")\"", "\"'@SUM(1)\"", "\"'+1  =2\"", "\"revoking\",\"boss\""]
    {
        assert!(sheet.contains(cell), "{cell}: {sheet}");
    }
    let page = review::export::html(&campaign, at(5));
    assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;") && page.contains("Remediation:"), "{page}");
    let value: serde_json::Value =
        serde_json::from_str(&review::export::json(&campaign, at(5)).unwrap()).unwrap();
    assert_eq!(value["progress"]["revokes_waiting"], 1);
    assert_eq!(value["items"][0]["snapshot"], item.snapshot.to_string());
    assert_eq!(value["settings"]["owner"], "ciso");

    let rules = SodRules::parse(
        "version = 1\n[[function]]\nid = \"=A\"\nany = { erp = [\"<script>alert(1)</script>\"] }\n\
         [[function]]\nid = \"B\"\nany = { crm = [\"pay\"] }\n\
         [[risk]]\nid = \"R\"\nlevel = \"high\"\nfunctions = [\"=A\", \"B\"]\nremedy = \"ask\"\n",
    )
    .unwrap();
    let pay = Right {
        connector: ConnectorId::new("crm").unwrap(),
        entitlement: EntitlementId::new("pay").unwrap(),
    };
    let holdings = [(right, HoldingState::Current), (pay, HoldingState::Pending)]
        .map(|(right, state)| Holding { right, state, since: at(0) });
    let violations = rules.check(&PersonId::new(evil).unwrap(), &holdings, at(5));
    let sheet = connector_health::sod::export::csv(&violations);
    assert_eq!(sheet.lines().count(), 2, "{sheet}");
    assert!(sheet.contains("\"'=HYPERLINK") && sheet.contains("\"'=A; B\""), "{sheet}");
    assert!(sheet.contains("pay on crm (pending)"), "{sheet}");
    let page = connector_health::sod::export::html(&violations, at(5));
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
    let value = serde_json::to_value(&violations[0]).unwrap();
    assert_eq!(
        value["functions"][1]["by"],
        serde_json::json!([{"connector": "crm", "entitlement": "pay", "state": "pending"}])
    );
}
