//! The real thing: settings in, a running provisioner out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use audit_log::Entry;
use chrono::TimeDelta;
use connector_health::ConnectorId;
use serde_json::json;
use tokio::net::TcpListener;

use crate::config::{Config, Mistake};
use crate::engine::{Engine, EngineError, Settings};
use crate::failure::Failure;
use crate::secrets::StoredSecret;
use crate::source::csv::CsvFeed;
use crate::source::ends::Ends;
use crate::source::{stdin, webhook};
use crate::{Answer, api, demo, files, listen, say, tls};

/// How long the work that is under way may take after the service was asked to end.
const GRACE: Duration = Duration::from_secs(10);
/// How often is looked for new credentials.
const SECRETS_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time that one bar of a chart stands for.
const CHART_STEP: TimeDelta = TimeDelta::minutes(1);

/// Says everything that is wrong with a settings file, and starts nothing.
pub(crate) fn check(path: &Path, answer: &mut Answer) -> Result<u8, Failure> {
    use std::io::Write as _;
    let (mistakes, warnings) = match Config::read(path) {
        Ok(config) => (Vec::new(), config.warnings),
        Err(mistakes) => (mistakes, Vec::new()),
    };
    let good = mistakes.is_empty();
    if answer.json {
        let mistakes: Vec<_> = mistakes
            .iter()
            .map(|Mistake { line, column, message }| json!({"line": line, "column": column, "message": message}))
            .collect();
        let said = json!({"ok": good, "mistakes": mistakes, "warnings": warnings});
        crate::json::write_line(&mut answer.out, &said)?;
    } else {
        for line in told(path, &mistakes) {
            writeln!(answer.out, "{}", crate::terminal::inert(&line))?;
        }
        for warning in &warnings {
            writeln!(answer.out, "warning: {}", crate::terminal::inert(warning))?;
        }
        if good {
            writeln!(answer.out, "{}: good to serve", crate::terminal::inert(&path.display().to_string()))?;
        }
    }
    Ok(if good { 0 } else { crate::failure::USAGE })
}

fn told(path: &Path, mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect()
}

/// Serves until it is told to end, or until something cannot be kept.
pub(crate) async fn run(path: &Path, answer: &mut Answer) -> Result<(), Failure> {
    let config = Config::read(path).map_err(|mistakes| {
        let told = told(path, &mistakes);
        Failure::usage(told.join("\n"))
    })?;
    for warning in &config.warnings {
        say(&format!("warning: {warning}"));
    }
    let Config { data_dir, store, access, connectors, tls, webhook_secret, csv, secrets, .. } = config;
    files::private_dir(&data_dir).map_err(Failure::stopped)?;
    let settings = Settings {
        data_dir: data_dir.clone(),
        thresholds: config.thresholds,
        rules: config.rules,
        probe_every: config.probe_every,
        chart_step: CHART_STEP,
        guard: config.guard,
        sinks: config.sinks,
    };
    let engine = Engine::open_with(store, settings, connectors).await.map_err(Failure::stopped)?;
    let engine = engine.with_rules(config.compared, config.sod).with_reviews(config.owners, config.reviews);
    let engine = Arc::new(engine);
    for (connector, ends) in &config.credential_ends {
        engine.credential_ends(connector, *ends);
    }
    let mut router = api::router(engine.clone(), access);
    if let Some(secret) = webhook_secret {
        let file = data_dir.join("webhook-ids");
        let hook = webhook::router(engine.clone(), secret, file).map_err(Failure::stopped)?;
        router = router.merge(hook);
    }
    let ends = Ends::open(engine.clone(), data_dir.join("ends.json")).map_err(Failure::stopped)?;
    let ends = Arc::new(ends);
    let csv = csv
        .map(|source| CsvFeed::open(engine.clone(), ends.clone(), source, data_dir.join("source-csv.json")))
        .transpose()
        .map_err(Failure::stopped)?;

    let cannot =
        |error: std::io::Error| Failure::stopped(format!("cannot listen on {}: {error}", config.listen));
    let acceptor = tls.as_ref().map(tls::acceptor).transpose().map_err(Failure::stopped)?;
    let listener = TcpListener::bind(config.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    engine.note(Entry::new("service.started").outcome("success")).await.map_err(Failure::stopped)?;
    // Whoever is told that it serves may end it at once.
    let told = demo::stop();
    let api = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    say(&format!("serving on {api}"));
    if answer.json {
        use std::io::Write as _;
        crate::json::write_line(&mut answer.out, &json!({"api": api}))?;
        answer.out.flush()?;
    }

    let (end, ended) = tokio::sync::watch::channel(false);
    let until = async move |mut ended: tokio::sync::watch::Receiver<bool>| {
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let served = listen::serve(listener, acceptor, router, config.limits.within_descriptors(), until(ended));
    let sources = async {
        let from_csv = async {
            match csv {
                Some(feed) => feed.watch().await.map(|never| match never {}),
                None => std::future::pending().await,
            }
        };
        let from_stdin = async {
            if config.stdin {
                stdin::read(&engine).await?;
                say("standard input has ended; the other sources go on");
            }
            std::future::pending::<Result<(), EngineError>>().await
        };
        tokio::select! {
            failed = from_csv => failed,
            failed = from_stdin => failed,
            failed = ends.watch() => failed.map(|never| match never {}),
            failed = watch_secrets(&engine, &secrets) => failed,
            failed = engine.watch_access() => failed.map(|never| match never {}),
        }
    };
    let mut served = std::pin::pin!(served);
    let mut worked = std::pin::pin!(engine.run());
    let outcome = tokio::select! {
        // It ends when it is told to.
        () = &mut served => Ok(()),
        outcome = &mut worked => outcome.map_err(Failure::stopped),
        outcome = sources => outcome.map_err(Failure::stopped),
        () = engine.deliver_alerts() => Ok(()),
        () = told => Ok(()),
    };
    if let Err(failure) = outcome {
        return Err(Failure::stopped(format!("the service has stopped: {}", failure.sentence())));
    }
    // No new connections; what is asked and sent at this moment is brought to its end.
    say("ending");
    engine.stop();
    end.send_replace(true);
    let ending = async { tokio::join!(served, worked) };
    match tokio::time::timeout(GRACE, ending).await {
        Ok(((), worked)) => worked.map_err(Failure::stopped)?,
        // What was being sent counts as sent, and is looked at first next time.
        Err(_) => say("something took too long and was broken off"),
    }
    engine.close().await.map_err(Failure::stopped)
}

/// A file that was replaced is tried at once, however long the old credential had been refused.
async fn watch_secrets(
    engine: &Engine,
    secrets: &[(ConnectorId, Arc<StoredSecret>)],
) -> Result<(), EngineError> {
    loop {
        tokio::time::sleep(SECRETS_LOOK_EVERY).await;
        for (connector, secret) in secrets {
            if let Some(path) = secret.changed() {
                say(&format!("{connector}: there is a new credential in {}", path.display()));
                engine.credential_replaced(connector).await?;
            }
        }
    }
}
