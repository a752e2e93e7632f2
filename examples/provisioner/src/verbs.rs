//! What is asked of the running service from the command line.

pub(crate) mod review;
pub(crate) mod sod;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::failure::{Cause, Failure};
use crate::progress::Progress;
use crate::remote::{At, Remote};
use crate::table::Table;
use crate::terminal::{Paint, inert};
use crate::{Answer, files, json, say};

/// How often is asked how far something is.
const ASK_EVERY: Duration = Duration::from_millis(400);
/// Exit status: somebody who left is active nevertheless.
pub(crate) const LEAVER_ACTIVE: u8 = 9;
/// Exit status: it was not over within the time that was given.
pub(crate) const NOT_YET: u8 = 10;

pub(crate) const HELP: &str = "\
Exit status:
  0  it worked
  1  it did not: the service refused, or a listing of accounts was incomplete
  2  wrong usage, or a mistake in a file
  3  the service cannot be reached
  4  the token is refused, or is good for reading only
  5  something else answers at the address
  6  there is no such person, connector or source
  9  `reconcile`: somebody who left is active nevertheless
 10  `--wait`: it was not over in time; the service goes on";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Status {
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Offboard {
    /// The person's identifier, as the sources have it
    person: String,
    /// Wait, at most so many seconds, until it is confirmed everywhere
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Replay {
    /// Which
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    connector: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Wait, at most so many seconds, until nothing is queued there
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Approve {
    /// The connector whose held leavers are right
    #[arg(required_unless_present = "source", conflicts_with = "source")]
    connector: Option<String>,
    /// What a source waits for is right: `csv`, or `clock`
    #[arg(long)]
    source: Option<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Report {
    /// The person's identifier, as the sources have it
    person: String,
    /// As what
    #[arg(long, value_enum, default_value_t = Form::Json)]
    format: Form,
    /// Write it to this file, which only its owner may read, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Json,
    Csv,
    Html,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Reconcile {
    /// Which
    connector: String,
    /// What to do about what is found: `disable-leavers` deprovisions again who left and is active, `revoke-violations` takes rights
    /// away that nobody may have together, where the rule says so. Nothing without it
    #[arg(long, value_name = "WHAT", value_parser = ["disable-leavers", "revoke-violations"])]
    apply: Option<String>,
    #[command(flatten)]
    at: At,
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn queued(connector: &Value) -> u64 {
    number(connector, "provisioning_queued").saturating_add(number(connector, "deprovisioning_queued"))
}

fn all<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

pub(crate) async fn status(wanted: &Status, answer: &mut Answer) -> Result<u8, Failure> {
    let status = Remote::new(&wanted.at)?.look(&["api", "status"]).await?;
    if answer.json {
        json::write_line(&mut answer.out, &status)?;
        return Ok(0);
    }
    let names =
        ["CONNECTOR", "STATE", "QUEUED", "FAILED", "LEAVERS", "HELD", "OLDEST LEAVER", "LAST SUCCESS", "WHY"];
    let mut table = Table::new(names.map(str::to_owned).to_vec(), answer.palette);
    for connector in all(&status, "connectors") {
        let failed = number(connector, "provisioning_failed")
            .saturating_add(number(connector, "deprovisioning_failed"));
        let age = connector.get("oldest_deprovision_age_s").and_then(Value::as_u64).map(|s| format!("{s} s"));
        let row = vec![
            text(connector, "id").to_owned(),
            text(connector, "state").to_owned(),
            queued(connector).to_string(),
            failed.to_string(),
            number(connector, "deprovisioning_queued").to_string(),
            number(connector, "held").to_string(),
            age.unwrap_or_else(|| "-".to_owned()),
            connector.get("last_success_at").and_then(Value::as_str).unwrap_or("-").to_owned(),
            text(connector, "reason").to_owned(),
        ];
        table.row(&mut answer.out, row)?;
    }
    table.finish(&mut answer.out)?;
    let open = number(&status, "leavers_open");
    if open > 0 {
        writeln!(answer.out, "\n{open} left and are not confirmed to be out everywhere:")?;
        for leaver in all(&status, "leavers") {
            let missing: Vec<String> = all(leaver, "missing")
                .map(|one| format!("{} ({})", text(one, "connector"), text(one, "reason")))
                .collect();
            let (person, left) = (text(leaver, "person"), text(leaver, "left_at"));
            writeln!(
                answer.out,
                "  {}  left {}  {}",
                inert(person),
                inert(left),
                inert(&missing.join(", "))
            )?;
        }
    }
    let palette = answer.palette;
    for source in all(&status, "sources") {
        let (name, message) = (text(source, "source"), text(source, "message"));
        let line = match source.get("waits_for_approval") == Some(&Value::Bool(true)) {
            true => format!("{name} waits for `provisioner approve --source {name}`: {message}"),
            false => format!("{name}: {message}"),
        };
        writeln!(answer.out, "\n{}", palette.paint(Paint::Yellow, &line))?;
    }
    Ok(0)
}

pub(crate) async fn offboard(wanted: &Offboard, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let taken = remote.change(&["offboard", &wanted.person], "").await?;
    let refused: Vec<&str> = all(&taken, "refused").filter_map(Value::as_str).collect();
    if !refused.is_empty() {
        return Err(remote.failed(Cause::Other, refused.join("; ")));
    }
    if let Some(seconds) = wanted.wait {
        let progress = Progress::new(false);
        let over = until(seconds, async || {
            let offboarding = remote.look(&["offboardings", &wanted.person]).await?;
            let systems: Vec<&Value> = all(&offboarding, "systems").collect();
            let confirmed = systems.iter().filter(|system| text(system, "status") == "confirmed").count();
            progress.at(confirmed as u64, &format!("of {} confirmed", systems.len()));
            Ok((text(&offboarding, "state") == "complete").then_some(offboarding))
        });
        return match over.await? {
            Some(offboarding) => {
                drop(progress);
                match answer.json {
                    true => json::write_line(&mut answer.out, &offboarding)?,
                    false => writeln!(answer.out, "{} is out everywhere", inert(&wanted.person))?,
                }
                Ok(0)
            }
            None => {
                drop(progress);
                say("it is not confirmed everywhere yet; the service goes on");
                Ok(NOT_YET)
            }
        };
    }
    if answer.json {
        json::write_line(&mut answer.out, &taken)?;
        return Ok(0);
    }
    let (queued, held, already) =
        (number(&taken, "queued"), number(&taken, "held"), number(&taken, "already"));
    writeln!(answer.out, "{queued} queued, {held} held for approval, {already} known already")?;
    Ok(0)
}

pub(crate) async fn replay(wanted: &Replay, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let before = remote.look(&["api", "status"]).await?;
    let which: Vec<String> = match &wanted.connector {
        Some(connector) => vec![connector.clone()],
        None => all(&before, "connectors").map(|connector| text(connector, "id").to_owned()).collect(),
    };
    for connector in &which {
        remote.change(&["connectors", connector, "replay"], "").await?;
    }
    let of = |status: &Value| -> u64 {
        let ours = all(status, "connectors").filter(|one| which.iter().any(|id| id == text(one, "id")));
        ours.map(queued).sum()
    };
    let waiting = of(&before);
    let mut left = waiting;
    if let Some(seconds) = wanted.wait {
        let progress = Progress::of(waiting);
        until(seconds, async || {
            left = of(&remote.look(&["api", "status"]).await?);
            progress.at(waiting.saturating_sub(left), &format!("{left} wait"));
            Ok((left == 0).then_some(()))
        })
        .await?;
    }
    match answer.json {
        true => json::write_line(
            &mut answer.out,
            &json!({"connectors": which, "queued_before": waiting, "queued": left}),
        )?,
        false if wanted.wait.is_some() => writeln!(answer.out, "{waiting} waited, {left} wait now")?,
        false => {
            writeln!(answer.out, "{waiting} wait; each connector is probed now, and replayed if it answers")?
        }
    }
    Ok(if wanted.wait.is_some() && left > 0 { NOT_YET } else { 0 })
}

pub(crate) async fn approve(wanted: &Approve, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let said = match (&wanted.connector, &wanted.source) {
        (Some(connector), _) => remote.change(&["connectors", connector, "approve"], "").await?,
        (None, source) => {
            let source = source.as_deref().unwrap_or_default();
            remote.change(&["sources", source, "approve"], "").await?
        }
    };
    match answer.json {
        true => json::write_line(&mut answer.out, &said)?,
        false => match said.get("approved").and_then(Value::as_u64) {
            Some(leavers) => writeln!(answer.out, "{leavers} approved")?,
            None => writeln!(answer.out, "approved")?,
        },
    }
    Ok(0)
}

pub(crate) async fn report(wanted: &Report, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    exported(&remote, &["offboardings", &wanted.person], wanted.format, wanted.out.as_deref(), answer).await
}

/// A report in its form, into a file or onto standard output.
async fn exported(
    remote: &Remote,
    place: &[&str],
    form: Form,
    out: Option<&Path>,
    answer: &mut Answer,
) -> Result<u8, Failure> {
    let format = match form {
        Form::Json => "json",
        Form::Csv => "csv",
        Form::Html => "html",
    };
    let record = remote.text(place, &format!("?format={format}")).await?;
    match out {
        Some(path) => files::private_file(path, record.as_bytes()).map_err(Failure::stopped)?,
        None if matches!(form, Form::Json) => {
            let record: Value = serde_json::from_str(&record)
                .map_err(|_| remote.failed(Cause::NoService, "the record cannot be read".to_owned()))?;
            json::write_line(&mut answer.out, &record)?;
        }
        None if std::io::stdout().is_terminal() => {
            for line in record.lines() {
                writeln!(answer.out, "{}", inert(line))?;
            }
        }
        None => answer.out.write_all(record.as_bytes())?,
    }
    Ok(0)
}

pub(crate) async fn reconcile(wanted: &Reconcile, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let place = ["connectors", wanted.connector.as_str(), "reconciliation"];
    let query = wanted.apply.as_ref().map(|apply| format!("?apply={apply}")).unwrap_or_default();
    remote.change(&place, &query).await?;
    let progress = Progress::new(false);
    let found = loop {
        let found = remote.look(&place).await?;
        progress.at(number(&found, "accounts"), &format!("accounts, {} intents", number(&found, "intents")));
        match text(&found, "state") {
            "running" => tokio::time::sleep(ASK_EVERY).await,
            "failed" => return Err(remote.failed(Cause::Other, text(&found, "message").to_owned())),
            _ => break found,
        }
    };
    drop(progress);
    let report: connector_health::reconcile::Report =
        serde_json::from_value(found.get("report").cloned().unwrap_or_default())
            .map_err(|_| remote.failed(Cause::NoService, "the report cannot be read".to_owned()))?;
    if answer.json {
        json::write_line(&mut answer.out, &found)?;
    } else {
        for line in report.table(usize::MAX).lines() {
            writeln!(answer.out, "{}", inert(line))?;
        }
        for violation in all(&found, "violations").filter_map(Value::as_str) {
            writeln!(answer.out, "{}", inert(violation))?;
        }
        match wanted.apply.as_deref() {
            Some("disable-leavers") => {
                writeln!(answer.out, "{} deprovisioned again", number(&found, "requeued"))?;
            }
            Some(_) => writeln!(answer.out, "{} rights to revoke", number(&found, "rights_revoked"))?,
            None => {}
        }
    }
    Ok(match (&report.incomplete, report.counts.false_completions) {
        (Some(_), _) => 1,
        (None, 0) => 0,
        (None, _) => LEAVER_ACTIVE,
    })
}

/// Asks again until there is an answer, at most so long.
async fn until<T>(
    seconds: u32,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    let asked = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(Some(answer));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(seconds.into()), asked).await.unwrap_or(Ok(None))
}
