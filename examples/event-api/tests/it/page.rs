//! The page in a real browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testbed::Running;

use crate::stage::{Settings, Started, event, until};

/// The page as Chromium has it once its script has run.
fn dom(dir: &Path, url: &str) -> String {
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--virtual-time-budget=60000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .env("HOME", dir)
        .arg(url);
    let output = Running::spawn(command).unwrap().wait(Duration::from_secs(60)).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stderr_text());
    output.stdout_text()
}

#[test]
#[ignore = "needs chromium: cargo xtask test"]
fn the_page_shows_the_last_24_hours_and_what_comes_and_nothing_of_it_acts() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Started::demo(&dir.path().join("demo"), &[]);
    let api = demo.api();
    let hostile =
        "</td><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u{202e}";
    let hostile: String = hostile.chars().filter(|character| !character.is_control()).collect();
    let of_hostile = || event(&hostile).to_string();
    for _ in 0..12 {
        assert_eq!(api.post(&of_hostile()).0, 200);
    }
    until("an alert", || {
        let alerts = api.json("/v1/alerts");
        let is_of_it =
            |alert: &serde_json::Value| alert["rule"] == "mfa-fatigue" && alert["actor_ids"][0] == *hostile;
        alerts["alerts"].as_array().unwrap().iter().any(is_of_it).then_some(())
    });
    // While the page is open, something comes.
    let (sender, text) = (api.clone(), hostile.clone());
    let sends = std::thread::spawn(move || {
        for _ in 0..40 {
            let mut sent = event(&text);
            sent["message"] = text.as_str().into();
            assert_eq!(sender.post(&sent.to_string()).0, 200);
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let page = dom(dir.path(), demo.text("page"));
    sends.join().unwrap();
    assert!(page.contains("<form id=\"login\" hidden"), "{page}");
    assert!(page.contains("<rect class=\"success\"") && page.contains("<rect class=\"failure\""), "{page}");
    assert!(page.contains("<polyline class=\"before\""), "the day before is drawn: {page}");
    assert!(page.contains("the day before</small>"), "{page}");
    for shown in ["<bdi>push</bdi>", "<bdi>TOTP</bdi>", "<bdi>DE</bdi>", "<bdi>ZZ</bdi>"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(page.contains("Push requests until somebody says yes</strong>"), "the alert is open: {page}");
    assert!(page.contains("Actors: <bdi>&lt;/td&gt;&lt;script&gt;"), "with its actor, as text: {page}");
    assert!(page.contains("Playbook (dry run, nothing is done): "), "what would be done: {page}");
    let locks = page.split("id=\"locks\"").nth(1).unwrap();
    assert!(
        locks.contains("<bdi>person-0042</bdi>") && locks.contains("dry run: not asked for"),
        "whom it would lock: {page}"
    );
    assert!(page.contains("<bdi>&lt;/td&gt;&lt;script&gt;"), "the event came live, as text: {page}");
    assert!(page.contains("<title>Logins, last 24 hours</title>"), "nothing of it ran: {page}");
    assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    assert!(!page.contains(demo.text("api_key")), "the key is in no address and no text: {page}");
}

#[test]
#[ignore = "needs chromium: cargo xtask test"]
fn without_the_right_key_the_page_asks_for_it_and_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Started::demo(&dir.path().join("demo"), &["--quiet"]);
    for (url, said) in [
        (format!("{}/#key=ev_wrong", demo.text("api")), "This key is refused."),
        (format!("{}/", demo.text("api")), "Who is asking?"),
    ] {
        let page = dom(dir.path(), &url);
        assert!(page.contains(said), "{page}");
        assert!(
            page.contains("<form id=\"login\">") && page.contains("<div id=\"content\" hidden"),
            "{page}"
        );
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_may_run_nothing_but_its_script() {
    let settings = Settings::new("");
    let _service = Started::serve(&settings.config);
    let api = settings.api();
    for path in ["/", "/page.css", "/page.js"] {
        let answer = testbed::http::Request::new("GET", path).send(api.address).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.value("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let text = String::from_utf8(answer.body).unwrap();
        let elsewhere = text.matches("http").count() - text.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(elsewhere, 0, "{path}");
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(sink), "{path}: {sink}");
        }
    }
}
