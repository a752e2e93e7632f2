//! What the demo tells.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use mfa_events::detect::Detector;
use mfa_events::event::Timestamp;
use mfa_events::store::Record;
use mfa_events::{Event, EventType, TenantId};

use super::Stage;
use super::day::{self, Attack};
use crate::failure::Failure;
use crate::service::Service;
use crate::{files, say, tell};

/// How long an hour of the day takes.
const HOUR_TAKES: Duration = Duration::from_millis(60);

/// The day as it was streamed, for `backtest`; in the data directory.
const DAY_FILE: &str = "day.jsonl";

/// Logins that one sign of a bar stands for.
const LOGINS_PER_SIGN: usize = 12;

/// Puts the day into the log, hour by hour, and tells of it where somebody looks.
pub(super) async fn day(
    service: &Service,
    tenant: &TenantId,
    detector: &mut Detector,
    seed: u64,
    is_silent: bool,
    data_dir: &Path,
) -> Result<(), Failure> {
    let log = &service.log;
    let bounds = log.bounds(tenant).await.map_err(Failure::stopped)?;
    if bounds.last > bounds.forgotten {
        say("there are events from an earlier run: no day is simulated");
        return Ok(());
    }
    let end = Utc::now();
    let events = day::events(end, seed).map_err(Failure::stopped)?;
    let told = |line: String| if is_silent { Ok(()) } else { tell(&line) };
    told(
        format!(
            "Two days of a company of 400, {} events; the second has three attacks in it.\n",
            events.len()
        )
        .trim_end()
        .to_owned(),
    )?;
    let mut rest = events.as_slice();
    let mut day_file = Vec::new();
    for hour in 0..48 {
        let from = end - TimeDelta::hours(48 - hour);
        let to = from + TimeDelta::hours(1);
        let split = rest.partition_point(|event| event.at().as_datetime() < to);
        let (now, later) = rest.split_at_checked(split).unwrap_or((rest, &[]));
        rest = later;
        let came = Utc::now();
        let appended = log.append(tenant, now.iter().cloned(), came).await.map_err(Failure::stopped)?;
        let ingested_at = Timestamp::new(came).map_err(Failure::stopped)?;
        for (event, appended) in now.iter().zip(appended) {
            let record = Record { offset: appended.offset(), ingested_at, event: Arc::new(event.clone()) };
            day_file.extend(record.to_json(tenant));
            day_file.push(b'\n');
        }
        // The clock of the day is that of its events.
        let mut alerts = Vec::new();
        loop {
            let advanced = detector.advance(log, tenant, to).await.map_err(Failure::stopped)?;
            alerts.extend(advanced.alerts);
            if advanced.is_up_to_date {
                break;
            }
        }
        service.watch.tell(tenant, &alerts).await;
        if hour < 24 || is_silent {
            continue;
        }
        told(bar(from, now))?;
        for attack in Attack::ALL.into_iter().filter(|attack| (from..to).contains(&attack.begins(end))) {
            told(format!("       ! {}", attack.about()))?;
        }
        for alert in &alerts {
            told(format!("       ALERT {alert}"))?;
        }
        tokio::time::sleep(HOUR_TAKES).await;
    }
    let path = data_dir.join(DAY_FILE);
    files::private_file(&path, &day_file).map_err(Failure::stopped)
}

fn bar(from: chrono::DateTime<Utc>, events: &[Event]) -> String {
    let count = |kind: EventType| events.iter().filter(|event| event.event_type() == kind).count();
    let (successes, failures) = (count(EventType::LoginSuccess), count(EventType::LoginFailure));
    let logins = successes.saturating_add(failures);
    let signs = "#".repeat(logins / LOGINS_PER_SIGN);
    let percent = failures.saturating_mul(100).checked_div(logins).unwrap_or_default();
    format!(
        "{}  {logins:>4} logins, {percent:>2} % failed, {:>2} second factors failed  {signs}",
        from.format("%H:%M"),
        count(EventType::MfaFailure),
    )
}

/// What to try.
pub(super) fn next(stage: &Stage) -> Result<(), Failure> {
    let Stage { api, key, data_dir } = stage;
    let auth = format!("-H 'Authorization: Bearer {key}'");
    let at = Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let lines = [
        String::new(),
        "It keeps running. Try:".to_owned(),
        String::new(),
        format!("  Open     {api}/#key={key}"),
        format!("  Stream   curl -N {auth} -H 'Accept: text/event-stream' {api}/v1/stream"),
        format!(
            "  Send     curl {auth} {api}/v1/events -d '{{\"event_type\":\"mfa.failure\",\"timestamp\":\"{at}\",\"actor_id\":\"alice\",\"outcome\":\"failure\",\"mfa_method\":\"push\",\"failure_reason\":\"push_denied\"}}'"
        ),
        format!("  Poll     curl -i {auth} '{api}/v1/stream?offset=-1&limit=3'"),
        format!("  Actor    curl {auth} {api}/v1/actors/person-0042/events"),
        format!("  Alerts   curl {auth} {api}/v1/alerts"),
        format!("  Metrics  curl {auth} {api}/v1/metrics"),
        format!("  OpenAPI  curl {api}/openapi.json"),
        format!("  Evidence auditor --data-dir {} search person-0042", data_dir.display()),
        "  Render   event-api rules render --as kql --rule credential-stuffing".to_owned(),
    ];
    let day = data_dir.join(DAY_FILE);
    let backtest = day.is_file().then(|| {
        format!("  Backtest event-api backtest {} --explain credential-stuffing:198.51.100.10", day.display())
    });
    let end = [String::new(), "Ctrl-C ends it.".to_owned()];
    lines.iter().chain(&backtest).chain(&end).try_for_each(|line| tell(line))
}
