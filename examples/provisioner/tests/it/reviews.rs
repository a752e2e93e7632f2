//! Reviews of access, from what applications list to what is confirmed to be gone.

use serde_json::{Value, json};
use testbed::http::Request;

use crate::config::secret;
use crate::run::Said;
use crate::stage::{Service, Stage, until};

const HOOK: &str = "[source.webhook]\nsecret_file = \"hook\"\n";

/// Whose tokens there are: one who runs reviews, and two who review.
pub(crate) fn people(stage: &Stage) -> String {
    let mut settings = HOOK.to_owned();
    for (name, role, person) in
        [("ciso", "operator", "emp-7"), ("boss", "reviewer", "emp-9"), ("other", "reviewer", "emp-8")]
    {
        secret(stage.path(), name, &format!("{name}-0123456789abcdef0123456789"));
        settings.push_str(&format!(
            "[[api.token]]\nname = \"{name}\"\nrole = \"{role}\"\nperson = \"{person}\"\nfile = \"{name}\"\n"
        ));
    }
    settings
}

fn join(service: &Service, id: &str, person: &str, groups: &[&str]) {
    let event = json!({"type": "joiner", "person": {"id": person, "user_name": format!("u{}", person.len()) + person,
        "groups": groups, "attributes": {"manager": "emp-9"}}});
    let answer = service.signed(id, &event.to_string());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    service.drained();
}

fn start(service: &Service) -> String {
    let said = service.ask_as(
        "ciso",
        &[
            "--json",
            "review",
            "start",
            "Q1: access",
            "--due",
            "30",
            "--reviewer",
            "manager",
            "--connector",
            "crm",
            "--connector",
            "wiki",
        ],
    );
    assert_eq!(said.status, 0, "{said:?}");
    said.json()[0]["campaign"].as_str().unwrap().to_owned()
}

pub(crate) fn items(service: &Service, who: &str, campaign: &str) -> Vec<Value> {
    let said = service.ask_as(who, &["--json", "review", "items", campaign]);
    assert_eq!(said.status, 0, "{said:?}");
    said.json()
}

fn decide(service: &Service, who: &str, campaign: &str, item: &Value, rest: &[&str]) -> Said {
    let access = &item["access"];
    let of = |value: &Value| value.as_str().unwrap().to_owned();
    let (person, connector) = (of(&access["person"]), of(&access["right"]["connector"]));
    let (right, snapshot) = (of(&access["right"]["entitlement"]), of(&item["snapshot"]));
    let mut arguments = vec!["review", "decide", campaign];
    arguments.extend_from_slice(rest);
    let person = format!("--person={person}");
    arguments.extend([
        person.as_str(),
        "--connector",
        &connector,
        "--right",
        &right,
        "--snapshot",
        &snapshot,
    ]);
    service.ask_as(who, &arguments)
}

fn status(service: &Service, campaign: &str) -> Value {
    let said = service.ask(&["--json", "review", "status", campaign]);
    assert_eq!(said.status, 0, "{said:?}");
    said.json().remove(0)
}

fn groups(stage: &Stage, application: &str) -> String {
    let token = stage.path().join(format!("{application}.token"));
    let (url, token) = (stage.base_url(application), token.to_str().unwrap().to_owned());
    let said =
        crate::run::provisioner(&["--json", "scim", "list", &url, "groups", "--token-file", &token], &[], "");
    assert_eq!(said.status, 0, "{said:?}");
    said.out
}

