//! One resource at a time, over a transport in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use scim_client::auth::Bearer;
use scim_client::client::EntityTag;
use scim_client::dialect::{IfMatch, Support};
use scim_client::error::Authentication;
use scim_client::message::{PatchOp, PatchOperation, PatchVerb};
use scim_client::resource::{DynamicResource, Resource as _, ResourceId, User};
use scim_client::transport::{Connectivity, MemoryTransport, Scripted, Stage};
use scim_client::{Client, Dialect, Error, ErrorKind};
use serde_json::{Value, json};

use crate::suite::Hasty;

fn client(transport: &MemoryTransport) -> Client {
    let client = Client::over("https://app.example/scim/v2", transport.clone()).unwrap();
    client.auth(Bearer::new("t0ken")).clock(Hasty::new())
}

fn bjensen() -> Value {
    json!({
        "schemas": [User::SCHEMA], "id": "1", "userName": "bjensen",
        "meta": {"resourceType": "User", "version": "W/\"3\"", "location": "/Users/1"},
    })
}

/// A service that knows itself and nobody.
fn empty_service(request: &http::Request<bytes::Bytes>) -> Scripted {
    match request.uri().path() {
        "/scim/v2/ServiceProviderConfig" => Scripted::json(
            200,
            &json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"]}),
        ),
        _ => Scripted::error(404, None, "no such resource"),
    }
}

fn kind(error: &Error) -> &ErrorKind {
    error.kind()
}

fn id(id: &str) -> ResourceId {
    ResourceId::new(id)
}

#[tokio::test]
async fn a_created_resource_comes_back_with_its_version() {
    let transport = MemoryTransport::scripted([Scripted::json(201, &bjensen()).header("etag", "W/\"1\"")]);
    let made = client(&transport).users().create(&User::new("bjensen")).await.unwrap();
    assert_eq!(made.id(), Some(&id("1")));
    assert_eq!(made.version.as_ref().unwrap().as_str(), "W/\"1\"");
    assert_eq!(made.status, 201);
    assert_eq!(made.exchange.attempts().len(), 1);

    let request = &transport.requests()[0];
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "https://app.example/scim/v2/Users");
    assert_eq!(request.headers()["authorization"], "Bearer t0ken");
    assert_eq!(request.headers()["content-type"], "application/scim+json");
    assert!(request.headers()["user-agent"].to_str().unwrap().starts_with("scim-client/"));
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body, json!({"schemas": [User::SCHEMA], "userName": "bjensen"}));
}

#[tokio::test]
async fn a_create_whose_answer_shows_nothing_is_read_where_it_says() {
    let transport = MemoryTransport::scripted([
        Scripted::status(201).header("location", "http://inside:8080/other/Users/a%2Fb?x"),
        Scripted::json(200, &json!({"schemas": [User::SCHEMA], "id": "a/b", "userName": "bjensen"})),
    ]);
    let made = client(&transport).users().create(&User::new("bjensen")).await.unwrap();
    assert_eq!(made.id(), Some(&id("a/b")));
    assert_eq!(made.exchange.attempts().len(), 2);
    assert_eq!(transport.requests()[1].uri(), "https://app.example/scim/v2/Users/a%2Fb");
}

#[tokio::test]
async fn a_create_that_nothing_is_known_of_is_looked_for() {
    for answer in
        [Scripted::status(201), Scripted::status(202), Scripted::json(201, &json!({"userName": "x"}))]
    {
        let transport = MemoryTransport::scripted([answer]);
        let error = client(&transport).users().create(&User::new("bjensen")).await.unwrap_err();
        assert_eq!(error.advice(), scim_client::Advice::ResolveByReading, "{error}");
        assert!(error.was_sent());
    }
}

#[tokio::test]
async fn an_error_with_a_status_of_success_is_an_error() {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "409", "scimType": "uniqueness", "detail": "taken",
    });
    let transport = MemoryTransport::scripted([Scripted::json(200, &body)]);
    let error = client(&transport).users().create(&User::new("bjensen")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::Conflict);
    assert_eq!(error.explanation(), Some("taken"));
}

