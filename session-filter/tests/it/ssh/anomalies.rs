//! What stands out in a session, between real peers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use session_filter::Policy;
use session_filter::anomaly::{
    Anomaly, AnomalyDetector, AnomalyKind, Baseline, BaselineSettings, Happening, Observation, Response,
};

use super::fixture::{Fixture, POLICY, assert_blocked};

/// Notes what it is told, and ends the session after so much output.
#[derive(Clone, Default)]
struct Notes {
    told: Arc<Mutex<Vec<String>>>,
    output_max: Option<u64>,
}

impl Notes {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl AnomalyDetector for Notes {
    fn observe(&self, observation: &Observation<'_>, _: DateTime<Utc>) -> Vec<Anomaly> {
        let mut told = self.told.lock().unwrap();
        let text = match observation.happening {
            Happening::SessionStarted => "started".to_owned(),
            Happening::CommandStarted { program } => format!("ran {}", program.unwrap_or("something")),
            Happening::Blocked => "blocked".to_owned(),
            Happening::Output { bytes } => format!("wrote {bytes}"),
            _ => "ended".to_owned(),
        };
        told.push(format!("{} on {}: {text}", observation.user, observation.target));
        match (observation.happening, self.output_max) {
            (Happening::Output { bytes }, Some(most)) if bytes > most => {
                let anomaly = Anomaly::new(AnomalyKind::UnusualOutput, bytes as f64, "too much");
                vec![anomaly.usual(1.0).response(Response::Terminate)]
            }
            _ => Vec::new(),
        }
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn the_detector_hears_of_sessions_commands_refusals_and_output() {
    let notes = Notes::default();
    let fixture = Fixture::with_detector(
        "redact=['hush']\n[[permit]]\nusers=['alice']\ntargets=['box']\nlists=true\ncommands=['echo ...', 'wc -c', 'hush']\n",
        notes.clone(),
    );
    let master = fixture.ssh().master().unwrap();
    assert_eq!(master.run("echo one; echo two").unwrap().code(), Some(0));
    assert_blocked(&master.run("rm -rf /nothing").unwrap());
    assert_eq!(master.run("hush").unwrap().code(), Some(127));
    master.stop().unwrap();
    fixture
        .wait_for("the session is over", |_| notes.told().last().is_some_and(|last| last.ends_with("ended")));
    let told: Vec<String> =
        notes.told().iter().map(|text| text.strip_prefix("alice on box: ").unwrap().to_owned()).collect();
    let place =
        |text: &str| told.iter().position(|told| told == text).unwrap_or_else(|| panic!("{text}: {told:?}"));
    assert_eq!((place("started"), place("ended")), (0, told.len() - 1));
    assert_eq!(told.iter().filter(|told| *told == "ran echo").count(), 2);
    assert_eq!(told.iter().filter(|told| *told == "blocked").count(), 1);
    // A program that an expression hides is nothing to learn.
    assert!(place("ran something") > place("ran echo"));
    assert!(!told.iter().any(|told| told.contains("hush")), "{told:?}");
    let bytes: u64 = told.iter().filter_map(|told| told.strip_prefix("wrote ")?.parse::<u64>().ok()).sum();
    assert!(bytes >= 8, "{told:?}");
    assert!(fixture.events_of("anomaly.detected").is_empty());
}

fn eager() -> BaselineSettings {
    let mut settings = BaselineSettings::default();
    (settings.learning_days, settings.learning_sessions) = (0, 1);
    settings.unusual_hour = None;
    settings
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_command_that_stands_out_ends_the_session_before_it_is_sent() {
    let mut settings = eager();
    settings.first_seen_command = Some(Response::Terminate);
    let fixture = Fixture::with_detector(POLICY, Baseline::new(settings));
    let mark = fixture.mark();
    fixture.policy.set(
        Policy::from_toml(&format!(
            "[[permit]]\nusers=['alice']\ntargets=['box']\ncommands=['echo ...', 'touch {}']\n",
            mark.display()
        ))
        .unwrap(),
    );
    // The first program of the first session is new as well: with one session, it is learned.
    let first = fixture.ssh().run("echo hi").unwrap();
    assert_eq!(first.code(), Some(255), "{}", first.stderr_text());
    assert_eq!(fixture.ssh().run("echo hi").unwrap().code(), Some(0));
    let output = fixture.ssh().run(format!("touch {}", mark.display())).unwrap();
    assert_eq!(output.code(), Some(255));
    let said = output.stderr_text();
    assert!(said.contains("ended by anomaly detection: ran `touch` for the first time"), "{said}");
    assert!(!mark.exists());
    fixture.wait_for("both sessions are over", |f| f.events_of("session.ended").len() == 3);

    let anomaly = fixture.events_of("anomaly.detected").pop().unwrap();
    assert_eq!((&anomaly["reason"], &anomaly["terminated"]), (&"first_seen_command".into(), &true.into()));
    assert_eq!((&anomaly["actor_id"], &anomaly["observed"]), (&"alice".into(), &1.0.into()));
    let asked = fixture.events_of("session.termination_asked").pop().unwrap();
    assert_eq!(asked["operator"], "anomaly detection");
    let ended = fixture.events_of("session.ended").pop().unwrap();
    assert_eq!((&ended["reason"], &ended["ended_by"]), (&"terminated".into(), &"anomaly detection".into()));
    // The record of the command says that it was never sent.
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!(executed["outcome"], "blocked", "{executed}");
    // The positive control: whoever has no such habits runs it, and the mark is there.
    fixture.direct().run(format!("touch {}", mark.display())).unwrap();
    assert!(mark.exists());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn an_alert_is_on_record_once_and_ends_nothing() {
    let mut settings = eager();
    settings.first_seen_command = None;
    settings.blocked_max = 3;
    let fixture = Fixture::with_detector(POLICY, Baseline::new(settings));
    let master = fixture.ssh().master().unwrap();
    for _ in 0..6 {
        assert_blocked(&master.run("rm -rf /nothing").unwrap());
    }
    assert_eq!(master.run("echo still here").unwrap().stdout_text(), "still here\n");
    master.stop().unwrap();
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    let anomalies = fixture.events_of("anomaly.detected");
    assert_eq!(anomalies.len(), 1, "{anomalies:?}");
    assert_eq!(
        (&anomalies[0]["reason"], &anomalies[0]["terminated"]),
        (&"blocked_burst".into(), &false.into())
    );
    assert_eq!(anomalies[0]["observed"], 3.0);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn output_that_stands_out_ends_the_session_while_it_flows() {
    let notes = Notes { output_max: Some(200 * 1024), ..Notes::default() };
    let fixture = Fixture::with_detector(POLICY, notes);
    let output = fixture.ssh().run("head -c 4G /dev/zero").unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("anomaly detection: too much"), "{}", output.stderr_text());
    assert!(output.stdout.len() < 1 << 30, "{} bytes", output.stdout.len());
    fixture.wait_for("the session is over", |f| !f.events_of("session.ended").is_empty());
    // What was on its way meanwhile stands out, too, and ends nothing any more.
    let ended: Vec<_> =
        fixture.events_of("anomaly.detected").iter().map(|e| e["terminated"].clone()).collect();
    assert_eq!(ended.iter().filter(|ended| **ended == true).count(), 1, "{ended:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_runs_unchecked_ends_with_the_rule_that_let_it() {
    let fixture = Fixture::with_policy("[[permit]]\nusers=['alice']\ntargets=['box']\nmode='unrestricted'\n");
    let output = fixture.ssh().run("for i in a b; do echo $i; done").unwrap();
    assert_eq!(
        (output.stdout_text().as_str(), output.code()),
        ("a\nb\n", Some(0)),
        "{}",
        output.stderr_text()
    );
    let running = fixture.ssh().spawn("sleep 4243").unwrap();
    fixture.wait_for("it runs", |f| f.registry.list().iter().any(|s| s.running == ["sleep 4243"]));
    let files = "[[permit]]\nusers=['alice']\ntargets=['box']\n[permit.files]\nread=['/srv/**']\n";
    fixture.policy.set(Policy::from_toml(files).unwrap());
    let output = running.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(
        output.stderr_text().contains("a raw terminal is not permitted any more"),
        "{}",
        output.stderr_text()
    );
    fixture.wait_for("both sessions are over", |f| f.events_of("session.ended").len() == 2);
    assert_eq!(fixture.events_of("session.ended")[1]["reason"], "access_withdrawn.mode_changed");
    let started = &fixture.events_of("command.started")[0];
    assert_eq!((&started["rule"], &started["nested_uncontrolled"]), (&"unrestricted".into(), &true.into()));
    // The user is still admitted, for files alone.
    assert_blocked(&fixture.ssh().run("sleep 1").unwrap());
}
