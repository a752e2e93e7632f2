//! A mapping in TOML and, after the last line that is `---`, a source in JSON. Mistakes have a place in the text; what a
//! mapping makes is there after a PATCH towards it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scim_client::drift::check;
use scim_client::mapping::Mapping;
use scim_client::patch::{apply, towards};
use scim_client::resource::Attributes;

fuzz_target!(|input: &str| {
    let (text, source) = input.rsplit_once("\n---\n").unwrap_or((input, "{}"));
    let mapping = match Mapping::from_toml(text) {
        Ok(mapping) => mapping,
        Err(error) => {
            assert!(!error.mistakes().is_empty());
            for mistake in error.mistakes() {
                assert!(
                    mistake.line >= 1
                        && mistake.line <= text.matches('\n').count() + 1
                        && mistake.column >= 1
                );
                assert!(mistake.message.chars().all(|c| !c.is_control()));
            }
            return;
        }
    };
    assert!(!check(&mapping, &[]).is_empty());
    let Ok(source) = serde_json::from_str::<Attributes>(source) else { return };
    let Ok(wanted) = mapping.apply(&source) else { return };
    let mut there = Attributes::new();
    let patch = towards(&there, &wanted);
    if apply(&mut there, &patch).is_ok() {
        assert!(towards(&there, &wanted).is_empty());
    }
});
