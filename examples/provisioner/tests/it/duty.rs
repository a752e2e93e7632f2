//! Rights that nobody may have together, before they are granted and after.

use serde_json::{Value, json};
use testbed::http::Request;

use crate::config::secret;
use crate::run::Said;
use crate::stage::{Service, Stage, until};

const RULES: &str = r#"
version = 1
[[function]]
id = "PAY"
any = { payroll = ["payers"] }
[[function]]
id = "VENDOR"
any = { crm = ["vendors"] }
[[function]]
id = "SIGN"
all = { wiki = ["signers"] }
[[function]]
id = "EDIT"
any = { wiki = ["editors"] }
[[risk]]
id = "R1"
level = "high"
functions = ["PAY", "VENDOR"]
remedy = "ask"
[[risk]]
id = "R2"
level = "critical"
functions = ["SIGN", "VENDOR"]
remedy = "mitigate"
[[risk]]
id = "R3"
level = "medium"
functions = ["EDIT", "VENDOR"]
remedy = "revoke"
revoke = "EDIT"
"#;

fn settings(stage: &Stage) -> String {
    std::fs::write(stage.path().join("sod.toml"), RULES).unwrap();
    let mut settings = "[source.webhook]\nsecret_file = \"hook\"\n[sod]\nrules = \"sod.toml\"\n".to_owned();
    for (name, person) in [("ciso", "emp-7"), ("ann", "emp-1")] {
        secret(stage.path(), name, &format!("{name}-0123456789abcdef0123456789"));
        settings.push_str(&format!(
            "[[api.token]]\nname = \"{name}\"\nrole = \"operator\"\nperson = \"{person}\"\nfile = \"{name}\"\n"
        ));
    }
    settings
}

fn event(service: &Service, id: &str, kind: &str, groups: &[&str]) -> (u16, Value) {
    let event = json!({"type": kind, "person": {"id": "emp-1", "user_name": "ann", "groups": groups}});
    let answer = service.signed(id, &event.to_string());
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn duty(service: &Service) -> Value {
    let said = service.ask(&["--json", "sod", "status"]);
    assert_eq!(said.status, 0, "{said:?}");
    said.json().remove(0)
}

fn held(service: &Service) -> String {
    let duty = duty(service);
    let waits: Vec<&Value> =
        duty["held"].as_array().unwrap().iter().filter(|held| held["rejected"].is_null()).collect();
    assert_eq!(waits.len(), 1, "{duty}");
    waits[0]["id"].as_str().unwrap()[..12].to_owned()
}

/// What a grant would violate, as it is shown.
fn snapshot(service: &Service) -> String {
    let duty = duty(service);
    let waits = duty["held"].as_array().unwrap().iter().find(|held| held["rejected"].is_null()).unwrap();
    waits["snapshot"].as_str().unwrap()[..12].to_owned()
}

fn refused(said: &Said, why: &str) {
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains(why), "{why}: {said:?}");
}

