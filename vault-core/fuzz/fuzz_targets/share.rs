#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{Handle, Share};

// Whatever somebody types as a share or a handle: it is refused, or it comes back as it is written.
fuzz_target!(|text: &str| {
    if let Ok(share) = text.parse::<Share>() {
        assert!(share.number() > 0 && share.threshold() >= 2);
        let written = share.expose();
        assert_eq!(written.parse::<Share>().expect("what was written").expose(), written);
    }
    if let Ok(handle) = text.parse::<Handle>() {
        assert_eq!(handle.expose().as_str(), text.trim_ascii());
    }
});
