//! The transport over reqwest against real TLS: who is believed, who is shown a certificate, and what is said of a refusal.

mod authority;
mod server;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use scim_client::auth::{Bearer, ClientAuthentication, ClientCredentials};
use scim_client::resource::ResourceId;
use scim_client::transport::{
    Connectivity, ReqwestBuilder, ReqwestTransport, Stage, Transport, TransportError,
};
use scim_client::{Client, ErrorKind};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::auth::all_text;
use authority::{Authority, Leaf};
use server::{Clients, Server};

const ALL_TIME: Duration = Duration::from_secs(20);

const USER: &str =
    r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"1","userName":"bjensen@example.com"}"#;

/// Trusts this authority and no other.
fn trusting(authority: &Authority) -> ReqwestBuilder {
    ReqwestTransport::builder().trust_pem(authority.pem()).only_trusted_pem()
}

async fn get(transport: &ReqwestTransport, url: &str) -> Result<http::StatusCode, TransportError> {
    let request = http::Request::get(url).body(Bytes::new()).unwrap();
    transport.send(request, ALL_TIME).await.map(|answer| answer.status())
}

#[tokio::test]
async fn a_certificate_is_believed_where_its_root_is() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server =
        Server::start(&authority.leaf(), Clients::Anyone, |_| (200, String::new(), USER.into())).await;
    let url = server.url("/Users/1");
    assert_eq!(get(&trusting(&authority).build().unwrap(), &url).await.unwrap(), 200);
    let besides = ReqwestTransport::builder().trust_pem(authority.pem()).build().unwrap();
    assert_eq!(get(&besides, &url).await.unwrap(), 200, "besides the machine's");

    let before = server.requests().len();
    for (who, transport) in [
        ("another authority", trusting(&other).build().unwrap()),
        ("the machine's authorities", ReqwestTransport::new().unwrap()),
    ] {
        let error = get(&transport, &url).await.unwrap_err();
        assert_eq!((error.stage, error.kind), (Stage::NotSent, Connectivity::Tls), "{who}: {error}");
    }
    assert_eq!(server.requests().len(), before, "nothing reaches a server that is not believed");
}

#[tokio::test]
async fn a_certificate_of_another_name_or_time_is_not_believed() {
    let authority = Authority::new();
    let transport = trusting(&authority).build().unwrap();
    for (what, leaf) in [
        ("another name", authority.leaf_for(&["other.example"])),
        ("expired", authority.expired_leaf()),
        ("not valid yet", authority.future_leaf()),
        ("for clients only", authority.client("somebody")),
    ] {
        let server = Server::start(&leaf, Clients::Anyone, |_| (200, String::new(), USER.into())).await;
        let client = Client::over(&server.url(""), transport.clone()).unwrap().auth(Bearer::new("s3cret"));
        let error = client.users().get(&ResourceId::new("1")).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NotSent(Connectivity::Tls), "{what}: {error}");
        assert!(!error.was_sent() && error.is_retryable(), "{what}: {error}");
        assert!(!all_text(&error).contains("s3cret"), "{what}");
        assert!(server.requests().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn what_fails_within_the_handshake_was_not_sent() {
    let authority = Authority::new();
    for (what, answer, kind) in [
        ("no TLS", Some(&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..]), Connectivity::Tls),
        ("an end", None, Connectivity::Connect),
    ] {
        let addr = server::without_tls(answer).await;
        let transport = trusting(&authority).build().unwrap();
        let error = get(&transport, &format!("https://{addr}/Users")).await.unwrap_err();
        assert_eq!((error.stage, error.kind), (Stage::NotSent, kind), "{what}: {error}");
    }
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let transport = trusting(&authority).connect_timeout(Duration::from_millis(200)).build().unwrap();
    let url = format!("https://{}/Users", silent.local_addr().unwrap());
    let error = get(&transport, &url).await.unwrap_err();
    assert_eq!((error.stage, error.kind), (Stage::NotSent, Connectivity::Timeout), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let authority = Authority::new();
    let ann = authority.client("ann");
    for version in [&TLS12, &TLS13] {
        let clients = Clients::Of(&authority, version);
        let server = Server::start(&authority.leaf(), clients, |_| (200, String::new(), USER.into())).await;
        let transport = trusting(&authority).identity_pem(ann.identity_pem()).build().unwrap();
        assert_eq!(get(&transport, &server.url("/Users/1")).await.unwrap(), 200);
        assert_eq!(server.requests()[0].client, Some(ann.der()));
    }
}

/// In TLS 1.3 the client is through with the handshake before the server has looked at its certificate, and the request
/// is on its way (RFC 8446 §4.4.2.4, appendix E.1.2); in TLS 1.2 it is not.
#[tokio::test]
async fn a_refused_client_certificate_is_told_as_early_as_tls_tells_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let stranger = other.client("ann");
    for (version, stage) in [(&TLS12, Stage::NotSent), (&TLS13, Stage::MaybeSent)] {
        let clients = Clients::Of(&authority, version);
        let server = Server::start(&authority.leaf(), clients, |_| (200, String::new(), USER.into())).await;
        for transport in [
            trusting(&authority).build().unwrap(),
            trusting(&authority).identity_pem(stranger.identity_pem()).build().unwrap(),
        ] {
            let error = get(&transport, &server.url("/Users/1")).await.unwrap_err();
            assert_eq!((error.stage, error.kind), (stage, Connectivity::Tls), "{version:?}: {error}");
        }
        assert!(server.requests().is_empty(), "a refused client is not served");
    }
}

#[tokio::test]
async fn a_renewed_client_certificate_is_shown_from_the_next_request_on() {
    let authority = Authority::new();
    let (old, new) = (authority.client("old"), authority.client("new"));
    let clients = Clients::Of(&authority, &TLS13);
    let server = Server::start(&authority.leaf(), clients, |_| (200, String::new(), USER.into())).await;
    let transport = trusting(&authority).identity_pem(old.identity_pem()).build().unwrap();
    let url = server.url("/Users/1");
    get(&transport, &url).await.unwrap();
    let clone = transport.clone();
    for unreadable in [&b"-----BEGIN CERTIFICATE-----\n%%%\n"[..], b"", old.certificate_pem().as_bytes()] {
        let error = clone.renew_identity(unreadable).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid);
    }
    get(&transport, &url).await.unwrap();
    clone.renew_identity(new.identity_pem()).unwrap();
    get(&transport, &url).await.unwrap();
    let shown: Vec<_> = server.requests().into_iter().map(|request| request.client.unwrap()).collect();
    assert_eq!(shown, [old.der(), old.der(), new.der()]);
    assert!(
        !format!("{transport:?} {:?}", trusting(&authority).identity_pem(new.identity_pem())).contains("KEY")
    );
}