/// Asks an application behind the provisioner's back.
fn scim(stage: &Stage, application: &str, method: &str, path: &str, body: &str) -> Value {
    let base = url::Url::parse(&stage.base_url(application)).unwrap();
    let token = std::fs::read_to_string(stage.path().join(format!("{application}.token"))).unwrap();
    let mut request = Request::new(method, format!("{}{path}", base.path().trim_end_matches('/')))
        .header("authorization", format!("Bearer {}", token.trim()));
    if !body.is_empty() {
        request = request.scim(body);
    }
    let address = format!("{}:{}", base.host_str().unwrap(), base.port().unwrap()).parse().unwrap();
    let answer = request.send(address).unwrap();
    assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn members(stage: &Stage, application: &str, group: &str) -> usize {
    let groups = scim(stage, application, "GET", "/Groups", "");
    let found = groups["Resources"].as_array().unwrap().iter().find(|one| one["displayName"] == group);
    found.map_or(0, |group| group["members"].as_array().map_or(0, Vec::len))
}

#[test]
fn what_would_violate_a_rule_waits_for_a_decision_or_a_control() {
    let stage = Stage::new();
    let settings = settings(&stage);
    let service = stage.serve(&settings);
    assert_eq!(event(&service, "msg-1", "joiner", &["vendors"]).0, 202);
    let (status, body) = event(&service, "msg-2", "mover", &["vendors", "payers"]);
    assert_eq!(status, 202, "{body}");
    assert_eq!(body["taken"][0]["waiting"], json!(["payers on payroll waits (R1): a person must decide"]));
    service.drained();
    // Everywhere else it says nothing of paying.
    assert_eq!((members(&stage, "payroll", "payers"), members(&stage, "crm", "payers")), (0, 1));
    let shown = service.status();
    assert_eq!(shown["duty"]["held"][0]["risks"], json!(["R1"]), "{shown}");

    let grant = held(&service);
    let shown = snapshot(&service);
    let approve = |service: &Service, who, reason| {
        service.ask_as(who, &["sod", "approve", &grant, "--snapshot", &shown, "--reason", reason])
    };
    let said = approve(&service, "operator", "only me");
    assert_eq!(said.status, 4, "{said:?}");
    let said = approve(&service, "ann", "I want it");
    refused(&said, "cannot answer for the control of their own violation");
    service.kill();
    let service = stage.serve(&settings);
    assert_eq!(held(&service), grant);
    // Said again, it waits once.
    assert_eq!(event(&service, "msg-3", "mover", &["vendors", "payers"]).0, 202);
    assert_eq!(held(&service), grant);
    let said = approve(&service, "ciso", "until the new colleague is here");
    assert_eq!(said.status, 0, "{said:?}");
    service.drained();
    assert_eq!(members(&stage, "payroll", "payers"), 1);
    let now = duty(&service);
    assert_eq!(now["violations"][0]["violation"]["standing"]["mitigated"]["owner"], "emp-7", "{now}");
    assert_eq!(service.status()["duty"], json!({"held": [], "violations": []}));
    // The line that asked for it comes again, and does no harm.
    assert_eq!(event(&service, "msg-4", "mover", &["vendors", "payers"]).0, 202);
    assert_eq!(service.status()["duty"]["held"], json!([]));

    assert_eq!(event(&service, "msg-5", "mover", &["vendors", "payers", "signers"]).0, 202);
    let grant = held(&service);
    let shown = snapshot(&service);
    refused(
        &service.ask_as("ciso", &["sod", "approve", &grant, "--snapshot", &shown, "--reason", "fine"]),
        "a control must watch it first",
    );
    let mitigate = |by, owner, days| {
        let control = ["--control", "monthly look at vendors", "--owner", owner, "--until", days];
        service.ask_as(by, &[&["sod", "mitigate", "R2", "emp-1"][..], &control].concat())
    };
    refused(&mitigate("ciso", "emp-1", "30"), "cannot answer for the control of their own violation");
    // Not with somebody else's name on it, either; not by nobody, and not for ever.
    refused(&mitigate("ann", "emp-7", "30"), "cannot answer for the control of their own violation");
    refused(&mitigate("ciso", "emp-8", "30"), "nobody who is known here");
    refused(&mitigate("ciso", "emp-7", "3000"), "more than 366 days away");
    let said = mitigate("ciso", "emp-7", "30");
    assert_eq!(said.status, 0, "{said:?}");
    service.drained();
    assert_eq!(members(&stage, "wiki", "signers"), 1);

    // Nobody may have both: refused, and nothing waits.
    let (status, body) = event(&service, "msg-6", "mover", &["vendors", "payers", "signers", "editors"]);
    assert_eq!(status, 422, "{body}");
    assert!(body["refused"][0]["message"].as_str().unwrap().contains("nobody may have both"), "{body}");
    service.drained();
    assert_eq!((members(&stage, "wiki", "editors"), members(&stage, "crm", "editors")), (0, 1));
    // What somebody no longer needs waits no longer.
    assert_eq!(event(&service, "msg-7", "mover", &["vendors"]).0, 202);
    service.drained();
    until(|| duty(&service)["violations"] == json!([]));
    assert_eq!(service.end(), 0);
    let trail = stage.trail();
    for (event_type, times) in [
        ("sod.approved", 1),
        ("sod.mitigated", 1),
        ("sod.released", 1),
        ("sod.violated", 2),
        ("sod.resolved", 2),
    ] {
        let count = trail.iter().filter(|entry| entry.event_type == event_type).count();
        assert_eq!(count, times, "{event_type}");
    }
}

#[test]
fn of_two_halves_at_once_one_waits() {
    let stage = Stage::new();
    let service = stage.serve(&settings(&stage));
    for round in 0..8 {
        let person = format!("emp-{}", 100 + round);
        let begins = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for half in ["vendors", "payers"] {
                let (service, begins, person) = (&service, &begins, &person);
                scope.spawn(move || {
                    let event = json!({"type": "joiner", "person": {"id": person, "user_name": person,
                        "groups": [half]}});
                    begins.wait();
                    let answer = service.signed(&format!("{person}-{half}"), &event.to_string());
                    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
                });
            }
        });
        let duty = duty(&service);
        let waits = duty["held"].as_array().unwrap().iter().filter(|held| held["person"] == person.as_str());
        assert_eq!(waits.count(), 1, "round {round}: {duty}");
        assert_eq!(duty["violations"], json!([]), "round {round}");
    }
    assert_eq!(service.end(), 0);
}

