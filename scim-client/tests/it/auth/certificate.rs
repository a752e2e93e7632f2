//! The client's certificate.

use rustls::client::ResolvesClientCert as _;
use scim_client::auth::ClientCertificate;
use scim_client::error::ErrorKind;

use super::all_text;

const KEY: &str = include_str!("ec-pkcs8.pem");
const OTHER_KEY: &str = include_str!("rsa-pkcs8.pem");
const CERTIFICATE: &str = include_str!("ec-certificate.pem");

#[test]
fn certificate_and_key_belong_together() {
    let certificate = ClientCertificate::from_pem([CERTIFICATE, KEY].concat().as_bytes()).unwrap();
    assert!(certificate.has_certs());
    let before = certificate.resolve(&[], &[]).unwrap();
    for wrong in [[CERTIFICATE, OTHER_KEY].concat(), CERTIFICATE.to_owned(), KEY.to_owned(), String::new()] {
        let error = certificate.replace(wrong.as_bytes()).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid);
        assert!(!all_text(&error).contains(KEY.lines().nth(1).unwrap()));
        assert!(ClientCertificate::from_pem(wrong.as_bytes()).is_err());
    }
    let same = certificate.resolve(&[], &[]).unwrap();
    assert!(std::sync::Arc::ptr_eq(&before, &same), "a mistake keeps the old one");
    certificate.clone().replace([KEY, CERTIFICATE].concat().as_bytes()).unwrap();
    let next = certificate.resolve(&[], &[]).unwrap();
    assert!(!std::sync::Arc::ptr_eq(&before, &next), "clones are the same one");
    assert_eq!(format!("{certificate:?}"), "ClientCertificate(…)");
}
