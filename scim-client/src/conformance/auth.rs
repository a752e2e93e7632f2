//! Credentials: on each request, from memory, and nowhere else.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

use super::ends;
use crate::auth::{Authenticate, Authorized, Credentials};
use crate::clock::Clock;
use crate::error::Error;
use crate::transport::{Body, Connectivity, Stage, Transport, TransportError};

/// How often a future is polled before it is dropped, at the most.
const POLLS_MAX: usize = 64;

/// Headers that rule how a message travels, or where to.
const TRAVEL: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

pub(super) async fn authenticate<A: Authenticate + Debug>(
    fresh: &impl Fn() -> A,
    transport: &dyn Transport,
    clock: &dyn Clock,
    secrets: &[&str],
) {
    let counted = Counted { transport: Some(transport), sent: AtomicUsize::new(0) };
    let auth = fresh();
    let (first, headers) = shown(&auth, &counted, clock).await.expect("there is a credential");
    assert!(!headers.is_empty(), "a request without a credential");
    for (name, value) in &headers {
        assert!(value.is_sensitive(), "`{name}` is not marked sensitive");
        assert!(!TRAVEL.contains(&name.as_str()), "`{name}` rules how a message travels");
    }
    let discreet = |text: &str| {
        for secret in secrets {
            assert!(!text.contains(secret), "a secret is shown: {}", text.replace(secret, "…"));
        }
    };
    discreet(&format!("{auth:?} {first:?}"));

    let before = counted.sent.load(Ordering::Relaxed);
    let (second, again) = shown(&auth, &counted, clock).await.expect("there is a credential still");
    assert!(second == first && again == headers, "what is shown changes from request to request");
    assert_eq!(counted.sent.load(Ordering::Relaxed), before, "it answers from memory");

    // It may have nothing else; but what it says of that is true.
    if ends("a refusal", auth.refused(&first)).await
        && let Ok((next, _)) = shown(&auth, &counted, clock).await
    {
        assert!(next.shown != first.shown, "what was refused is shown again as something new");
    }

    let broken = Counted { transport: None, sent: AtomicUsize::new(0) };
    if let Err(error) = shown(&fresh(), &broken, clock).await {
        assert!(!error.was_sent(), "without a credential nothing is sent to the service: {error}");
        discreet(&format!("{error} {error:?} {}", serde_json::to_string(&error).unwrap_or_default()));
    }

    for polls in 0..POLLS_MAX {
        let auth = fresh();
        let finished = dropped_after(polls, &auth, &counted, clock).await;
        let (_, headers) =
            shown(&auth, &counted, clock).await.expect("it is usable after a future was dropped");
        assert!(!headers.is_empty(), "it is usable after a future was dropped");
        if finished {
            break;
        }
    }
}

/// Polls so often and drops. Whether it was done before.
async fn dropped_after(
    polls: usize,
    auth: &dyn Authenticate,
    transport: &Counted<'_>,
    clock: &dyn Clock,
) -> bool {
    let mut headers = HeaderMap::new();
    let mut future = pin!(auth.authorize(&mut headers, transport, clock));
    for _ in 0..polls {
        if futures::poll!(&mut future).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

async fn shown(
    auth: &dyn Authenticate,
    transport: &Counted<'_>,
    clock: &dyn Clock,
) -> Result<(Authorized, HeaderMap), Error> {
    let mut headers = HeaderMap::new();
    let authorized = ends("authorize", auth.authorize(&mut headers, transport, clock)).await?;
    Ok((authorized, headers))
}

/// Counts what is sent; without a transport nothing is answered.
struct Counted<'a> {
    transport: Option<&'a dyn Transport>,
    sent: AtomicUsize,
}

#[async_trait]
impl Transport for Counted<'_> {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        match self.transport {
            Some(transport) => transport.send(request, timeout).await,
            None => Err(TransportError {
                stage: Stage::NotSent,
                kind: Connectivity::Connect,
                message: "nobody listens".to_owned(),
            }),
        }
    }
}

pub(super) async fn credentials(source: &dyn Credentials) {
    let current = || async { ends("current", source.current()).await.expect("the source has a credential") };
    let first = current().await;
    assert!(!first.secret.expose().is_empty(), "an empty secret");
    let shown = format!("{first:?}");
    assert!(!shown.contains(first.secret.expose()), "the identifier shows the secret");
    assert!(current().await.fingerprint() == first.fingerprint(), "the credential changes by itself");
    for polls in 0..POLLS_MAX {
        let mut future = pin!(source.current());
        let mut ready = false;
        for _ in 0..polls {
            ready = futures::poll!(&mut future).is_ready();
            if ready {
                break;
            }
            tokio::task::yield_now().await;
        }
        if ready {
            break;
        }
    }
    current().await;
    ends("a refusal", source.refused()).await;
    current().await;
}
