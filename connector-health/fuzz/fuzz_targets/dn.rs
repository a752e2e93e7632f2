//! Any text as a distinguished name, and as a value in one: it stays one component, whatever it holds.
#![no_main]

use connector_health::ldap::{Dn, escape, escape_value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    assert!(!escape(input).contains(['*', '(', ')', '\0']));
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(dn) = text.parse::<Dn>() {
        assert_eq!(dn, dn.as_str().parse::<Dn>().expect("a name reads the same twice"));
        if let Some(parent) = dn.parent() {
            assert!(dn.is_within(&parent));
        }
    }
    assert!(escape_value(text).chars().all(|character| !character.is_control()));
    let top: Dn = "dc=example".parse().expect("a name");
    if let Ok(child) = top.child("uid", text) {
        assert_eq!(child.parent().expect("it has one"), top);
    }
});
