use serde_json::json;

use crate::fake::{Fake, Manner};
use crate::golden;
use crate::run::{TOKEN, provisioner, scim, scim_json};

#[test]
fn a_dry_run_shows_what_each_dialect_would_send_and_sends_nothing() {
    let fake = Fake::start(Manner::Simple);
    let mut shown = String::new();
    for dialect in ["rfc7644", "entra", "okta", "sap-s4hana-cloud"] {
        let base = fake.base();
        let asked = [
            "patch",
            &base,
            "users/1",
            "--set",
            "active=false",
            "--set",
            "title=Engineer",
            "--dry-run",
            "--dialect",
            dialect,
        ];
        let said = scim(&asked);
        assert_eq!(said.status, 0, "{said:?}");
        shown += &format!("== {dialect}\n{}", said.out);
    }
    golden::check("dry-run.txt", &shown);
    assert!(fake.patches().is_empty());
}

#[test]
fn what_a_dry_run_shows_is_what_is_sent() {
    for dialect in ["rfc7644", "entra", "okta"] {
        let fake = Fake::start(Manner::Simple);
        let base = fake.base();
        let asked = [
            "patch",
            &base,
            "users/1",
            "--set",
            "active=false",
            "--remove",
            "name",
            "--if-match",
            "--dialect",
            dialect,
        ];
        let dry = scim_json(&[&asked[..], &["--dry-run"]].concat()).json();
        let done = scim_json(&asked);
        assert_eq!(done.status, 0, "{done:?}");
        assert_eq!(
            dry.iter().map(|line| line["body"].clone()).collect::<Vec<_>>(),
            fake.patches(),
            "{dialect}"
        );
        assert_eq!(
            fake.patch_headers("if-match"),
            [dry[0]["headers"]["if-match"].as_str().unwrap()],
            "{dialect}"
        );
        assert_eq!(fake.patch_headers("content-type"), ["application/scim+json"]);
    }
}

#[test]
fn what_changed_is_shown_as_it_was_read_afterwards() {
    let fake = Fake::start(Manner::Simple);
    let change = ["patch", &fake.base(), "users/1", "--set", "active=false", "--set", "title=Engineer"];
    let first = scim(&change);
    let again = scim(&change);
    assert_eq!((first.status, again.status), (0, 0), "{first:?}");
    golden::check("patch.txt", &(first.out + &again.out));
    let read = scim_json(&change).json();
    assert_eq!((&read[0]["active"], &read[0]["title"]), (&json!(false), &json!("Engineer")));
}

#[test]
fn a_server_that_says_yes_and_does_nothing_is_found_out() {
    let fake = Fake::start(Manner::Idle);
    let said = scim(&["patch", &fake.base(), "users/1", "--set", "active=false"]);
    assert_eq!(said.status, 1, "{said:?}");
    golden::check("idle.txt", &said.err);
    // A password is never shown, so nothing can be missed there.
    let said = scim(&["patch", &fake.base(), "users/1", "--set", "password=hunter22"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(!said.out.contains("hunter22") && !said.err.contains("hunter22"), "{said:?}");
}

#[test]
fn a_change_for_another_version_is_8() {
    let fake = Fake::start(Manner::Simple);
    let base = fake.base();
    let with = |tag: &str| scim(&["patch", &base, "users/1", "--set", "title=x", tag]);
    assert_eq!(with("--if-match=W/\"0\"").status, 8);
    assert_eq!(with("--if-match=no tag").status, 2);
    assert_eq!(with("--if-match").status, 0);
    assert_eq!(fake.patch_headers("if-match"), ["W/\"0\"", "W/\"1\""]);
}

#[test]
fn operations_come_from_a_file_too() {
    let fake = Fake::start(Manner::Simple);
    let patch = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations":[{"op":"Replace","value":{"title":"Boss"}}]}"#;
    let asked = ["scim", "patch", &fake.base(), "users/1", "--file", "-"];
    let from = |input: &str| provisioner(&asked, &[("SCIM_TOKEN", TOKEN)], input);
    assert_eq!(from(patch).status, 0);
    assert_eq!(fake.patches()[0]["Operations"], json!([{"op": "replace", "path": "title", "value": "Boss"}]));
    for (input, why) in [
        ("{\"Operations\":[{\"op\":\"replace\",\n \"path\":\"a b\"}]}", "line 2"),
        ("", "nothing is there"),
        ("{}", "no operation"),
        ("[1]", "expected"),
    ] {
        let said = from(input);
        assert_eq!(said.status, 2, "{input}: {said:?}");
        assert!(said.err.contains(why), "{input}: {said:?}");
    }
    assert_eq!(fake.patches().len(), 1);
}
