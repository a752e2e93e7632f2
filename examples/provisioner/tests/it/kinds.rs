//! Applications that are no SCIM services, beside some that are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use testbed::http::Answer;
use testbed::{Slapd, SlapdOptions, Stub};

use crate::config::secret;
use crate::reviews::{items, people};
use crate::stage::{Service, Stage};

const HOOK: &str = "[source.webhook]\nsecret_file = \"hook\"\n";

const TICKETS: &str = include_str!("../../tickets.example.toml");

type Users = Arc<Mutex<BTreeMap<String, Value>>>;

/// A ticket system with an API of its own. It lies where it is told to: 200, and nothing happens.
fn tickets(users: Users, lies: Arc<Mutex<bool>>) -> Stub {
    Stub::start(move |request| {
        let reply = |status: u16, value: Value| {
            Answer::new(status, "application/json", value.to_string().into_bytes())
        };
        if !request.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value == "Bearer tickets-token"
        }) {
            return reply(401, json!({}));
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parts: Vec<String> = path
            .strip_prefix("/api/")
            .unwrap()
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8().unwrap().into_owned())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let mut users = users.lock().unwrap();
        if request.method != "GET" && *lies.lock().unwrap() {
            return reply(200, json!({}));
        }
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["me"]) => reply(200, json!({})),
            ("GET", ["users"]) => {
                let hr = query.strip_prefix("hr=");
                let all: Vec<&Value> =
                    users.values().filter(|user| hr.is_none_or(|hr| user["hr"] == hr)).collect();
                reply(200, json!(all))
            }
            ("GET", ["users", id]) => {
                users.get(*id).map_or_else(|| reply(404, json!({})), |user| reply(200, user.clone()))
            }
            ("POST", ["users"]) => {
                let id = format!("u{}", users.len() + 1);
                let mut user: Value = serde_json::from_slice(&request.body).unwrap();
                user["id"] = json!(id);
                user["state"] = json!("on");
                user["roles"] = json!([]);
                users.insert(id.clone(), user);
                reply(200, json!({"id": id}))
            }
            ("PATCH", ["users", id]) => {
                let changes: Value = serde_json::from_slice(&request.body).unwrap();
                let user = users.get_mut(*id).unwrap();
                changes.as_object().unwrap().iter().for_each(|(name, to)| user[name] = to.clone());
                reply(200, json!({}))
            }
            ("POST", ["users", id, state]) => {
                users.get_mut(*id).unwrap()["state"] = json!(state);
                reply(200, json!({}))
            }
            (method, ["users", id, "roles", role]) => {
                let roles = users.get_mut(*id).unwrap()["roles"].as_array_mut().unwrap();
                roles.retain(|had| had != role);
                if method == "PUT" {
                    roles.push(json!(role));
                }
                reply(200, json!({}))
            }
            other => panic!("no such request: {other:?}"),
        }
    })
    .unwrap()
}

fn tickets_settings(stage: &Stage, stub: &Stub) -> &'static str {
    secret(stage.path(), "tickets.token", "tickets-token");
    let description = TICKETS.replace(
        "base_url = \"https://tickets.example.com/api\"",
        &format!("base_url = \"http://{}/api\"\ndangerous_plain_text = true", stub.addr()),
    );
    std::fs::write(stage.path().join("tickets.toml"), description).unwrap();
    "[[connector]]\nid = \"tickets\"\nkind = \"http\"\ndescription = \"tickets.toml\"\n\
     secrets = { token = { file = \"tickets.token\" } }\n"
}

