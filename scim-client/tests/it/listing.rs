//! Many resources, over a transport in memory: nothing is ever silently partial.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use futures::TryStreamExt as _;
use proptest::prelude::*;
use scim_client::client::Order;
use scim_client::dialect::{FilterForm, Paging, Support};
use scim_client::filter::{Filter, user};
use scim_client::path::AttributePath;
use scim_client::resource::{Resource as _, ResourceId, User};
use scim_client::transport::{Connectivity, MemoryTransport, Scripted};
use scim_client::urn;
use scim_client::{Client, Dialect, Error, ErrorKind};
use serde_json::{Value, json};

use crate::suite::Hasty;

fn client(transport: &MemoryTransport, dialect: Dialect) -> Client {
    Client::over("https://app.example/v2", transport.clone()).unwrap().dialect(dialect).clock(Hasty::new())
}

fn by(paging: Paging) -> Dialect {
    Dialect::rfc7644().with(|d| d.paging = paging)
}

fn parameters(request: &http::Request<Bytes>) -> HashMap<String, String> {
    let uri = url::Url::parse(&request.uri().to_string()).unwrap();
    uri.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn number(parameters: &HashMap<String, String>, name: &str, otherwise: usize) -> usize {
    parameters.get(name).map_or(otherwise, |value| value.parse().unwrap())
}

fn user_of(n: usize) -> Value {
    json!({"schemas": [User::SCHEMA], "id": format!("id-{n}"), "userName": format!("user{n}")})
}

fn page(resources: &[Value], total: usize, start: usize) -> Scripted {
    Scripted::json(
        200,
        &json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": total, "startIndex": start, "itemsPerPage": resources.len(), "Resources": resources,
        }),
    )
}

/// A server of `total` users whose pages have at most `page_max`; it can read `userName eq "…"`.
fn service(total: usize, page_max: usize) -> MemoryTransport {
    MemoryTransport::new(move |request| serve(total, page_max, request))
}

fn serve(total: usize, page_max: usize, request: &http::Request<Bytes>) -> Scripted {
    if request.uri().path().ends_with("ServiceProviderConfig") {
        return Scripted::json(200, &json!({"schemas": ["x"]}));
    }
    let asked = parameters(request);
    let start = number(&asked, "startIndex", 1);
    let count = number(&asked, "count", page_max).min(page_max);
    let filter = asked.get("filter").map(|filter| filter.parse::<Filter>().unwrap());
    let all: Vec<Value> = (1..=total)
        .map(user_of)
        .filter(|user| filter.as_ref().is_none_or(|filter| filter.matches(user.as_object().unwrap())))
        .collect();
    let here: Vec<_> = all.iter().skip(start - 1).take(count).cloned().collect();
    page(&here, all.len(), start)
}

async fn names(client: &Client) -> Result<Vec<String>, Error> {
    client
        .users()
        .list()
        .stream()
        .map_ok(|user| user.user_name.into_value().unwrap_or_default())
        .try_collect()
        .await
}

fn expected(total: usize) -> Vec<String> {
    (1..=total).map(|n| format!("user{n}")).collect()
}

fn lists(transport: &MemoryTransport) -> Vec<HashMap<String, String>> {
    let asked = transport.requests();
    asked.iter().filter(|request| request.uri().path().ends_with("/Users")).map(parameters).collect()
}

fn counts(transport: &MemoryTransport, name: &str) -> Vec<String> {
    lists(transport).iter().map(|asked| asked.get(name).cloned().unwrap_or_default()).collect()
}

#[tokio::test]
async fn pages_follow_each_other() {
    let transport = service(250, 1_000);
    assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(250));
    assert_eq!(counts(&transport, "startIndex"), ["1", "101", "201"]);
    assert_eq!(counts(&transport, "count"), ["100", "100", "100"]);
}

#[tokio::test]
async fn a_server_may_give_fewer_than_it_was_asked_for() {
    let transport = service(250, 60);
    assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(250));
    assert_eq!(counts(&transport, "startIndex"), ["1", "61", "121", "181", "241"]);
}

