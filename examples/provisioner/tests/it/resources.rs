use crate::fake::{Fake, Manner};
use crate::golden;
use crate::run::{scim, scim_json};

#[test]
fn lists_are_tables_for_people_and_lines_of_json_for_programs() {
    let fake = Fake::start(Manner::Simple);
    let base = fake.base();
    golden::check("list.txt", &scim(&["list", &base, "users"]).out);
    golden::check(
        "list-attributes.txt",
        &scim(&["list", &base, "USERS", "--attributes", "userName,name.familyName"]).out,
    );
    let lines = scim_json(&["list", &base, "users"]).json();
    assert_eq!(lines.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "a/b%"]);
    assert_eq!(scim_json(&["list", &base, "users", "--limit", "1"]).json().len(), 1);
    assert_eq!(scim_json(&["list", &base, "users", "--limit", "0"]).json().len(), 0);
    assert_eq!(scim_json(&["list", &base, "users", "--count", "1"]).json().len(), 2);
    assert!(
        fake.requests().iter().any(|request| request.contains("startIndex=2&count=1")),
        "{:?}",
        fake.requests()
    );
    let nobody = scim(&["list", &base, "users", "--filter", "userName eq \"nobody\""]);
    assert_eq!((nobody.status, nobody.out.as_str(), nobody.err.as_str()), (0, "", "nothing found\n"));
}

#[test]
fn one_resource_is_shown_whatever_its_id_holds() {
    let fake = Fake::start(Manner::Simple);
    golden::check("get.txt", &scim(&["get", &fake.base(), "users/1"]).out);
    let said = scim_json(&["get", &fake.base(), "/Users/a/b%"]);
    assert_eq!(said.json()[0]["id"], "a/b%", "{said:?}");
    assert!(fake.requests().contains(&"GET /scim/v2/Users/a%2Fb%25".to_owned()), "{:?}", fake.requests());
    let config = scim_json(&["get", &fake.base(), "serviceproviderconfig"]);
    assert_eq!(config.json()[0]["filter"]["maxResults"], 50, "{config:?}");
}

#[test]
fn a_server_that_ignores_filters_is_found_out_unless_that_is_wanted() {
    let fake = Fake::start(Manner::Careless);
    let asked = ["list", &fake.base(), "users", "--filter", "userName eq \"nobody\""];
    let said = scim(&asked);
    assert_eq!((said.status, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("ignores the filter"), "{said:?}");
    let said = scim_json(&[&asked[..], &["--unverified"]].concat());
    assert_eq!((said.status, said.json().len()), (0, 2), "{said:?}");
}

#[test]
fn a_filter_that_the_server_cannot_read_is_asked_for_in_parts() {
    let fake = Fake::start(Manner::Simple);
    let filter = "userName eq \"ann@example.com\" and name.familyName sw \"Ex\"";
    let asked = ["list", &fake.base(), "users", "--filter", filter, "--dialect", "okta"];
    let said = scim_json(&asked);
    assert_eq!((said.status, said.json().len()), (0, 1), "{said:?}");
    assert_eq!(scim(&asked[..5]).status, 1);
}

#[test]
fn where_there_is_no_search_that_is_said() {
    let fake = Fake::start(Manner::Simple);
    let said = scim(&["search", &fake.base(), "users", "--dialect", "aws-identity-center"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("no `/.search`"), "{said:?}");
    assert!(fake.requests().iter().all(|request| !request.contains(".search")), "{:?}", fake.requests());
}
