//! Against real servers.

use serde_json::{Value, json};
use testbed::ScimServer;
use testbed::fault::{Fault, FaultProxy, Reply, RetryAfter};
use testbed::http::Request;

use crate::config::secret;
use crate::golden;
use crate::run::{scim, scim_json};
use crate::stage::{Service, Stage};

fn servers() -> [ScimServer; 2] {
    [ScimServer::scim2_server().unwrap(), ScimServer::scimmy().unwrap()]
}

/// Some users, and the identifier of the first.
fn people(server: &ScimServer) -> String {
    let mut first = None;
    for name in ["ann", "bob", "cleo"] {
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("{name}@example.com"),
            "externalId": format!("hr-{name}"), "displayName": name, "active": true, "name": {"familyName": "Example"},
            "emails": [{"value": format!("{name}@example.com"), "type": "work", "primary": true}],
        });
        let request = Request::new("POST", format!("{}/Users", server.path()))
            .header("authorization", format!("Bearer {}", server.token()))
            .scim(user.to_string());
        let answer = request.send(server.addr()).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        let made: Value = serde_json::from_slice(&answer.body).unwrap();
        first.get_or_insert(made["id"].as_str().unwrap().to_owned());
    }
    first.unwrap()
}

fn count(base: &str, kind: &str) -> usize {
    let said = scim_json(&["list", base, kind]);
    assert_eq!(said.status, 0, "{said:?}");
    said.json().len()
}

#[test]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
fn a_probe_says_what_each_server_does() {
    for server in servers() {
        people(&server);
        for (options, how, requests) in [(&[][..], "reads", 34), (&["--write"], "writes", 82)] {
            let said = scim(&[&["probe", &server.base_url()], options].concat());
            assert_eq!(said.status, 0, "{said:?}");
            let out = sent_again(&said.out, requests);
            golden::check(&format!("probe-{}-{how}.txt", server.name()), &out);
        }
        assert_eq!((count(&server.base_url(), "users"), count(&server.base_url(), "groups")), (3, 0));
    }
}

/// The text with the usual number of requests: scimmy often closes a connection behind a refusal, and the next request is then sent
/// again, a few times at the most.
fn sent_again(text: &str, usual: u32) -> String {
    let (before, rest) = text.rsplit_once(" requests").unwrap();
    let (before, number) = before.rsplit_once('\n').unwrap();
    let number: u32 = number.parse().unwrap();
    assert!((usual..=usual + 3).contains(&number), "{number} requests, usually {usual}");
    format!("{before}\n{usual} requests{rest}")
}

#[test]
#[ignore = "needs scim2-server: cargo xtask test"]
fn cursors_are_seen() {
    let server = ScimServer::scim2_server_with_cursor().unwrap();
    people(&server);
    let said = scim_json(&["probe", &server.base_url()]).json().remove(0);
    let findings = said["findings"].as_array().unwrap();
    let cursor = findings.iter().find(|finding| finding["check"] == "list.cursor").unwrap();
    assert_eq!(cursor["standing"], "conforms", "{cursor}");
}

#[test]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
fn resources_are_listed_searched_shown_and_changed() {
    for server in servers() {
        let id = people(&server);
        let base = server.base_url();
        let found = scim_json(&["list", &base, "users", "--filter", "userName sw \"b\""]).json();
        assert_eq!((found.len(), &found[0]["userName"]), (1, &json!("bob@example.com")));
        let found = scim_json(&["search", &base, "users", "--filter", "externalId eq \"hr-cleo\""]).json();
        assert_eq!((found.len(), &found[0]["userName"]), (1, &json!("cleo@example.com")));
        let sorted =
            scim_json(&["list", &base, "users", "--sort-by", "userName", "--descending", "--count", "2"])
                .json();
        let names: Vec<_> = sorted.iter().map(|user| user["userName"].as_str().unwrap()).collect();
        assert_eq!(names, ["cleo@example.com", "bob@example.com", "ann@example.com"], "{}", server.name());
        let user = format!("users/{id}");
        for dialect in ["rfc7644", "okta"] {
            let changes = ["--set", "active=false", "--set", "title=Engineer"];
            let said = scim(&[&["patch", &base, &user, "--dialect", dialect], &changes[..]].concat());
            assert_eq!(said.status, 0, "{said:?}");
            let back = scim(&["patch", &base, &user, "--set", "active=true", "--remove", "title"]);
            assert_eq!(back.status, 0, "{back:?}");
        }
        let read = scim_json(&["get", &base, &user]).json().remove(0);
        assert!(read["active"] == true && read.get("title").is_none(), "{read}");
        golden::check(&format!("get-{}.txt", server.name()), &scim(&["get", &base, &user]).out);
        let wrong =
            crate::run::provisioner(&["scim", "get", &base, &user], &[("SCIM_TOKEN", "wrong-token")], "");
        assert_eq!(wrong.status, 4, "{wrong:?}");
        assert_eq!(scim(&["get", &base, "users/nobody"]).status, 6);
        // Beside the service: scim2-server answers in SCIM's words wherever it is asked.
        if server.name() != "scim2-server" {
            assert_eq!(scim(&["probe", &format!("http://{}/", server.addr())]).status, 5);
        }
    }
}

