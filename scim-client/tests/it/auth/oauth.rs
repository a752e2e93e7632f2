//! Tokens by client credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use http::{HeaderMap, Request};
use scim_client::auth::{
    Authenticate, Authorized, ClientAuthentication, ClientCredentials, Credential, Rotating,
    TOKEN_ANSWER_BYTES_MAX, TOKEN_BYTES_MAX,
};
use scim_client::error::{Advice, Authentication, Error, ErrorKind};
use scim_client::transport::{Connectivity, Stage};
use tokio::sync::Semaphore;

use super::all_text;
use crate::stub::{Answer, Stub, Virtual, answer, endless, failure};

const ENDPOINT: &str = "https://login.example/oauth2/token?tenant=1";

fn credential() -> Credential {
    Credential::pair("client", "s3cret")
}

fn oauth() -> ClientCredentials {
    ClientCredentials::new(ENDPOINT, ClientAuthentication::secret_post(credential())).unwrap().seed(7)
}

fn token(token: &str, expires_in: u64) -> Answer {
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#);
    answer(200, &[("content-type", "application/json")], &body)
}

/// Tokens `t1`, `t2`, … as they are asked for.
fn counting(expires_in: u64) -> Stub {
    let count = AtomicUsize::new(0);
    Stub::always(move || token(&format!("t{}", count.fetch_add(1, Ordering::Relaxed) + 1), expires_in))
}

async fn shown(auth: &ClientCredentials, to: &Stub, clock: &Virtual) -> Result<(String, Authorized), Error> {
    let mut headers = HeaderMap::new();
    let authorized = auth.authorize(&mut headers, to, clock).await?;
    assert!(headers["authorization"].is_sensitive());
    Ok((headers["authorization"].to_str().unwrap().to_owned(), authorized))
}

fn form(request: &Request<bytes::Bytes>) -> Vec<(String, String)> {
    url::form_urlencoded::parse(request.body()).into_owned().collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn the_request_is_what_the_rfcs_say() {
    let clock = Virtual::new();
    let to = Stub::always(|| token("t", 60));
    let awkward = || Credential::pair("a b:c", "p+&%=ü");
    let auths = [
        ClientAuthentication::secret_post(awkward()),
        ClientAuthentication::secret_basic(awkward()),
        ClientAuthentication::tls("client"),
    ];
    for auth in auths {
        let auth = ClientCredentials::new(ENDPOINT, auth).unwrap();
        let auth = auth.scope("scim read").parameter("resource", "https://app.example/");
        assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t");
    }
    let requests = to.requests();
    for request in &requests {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), ENDPOINT);
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    }
    let rest = [("scope", "scim read"), ("resource", "https://app.example/")];
    let post = [("grant_type", "client_credentials"), ("client_id", "a b:c"), ("client_secret", "p+&%=ü")];
    assert_eq!(form(&requests[0]), pairs(&[&post[..], &rest[..]].concat()));
    assert!(!requests[0].headers().contains_key("authorization"));
    assert_eq!(form(&requests[1]), pairs(&[&post[..1], &rest[..]].concat()));
    // RFC 6749 §2.3.1: both parts form-encoded before they are joined. printf 'a+b%%3Ac:p%%2B%%26%%25%%3D%%C3%%BC' | base64
    assert_eq!(requests[1].headers()["authorization"], "Basic YStiJTNBYzpwJTJCJTI2JTI1JTNEJUMzJUJD");
    assert!(requests[1].headers()["authorization"].is_sensitive());
    assert_eq!(form(&requests[2]), pairs(&[&post[..1], &[("client_id", "client")], &rest[..]].concat()));
}

