//! Refused credentials: shown once, then never again.

use std::future::IntoFuture as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue};
use scim_client::auth::{
    Authenticate, Authorized, Bearer, ClientAuthentication, ClientCredentials, Credential, Fingerprint,
    Rotating,
};
use scim_client::clock::Clock;
use scim_client::error::Authentication;
use scim_client::resource::User;
use scim_client::{Advice, Error, ErrorKind};

use super::*;
use crate::stub::Stub;

/// A service that takes one token, and says no in the way of `no` to others.
fn service(takes: &'static str, no: fn() -> Answer) -> Stub {
    Stub::new(move |request| {
        let shown = request.headers().get("authorization").cloned();
        async move {
            let takes = shown.is_some_and(|shown| shown == format!("Bearer {takes}").as_str());
            if takes { ann() } else { no() }
        }
    })
}

fn no() -> Answer {
    answer(401, &[("www-authenticate", "Bearer")], "")
}

fn page() -> Answer {
    answer(200, &[("content-type", "text/html")], "<!DOCTYPE html><title>Sign in</title>")
}

fn held() -> ErrorKind {
    ErrorKind::Authentication(Authentication::Held)
}

fn tokens(to: &Stub) -> Vec<String> {
    let shown = |request: &http::Request<_>| request.headers()["authorization"].to_str().unwrap().to_owned();
    to.requests().iter().map(shown).collect()
}