fn taken(service: &Service, id: &str, event: &Value) {
    let answer = service.signed(id, &event.to_string());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    service.drained();
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn a_directory_and_an_application_of_its_own_follow_as_the_others_do() {
    let directory = Slapd::start(SlapdOptions::new()).unwrap();
    let users = Users::default();
    let stub = tickets(Arc::clone(&users), Arc::default());
    let stage = Stage::new();
    secret(stage.path(), "directory.password", Slapd::PASSWORD);
    std::fs::write(stage.path().join("directory-ca.pem"), directory.ca_pem().unwrap()).unwrap();
    let settings = format!(
        "{}[[connector]]\nid = \"directory\"\nkind = \"ldap\"\nurl = \"ldaps://127.0.0.1:{}\"\nca = \"directory-ca.pem\"\n\
         bind_dn = \"{}\"\npassword_file = \"directory.password\"\npeople = \"ou=people,{base}\"\n\
         object_classes = [\"inetOrgPerson\", \"testbedAccount\"]\naccount_class = \"inetOrgPerson\"\nnaming = \"uid\"\n\
         person = \"employeeNumber\"\ndisable = {{ by = \"attribute\", name = \"accountDisabled\", disabled = \"TRUE\" }}\n\
         attributes = {{ user_name = \"uid\", display_name = \"cn\", family_name = \"sn\", email = \"mail\" }}\n\
         groups = {{ base = \"ou=groups,{base}\", class = \"groupOfNames\", members = \"member\", placeholder = \"{}\" }}\n{HOOK}",
        tickets_settings(&stage, &stub),
        directory.tls_addr().port(),
        Slapd::BIND_DN,
        Slapd::BIND_DN,
        base = Slapd::BASE_DN,
    );
    let service = stage.serve(&settings);
    let person = |groups: &[&str], email: &str| {
        json!({"id": "emp-1", "user_name": "ann", "display_name": "Ann Lee", "email": email,
               "attributes": {"family_name": "Lee"}, "groups": groups})
    };
    taken(&service, "msg-1", &json!({"type": "joiner", "person": person(&["staff"], "ann@x.example")}));
    let seen = directory.search("(employeeNumber=emp-1)", &["uid", "sn", "memberOf"]).unwrap();
    assert!(seen.contains("sn: Lee\n") && seen.contains("memberOf: cn=staff,"), "{seen}");
    assert_eq!(users.lock().unwrap()["u1"]["roles"], json!(["staff"]));

    taken(&service, "msg-2", &json!({"type": "mover", "person": person(&["admins"], "lee@x.example")}));
    let seen = directory.search("(employeeNumber=emp-1)", &["mail", "memberOf"]).unwrap();
    assert!(seen.contains("mail: lee@x.example\n") && seen.contains("memberOf: cn=admins,"), "{seen}");
    assert!(!seen.contains("cn=staff"), "{seen}");
    assert_eq!(users.lock().unwrap()["u1"]["roles"], json!(["admins"]));
    assert_eq!(users.lock().unwrap()["u1"]["mail"], "lee@x.example");
    // Nothing differs from what was meant, whatever each of them calls it.
    for connector in ["directory", "tickets", "crm"] {
        let said = service.ask(&["reconcile", connector]);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(!said.out.contains("drifted") || said.out.contains("0 drifted"), "{said:?}");
    }

    let said = service.ask(&["offboard", "emp-1", "--wait", "60"]);
    assert_eq!(said.status, 0, "{said:?}");
    let seen = directory.search("(employeeNumber=emp-1)", &["accountDisabled", "memberOf"]).unwrap();
    assert!(seen.contains("accountDisabled: TRUE\n") && !seen.contains("memberOf"), "{seen}");
    assert_eq!(users.lock().unwrap()["u1"]["state"], "off");
    assert_eq!(users.lock().unwrap()["u1"]["roles"], json!([]));
    let record = service.ask(&["report", "emp-1"]).json().remove(0);
    let systems = record["systems"].as_array().unwrap();
    assert_eq!((record["state"].as_str(), systems.len()), (Some("complete"), 5), "{record}");

    // The password of a directory is replaced as a token is.
    secret(stage.path(), "directory.password", "wrong");
    service.heard("directory: there is a new credential");
    let state = |service: &Service| {
        let status = service.status();
        let all = status["connectors"].as_array().unwrap().clone();
        let one = all.into_iter().find(|one| one["id"] == "directory").unwrap();
        (one["state"].as_str().unwrap().to_owned(), one["reason"].to_string())
    };
    crate::stage::until(|| state(&service).0 == "degraded");
    secret(stage.path(), "directory.password", Slapd::PASSWORD);
    taken(
        &service,
        "msg-3",
        &json!({"type": "joiner", "person": {"id": "emp-2", "user_name": "bo",
        "display_name": "Bo", "attributes": {"family_name": "Bo"}}}),
    );
    assert!(directory.search("(employeeNumber=emp-2)", &["uid"]).unwrap().contains("uid: bo\n"));
    assert_eq!(service.end(), 0);
}

#[test]
fn a_reviewer_sees_when_an_account_was_last_used() {
    let users = Users::default();
    let stub = tickets(Arc::clone(&users), Arc::default());
    let stage = Stage::new();
    let connector = tickets_settings(&stage, &stub);
    let file = stage.path().join("tickets.toml");
    let description = std::fs::read_to_string(&file).unwrap();
    let description = description
        .replace("passed_by = [", "passed_by = [\"manager\", ")
        .replace("[account]\n", "[account]\nlast_use = \"/seen_at\"\n");
    std::fs::write(&file, description).unwrap();
    let service = stage.serve(&format!("{connector}{}", people(&stage)));
    for person in ["emp-1", "emp-2"] {
        let joiner = json!({"type": "joiner", "person": {"id": person, "user_name": person,
            "groups": ["staff"], "attributes": {"manager": "emp-9"}}});
        taken(&service, person, &joiner);
    }
    for user in users.lock().unwrap().values_mut().filter(|user| user["hr"] == "emp-1") {
        user["seen_at"] = json!("2026-01-31T09:15:27Z");
    }
    let begins =
        ["--json", "review", "start", "Q1", "--due", "30", "--reviewer", "manager", "--connector", "tickets"];
    let said = service.ask_as("ciso", &begins);
    assert_eq!(said.status, 0, "{said:?}");
    let campaign = said.json()[0]["campaign"].as_str().unwrap().to_owned();
    let seen: BTreeMap<String, Value> = items(&service, "boss", &campaign)
        .iter()
        .map(|item| &item["access"])
        .map(|access| (access["person"].as_str().unwrap().to_owned(), access["last_use"].clone()))
        .collect();
    let expected = [("emp-1".to_owned(), json!("2026-01-31T09:15:27Z")), ("emp-2".to_owned(), Value::Null)];
    assert_eq!(seen, expected.into());
    assert_eq!(service.end(), 0);
}

#[test]
fn an_application_that_says_yes_and_does_nothing_is_not_believed() {
    let users = Users::default();
    let lies = Arc::new(Mutex::new(false));
    let stub = tickets(Arc::clone(&users), Arc::clone(&lies));
    let stage = Stage::new();
    let service = stage.serve(&format!("{}{HOOK}", tickets_settings(&stage, &stub)));
    taken(
        &service,
        "msg-1",
        &json!({"type": "joiner", "person": {"id": "emp-1", "user_name": "ann", "groups": ["staff"]}}),
    );
    *lies.lock().unwrap() = true;
    let said = service.ask(&["offboard", "emp-1", "--wait", "3"]);
    assert_eq!(said.status, 10, "{said:?}");
    let record = service.ask(&["report", "emp-1"]).json().remove(0);
    assert_eq!(record["state"], "open", "{record}");
    let status = service.status();
    assert_eq!(status["leavers"][0]["missing"][0]["connector"], "tickets", "{status}");
    *lies.lock().unwrap() = false;
    assert_eq!(service.ask(&["replay", "tickets"]).status, 0);
    assert_eq!(service.ask(&["offboard", "emp-1", "--wait", "60"]).status, 0);
    assert_eq!(users.lock().unwrap()["u1"]["state"], "off");
    assert_eq!(service.end(), 0);
}

#[test]
fn sap_is_asked_with_the_client_and_the_password_of_the_settings() {
    let (sap, seen) = crate::stage::https(|_| (401, String::new()));
    let stage = Stage::new();
    secret(stage.path(), "sap.password", "Initial1");
    std::fs::write(stage.path().join("sap-ca.pem"), &sap.ca_pem).unwrap();
    let service = stage.serve(&format!(
        "[[connector]]\nid = \"erp\"\nkind = \"sap_abap\"\nurl = \"https://127.0.0.1:{port}\"\nclient = \"100\"\n\
         user = \"PROV\"\npassword_file = \"sap.password\"\nca = \"sap-ca.pem\"\n\
         person = \"ADDRESS.INHOUSE_ML\"\nuser_name = \"user_name\"\n\
         attributes = {{ display_name = \"ADDRESS.FULLNAME\", email = \"ADDRESS.E_MAIL\" }}\n\
         [[connector]]\nid = \"s4\"\nkind = \"sap_business_user\"\nurl = \"https://127.0.0.1:{port}\"\n\
         user = \"CC_PROV\"\npassword_file = \"sap.password\"\nca = \"sap-ca.pem\"\n\
         attributes = {{ user_name = \"User.UserName\" }}\npassed_by = [\"display_name\", \"email\"]\n",
        port = sap.port
    ));
    for connector in ["erp", "s4"] {
        crate::stage::until(|| {
            let status = service.status();
            let all = status["connectors"].as_array().unwrap();
            let one = all.iter().find(|one| one["id"] == connector).unwrap();
            one["state"] == "degraded" && one["reason"].to_string().contains("credential")
        });
    }
    let seen = seen.lock().unwrap();
    let with = |path: &str, basic: &str| {
        let basic = format!("basic {}", data_encoding::BASE64.encode(basic.as_bytes()));
        seen.iter().any(|head: &String| {
            head.starts_with(&format!("POST {path}"))
                && head.lines().any(|line| line.eq_ignore_ascii_case(&format!("authorization: {basic}")))
        })
    };
    assert!(with("/sap/bc/soap/rfc?sap-client=100 ", "PROV:Initial1"), "{seen:?}");
    assert!(with("/sap/bc/srt/scs_ext/sap/querybusinessuserin ", "CC_PROV:Initial1"), "{seen:?}");
    assert_eq!(service.end(), 0);
}
