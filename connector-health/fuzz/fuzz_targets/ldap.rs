//! Whatever a directory might send, as messages: no panic, and the limits hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    connector_health::ldap::probe_message(input);
});
