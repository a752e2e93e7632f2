//! Assertions signed with a private key (RFC 7523, RFC 7515).

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Assertions, Fingerprint, Secret, SourceError};
use crate::error::{Error, ErrorKind};

/// How long an assertion is good, in seconds.
const LIFETIME_SECONDS: i64 = 5 * 60;

/// How assertions are signed (RFC 7518 §3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

/// A private key that signs assertions. In memory that the cryptographic library overwrites when it is dropped. To change it while it
/// is in use, put it into a [`Rotating`](super::Rotating).
pub struct JwtKey {
    key: Key,
    algorithm: JwtAlgorithm,
    key_id: Option<String>,
    certificate: Option<String>,
    fingerprint: Fingerprint,
}

enum Key {
    Rsa(RsaKey, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
}

impl JwtKey {
    /// The first private key in `pem`: PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), not encrypted. RSA keys
    /// have 2048 bits to 8192.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where there is none, or it does not fit the algorithm. The error holds nothing of it.
    pub fn from_pem(pem: &[u8], algorithm: JwtAlgorithm) -> Result<Self, Error> {
        let invalid = |why: &str| Error::new(ErrorKind::Invalid).detail(why.to_owned());
        let mut der = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| invalid("there is no private key in PEM that is not encrypted"))?;
        let fingerprint = Fingerprint::of(&[der.secret_der()]);
        let rsa = |encoding| {
            let key = match &der {
                PrivateKeyDer::Pkcs8(key) => RsaKey::from_pkcs8(key.secret_pkcs8_der()).ok(),
                PrivateKeyDer::Pkcs1(key) => RsaKey::from_der(key.secret_pkcs1_der()).ok(),
                _ => None,
            };
            key.map(|key| Key::Rsa(key, encoding))
        };
        let key = match algorithm {
            JwtAlgorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            JwtAlgorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            JwtAlgorithm::Es256 => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
                    .ok()
                    .map(Key::Ecdsa)
            }
        };
        der.zeroize();
        let key = key.ok_or_else(|| invalid("the private key does not fit the algorithm"))?;
        Ok(Self { key, algorithm, key_id: None, certificate: None, fingerprint })
    }

    /// With this `kid` in the header of assertions.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// With the `x5t#S256` (RFC 7515 §4.1.8) of the first certificate in `pem` in the header, by which some servers find the key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where there is none.
    pub fn certificate(mut self, pem: &[u8]) -> Result<Self, Error> {
        let certificate = CertificateDer::from_pem_slice(pem)
            .map_err(|_| Error::new(ErrorKind::Invalid).detail("there is no certificate in PEM"))?;
        self.certificate = Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate)));
        Ok(self)
    }

    fn header(&self) -> String {
        let algorithm = match self.algorithm {
            JwtAlgorithm::Rs256 => "RS256",
            JwtAlgorithm::Ps256 => "PS256",
            JwtAlgorithm::Es256 => "ES256",
        };
        let header = [
            ("alg", Some(algorithm)),
            ("typ", Some("JWT")),
            ("kid", self.key_id.as_deref()),
            ("x5t#S256", self.certificate.as_deref()),
        ];
        let header: Map<String, Value> =
            header.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect();
        Value::Object(header).to_string()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SourceError> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).map_err(|_| "signing failed")?;
                Ok(signature)
            }
            Key::Ecdsa(key) => {
                Ok(key.sign(&random, message).map_err(|_| "signing failed")?.as_ref().to_vec())
            }
        }
    }
}

#[async_trait]
impl Assertions for JwtKey {
    async fn fingerprint(&self) -> Result<Fingerprint, SourceError> {
        Ok(self.fingerprint)
    }

    async fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: DateTime<Utc>,
    ) -> Result<Secret, SourceError> {
        let mut unique = [0; 16];
        aws_lc_rs::rand::fill(&mut unique).map_err(|_| "there is no randomness")?;
        let issued = now.timestamp();
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": URL_SAFE_NO_PAD.encode(unique),
            "iat": issued,
            "exp": issued.saturating_add(LIFETIME_SECONDS),
        });
        let mut jwt = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.header()));
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut jwt);
        let signature = self.sign(jwt.as_bytes())?;
        // A JWT without its signature is no secret, so what growing left behind does not matter up to here.
        jwt.reserve_exact(1 + signature.len() * 2);
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(Secret::new(std::mem::take(&mut *jwt)))
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtKey")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}
