//! Gatekeepers: policies behind a door.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use session_filter::{
    AbsolutePath, Decision, DenyAll, Directory, Door, FactSource, FileAccess, Gatekeeper, Mode, Policy,
    PolicyGate, SessionRequest, SharedPolicy, StaticPolicy, Target, User,
};

fn policy(text: &str) -> Policy {
    Policy::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

fn request() -> SessionRequest {
    SessionRequest::new(User::new("alice"), Target::new("web-1"), IpAddr::from([10, 0, 0, 1]), "s-1")
}

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

const IN_INDIA: &str = r#"
[[permit]]
users = ["alice"]
targets = ["web-1"]
commands = ["id"]
when = { countries = ["IN"], networks = ["10.0.0.0/8"] }
"#;

#[derive(Default)]
struct Atlas {
    asked: AtomicUsize,
}

#[async_trait]
impl FactSource for Atlas {
    async fn country(&self, address: IpAddr) -> Option<String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (address == IpAddr::from([10, 0, 0, 1])).then(|| "IN".to_owned())
    }

    async fn risk(&self, _: &SessionRequest) -> Option<u8> {
        panic!("no rule asks for it")
    }
}

#[tokio::test]
async fn the_default_gatekeeper_denies() {
    let Decision::Deny(refusal) = DenyAll.admit(&request(), NOW).await else { panic!("admitted") };
    assert_eq!(refusal.code(), "closed");
    assert!(!DenyAll.check(&request(), b"true", NOW).await.is_allowed());
    assert!(DenyAll.permitted(&request(), NOW).await.is_empty());
}

#[tokio::test]
async fn a_policy_is_a_gatekeeper_that_knows_time_and_source() {
    let gate: &dyn Gatekeeper = &policy(
        "[[permit]]\nusers=['*']\ntargets=['*']\ncommands=['id']\nwhen={networks=['10.0.0.0/8'], until=1971-01-01T00:00:00Z}\n",
    );
    let Decision::Allow(admission) = gate.admit(&request(), NOW).await else { panic!("refused") };
    assert_eq!(admission.mode(), Mode::ExecOnly);
    assert_eq!(admission.valid_until().map(|end| end.timestamp()), Some(365 * 86_400));
    assert!(gate.check(&request(), b"id", NOW).await.is_allowed());
    assert_eq!(gate.permitted(&request(), NOW).await, ["id"]);
    let later = NOW + chrono::TimeDelta::days(366);
    assert!(matches!(gate.admit(&request(), later).await, Decision::Deny(_)));
}

#[tokio::test]
async fn facts_are_asked_for_only_where_a_rule_needs_them() {
    let atlas = Arc::new(Atlas::default());
    let shared =
        Arc::new(SharedPolicy::new(policy("[[permit]]\nusers=['*']\ntargets=['*']\ncommands=['id']\n")));
    let gate = PolicyGate::new(shared.clone()).facts(atlas.clone());
    assert!(gate.check(&request(), b"id", NOW).await.is_allowed());
    assert_eq!(atlas.asked.load(Ordering::Relaxed), 0);
    shared.set(policy(IN_INDIA));
    assert!(gate.check(&request(), b"id", NOW).await.is_allowed());
    assert_eq!(atlas.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_a_source_of_facts_rules_that_need_them_do_not_hold() {
    let gate = PolicyGate::new(Arc::new(StaticPolicy::new(policy(IN_INDIA))));
    let Decision::Deny(refusal) = gate.admit(&request(), NOW).await else { panic!("admitted") };
    assert_eq!(refusal.code(), "country");
}

#[tokio::test]
async fn a_change_reaches_the_next_command_and_wakes_whoever_waits() {
    let shared =
        Arc::new(SharedPolicy::new(policy("[[permit]]\nusers=['alice']\ntargets=['*']\ncommands=['id']\n")));
    let gate = PolicyGate::new(shared.clone());
    let seen = gate.version();
    let waiting = {
        let gate = gate.clone();
        tokio::spawn(async move { gate.changed(seen).await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    shared.set(policy("[[permit]]\nusers=['bob']\ntargets=['*']\ncommands=['id']\n"));
    assert_eq!(waiting.await.unwrap(), gate.version());
    assert_ne!(gate.version(), seen);
    assert!(!gate.check(&request(), b"id", NOW).await.is_allowed());
    let Decision::Deny(refusal) = gate.admit(&request(), NOW).await else { panic!("admitted") };
    assert_eq!(refusal.code(), "no_entry");
}

#[tokio::test]
async fn waiting_for_a_change_can_be_given_up_and_taken_up_again() {
    let shared = SharedPolicy::new(policy(""));
    for _ in 0..100 {
        let mut waiting = Box::pin(session_filter::PolicySource::changed(&shared, 0));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
    }
    shared.set(policy(""));
    assert_eq!(session_filter::PolicySource::changed(&shared, 0).await, 1);
    assert!(!format!("{shared:?}").contains("Waker"), "given-up waiters are forgotten: {shared:?}");
}

/// Asks everything that a gatekeeper answers about `/srv` and the agent; says yes or no to each.
async fn answers(gate: &dyn Gatekeeper) -> [bool; 4] {
    let srv = AbsolutePath::parse("/srv").unwrap();
    let here = Directory::At(srv.clone());
    [
        gate.check_in(&request(), b"id", &here, NOW).await.is_allowed(),
        gate.enter(&request(), &srv, NOW).await.is_ok(),
        gate.open(&request(), &Door::Agent, NOW).await.is_ok(),
        gate.file(&request(), FileAccess::Read, &srv, NOW).await.is_ok(),
    ]
}

#[tokio::test]
async fn every_question_reaches_the_policy_through_every_gatekeeper() {
    let text = "[[permit]]\nusers=['alice']\ntargets=['*']\nmode='managed'\ncommands=['id']\nwhen={networks=['10.0.0.0/8']}\n\
                [permit.files]\nread=['/srv']\n[permit.doors]\nagent=true\n";
    assert_eq!(answers(&policy(text)).await, [true; 4]);
    let shared = Arc::new(SharedPolicy::new(policy(text)));
    let gate = Arc::new(PolicyGate::new(shared.clone()));
    assert_eq!(answers(&gate).await, [true; 4]);
    let nested: Arc<dyn Gatekeeper> = gate.clone();
    assert_eq!(answers(&nested).await, [true; 4]);
    // What is taken away is gone at the next question.
    shared.set(policy(&text.replace("alice", "bob")));
    assert_eq!(answers(&nested).await, [false; 4]);
    assert_eq!(answers(&DenyAll).await, [false; 4]);
}

#[tokio::test]
async fn facts_count_for_files_and_doors_too() {
    let text = IN_INDIA.replace(
        "commands = [\"id\"]",
        "mode = 'managed'\ncommands = ['id']\nfiles = { read = ['/srv'] }\ndoors = { agent = true }",
    );
    let source = Arc::new(StaticPolicy::new(policy(&text)));
    assert_eq!(answers(&PolicyGate::new(source.clone())).await, [false; 4]);
    assert_eq!(answers(&PolicyGate::new(source).facts(Arc::new(Atlas::default()))).await, [true; 4]);
}
