//! `event-api demo`: a company's day with three attacks in it, and then whatever is sent.

mod day;
mod show;

use std::path::PathBuf;

use chrono::{TimeDelta, Utc};
use clap::Args;
use mfa_events::TenantId;
use mfa_events::detect::{Detector, Rules};
use mfa_events::http::{HashedKeys, Right, Scope};
use serde_json::json;

use crate::failure::Failure;
use crate::retention::Policy;
use crate::serve::stop;
use crate::server::Connections;
use crate::service::Service;
use crate::{json, keys, playbook, say, server};

/// Whose day it is.
const TENANT: &str = "acme";

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Where to keep events, audit log and keys; stays when the demo ends
    #[arg(long, value_name = "DIR", default_value = "event-api-demo")]
    data_dir: PathBuf,
    /// Do without the simulated day
    #[arg(long)]
    quiet: bool,
    /// Draw another day
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// Where everything of a run is; also what `--json` prints.
pub(crate) struct Stage {
    pub(crate) api: String,
    pub(crate) key: String,
    pub(crate) data_dir: PathBuf,
}

impl Stage {
    fn line(&self) -> serde_json::Value {
        let Self { api, key, data_dir } = self;
        json!({
            "api": api,
            "api_key": key,
            "ingest_url": format!("{api}/v1/events"),
            "stream_url": format!("{api}/v1/stream"),
            "alerts_url": format!("{api}/v1/alerts"),
            "metrics_url": format!("{api}/v1/metrics"),
            "page": format!("{api}/#key={key}"),
            "data_dir": data_dir,
        })
    }
}

pub(crate) async fn run(wanted: &Wanted, as_json: bool) -> Result<(), Failure> {
    let tenant = TenantId::new(TENANT).map_err(Failure::stopped)?;
    let key = keys::random()?;
    // Keys are made anew for each run.
    let known = HashedKeys::new()
        .with(&key, Scope::new(tenant.clone(), [Right::Ingest, Right::Read]))
        .map_err(Failure::stopped)?;
    server::open_files();
    let rules = Rules::published();
    // It says what it would do about the attacks of the day, which lie behind.
    let mut playbook = playbook::Settings::dry_run(tenant.clone());
    playbook.fresh = TimeDelta::hours(48);
    let tenants = std::slice::from_ref(&tenant);
    let service =
        Service::open(&wanted.data_dir, known, tenants, &rules, vec![playbook], Policy::default()).await?;
    service.watch.since(&tenant, Utc::now() - TimeDelta::hours(48));
    let data_dir = wanted.data_dir.canonicalize().map_err(Failure::stopped)?;
    let (listener, address) = server::listen(([127, 0, 0, 1], 0).into()).await.map_err(Failure::stopped)?;
    service.started().await?;
    let stage = Stage { api: format!("http://{address}"), key, data_dir };

    // Whoever is told that it serves may end it at once.
    let told = stop();
    let connections = Connections { max: 16_384, per_source_max: 16_384 };
    let failed = service.failed();
    let mut why = None;
    let show = async {
        let mut detector = Detector::new(rules);
        if !wanted.quiet {
            show::day(&service, &tenant, &mut detector, wanted.seed, as_json, &stage.data_dir).await?;
        }
        tokio::spawn(service.watch.clone().follow(service.log.clone(), tenant.clone(), detector));
        match as_json {
            true => json::write_line(&mut std::io::stdout(), &stage.line()).map_err(Failure::Output)?,
            false => show::next(&stage)?,
        }
        std::future::pending::<Result<(), Failure>>().await
    };
    let until = async {
        tokio::select! {
            () = told => {}
            failed = failed => why = Some(Failure::stopped(format!("the demo has stopped: {failed}"))),
            shown = show => why = shown.err(),
        }
    };
    server::serve(listener, None, service.router.clone(), connections, until).await;
    match why {
        Some(failure) => Err(failure),
        None => {
            say("ending");
            service.close().await
        }
    }
}
