//! The story that the demo tells: somebody leaves while two of three applications cannot be told so.

#![allow(clippy::print_stdout, reason = "the story is told on the terminal")]

use std::time::Duration;

use chrono::Utc;
use connector_health::offboarding::State;
use connector_health::{EntitlementId, PersonId};
use serde_json::Value;

use super::Stage;
use super::application::Fault;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::people::{Happening, Kind, Person};

/// How long one step of the story may take before it is given up.
const STEP_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(engine: &Engine, stage: &Stage) -> Result<(), Failure> {
    let ann = PersonId::new("emp-4711").map_err(Failure::stopped)?;
    println!(
        "Three applications run on loopback, each with a switch for what is wrong with it: crm, payroll, wiki.\n"
    );

    println!(
        "1. Ann joins. An account for her is made in each application, and read again before it is believed."
    );
    let person = Person {
        user_name: Some("ann@example.com".to_owned()),
        display_name: Some(Some("Ann Lee".to_owned())),
        email: Some(Some("ann@example.com".to_owned())),
        groups: Some(vec![EntitlementId::new("staff").map_err(Failure::stopped)?]),
        ..Person::named(ann.clone())
    };
    take(engine, Kind::Joiner, person.clone()).await?;
    until(engine, "accounts were not made", async || {
        let status = engine.status().await.ok()?;
        let connectors = status.get("connectors")?.as_array()?;
        let waits =
            |connector: &Value| connector.get("provisioning_queued").and_then(Value::as_u64) != Some(0);
        (!connectors.iter().any(waits)).then_some(())
    })
    .await?;
    println!("   Done.\n");

    println!("2. payroll goes down, and wiki's token expires.");
    set(stage, "payroll", Fault::Down);
    set(stage, "wiki", Fault::Unauthorized);

    println!("3. Ann leaves.");
    take(engine, Kind::Leaver, person).await?;
    let alerts = until(engine, "no alerts came", async || {
        let open: Vec<_> =
            engine.alerts().await.ok()?.into_iter().filter(|alert| alert.resolution.is_none()).collect();
        let all_tell = open.len() >= 2 && open.iter().all(|alert| alert.queue.deprovisioning_queued > 0);
        all_tell.then_some(open)
    })
    .await?;
    for alert in alerts {
        println!("   ALERT {alert}");
    }
    let open = engine.offboarding(&ann).await.map_err(Failure::stopped)?;
    println!("\n{}", indented(&open.to_string()));

    println!(
        "4. Both come back. The leaver goes out at the first good probe; the all-clear waits a little longer."
    );
    set(stage, "payroll", Fault::Ok);
    set(stage, "wiki", Fault::Ok);
    until(engine, "the leaver was not confirmed", async || {
        let offboarding = engine.offboarding(&ann).await.ok()?;
        (offboarding.state == State::Complete).then_some(())
    })
    .await?;
    until(engine, "the alerts were not resolved", async || {
        engine.alerts().await.ok()?.iter().all(|alert| alert.resolution.is_some()).then_some(())
    })
    .await?;
    let complete = engine.offboarding(&ann).await.map_err(Failure::stopped)?;
    println!("\n{}", indented(&complete.to_string()));

    let Stage { api, token, data_dir, .. } = stage;
    println!(
        "It keeps running. Try:\n\n  Open      {api}/#token={token}\n  Alerts    curl -H 'Authorization: Bearer {token}' {api}/alerts\n  \
         Record    curl -H 'Authorization: Bearer {token}' '{api}/offboardings/emp-4711?format=html'\n  Join      curl -H 'Authorization: Bearer {token}' {api}/events \\\n                 \
         -d '{{\"type\":\"joiner\",\"person\":{{\"id\":\"emp-1\",\"user_name\":\"bob\",\"groups\":[\"staff\"]}}}}'\n  Break     provisioner demo --json shows where each application's fault is switched\n  \
         Evidence  auditor --data-dir {} search offboarding\n\nCtrl-C ends it.",
        data_dir.display()
    );
    Ok(())
}

async fn take(engine: &Engine, kind: Kind, person: Person) -> Result<(), Failure> {
    engine.take(&Happening { kind, at: Some(Utc::now()), person }).await.map(drop).map_err(Failure::stopped)
}

fn set(stage: &Stage, name: &str, fault: Fault) {
    if let Some(switch) = stage.switches.iter().find(|switch| switch.name == name) {
        switch.set(fault);
    }
}

/// Looks again until there is something to see.
async fn until<T>(
    _engine: &Engine,
    otherwise: &'static str,
    look: impl AsyncFn() -> Option<T>,
) -> Result<T, Failure> {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(STEP_WITHIN, seen).await.map_err(|_| Failure::stopped(otherwise))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}
