use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use testbed::Stub;
use testbed::http::Answer;

use crate::fake::{Fake, Manner};
use crate::run::{TOKEN, provisioner};

/// A file with these contents that this many may read.
fn file(contents: &str, mode: u32) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn a_token_comes_from_a_file_which_others_should_not_read() {
    let fake = Fake::start(Manner::Simple);
    let get =
        |path: &str| provisioner(&["scim", "get", &fake.base(), "users/1", "--token-file", path], &[], "");
    let (_kept, path) = file(&format!("{TOKEN}\n"), 0o600);
    let said = get(&path);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    let (_kept, path) = file(TOKEN, 0o644);
    let said = get(&path);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.err.contains("mode 0644") && said.err.contains("chmod 600"), "{said:?}");
    assert!(!said.err.contains(TOKEN));
}

#[test]
fn secrets_that_cannot_be_are_refused_with_their_place() {
    let fake = Fake::start(Manner::Simple);
    for (contents, why) in
        [("\n", "nothing is in it"), ("a\nb", "more than one line"), ("a\u{7}b", "control character")]
    {
        let (_kept, path) = file(contents, 0o600);
        let said = provisioner(&["scim", "get", &fake.base(), "users/1", "--token-file", &path], &[], "");
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.err.contains(why) && said.err.contains(&path), "{said:?}");
    }
    let said = provisioner(&["scim", "get", &fake.base(), "users/1", "--token-file", "/nowhere"], &[], "");
    assert_eq!(said.status, 2, "{said:?}");
    let said = provisioner(&["scim", "get", &fake.base(), "users/1", "--user", "ann"], &[], "");
    assert_eq!(said.status, 2, "{said:?}");
    let said = provisioner(
        &["scim", "get", &fake.base(), "users/1", "--user", "ann", "--token-file", "x"],
        &[("SCIM_PASSWORD", "hunter22")],
        "",
    );
    assert!(said.status == 2 && said.err.contains("choose one"), "{said:?}");
    assert!(fake.requests().is_empty());
}

#[test]
fn a_credential_is_not_sent_without_encryption_to_another_machine() {
    let arguments = ["scim", "get", "http://scim.example.invalid/", "users/1"];
    let said = provisioner(&arguments, &[("SCIM_TOKEN", TOKEN)], "");
    assert!(said.status == 2 && said.err.contains("--plain-http"), "{said:?}");
}

#[test]
fn basic_and_oauth_get_their_secrets_from_elsewhere() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let stub = Stub::start(move |request| {
        let header = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let shown = header.map(|(_, value)| value.clone()).unwrap_or_default();
        heard.lock().unwrap().push(format!("{} {shown}", request.path()));
        if request.path() == "/token" {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            assert!(body.contains("grant_type=client_credentials") && body.contains("scope=scim"), "{body}");
            return Answer::new(
                200,
                "application/json",
                r#"{"access_token":"made","token_type":"Bearer","expires_in":60}"#,
            );
        }
        Answer::new(200, "application/scim+json", r#"{"id":"1","userName":"ann"}"#)
    })
    .unwrap();
    let base = format!("http://{}/scim", stub.addr());
    let said = provisioner(
        &["scim", "get", &base, "users/1", "--user", "admin"],
        &[("SCIM_PASSWORD", "hunter22")],
        "",
    );
    assert_eq!(said.status, 0, "{said:?}");
    let token_url = format!("http://{}/token", stub.addr());
    let oauth =
        ["--oauth-token-url", &token_url, "--oauth-client-id", "provisioner", "--oauth-scope", "scim"];
    let said = provisioner(
        &[&["scim", "get", &base, "users/1"][..], &oauth].concat(),
        &[("SCIM_CLIENT_SECRET", "hunter22")],
        "",
    );
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "/scim/Users/1 Basic YWRtaW46aHVudGVyMjI=",
            "/token Basic cHJvdmlzaW9uZXI6aHVudGVyMjI=",
            "/scim/Users/1 Bearer made",
        ]
    );
}

#[test]
fn a_token_endpoint_that_says_no_is_4() {
    let stub =
        Stub::start(|_| Answer::new(401, "application/json", r#"{"error":"invalid_client"}"#)).unwrap();
    let url = format!("http://{}/token", stub.addr());
    let said = provisioner(
        &["scim", "get", &url, "users/1", "--oauth-token-url", &url, "--oauth-client-id", "x"],
        &[("SCIM_CLIENT_SECRET", "hunter22")],
        "",
    );
    assert_eq!(said.status, 4, "{said:?}");
}
