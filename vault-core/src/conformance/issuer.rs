use crate::id::AccountName;
use crate::saga::{Finding, Issuer, Order};
use crate::secret::SecretString;

/// Runs every check of an issuer of accounts for sessions, over a target that has no account whose name begins with `prefix`, 1 to 16 lower-case
/// letters.
pub async fn issuer(issuer: &dyn Issuer, prefix: &str) {
    let account = AccountName::new(format!("{prefix}_conformance")).unwrap();
    let (new, other) =
        (SecretString::from("abcdefghij234567abcdefghij234567"), SecretString::from("other2secret"));
    let order = Order::session(&account, &new);
    assert!(issuer.accounts(prefix).await.unwrap().is_empty(), "the target has no such account at first");
    assert_eq!(issuer.probe(&order).await, Finding::Absent, "and says so");
    issuer.remove(&account).await.expect("taking away what is not there is a success");
    for _ in 0..2 {
        issuer.apply(&order).await.expect("an account is made, and made again");
        assert_eq!(issuer.probe(&order).await, Finding::NewWorks, "its secret lets in");
        assert_eq!(
            issuer.accounts(prefix).await.unwrap(),
            std::slice::from_ref(&account),
            "and it is listed"
        );
    }
    let wrong = issuer.probe(&Order::session(&account, &other)).await;
    assert_eq!(wrong, Finding::NeitherWorks, "another secret does not let in, and that is said");
    for _ in 0..2 {
        issuer.remove(&account).await.expect("an account is taken away, and again");
        assert_eq!(issuer.probe(&order).await, Finding::Absent, "and is gone");
    }
    // Names are data, whatever they look like.
    for hostile in ["\"; DROP ROLE x; --", "'; --", "a b", "é", "%s", "$1"] {
        let account = AccountName::new(format!("{prefix}_{hostile}")).unwrap();
        let order = Order::session(&account, &new);
        if issuer.apply(&order).await.is_ok() {
            assert_eq!(issuer.probe(&order).await, Finding::NewWorks, "{hostile:?}");
            assert_eq!(issuer.accounts(prefix).await.unwrap(), std::slice::from_ref(&account), "{hostile:?}");
        }
        issuer.remove(&account).await.expect("what may have been made can be taken away");
        assert!(issuer.accounts(prefix).await.unwrap().is_empty(), "{hostile:?}");
    }
}

/// Runs every check of an issuer that gives accounts new secrets. `account` is on the target and lets in with `current`; with what is returned, afterwards.
pub async fn rotating(issuer: &dyn Issuer, account: &AccountName, current: &SecretString) -> SecretString {
    let next = SecretString::from("abcdefghij234567abcdefghij234567");
    let order = Order::rotation(account, &next, current);
    assert_eq!(issuer.probe(&order).await, Finding::OldWorks, "the account lets in with what it has");
    for _ in 0..2 {
        issuer.apply(&order).await.expect("it takes a new secret, and again");
        let finding = issuer.probe(&order).await;
        assert!(matches!(finding, Finding::NewWorks | Finding::BothWork), "and lets in with it: {finding:?}");
    }
    for _ in 0..2 {
        issuer.let_old_go(&order).await.expect("it lets the old one go, and again");
        assert_eq!(issuer.probe(&order).await, Finding::NewWorks, "and refuses it");
    }
    let gone = AccountName::new(format!("{account}_gone")).unwrap();
    let order = Order::rotation(&gone, &next, current);
    assert!(issuer.apply(&order).await.is_err(), "an account that was to stay is not made");
    assert_eq!(issuer.probe(&order).await, Finding::Absent, "and is not there");
    next
}