#[test]
#[ignore = "needs scimmy-routers: cargo xtask test"]
fn an_interrupted_probe_cleans_up() {
    let server = ScimServer::scimmy().unwrap();
    people(&server);
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let (hangs, hung) = std::sync::mpsc::channel();
    proxy.choose(move |request| match request.method.as_str() {
        "PATCH" => {
            hangs.send(()).unwrap();
            Fault::after(Reply::Silence)
        }
        _ => Fault::PASS,
    });
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_provisioner"))
        .args(["scim", "probe", &format!("http://{}{}", proxy.addr(), server.path()), "--write"])
        .env("SCIM_TOKEN", server.token())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    hung.recv().unwrap();
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("making a user"), "{output:?}");
    assert_eq!((count(&server.base_url(), "users"), count(&server.base_url(), "groups")), (3, 0));
}

#[test]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
fn a_probe_that_writes_leaves_nothing_behind_or_says_what() {
    let faults = || {
        vec![
            Fault::after(Reply::Reset),
            Fault::after(Reply::EndInBody),
            Fault::after(Reply::LoginPage),
            Fault::instead(Reply::Status(503, Some(RetryAfter::Seconds(0)))),
            Fault::after(Reply::Status(500, None)),
            Fault::after(Reply::TruncatedBody),
        ]
    };
    for server in servers() {
        people(&server);
        for seed in 1..=8 {
            let proxy = FaultProxy::start(server.addr()).unwrap();
            let mut chance = seed;
            // Changes fail now and then, whether they were made or not; reads mostly pass, so that there is a way to see.
            proxy.choose(move |request| {
                chance = chance * 48_271 % 2_147_483_647;
                let fault = faults()[usize::try_from(chance / 7 % 6).unwrap()].clone();
                let often =
                    if request.method == "GET" || request.target.ends_with(".search") { 40 } else { 3 };
                if chance % often == 0 { fault } else { Fault::PASS }
            });
            let said = scim_json(&["probe", &format!("http://{}{}", proxy.addr(), server.path()), "--write"]);
            let left = said.err.contains("LEFT BEHIND");
            let users = count(&server.base_url(), "users");
            let groups = count(&server.base_url(), "groups");
            assert!(
                (users, groups) == (3, 0) || left,
                "{} seed {seed}: {users} users, {groups} groups: {said:?}",
                server.name()
            );
            if left {
                assert_ne!(said.status, 0, "{said:?}");
                // By hand, as it says, for the next round.
                for kind in ["Users", "Groups"] {
                    for one in scim_json(&["list", &server.base_url(), kind]).json() {
                        let name =
                            one.get("userName").or(one.get("displayName")).and_then(Value::as_str).unwrap();
                        if name.starts_with("provisioner-probe-") {
                            let path = format!("{}/{kind}/{}", server.path(), one["id"].as_str().unwrap());
                            let delete = Request::new("DELETE", path)
                                .header("authorization", format!("Bearer {}", server.token()));
                            delete.send(server.addr()).unwrap();
                        }
                    }
                }
            }
        }
    }
}

/// A service that provisions to these through proxies.
fn served(stage: &Stage, servers: &[ScimServer]) -> (Service, Vec<FaultProxy>) {
    let proxies: Vec<_> = servers.iter().map(|server| FaultProxy::start(server.addr()).unwrap()).collect();
    let mut settings = "[source.webhook]\nsecret_file = \"hook\"\n".to_owned();
    for (server, proxy) in servers.iter().zip(&proxies) {
        let (name, url) = (server.name(), format!("http://{}{}", proxy.addr(), server.path()));
        secret(stage.path(), name, server.token());
        settings += &format!(
            "[[connector]]\nid = \"{name}\"\nkind = \"scim\"\nurl = \"{url}\"\ntoken_file = \"{name}\"\n"
        );
    }
    (stage.serve(&settings), proxies)
}

