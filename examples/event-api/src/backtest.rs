//! `event-api backtest`: what rules would have found in a file of events.

mod explain;
mod history;
mod show;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mfa_events::TenantId;
use mfa_events::detect::{Alert, Options, REPORT_ALERTS_MAX, Rules, TenantDetector};
use uuid::Uuid;

use crate::failure::{Failure, USAGE};
use crate::rules;
use crate::say;
use explain::{Asked, Question};
use history::{Item, Source, Stop};

/// Most mistakes that are told of one file. Others are counted.
const MISTAKES_MAX: u64 = 50;
/// Whose events those of a file are that does not say so.
const TENANT: &str = "file";
/// How long it takes before a bar is shown.
const BAR_AFTER: Duration = Duration::from_millis(500);
/// Events between two looks at the clock.
const EVENTS_PER_LOOK: u64 = 1_024;

/// Run rules over events of a file, and print the alerts they would have given
///
/// The file is JSON lines, a JSON array, or CSV whose header names fields of events (`event_type`, `geo_location.country`); it is read
/// once, in its order, which should be that in which events came: rules wait five seconds for earlier ones, and count what comes later
/// when it comes. Events of a stream of this service keep their tenant and offset, and alerts the ids they have there.
///
/// Exit status: 0 where all events were judged, whatever was found; 1 where the file cannot be read; 2 where something in it, or in the
/// rules, or in what was asked for makes no sense (other events were judged nevertheless).
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// The events; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    from: rules::From,
    /// Only this rule (repeatable)
    #[arg(long, value_name = "NAME")]
    rule: Vec<String>,
    /// Say how near a rule came to an alert, and why it gave none: of whom, for rules that count apart (`mfa-fatigue:alice`,
    /// `credential-stuffing:203.0.113.7`)
    #[arg(long, value_name = "RULE[:GROUP]")]
    explain: Vec<String>,
}

/// What came of a file.
#[derive(Default)]
pub(crate) struct Found {
    /// Each alert as it was in the end.
    alerts: BTreeMap<Uuid, Alert>,
    /// Alerts for which there was no room.
    left_out: u64,
    tenants: BTreeMap<TenantId, TenantDetector>,
    events: u64,
    repeated: u64,
    mistakes: u64,
}

pub(crate) fn run(wanted: &Wanted, as_json: bool) -> Result<u8, Failure> {
    let rules = rules::only(wanted.from.read()?, &wanted.rule)?;
    let questions: Vec<Question> =
        wanted.explain.iter().map(|text| Question::parse(text, &rules)).collect::<Result<_, _>>()?;
    let name = match wanted.file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => wanted.file.display().to_string(),
    };
    let (input, bar) =
        open(&wanted.file).map_err(|error| Failure::stopped(format!("{name}: cannot be read: {error}")))?;
    let mut asked: Vec<Asked> = questions.into_iter().map(Asked::new).collect();
    let mut found = Found::default();
    let stop = judge(input, &rules, &name, &mut asked, &mut found, &bar);
    bar.finish_and_clear();
    let is_whole = match stop {
        Ok(()) => true,
        Err(Stop::Unreadable(error)) => {
            return Err(Failure::stopped(format!("{name}: cannot be read: {error}")));
        }
        Err(Stop::Broken(mistake)) => {
            found.mistakes = found.mistakes.saturating_add(1);
            say(&format!("{name}: {mistake}"));
            say(&format!("{name}: what stands behind it was not read"));
            false
        }
    };
    if found.mistakes > MISTAKES_MAX {
        say(&format!("{name}: {} more mistakes", found.mistakes - MISTAKES_MAX));
    }
    match as_json {
        true => show::lines(&found, &asked, is_whole)?,
        false => show::table(&found, &asked, is_whole)?,
    }
    Ok(if found.mistakes == 0 { 0 } else { USAGE })
}

fn judge(
    input: impl BufRead,
    rules: &Rules,
    name: &str,
    asked: &mut [Asked],
    found: &mut Found,
    bar: &ProgressBar,
) -> Result<(), Stop> {
    let now = Utc::now();
    let tenant = TenantId::new(TENANT).map_err(|error| Stop::Unreadable(io::Error::other(error)))?;
    let mut events = history::open(input, tenant, now)?;
    let read = read(&mut *events, rules, name, asked, found, bar);
    let mut alerts = Vec::new();
    for (tenant, detector) in &mut found.tenants {
        detector.finish(&mut alerts);
        // Those that are open have grown since they were told.
        alerts.extend(detector.open());
        asked.iter_mut().for_each(|asked| asked.end(tenant, detector));
    }
    found.keep(&mut alerts);
    read
}

fn read(
    events: &mut dyn Source,
    rules: &Rules,
    name: &str,
    asked: &mut [Asked],
    found: &mut Found,
    bar: &ProgressBar,
) -> Result<(), Stop> {
    let (begun, mut looked, mut alerts) = (Instant::now(), 0_u64, Vec::new());
    while let Some(item) = events.next()? {
        looked = looked.saturating_add(1);
        if looked.is_multiple_of(EVENTS_PER_LOOK)
            && bar.is_hidden()
            && begun.elapsed() > BAR_AFTER
            && io::stderr().is_terminal()
        {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        match item {
            Item::Repeated => found.repeated = found.repeated.saturating_add(1),
            Item::Mistake(mistake) => {
                found.mistakes = found.mistakes.saturating_add(1);
                if found.mistakes <= MISTAKES_MAX {
                    bar.suspend(|| say(&format!("{name}: {mistake}")));
                }
            }
            Item::Event(tenant, record) => {
                found.events = found.events.saturating_add(1);
                let detector = found
                    .tenants
                    .entry(tenant.clone())
                    .or_insert_with(|| TenantDetector::new(tenant.clone(), rules, Options::default()));
                detector.observe(&record, &mut alerts);
                asked.iter_mut().for_each(|asked| asked.look(&tenant, &record.event, detector));
                found.keep(&mut alerts);
            }
        }
    }
    Ok(())
}

impl Found {
    fn keep(&mut self, alerts: &mut Vec<Alert>) {
        for alert in alerts.drain(..) {
            if self.alerts.len() < REPORT_ALERTS_MAX || self.alerts.contains_key(&alert.id) {
                self.alerts.insert(alert.id, alert);
            } else if alert.state == mfa_events::detect::AlertState::Opened {
                self.left_out = self.left_out.saturating_add(1);
            }
        }
    }
}

/// The file, and a bar that follows it. The bar is shown where it takes long, and somebody looks.
fn open(path: &Path) -> io::Result<(Box<dyn BufRead>, ProgressBar)> {
    let hidden = |length| ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    if path.as_os_str() == "-" {
        return Ok((Box::new(io::stdin().lock()), hidden(None)));
    }
    let file = File::open(path)?;
    let known = file.metadata()?;
    if known.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let bar = hidden(known.is_file().then_some(known.len()));
    if let Ok(style) =
        ProgressStyle::with_template("judging {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let followed = bar.wrap_read(file);
    Ok((Box::new(BufReader::with_capacity(256 * 1024, followed)), bar))
}
