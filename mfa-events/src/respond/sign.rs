//! Signatures of webhooks.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Fewest bytes of a secret.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;

/// The `webhook-signature` of a message.
pub fn signature(secret: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    format!("v1,{}", BASE64_STANDARD.encode(mac(secret, id, timestamp, body)))
}

pub(super) fn mac(secret: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    // INVARIANT: HMAC takes keys of every length, so the error arm is never reached; nothing of no bytes verifies.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return Vec::new() };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}
