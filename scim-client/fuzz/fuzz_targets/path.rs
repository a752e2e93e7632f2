//! Any text as a PATCH path, and as the name of an attribute that came from outside. What is read is written so that it
//! reads the same; a name never becomes the path of something else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scim_client::path::{AttributePath, Path};

fuzz_target!(|text: &str| {
    if let Ok(path) = text.parse::<Path>() {
        let written = path.to_string();
        let again: Path = written.parse().expect("what is written is a path");
        assert_eq!(again, path);
        assert_eq!(again.to_string(), written);
    }
    if let Ok(attribute) = text.parse::<AttributePath>() {
        assert!(attribute.is_valid());
        assert_eq!(attribute.to_string(), text.trim_matches([' ', '\t', '\r', '\n']));
        assert_eq!(text.parse::<Path>().expect("an attribute is a path"), Path::from(attribute));
    }
    let named = AttributePath::named(text);
    assert!(!named.to_string().is_empty());
    if let Ok(read) = named.to_string().parse::<AttributePath>() {
        assert!(read == named || named.to_string().contains('%'));
    }
});