#[tokio::test]
async fn nobody_is_there() {
    for empty in [json!({"totalResults": 0}), json!({"totalResults": 0, "Resources": null}), json!([])] {
        let transport = MemoryTransport::new(move |_| Scripted::json(200, &empty));
        assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(0));
        assert_eq!(transport.requests().len(), 1);
    }
}

#[tokio::test]
async fn what_says_nothing_is_not_an_empty_list() {
    let refused = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "429"});
    for answer in [json!({}), json!({"status": "ok"}), json!({"Resources": []}), refused] {
        let transport = MemoryTransport::new(move |_| Scripted::json(200, &answer));
        let error = names(&client(&transport, by(Paging::Index))).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Protocol, "{error}");
    }
}

#[tokio::test]
async fn a_dialect_without_pages_asks_for_none() {
    let transport = service(30, 1_000);
    assert_eq!(names(&client(&transport, by(Paging::None))).await.unwrap(), expected(30));
    assert!(lists(&transport)[0].is_empty());

    let cut = service(30, 20);
    let error = names(&client(&cut, by(Paging::None))).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Paging, "{error}");
}

#[tokio::test]
async fn a_page_that_is_too_many_is_asked_for_smaller() {
    let transport = MemoryTransport::new(|request| {
        if number(&parameters(request), "count", 1_000) > 40 {
            return Scripted::error(400, Some("tooMany"), "at most 40");
        }
        serve(120, 1_000, request)
    });
    assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(120));
    assert_eq!(counts(&transport, "count"), ["100", "50", "25", "25", "25", "25", "25"]);
}

#[tokio::test]
async fn a_page_that_is_always_too_many_is_an_error() {
    let transport = MemoryTransport::new(|_| Scripted::error(400, Some("tooMany"), "too many"));
    let error = names(&client(&transport, by(Paging::Index))).await.unwrap_err();
    assert_eq!(error.advice(), scim_client::Advice::RestartListing);
    assert_eq!(transport.requests().len(), 7);
}

/// A server with cursors.
fn with_cursors(total: usize, page_max: usize, says_total: bool) -> MemoryTransport {
    MemoryTransport::new(move |request| {
        if request.uri().path().ends_with("ServiceProviderConfig") {
            let pagination = json!({"cursor": true, "index": false, "maxPageSize": page_max});
            return Scripted::json(200, &json!({"schemas": ["x"], "pagination": pagination}));
        }
        let asked = parameters(request);
        let start = match asked.get("cursor").map(String::as_str) {
            None | Some("") => 0,
            Some(cursor) => match cursor.strip_prefix("after ") {
                Some(start) => start.parse().unwrap(),
                None => return Scripted::error(400, Some("invalidCursor"), "no such cursor"),
            },
        };
        let count = number(&asked, "count", page_max).min(page_max);
        let here: Vec<_> = (1..=total).skip(start).take(count).map(user_of).collect();
        let mut list = json!({"Resources": here});
        if says_total {
            list["totalResults"] = total.into();
        }
        if start + here.len() < total {
            list["nextCursor"] = format!("after {}", start + here.len()).into();
        }
        Scripted::json(200, &list)
    })
}

#[tokio::test]
async fn cursors_are_followed_where_the_server_has_them() {
    for says_total in [true, false] {
        for paging in [Paging::Discover, Paging::Cursor] {
            let transport = with_cursors(95, 40, says_total);
            let client = client(&transport, by(paging));
            assert_eq!(names(&client).await.unwrap(), expected(95));
            assert_eq!(counts(&transport, "cursor"), ["", "after 40", "after 80"]);
            assert!(counts(&transport, "startIndex").iter().all(String::is_empty));
        }
    }
}

#[tokio::test]
async fn a_server_that_pages_by_cursor_unasked_is_followed() {
    let transport = MemoryTransport::new(move |request| {
        if request.uri().path().ends_with("ServiceProviderConfig") {
            return Scripted::status(404);
        }
        let start = parameters(request).get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let mut list = json!({"Resources": (start + 1..=start + 10).map(user_of).collect::<Vec<_>>()});
        if start < 20 {
            list["nextCursor"] = (start + 10).to_string().into();
        }
        Scripted::json(200, &list)
    });
    assert_eq!(names(&client(&transport, Dialect::rfc7644())).await.unwrap(), expected(30));
}

