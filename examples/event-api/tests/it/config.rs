//! Settings, keys and what is said of them.

use std::path::Path;

use serde_json::{Value, json};

use crate::stage::{Api, Settings, Started, binary, event};

fn check(config: &Path, json: bool) -> (i32, String) {
    let mut command = binary();
    command.args(["check", "--config"]).arg(config);
    if json {
        command.arg("--json");
    }
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_good_file_is_good_to_serve_and_nothing_is_started() {
    let settings = Settings::new("");
    let (status, said) = check(&settings.config, false);
    assert!(status == 0 && said.ends_with("event-api.toml: good to serve\n"), "{said}");
    assert!(!settings.data_dir().exists());
}

#[test]
fn mistakes_are_told_with_line_and_column_by_check_and_serve() {
    let settings = Settings::new("[connections]\nmax = 0\n");
    let (status, said) = check(&settings.config, false);
    assert_eq!(status, 2);
    assert!(said.contains("event-api.toml: line 9, column 7: invalid value: integer `0`"), "{said}");
    let (status, said) = check(&settings.config, true);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &said["ok"]), (2, &json!(false)));
    assert_eq!((&said["mistakes"][0]["line"], &said["mistakes"][0]["column"]), (&json!(9), &json!(7)));
    let served = binary().args(["serve", "--config"]).arg(&settings.config).output().unwrap();
    assert_eq!(served.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&served.stderr).contains("line 9, column 7"));
    assert!(!settings.data_dir().exists());
}

#[test]
fn without_tls_it_listens_to_this_machine_alone() {
    let settings = Settings::new("");
    let text = std::fs::read_to_string(&settings.config).unwrap();
    std::fs::write(&settings.config, text.replace("127.0.0.1", "0.0.0.0")).unwrap();
    let (status, said) = check(&settings.config, false);
    assert!(status == 2 && said.contains("line 2, column 10: 0.0.0.0:"), "{said}");
}

#[test]
fn a_key_is_shown_once_and_its_table_makes_it_good_for_what_it_says() {
    let made =
        binary().args(["keys", "the \"sender\"", "--tenant", "acme", "--may", "ingest"]).output().unwrap();
    assert!(made.status.success());
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(key.len() >= 32 && !said.contains(&key));
    let table = said.split_once("[[key]]").unwrap().1;
    let settings = Settings::new(&format!("[[key]]{table}"));
    let service = Started::serve(&settings.config);
    let sender = Api { key, ..settings.api() };
    assert_eq!(sender.post(&event("alice").to_string()).0, 200);
    assert_eq!(sender.get("/v1/stream").status, 403);
    assert_eq!(settings.api().ids().len(), 1);
    let stderr = String::from_utf8_lossy(&service.process.stderr()).into_owned();
    assert!(!stderr.contains(&sender.key) && !stderr.contains(&settings.key), "{stderr}");
}

#[test]
fn limits_of_a_key_hold() {
    let settings = Settings::new("limits = { events_per_day = 2 }\n");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    assert_eq!(api.post(&format!("{}\n{}", event("a"), event("b"))).0, 200);
    let answer = api.try_post(&event("c").to_string()).unwrap();
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &problem["limit"]), (429, &json!("events_per_day")));
    assert!(answer.value("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

#[test]
#[ignore = "needs curl: cargo xtask test"]
fn over_tls_it_is_served_to_whoever_trusts_its_certificate() {
    let settings = Settings::new("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(settings.dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    let key = settings.dir.path().join("key.pem");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(check(&settings.config, false).1.contains("chmod 600"), "others can read the key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let service = Started::serve(&settings.config);
    assert!(service.text("api").starts_with("https://"));
    let auth = format!("Authorization: Bearer {}", settings.key);
    let url = format!("https://localhost:{}/v1/stream", settings.port);
    let cert = settings.dir.path().join("cert.pem");
    let cert = cert.to_str().unwrap();
    let asked =
        ["--silent", "--fail", "--cacert", cert, "--header", &auth, "--write-out", "%{http_code}", &url];
    assert_eq!(testbed::run("curl", "curl", asked).unwrap().stdout_text(), "200");
    assert!(
        testbed::run("curl", "curl", ["--silent", "--fail", url.as_str()]).is_err(),
        "unknown certificate"
    );
    let plain = settings.api().request("GET", "/v1/stream").send(settings.api().address);
    assert!(plain.is_err(), "{plain:?}");
}
