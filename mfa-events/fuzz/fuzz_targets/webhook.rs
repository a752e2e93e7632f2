#![no_main]

use chrono::{DateTime, TimeDelta};
use libfuzzer_sys::fuzz_target;
use mfa_events::respond::{Verified, Verifier, VerifyError, WEBHOOK_WINDOW_S, signature};

const SECRET: &[u8] = b"0123456789abcdef01234567";

// Whatever comes: what holds was signed, is of now, and is new once.
fuzz_target!(|message: &[u8]| {
    let mut parts = message.splitn(4, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default().to_owned();
    let (id, timestamp, signatures) = (text(), text(), text());
    let body = parts.next().unwrap_or_default();
    let now = DateTime::from_timestamp(1_769_850_927, 0).expect("a time");
    let mut verifier = Verifier::new([SECRET]).expect("a secret");
    let first = verifier.verify(&id, &timestamp, &signatures, body, now);
    let at: Option<i64> = timestamp.parse().ok();
    match first {
        Ok(Verified::New) => {
            let at = at.expect("a number");
            assert!(signatures.split(' ').any(|one| one == signature(SECRET, &id, at, body)));
            assert!(at.abs_diff(now.timestamp()) <= WEBHOOK_WINDOW_S.unsigned_abs());
            assert_eq!(verifier.verify(&id, &timestamp, &signatures, body, now), Ok(Verified::Known));
            let later = now + TimeDelta::seconds(2 * WEBHOOK_WINDOW_S + 1);
            assert_eq!(verifier.verify(&id, &timestamp, &signatures, body, later), Err(VerifyError::Time));
        }
        Ok(Verified::Known) => panic!("it was never seen"),
        Err(_) => {}
    }
    // The same message, signed: it holds where its id and time do.
    if let Some(at) = at {
        let signed = signature(SECRET, &id, at, body);
        let verified = verifier.verify(&id, &at.to_string(), &signed, body, now);
        assert_ne!(verified, Err(VerifyError::Signature));
    }
});
