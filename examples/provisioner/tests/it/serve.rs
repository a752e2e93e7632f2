//! The service as a whole, and the verbs that ask it.

use std::sync::mpsc;

use serde_json::{Value, json};
use testbed::Stub;
use testbed::http::{Answer, Request};

use crate::run::provisioner;
use crate::stage::{LONG, OPERATOR, Stage};

const ANN: &str = r#"{"type":"joiner","person":{"id":"emp-1","user_name":"ann","display_name":"Ann Lee","email":"ann@x.example","groups":["staff"]}}"#;
const HOOK: &str = "[source.webhook]\nsecret_file = \"hook\"\n";

fn users(stage: &Stage, application: &str) -> Vec<serde_json::Value> {
    let token = stage.path().join(format!("{application}.token"));
    let said = provisioner(
        &[
            "--json",
            "scim",
            "list",
            &stage.base_url(application),
            "users",
            "--token-file",
            token.to_str().unwrap(),
        ],
        &[],
        "",
    );
    assert_eq!(said.status, 0, "{said:?}");
    said.json()
}

#[test]
fn who_joins_gets_accounts_and_who_leaves_is_out_with_a_record() {
    let stage = Stage::new();
    let service = stage.serve(HOOK);
    let answer = service.signed("msg-1", ANN);
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    service.drained();
    for application in ["crm", "payroll", "wiki"] {
        let users = users(&stage, application);
        assert_eq!((users.len(), &users[0]["active"]), (1, &json!(true)), "{application}: {users:?}");
    }
    let said = service.ask(&["status"]);
    assert!(said.out.contains("payroll") && said.out.contains("CONNECTOR"), "{said:?}");

    let said = service.ask(&["offboard", "emp-1", "--wait", "60"]);
    assert_eq!((said.status, said.out.as_str()), (0, "emp-1 is out everywhere\n"), "{said:?}");
    assert_eq!(users(&stage, "wiki")[0]["active"], json!(false));
    let said = service.ask(&["report", "emp-1"]);
    assert_eq!(said.json()[0]["state"], "complete", "{said:?}");
    let page = stage.path().join("record.html");
    let said = service.ask(&["report", "emp-1", "--format", "html", "--out", page.to_str().unwrap()]);
    assert_eq!((said.status, said.out.as_str()), (0, ""), "{said:?}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("<html"));
    let said = service.ask(&["report", "emp-1", "--format", "csv"]);
    assert!(said.out.lines().count() >= 4, "{said:?}");
    assert_eq!(service.ask(&["report", "nobody"]).status, 6);
    assert_eq!(service.ask(&["replay", "nowhere"]).status, 6);
    assert_eq!(service.ask(&["approve", "--source", "csv"]).status, 6);
    assert_eq!(service.end(), 0);
}

#[test]
fn a_reader_may_look_and_nothing_else() {
    let stage = Stage::new();
    let service = stage.serve("");
    assert_eq!(service.ask_as("reader", &["status"]).status, 0);
    let said = service.ask_as("reader", &["offboard", "emp-1"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(said.err.contains("reading only"), "{said:?}");
    let said = service.ask_as("crm.token", &["--json", "status"]);
    assert_eq!((said.status, said.error()["cause"].as_str()), (4, Some("credential_refused")), "{said:?}");
    assert_eq!(service.status()["leavers_open"], 0);
    let err = String::from_utf8(service.running.stderr()).unwrap();
    assert!(!err.contains(OPERATOR), "{err}");
    let api = service.api.clone();
    assert_eq!(service.end(), 0);
    let token = stage.path().join("operator");
    let said = provisioner(&["status", "--api", &api, "--token-file", token.to_str().unwrap()], &[], "");
    assert_eq!(said.status, 3, "{said:?}");
}

#[test]
fn a_message_is_taken_once_and_a_forged_one_never() {
    let stage = Stage::new();
    let service = stage.serve(HOOK);
    let now = chrono::Utc::now().timestamp();
    let signed = |id: &str, at| {
        connector_health::alert::signature(crate::stage::HOOK.as_bytes(), id, at, ANN.as_bytes())
    };
    assert_eq!(service.hook("msg-1", now, &signed("msg-2", now), ANN).status, 401);
    assert_eq!(service.hook("msg-1", now - 400, &signed("msg-1", now - 400), ANN).status, 401);
    assert_eq!(service.hook("msg-1", now, &signed("msg-1", now), ANN).status, 202);
    assert_eq!(service.hook("msg-1", now, &signed("msg-1", now), ANN).status, 200);
    assert_eq!(service.signed("msg-3", "{\"type\":\"leaver\"}").status, 400);
    service.drained();
    assert_eq!(service.end(), 0);
    let service = stage.serve(HOOK);
    let again = service.hook("msg-1", now, &signed("msg-1", now), ANN);
    assert_eq!(again.status, 200, "{}", String::from_utf8_lossy(&again.body));
    assert_eq!(service.end(), 0);
}

#[test]
fn a_new_credential_is_used_without_a_restart() {
    let stage = Stage::new();
    let token = std::fs::read_to_string(stage.path().join("wiki.token")).unwrap();
    crate::config::secret(stage.path(), "wiki.token", "expired");
    let service = stage.serve(HOOK);
    assert_eq!(service.signed("msg-1", ANN).status, 202);
    let said = service.ask(&["replay", "crm", "--wait", "60"]);
    assert_eq!(said.status, 0, "{said:?}");
    let waits = |service: &crate::stage::Service| {
        let status = service.status();
        let all = status["connectors"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["id"] == "wiki").unwrap()["provisioning_queued"].as_u64().unwrap()
    };
    assert!(waits(&service) > 0);
    assert_eq!(service.ask(&["replay", "wiki", "--wait", "1"]).status, 10);
    crate::config::secret(stage.path(), "wiki.token", &token);
    service.heard("wiki: there is a new credential");
    service.drained();
    assert_eq!(waits(&service), 0);
    assert_eq!(service.end(), 0);
}

#[test]
fn a_leaver_who_was_let_in_again_behind_the_record_is_found_and_put_out() {
    let stage = Stage::new();
    let service = stage.serve(HOOK);
    assert_eq!(service.signed("msg-1", ANN).status, 202);
    service.drained();
    assert_eq!(service.ask(&["offboard", "emp-1", "--wait", "60"]).status, 0);
    let said = service.ask(&["reconcile", "crm"]);
    assert_eq!(said.status, 0, "{said:?}");

    let id = users(&stage, "crm")[0]["id"].as_str().unwrap().to_owned();
    let token = stage.path().join("crm.token");
    let said = provisioner(
        &[
            "scim",
            "patch",
            &stage.base_url("crm"),
            &format!("users/{id}"),
            "--set",
            "active=true",
            "--token-file",
            token.to_str().unwrap(),
        ],
        &[],
        "",
    );
    assert_eq!(said.status, 0, "{said:?}");
    let said = service.ask(&["reconcile", "crm"]);
    assert_eq!(said.status, 9, "{said:?}");
    assert!(said.out.contains("false_completion") && said.out.contains("emp-1"), "{said:?}");
    // Looking changes nothing.
    assert_eq!(users(&stage, "crm")[0]["active"], json!(true));
    let said = service.ask(&["reconcile", "crm", "--apply", "disable-leavers"]);
    assert!(said.out.contains("1 deprovisioned again"), "{said:?}");
    service.drained();
    assert_eq!(users(&stage, "crm")[0]["active"], json!(false));
    let said = service.ask(&["reconcile", "crm"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(service.end(), 0);
}

#[test]
fn an_account_that_appears_after_it_was_confirmed_that_there_is_none_is_found_and_put_out() {
    let stage = Stage::new();
    let service = stage.serve(HOOK);
    assert_eq!(service.ask(&["offboard", "emp-9", "--wait", "60"]).status, 0);
    assert_eq!(service.ask(&["reconcile", "crm"]).status, 0);
    // A create that somebody sent long ago.
    let base = stage.base_url("crm");
    let (authority, path) = base.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let token = std::fs::read_to_string(stage.path().join("crm.token")).unwrap();
    let user = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "kim", "externalId": "emp-9", "active": true,
    });
    let create = Request::new("POST", format!("/{path}/Users"))
        .header("authorization", format!("Bearer {}", token.trim()))
        .scim(user.to_string());
    assert_eq!(create.send(authority.parse().unwrap()).unwrap().status, 201);
    let said = service.ask(&["reconcile", "crm"]);
    assert_eq!(said.status, 9, "{said:?}");
    assert!(said.out.contains("false_completion") && said.out.contains("emp-9"), "{said:?}");
    let said = service.ask(&["reconcile", "crm", "--apply", "disable-leavers"]);
    assert!(said.out.contains("1 deprovisioned again"), "{said:?}");
    service.drained();
    assert_eq!(users(&stage, "crm")[0]["active"], json!(false));
    assert_eq!(service.end(), 0);
}

#[test]
fn over_tls_the_verbs_trust_what_they_are_told_to() {
    let stage = Stage::new();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(stage.path().join("cert.pem"), made.cert.pem()).unwrap();
    crate::config::secret(stage.path(), "key.pem", &made.signing_key.serialize_pem());
    let service = stage.serve("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n");
    assert!(service.api.starts_with("https://"), "{}", service.api);
    assert_eq!(service.ask(&["status"]).status, 3);
    let ca = stage.path().join("cert.pem");
    let said = service.ask(&["status", "--ca", ca.to_str().unwrap()]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(service.end(), 0);
}

#[test]
fn rights_that_nobody_may_have_together_are_not_granted() {
    let stage = Stage::new();
    let rules = r#"
version = 1
[[function]]
id = "PAY"
any = { payroll = ["payers"] }
[[function]]
id = "VENDOR"
any = { crm = ["vendors"] }
[[risk]]
id = "R1"
level = "high"
functions = ["PAY", "VENDOR"]
remedy = "revoke"
"#;
    std::fs::write(stage.path().join("sod.toml"), rules).unwrap();
    let service = stage.serve(&format!("{HOOK}[sod]\nrules = \"sod.toml\"\n"));
    let join = r#"{"type":"joiner","person":{"id":"emp-1","user_name":"ann","groups":["vendors"]}}"#;
    assert_eq!(service.signed("msg-1", join).status, 202);
    let moves = r#"{"type":"mover","person":{"id":"emp-1","groups":["vendors","payers"]}}"#;
    let answer = service.signed("msg-2", moves);
    let body = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 422, "{body}");
    assert!(body.contains("payers on payroll is not granted (R1): nobody may have both"), "{body}");
    service.drained();
    let said = service.ask(&["reconcile", "payroll"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(service.end(), 0);
}

#[test]
fn an_alert_arrives_signed_where_an_application_is_down() {
    let stage = Stage::new();
    let (sender, alerts) = mpsc::channel();
    let hook = Stub::start(move |request| {
        let _ = sender.send(request.clone());
        Answer::new(200, "text/plain", "")
    })
    .unwrap();
    let service = stage.serve(&format!(
        "[alert.log]\nfile = \"alerts.jsonl\"\n[[alert.webhook]]\nname = \"ops\"\nurl = \"http://{}/alerts\"\n\
         secret_file = \"hook\"\ndangerous_plain_http = true\ndangerous_allow_inside = [\"127.0.0.0/8\"]\n\
         [thresholds]\nprobe_every_s = 1\nprobe_every_max_s = 1\n",
        hook.addr()
    ));
    stage.fault("crm", "down");
    let request: Request = alerts.recv_timeout(LONG).unwrap();
    let alert: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&alert["connector"], &alert["state"]), (&json!("crm"), &json!("open")), "{alert}");
    let header = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.unwrap().1.clone()
    };
    let (id, at) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
    let wanted = connector_health::alert::signature(crate::stage::HOOK.as_bytes(), &id, at, &request.body);
    assert_eq!(header("webhook-signature"), wanted);
    assert_eq!(service.end(), 0);
    let log = std::fs::read_to_string(stage.path().join("alerts.jsonl")).unwrap();
    assert!(log.lines().next().unwrap().contains("\"crm\""), "{log}");
}
