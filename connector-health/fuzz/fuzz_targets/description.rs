//! Any text as the description of an application: an error names a place that the text has.
#![no_main]

use connector_health::http::HttpDescription;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(error) = HttpDescription::parse(text) {
        assert!(error.line >= 1 && error.line <= text.matches('\n').count() + 1);
        assert!(error.column >= 1);
    }
});
