//! What is wrong is told apart, each with its exit status.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use testbed::fault::{Fault, FaultProxy, Reply, RetryAfter};
use testbed::http::Answer;
use testbed::{Stub, free_port};

use crate::fake::{Fake, Manner};
use crate::golden;
use crate::run::{provisioner, scim, scim_json};

/// The exit status of each verb against one address.
fn statuses(base: &str) -> Vec<i32> {
    let verbs: [&[&str]; 5] = [
        &["probe", base],
        &["get", base, "users/1"],
        &["list", base, "users"],
        &["search", base, "users"],
        &["patch", base, "users/1", "--set", "title=x"],
    ];
    verbs.map(|verb| scim(&[verb, &["--timeout", "5"]].concat()).status).to_vec()
}

fn pages(status: u16, page: &'static str) -> Stub {
    Stub::start(move |_| Answer::new(status, "text/html; charset=utf-8", page)).unwrap()
}

#[test]
fn nothing_at_the_address_is_3() {
    let base = format!("http://127.0.0.1:{}/scim/v2", free_port().unwrap());
    assert_eq!(statuses(&base), [3; 5]);
    golden::check("unreachable.txt", &scim(&["list", &base, "users"]).err);
    let said = scim_json(&["list", &base, "users"]);
    assert_eq!((said.status, said.error()["cause"].as_str()), (3, Some("unreachable")));
    let said = scim(&["list", "http://nowhere.invalid/", "users", "--plain-http"]);
    assert_eq!(said.status, 3, "{said:?}");
}

#[test]
fn a_server_that_speaks_no_tls_or_no_http_is_3() {
    // Answers anything with a line and goes away.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"220 mail.example.com ready\r\n\r\n");
        }
    });
    let said = scim(&["list", &format!("https://127.0.0.1:{port}/"), "users"]);
    assert_eq!(said.status, 3, "{said:?}");
    let said = scim(&["list", &format!("http://127.0.0.1:{port}/"), "users"]);
    assert_eq!(said.status, 3, "{said:?}");
}

#[test]
fn silence_is_3_for_who_reads() {
    let fake = Fake::start(Manner::Simple);
    let addr = fake.base().trim_start_matches("http://").trim_end_matches("/scim/v2").parse().unwrap();
    let proxy = FaultProxy::start(addr).unwrap();
    proxy.choose(|_| Fault::instead(Reply::Silence));
    let said = scim(&["get", &format!("http://{}/scim/v2", proxy.addr()), "users/1", "--timeout", "0.2"]);
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.err.contains("nothing came in time"), "{said:?}");
}

#[test]
fn a_refused_credential_is_4() {
    let fake = Fake::start(Manner::Simple);
    let base = fake.base();
    let wrong = provisioner(&["scim", "list", &base, "users"], &[("SCIM_TOKEN", "wrong-token")], "");
    assert_eq!(wrong.status, 4, "{wrong:?}");
    golden::check("refused.txt", &wrong.err);
    let none = provisioner(&["scim", "list", &base, "users"], &[], "");
    assert_eq!(none.status, 4, "{none:?}");
    golden::check("no-credential.txt", &none.err);
    let probe = provisioner(&["scim", "probe", &base], &[("SCIM_TOKEN", "wrong-token")], "");
    assert_eq!(probe.status, 4, "{probe:?}");
    // What is refused is not shown again and again: some services lock whoever does.
    let shown = fake.requests().len();
    assert!(shown <= 2 + 2 + 3, "{:?}", fake.requests());
}

#[test]
fn forbidden_is_4() {
    let stub = Stub::start(|_| Answer::new(403, "application/scim+json", "{}")).unwrap();
    assert_eq!(scim(&["get", &format!("http://{}", stub.addr()), "users/1"]).status, 4);
}

#[test]
fn a_page_to_sign_in_is_4_and_any_other_page_is_5() {
    const SIGN_IN: &str = "<!doctype html><title>Sign in</title><form><input type=password name=p></form>";
    let stub = pages(200, SIGN_IN);
    let base = format!("http://{}/scim/v2", stub.addr());
    assert_eq!(statuses(&base), [4; 5]);
    golden::check("sign-in.txt", &scim(&["list", &base, "users"]).err);

    for (status, page) in
        [(200, "<html><title>It works!</title></html>"), (404, "<html>404 Not Found</html>")]
    {
        let stub = pages(status, page);
        assert_eq!(statuses(&format!("http://{}/", stub.addr())), [5; 5], "{status}");
    }
    let stub = pages(200, "<html><title>It works!</title></html>");
    golden::check("web-page.txt", &scim(&["list", &format!("http://{}/", stub.addr()), "users"]).err);
    let stub = pages(404, "<html>404 Not Found</html>");
    golden::check("no-service.txt", &scim(&["list", &format!("http://{}/", stub.addr()), "users"]).err);
}

