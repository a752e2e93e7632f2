//! The status page in a real browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use testbed::Running;

use super::demo_stage::{Demo, event};

/// The page as Chromium has it once its script has run.
fn dom(dir: &Path, url: &str) -> String {
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--virtual-time-budget=1500", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .env("HOME", dir)
        .arg(url);
    let output = Running::spawn(command).unwrap().wait(Duration::from_secs(60)).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr_text());
    output.stdout_text()
}

#[test]
#[ignore = "needs chromium: cargo xtask test"]
fn the_page_shows_who_is_not_out_and_what_people_are_called_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let well = dom(dir.path(), demo.text("status_page"));
    assert!(well.contains("All is well") && well.contains("✓ healthy"), "positive control: {well}");

    let hostile =
        "</td><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u{202e}";
    let someone = json!({"id": "eve", "user_name": "eve", "display_name": hostile, "groups": ["<b>x</b>"]});
    demo.send(&[event("joiner", "2026-01-05T08:00:00Z", someone.clone())]);
    demo.until_joined();
    demo.fault("wiki", "html_login");
    demo.send(&[event("leaver", "2026-01-30T17:00:00Z", someone)]);
    demo.until("an alert", |demo| demo.open_alerts().first().cloned());

    let page = dom(dir.path(), demo.text("status_page"));
    assert!(page.contains("1 person who left is not confirmed to be out"), "{page}");
    assert!(page.contains("<form id=\"login\" hidden"), "{page}");
    let style = include_str!("../../web/status.css");
    assert!(style.contains("[hidden] { display: none !important; }"), "what is hidden is not laid out");
    assert!(page.contains("data-connector=\"wiki\" data-state=\"degraded\""), "{page}");
    assert!(page.contains("data-connector=\"crm\" data-state=\"healthy\""), "{page}");
    assert!(page.contains("<rect class=\"latency\""), "charts are drawn: {page}");
    assert!(page.contains("&lt;/td&gt;&lt;script&gt;"), "the name is shown as text: {page}");
    assert!(page.contains("<title>Provisioning</title>"), "nothing of it ran: {page}");
    assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    assert!(!page.contains(demo.text("token")), "the token is in no address and no text: {page}");
}

#[test]
#[ignore = "needs chromium: cargo xtask test"]
fn without_the_right_token_the_page_asks_for_it_and_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    for (url, said) in [
        (format!("{}/#token=wrong", demo.text("api")), "This token is refused."),
        (format!("{}/", demo.text("api")), "Who is asking?"),
    ] {
        let page = dom(dir.path(), &url);
        assert!(page.contains(said), "{page}");
        assert!(
            page.contains("<form id=\"login\">") && page.contains("<div id=\"content\" hidden"),
            "{page}"
        );
        assert!(!page.contains("data-connector"), "{page}");
    }
}

#[test]
#[ignore = "needs chromium: cargo xtask test"]
fn the_page_shows_what_waits_for_people() {
    let stage = crate::stage::Stage::new();
    let rules = "version = 1\n[[function]]\nid = \"A\"\nany = { crm = [\"vendors\"] }\n[[function]]\nid = \"B\"\n\
                 any = { wiki = [\"payers\"] }\n[[risk]]\nid = \"R1\"\nlevel = \"high\"\nfunctions = [\"A\", \"B\"]\nremedy = \"ask\"\n";
    std::fs::write(stage.path().join("sod.toml"), rules).unwrap();
    crate::config::secret(stage.path(), "ciso", "ciso-0123456789abcdef0123456789");
    let service = stage.serve(
        "[source.webhook]\nsecret_file = \"hook\"\n[sod]\nrules = \"sod.toml\"\n[source.csv]\npath = \"people.csv\"\n\
         [[api.token]]\nname = \"ciso\"\nrole = \"operator\"\nperson = \"emp-7\"\nfile = \"ciso\"\n",
    );
    let join = json!({"type": "joiner", "person": {"id": "<img src=x>", "user_name": "ann", "groups": ["vendors", "payers"]}});
    assert_eq!(service.signed("msg-1", &join.to_string()).status, 202);
    service.drained();
    let named = "<script>document.title='owned'</script>";
    let start = ["review", "start", named, "--due", "30", "--reviewer", "owner"];
    let said = service.ask_as("ciso", &start);
    assert_eq!(said.status, 0, "{said:?}");
    let page = dom(stage.path(), &format!("{}/#token={}", service.api, crate::stage::READER));
    for shown in ["a person must decide", "payers on wiki", "0 of 5, 5 without a reviewer", "people.csv"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(page.contains("&lt;script&gt;document.title") && page.contains("&lt;img src=x&gt;"), "{page}");
    assert!(page.contains("<title>Provisioning</title>") && !page.contains("<img"), "{page}");
    assert_eq!(service.end(), 0);
}
