#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::seal::Header;
use vault_core::{KeyProvider as _, Shamir};

// Whatever stands where a header should: it is refused, or it is the one way to write what it says. What it says to a provider is checked
// before anything is done with it.
fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Header::parse(bytes) else { return };
    assert_eq!(header.to_bytes(), bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // Argon2id is left out, because a cost within its limits is paid.
    let _ = runtime.block_on(Shamir::collect([]).recover(header.parameters()));
});