#[test]
fn json_that_is_not_scim_is_5() {
    let stub = Stub::start(|_| Answer::new(200, "application/json", r#"{"hello":"world"}"#)).unwrap();
    assert_eq!(statuses(&format!("http://{}/", stub.addr())), [5; 5]);
    let stub = Stub::start(|_| Answer::new(404, "application/json", r#"{"message":"no route"}"#)).unwrap();
    assert_eq!(statuses(&format!("http://{}/", stub.addr())), [5; 5]);
}

#[test]
fn a_redirect_elsewhere_is_not_followed() {
    let other = Stub::start(|request| {
        assert!(request.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("authorization")));
        Answer::new(200, "text/html", "<html></html>")
    })
    .unwrap();
    let to = format!("http://{}/", other.addr());
    let stub =
        Stub::start(move |_| Answer::new(302, "text/plain", "").header("location", to.clone())).unwrap();
    let said = scim(&["list", &format!("http://{}/", stub.addr()), "users"]);
    assert_eq!(said.status, 5, "{said:?}");
    let stub = Stub::start(|_| {
        Answer::new(302, "text/plain", "").header("location", "https://idp.example.com/login")
    })
    .unwrap();
    assert_eq!(scim(&["list", &format!("http://{}/", stub.addr()), "users"]).status, 4);
}

#[test]
fn what_is_not_there_is_6_where_the_service_is() {
    let fake = Fake::start(Manner::Simple);
    let said = scim(&["get", &fake.base(), "users/nobody"]);
    assert_eq!(said.status, 6, "{said:?}");
    golden::check("not-found.txt", &said.err);
    assert_eq!(scim(&["list", &fake.base(), "Devices"]).status, 6);
}

#[test]
fn a_base_that_names_a_kind_is_explained() {
    let fake = Fake::start(Manner::Simple);
    let said = scim(&["list", &format!("{}/Users", fake.base()), "users"]);
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.err.contains("leave `/Users` off"), "{said:?}");
}

#[test]
fn a_change_without_an_answer_is_7() {
    let fake = Fake::start(Manner::Simple);
    let addr = fake.base().trim_start_matches("http://").trim_end_matches("/scim/v2").parse().unwrap();
    let proxy = FaultProxy::start(addr).unwrap();
    proxy.choose(|request| match request.method.as_str() {
        "PATCH" => Fault::after(Reply::Silence),
        _ => Fault::PASS,
    });
    let base = format!("http://{}/scim/v2", proxy.addr());
    let said = scim(&["patch", &base, "users/1", "--set", "title=x", "--timeout", "0.3"]);
    assert_eq!(said.status, 7, "{said:?}");
    assert!(said.err.contains("it may have happened"), "{said:?}");
}

#[test]
fn a_server_that_fails_or_wants_time_is_1() {
    let fake = Fake::start(Manner::Simple);
    let addr = fake.base().trim_start_matches("http://").trim_end_matches("/scim/v2").parse().unwrap();
    let proxy = FaultProxy::start(addr).unwrap();
    let base = format!("http://{}/scim/v2", proxy.addr());
    proxy.choose(|_| Fault::instead(Reply::Status(500, None)));
    assert_eq!(scim(&["get", &base, "users/1"]).status, 1);
    proxy.choose(|_| Fault::instead(Reply::Status(429, Some(RetryAfter::Seconds(7200)))));
    let said = scim(&["get", &base, "users/1"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("again in"), "{said:?}");
}

#[test]
fn nothing_a_server_says_acts_on_a_terminal() {
    let fake = Fake::start(Manner::Simple);
    for arguments in [&["list", "URL", "users"][..], &["get", "URL", "users/a/b%"], &["probe", "URL"]] {
        let base = fake.base();
        let arguments: Vec<&str> =
            arguments.iter().map(|&argument| if argument == "URL" { &base } else { argument }).collect();
        for said in [scim(&arguments), scim_json(&arguments)] {
            assert_eq!(said.status, 0, "{said:?}");
            let text = said.out + &said.err;
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
    }
    assert!(scim(&["list", &fake.base(), "users"]).out.contains("bob\\x1b[2J@"));
    let hostile = Stub::start(|_| {
        let body =
            "{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:Error\"],\"detail\":\"\\u001b[2Jgone\"}";
        Answer::new(400, "application/scim+json", body)
    })
    .unwrap();
    let said = scim(&["get", &format!("http://{}", hostile.addr()), "users/1"]);
    assert!(!said.err.contains('\u{1b}') && said.status == 1, "{said:?}");
}
