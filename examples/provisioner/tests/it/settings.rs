//! What the settings say, seen at work: credentials, mappings, ends of credentials, mail.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use data_encoding::BASE64;
use serde_json::{Value, json};
use testbed::Stub;
use testbed::http::{Answer, Request};

use crate::config::secret;
use crate::stage::{LONG, Service, Stage, until};

const HOOK: &str = "[source.webhook]\nsecret_file = \"hook\"\n";

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// In front of the demo's crm: lets in who shows this, with crm's own token in its place. `/token` gives out another.
fn door(stage: &Stage, shown: String, token_for: Option<(String, Value)>) -> Stub {
    let crm = url::Url::parse(&stage.base_url("crm")).unwrap();
    let behind = format!("{}:{}", crm.host_str().unwrap(), crm.port().unwrap()).parse().unwrap();
    let token = std::fs::read_to_string(stage.path().join("crm.token")).unwrap();
    Stub::start(move |request| {
        let reply =
            |status, body: Value| Answer::new(status, "application/json", body.to_string().into_bytes());
        if request.target == "/token" {
            let (wanted, given) = token_for.as_ref().unwrap();
            let asks = String::from_utf8_lossy(&request.body).contains("grant_type=client_credentials");
            return match header(request, "authorization") == Some(wanted) && asks {
                true => reply(200, given.clone()),
                false => reply(401, json!({"error": "invalid_client"})),
            };
        }
        if header(request, "authorization") != Some(&shown) {
            return reply(401, json!({}));
        }
        let mut behind_it = request.clone();
        for (name, value) in &mut behind_it.headers {
            if name.eq_ignore_ascii_case("authorization") {
                *value = format!("Bearer {}", token.trim());
            }
        }
        behind_it.send(behind).unwrap()
    })
    .unwrap()
}

fn connector(stage: &Stage, door: &Stub, rest: &str) -> String {
    let path = url::Url::parse(&stage.base_url("crm")).unwrap().path().to_owned();
    format!(
        "{HOOK}[[connector]]\nid = \"door\"\nkind = \"scim\"\nurl = \"http://{}{path}\"\n{rest}\n",
        door.addr()
    )
}

fn joined(service: &Service) {
    let join = json!({"type": "joiner", "person": {"id": "emp-1", "user_name": "ann", "display_name": "Ann",
        "email": "Ann.Lee@X.example", "attributes": {"given_name": "Ann", "family_name": "Lee"}}});
    let answer = service.signed("msg-1", &join.to_string());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    service.drained();
}

#[test]
fn a_password_or_a_client_secret_opens_an_application_as_a_token_does() {
    let stage = Stage::new();
    secret(stage.path(), "door.secret", "s3cret: with a colon");
    let basic = format!("Basic {}", BASE64.encode(b"provisioner:s3cret: with a colon"));
    let by_password = door(&stage, basic.clone(), None);
    let rest = "basic = { user = \"provisioner\", password_file = \"door.secret\" }";
    let service = stage.serve(&connector(&stage, &by_password, rest));
    joined(&service);
    let record = |service: &Service| {
        assert_eq!(service.ask(&["offboard", "emp-1", "--wait", "60"]).status, 0);
        service.ask(&["report", "emp-1"]).json().remove(0)
    };
    let confirmed = record(&service);
    let systems = confirmed["systems"].as_array().unwrap();
    assert!(systems.iter().any(|system| system["connector"] == "door"), "{confirmed}");
    assert_eq!(confirmed["state"], "complete");
    assert_eq!(service.end(), 0);

    let stage = Stage::new();
    secret(stage.path(), "door.secret", "client-secret");
    let client = format!("Basic {}", BASE64.encode(b"provisioner:client-secret"));
    let given = json!({"access_token": "given-1", "token_type": "Bearer", "expires_in": 3600});
    let by_client = door(&stage, "Bearer given-1".to_owned(), Some((client, given)));
    let rest = format!(
        "oauth2 = {{ token_url = \"http://{}/token\", client_id = \"provisioner\", secret_file = \"door.secret\", scope = \"scim\" }}",
        by_client.addr()
    );
    let service = stage.serve(&connector(&stage, &by_client, &rest));
    joined(&service);
    assert_eq!(record(&service)["state"], "complete");
    let err = String::from_utf8(service.running.stderr()).unwrap();
    assert!(!err.contains("client-secret") && !err.contains("given-1"), "{err}");
    assert_eq!(service.end(), 0);
}

