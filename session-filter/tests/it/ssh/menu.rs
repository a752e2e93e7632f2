//! The menu of targets, on a terminal of OpenSSH's own client.

use std::time::Duration;

use russh::ChannelMsg;
use session_filter::Policy;
use session_filter::ssh::Limits;
use testbed::{Running, Ssh};

use super::fixture::{Fixture, OneUser, POLICY};
use super::hostile::connect;

const WAIT: Duration = Duration::from_secs(20);

fn policy() -> String {
    POLICY.replace(r#"["box"]"#, r#"["box", "other", "third"]"#)
}

fn fixture(limits: Limits) -> Fixture {
    Fixture::with_users(&policy(), OneUser, limits)
}

fn terminal(fixture: &Fixture) -> Ssh {
    fixture.ssh().arg("-tt")
}

/// A client that sees the menu.
fn at_menu(fixture: &Fixture) -> Running {
    let running = terminal(fixture).spawn_shell().unwrap();
    assert!(running.wait_for_stdout("q leaves\r\n> ", WAIT), "{:?}", String::from_utf8(running.stdout()));
    running
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn who_names_no_target_chooses_one_by_number_name_or_part() {
    let fixture = fixture(Limits::default());
    for (typed, target) in [("2\r", "other"), ("box\r", "box"), ("nothing\rth\r\x1b[Athi\r", "third")] {
        let mut client = at_menu(&fixture);
        let shown = String::from_utf8(client.stdout()).unwrap();
        assert!(shown.contains("  1  box\r\n  2  other\r\n  3  third\r\n"), "{shown}");
        client.write(typed.as_bytes()).unwrap();
        let output = client.wait(WAIT).unwrap();
        let shown = output.stdout_text();
        assert!(shown.contains(&format!("Permitted on {target}:\r\n")), "{shown}");
        assert_eq!(output.code(), Some(1), "what a shell request is answered with in this mode");
        assert_eq!(fixture.events_of("session.started").last().unwrap()["target_id"], target);
    }
    fixture.wait_for("they end", |f| f.events_of("session.ended").len() == 3);
    let events = fixture.events();
    let types: Vec<_> = events.iter().take(2).map(|event| event.event_type).collect();
    assert_eq!(types, ["login.succeeded", "session.started"]);
    assert_eq!(events[0].subject.session_id, events[1].subject.session_id);
    assert_eq!(fixture.events_of("session.refused").len(), 0);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_prompt_of_the_chosen_target_follows_and_gets_what_was_typed_ahead() {
    let managed = policy().replace("commands", "mode = \"managed\"\n    commands");
    let fixture = Fixture::with_users(&managed, OneUser, Limits::default());
    let mut client = at_menu(&fixture);
    client.write(b"other\recho typed ahead\r").unwrap();
    assert!(
        client.wait_for_stdout("typed ahead\r\n\x1b[?2004h", WAIT),
        "{:?}",
        String::from_utf8(client.stdout())
    );
    client.write(b"exit\r").unwrap();
    let output = client.wait(WAIT).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stdout_text());
    assert!(output.stdout_text().contains("alice@other:~$"), "{}", output.stdout_text());
    let started = &fixture.events_of("command.started")[0];
    assert_eq!((&started["target_id"], &started["command"]), (&"other".into(), &"echo typed ahead".into()));
    // The recording begins with the session: the menu is no part of it.
    let shown: String =
        fixture.events_of("terminal.output").iter().filter_map(|e| e["text"].as_str()).collect();
    assert!(shown.contains("typed ahead") && !shown.contains("Targets that admit you"), "{shown}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn who_leaves_the_menu_has_no_session() {
    let fixture = fixture(Limits::default());
    for keys in ["q\r", "\x03", "\x04"] {
        let mut client = at_menu(&fixture);
        client.write(keys.as_bytes()).unwrap();
        let output = client.wait(WAIT).unwrap();
        assert_eq!(output.code(), Some(255));
        assert!(output.stderr_text().contains("no target was chosen"), "{}", output.stderr_text());
    }
    // Without a word.
    at_menu(&fixture).kill().unwrap();
    let reasons: Vec<_> = fixture.events_of("session.refused").iter().map(|e| e["reason"].clone()).collect();
    assert!(reasons.len() >= 3 && reasons.iter().all(|r| r == "no_target_chosen"), "{reasons:?}");
    assert_eq!(fixture.events_of("session.started").len(), 0);
    assert!(fixture.registry.list().is_empty());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn programs_are_told_to_name_a_target() {
    let fixture = fixture(Limits::default());
    for output in [fixture.ssh().run("echo in").unwrap(), fixture.ssh().stdin("1\n").shell().unwrap()] {
        assert_eq!(output.code(), Some(255));
        let said = output.stderr_text();
        assert!(
            said.contains("several targets admit you: box, other, third; log in as alice+TARGET"),
            "{said}"
        );
    }
    let refused = fixture.events_of("session.refused");
    assert_eq!(refused.iter().filter(|e| e["reason"] == "target_not_named").count(), 2);
    let named = fixture.ssh().user("alice+third").run("echo in").unwrap();
    assert_eq!(named.stdout_text(), "in\n", "{}", named.stderr_text());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_choice_is_admitted_as_of_the_moment_it_is_made() {
    let fixture = fixture(Limits::default());
    let mut client = at_menu(&fixture);
    fixture.policy.set(Policy::from_toml(POLICY).unwrap());
    client.write(b"other\r").unwrap();
    let output = client.wait(WAIT).unwrap();
    assert_eq!(output.code(), Some(255), "{}", output.stdout_text());
    assert!(output.stderr_text().contains("refused: no rule admits you"), "{}", output.stderr_text());
    assert_eq!(fixture.events_of("session.refused")[0]["target_id"], "other");
    assert!(fixture.events_of("session.started").is_empty());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_choice_beyond_the_limit_of_sessions_is_refused() {
    let mut limits = Limits::default();
    limits.sessions_per_user_max = 1;
    let fixture = fixture(limits);
    let running = fixture.ssh().user("alice+box").spawn("sleep 600").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| !s.running.is_empty()));
    let mut client = at_menu(&fixture);
    client.write(b"other\r").unwrap();
    let output = client.wait(WAIT).unwrap();
    assert!(output.stderr_text().contains("too many sessions"), "{}", output.stderr_text());
    assert_eq!(fixture.events_of("session.refused")[0]["reason"], "too_many_sessions");
    running.kill().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn who_does_not_choose_in_time_is_shown_out() {
    let mut limits = Limits::default();
    limits.choice_time = Duration::from_secs(2);
    let fixture = fixture(limits);
    let output = at_menu(&fixture).wait(WAIT).unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("no target was chosen"), "{}", output.stderr_text());
    fixture.ssh().user("alice+box").run("echo in").unwrap();
    assert_eq!(fixture.events_of("session.refused")[0]["reason"], "no_target_chosen");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn whoever_is_at_the_menu_is_no_stranger() {
    let mut limits = Limits::default();
    limits.unauthenticated_max = 1;
    let fixture = fixture(limits);
    let client = at_menu(&fixture);
    assert_eq!(fixture.ssh().user("alice+box").run("echo in").unwrap().stdout_text(), "in\n");
    client.kill().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn who_chooses_for_ever_takes_no_more_places_than_sessions_would() {
    let mut limits = Limits::default();
    limits.sessions_per_user_max = 2;
    let fixture = fixture(limits);
    let (mut first, second) = (at_menu(&fixture), at_menu(&fixture));
    // Without a terminal, since a client that insists on one leaves when it gets none, before it hears why.
    let third = fixture.ssh().shell().unwrap();
    assert_eq!(third.code(), Some(255), "{}", third.stdout_text());
    assert!(third.stderr_text().contains("too many sessions"), "{}", third.stderr_text());
    assert_eq!(fixture.events_of("session.refused")[0]["reason"], "too_many_sessions");
    first.write(b"q\r").unwrap();
    first.wait(WAIT).unwrap();
    let again = || terminal(&fixture).stdin("q\r").shell().unwrap().stdout_text().contains("q leaves");
    fixture.wait_for("a place is free again", |_| again());
    second.kill().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_terminal_asked_for_at_the_menu_is_none_where_single_commands_run() {
    let fixture = Fixture::with_users(&policy().replace("\"wc -c\"", "\"tty\""), OneUser, Limits::default());
    let status = fixture.runtime.block_on(async {
        let client = connect(&fixture).await;
        let with_terminal = async || {
            let channel = client.channel_open_session().await.unwrap();
            channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
            channel
        };
        let (choosing, mut other) = (with_terminal().await, with_terminal().await);
        choosing.request_shell(true).await.unwrap();
        choosing.data_bytes(&b"other\r"[..]).await.unwrap();
        tokio::task::block_in_place(|| {
            fixture.wait_for("it begins", |f| !f.events_of("session.started").is_empty());
        });
        other.exec(true, "tty").await.unwrap();
        loop {
            let message = other.wait().await.expect("it ends with a status");
            if let ChannelMsg::ExitStatus { exit_status } = message {
                break exit_status;
            }
        }
    });
    assert_eq!(status, 1, "tty says that it is not a terminal");
    assert!(fixture.events_of("terminal.started").is_empty());
}
