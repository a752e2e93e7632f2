//! A service that means harm, or might as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use scim_client::auth::{Bearer, ClientAuthentication, ClientCredentials, Credential};
use scim_client::dialect::Paging;
use scim_client::ensure::{Deprovision, Identity, MATCHES_MAX, Membership, State};
use scim_client::error::Authentication;
use scim_client::message::{BulkOperation, PatchOp, PatchOperation, PatchVerb};
use scim_client::resource::{DynamicResource, ResourceId, User};
use scim_client::transport::{Body, MemoryTransport, Scripted, Transport, TransportError};
use scim_client::{Advice, Client, Dialect, ErrorKind};
use serde_json::{Value, json};

use crate::auth::all_text;
use crate::stub::Virtual;

fn client(transport: &MemoryTransport) -> Client {
    Client::over("https://app.example/scim/v2", transport.clone()).unwrap()
}

fn id(id: &str) -> ResourceId {
    ResourceId::new(id)
}

/// JSON that is none, or more than anyone sends, and whether it is too large rather than wrong.
fn nasty() -> Vec<(&'static str, Vec<u8>, bool)> {
    let deep = |opening: &str, closing: &str, depth: usize| {
        format!(r#"{{"schemas":["x"],"id":"1","x":{}1{}}}"#, opening.repeat(depth), closing.repeat(depth))
    };
    let resource = |more: &str| format!(r#"{{"schemas":["x"],"id":"1","userName":"a",{more}}}"#).into_bytes();
    vec![
        ("deep arrays", deep("[", "]", 100_000).into_bytes(), true),
        ("deep objects", deep(r#"{"a":"#, "}", 100_000).into_bytes(), true),
        ("unclosed arrays", [br#"{"id":"1","x":"#.to_vec(), vec![b'['; 1 << 20]].concat(), true),
        ("a name twice", resource(r#""active":true,"active":false"#), false),
        ("an id twice", resource(r#""ID":"2""#), false),
        (
            "no UTF-8",
            resource("\"displayName\":\"\u{fffd}\"")
                .iter()
                .map(|b| if *b > 127 { 0xff } else { *b })
                .collect(),
            false,
        ),
        ("a lone surrogate", resource(r#""displayName":"\ud800""#), false),
        ("a number beyond all", resource(r#""x":1e99999"#), false),
        ("two documents", [resource(r#""x":1"#), resource(r#""x":1"#)].concat(), false),
        ("a broken end", resource(r#""x":1"#)[..30].to_vec(), false),
        ("many values", resource(&format!(r#""x":[{}0]"#, "0,".repeat(1_000_001))), true),
        ("NUL bytes", vec![0; 1 << 16], false),
    ]
}

#[tokio::test]
async fn nasty_answers_are_errors_of_their_kind() {
    for (what, body, large) in nasty() {
        let bytes = Bytes::from(body.clone());
        let transport = MemoryTransport::new(move |request| {
            let status = if request.method() == Method::POST { 201 } else { 200 };
            Scripted::bytes(status, "application/scim+json", bytes.clone()).in_pieces(4096)
        });
        let users = client(&transport).users();
        let expected = if large { ErrorKind::TooLarge } else { ErrorKind::Protocol };
        let error = users.get(&id("1")).await.unwrap_err();
        assert_eq!(*error.kind(), expected, "{what}: {error}");
        // It was written, whatever is said of it.
        let error = users.create(&User::new("a")).await.unwrap_err();
        assert_eq!(error.advice(), Advice::ResolveByReading, "{what}: {error}");
        let list = [br#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":1,"Resources":["#, &body[..], b"]}"].concat();
        let transport = MemoryTransport::new(move |_| {
            Scripted::bytes(200, "application/scim+json", list.clone()).in_pieces(4096)
        });
        let error = client(&transport).users().list().all().await.unwrap_err();
        assert_eq!(*error.kind(), expected, "{what} in a list: {error}");
    }
}

#[tokio::test]
async fn nasty_explanations_leave_the_refusal_what_it_is() {
    for (what, body, _) in nasty() {
        let transport =
            MemoryTransport::new(move |_| Scripted::bytes(409, "application/scim+json", body.clone()));
        let error = client(&transport).users().create(&User::new("a")).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Conflict, "{what}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn nasty_tokens_are_none() {
    for (what, body, _) in nasty() {
        let transport = MemoryTransport::new(move |_| Scripted::bytes(200, "application/json", body.clone()));
        let auth = ClientAuthentication::secret_post(Credential::pair("svc", "s3cret"));
        let auth = ClientCredentials::new("https://login.example/token", auth).unwrap();
        let client = client(&transport).auth(auth).clock(Virtual::new());
        let error = client.users().get(&id("1")).await.unwrap_err();
        let unavailable = ErrorKind::Authentication(Authentication::Unavailable);
        assert_eq!(*error.kind(), unavailable, "{what}: {error}");
        assert!(!error.was_sent() && !all_text(&error).contains("s3cret"), "{what}: {error}");
    }
}

/// `Location` says where a resource is, and no more than that.
#[tokio::test]
async fn a_create_that_happened_is_never_said_not_to_have_been_sent() {
    let long = format!("/Users/{}", "x".repeat(9_000));
    for location in ["https://app.example/scim/v2/Users/..", "/scim/v2/Users/.", "/Users/%2e%2e", &long] {
        let location = location.to_owned();
        let transport = MemoryTransport::new(move |_| Scripted::status(201).header("location", &location));
        let error = client(&transport).users().create(&User::new("a")).await.unwrap_err();
        assert!(error.was_sent(), "{error}");
        assert_eq!(error.advice(), Advice::ResolveByReading, "{error}");
        assert_eq!((error.http_status(), error.attempts().len()), (Some(201), 1), "{error}");
    }
    // A proxy says that it passed nothing on by a status, not within an answer.
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "407"});
    let transport = MemoryTransport::new(move |_| Scripted::json(200, &body));
    let error = client(&transport).users().create(&User::new("a")).await.unwrap_err();
    assert_eq!(error.advice(), Advice::ResolveByReading, "{error}");
}

#[tokio::test]
async fn what_is_no_answer_to_a_write_does_not_confirm_it() {
    let refusal =
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "403", "detail": "no"});
    let answers = [
        (Scripted::status(304), ErrorKind::Protocol),
        (Scripted::json(200, &refusal), ErrorKind::Authorization),
    ];
    for (answer, kind) in answers {
        let transport = MemoryTransport::new(move |_| answer.clone());
        let client = client(&transport);
        assert_eq!(*client.users().delete(&id("1")).await.unwrap_err().kind(), kind);
        assert_eq!(*client.me::<User>().delete().await.unwrap_err().kind(), kind);
        let patch = PatchOp::new().add_members([&id("2")]);
        assert_eq!(*client.groups().patch(&id("1"), &patch).await.unwrap_err().kind(), kind);
        assert_eq!(*client.users().replace(&id("1"), &User::new("a")).await.unwrap_err().kind(), kind);
    }
}

/// A service that takes a create for a change of whoever has the same address.
#[tokio::test]
async fn a_create_that_is_answered_with_a_stranger_adopts_nobody() {
    let stranger = json!({
        "schemas": [User::SCHEMA], "id": "7", "userName": "other@example.com", "externalId": "emp-7",
        "emails": [{"value": "ann@example.com"}],
    });
    let transport = MemoryTransport::new(move |request| match *request.method() {
        Method::POST => Scripted::json(200, &stranger),
        Method::GET if request.uri().path().ends_with("/7") => Scripted::json(200, &stranger),
        Method::GET => {
            Scripted::json(200, &json!({"schemas": [scim_client::urn::LIST_RESPONSE], "totalResults": 0}))
        }
        _ => Scripted::status(204),
    });
    let identity = Identity::external("emp-1").with_user_name("ann@example.com");
    let desired: User =
        serde_json::from_value(json!({"userName": "ann@example.com", "externalId": "emp-1"})).unwrap();
    let error = client(&transport).clock(Virtual::new()).ensure_user(&identity, &desired).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::OtherOwner, "{error}");
    assert!(transport.requests().iter().all(|request| ["GET", "POST"].contains(&request.method().as_str())));
}

#[tokio::test]
async fn more_matches_than_anyone_has_are_ambiguous() {
    let list = |count: usize| {
        let users: Vec<Value> = (0..count)
            .map(|n| json!({"schemas": [User::SCHEMA], "id": format!("{n}"), "userName": "ann"}))
            .collect();
        MemoryTransport::new(move |_| {
            let page = json!({"schemas": [scim_client::urn::LIST_RESPONSE], "totalResults": count, "Resources": users});
            Scripted::json(200, &page)
        })
    };
    for count in [MATCHES_MAX, MATCHES_MAX + 1, 90] {
        let client = client(&list(count)).clock(Virtual::new());
        let error = client.ensure_user(&Identity::named("ann"), &User::new("ann")).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Ambiguous { matches: count }, "{error}");
    }
}

#[tokio::test]
async fn passwords_that_a_service_repeats_are_not_passed_on() {
    let transport = MemoryTransport::new(|request| {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        Scripted::error(400, Some("invalidValue"), &format!("hunter2-x is too weak: {body}"))
    });
    let users = client(&transport).resources::<DynamicResource>("Users");
    let user = json!({"userName": "ann", "password": "hunter2-x"});
    let user: DynamicResource = serde_json::from_value(user).unwrap();
    let change = |path: Option<&str>, value: Value| PatchOp {
        operations: vec![PatchOperation {
            verb: PatchVerb::Replace,
            path: path.map(|path| path.parse().unwrap()),
            value: Some(value),
        }],
        ..PatchOp::default()
    };
    for error in [
        users.create(&user).await.map(|_| ()).unwrap_err(),
        users.replace(&id("1"), &user).await.map(|_| ()).unwrap_err(),
        users.patch(&id("1"), &change(Some("password"), json!("hunter2-x"))).await.map(|_| ()).unwrap_err(),
        users.patch(&id("1"), &change(None, json!({"PassWord": "hunter2-x"}))).await.map(|_| ()).unwrap_err(),
    ] {
        assert!(!all_text(&error).contains("hunter2"), "{error}");
        assert!(error.explanation().unwrap().contains("is too weak"), "{error}");
    }
}

#[test]
fn debug_shows_no_password() {
    let user = json!({"userName": "ann", "urn:x:User": {"password": "hunter2"}, "PASSWORD": "hunter2"});
    let mut operation = BulkOperation::default();
    operation.data = Some(user.clone());
    let user: DynamicResource = serde_json::from_value(user).unwrap();
    for text in [format!("{user:?}"), format!("{operation:?}")] {
        assert!(text.contains("ann") && !text.contains("hunter2"), "{text}");
    }
}

fn anyone() -> MemoryTransport {
    MemoryTransport::new(|_| Scripted::json(200, &json!({"schemas": ["x"], "id": "1"})))
}

#[tokio::test]
async fn a_credential_goes_unencrypted_to_this_machine_only() {
    for base in ["http://app.example/scim", "http://10.0.0.1", "http://localhost.example"] {
        let transport = anyone();
        let client = Client::over(base, transport.clone()).unwrap();
        let shown = client.clone().auth(Bearer::new("s3cret"));
        for error in [
            shown.users().get(&id("1")).await.unwrap_err(),
            shown.users().list().all().await.unwrap_err(),
            shown.check_base().await.unwrap_err(),
        ] {
            assert_eq!(*error.kind(), ErrorKind::Invalid, "{base}: {error}");
            assert!(!error.was_sent());
        }
        assert!(transport.requests().is_empty(), "{base}");
        // Nothing is shown, or somebody has said that it may be.
        client.users().get(&id("1")).await.unwrap();
        shown.dangerous_plain_http().users().get(&id("1")).await.unwrap();
        assert_eq!(transport.requests().len(), 2, "{base}");
    }
    for base in ["http://127.0.0.1:8080/scim", "http://[::1]/scim", "http://localhost", "https://app.example"]
    {
        let client = Client::over(base, anyone()).unwrap().auth(Bearer::new("s3cret"));
        client.users().get(&id("1")).await.unwrap();
    }
}

/// Pieces as small as they come, which take more room than what is in them.
#[tokio::test]
async fn a_page_in_crumbs_is_not_hoarded() {
    struct Crumbs(Arc<AtomicUsize>);
    #[async_trait]
    impl Transport for Crumbs {
        async fn send(
            &self,
            _: http::Request<Bytes>,
            _: Duration,
        ) -> Result<http::Response<Body>, TransportError> {
            let served = self.0.clone();
            let head = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":1,"Resources":[{"id":"1","userName":"a"},"#;
            let crumbs = stream::iter(head.bytes()).chain(stream::repeat(b' ')).map(move |byte| {
                served.fetch_add(1, Ordering::Relaxed);
                Ok(Bytes::from(vec![byte]))
            });
            Ok(http::Response::new(crumbs.boxed()))
        }
    }
    let served = Arc::new(AtomicUsize::new(0));
    let client = Client::over("https://app.example", Crumbs(served.clone())).unwrap();
    let client = client.dialect(Dialect::rfc7644().with(|dialect| dialect.paging = Paging::Index));
    let mut users = client.resources::<DynamicResource>("Users").list().stream();
    users.try_next().await.unwrap().unwrap();
    let bytes = served.load(Ordering::Relaxed) * (size_of::<Bytes>() + 1);
    assert!(bytes <= 5 << 20, "{bytes} bytes are kept before the first resource is given");
}

/// What a service answers to whoever looks for `ann`: `user` to look-ups and readings, 204 to writes, which change it.
fn service_of(user: Value) -> MemoryTransport {
    let user = std::sync::Mutex::new(user);
    MemoryTransport::new(move |request| {
        let mut user = user.lock().unwrap();
        match *request.method() {
            Method::PATCH => {
                user["active"] = false.into();
                Scripted::status(204)
            }
            Method::GET if request.uri().path().ends_with("/Users") => {
                let page = json!({"schemas": [scim_client::urn::LIST_RESPONSE], "totalResults": 1, "Resources": [*user]});
                Scripted::json(200, &page)
            }
            _ => Scripted::json(200, &user),
        }
    })
}

/// There are services whose identifiers are numbers, and such as forget them.
#[tokio::test]
async fn an_account_whose_identifier_is_no_text_is_not_absent() {
    let ann = Identity::named("ann");
    let transport =
        service_of(json!({"schemas": [User::SCHEMA], "id": 7, "userName": "ann", "active": true}));
    let client = client(&transport).clock(Virtual::new());
    let outcome = client.ensure_deprovisioned(&ann, Deprovision::Disable).await.unwrap();
    assert_eq!((outcome.state, outcome.id), (State::Disabled, Some(id("7"))));
    assert!(transport.requests().iter().any(|request| request.uri().path() == "/scim/v2/Users/7"));

    for missing in [json!(null), json!(""), json!({}), json!(true)] {
        let transport =
            service_of(json!({"schemas": [User::SCHEMA], "id": missing, "userName": "ann", "active": true}));
        let client = self::client(&transport).clock(Virtual::new());
        let error = client.ensure_deprovisioned(&ann, Deprovision::Disable).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Protocol, "{error}");
    }
}

#[tokio::test]
async fn a_stranger_whose_external_identifier_is_a_number_is_one() {
    let transport =
        service_of(json!({"schemas": [User::SCHEMA], "id": "7", "userName": "ann", "externalId": 8}));
    let client = client(&transport).clock(Virtual::new());
    let identity = Identity::external("9").with_user_name("ann");
    let error = client.ensure_user(&identity, &User::new("ann")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::OtherOwner, "{error}");
    let identity = Identity::external("8").with_user_name("ann");
    client.ensure_user(&identity, &User::new("ann")).await.unwrap();
}

#[tokio::test]
async fn a_member_is_one_however_the_group_is_written() {
    let (group, user) = (id("g"), id("7"));
    for members in [
        json!([{"value": "7"}]),
        json!({"value": "7"}),
        json!([{"value": 7}]),
        json!("7"),
        json!([7]),
        json!([{"VALUE": "7"}]),
    ] {
        let body = json!({"schemas": ["x"], "id": "g", "displayName": "G", "members": members});
        let transport = MemoryTransport::new(move |request| match *request.method() {
            Method::GET => Scripted::json(200, &body),
            _ => Scripted::status(204),
        });
        let client = client(&transport).clock(Virtual::new());
        let there = client.ensure_membership(&group, &user, Membership::Member).await.unwrap();
        assert_eq!(there.state, State::Unchanged, "{members}");
        // The service says yes to everything and changes nothing.
        let error = client.ensure_membership(&group, &user, Membership::NotMember).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Unconfirmed, "{members}: {error}");
    }
}

#[tokio::test]
async fn another_group_than_was_asked_for_confirms_nothing() {
    let transport = MemoryTransport::new(|_| {
        Scripted::json(200, &json!({"schemas": ["x"], "id": "other", "members": [{"value": "7"}]}))
    });
    let client = client(&transport).clock(Virtual::new());
    for wanted in [Membership::Member, Membership::NotMember] {
        let error = client.ensure_membership(&id("g"), &id("7"), wanted).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Protocol, "{error}");
    }
    assert!(transport.requests().iter().all(|request| request.method() == Method::GET));
}

#[tokio::test]
async fn credentials_that_a_service_repeats_are_not_passed_on() {
    // As long as a token is, so that the explanation is cut within it.
    for token in ["t0ken-of-some-length".to_owned(), format!("t0ken{}", "x".repeat(2_000))] {
        let transport = MemoryTransport::new(|request| {
            let shown = request.headers()["authorization"].to_str().unwrap();
            Scripted::error(403, None, &format!("not for {shown}"))
        });
        let client = client(&transport).auth(Bearer::new(token));
        for error in [
            client.users().get(&id("1")).await.map(|_| ()).unwrap_err(),
            client.users().delete(&id("1")).await.map(|_| ()).unwrap_err(),
            client.users().list().all().await.map(|_| ()).unwrap_err(),
        ] {
            assert!(!all_text(&error).contains("t0ken"), "{error}");
            assert_eq!(error.explanation(), Some("not for Bearer …"));
        }
    }
}

/// What a service says of itself it may say to nobody.
#[tokio::test(start_paused = true)]
async fn a_refusal_to_speak_of_itself_does_not_stop_a_credential() {
    let transport = MemoryTransport::new(|request| match request.uri().path() {
        "/scim/v2/Schemas" | "/scim/v2/ServiceProviderConfig" => Scripted::status(401),
        "/scim/v2/Users" if request.method() == Method::POST => {
            Scripted::error(400, Some("invalidValue"), "no")
        }
        "/scim/v2/Users" => Scripted::json(200, &json!({"totalResults": 0, "Resources": []})),
        _ => Scripted::json(200, &json!({"schemas": [User::SCHEMA], "id": "1", "userName": "a"})),
    });
    let mapping = "version = 1\n[source]\na = \"string\"\n[attributes]\nuserName = \"a\"";
    let mapping = scim_client::mapping::Mapping::from_toml(mapping).unwrap();
    let client = client(&transport).auth(Bearer::new("s3cret-enough")).clock(Virtual::new()).mapping(mapping);
    client.check_base().await.unwrap();
    client.users().create(&User::new("a")).await.unwrap_err();
    assert!(transport.requests().iter().any(|request| request.uri().path().ends_with("/Schemas")));
    client.users().get(&id("1")).await.unwrap();
}

#[tokio::test]
async fn secrets_in_an_error_that_comes_with_success_are_not_passed_on() {
    let transport = MemoryTransport::new(|_| {
        Scripted::json(
            200,
            &json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "400",
                "detail": "hunter2-x is too weak, says tok-3n-s3cret"}),
        )
    });
    let client = client(&transport).auth(scim_client::auth::Bearer::new("tok-3n-s3cret"));
    let user: DynamicResource =
        serde_json::from_value(json!({"userName": "ann", "password": "hunter2-x"})).unwrap();
    let error = client.resources::<DynamicResource>("Users").create(&user).await.map(|_| ()).unwrap_err();
    let text = all_text(&error);
    assert!(text.contains("is too weak"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("tok-3n"), "{text}");
}
