//! Settings that are wrong, and what is said of them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Said, provisioner};

pub fn secret(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    secret(dir.path(), "ops.token", "0123456789abcdef0123456789abcdef\n");
    secret(dir.path(), "crm.token", "crm-token\n");
    dir
}

pub fn check(dir: &Path, text: &str, arguments: &[&str]) -> Said {
    let file = dir.join("provisioner.toml");
    std::fs::write(&file, text).unwrap();
    provisioner(&[arguments, &["check", "--config", file.to_str().unwrap()]].concat(), &[], "")
}

pub const GOOD: &str = r#"
data_dir = "data"

[[api.token]]
name = "ops"
role = "operator"
file = "ops.token"

[[connector]]
id = "crm"
kind = "scim"
url = "https://crm.example.com/scim/v2"
token_file = "crm.token"
credential_ends = 2027-01-31
"#;

#[test]
fn a_good_file_is_good_and_starts_nothing() {
    let dir = directory();
    let said = check(dir.path(), GOOD, &[]);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("good to serve"), "{said:?}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn every_mistake_is_said_at_once_with_its_place() {
    let dir = directory();
    std::fs::write(dir.path().join("open.token"), "hunter2hunter2hunter2").unwrap();
    std::fs::set_permissions(dir.path().join("open.token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = r#"data_dir = "data"
listen = "0.0.0.0:8443"
colour = "blue"

[[api.token]]
name = "ops"
role = "emperor"
file = "ops.token"

[[api.token]]
name = "desk"
role = "reader"
file = "open.token"

[[connector]]
id = "crm"
kind = "scim"
url = "crm.example.com"
token_file = "nowhere"
dialect = "klingon"

[[connector]]
id = "crm"
kind = "scim"
url = "http://crm.example.com/scim"
token_file = "crm.token"
credential_ends = "tomorrow"

[[connector]]
id = "wiki"
kind = "carrier pigeon"
url = "https://wiki.example.com"

[[connector]]
id = "pay"
kind = "scim"
url = "https://pay.example.com"
tokenfile = "crm.token"

[thresholds]
failed_cycles = "two"

[[alert.webhook]]
name = "ops"
url = "https://127.0.0.1/hook"
secret_file = "ops.token"

[source.csv]
path = "people.csv"
time_zone = "Mars/Olympus"
"#;
    let said = check(dir.path(), text, &["--json"]);
    assert_eq!(said.status, 2, "{said:?}");
    let report = &said.json()[0];
    assert_eq!(report["ok"], false);
    let places: Vec<(u64, String)> = report["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mistake: &Value| {
            assert!(mistake["column"].as_u64().unwrap() >= 1);
            (mistake["line"].as_u64().unwrap(), mistake["message"].as_str().unwrap().to_owned())
        })
        .collect();
    for (line, part) in [
        (2, "0.0.0.0:8443 can be reached from other machines"),
        (3, "unknown field `colour`"),
        (7, "unknown variant `emperor`"),
        (13, "chmod 600"),
        (18, "`crm.example.com` is no address"),
        (19, "nowhere"),
        (23, "connector `crm` is there twice"),
        (25, "is not encrypted"),
        (27, "no date such as 2026-12-31"),
        (31, "there is no kind `carrier pigeon`; there are `scim`, `ldap`"),
        (38, "unknown field `tokenfile`"),
        (41, "string"),
        (45, "points inside"),
        (50, "Mars/Olympus"),
    ] {
        assert!(
            places.iter().any(|(at, message)| *at == line && message.contains(part)),
            "line {line}: {part}\n{places:#?}"
        );
    }
    assert!(!said.out.contains("hunter2"), "{said:?}");
    let plain = check(dir.path(), text, &[]);
    assert!(plain.out.contains("provisioner.toml: line 3, column 1: unknown field `colour`"), "{plain:?}");
}

#[test]
fn mistakes_of_every_kind_are_said_with_their_place() {
    let dir = directory();
    std::fs::write(dir.path().join("wiki.toml"), "base_url = \"https://wiki.example\"\ncolour = 1\n")
        .unwrap();
    let text = r#"data_dir = "data"
[[api.token]]
name = "ops"
role = "operator"
file = "ops.token"

[[connector]]
id = "directory"
kind = "ldap"
url = "http://ldap.example.com"
password_file = "ops.token"
bind_dn = "cn=p"
people = "ou=people"
object_classes = ["inetOrgPerson"]
account_class = "inetOrgPerson"
naming = "uid"
person = "employeeNumber"
attributes = { user_name = "uid" }
disable = { by = "user_account_control" }

[[connector]]
id = "directory 2"
kind = "ldap"
url = "ldaps://ldap.example.com"
password_file = "ops.token"
password_env = "PATH"
bind_dn = "cn=p"
people = "ou=people"
object_classes = ["inetOrgPerson"]
account_class = "inetOrgPerson"
naming = "uid"
person = "employeeNumber"
attributes = { user_name = "uid" }
disable = { by = "user_account_control" }
basedn = "ou=people"

[[connector]]
id = "directory 3"
kind = "ldap"
url = "ldaps://ldap.example.com"
password_env = "NOBODY_SET_THIS"
bind_dn = "cn=p"
people = "ou=people"
object_classes = ["inetOrgPerson"]
account_class = "inetOrgPerson"
naming = "uid"
person = "employeeNumber"
attributes = { user_name = "uid" }
disable = { by = "user_account_control" }
groups = { base = "nonsense", class = "groupOfNames", members = "member" }

[[connector]]
id = "wiki"
kind = "http"
description = "wiki.toml"

[[connector]]
id = "erp"
kind = "sap_abap"
url = "https://erp.example.com/path"
client = "100"
user = "PROV"
password_file = "ops.token"
person = "ADDRESS.INHOUSE_ML"
user_name = "user_name"
attributes = {}

[[connector]]
id = "s4"
kind = "sap_business_user"
url = "https://s4.example.com"
user = "PROV"
attributes = {}

[[connector]]
kind = "sap_business_user"
url = "https://s4.example.com"
user = "PROV"
password_file = "ops.token"
attributes = { user_name = "Nowhere.Name" }
surprise = true
"#;
    let said = check(dir.path(), text, &["--json"]);
    assert_eq!(said.status, 2, "{said:?}");
    let report = &said.json()[0];
    for (line, part) in [
        (10, "must begin with `ldaps://` or `ldap://`"),
        (26, "`password_file` and `password_env` exclude each other"),
        (35, "unknown field `basedn`"),
        (41, "`NOBODY_SET_THIS`: environment variable not found"),
        (50, "`groups.base`"),
        (55, "`wiki.toml`: line 2, column 1: unknown field `colour`"),
        (60, "the address must be `https://` and a host"),
        (68, "needs `password_file` or `password_env`"),
        (75, "missing field `id`"),
        (81, "unknown field `surprise`"),
    ] {
        let found =
            report["mistakes"].as_array().unwrap().iter().any(|mistake| {
                mistake["line"] == line && mistake["message"].as_str().unwrap().contains(part)
            });
        assert!(found, "line {line}: {part}\n{report:#}");
    }
}

#[test]
fn mistakes_of_reviews_and_reviewers_are_said_with_their_place() {
    let dir = directory();
    secret(dir.path(), "bo.token", "abcdef0123456789abcdef0123456789");
    let text = format!(
        "{GOOD}\n[[api.token]]\nname = \"bo\"\nrole = \"reviewer\"\nfile = \"bo.token\"\n\
         [[review]]\nname = \"Q\"\nowner = \"emp-7\"\nfirst = \"soon\"\nevery_months = 0\ndays = 14\nreviewers = []\n\
         [[review]]\nname = \"Q\"\nowner = \"emp-7\"\nfirst = 2026-01-01\nevery_months = 3\ndays = 14\n\
         reviewers = [\"manager\"]\nconnectors = [\"crm\", \"nowhere\"]\n\
         [[review]]\nname = \"R\"\nowner = \"emp-7\"\nfirst = 2026-01-01\nevery_months = 3\ndays = 14\nreviewers = [\"boss\"]\n"
    );
    let said = check(dir.path(), &text, &[]);
    assert_eq!(said.status, 2, "{said:?}");
    for part in [
        "line 17, column 8: `person` is missing",
        "line 23, column 9: this is no date",
        "line 24, column 16: `every_months` is 1 or more",
        "line 26, column 13: `reviewers` says who decides",
        "line 28, column 8: review `Q` is there twice",
        "line 27, column 1: review `Q`: there is no connector `nowhere`",
        "line 41, column 14: unknown variant `boss`",
    ] {
        assert!(said.out.contains(part), "{part}\n{}", said.out);
    }
}

#[test]
fn a_file_in_the_directory_where_one_stands_has_others_beside_it() {
    let dir = directory();
    let text = format!("{GOOD}\n[alert.log]\nfile = \"alerts.jsonl\"\n");
    std::fs::write(dir.path().join("provisioner.toml"), text).unwrap();
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_provisioner"))
        .args(["check", "--config", "provisioner.toml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}

#[test]
fn broken_toml_is_said_with_its_place() {
    let dir = directory();
    let said = check(dir.path(), "data_dir = \"x\"\nlisten = = 3\n", &[]);
    assert_eq!(said.status, 2);
    assert!(said.out.contains("line 2, column"), "{said:?}");
}

#[test]
fn serve_refuses_what_check_refuses() {
    let dir = directory();
    let file = dir.path().join("provisioner.toml");
    std::fs::write(&file, format!("{GOOD}\nwrong = 1\n")).unwrap();
    let said = provisioner(&["serve", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.err.contains("unknown field `wrong`"), "{said:?}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn the_example_is_good_and_shows_every_setting() {
    let dir = directory();
    let secrets = [
        "ops.token",
        "desk.token",
        "crm.token",
        "db.password",
        "hr.password",
        "wiki.secret",
        "pager.secret",
        "mail.password",
        "hook.secret",
        "directory.password",
        "tickets.token",
        "sap.password",
        "security.token",
        "bo.token",
    ];
    for (number, name) in secrets.into_iter().enumerate() {
        secret(dir.path(), name, &format!("{number}-0123456789abcdef0123456789abcdef"));
    }
    let made = rcgen::generate_simple_self_signed(vec!["provisioner.example.com".to_owned()]).unwrap();
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.path().join("db-ca.pem"), made.cert.pem()).unwrap();
    secret(dir.path(), "key.pem", &made.signing_key.serialize_pem());
    std::fs::write(dir.path().join("sod.toml"), include_str!("../../sod.example.toml")).unwrap();
    let tickets = include_str!("../../tickets.example.toml");
    std::fs::write(dir.path().join("tickets.toml"), tickets).unwrap();
    let mapping = "version = 1\n[source]\nuser_name = \"string\"\n[attributes]\nuserName = { copy = \"user_name\", required = true }\n";
    std::fs::write(dir.path().join("crm-mapping.toml"), mapping).unwrap();
    let example = include_str!("../../provisioner.example.toml");
    let said = check(dir.path(), example, &[]);
    assert_eq!(said.status, 0, "{said:?}");
    // What is commented out is what may be left out; it is good as well.
    let whole: String =
        example.lines().map(|line| line.strip_prefix("#> ").unwrap_or(line).to_owned() + "\n").collect();
    let said = check(dir.path(), &whole, &[]);
    assert_eq!(said.status, 0, "{said:?}");
}

#[test]
fn who_is_to_decide_and_has_no_token_is_told_of_with_the_place() {
    let dir = directory();
    for name in ["boss.token", "look.token"] {
        secret(dir.path(), name, &format!("{name}-0123456789abcdef0123456789\n"));
    }
    std::fs::write(
        dir.path().join("sod.toml"),
        "version = 1\n[[function]]\nid = \"A\"\nany = { crm = [\"a\"] }\n[[function]]\nid = \"B\"\nany = { crm = [\"b\"] }\n\
         [[risk]]\nid = \"R\"\nlevel = \"high\"\nfunctions = [\"A\", \"B\"]\nremedy = \"ask\"\n\
         [[mitigation]]\nrisk = \"R\"\nperson = \"emp-1\"\ncontrol = \"look\"\nowner = \"emp-5\"\nexpires = 2027-01-01T00:00:00Z\n",
    )
    .unwrap();
    let text = format!(
        "{GOOD}owner = \"emp-4\"\n
[[api.token]]
name = \"boss\"
role = \"reviewer\"
person = \"emp-1\"
file = \"boss.token\"

[[api.token]]
name = \"looks\"
role = \"reader\"
person = \"emp-2\"
file = \"look.token\"

[sod]
rules = \"sod.toml\"

[[review]]
name = \"Q\"
owner = \"emp-1\"
first = 2026-01-01
every_months = 3
days = 14
reviewers = [\"manager\", {{ named = \"emp-1\" }}, {{ named = \"emp-2\" }}]
escalations = [{{ after_days = 1, to = \"emp-1\" }}, {{ after_days = 3, to = \"emp-3\" }}]
"
    );
    let said = check(dir.path(), &text, &["--json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let warnings: Vec<String> = said.json()[0]["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning.as_str().unwrap().split(" is to decide").next().unwrap().to_owned())
        .collect();
    let wanted = [
        "line 15, column 9: `emp-4`",
        "line 30, column 9: `emp-5`",
        "line 34, column 9: `emp-1`",
        "line 38, column 13: `emp-2`",
        "line 39, column 50: `emp-3`",
    ];
    assert_eq!(warnings, wanted);
    assert!(said.out.contains("of an operator has"), "{said:?}");
}