#[tokio::test]
async fn a_server_that_passes_over_cursors_is_paged_by_index() {
    for refuses in [false, true] {
        let transport = MemoryTransport::new(move |request| {
            let asked = parameters(request);
            if request.uri().path().ends_with("ServiceProviderConfig") {
                return Scripted::json(200, &json!({"schemas": ["x"], "pagination": {"cursor": true}}));
            }
            if refuses && asked.contains_key("cursor") {
                return Scripted::error(400, Some("invalidCursor"), "what is a cursor?");
            }
            serve(70, 30, request)
        });
        assert_eq!(names(&client(&transport, Dialect::rfc7644())).await.unwrap(), expected(70));
    }
}

#[tokio::test]
async fn a_cursor_that_has_expired_ends_the_listing() {
    let transport =
        MemoryTransport::new(|request| match parameters(request).get("cursor").map(String::as_str) {
            Some("") => Scripted::json(200, &json!({"Resources": [user_of(1)], "nextCursor": "x"})),
            _ => Scripted::error(400, Some("expiredCursor"), "gone"),
        });
    let error = names(&client(&transport, by(Paging::Cursor))).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Paging, "{error}");
    assert_eq!(error.advice(), scim_client::Advice::RestartListing);
}

/// What a listing that goes wrong is.
async fn fails(paging: Paging, answer: impl Fn(usize) -> Scripted + Send + Sync + 'static) -> Error {
    let asked = Mutex::new(0);
    let transport = MemoryTransport::new(move |_| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        answer(*asked)
    });
    let error = names(&client(&transport, by(paging))).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Paging, "{error}");
    assert!(transport.requests().len() < 30, "{error}");
    error
}

#[tokio::test]
async fn pages_that_do_not_add_up_end_the_listing() {
    let some = |from: usize, to: usize| (from..=to).map(user_of).collect::<Vec<_>>();
    // The same page for ever.
    fails(Paging::Index, move |_| page(&some(1, 10), 100, 1)).await;
    fails(Paging::Cursor, move |n| {
        Scripted::json(200, &json!({"Resources": some(1, 10), "nextCursor": format!("{n}")}))
    })
    .await;
    // The same cursor for ever, and in a circle.
    fails(Paging::Cursor, move |n| {
        Scripted::json(200, &json!({"Resources": some(n * 10, n * 10 + 9), "nextCursor": "x"}))
    })
    .await;
    fails(Paging::Cursor, move |n| {
        let next = ["a", "b", "c"][n % 3];
        Scripted::json(200, &json!({"Resources": some(n * 10, n * 10 + 9), "nextCursor": next}))
    })
    .await;
    // Nothing for ever.
    fails(Paging::Cursor, |n| {
        let next = format!("{n}");
        Scripted::json(200, &json!({"schemas": [urn::LIST_RESPONSE], "Resources": [], "nextCursor": next}))
    })
    .await;
    // Fewer than there are.
    fails(Paging::Index, move |n| if n == 1 { page(&some(1, 10), 12, 1) } else { page(&[], 12, 11) }).await;
    fails(Paging::Index, |_| page(&[], 12, 1)).await;
    fails(Paging::Cursor, move |_| page(&some(1, 10), 12, 1)).await;
    // Pages that overlap: the server counts from 0 or moves.
    fails(Paging::Index, move |n| match n {
        1 => page(&some(1, 10), 20, 1),
        _ => page(&some(10, 19), 20, 11),
    })
    .await;
    // One before was deleted: the one that moved up was not seen.
    fails(Paging::Index, move |n| match n {
        1 => page(&some(1, 10), 20, 1),
        _ => page(&some(12, 20), 19, 11),
    })
    .await;
}

#[tokio::test]
async fn one_more_before_is_seen_once() {
    let some = |from: usize, to: usize| (from..=to).map(user_of).collect::<Vec<_>>();
    let transport =
        MemoryTransport::new(move |request| match number(&parameters(request), "startIndex", 1) {
            1 => page(&some(1, 10), 20, 1),
            _ => page(&some(10, 20), 21, 11),
        });
    assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(20));
}

