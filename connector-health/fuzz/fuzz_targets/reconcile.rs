//! Any JSON as intents and accounts. Effects are proposed only for one account of one person and only from a whole listing; a
//! CSV of the report computes nothing; a table acts on no terminal.
#![no_main]

use chrono::DateTime;
use connector_health::ConnectorId;
use connector_health::reconcile::{
    Account, Action, Intended, Listing, Reconciliation, Report, Settings, Situation,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok((intents, accounts, whole)) = serde_json::from_slice::<(Vec<Intended>, Vec<Account>, bool)>(input)
    else {
        return;
    };
    let connector = ConnectorId::new("c").expect("a connector");
    let Ok(mut reconciliation) = Reconciliation::new(connector.clone(), Settings::default(), intents) else {
        return;
    };
    let mut listing = Listing::new(connector);
    for account in accounts {
        if let Some(received) = listing.receive(account) {
            reconciliation.account(received);
        }
    }
    if !whole {
        listing.fail("cut short");
    }
    let report = reconciliation.finish(listing.end(None), DateTime::UNIX_EPOCH);
    for finding in &report.findings {
        if finding.action != Action::Ask {
            assert!(whole && finding.persons.len() <= 1 && finding.accounts.len() <= 1);
        }
        assert!(report.incomplete.is_none() || finding.situation != Situation::Missing);
    }
    let mut csv = Vec::new();
    report.write_csv(&mut csv).expect("a Vec takes everything");
    let text = String::from_utf8(csv).expect("UTF-8");
    assert!(!text.split(['\n', ',']).any(|cell| cell.starts_with(['=', '@'])) || text.contains('"'));
    assert!(report.table(100).chars().all(|c| c == '\n' || !c.is_control()));
    let json = serde_json::to_vec(&report).expect("JSON");
    assert_eq!(serde_json::from_slice::<Report>(&json).expect("what was written"), report);
});