async fn read(client: &Client) -> Result<(), Error> {
    client.users().get(&id()).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_not_shown_again_until_it_is_forgiven() {
    let moved = || answer(302, &[("location", "https://login.example/saml")], "");
    for (no, how) in [
        (no as fn() -> Answer, Authentication::Refused),
        (page, Authentication::LoginPage),
        (moved, Authentication::LoginPage),
    ] {
        let to = service("good", no);
        let client = client(to.clone(), Virtual::new()).auth(Bearer::new("bad"));
        assert_eq!(*read(&client).await.unwrap_err().kind(), ErrorKind::Authentication(how));
        for client in [&client, &client.clone()] {
            let error = read(client).await.unwrap_err();
            assert_eq!(*error.kind(), held());
            assert_eq!((error.advice(), error.was_sent()), (Advice::StopConnector, false));
            let error = client.users().list().all().await.unwrap_err();
            assert_eq!(*error.kind(), held());
            let error = client.users().create(&User::new("ann")).await.unwrap_err();
            assert_eq!(*error.kind(), held());
        }
        assert_eq!(to.count(), 1);
        client.forgive();
        read(&client).await.unwrap_err();
        assert_eq!(to.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_in_place_of_a_list_counts_too() {
    let to = service("good", page);
    let client = client(to.clone(), Virtual::new()).auth(Bearer::new("bad"));
    client.users().list().all().await.unwrap_err();
    let sent = to.count();
    client.users().list().all().await.unwrap_err();
    assert_eq!(to.count(), sent);
}

#[tokio::test(start_paused = true)]
async fn without_a_credential_nothing_is_held() {
    let to = Stub::always(no);
    let client = client(to.clone(), Virtual::new());
    read(&client).await.unwrap_err();
    read(&client).await.unwrap_err();
    assert_eq!(to.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_changed_is_shown_once_more_and_the_old_one_never() {
    let source = Rotating::new(Credential::secret("old"));
    let (to, clock) = (service("good", no), Virtual::new());
    let rotate = source.clone();
    let rotating = Stub::new({
        let to = to.clone();
        move |request| {
            // It is changed while the first request is under way.
            if to.count() == 0 {
                rotate.replace(Credential::secret("good"));
            }
            let (to, request) = (to.clone(), request.clone());
            async move { scim_client::transport::Transport::send(&to, request, SECOND).await }
        }
    });
    let client = client(rotating, clock).auth(Bearer::from_source(source.clone()));
    let made = client.users().create(&User::new("ann")).await.unwrap();
    assert_eq!(made.exchange.attempts().len(), 2);
    assert_eq!(tokens(&to), ["Bearer old", "Bearer good"]);
    source.replace(Credential::secret("old"));
    assert_eq!(*read(&client).await.unwrap_err().kind(), held());
    source.replace(Credential::secret("good"));
    read(&client).await.unwrap();
    assert_eq!(tokens(&to), ["Bearer old", "Bearer good", "Bearer good"]);
}

/// Says that there is another credential each time, and shows what the closure gives.
struct Stubborn(Box<dyn Fn(usize) -> (&'static str, &'static str) + Send + Sync>, AtomicUsize);

impl Stubborn {
    fn new(shows: impl Fn(usize) -> (&'static str, &'static str) + Send + Sync + 'static) -> Self {
        Self(Box::new(shows), AtomicUsize::new(0))
    }
}

#[async_trait]
impl Authenticate for Stubborn {
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        _: &dyn Transport,
        _: &dyn Clock,
    ) -> Result<Authorized, Error> {
        let (credential, shown) = (self.0)(self.1.load(Ordering::Relaxed));
        headers.insert("authorization", HeaderValue::from_static(shown));
        let of = |text: &str| Fingerprint::of(&[text.as_bytes()]);
        Ok(Authorized { credential: of(credential), shown: of(shown) })
    }

    async fn refused(&self, _: &Authorized) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[tokio::test(start_paused = true)]
async fn one_more_try_is_one() {
    // Another token by the same credential each time; another credential each time; the same again.
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let auths: [(Stubborn, &[&str]); 3] = [
        (Stubborn::new(|times| ("client", NAMES[times])), &["a", "b"]),
        (Stubborn::new(|times| (NAMES[times], NAMES[times])), &["a", "b"]),
        (Stubborn::new(|_| ("client", "a")), &["a"]),
    ];
    for (number, (auth, expected)) in auths.into_iter().enumerate() {
        let to = Stub::always(no);
        let client = client(to.clone(), Virtual::new()).auth(auth);
        let error = read(&client).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Authentication(Authentication::Refused), "{number}");
        assert_eq!(error.attempts().len(), expected.len());
        assert_eq!(tokens(&to), expected, "{number}");
        if number != 1 {
            assert_eq!(*read(&client).await.unwrap_err().kind(), held(), "{number}");
            assert_eq!(to.count(), expected.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_met_a_page_is_not_sent_again() {
    let to = Stub::always(page);
    let auth = Stubborn::new(|times| ("client", ["a", "b"][times]));
    let client = client(to.clone(), Virtual::new()).auth(auth);
    client.users().create(&User::new("ann")).await.unwrap_err();
    assert_eq!(to.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_early_is_renewed_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    for (good, expected) in [("t2", 2), ("t9", 2)] {
        asked.store(0, Ordering::Relaxed);
        let endpoint = Stub::always({
            let asked = asked.clone();
            move || {
                let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
                answer(
                    200,
                    &[],
                    &format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#),
                )
            }
        });
        let auth = ClientAuthentication::secret_post(Credential::pair("client", "s3cret"));
        let auth = ClientCredentials::new("https://login.example/token", auth).unwrap().transport(endpoint);
        let to = service(good, no);
        let client = client(to.clone(), Virtual::new()).auth(auth);
        assert_eq!(read(&client).await.is_ok(), good == "t2");
        assert_eq!(tokens(&to), ["Bearer t1", "Bearer t2"]);
        assert_eq!(to.count(), expected);
        if good != "t2" {
            for _ in 0..5 {
                assert_eq!(*read(&client).await.unwrap_err().kind(), held());
            }
            assert_eq!(to.count(), expected);
            assert!(asked.load(Ordering::Relaxed) <= 3, "the endpoint is left alone");
        }
    }
}

/// How many are under way at a time.
fn slow(answers: fn() -> Answer) -> (Stub, Arc<Mutex<(usize, usize)>>) {
    let count = Arc::new(Mutex::new((0, 0)));
    let counted = count.clone();
    let to = Stub::new(move |_| {
        let counted = counted.clone();
        {
            let (now, most) = &mut *counted.lock().unwrap();
            *now += 1;
            *most = (*now).max(*most);
        }
        async move {
            tokio::time::sleep(SECOND).await;
            counted.lock().unwrap().0 -= 1;
            answers()
        }
    });
    (to, count)
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_has_not_worked_is_shown_by_one_request_at_a_time() {
    let (to, _) = slow(no);
    let bad = client(to.clone(), Virtual::new()).auth(Bearer::new("bad"));
    let all = join_all((0..20).map(|_| read(&bad))).await;
    assert!(all.iter().all(Result::is_err));
    assert_eq!(to.count(), 1, "some servers lock after five");

    let (to, under_way) = slow(ann);
    let clock = Virtual::new();
    let good = client(to.clone(), clock).auth(Bearer::new("good"));
    assert!(join_all((0..9).map(|_| read(&good))).await.iter().all(Result::is_ok));
    assert_eq!((to.count(), under_way.lock().unwrap().1), (9, 8));
    assert!(clock.elapsed() < SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_to_anyone_proves_no_credential() {
    let public =
        || answer(200, &[], r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"]}"#);
    let to = Stub::new(move |request| {
        let is_public = request.uri().path().ends_with("ServiceProviderConfig");
        async move {
            tokio::time::sleep(SECOND).await;
            if is_public { public() } else { no() }
        }
    });
    let client = client(to.clone(), Virtual::new()).auth(Bearer::new("bad"));
    client.service_provider_config().await.unwrap();
    join_all((0..20).map(|_| read(&client))).await;
    assert_eq!(to.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_while_showing_it_lets_the_next_one_show_it() {
    let (to, _) = slow(ann);
    let client = client(to.clone(), Virtual::new()).auth(Bearer::new("good"));
    let users = client.users();
    let mut first = Box::pin(users.get(&id()).into_future());
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(users.get(&id()).into_future());
    assert!(futures::poll!(&mut second).is_pending());
    assert_eq!(to.count(), 1);
    drop(first);
    second.await.unwrap();
    assert_eq!(to.count(), 2);
}

/// A source that is asked for something new, and does not answer.
struct Silent;

#[async_trait]
impl scim_client::auth::Credentials for Silent {
    async fn current(&self) -> Result<Credential, scim_client::auth::SourceError> {
        Ok(Credential::secret("bad"))
    }

    async fn refused(&self) {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_kept_where_the_call_is_given_up_while_its_source_is_asked() {
    let to = Stub::always(no);
    let client = client(to.clone(), Virtual::new()).auth(Bearer::from_source(Silent)).deadline(SECOND);
    read(&client).await.unwrap_err();
    assert_eq!(*read(&client).await.unwrap_err().kind(), held());
    assert_eq!(to.count(), 1);
}