#[tokio::test]
async fn a_total_that_is_the_length_of_the_page_is_doubted() {
    // It says 100 where there are 150.
    let transport = MemoryTransport::new(|request| {
        let start = number(&parameters(request), "startIndex", 1);
        let here: Vec<_> = (1..=150).skip(start - 1).take(100).map(user_of).collect();
        page(&here, here.len(), start)
    });
    assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(150));
    // It means it.
    let transport = service(100, 100);
    assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(100));
    assert_eq!(counts(&transport, "startIndex"), ["1", "101"]);
    // It means it, and does not page.
    let transport = MemoryTransport::new(|_| page(&(1..=100).map(user_of).collect::<Vec<_>>(), 100, 1));
    assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(100));
}

#[tokio::test]
async fn a_filter_that_is_ignored_is_noticed() {
    let transport = MemoryTransport::new(|_| page(&[user_of(7), user_of(8)], 2, 1));
    let client = client(&transport, by(Paging::Index));
    let asked = || client.users().filter(user::user_name().eq("user9"));
    let error = asked().one().await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Protocol, "{error}");
    assert_eq!(*asked().all().await.unwrap_err().kind(), ErrorKind::Protocol);
    // Whoever looks for himself may have them.
    assert_eq!(asked().unverified().all().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_look_up_finds_one_or_says_why_not() {
    let transport = service(10, 100);
    let client = client(&transport, Dialect::rfc7644());
    let found = client.users().filter(user::user_name().eq("USER7")).one().await.unwrap().unwrap();
    assert_eq!(found.id(), Some(&ResourceId::new("id-7")));
    assert!(client.users().filter(user::user_name().eq("nobody")).one().await.unwrap().is_none());
    let error = client.users().filter(user::user_name().starts_with("user")).one().await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Ambiguous { matches: 10 });
    assert_eq!(transport.requests().len(), 3, "a look-up is one request");
    assert_eq!(counts(&transport, "count"), ["2", "2", "2"]);
}

#[tokio::test]
async fn what_a_dialect_cannot_say_is_filtered_here() {
    let transport = service(12, 100);
    let client = client(&transport, by(Paging::Index).with(|d| d.filters = FilterForm::EqualAnd));
    let found = client.users().filter(user::user_name().ends_with("2")).all().await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(!lists(&transport)[0].contains_key("filter"));
    let one = client.users().filter(user::user_name().ends_with("5")).one().await.unwrap().unwrap();
    assert_eq!(one.id(), Some(&ResourceId::new("id-5")));
}

#[tokio::test]
async fn what_the_filter_needs_is_asked_for() {
    let transport = service(3, 100);
    let client = client(&transport, by(Paging::Index));
    let query = || client.users().filter(user::user_name().eq("user1"));
    query().attributes(["displayName"]).all().await.unwrap();
    query().excluding(["userName", "groups"]).all().await.unwrap();
    assert_eq!(lists(&transport)[0]["attributes"], "displayName,userName");
    assert_eq!(lists(&transport)[1]["excludedAttributes"], "groups");
}