#[tokio::test]
async fn reads_and_changes_go_to_the_one_resource() {
    let transport = MemoryTransport::scripted([
        Scripted::json(200, &bjensen()),
        Scripted::json(200, &bjensen()),
        Scripted::status(204),
        Scripted::json(200, &bjensen()),
        Scripted::status(204),
    ]);
    let users = client(&transport).users();
    let read = users.get(&id("1")).attributes(["userName", "meta"]).await.unwrap();
    users.replace(&id("1"), &read).await.unwrap();
    let patch = PatchOp {
        operations: vec![PatchOperation {
            verb: PatchVerb::Replace,
            path: Some("active".parse().unwrap()),
            value: Some(json!(false)),
        }],
        ..PatchOp::default()
    };
    assert_eq!(users.patch(&id("1"), &patch).await.unwrap().resource, None);
    let known = EntityTag::parse("W/\"9\"").unwrap();
    assert!(users.patch(&id("1"), &patch).if_match(&known).await.unwrap().resource.is_some());
    users.delete(&id("1")).await.unwrap();

    let requests = transport.requests();
    let lines: Vec<_> = requests
        .iter()
        .map(|request| {
            let condition = request.headers().get("if-match").map_or("", |tag| tag.to_str().unwrap());
            format!("{} {} {condition}", request.method(), request.uri().path_and_query().unwrap())
        })
        .collect();
    assert_eq!(
        lines,
        [
            "GET /scim/v2/Users/1?attributes=userName,meta ",
            "PUT /scim/v2/Users/1 W/\"3\"",
            "PATCH /scim/v2/Users/1 ",
            "PATCH /scim/v2/Users/1 W/\"9\"",
            "DELETE /scim/v2/Users/1 ",
        ]
    );
    assert!(requests[4].headers().get("content-type").is_none());
}

#[tokio::test]
async fn conditions_are_as_the_dialect_says() {
    let condition = async |if_match: IfMatch, version: &str| {
        let transport = MemoryTransport::scripted([Scripted::json(200, &bjensen())]);
        let client = client(&transport).dialect(Dialect::rfc7644().with(|d| d.if_match = if_match));
        let mut user = bjensen();
        user["meta"]["version"] = version.into();
        let user: User = serde_json::from_value(user).unwrap();
        client.users().replace(&id("1"), &user).await.unwrap();
        transport.requests()[0].headers().get("if-match").map(|tag| tag.to_str().unwrap().to_owned())
    };
    assert_eq!(condition(IfMatch::WhenKnown, "W/\"3\"").await.as_deref(), Some("W/\"3\""));
    // A time is no entity tag.
    assert_eq!(condition(IfMatch::WhenKnown, "20150522125356").await, None);
    assert_eq!(condition(IfMatch::Never, "W/\"3\"").await, None);
    assert_eq!(condition(IfMatch::Any, "20150522125356").await.as_deref(), Some("*"));
}

#[tokio::test]
async fn what_has_not_changed_is_not_read_again() {
    let transport = MemoryTransport::scripted([
        Scripted::status(304),
        Scripted::json(200, &bjensen()).header("etag", "W/\"4\""),
    ]);
    let users = client(&transport).users();
    let known = EntityTag::parse("W/\"3\"").unwrap();
    assert!(users.get_if_changed(&id("1"), &known).await.unwrap().is_none());
    assert_eq!(transport.requests()[0].headers()["if-none-match"], "W/\"3\"");
    let changed = users.get_if_changed(&id("1"), &known).await.unwrap().unwrap();
    assert_eq!(changed.version.unwrap().as_str(), "W/\"4\"");
}

