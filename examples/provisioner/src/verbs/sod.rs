//! `provisioner sod`: rights that nobody may have together.

use std::io::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::review::due;
use super::{Form, HELP, all, exported, number, text};
use crate::failure::{Cause, Failure};
use crate::remote::{At, Remote};
use crate::table::Table;
use crate::terminal::inert;
use crate::{Answer, json};

/// Digits of a grant's identifier that are shown and suffice.
const ID_DIGITS: usize = 12;
/// Digits of a snapshot's hash that are shown and suffice.
const SNAPSHOT_DIGITS_MIN: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct Sod {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show who violates what, and which grants wait for a decision
    Status(Status),
    /// Let a grant be that would make a violation, for a while
    Approve(Approve),
    /// Say that a grant must not be
    Reject(Reject),
    /// Say which control watches somebody's violation, until when, and who answers for it
    Mitigate(Mitigate),
    /// Take the rights away that make somebody's violation
    Revoke(Revoke),
    /// Hand the violations to an auditor
    Export(Export),
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Status {
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Approve {
    /// Which, as `status` says it
    grant: String,
    /// The hash of what it would violate, as `status` says it: what came up since is not accepted unseen
    #[arg(long, value_name = "HASH")]
    snapshot: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// Until when: a day (2026-12-31), an instant, or so many days; 90 without it
    #[arg(long, value_name = "WHEN", value_parser = due)]
    until: Option<DateTime<Utc>>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Reject {
    /// Which, as `status` says it
    grant: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Mitigate {
    /// Of which risk
    risk: String,
    /// Whose violation
    person: String,
    /// What is done: "monthly review of vendor changes"
    #[arg(long)]
    control: String,
    /// Who answers for it; never the person
    #[arg(long, value_name = "PERSON")]
    owner: String,
    /// Until when: a day (2026-12-31), an instant, or so many days
    #[arg(long, value_name = "WHEN", value_parser = due)]
    until: DateTime<Utc>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Revoke {
    /// Of which risk
    risk: String,
    /// Whose violation
    person: String,
    /// Which function goes; without it the one that the rule names
    #[arg(long)]
    function: Option<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Export {
    /// As what
    #[arg(long, value_enum, default_value_t = Form::Json)]
    format: Form,
    /// Write it to this file, which only its owner may read, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

pub(crate) async fn run(wanted: &Sod, answer: &mut Answer) -> Result<u8, Failure> {
    match &wanted.verb {
        Verb::Status(wanted) => status(wanted, answer).await,
        Verb::Approve(Approve { grant, snapshot, reason, until, at }) => {
            let remote = Remote::new(at)?;
            let held = held(&remote, grant).await?;
            let snapshot = whole(&held, snapshot)?;
            let approval = json!({"snapshot": snapshot, "reason": reason, "until": until});
            let said = remote.send(&["sod", "held", text(&held, "id"), "approval"], &approval).await?;
            done(answer, &said, "granted")
        }
        Verb::Reject(Reject { grant, reason, at }) => {
            let remote = Remote::new(at)?;
            let held = held(&remote, grant).await?;
            let id = text(&held, "id").to_owned();
            let rejection = json!({"reason": reason});
            done(answer, &remote.send(&["sod", "held", &id, "rejection"], &rejection).await?, "not granted")
        }
        Verb::Mitigate(Mitigate { risk, person, control, owner, until, at }) => {
            let mitigation =
                json!({"risk": risk, "person": person, "control": control, "owner": owner, "expires": until});
            let said = Remote::new(at)?.send(&["sod", "mitigations"], &mitigation).await?;
            done(answer, &said, "a control watches it")
        }
        Verb::Revoke(Revoke { risk, person, function, at }) => {
            let revocation = json!({"risk": risk, "person": person, "function": function});
            let said = Remote::new(at)?.send(&["sod", "revocations"], &revocation).await?;
            let what =
                format!("{} rights go; `sod status` shows when they are gone", number(&said, "rights"));
            done(answer, &said, &what)
        }
        Verb::Export(wanted) => {
            let remote = Remote::new(&wanted.at)?;
            exported(&remote, &["sod"], wanted.format, wanted.out.as_deref(), answer).await
        }
    }
}

fn done(answer: &mut Answer, said: &Value, what: &str) -> Result<u8, Failure> {
    match answer.json {
        true => json::write_line(&mut answer.out, said)?,
        false => writeln!(answer.out, "{what}")?,
    }
    Ok(0)
}

/// The whole hash of what was shown, from its beginning. One that is no longer shown is for the service to refuse.
fn whole(held: &Value, beginning: &str) -> Result<String, Failure> {
    if beginning.len() < SNAPSHOT_DIGITS_MIN {
        return Err(Failure::usage(format!("a snapshot is named by {SNAPSHOT_DIGITS_MIN} digits or more")));
    }
    let shown = text(held, "snapshot");
    let earlier = all(held, "earlier").filter_map(Value::as_str);
    let known = std::iter::once(shown).chain(earlier).find(|known| known.starts_with(beginning));
    Ok(known.unwrap_or(beginning).to_owned())
}

/// A grant that waits.
async fn held(remote: &Remote, beginning: &str) -> Result<Value, Failure> {
    let duty = remote.look(&["sod"]).await?;
    let fits = |held: &&Value| {
        held.get("rejected").is_none_or(Value::is_null) && text(held, "id").starts_with(beginning)
    };
    let found: Vec<&Value> = all(&duty, "held").filter(fits).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(remote.failed(Cause::NotFound, "no such grant waits".to_owned())),
        _ => Err(Failure::usage(format!("{beginning} is the beginning of several"))),
    }
}

async fn status(wanted: &Status, answer: &mut Answer) -> Result<u8, Failure> {
    let duty = Remote::new(&wanted.at)?.look(&["sod"]).await?;
    if answer.json {
        json::write_line(&mut answer.out, &duty)?;
        return Ok(0);
    }
    let violations: Vec<&Value> = all(&duty, "violations").collect();
    match violations.len() {
        0 => writeln!(answer.out, "nobody violates anything")?,
        _ => {
            for violation in violations {
                writeln!(answer.out, "{}", inert(text(violation, "message")))?;
            }
        }
    }
    let waits = all(&duty, "held").filter(|held| held.get("rejected").is_none_or(Value::is_null));
    let waits: Vec<&Value> = waits.collect();
    if waits.is_empty() {
        return Ok(0);
    }
    writeln!(answer.out)?;
    let names = ["GRANT", "PERSON", "CONNECTOR", "RIGHT", "RISKS", "SNAPSHOT", "SINCE", "WAITS FOR"];
    let mut table = Table::new(names.map(str::to_owned).to_vec(), answer.palette);
    for held in waits {
        let row = vec![
            text(held, "id").chars().take(ID_DIGITS).collect(),
            text(held, "person").to_owned(),
            text(held, "connector").to_owned(),
            text(held, "entitlement").to_owned(),
            all(held, "risks").filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            text(held, "snapshot").chars().take(SNAPSHOT_DIGITS_MIN).collect(),
            text(held, "since").to_owned(),
            [text(held, "message"), text(held, "refused")].join(" ").trim_end().to_owned(),
        ];
        table.row(&mut answer.out, row)?;
    }
    table.finish(&mut answer.out)?;
    Ok(0)
}