#[tokio::test]
async fn a_question_can_go_by_post() {
    let transport = service(3, 100);
    let client = client(&transport, by(Paging::Index).with(|d| d.sort = Support::Yes));
    let by_name = AttributePath::named("userName");
    client.users().list().sort_by(by_name, Order::Descending).by_post().all().await.unwrap();
    let request = &transport.requests()[0];
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v2/Users/.search"));
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(
        body,
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
            "sortBy": "userName", "sortOrder": "descending", "startIndex": 1, "count": 100,
        })
    );
    // Too long for a URL.
    let long = (0..500).map(|n| user::user_name().eq(format!("someone{n}"))).reduce(|a, b| a | b).unwrap();
    client.users().filter(long.clone()).unverified().all().await.unwrap();
    assert_eq!(transport.requests()[1].uri().path(), "/v2/Users/.search");
    let refused = client.dialect(by(Paging::Index).with(|d| d.search_post = Support::No));
    let error = refused.users().filter(long).all().await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn sorting_is_for_servers_that_sort() {
    let transport = MemoryTransport::new(|request| {
        if request.uri().path().ends_with("ServiceProviderConfig") {
            return Scripted::json(200, &json!({"schemas": ["x"], "sort": {"supported": false}}));
        }
        page(&[], 0, 1)
    });
    let client = client(&transport, Dialect::rfc7644());
    let sorted = client.users().list().sort_by(AttributePath::named("userName"), Order::Ascending);
    assert_eq!(*sorted.all().await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_404_is_an_empty_list_where_the_dialect_says_so() {
    let transport = MemoryTransport::new(|request| match request.uri().path() {
        "/v2/ServiceProviderConfig" => Scripted::json(200, &json!({"schemas": ["x"]})),
        _ => Scripted::error(404, None, "nothing found"),
    });
    let query = |client: &Client| client.users().filter(user::user_name().eq("x"));
    let strict = client(&transport, by(Paging::Index));
    assert_eq!(*query(&strict).one().await.unwrap_err().kind(), ErrorKind::NotFound);
    let lenient = strict.dialect(by(Paging::Index).with(|d| d.not_found_is_empty = true));
    assert!(query(&lenient).one().await.unwrap().is_none());
    // There is no such endpoint; that is not an empty one.
    assert_eq!(*lenient.users().list().all().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_page_arrives_in_any_pieces() {
    for pieces in [1, 2, 7, 64, 1_000_000] {
        let transport = MemoryTransport::new(move |_| {
            page(&(1..=20).map(user_of).collect::<Vec<_>>(), 20, 1).in_pieces(pieces)
        });
        assert_eq!(names(&client(&transport, by(Paging::Index))).await.unwrap(), expected(20));
    }
}

#[tokio::test]
async fn a_page_that_breaks_off_gives_no_end() {
    let transport = MemoryTransport::new(|_| {
        page(&(1..=20).map(user_of).collect::<Vec<_>>(), 20, 1).breaks_after(700, Connectivity::Reset)
    });
    let client = client(&transport, by(Paging::Index));
    let error = names(&client).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnknownOutcome(Connectivity::Reset));
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn what_is_not_a_list_is_named_with_its_place() {
    let transport = MemoryTransport::new(|_| {
        Scripted::bytes(
            200,
            "application/scim+json",
            r#"{"Resources": [{"id": "1"}, {"id": "2", "userName": {"a": 1}}]}"#,
        )
    });
    let error = names(&client(&transport, by(Paging::Index))).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("Resources[1].userName"), "{error}");
    let login = MemoryTransport::new(|_| Scripted::bytes(200, "text/html", "<html>"));
    let error = names(&client(&login, by(Paging::Index))).await.unwrap_err();
    assert_eq!(error.advice(), scim_client::Advice::StopConnector);
}

#[tokio::test]
async fn a_listing_has_a_limit() {
    let transport = service(50, 20);
    let client = client(&transport, by(Paging::Index));
    assert_eq!(client.users().list().at_most(50).all().await.unwrap().len(), 50);
    let error = client.users().list().at_most(49).all().await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn what_a_service_says_of_itself_is_asked_for_once() {
    for (config, schemas) in [
        (json!({"schemas": ["x"], "patch": {"supported": true}}), json!([{"id": "urn:a", "name": "A"}])),
        (
            json!({"totalResults": 1, "Resources": [{"schemas": ["x"], "patch": {"supported": "True"}}]}),
            json!({"totalResults": 1, "Resources": [{"id": "urn:a", "name": "A"}]}),
        ),
    ] {
        let transport = MemoryTransport::new(move |request| match request.uri().path() {
            "/v2/ServiceProviderConfigs" => Scripted::json(200, &config),
            "/v2/Schemas" => Scripted::json(200, &schemas),
            "/v2/Users" => page(&[], 0, 1),
            _ => Scripted::status(404),
        });
        let client = client(&transport, Dialect::rfc7644());
        let config = client.service_provider_config().await.unwrap();
        assert_eq!(config.patch.as_ref().unwrap().supported, Some(true));
        assert_eq!(client.schemas().await.unwrap().len(), 1);
        let types = client.resource_types().await.unwrap();
        assert_eq!(
            types.iter().map(|kind| kind.endpoint.as_deref().unwrap()).collect::<Vec<_>>(),
            ["/Users", "/Groups"]
        );
        let before = transport.requests().len();
        client.service_provider_config().await.unwrap();
        client.schemas().await.unwrap();
        client.resource_types().await.unwrap();
        assert_eq!(transport.requests().len(), before);
        client.forget_discovery();
        client.schemas().await.unwrap();
        assert_eq!(transport.requests().len(), before + 1);
    }
}

/// How a server can be wrong about its pages.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Nothing,
    /// The page at this request leaves its last one out.
    LosesOne(usize),
    /// Counts from 0.
    FromZero,
    /// Gives the same page whatever is asked.
    IgnoresStart,
    /// Takes the start for the number of the page.
    StartIsPage,
    /// Says of each page how many there are on it.
    TotalIsOfPage,
    /// Says nothing of a total.
    NoTotal,
    /// One less from this request on, taken from before.
    Deletes(usize),
    /// One more at the front from this request on.
    Inserts(usize),
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        Just(Wrong::Nothing),
        (1..5_usize).prop_map(Wrong::LosesOne),
        Just(Wrong::FromZero),
        Just(Wrong::IgnoresStart),
        Just(Wrong::StartIsPage),
        Just(Wrong::TotalIsOfPage),
        Just(Wrong::NoTotal),
        (2..5_usize).prop_map(Wrong::Deletes),
        (2..5_usize).prop_map(Wrong::Inserts),
    ]
}

proptest! {
    /// Whatever the server does, a listing that ends well held all that was there throughout, each once.
    #[test]
    fn a_listing_that_ends_well_is_whole(
        total in 0..60_usize, asked in 1..25_usize, page_max in 1..25_usize, wrong in wrong(),
    ) {
        // A page that the server cuts and calls everything is beyond finding out.
        prop_assume!(!matches!(wrong, Wrong::TotalIsOfPage) || page_max >= asked && asked > 1);
        let calls = Mutex::new(0);
        let transport = MemoryTransport::new(move |request| {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            let parameters = parameters(request);
            let mut all: Vec<usize> = (1..=total).collect();
            match wrong {
                Wrong::Deletes(at) if *calls >= at && !all.is_empty() => { all.remove(0); }
                Wrong::Inserts(at) if *calls >= at => all.insert(0, 0),
                _ => {}
            }
            let count = number(&parameters, "count", page_max).min(page_max);
            let start = number(&parameters, "startIndex", 1);
            let skip = match wrong {
                Wrong::FromZero => start,
                Wrong::IgnoresStart => 0,
                Wrong::StartIsPage => (start - 1) * count,
                _ => start - 1,
            };
            let mut here: Vec<usize> = all.iter().copied().skip(skip).take(count).collect();
            if matches!(wrong, Wrong::LosesOne(at) if at == *calls) {
                here.pop();
            }
            let said = if matches!(wrong, Wrong::TotalIsOfPage) { here.len() } else { all.len() };
            let resources: Vec<_> = here.into_iter().map(user_of).collect();
            let mut list = json!({"schemas": [urn::LIST_RESPONSE], "Resources": resources, "totalResults": said});
            if matches!(wrong, Wrong::NoTotal) {
                list.as_object_mut().unwrap().remove("totalResults");
            }
            Scripted::json(200, &list)
        });
        let client = client(&transport, by(Paging::Index));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listed = runtime.block_on(client.users().list().page_size(asked).all());
        prop_assert!(transport.requests().len() <= 2 * total + 10);
        match listed {
            Ok(listed) => {
                let mut ids: Vec<_> = listed.iter().map(|user| user.id().unwrap().to_string()).collect();
                let given = ids.len();
                ids.sort();
                ids.dedup();
                prop_assert_eq!(ids.len(), given, "one came twice");
                let first = if matches!(wrong, Wrong::Deletes(_)) { 2 } else { 1 };
                for n in first..=total {
                    prop_assert!(ids.contains(&format!("id-{n}")), "{n} is missing, {wrong:?}");
                }
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), &ErrorKind::Paging, "{}", error);
                prop_assert!(!matches!(wrong, Wrong::Nothing | Wrong::TotalIsOfPage | Wrong::NoTotal), "{wrong:?}: {error}");
            }
        }
    }
}
