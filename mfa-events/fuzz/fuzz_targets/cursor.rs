#![no_main]

use libfuzzer_sys::fuzz_target;
use mfa_events::TenantId;
use mfa_events::cursor::CursorKey;
use mfa_events::log::Which;
use mfa_events::set::Answer;

// Whatever comes as a cursor: it opens only where it is the one that was made. And whatever a receiver answers: no more of it is repeated
// than a code has.
fuzz_target!(|text: &[u8]| {
    let (key, tenant) = (CursorKey::new([7; 32]), TenantId::new("acme").expect("a name"));
    if let Ok(cursor) = std::str::from_utf8(text)
        && let Ok(offset) = key.open(&tenant, &Which::All, cursor)
    {
        assert_eq!(key.cursor(&tenant, &Which::All, offset), cursor);
    }
    if let Answer::Refused { err } = Answer::read(400, text) {
        assert!(
            err.len() <= 64 && err.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        );
    }
});