#[test]
fn an_endpoint_is_a_plain_url() {
    for url in [
        "login.example/token",
        "ftp://login.example/",
        "https://u:p@login.example/",
        "https://login.example/#x",
    ] {
        let error = ClientCredentials::new(url, ClientAuthentication::tls("c")).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_unencrypted_to_this_machine_only() {
    let clock = Virtual::new();
    let to = Stub::always(|| token("t", 60));
    let over =
        |url: &str| ClientCredentials::new(url, ClientAuthentication::secret_post(credential())).unwrap();
    for url in ["http://login.example/token", "http://10.0.0.1/token", "http://localhost.example/token"] {
        let error = shown(&over(url), &to, &clock).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid, "{url}");
    }
    assert_eq!(to.count(), 0);
    for url in ["http://127.0.0.1:8080/token", "http://[::1]/token", "http://localhost/token"] {
        shown(&over(url), &to, &clock).await.unwrap();
    }
    shown(&over("http://login.example/token").dangerous_plain_http(), &to, &clock).await.unwrap();
    assert_eq!(to.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_got_once_and_renewed_ahead_of_its_end() {
    let clock = Virtual::new();
    let (auth, to) = (oauth(), counting(600));
    for _ in 0..3 {
        assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t1");
    }
    // The lead is a sixth of the lifetime at the most.
    tokio::time::advance(Duration::from_secs(499)).await;
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t1");
    assert_eq!(to.count(), 1);
    tokio::time::advance(Duration::from_secs(30)).await;
    shown(&auth, &to, &clock).await.unwrap();
    assert_eq!(to.count(), 2, "600 s − 71 s is within three quarters of the lead");
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t2");
}

#[tokio::test(start_paused = true)]
async fn many_requests_at_once_ask_for_one_token() {
    let clock = Virtual::new();
    let gate = Arc::new(Semaphore::new(0));
    let to = Stub::new({
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                token("t", 600)
            }
        }
    });
    let auth = oauth();
    let all = join_all((0..50).map(|_| shown(&auth, &to, &clock)));
    let (all, ()) = tokio::join!(all, async {
        tokio::task::yield_now().await;
        gate.add_permits(50);
    });
    assert!(all.into_iter().all(|shown| shown.unwrap().0 == "Bearer t"));
    assert_eq!(to.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_dropped_while_asking_leaves_the_work_to_the_next() {
    let clock = Virtual::new();
    let count = Arc::new(AtomicUsize::new(0));
    let to = Stub::new({
        let count = Arc::clone(&count);
        move |_| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                token("t", 600)
            }
        }
    });
    let auth = oauth();
    let mut first = Box::pin(shown(&auth, &to, &clock));
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(shown(&auth, &to, &clock));
    assert!(futures::poll!(&mut second).is_pending());
    assert_eq!(to.count(), 1, "the second waits for the first");
    drop(first);
    assert_eq!(second.await.unwrap().0, "Bearer t");
    assert_eq!(to.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_token_serves_while_the_endpoint_hangs_or_fails() {
    let clock = Virtual::new();
    let auth = oauth();
    let to = Stub::scripted([token("old", 600)]);
    shown(&auth, &to, &clock).await.unwrap();
    tokio::time::advance(Duration::from_secs(540)).await;
    // One renews and is stuck; the others do not wait for it.
    let mut renewing = Box::pin(shown(&auth, &to, &clock));
    assert!(futures::poll!(&mut renewing).is_pending());
    let before = clock.elapsed();
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer old");
    assert_eq!(clock.elapsed(), before);
    // Even the one that is stuck gets the old one after the time limit.
    assert_eq!(renewing.await.unwrap().0, "Bearer old");
    assert_eq!(to.count(), 2);
    // The endpoint is left alone for a while, then asked again.
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer old");
    assert_eq!(to.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_thrown_away_once_however_many_showed_it() {
    let clock = Virtual::new();
    let (auth, to) = (oauth(), counting(600));
    let (_, first) = shown(&auth, &to, &clock).await.unwrap();
    assert!(auth.refused(&first).await);
    let (text, second) = shown(&auth, &to, &clock).await.unwrap();
    assert_eq!(text, "Bearer t2");
    assert_eq!(first.credential, second.credential, "the same secret is behind both");
    assert_ne!(first.shown, second.shown);
    assert!(auth.refused(&first).await, "there is another one already");
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t2");
    assert_eq!(to.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_not_shown_again_until_it_changes() {
    let clock = Virtual::new();
    let source = Rotating::new(credential());
    let auth = ClientCredentials::new(ENDPOINT, ClientAuthentication::secret_post(source.clone())).unwrap();
    let refusal =
        || answer(401, &[], r#"{"error":"invalid_client","error_description":"secret s3cret is wrong"}"#);
    let to = Stub::scripted([refusal(), refusal(), token("t", 60)]);
    for _ in 0..20 {
        let error = shown(&auth, &to, &clock).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Authentication(Authentication::Refused));
        assert_eq!(error.advice(), Advice::StopConnector);
        assert_eq!(error.explanation(), Some("the token endpoint says `invalid_client`"));
        assert_eq!(error.path(), Some("https://login.example/oauth2/token"));
        assert!(!error.was_sent());
        assert!(!all_text(&error).contains("s3cret"));
        tokio::time::advance(Duration::from_secs(3600)).await;
    }
    assert_eq!(to.count(), 1, "SAP locks a client after five");
    auth.forgive();
    shown(&auth, &to, &clock).await.unwrap_err();
    shown(&auth, &to, &clock).await.unwrap_err();
    assert_eq!(to.count(), 2);
    source.replace(Credential::pair("client", "another"));
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_secret_replaces_its_token() {
    let clock = Virtual::new();
    let source = Rotating::new(credential());
    let auth = ClientCredentials::new(ENDPOINT, ClientAuthentication::secret_basic(source.clone())).unwrap();
    let to = counting(3600);
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t1");
    source.replace(Credential::pair("client", "another"));
    assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t2");
}

#[tokio::test(start_paused = true)]
async fn whatever_else_the_endpoint_answers_is_told_apart_and_never_shown() {
    use Authentication::{LoginPage, Refused, Unavailable};
    let json = [("content-type", "application/json")];
    let limited = |seconds| ErrorKind::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    let is = ErrorKind::Authentication;
    let long = "x".repeat(TOKEN_BYTES_MAX + 1);
    let huge = format!(r#"{{"access_token":"t","x":"{}"}}"#, "x".repeat(TOKEN_ANSWER_BYTES_MAX));
    let rows: Vec<(&str, Answer, ErrorKind)> = vec![
        ("429", answer(429, &[("retry-after", "7")], "leak"), limited(7)),
        ("503 with a wait", answer(503, &[("retry-after", "9")], "leak"), limited(9)),
        ("503", answer(503, &[], "leak"), is(Unavailable)),
        ("500", answer(500, &json, r#"{"error":"leak"}"#), is(Unavailable)),
        ("temporarily", answer(400, &json, r#"{"error":"temporarily_unavailable"}"#), is(Unavailable)),
        ("scope", answer(400, &json, r#"{"error":"invalid_scope","error_description":"leak"}"#), is(Refused)),
        ("unknown code", answer(400, &json, r#"{"error":"leak"}"#), is(Refused)),
        ("bare 401", answer(401, &[], ""), is(Refused)),
        ("404", answer(404, &[("content-type", "text/html")], "<html>leak"), is(Refused)),
        ("page", answer(200, &[("content-type", "text/html")], "<html>leak"), is(LoginPage)),
        ("page as JSON", answer(200, &json, " <!doctype html>leak"), is(LoginPage)),
        ("redirect", answer(302, &[("location", "https://login.example/leak")], ""), is(Unavailable)),
        ("nothing", answer(200, &json, ""), is(Unavailable)),
        ("truncated", answer(200, &json, r#"{"access_token":"leak"#), is(Unavailable)),
        ("no token", answer(200, &json, r#"{"id_token":"leak"}"#), is(Unavailable)),
        ("empty token", answer(200, &json, r#"{"access_token":"","x":"leak"}"#), is(Unavailable)),
        ("number", answer(200, &json, r#"{"access_token":5}"#), is(Unavailable)),
        ("twice", answer(200, &json, r#"{"access_token":"leak","access_token":"leak2"}"#), is(Unavailable)),
        ("bound", answer(200, &json, r#"{"access_token":"leak","token_type":"DPoP"}"#), is(Unavailable)),
        ("line break", answer(200, &json, r#"{"access_token":"leak\r\nx: y"}"#), is(Unavailable)),
        ("long", answer(200, &json, &format!(r#"{{"access_token":"{long}"}}"#)), is(Unavailable)),
        ("huge", answer(200, &json, &huge), is(Unavailable)),
        ("no name", failure(Stage::NotSent, Connectivity::Dns), ErrorKind::NotSent(Connectivity::Dns)),
        ("reset", failure(Stage::MaybeSent, Connectivity::Reset), ErrorKind::NotSent(Connectivity::Reset)),
        ("never ends", endless(200), ErrorKind::NotSent(Connectivity::Timeout)),
    ];
    for (name, answer, expected) in rows {
        let clock = Virtual::new();
        let to = Stub::scripted([answer]);
        let auth = oauth();
        let error = shown(&auth, &to, &clock).await.unwrap_err();
        assert_eq!(*error.kind(), expected, "{name}");
        assert!(!error.was_sent(), "{name}: the service got nothing");
        let text = all_text(&error);
        assert!(
            !text.contains("leak") && !text.contains("s3cret") && !text.contains("xxxx"),
            "{name}: {text}"
        );
        // Whoever comes right after is told the same, and the endpoint is left alone.
        let again = shown(&auth, &to, &clock).await.unwrap_err();
        assert_eq!(again.kind(), error.kind(), "{name}");
        assert_eq!(to.count(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn lifetimes_are_read_in_any_form() {
    for (expires_in, lasts_seconds) in
        [("60", 54), (r#""60""#, 54), ("60.9", 54), ("null", 280), (r#""soon""#, 280), ("-1", 280)]
    {
        let clock = Virtual::new();
        let body = format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#);
        let gone = || failure(Stage::NotSent, Connectivity::Connect);
        let to = Stub::scripted([answer(200, &[], &body), gone(), gone()]);
        let auth = oauth();
        shown(&auth, &to, &clock).await.unwrap();
        tokio::time::advance(Duration::from_secs(lasts_seconds)).await;
        // Within the lead: it cannot be renewed, and is still good.
        assert_eq!(shown(&auth, &to, &clock).await.unwrap().0, "Bearer t", "{expires_in}");
        tokio::time::advance(Duration::from_secs(11)).await;
        shown(&auth, &to, &clock).await.unwrap_err();
        assert_eq!(to.count(), 3, "{expires_in}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_while_its_renewal_hangs_is_not_shown() {
    let clock = Virtual::new();
    let (auth, to) = (oauth(), Stub::scripted([token("t", 30)]));
    shown(&auth, &to, &clock).await.unwrap();
    tokio::time::advance(Duration::from_secs(27)).await;
    let error = shown(&auth, &to, &clock).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotSent(Connectivity::Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_transport_of_its_own_is_used() {
    let clock = Virtual::new();
    let (own, others) = (counting(60), counting(60));
    let auth = oauth().transport(own.clone());
    shown(&auth, &others, &clock).await.unwrap();
    assert_eq!((own.count(), others.count()), (1, 0));
    assert!(!format!("{auth:?}").contains("s3cret"));
}
