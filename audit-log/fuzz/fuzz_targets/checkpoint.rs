//! Signed notes, verifier keys and proofs as hostile text: no panic, and what is read is written back the same.
#![no_main]

use audit_log::{Checkpoint, Proof, VerifierKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse::<VerifierKey>().as_ref(), Ok(&key));
        if let Some((_, note)) = text.split_once('\n') {
            let _ = note.parse::<Checkpoint>().map(|checkpoint| checkpoint.verify(&key));
        }
    }
    if let Ok(proof) = text.parse::<Proof>() {
        assert_eq!(proof.to_string().parse::<Proof>().as_ref(), Ok(&proof));
    }
});
