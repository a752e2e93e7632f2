use testbed::{Error, Program, free_port, run};

#[test]
fn names_the_debian_package_of_a_missing_program() {
    let missing = Program::find("no-such-program-here", "some-package").unwrap_err();
    assert_eq!(missing.to_string(), "`no-such-program-here` is not installed: apt-get install some-package");
}

#[test]
fn finds_an_installed_program_by_absolute_path() {
    let sh = Program::find("sh", "dash").unwrap();
    assert!(sh.path().is_absolute());
}

#[test]
fn reports_what_a_failing_program_said() {
    match run("sh", "dash", ["-c", "echo broken >&2; exit 3"]) {
        Err(Error::Failed { stderr, .. }) => assert_eq!(stderr, "broken\n"),
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn free_ports_can_be_bound() {
    let port = free_port().unwrap();
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
}
