//! Real SCIM servers.

use testbed::http::{Answer, Request};
use testbed::{Error, ScimServer};

const USER: &str =
    r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"bjensen","active":true}"#;

fn send(server: &ScimServer, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::new(method, format!("{}{path}", server.path()))
        .header("authorization", format!("Bearer {}", server.token()));
    let request = if body.is_empty() { request } else { request.scim(body) };
    request.send(server.addr()).unwrap()
}

fn takes_a_user(server: &ScimServer) {
    let refused = Request::new("GET", format!("{}/Users", server.path())).send(server.addr()).unwrap();
    assert_eq!(refused.status, 401, "{server:?}");
    assert_eq!(send(server, "POST", "/Users", USER).status, 201, "{server:?}: {}", server.log());
    assert_eq!(send(server, "POST", "/Users", USER).status, 409, "{server:?}");
    let listed = send(server, "GET", "/Users", "");
    assert!(String::from_utf8_lossy(&listed.body).contains("bjensen"), "{listed:?}");
}

#[test]
#[ignore = "needs scim2-server: cargo xtask test"]
fn scim2_server_takes_a_user() {
    takes_a_user(&ScimServer::scim2_server().unwrap());
}

#[test]
#[ignore = "needs scim2-server: cargo xtask test"]
fn scim2_server_pages_by_cursor_where_asked() {
    let server = ScimServer::scim2_server_with_cursor().unwrap();
    takes_a_user(&server);
    assert_eq!(send(&server, "POST", "/Users", &USER.replace("bjensen", "ajensen")).status, 201);
    let page = send(&server, "GET", "/Users?cursor&count=1", "");
    assert!(String::from_utf8_lossy(&page.body).contains("nextCursor"), "{page:?}");
}

#[test]
#[ignore = "needs scimmy-routers: cargo xtask test"]
fn scimmy_takes_a_user() {
    takes_a_user(&ScimServer::scimmy().unwrap());
}

#[test]
#[ignore = "needs scimmy-routers: cargo xtask test"]
fn a_server_goes_when_it_is_dropped() {
    let server = ScimServer::scimmy().unwrap();
    let addr = server.addr();
    drop(server);
    assert!(Request::new("GET", "/scim/v2/Users").send(addr).is_err());
}

#[test]
fn says_how_to_get_what_is_missing() {
    let toolbox = testbed::Toolbox::in_target(std::path::Path::new("/nowhere"));
    let error = toolbox.python().unwrap_err();
    assert!(matches!(error, Error::NotPrepared { .. }), "{error}");
    assert!(error.to_string().contains("cargo xtask test --only tools"), "{error}");
}