#[tokio::test]
async fn tokens_are_had_by_the_certificate_alone() {
    let authority = Authority::new();
    let ann = authority.client("ann");
    let clients = Clients::Of(&authority, &TLS13);
    let issuer = Server::start(&authority.leaf(), clients, |_| {
        (200, String::new(), r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":600}"#.into())
    })
    .await;
    let service =
        Server::start(&authority.leaf(), Clients::Anyone, |_| (200, String::new(), USER.into())).await;
    let transport = trusting(&authority).identity_pem(ann.identity_pem()).build().unwrap();
    let oauth =
        ClientCredentials::new(&issuer.url("/token"), ClientAuthentication::tls("provisioner")).unwrap();
    let client = Client::over(&service.url("/scim"), transport).unwrap().auth(oauth);
    client.users().get(&ResourceId::new("1")).await.unwrap();
    let [asked] = issuer.requests().try_into().unwrap();
    assert_eq!(asked.client, Some(ann.der()));
    assert_eq!(asked.body, "grant_type=client_credentials&client_id=provisioner");
    assert_eq!(asked.authorization, None);
    let [served] = service.requests().try_into().unwrap();
    assert_eq!(served.authorization.as_deref(), Some("Bearer t0ken"));
    assert_eq!(served.client, None, "a certificate is for who asks");
}

#[tokio::test]
async fn no_redirect_takes_a_credential_to_another_server() {
    let authority = Authority::new();
    let leaf = authority.leaf();
    let elsewhere = Server::start(&leaf, Clients::Anyone, |_| (200, String::new(), USER.into())).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: {}\r\n", elsewhere.url("/Users/1"));
        let server =
            Server::start(&leaf, Clients::Anyone, move |_| (status, location.clone(), String::new())).await;
        let transport = trusting(&authority).build().unwrap();
        // Apart, as a page to sign in at stops a credential.
        let client = || Client::over(&server.url(""), transport.clone()).unwrap().auth(Bearer::new("s3cret"));
        for error in [
            client().users().get(&ResourceId::new("1")).await.unwrap_err(),
            client().users().delete(&ResourceId::new("1")).await.unwrap_err(),
        ] {
            assert_eq!(error.http_status(), Some(status), "{error}");
            assert!(!all_text(&error).contains("s3cret"));
        }
        let methods: Vec<Method> = server.requests().iter().map(|request| request.method.clone()).collect();
        assert_eq!(methods, [Method::GET, Method::DELETE]);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_proxy_that_is_not_there_keeps_its_password() {
    let authority = Authority::new();
    let free = server::without_listener().await;
    let transport = trusting(&authority).proxy(format!("http://svc:s3cret@{free}")).build().unwrap();
    for url in ["https://app.example/Users", "http://app.example/Users"] {
        let error = get(&transport, url).await.unwrap_err();
        assert_eq!((error.stage, error.kind), (Stage::NotSent, Connectivity::Connect), "{error}");
        assert!(!format!("{error} {error:?} {transport:?}").contains("s3cret"), "{error}");
    }
    let error = ReqwestTransport::builder().proxy("http://svc:s3cret@[broken").build().unwrap_err();
    assert!(!all_text(&error).contains("s3cret"));
}

impl Leaf {
    fn identity_pem(&self) -> String {
        format!("{}{}", self.certificate_pem(), self.key_pem())
    }
}
