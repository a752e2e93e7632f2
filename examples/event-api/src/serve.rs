//! The real thing: settings in, a running service out.

use std::path::Path;

use mfa_events::detect::Detector;
use serde_json::json;

use crate::config::{Config, Mistake};
use crate::failure::{Failure, USAGE};
use crate::service::Service;
use crate::{json, say, server, tell, tls};

/// Says everything that is wrong with a settings file, and starts nothing.
pub(crate) fn check(path: &Path, as_json: bool) -> Result<u8, Failure> {
    let mistakes = Config::read(path).err().unwrap_or_default();
    let good = mistakes.is_empty();
    if as_json {
        let mistakes: Vec<_> = mistakes
            .iter()
            .map(|Mistake { line, column, message }| json!({"line": line, "column": column, "message": message}))
            .collect();
        let said = json!({"ok": good, "mistakes": mistakes});
        json::write_line(&mut std::io::stdout(), &said).map_err(Failure::Output)?;
    } else if good {
        tell(&format!("{}: good to serve", path.display()))?;
    } else {
        told(path, &mistakes).iter().try_for_each(|line| tell(line))?;
    }
    Ok(if good { 0 } else { USAGE })
}

fn told(path: &Path, mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect()
}

/// Serves until it is told to end, or until something cannot be kept.
pub(crate) async fn run(path: &Path, as_json: bool) -> Result<(), Failure> {
    let config = Config::read(path).map_err(|mistakes| Failure::usage(told(path, &mistakes).join("\n")))?;
    let tls = config.tls.as_ref().map(tls::acceptor).transpose().map_err(Failure::stopped)?;
    let files = server::open_files();
    if files.is_some_and(|files| files < config.connections.max.saturating_add(256) as u64) {
        say("warning: the system allows fewer open files than connections are allowed (`ulimit -n`)");
    }
    let service = Service::open(
        &config.data_dir,
        config.keys,
        &config.tenants,
        &config.rules,
        config.playbooks,
        config.retention,
    )
    .await?;
    let cannot =
        |error: std::io::Error| Failure::stopped(format!("cannot listen on {}: {error}", config.listen));
    let (listener, address) = server::listen(config.listen).await.map_err(cannot)?;
    service.started().await?;
    for tenant in &config.tenants {
        let detector = Detector::new(config.rules.clone());
        tokio::spawn(service.watch.clone().follow(service.log.clone(), tenant.clone(), detector));
    }
    // Whoever is told that it serves may end it at once.
    let told = stop();
    let api = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    say(&format!("serving on {api}"));
    if as_json {
        json::write_line(&mut std::io::stdout(), &json!({"api": api})).map_err(Failure::Output)?;
    }
    let failed = service.failed();
    let mut why = None;
    let until = async {
        tokio::select! {
            () = told => {}
            failed = failed => why = Some(failed),
        }
    };
    server::serve(listener, tls, service.router.clone(), config.connections, until).await;
    match why {
        // Nothing is taken that is not in the audit log as well.
        Some(why) => Err(Failure::stopped(format!("the service has stopped: {why}"))),
        None => {
            say("ending");
            service.close().await
        }
    }
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
