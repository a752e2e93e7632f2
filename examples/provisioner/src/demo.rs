//! `provisioner demo`: three applications on loopback, and what becomes of those who leave while they are ill.

#![allow(clippy::print_stdout, reason = "one line for programs")]

mod application;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use connector_health::ConnectorId;
use connector_health::alert::AlertRules;
use connector_health::connector::Connectors;
use connector_health::monitor::Thresholds;
use connector_health::outbox::MassLeaverGuard;
use scim_client::auth::Bearer;
use scim_client::ensure::Deprovision;
use scim_client::mapping::Mapping;
use scim_client::resilience::Retry;
use scim_client::{Client, Dialect};
use serde_json::json;
use tokio::net::TcpListener;

use crate::api::{self, Access};
use crate::connector::{PLAIN_MAPPING, ScimConnector};
use crate::engine::{Engine, Settings};
use crate::failure::Failure;
use crate::files;
use crate::listen::{self, Limits};

use application::{Application, FaultSwitch};

/// The applications that the demo brings.
const APPLICATIONS: [&str; 3] = ["crm", "payroll", "wiki"];

/// Where everything of a run is; also what `--json` prints.
pub(crate) struct Stage {
    pub(crate) api: String,
    pub(crate) token: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) switches: Arc<[FaultSwitch]>,
}

pub(crate) async fn run(data_dir: &Path, as_json: bool) -> Result<(), Failure> {
    files::private_dir(data_dir).map_err(Failure::stopped)?;
    let data_dir = data_dir.canonicalize().map_err(Failure::stopped)?;
    let applications_dir = data_dir.join("applications");
    files::private_dir(&applications_dir).map_err(Failure::stopped)?;

    let mut connectors = Connectors::new();
    let mut applications = Vec::new();
    for name in APPLICATIONS {
        let token = random_text()?;
        let application =
            Application::start(name, token.clone(), &applications_dir).await.map_err(Failure::stopped)?;
        let client = Client::new(&application.base_url())
            .map_err(Failure::stopped)?
            .auth(Bearer::new(token))
            .dialect(Dialect::rfc7644())
            .timeout(std::time::Duration::from_secs(5))
            // What fails is for the outbox to try again, which knows what else waits.
            .retry(Retry::never());
        let mapping = Mapping::from_toml(PLAIN_MAPPING).map_err(Failure::stopped)?;
        let id = ConnectorId::new(name).map_err(Failure::stopped)?;
        connectors = connectors.with(id, ScimConnector::new(client, mapping, Deprovision::Disable));
        applications.push(application);
    }
    let switches: Arc<[FaultSwitch]> = applications.iter().map(Application::switch).collect();
    let key: Arc<str> = random_text()?.into();
    let faults = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::stopped)?;
    let faults_address = faults.local_addr().map_err(Failure::stopped)?;
    tokio::spawn(application::serve_switches(faults, key.clone(), switches.clone()));

    let engine = Engine::open(
        Settings {
            data_dir: data_dir.clone(),
            thresholds: thresholds(),
            rules: AlertRules::default(),
            probe_every: TimeDelta::seconds(2),
            chart_step: TimeDelta::seconds(2),
            // Three applications with a handful of people: every one of them may leave.
            guard: MassLeaverGuard::off(),
            sinks: Vec::new(),
        },
        connectors,
    )
    .await
    .map_err(Failure::stopped)?;
    let engine = Arc::new(engine);
    let token = random_text()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::stopped)?;
    let api = format!("http://{}", listener.local_addr().map_err(Failure::stopped)?);
    let router = api::router(engine.clone(), Access::by(&token));

    // Whoever is told that it serves may end it at once.
    let told = stop();
    if as_json {
        let applications: Vec<_> = applications
            .iter()
            .map(|application| {
                json!({
                    "name": application.name,
                    "base_url": application.base_url(),
                    "token": application.token,
                    "fault_url": format!("http://{faults_address}/{key}/{}", application.name),
                })
            })
            .collect();
        let line = json!({
            "api": api,
            "token": token,
            "status_page": format!("{api}/#token={token}"),
            "events_url": format!("{api}/events"),
            "alerts_url": format!("{api}/alerts"),
            "offboardings_url": format!("{api}/offboardings"),
            "applications": applications,
            "data_dir": data_dir,
        });
        println!("{line}");
    }
    let stage = Stage { api, token, data_dir, switches };
    let show = async {
        if as_json {
            return std::future::pending().await;
        }
        show::run(&engine, &stage).await?;
        std::future::pending().await
    };
    tokio::select! {
        () = listen::serve(listener, None, router, Limits::default(), std::future::pending()) => Ok(()),
        worked = engine.run() => worked.map_err(Failure::stopped),
        () = engine.deliver_alerts() => Ok(()),
        reviewed = engine.watch_access() => reviewed.map(|never| match never {}).map_err(Failure::stopped),
        shown = show => shown,
        () = told => Ok(()),
    }
}

/// In a demo, what takes minutes takes seconds.
fn thresholds() -> Thresholds {
    Thresholds {
        fail_after_s: 30,
        stale_after_s: 60,
        recovery_successes: 3,
        hold_down_s: 6,
        hold_down_max_s: 30,
        probe_every_s: 2,
        probe_every_max_s: 2,
        ..Thresholds::default()
    }
}

/// 128 random bits, in letters and digits that survive any quoting.
fn random_text() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(Failure::stopped)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// Until somebody says so. It is listened for from the call on.
pub(crate) fn stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut ended, mut interrupted) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let told = async |signal: &mut std::io::Result<tokio::signal::unix::Signal>| match signal {
            Ok(signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        };
        tokio::select! {
            () = told(&mut ended) => {}
            () = told(&mut interrupted) => {}
        }
    }
}
