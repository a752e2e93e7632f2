//! Whatever SAP might send, as XML: no panic, and the limits hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    connector_health::sap::probe_xml(input);
});