/// Somebody joins; then, while nothing gets through, they are to be called otherwise and leave, and another joins with the old name.
fn leaves_before_a_rename(service: &Service, proxies: &[FaultProxy], after: impl Fn(&FaultProxy)) {
    let say = |id: &str, what: &str| assert_eq!(service.signed(id, what).status, 202, "{what}");
    say("1", r#"{"type":"joiner","person":{"id":"di","user_name":"di@example.com"}}"#);
    service.drained();
    for proxy in proxies {
        proxy.choose(|_| Fault::instead(Reply::Reset));
    }
    say("2", r#"{"type":"mover","person":{"id":"di","user_name":"di.new@example.com"}}"#);
    say("3", r#"{"type":"leaver","person":{"id":"di"}}"#);
    say("4", r#"{"type":"joiner","person":{"id":"ed","user_name":"di@example.com"}}"#);
    proxies.iter().for_each(after);
}

/// The account of somebody.
fn account_of(server: &ScimServer, id: &str) -> Option<Value> {
    let users = scim_json(&["list", &server.base_url(), "users"]).json();
    users.into_iter().find(|user| user["externalId"] == id)
}

#[test]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
fn who_leaves_before_a_rename_was_carried_out_keeps_nobody_from_the_name() {
    let (servers, stage) = (servers(), Stage::new());
    let (service, proxies) = served(&stage, &servers);
    leaves_before_a_rename(&service, &proxies, |proxy| proxy.choose(|_| Fault::PASS));
    service.drained();
    let said = service.ask(&["report", "di"]);
    assert_eq!(said.json()[0]["state"], "complete", "{said:?}");
    for system in said.json()[0]["systems"].as_array().unwrap() {
        assert_eq!(system.get("residuals"), None, "{system}");
    }
    for server in &servers {
        let (left, heir) = (account_of(server, "di").unwrap(), account_of(server, "ed").unwrap());
        assert_eq!((&heir["userName"], &heir["active"]), (&json!("di@example.com"), &json!(true)));
        assert_eq!(left["active"], json!(false));
        let name = left["userName"].as_str().unwrap();
        assert!(name.starts_with("left-") && name.ends_with("@example.com"), "{name}");
        let said = service.ask(&["reconcile", server.name()]);
        assert_eq!(said.status, 0, "all is as it should be: {said:?}");
    }
    assert_eq!(service.end(), 0);
}

#[test]
#[ignore = "needs scimmy-routers: cargo xtask test"]
fn a_name_that_an_application_does_not_let_go_of_is_on_record_and_the_leaver_is_out_all_the_same() {
    let (servers, stage) = ([ScimServer::scimmy().unwrap()], Stage::new());
    let (service, proxies) = served(&stage, &servers);
    leaves_before_a_rename(&service, &proxies, |proxy| {
        proxy.choose(|request| {
            let renames = String::from_utf8_lossy(&request.body).contains("left-");
            if renames { Fault::instead(Reply::Status(400, None)) } else { Fault::PASS }
        });
    });
    let said = service.ask(&["offboard", "di", "--wait", "60"]);
    assert_eq!(said.status, 0, "{said:?}");
    let record = service.ask(&["report", "di"]).json().remove(0);
    let systems = record["systems"].as_array().unwrap();
    let kept = systems.iter().find(|system| system["connector"] == "scimmy-routers").unwrap();
    let residual = kept["residuals"][0].as_str().unwrap();
    assert!(residual.starts_with("`user_name` is not its own any more: "), "{residual}");
    let left = account_of(&servers[0], "di").unwrap();
    assert_eq!((&left["active"], &left["userName"]), (&json!(false), &json!("di@example.com")));
    // Renamed by hand, as the record asks for.
    let user = format!("users/{}", left["id"].as_str().unwrap());
    let said = scim(&["patch", &servers[0].base_url(), &user, "--set", "userName=gone"]);
    assert_eq!(said.status, 0, "{said:?}");
    service.drained();
    assert_eq!(account_of(&servers[0], "ed").unwrap()["userName"], "di@example.com");
    assert_eq!(service.end(), 0);
}
