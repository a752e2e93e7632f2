//! Which algorithms are offered: those that current audits pass without a failure or a warning.

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

/// Key exchange: a hybrid with a post-quantum part first, then plain X25519. The two extension names switch on
/// extension negotiation and strict key exchange (CVE-2023-48795).
const KEX_SERVER: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

const KEX_CLIENT: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_G16_SHA512,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

/// AES-GCM first: it is the cheapest per byte where the processor has AES instructions.
const CIPHERS: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::AES_256_CTR];

/// Encrypt-then-MAC only.
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];

/// Compression before encryption leaks lengths, and the formats audited here do not need it.
const COMPRESSION: &[compression::Name] = &[compression::NONE];

pub(crate) fn towards_clients() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(KEX_SERVER),
        // Also what clients hear about keys that users may sign with (`server-sig-algs`, RFC 8308). Of host keys only those that
        // there are get offered.
        key: Cow::Owned(vec![
            Algorithm::Ed25519,
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
            Algorithm::SkEd25519,
            Algorithm::SkEcdsaSha2NistP256,
        ]),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(COMPRESSION),
    }
}

/// Towards targets: the same, and what an older but still sound server needs. Never SHA-1, never CBC.
///
/// `known` are the algorithms of the keys that are known for this target; they come first, so that the target proves
/// the key we can check.
pub(crate) fn towards_target(known: &[Algorithm]) -> Preferred {
    let mut keys: Vec<Algorithm> = Vec::new();
    let supported = [
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    let is_known = |algorithm: &Algorithm| {
        let rsa = |a: &Algorithm| matches!(a, Algorithm::Rsa { .. });
        known.iter().any(|k| k == algorithm || (rsa(k) && rsa(algorithm)))
    };
    keys.extend(supported.iter().filter(|a| is_known(a)).cloned());
    keys.extend(supported.iter().filter(|a| !is_known(a)).cloned());
    Preferred {
        kex: Cow::Borrowed(KEX_CLIENT),
        key: Cow::Owned(keys),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(COMPRESSION),
    }
}