#[tokio::test]
async fn a_missing_resource_is_told_from_a_missing_service() {
    let service = MemoryTransport::new(empty_service);
    let error = client(&service).users().delete(&id("1")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::NotFound);
    assert_eq!(error.http_status(), Some(404));
    // Seen once, it is believed for a while.
    let users = client(&service).users();
    users.get(&id("1")).await.unwrap_err();
    let before = service.requests().len();
    users.get(&id("2")).await.unwrap_err();
    assert_eq!(service.requests().len(), before + 1);

    let elsewhere = MemoryTransport::new(|_| Scripted::bytes(404, "text/html", "<h1>Not found</h1>"));
    let error = client(&elsewhere).users().delete(&id("1")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::BaseUrl, "{error}");
    // Another API of that host answers with JSON of its own.
    let elsewhere = MemoryTransport::new(|request| match request.uri().path() {
        "/scim/v2/ServiceProviderConfig" => Scripted::json(200, &json!({"status": "ok"})),
        _ => Scripted::json(404, &json!({"message": "no route"})),
    });
    let error = client(&elsewhere).users().get(&id("1")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::BaseUrl, "{error}");
}

#[tokio::test]
async fn a_service_that_cannot_be_seen_proves_nothing_absent() {
    let transport = MemoryTransport::new(|request| match request.method().as_str() {
        "DELETE" => Scripted::status(404),
        _ => Scripted::fails(Stage::NotSent, Connectivity::Connect),
    });
    let error = client(&transport).users().delete(&id("1")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::NotSent(Connectivity::Connect), "{error}");
    assert!(error.attempts().iter().any(|attempt| attempt.method == Method::DELETE));
}

#[tokio::test]
async fn a_list_of_users_proves_the_service_where_it_keeps_its_configuration_to_itself() {
    let transport = MemoryTransport::new(|request| match request.uri().path() {
        "/scim/v2/Users" => Scripted::json(200, &json!({"totalResults": 0, "Resources": []})),
        "/scim/v2/ServiceProviderConfig" => Scripted::status(403),
        _ => Scripted::status(404),
    });
    let client = client(&transport);
    client.check_base().await.unwrap();
    assert_eq!(*kind(&client.users().get(&id("1")).await.unwrap_err()), ErrorKind::NotFound);
}

#[tokio::test]
async fn pages_for_people_are_no_answers() {
    let page = "  <!DOCTYPE html><title>Sign in</title>";
    for content_type in ["text/html; charset=utf-8", "application/scim+json"] {
        let transport = MemoryTransport::new(move |_| Scripted::bytes(200, content_type, page));
        let users = || client(&transport).users();
        let login = ErrorKind::Authentication(Authentication::LoginPage);
        assert_eq!(*kind(&users().get(&id("1")).await.unwrap_err()), login);
        assert_eq!(*kind(&users().delete(&id("1")).await.unwrap_err()), login);
        assert_eq!(*kind(&users().create(&User::new("x")).await.unwrap_err()), login);
    }
}

#[tokio::test]
async fn json_is_read_whatever_it_is_called() {
    for content_type in ["text/plain", "text/html", "application/octet-stream"] {
        let transport =
            MemoryTransport::scripted([Scripted::bytes(200, content_type, bjensen().to_string())]);
        client(&transport).users().get(&id("1")).await.unwrap();
    }
}

#[tokio::test]
async fn no_redirect_takes_the_credential_elsewhere() {
    for (status, to, expected) in [
        (302, "https://login.example/saml?x", ErrorKind::Authentication(Authentication::LoginPage)),
        (307, "https://other.example/scim/v2/Users/1", ErrorKind::BaseUrl),
        (301, "http://app.example/scim/v2/Users/1", ErrorKind::BaseUrl),
        (308, "//other.example/scim/v2/Users/1", ErrorKind::BaseUrl),
        (307, "https://app.example:444/scim/v2/Users/1", ErrorKind::BaseUrl),
        (302, "/login", ErrorKind::Authentication(Authentication::LoginPage)),
    ] {
        let transport = MemoryTransport::new(move |request| match request.uri().path() {
            "/login" => Scripted::bytes(200, "text/html", "<html>"),
            _ => Scripted::status(status).header("location", to),
        });
        let error = client(&transport).users().get(&id("1")).await.unwrap_err();
        assert_eq!(*kind(&error), expected, "{status} {to}");
        assert!(
            transport.requests().iter().all(|request| request.uri().host() == Some("app.example")
                && request.uri().port().is_none()
                && request.uri().scheme_str() == Some("https")),
            "{status} {to}"
        );
    }
}

