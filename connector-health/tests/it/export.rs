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
