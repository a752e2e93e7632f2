//! What is shipped keeps the promises of its traits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use scim_client::auth::{
    Basic, Bearer, ClientAuthentication, ClientCredentials, Credential, ReadyAssertion, Rotating,
    SecretHeader,
};
use scim_client::conformance;
use scim_client::transport::{Body, ReqwestTransport, Stage, Transport, TransportError};

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

/// Breaks a promise.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    Repeats,
    Follows,
    SaysNotSent,
    SaysMaybeSent,
    Collects,
    KeepsEncoding,
    Resolves,
    HidesBreaks,
    IgnoresTime,
    GoesOnWhenDropped,
}

struct Flawed(ReqwestTransport, Flaw);

#[async_trait]
impl Transport for Flawed {
    async fn send(
        &self,
        mut request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        let Self(transport, flaw) = self;
        let staged = |stage| move |error| TransportError { stage, ..error };
        match flaw {
            Flaw::Repeats => match transport.send(request.clone(), timeout).await {
                Err(_) => transport.send(request, timeout).await,
                answer => answer,
            },
            Flaw::Follows => {
                let answer = transport.send(request.clone(), timeout).await?;
                match answer.headers().get("location").and_then(|to| to.to_str().ok()) {
                    Some(to) if to.starts_with("http") => {
                        *request.uri_mut() = to.parse().unwrap();
                        transport.send(request, timeout).await
                    }
                    _ => Ok(answer),
                }
            }
            Flaw::SaysNotSent => transport.send(request, timeout).await.map_err(staged(Stage::NotSent)),
            Flaw::SaysMaybeSent => transport.send(request, timeout).await.map_err(staged(Stage::MaybeSent)),
            Flaw::Collects => {
                let (head, body) = transport.send(request, timeout).await?.into_parts();
                let pieces: Vec<_> = body.collect().await;
                Ok(http::Response::from_parts(head, stream::iter(pieces).boxed()))
            }
            Flaw::KeepsEncoding => match transport.send(request, timeout).await {
                Err(error) if error.message.contains("encoding") => {
                    Ok(http::Response::new(stream::iter([Ok(Bytes::from_static(b"packed"))]).boxed()))
                }
                answer => answer,
            },
            Flaw::Resolves => {
                *request.uri_mut() = request.uri().to_string().replace("%2F", "/").parse().unwrap();
                transport.send(request, timeout).await
            }
            Flaw::HidesBreaks => {
                let (head, body) = transport.send(request, timeout).await?.into_parts();
                let body = body.take_while(|piece| std::future::ready(piece.is_ok()));
                Ok(http::Response::from_parts(head, body.boxed()))
            }
            Flaw::IgnoresTime => transport.send(request, Duration::from_secs(3600)).await,
            Flaw::GoesOnWhenDropped => {
                let transport = transport.clone();
                tokio::spawn(async move { transport.send(request, timeout).await }).await.unwrap()
            }
        }
    }
}

#[tokio::test]
async fn a_transport_that_breaks_a_promise_is_found_out() {
    let flaws = [
        (Flaw::Repeats, "is not sent again"),
        (Flaw::Follows, "a redirect is an answer"),
        (Flaw::SaysNotSent, "it arrived"),
        (Flaw::SaysMaybeSent, "is refused"),
        (Flaw::Collects, "the head comes before the body has ended"),
        (Flaw::KeepsEncoding, "an encoding that cannot be undone is an error"),
        (Flaw::Resolves, "arrive as they stand in the URI"),
        (Flaw::HidesBreaks, "ends with an error"),
        (Flaw::IgnoresTime, "does not end"),
        (Flaw::GoesOnWhenDropped, "connection is closed"),
    ];
    join_all(flaws.map(|(flaw, said)| async move {
        let flawed = Flawed(ReqwestTransport::new().unwrap(), flaw);
        let run = tokio::spawn(async move { conformance::transport(&flawed).await }).await;
        let panic = run.expect_err(&format!("{flaw:?} is not found out")).into_panic();
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains(said), "{flaw:?} is found out by {text:?}");
    }))
    .await;
}