#[test]
fn what_was_granted_behind_the_rules_is_found_and_taken_away() {
    let stage = Stage::new();
    let settings = settings(&stage);
    let service = stage.serve(&settings);
    assert_eq!(event(&service, "msg-1", "joiner", &["vendors"]).0, 202);
    service.drained();
    let user = scim(&stage, "wiki", "GET", "/Users", "")["Resources"][0]["id"].as_str().unwrap().to_owned();
    let editors = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "editors",
        "members": [{"value": user}]});
    scim(&stage, "wiki", "POST", "/Groups", &editors.to_string());
    assert_eq!(duty(&service)["violations"], json!([]));

    let said = service.ask(&["reconcile", "wiki"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("emp-1 violates risk `R3` (medium)"), "{said:?}");
    assert_eq!(service.status()["duty"]["violations"][0]["risk"], "R3");
    let said = service.ask(&["sod", "status"]);
    assert!(said.out.contains("`EDIT` by editors on wiki"), "{said:?}");
    let said = service.ask(&["sod", "export", "--format", "csv"]);
    assert!(said.out.lines().nth(1).unwrap().contains("\"emp-1\",\"R3\",\"medium\""), "{said:?}");
    let page = stage.path().join("sod.html");
    let page = page.to_str().unwrap();
    assert_eq!(service.ask(&["sod", "export", "--format", "html", "--out", page]).status, 0);
    assert!(std::fs::read_to_string(page).unwrap().contains("editors on wiki"));
    // A restart ends no violation.
    service.kill();
    let service = stage.serve(&settings);
    until(|| duty(&service)["violations"][0]["violation"]["risk"] == "R3");
    // Looking changes nothing.
    assert_eq!(members(&stage, "wiki", "editors"), 1);

    let said = service.ask(&["reconcile", "wiki", "--apply", "revoke-violations"]);
    assert!(said.out.contains("1 rights to revoke"), "{said:?}");
    service.drained();
    assert_eq!(members(&stage, "wiki", "editors"), 0);
    until(|| duty(&service)["violations"] == json!([]));
    assert_eq!(members(&stage, "crm", "vendors"), 1);

    // The same by a person's word, for the other function.
    let id = scim(&stage, "wiki", "GET", "/Groups", "")["Resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|group| group["displayName"] == "editors")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let add = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "add", "path": "members", "value": [{"value": user}]}]});
    scim(&stage, "wiki", "PATCH", &format!("/Groups/{id}"), &add.to_string());
    assert_eq!(service.ask(&["reconcile", "wiki"]).status, 0);
    let said = service.ask_as("ciso", &["sod", "revoke", "R3", "emp-1", "--function", "VENDOR"]);
    assert_eq!(said.status, 0, "{said:?}");
    service.drained();
    assert_eq!((members(&stage, "wiki", "editors"), members(&stage, "crm", "vendors")), (1, 0));
    until(|| duty(&service)["violations"] == json!([]));
    assert_eq!(service.end(), 0);
}

#[test]
fn who_was_denied_a_right_in_a_file_still_leaves_with_their_line() {
    let stage = Stage::new();
    std::fs::write(stage.path().join("sod.toml"), RULES).unwrap();
    let put = |text: &str| {
        let fresh = stage.path().join("people.new");
        std::fs::write(&fresh, format!("id,user_name,display_name,email,groups,end_date\n{text}")).unwrap();
        std::fs::rename(&fresh, stage.path().join("people.csv")).unwrap();
    };
    let ann = "emp-1,ann,Ann,ann@x.example,vendors;editors,\n";
    let bo = |group: &str| format!("emp-2,bo,Bo,bo@x.example,{group},\n");
    put(&format!("{ann}{}", bo("staff")));
    let service = stage.serve(
        "[guard]\nalways_allowed = 1000\nleavers_max = 1000\n[source.csv]\npath = \"people.csv\"\n\
         [sod]\nrules = \"sod.toml\"\n",
    );
    service.heard("csv: 2 persons; 2 joined, 0 moved, 0 left");
    service.drained();
    let shown = service.status();
    assert!(shown["sources"].to_string().contains("nobody may have both"), "{shown}");
    // Another version says nothing new of who was denied something.
    put(&format!("{ann}{}", bo("wiki")));
    service.heard("csv: 2 persons; 0 joined, 1 moved, 0 left");
    put(&bo("wiki"));
    service.heard("csv: 1 persons; 0 joined, 0 moved, 1 left");
    service.drained();
    assert_eq!(service.ask(&["--json", "report", "emp-1"]).json()[0]["state"], "complete");
    assert_eq!(service.end(), 0);
}

#[test]
fn a_group_whose_name_has_another_case_is_another_right() {
    let stage = Stage::new();
    let pay = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Payers"});
    scim(&stage, "payroll", "POST", "/Groups", &pay.to_string());
    let service = stage.serve(&settings(&stage));
    assert_eq!(event(&service, "msg-1", "joiner", &["vendors", "PAYERS"]).0, 202);
    let failed = || {
        let status = service.status();
        let connectors = status["connectors"].as_array().unwrap();
        connectors.iter().any(|one| one["id"] == "payroll" && one["provisioning_failed"] == 1)
    };
    until(failed);
    assert_eq!(members(&stage, "payroll", "Payers"), 0);
    assert_eq!(service.end(), 0);
}

#[test]
fn rules_that_name_an_unknown_connector_are_refused() {
    let stage = Stage::new();
    let settings = settings(&stage);
    std::fs::write(stage.path().join("sod.toml"), RULES.replace("{ payroll =", "{ payrol =")).unwrap();
    let file = stage.settings(&settings);
    let said = crate::run::provisioner(&["check", "--config", file.to_str().unwrap()], &[], "");
    assert!(said.out.contains("unknown connector `payrol`"), "{said:?}");
}
