//! What is shipped keeps the promises of its traits.

use std::sync::atomic::{AtomicUsize, Ordering};

use scim_client::auth::{
    Basic, Bearer, ClientAuthentication, ClientCredentials, Credential, ReadyAssertion, Rotating,
    SecretHeader,
};
use scim_client::conformance;
use scim_client::transport::ReqwestTransport;

use crate::stub::{Stub, Virtual, answer};

#[tokio::test]
async fn reqwest_keeps_what_a_transport_promises() {
    conformance::transport(&ReqwestTransport::new().unwrap()).await;
}

/// A token endpoint that gives another token each time.
fn endpoint() -> Stub {
    let count = AtomicUsize::new(0);
    Stub::new(move |_| {
        let body = format!(
            r#"{{"access_token":"t0ken{}","token_type":"Bearer","expires_in":3600}}"#,
            count.fetch_add(1, Ordering::Relaxed)
        );
        async move {
            tokio::task::yield_now().await;
            answer(200, &[], &body)
        }
    })
}

#[tokio::test]
async fn every_way_to_show_a_credential_keeps_what_it_promises() {
    let secrets = ["s3cret", "t0ken"];
    let (to, clock) = (endpoint(), Virtual::new());
    conformance::authenticate(|| Bearer::new("s3cret"), &to, &clock, &secrets).await;
    conformance::authenticate(|| Basic::new("svc", "s3cret"), &to, &clock, &secrets).await;
    let header = || SecretHeader::new("x-api-key", Credential::secret("s3cret")).unwrap();
    conformance::authenticate(header, &to, &clock, &secrets).await;
    let ways: [fn() -> ClientAuthentication; 4] = [
        || ClientAuthentication::secret_basic(Credential::pair("svc", "s3cret")),
        || ClientAuthentication::secret_post(Credential::pair("svc", "s3cret")),
        || ClientAuthentication::private_key_jwt("svc", ReadyAssertion::new(Credential::secret("s3cret"))),
        || ClientAuthentication::tls("svc"),
    ];
    for way in ways {
        let oauth = || ClientCredentials::new("https://login.example/token", way()).unwrap().seed(7);
        conformance::authenticate(oauth, &to, &clock, &secrets).await;
    }
}

#[tokio::test]
async fn sources_of_credentials_keep_what_they_promise() {
    conformance::credentials(&Credential::pair("svc", "s3cret")).await;
    conformance::credentials(&Rotating::new(Credential::secret("s3cret"))).await;
}