#[tokio::test]
async fn a_read_follows_a_redirect_at_home_and_a_write_does_not() {
    let transport = MemoryTransport::new(|request| match request.uri().path() {
        "/scim/v2/Users/1" => Scripted::status(308).header("location", "/scim/v2.1/Users/1"),
        _ => Scripted::json(200, &bjensen()),
    });
    let users = client(&transport).users();
    let read = users.get(&id("1")).await.unwrap();
    assert_eq!(read.exchange.attempts().len(), 2);
    assert_eq!(*kind(&users.delete(&id("1")).await.unwrap_err()), ErrorKind::BaseUrl);
    assert_eq!(transport.requests().len(), 3);

    let around = MemoryTransport::new(|request| {
        let next = request.uri().query().map_or(0, |n| n.parse::<u32>().unwrap()) + 1;
        Scripted::status(307).header("location", &format!("/scim/v2/Users/1?{next}"))
    });
    let error = client(&around).users().get(&id("1")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::BaseUrl);
    assert!(around.requests().len() <= 4);
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let limit = scim_client::read::ReadLimits::default().bytes_max;
    let endless = bytes::Bytes::from(vec![b' '; 1 << 20]);
    let served = Arc::new(Mutex::new(0_usize));
    let counted = served.clone();
    struct Endless(bytes::Bytes, Arc<Mutex<usize>>);
    #[async_trait::async_trait]
    impl scim_client::transport::Transport for Endless {
        async fn send(
            &self,
            _request: http::Request<bytes::Bytes>,
            _timeout: Duration,
        ) -> Result<http::Response<scim_client::transport::Body>, scim_client::transport::TransportError>
        {
            let (piece, counted) = (self.0.clone(), self.1.clone());
            Ok(http::Response::new(Box::pin(futures::stream::repeat_with(move || {
                *counted.lock().unwrap() += piece.len();
                Ok(piece.clone())
            }))))
        }
    }
    let client = Client::over("https://app.example", Endless(endless, counted)).unwrap();
    let error = client.users().get(&id("1")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::TooLarge);
    assert!(*served.lock().unwrap() <= limit + (1 << 20));
}

#[tokio::test]
async fn identifiers_cannot_name_anything_but_a_resource() {
    let transport = MemoryTransport::new(empty_service);
    let users = client(&transport).users();
    for bad in ["", ".", ".."] {
        assert_eq!(*kind(&users.delete(&id(bad)).await.unwrap_err()), ErrorKind::Invalid);
    }
    assert!(transport.requests().is_empty());
    let _ = users.delete(&id("../Groups/7?x=%2e")).await;
    assert_eq!(transport.requests()[0].uri().path(), "/scim/v2/Users/..%2FGroups%2F7%3Fx%3D%252e");
}

#[tokio::test]
async fn me_is_for_servers_that_have_it() {
    let transport = MemoryTransport::new(|_| Scripted::error(501, None, "not implemented"));
    let with = client(&transport);
    assert_eq!(*kind(&with.me::<User>().get().await.unwrap_err()), ErrorKind::Unsupported);
    assert_eq!(transport.requests()[0].uri().path(), "/scim/v2/Me");
    let without = with.dialect(Dialect::rfc7644().with(|d| d.me = Support::No));
    assert_eq!(*kind(&without.me::<User>().get().await.unwrap_err()), ErrorKind::Unsupported);
    assert_eq!(transport.requests().len(), 1);
}

