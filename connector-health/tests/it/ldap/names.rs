use connector_health::ldap::{Dn, Filter, escape, escape_value};
use proptest::prelude::*;

/// RFC 4515 §3 backwards, naively.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            plain.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            plain.push(byte);
        }
    }
    plain
}

#[test]
fn values_of_filters_cannot_leave_their_place() {
    let filter =
        Filter::And(vec![Filter::equal("objectClass", "person"), Filter::equal("uid", "ada)(|(uid=*\\\0")]);
    assert_eq!(filter.to_string(), "(&(objectClass=person)(uid=ada\\29\\28|\\28uid=\\2a\\5c\\00))");
}

#[test]
fn examples_of_the_standards_are_written_as_they_write_them() {
    // RFC 4515 §4.
    assert_eq!(
        escape(b"Parens R Us (for all your parenthetical needs)"),
        "Parens R Us \\28for all your parenthetical needs\\29"
    );
    assert_eq!(escape(b"C:\\MyFile"), "C:\\5cMyFile");
    assert_eq!(escape(&[0, 0, 0, 4]), "\\00\\00\\00\\04");
    assert_eq!(escape(&[0xff]), "\\ff");
    // RFC 4514 §4.
    assert_eq!(escape_value("James \"Jim\" Smith, III"), "James \\\"Jim\\\" Smith\\, III");
    assert_eq!(escape_value("Before\rAfter"), "Before\\0dAfter");
    assert_eq!(escape_value(" # "), "\\20#\\20");
    assert_eq!(escape_value("#1"), "\\231");
}

#[test]
fn names_that_mean_the_same_are_equal() {
    let dn = |text: &str| text.parse::<Dn>().unwrap();
    assert_eq!(dn("UID=Ada, OU=people,dc=example"), dn("uid=ada,ou=People,dc=example"));
    assert_eq!(dn("cn=a\\2cb+sn=x,dc=e"), dn("SN=X + CN=a\\,b,dc=e"));
    assert_eq!(dn("cn=two  words,dc=e"), dn("cn=two words,dc=e"));
    assert_ne!(dn("cn=a\\,dc\\=e"), dn("cn=a,dc=e"));
    assert!(dn("uid=x,ou=people,dc=e").is_within(&dn("dc=E")));
    assert!(!dn("uid=x,ou=people,dc=ee").is_within(&dn("dc=e")));
    assert_eq!(dn("cn=a\\,b,dc=e").parent().unwrap(), dn("dc=e"));
    for bad in ["uid", "=x", "uid=", "uid=a,", "uid=a\"b", "uid=a\\", "uid=a\\zz", "u id=a", "uid=a,,dc=e"] {
        assert!(bad.parse::<Dn>().is_err(), "{bad}");
    }
    assert!("cn=a,".repeat(100).trim_end_matches(',').parse::<Dn>().is_err(), "too deep");
    assert!(format!("cn={}", "a".repeat(10_000)).parse::<Dn>().is_err(), "too long");
}

proptest! {
    #[test]
    fn escaped_filter_values_read_back_and_hold_no_sign(value in proptest::collection::vec(any::<u8>(), 0..40)) {
        let escaped = escape(&value);
        prop_assert!(!escaped.contains(['*', '(', ')', '\0']));
        prop_assert_eq!(unescape(&escaped), value);
    }

    #[test]
    fn a_value_stays_one_component(value in "\\PC{1,20}|[ ,+\"\\\\<>;=#\\x00-\\x1f]{1,12}") {
        let top: Dn = "dc=example".parse().unwrap();
        if let Ok(child) = top.child("uid", &value) {
            prop_assert!(child.is_within(&top));
            prop_assert_eq!(child.parent().unwrap(), top);
            // A name that is taken apart and put together again is the same.
            prop_assert_eq!(child.as_str().parse::<Dn>().unwrap(), child);
        } else {
            // Only what is nothing but spaces makes no name; those are escaped, so even they do.
            prop_assert!(value.is_empty());
        }
    }

    #[test]
    fn different_values_are_different_names(one in "[a-c ,+\\\\#=]{1,6}", other in "[a-c ,+\\\\#=]{1,6}") {
        let top: Dn = "dc=example".parse().unwrap();
        let (one_dn, other_dn) = (top.child("uid", &one).unwrap(), top.child("uid", &other).unwrap());
        let squeezed = |text: &str| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(one_dn == other_dn, squeezed(&one) == squeezed(&other));
    }

    #[test]
    fn no_text_breaks_the_reading_of_names(text in "\\PC{0,60}") {
        if let Ok(dn) = text.parse::<Dn>() {
            let _ = dn.parent();
            prop_assert_eq!(&dn, &dn.as_str().parse::<Dn>().unwrap());
        }
    }
}
