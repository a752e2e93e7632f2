//! Assertions signed with a private key.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use http::HeaderMap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use scim_client::auth::{
    Assertions, Authenticate as _, ClientAuthentication, ClientCredentials, Credential, JwtAlgorithm, JwtKey,
    ReadyAssertion, Rotating,
};
use scim_client::error::ErrorKind;
use serde_json::Value;

use super::all_text;
use crate::stub::{Stub, Virtual, answer};

const RSA_PKCS1: &[u8] = include_bytes!("rsa-pkcs1.pem");
const RSA_PKCS8: &[u8] = include_bytes!("rsa-pkcs8.pem");
const EC_SEC1: &[u8] = include_bytes!("ec-sec1.pem");
const EC_PKCS8: &[u8] = include_bytes!("ec-pkcs8.pem");
const EC_ENCRYPTED: &[u8] = include_bytes!("ec-encrypted.pem");
const EC_CERTIFICATE: &[u8] = include_bytes!("ec-certificate.pem");

/// Header and claims, once the signature is known to be right.
fn verified(jwt: &str, algorithm: &'static dyn VerificationAlgorithm, public: &[u8]) -> (Value, Value) {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(algorithm, public).verify(signed.as_bytes(), &signature).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (read(header), read(claims))
}

fn rsa_public() -> Vec<u8> {
    let der = PrivatePkcs1KeyDer::from_pem_slice(RSA_PKCS1).unwrap();
    let key = aws_lc_rs::rsa::KeyPair::from_der(der.secret_pkcs1_der()).unwrap();
    key.public_key().as_ref().to_vec()
}

fn ec_public() -> Vec<u8> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(EC_PKCS8).unwrap();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der()).unwrap().public_key().as_ref().to_vec()
}

#[tokio::test]
async fn assertions_verify_in_each_algorithm_from_each_form_of_key() {
    let rows: [(&[u8], _, &'static dyn VerificationAlgorithm, _, _); 6] = [
        (RSA_PKCS1, JwtAlgorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256, rsa_public(), "RS256"),
        (RSA_PKCS8, JwtAlgorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256, rsa_public(), "RS256"),
        (RSA_PKCS1, JwtAlgorithm::Ps256, &RSA_PSS_2048_8192_SHA256, rsa_public(), "PS256"),
        (RSA_PKCS8, JwtAlgorithm::Ps256, &RSA_PSS_2048_8192_SHA256, rsa_public(), "PS256"),
        (EC_SEC1, JwtAlgorithm::Es256, &ECDSA_P256_SHA256_FIXED, ec_public(), "ES256"),
        (EC_PKCS8, JwtAlgorithm::Es256, &ECDSA_P256_SHA256_FIXED, ec_public(), "ES256"),
    ];
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let mut seen = Vec::new();
    for (pem, algorithm, verification, public, name) in rows {
        let key = JwtKey::from_pem(pem, algorithm).unwrap();
        let jwt = key.assertion("client", "https://login.example/token", now).await.unwrap();
        let (header, claims) = verified(jwt.expose(), verification, &public);
        assert_eq!(header, serde_json::json!({ "alg": name, "typ": "JWT" }));
        assert_eq!(claims["iss"], "client");
        assert_eq!(claims["sub"], "client");
        assert_eq!(claims["aud"], "https://login.example/token");
        assert_eq!(claims["iat"], 1_800_000_000);
        assert_eq!(claims["exp"], 1_800_000_300);
        seen.push(claims["jti"].as_str().unwrap().to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "each assertion has a `jti` of its own");
}

#[tokio::test]
async fn the_header_names_the_key_where_the_server_wants_that() {
    let key = JwtKey::from_pem(EC_PKCS8, JwtAlgorithm::Es256).unwrap();
    let key = key.key_id("2026-a").certificate(EC_CERTIFICATE).unwrap();
    let jwt = key.assertion("c", "a", DateTime::UNIX_EPOCH).await.unwrap();
    let (header, _) = verified(jwt.expose(), &ECDSA_P256_SHA256_FIXED, &ec_public());
    assert_eq!(header["kid"], "2026-a");
    // openssl x509 -outform der | openssl dgst -sha256 -binary | base64, in the alphabet for URLs
    assert_eq!(header["x5t#S256"], "LZsdDlhaUtthl6ACA6GQmAnT5k5Nk87an7DnBaNA9Bk");
}

#[test]
fn what_is_no_fitting_key_is_refused_without_showing_it() {
    let rows: [(&[u8], JwtAlgorithm); 6] = [
        (EC_PKCS8, JwtAlgorithm::Rs256),
        (EC_SEC1, JwtAlgorithm::Ps256),
        (RSA_PKCS8, JwtAlgorithm::Es256),
        (EC_ENCRYPTED, JwtAlgorithm::Es256),
        (EC_CERTIFICATE, JwtAlgorithm::Es256),
        (b"-----BEGIN PRIVATE KEY-----\nMIIs3cret\n-----END PRIVATE KEY-----\n", JwtAlgorithm::Rs256),
    ];
    for (pem, algorithm) in rows {
        let error = JwtKey::from_pem(pem, algorithm).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid);
        let line = std::str::from_utf8(pem).unwrap().lines().nth(1).unwrap();
        assert!(!all_text(&error).contains(line));
    }
    let key = JwtKey::from_pem(EC_PKCS8, JwtAlgorithm::Es256).unwrap();
    assert_eq!(format!("{key:?}"), "JwtKey { algorithm: Es256, key_id: None, .. }");
    assert!(key.certificate(EC_PKCS8).is_err());
}

async fn form_of(auth: &ClientCredentials) -> Vec<(String, String)> {
    let to = Stub::always(|| answer(200, &[], r#"{"access_token":"t","expires_in":60}"#));
    auth.authorize(&mut HeaderMap::new(), &to, &Virtual::new()).await.unwrap();
    let request = to.requests().remove(0);
    url::form_urlencoded::parse(request.body()).into_owned().collect()
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_gets_a_fresh_assertion() {
    let keys = Rotating::new(JwtKey::from_pem(EC_PKCS8, JwtAlgorithm::Es256).unwrap());
    let client = || ClientAuthentication::private_key_jwt("client", keys.clone());
    let auth = ClientCredentials::new("https://login.example/token", client()).unwrap();
    let form = form_of(&auth).await;
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grant_type", "client_id", "client_assertion_type", "client_assertion"]);
    assert_eq!(form[2].1, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let (_, claims) = verified(&form[3].1, &ECDSA_P256_SHA256_FIXED, &ec_public());
    assert_eq!(claims["aud"], "https://login.example/token");

    keys.replace(JwtKey::from_pem(RSA_PKCS8, JwtAlgorithm::Ps256).unwrap());
    let form = form_of(&auth.assertion_audience("https://issuer.example")).await;
    let (_, claims) = verified(&form[3].1, &RSA_PSS_2048_8192_SHA256, &rsa_public());
    assert_eq!(claims["aud"], "https://issuer.example");
}

#[tokio::test(start_paused = true)]
async fn an_assertion_that_a_platform_signs_is_passed_on() {
    let projected = Rotating::new(Credential::secret("header.claims.signature"));
    let client = ClientAuthentication::private_key_jwt("client", ReadyAssertion::new(projected));
    let auth = ClientCredentials::new("https://login.example/token", client).unwrap();
    assert_eq!(form_of(&auth).await[3].1, "header.claims.signature");
}
