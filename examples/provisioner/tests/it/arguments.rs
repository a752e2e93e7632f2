use crate::fake::{Fake, Manner};
use crate::golden;
use crate::run::{provisioner, scim, scim_json};

const URL: &str = "http://127.0.0.1:1/scim";

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    for arguments in [
        &[][..],
        &["scim"],
        &["scim", "frobnicate"],
        &["scim", "probe"],
        &["scim", "probe", "app.example.com/scim"],
        &["scim", "probe", "ftp://app.example.com"],
        &["scim", "probe", URL, "--dialect", "martian"],
        &["scim", "probe", URL, "--timeout", "0"],
        &["scim", "probe", URL, "--ca", "/nowhere"],
        &["scim", "probe", URL, "--ca", "/etc/hostname"],
        &["scim", "get", URL, ""],
        &["scim", "get", URL, "users"],
        &["scim", "list", URL, "users/1"],
        &["scim", "list", URL, "users", "--descending"],
        &["scim", "patch", URL, "users/1"],
        &["scim", "patch", URL, "users", "--set", "title=x"],
        &["scim", "patch", URL, "users/1", "--file", "/nowhere"],
        &["scim", "patch", URL, "users/1", "--file", "-", "--set", "title=x"],
        &[
            "scim",
            "patch",
            URL,
            "users/1",
            "--set",
            "title=x",
            "--if-match=never",
            "--dialect",
            "interop-profile",
        ],
    ] {
        let said = provisioner(arguments, &[], "");
        assert_eq!(said.status, 2, "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty() && said.out.is_empty(), "{arguments:?}: {said:?}");
    }
    for arguments in [&["--help"][..], &["scim", "--help"]] {
        let help = provisioner(arguments, &[], "");
        assert_eq!(help.status, 0);
        for word in ["Examples:", "Exit status:", "SCIM_TOKEN"] {
            assert!(help.out.contains(word), "{word}");
        }
    }
    for verb in ["probe", "get", "list", "search", "patch"] {
        assert_eq!(provisioner(&["scim", verb, "--help"], &[], "").status, 0);
    }
    assert_eq!(provisioner(&["--version"], &[], "").status, 0);
}

#[test]
fn mistakes_in_filters_and_paths_point_at_the_column() {
    let fake = Fake::start(Manner::Simple);
    let base = fake.base();
    let said = [
        scim(&["list", &base, "users", "--filter", "userName qe \"x\""]),
        scim(&["search", &base, "--filter", "été eq 1"]),
        scim(&["list", &base, "users", "--attributes", "userName,na me"]),
        scim(&["patch", &base, "users/1", "--remove", "emails[type eq \"work\""]),
        scim(&["patch", &base, "users/1", "--set", "title"]),
        scim(&["patch", &base, "users/1", "--set", "members=[{\"value\":]"]),
    ];
    assert!(said.iter().all(|said| said.status == 2), "{said:?}");
    golden::check("mistakes.txt", &said.map(|said| said.err).concat());
    // Nothing is sent for what makes no sense.
    assert!(fake.requests().is_empty(), "{:?}", fake.requests());
    let error = scim_json(&["list", &base, "users", "--filter", "userName qe \"x\""]).error();
    assert_eq!((error["column"].as_u64(), error["exit_status"].as_u64()), (Some(10), Some(2)), "{error}");
}

#[test]
fn errors_are_json_where_that_was_asked_for() {
    for arguments in [&["--json", "scim", "probe", "nowhere"][..], &["scim", "frobnicate", "--json"]] {
        let said = provisioner(arguments, &[], "");
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{said:?}");
        assert_eq!(said.error()["result"], "error", "{said:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let fake = Fake::start(Manner::Simple);
    let mut child = Command::new(env!("CARGO_BIN_EXE_provisioner"))
        .args(["scim", "list", &fake.base(), "users"])
        .env("SCIM_TOKEN", crate::run::TOKEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}
