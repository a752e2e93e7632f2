//! Credentials get onto requests, are renewed, and stay secret.

#[cfg(feature = "jwt")]
mod jwt;
mod oauth;

use http::HeaderMap;
use scim_client::auth::{
    Authenticate, Basic, Bearer, Credential, Credentials, Rotating, Secret, SecretHeader, SourceError,
};
use scim_client::error::{Authentication, Error, ErrorKind};

use crate::stub::{Stub, Virtual, answer};

/// What `auth` puts on a request that needs no token endpoint.
async fn headers_of(auth: &dyn Authenticate) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let nowhere = Stub::always(|| answer(500, &[], ""));
    auth.authorize(&mut headers, &nowhere, &Virtual::new()).await?;
    assert_eq!(nowhere.count(), 0);
    Ok(headers)
}

/// Everything that an error shows anywhere.
pub(crate) fn all_text(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {}", serde_json::to_string(error).unwrap());
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(" {next} {next:?}");
        cause = next.source();
    }
    text
}

#[tokio::test]
async fn each_form_is_what_its_rfc_says() {
    let bearer = headers_of(&Bearer::new("mF_9.B5f-4.1JqM")).await.unwrap();
    assert_eq!(bearer["authorization"], "Bearer mF_9.B5f-4.1JqM");
    // The examples of RFC 7617 §2 and §2.1.
    let basic = headers_of(&Basic::new("Aladdin", "open sesame")).await.unwrap();
    assert_eq!(basic["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    let basic = headers_of(&Basic::new("test", "123£")).await.unwrap();
    assert_eq!(basic["authorization"], "Basic dGVzdDoxMjPCow==");
    let okta = SecretHeader::new("Authorization", Credential::secret("00a")).unwrap().prefix("SSWS ");
    assert_eq!(headers_of(&okta).await.unwrap()["authorization"], "SSWS 00a");
    let key = SecretHeader::new("X-API-Key", Credential::secret("k")).unwrap();
    assert_eq!(headers_of(&key).await.unwrap()["x-api-key"], "k");
    for headers in [bearer, basic, headers_of(&key).await.unwrap()] {
        assert!(headers.values().all(http::HeaderValue::is_sensitive));
    }
}

#[test]
fn headers_that_rule_how_a_message_travels_carry_no_credential() {
    for name in ["Host", "content-length", "Transfer-Encoding", "connection", "two words", ""] {
        let error = SecretHeader::new(name, Credential::secret("s3cret")).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid, "{name}");
    }
}

#[tokio::test]
async fn what_no_header_can_carry_is_an_error_that_does_not_show_it() {
    let unusable: [Box<dyn Authenticate>; 4] = [
        Box::new(Bearer::new("s3cret\r\nX-Injected: 1")),
        Box::new(SecretHeader::new("x-api-key", Credential::secret("s3cret\n")).unwrap()),
        Box::new(Basic::new("colon:in name", "s3cret")),
        Box::new(Basic::from_source(Credential::secret("s3cret"))),
    ];
    for auth in unusable {
        let error = headers_of(&*auth).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Authentication(Authentication::Unavailable));
        assert!(!error.was_sent());
        assert!(!all_text(&error).contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_replaced_secret_is_on_the_next_request() {
    let source = Rotating::new(Credential::pair("svc", "old"));
    let auth = Basic::from_source(source.clone());
    let old = auth.authorize(&mut HeaderMap::new(), &Stub::scripted([]), &Virtual::new()).await.unwrap();
    assert!(!auth.refused(&old).await, "the source still has what was refused");
    source.replace(Credential::pair("svc2", "new"));
    assert!(auth.refused(&old).await);
    // printf svc2:new | base64
    assert_eq!(headers_of(&auth).await.unwrap()["authorization"], "Basic c3ZjMjpuZXc=");
}

#[tokio::test]
async fn a_source_without_a_credential_is_an_error() {
    struct Sealed;
    #[async_trait::async_trait]
    impl Credentials for Sealed {
        async fn current(&self) -> Result<Credential, SourceError> {
            Err("the vault is sealed".into())
        }
    }
    let error = headers_of(&Bearer::from_source(Sealed)).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Authentication(Authentication::Unavailable));
    assert!(all_text(&error).contains("the vault is sealed"));
    assert!(error.is_retryable(), "a vault may be opened");
}

#[test]
fn debug_shows_no_secret() {
    let credential = Credential::pair("svc", "s3cret");
    let shown = [
        format!("{:?}", Secret::new("s3cret")),
        format!("{credential:?}"),
        format!("{:?}", credential.fingerprint()),
        format!("{:?}", Rotating::new(credential.clone())),
        format!("{:?}", Bearer::new("s3cret")),
        format!("{:?}", Basic::new("svc", "s3cret")),
        format!("{:?}", SecretHeader::new("x-key", credential).unwrap()),
    ];
    for text in shown {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn fingerprints_tell_credentials_apart() {
    let same = [Credential::pair("a", "bc").fingerprint(), Credential::pair("a", "bc").fingerprint()];
    assert_eq!(same[0], same[1]);
    let others = [Credential::pair("ab", "c"), Credential::secret("abc"), Credential::pair("a", "bd")];
    for other in others {
        assert_ne!(other.fingerprint(), same[0]);
    }
}
