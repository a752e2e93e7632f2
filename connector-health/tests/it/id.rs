//! Identifiers.

use connector_health::id::{ID_BYTES_MAX, IdError};
use connector_health::{ConnectorId, PersonId};

#[test]
fn are_kept_as_given() {
    let id = ConnectorId::new("crm é").unwrap();
    assert_eq!(id.as_str(), "crm é");
    assert_eq!(serde_json::to_string(&id).unwrap(), "\"crm é\"");
    assert_eq!(serde_json::from_str::<ConnectorId>("\"crm é\"").unwrap(), id);
}

#[test]
fn refuse_what_could_not_be_told_apart_or_acts_on_a_terminal() {
    assert_eq!(PersonId::new(""), Err(IdError::Empty));
    assert_eq!(PersonId::new("a\u{1b}[2J"), Err(IdError::Control));
    assert_eq!(PersonId::new("a".repeat(ID_BYTES_MAX + 1)), Err(IdError::TooLong));
    assert!(serde_json::from_str::<PersonId>("\"\"").is_err());
}