#[test]
fn a_mapping_of_ones_own_says_what_an_application_is_told() {
    let stage = Stage::new();
    let mapping = "version = 1\n[source]\nuser_name = \"string\"\nemail = \"string\"\ngiven_name = \"string\"\n\
                   family_name = \"string\"\n[attributes]\nuserName = { lower = \"email\", required = true }\n\
                   displayName = { join = [\"family_name\", \"given_name\"], with = \", \" }\n";
    std::fs::write(stage.path().join("door.toml"), mapping).unwrap();
    let token = std::fs::read_to_string(stage.path().join("crm.token")).unwrap();
    let door = door(&stage, format!("Bearer {}", token.trim()), None);
    // The demo's crm behind another name alone: two connectors would write to one application.
    let settings = connector(&stage, &door, "token_file = \"crm.token\"\nmapping = \"door.toml\"");
    let only = std::fs::read_to_string(stage.settings(&settings)).unwrap();
    let (before, after) = only.split_once("[[connector]]\nid = \"crm\"").unwrap();
    let after = after.split_once("[[connector]]").unwrap().1;
    let service = stage.serve_with(&format!("{before}[[connector]]{after}"));
    joined(&service);
    let said = crate::run::provisioner(
        &[
            "--json",
            "scim",
            "list",
            &stage.base_url("crm"),
            "users",
            "--token-file",
            stage.path().join("crm.token").to_str().unwrap(),
        ],
        &[],
        "",
    );
    let user = &said.json()[0];
    assert_eq!((&user["userName"], &user["displayName"]), (&json!("ann.lee@x.example"), &json!("Lee, Ann")));
    // What a mapping makes is no drift.
    let said = service.ask(&["--json", "reconcile", "door"]);
    assert_eq!(said.json()[0]["report"]["counts"]["drifted"], 0, "{said:?}");
    assert_eq!(service.end(), 0);
}

#[test]
fn the_end_of_a_credential_is_warned_of_ahead() {
    let stage = Stage::new();
    let soon = (chrono::Utc::now() + chrono::TimeDelta::days(5)).date_naive();
    let settings = std::fs::read_to_string(stage.settings(HOOK)).unwrap();
    let with_end = settings.replacen(
        "token_file = \"wiki.token\"\n",
        &format!("token_file = \"wiki.token\"\ncredential_ends = {soon}\n"),
        1,
    );
    let service = stage.serve_with(&with_end);
    let alert = || {
        let status = service.status();
        status["alerts"].as_array().unwrap().first().cloned()
    };
    until(|| alert().is_some());
    let alert = alert().unwrap();
    assert_eq!(
        (&alert["connector"], &alert["failure_type"]),
        (&json!("wiki"), &json!("credential_expiring"))
    );
    assert_eq!(service.end(), 0);
}

/// A mail server that takes one message on each connection.
fn mail_server() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mails) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            stream.write_all(b"220 mail.example.com\r\n").unwrap();
            let (mut mail, mut in_data) = (String::new(), false);
            while let Some(Ok(line)) = lines.next() {
                mail.push_str(&line);
                mail.push('\n');
                let answer = match line.get(..4).unwrap_or(&line) {
                    "." if in_data => {
                        in_data = false;
                        if sender.send(std::mem::take(&mut mail)).is_err() {
                            return;
                        }
                        "250 taken\r\n"
                    }
                    _ if in_data => continue,
                    "EHLO" => "250-mail.example.com\r\n250 AUTH PLAIN LOGIN\r\n",
                    "AUTH" => "235 welcome\r\n",
                    "DATA" => {
                        in_data = true;
                        "354 go on\r\n"
                    }
                    "QUIT" => "221 bye\r\n",
                    _ => "250 ok\r\n",
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (port, mails)
}

#[test]
fn an_alert_comes_by_mail() {
    let (port, mails) = mail_server();
    let stage = Stage::new();
    secret(stage.path(), "mail.password", "mail-password");
    stage.fault("wiki", "unauthorized");
    let service = stage.serve(&format!(
        "{HOOK}[alert.smtp]\nhost = \"127.0.0.1\"\nport = {port}\ndangerous_plain = true\nfrom = \"provisioner@example.com\"\n\
         to = [\"identity@example.com\"]\nuser = \"mailer\"\npassword_file = \"mail.password\"\n"
    ));
    let mail = mails.recv_timeout(LONG).unwrap();
    assert!(mail.contains("RCPT TO:<identity@example.com>"), "{mail}");
    assert!(mail.contains("Subject: ") && mail.contains("wiki"), "{mail}");
    let login = BASE64.encode(b"\0mailer\0mail-password");
    assert!(mail.contains(&format!("AUTH PLAIN {login}")), "{mail}");
    assert!(!String::from_utf8(service.running.stderr()).unwrap().contains("mail-password"));
    assert_eq!(service.end(), 0);
}