/// A service that gives a token for a session and takes writes with both only.
fn csrf_service() -> (MemoryTransport, Arc<Mutex<u32>>) {
    let generation = Arc::new(Mutex::new(1_u32));
    let shared = generation.clone();
    let transport = MemoryTransport::new(move |request| {
        let generation = *shared.lock().unwrap();
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        if request.method() == Method::GET {
            let answer = Scripted::json(200, &json!({"schemas": ["x"]}));
            return match header("x-csrf-token") {
                Some("Fetch") => answer
                    .header("x-csrf-token", &format!("t{generation}"))
                    .header("set-cookie", &format!("SESSION={generation}; Path=/; HttpOnly"))
                    .header("set-cookie", "sap-usercontext=client=100; path=/"),
                _ => answer,
            };
        }
        let cookies = format!("SESSION={generation}; sap-usercontext=client=100");
        if header("x-csrf-token") == Some(&format!("t{generation}")) && header("cookie") == Some(&cookies) {
            Scripted::json(201, &bjensen())
        } else {
            Scripted::status(403).header("x-csrf-token", "Required")
        }
    });
    (transport, generation)
}

#[tokio::test]
async fn writes_carry_a_token_of_their_session() {
    let (transport, generation) = csrf_service();
    let client = client(&transport).dialect(Dialect::rfc7644().with(|d| d.csrf = true));
    client.users().create(&User::new("a")).await.unwrap();
    client.users().create(&User::new("b")).await.unwrap();
    assert_eq!(transport.requests().len(), 3, "one token for both");
    // The session has ended on the other side.
    *generation.lock().unwrap() += 1;
    let made = client.users().create(&User::new("c")).await.unwrap();
    assert_eq!(made.exchange.attempts().len(), 2);
    assert_eq!(transport.requests().len(), 6);
}

#[tokio::test]
async fn a_token_that_is_never_right_is_asked_for_once_more_only() {
    let transport = MemoryTransport::new(|request| match request.method().as_str() {
        "GET" => Scripted::json(200, &json!({})).header("x-csrf-token", "t"),
        _ => Scripted::status(403).header("x-csrf-token", "Required"),
    });
    let client = client(&transport).dialect(Dialect::rfc7644().with(|d| d.csrf = true));
    let error = client.users().create(&User::new("a")).await.unwrap_err();
    assert_eq!(*kind(&error), ErrorKind::Authorization);
    assert_eq!(transport.requests().len(), 4);
}

#[tokio::test]
async fn nothing_is_written_where_no_token_can_be_had() {
    let transport = MemoryTransport::new(|_| Scripted::json(200, &json!({})));
    let client = client(&transport).dialect(Dialect::rfc7644().with(|d| d.csrf = true));
    let error = client.users().create(&User::new("a")).await.unwrap_err();
    assert!(error.attempts().iter().all(|attempt| attempt.method == Method::GET), "{error}");
    assert!(transport.requests().iter().all(|request| request.method() == Method::GET));
}

#[tokio::test]
async fn a_dropped_call_leaves_the_client_usable() {
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let transport = MemoryTransport::new(move |_| {
        let mut calls = counted.lock().unwrap();
        *calls += 1;
        if *calls == 1 { Scripted::silent() } else { Scripted::json(200, &bjensen()) }
    });
    let users = client(&transport).users();
    let mut first = Box::pin(users.get(&id("1")).into_future());
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    users.get(&id("1")).await.unwrap();
}

#[tokio::test]
async fn any_kind_of_resource_can_be_read() {
    let body = json!({"schemas": ["urn:example:Device"], "id": "d1", "serial": 7});
    let transport = MemoryTransport::scripted([Scripted::json(200, &body)]);
    let device = client(&transport).resources::<DynamicResource>("/Devices").get(&id("d1")).await.unwrap();
    assert_eq!(device.attributes["serial"], 7);
    assert_eq!(transport.requests()[0].uri().path(), "/scim/v2/Devices/d1");
}

#[test]
fn entity_tags_are_what_a_header_can_carry() {
    for good in ["\"\"", "\"a\"", "W/\"a330bc54f0671c9\""] {
        assert_eq!(EntityTag::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "a", "\"", "w/\"a\"", "\"a", "\"a\r\nX: y\"", "\"a\"b\"", "20150522125356", "*"] {
        EntityTag::parse(bad).unwrap_err();
    }
}