#[test]
fn a_review_ends_when_what_was_revoked_is_gone() {
    let stage = Stage::new();
    let service = stage.serve(&people(&stage));
    join(&service, "msg-1", "emp-1", &["staff", "admins"]);
    join(&service, "msg-2", "emp-9", &["staff"]);
    let said = service.ask(&["review", "start", "Q1", "--due", "30", "--reviewer", "manager"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(said.err.contains("this token is nobody's"), "{said:?}");
    let campaign = start(&service);
    assert!(campaign.starts_with("q1-access-"), "{campaign}");

    // Two applications, two rights of one person and one of the other, whose manager is nobody but themselves.
    let all = items(&service, "reader", &campaign);
    assert_eq!(all.len(), 6, "{all:?}");
    let own = all.iter().filter(|item| item["access"]["person"] == "emp-9");
    assert!(
        own.clone().count() == 2 && own.clone().all(|item| item["state"]["state"] == "unassigned"),
        "{all:?}"
    );
    let justified =
        |item: &Value| item["access"]["justification"].as_str().unwrap().contains("what the source said");
    assert!(all.iter().all(justified), "{all:?}");
    let theirs = items(&service, "boss", &campaign);
    assert_eq!(theirs.len(), 4, "{theirs:?}");
    assert!(items(&service, "other", &campaign).is_empty());
    // A reviewer sees reviews, and nothing else.
    assert_eq!(service.ask_as("boss", &["status"]).status, 4);
    assert_eq!(service.ask_as("boss", &["review", "export", &campaign]).status, 4);

    let of = |connector: &str, right: &str| {
        let is_it = |item: &&Value| {
            item["access"]["person"] == "emp-1"
                && item["access"]["right"] == json!({"connector": connector, "entitlement": right})
        };
        all.iter().find(is_it).unwrap().clone()
    };
    let refused = |said: Said, why: &str| {
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.err.contains(why), "{why}: {said:?}");
    };
    let admins = of("crm", "admins");
    refused(
        decide(&service, "boss", &campaign, &admins, &["reassign", "--to", "emp-1", "--reason", "busy"]),
        "it is their own access",
    );
    let mut changed = admins.clone();
    changed["snapshot"] = json!("0".repeat(64));
    refused(decide(&service, "boss", &campaign, &changed, &["keep"]), "has changed since it was shown");
    let said = decide(&service, "ciso", &campaign, &admins, &["revoke", "--reason", "too much"]);
    refused(said, "is not to decide on this");
    // Passed on, and decided by whom it was passed to; by nobody else.
    let to = ["reassign", "--to", "emp-8", "--reason", "knows the crm"];
    let said = decide(&service, "boss", &campaign, &admins, &to);
    assert_eq!(said.status, 0, "{said:?}");
    refused(decide(&service, "boss", &campaign, &admins, &["keep"]), "is not to decide on this");

    stage.fault("crm", "down");
    let said = decide(&service, "other", &campaign, &admins, &["revoke", "--reason", "=not needed"]);
    assert_eq!(said.status, 0, "{said:?}");
    for (connector, right) in [("crm", "staff"), ("wiki", "staff"), ("wiki", "admins")] {
        let said = decide(&service, "boss", &campaign, &of(connector, right), &["keep"]);
        assert_eq!(said.status, 0, "{said:?}");
    }
    // Everything that was decided outlives a crash.
    service.kill();
    let service = stage.serve(&people(&stage));
    let now = status(&service, &campaign);
    assert_eq!((&now["decisions_made"], &now["revokes_waiting"]), (&json!(4), &json!(1)), "{now}");
    for item in all.iter().filter(|item| item["access"]["person"] == "emp-9") {
        let right = item["access"]["right"]["connector"].as_str().unwrap();
        let said = service.ask_as(
            "ciso",
            &[
                "review",
                "assign",
                &campaign,
                "--person",
                "emp-9",
                "--connector",
                right,
                "--right",
                "staff",
                "--to",
                "emp-8",
                "--reason",
                "nobody else",
            ],
        );
        assert_eq!(said.status, 0, "{said:?}");
        let said = decide(&service, "other", &campaign, item, &["keep"]);
        assert_eq!(said.status, 0, "{said:?}");
    }
    // All is decided, and the application has not let go of it.
    until(|| status(&service, &campaign)["has_errors"] == true);
    assert_eq!(status(&service, &campaign)["phase"], "remediation");
    let said = service.ask_as("ciso", &["review", "close", &campaign]);
    assert_eq!(said.status, 10, "{said:?}");
    assert_eq!(service.status()["reviews"][0]["revokes_waiting"], 1);
    stage.fault("crm", "ok");
    assert_eq!(service.ask(&["replay", "crm"]).status, 0);
    until(|| status(&service, &campaign)["phase"] == "complete");
    assert!(!groups(&stage, "crm").lines().any(|line| line.contains("admins") && line.contains("\"value\"")));
    assert_eq!(service.ask_as("ciso", &["review", "close", &campaign]).status, 0);
    let said = service.ask_as("boss", &["review", "sign", &campaign]);
    assert_eq!(said.status, 0, "{said:?}");

    let said = service.ask(&["review", "export", &campaign, "--format", "csv"]);
    assert_eq!(said.out.lines().count(), 7, "{said:?}");
    let page = stage.path().join("review.html");
    let page = page.to_str().unwrap();
    assert_eq!(service.ask(&["review", "export", &campaign, "--format", "html", "--out", page]).status, 0);
    assert!(std::fs::read_to_string(page).unwrap().contains("Complete: everything is decided"));
    let said = service.ask(&["review", "export", &campaign]);
    assert_eq!(said.json()[0]["progress"]["phase"], "complete", "{said:?}");

    // The next one knows what this one said.
    let next = service.ask_as(
        "ciso",
        &["--json", "review", "start", "Q2", "--due", "30", "--reviewer", "emp-8", "--connector", "wiki"],
    );
    let next = next.json()[0]["campaign"].as_str().unwrap().to_owned();
    let all = items(&service, "reader", &next);
    assert!(all.iter().all(|item| item["access"]["last_review"].is_string()), "{all:?}");
    let said = service.ask_as("ciso", &["review", "close", &next, "--cancel", "--reason", "a trial"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(service.end(), 0);
    let trail = stage.trail();
    let count = |event_type: &str| trail.iter().filter(|entry| entry.event_type == event_type).count();
    for (event_type, times) in [
        ("review.started", 2),
        ("review.approved", 5),
        ("review.reassigned", 1),
        ("review.assigned", 2),
        ("review.revoking", 1),
        ("review.revoked", 1),
        ("review.completed", 1),
        ("review.signed", 1),
        ("review.cancelled", 1),
    ] {
        assert_eq!(count(event_type), times, "{event_type}");
    }
    assert!(count("review.revoke_failed") >= 1);
}

/// Asks crm behind the provisioner's back.
fn crm(stage: &Stage, method: &str, path: &str, body: &Value) -> Value {
    let base = url::Url::parse(&stage.base_url("crm")).unwrap();
    let token = std::fs::read_to_string(stage.path().join("crm.token")).unwrap();
    let mut request = Request::new(method, format!("{}{path}", base.path().trim_end_matches('/')))
        .header("authorization", format!("Bearer {}", token.trim()));
    if !body.is_null() {
        request = request.scim(body.to_string());
    }
    let address = format!("{}:{}", base.host_str().unwrap(), base.port().unwrap()).parse().unwrap();
    let answer = request.send(address).unwrap();
    assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

#[test]
fn two_accounts_of_one_person_are_two_things_to_decide_on_and_a_listing_closes_what_is_gone() {
    let stage = Stage::new();
    let service = stage.serve(&people(&stage));
    join(&service, "msg-1", "emp-1", &["admins"]);
    // Another account of theirs, made behind the provisioner.
    let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "second",
        "externalId": "emp-1", "active": true});
    let second = crm(&stage, "POST", "/Users", &user)["id"].as_str().unwrap().to_owned();
    let groups = crm(&stage, "GET", "/Groups", &Value::Null);
    let admins = groups["Resources"][0]["id"].as_str().unwrap().to_owned();
    let patch = |op: &str, rest: Value| {
        let mut operation = json!({"op": op});
        operation.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]})
    };
    let add = patch("add", json!({"path": "members", "value": [{"value": second}]}));
    crm(&stage, "PATCH", &format!("/Groups/{admins}"), &add);

    let said = service.ask_as(
        "ciso",
        &["--json", "review", "start", "Q1", "--due", "30", "--reviewer", "manager", "--connector", "crm"],
    );
    let campaign = said.json()[0]["campaign"].as_str().unwrap().to_owned();
    let all = items(&service, "boss", &campaign);
    assert_eq!(all.len(), 2, "{all:?}");
    let by = |account: &Value| *account == json!(second);
    let of_second = all.iter().find(|item| by(&item["access"]["account"])).unwrap();
    let of_first = all.iter().find(|item| !by(&item["access"]["account"])).unwrap();
    // Nothing is on record of an account that nobody provisioned.
    assert!(
        of_second["access"]["justification"].is_null() && of_first["access"]["justification"].is_string()
    );
    let said = decide(&service, "boss", &campaign, of_first, &["keep"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.err.contains("--account says which"), "{said:?}");
    let first = of_first["access"]["account"].as_str().unwrap();
    let said = decide(&service, "boss", &campaign, of_first, &["keep", "--account", first]);
    assert_eq!(said.status, 0, "{said:?}");
    let revoke = ["revoke", "--account", &second, "--reason", "what for"];
    let said = decide(&service, "boss", &campaign, of_second, &revoke);
    assert_eq!(said.status, 0, "{said:?}");
    until(|| status(&service, &campaign)["has_errors"] == true);
    let shown = service.ask(&["review", "items", &campaign]);
    assert!(shown.out.contains("is not the one that is provisioned"), "{shown:?}");
    // The other account keeps what was approved.
    assert_eq!(service.ask(&["reconcile", "crm"]).status, 0);
    assert_eq!(status(&service, &campaign)["phase"], "remediation");
    let remove = patch("remove", json!({"path": format!("members[value eq \"{second}\"]")}));
    crm(&stage, "PATCH", &format!("/Groups/{admins}"), &remove);
    service.ask(&["reconcile", "crm"]);
    until(|| status(&service, &campaign)["phase"] == "complete");
    let members = crm(&stage, "GET", "/Groups", &Value::Null);
    assert_eq!(members["Resources"][0]["members"].as_array().unwrap().len(), 1, "{members}");
    let said = service.ask_as("ciso", &["review", "approve", &campaign, "--revokes", "3", "--reason", "x"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(service.end(), 0);
}

#[test]
fn a_right_that_was_granted_anew_since_it_was_approved_is_asked_about_again() {
    let stage = Stage::new();
    let service = stage.serve(&people(&stage));
    join(&service, "msg-1", "emp-1", &["admins", "staff"]);
    let said = service.ask_as(
        "ciso",
        &["--json", "review", "start", "Q1", "--due", "30", "--reviewer", "manager", "--connector", "crm"],
    );
    let campaign = said.json()[0]["campaign"].as_str().unwrap().to_owned();
    let all = items(&service, "boss", &campaign);
    let admins = all.iter().find(|item| item["access"]["right"]["entitlement"] == "admins").unwrap();
    assert_eq!(decide(&service, "boss", &campaign, admins, &["keep"]).status, 0);
    let moves = |id: &str, groups: &[&str]| {
        let event = json!({"type": "mover", "person": {"id": "emp-1", "groups": groups}});
        assert_eq!(service.signed(id, &event.to_string()).status, 202);
        service.drained();
    };
    moves("msg-2", &["staff"]);
    moves("msg-3", &["admins"]);
    assert_eq!(service.ask(&["reconcile", "crm"]).status, 0);
    // One is gone, and the other is not what was approved.
    let states = |service: &Service| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = items(service, "boss", &campaign);
        all.iter()
            .map(|item| (text(&item["access"]["right"]["entitlement"]), text(&item["state"]["state"])))
            .collect()
    };
    let wanted = [("admins".to_owned(), "open".to_owned()), ("staff".to_owned(), "gone".to_owned())];
    until(|| states(&service) == wanted);
    assert_eq!(service.end(), 0);
}

#[test]
fn a_review_that_recurs_begins_by_itself_and_once() {
    let stage = Stage::new();
    let settings = people(&stage)
        + "[[review]]\nname = \"Quarterly\"\nowner = \"emp-7\"\nfirst = 2020-01-01\nevery_months = 3\ndays = 14\n\
           reviewers = [\"manager\", { named = \"emp-8\" }]\nconnectors = [\"crm\"]\n";
    // Nobody can be listed at first: it does not begin with half of it.
    stage.fault("crm", "down");
    let service = stage.serve(&settings);
    let reviews = |service: &Service| {
        let said = service.ask(&["--json", "review", "list"]);
        assert_eq!(said.status, 0, "{said:?}");
        said.json().remove(0)
    };
    until(|| reviews(&service)[0]["phase"] == "failed");
    let status = service.status();
    assert!(status["sources"].to_string().contains("it did not begin"), "{status}");
    stage.fault("crm", "ok");
    join(&service, "msg-1", "emp-1", &["staff"]);
    assert_eq!(service.end(), 0);
    let service = stage.serve(&settings);
    until(|| reviews(&service)[0]["phase"] == "active");
    let first = reviews(&service);
    assert!(first[0]["campaign"].as_str().unwrap().starts_with("quarterly-20"), "{first}");
    service.kill();
    let service = stage.serve(&settings);
    until(|| reviews(&service)[0]["phase"] == "active");
    assert_eq!(reviews(&service), first);
    assert_eq!(service.end(), 0);
}

#[test]
fn a_right_that_is_granted_again_meanwhile_is_taken_away_again() {
    let stage = Stage::new();
    let service = stage.serve(&people(&stage));
    join(&service, "msg-1", "emp-1", &["admins"]);
    let campaign = start(&service);
    let all = items(&service, "boss", &campaign);
    stage.fault("crm", "down");
    stage.fault("wiki", "down");
    for item in &all {
        assert_eq!(decide(&service, "boss", &campaign, item, &["revoke", "--reason", "moved"]).status, 0);
    }
    until(|| status(&service, &campaign)["has_errors"] == true);
    let moves = json!({"type": "mover", "person": {"id": "emp-1", "groups": ["admins"]}});
    assert_eq!(service.signed("msg-2", &moves.to_string()).status, 202);
    stage.fault("crm", "ok");
    stage.fault("wiki", "ok");
    until(|| status(&service, &campaign)["phase"] == "complete");
    service.drained();
    let said = service.ask(&["--json", "reconcile", "crm"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(!groups(&stage, "crm").lines().any(|line| line.contains("admins") && line.contains("\"value\"")));
    assert_eq!(service.end(), 0);
}
