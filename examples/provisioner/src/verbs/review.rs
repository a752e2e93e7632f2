//! `provisioner review`: who has what, and should they still.

use std::io::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, SubsecRound as _, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{ASK_EVERY, Form, HELP, NOT_YET, all, exported, number, text};
use crate::failure::{Cause, Failure};
use crate::progress::Progress;
use crate::remote::{At, Remote};
use crate::table::Table;
use crate::terminal::inert;
use crate::{Answer, json, say};

/// Digits of a snapshot's hash that are shown and suffice.
const SNAPSHOT_DIGITS_MIN: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct Review {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List who has what in the applications, and ask reviewers
    Start(Start),
    /// Show all reviews
    List(List),
    /// Show how far one is, and each reviewer's part
    Status(One),
    /// Show what there is to decide on: why it was granted, when it was last reviewed and used
    Items(Items),
    /// Decide on one right of one person, as the person whose token it is
    Decide(Decide),
    /// Name a reviewer for what has none, as whoever runs the review
    Assign(Assign),
    /// Let revocations go on that nobody decided on, where there are unusually many, as whoever runs the review
    Approve(Approve),
    /// State that all your decisions are made and meant
    Sign(One),
    /// Say that it is over: everything decided, every revocation confirmed; or call it off
    Close(Close),
    /// Hand it to an auditor
    Export(Export),
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Start {
    /// What people call it
    name: String,
    /// When decisions are due: a day (2026-12-31), an instant, or in so many days
    #[arg(long, value_name = "WHEN", value_parser = due)]
    due: DateTime<Utc>,
    /// Who decides: `manager`, `owner` (of the application), or a person; tried in this order until one is independent
    #[arg(long = "reviewer", value_name = "WHO", required = true)]
    reviewers: Vec<String>,
    /// Only this application; all of them without it
    #[arg(long = "connector", value_name = "CONNECTOR")]
    connectors: Vec<String>,
    /// Remind reviewers so many days before it is due
    #[arg(long = "remind", value_name = "DAYS")]
    remind_days: Vec<u16>,
    /// Revoke what nobody decided on so many days after it was due; it waits without this
    #[arg(long, value_name = "DAYS")]
    revoke_undecided_after: Option<u16>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct List {
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct One {
    /// Which, as `start` and `list` say it
    campaign: String,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Items {
    /// Which, as `start` and `list` say it
    campaign: String,
    /// Only what this person is to decide on
    #[arg(long, value_name = "PERSON")]
    reviewer: Option<String>,
    /// Only this person's
    #[arg(long, value_name = "PERSON")]
    person: Option<String>,
    /// Only those in this state
    #[arg(long, value_parser = ["unassigned", "open", "approved", "revoking", "revoked", "gone"])]
    state: Option<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct Item {
    /// Whose right
    #[arg(long, value_name = "PERSON")]
    person: String,
    /// In which application
    #[arg(long, value_name = "CONNECTOR")]
    connector: String,
    /// Which right
    #[arg(long, value_name = "ENTITLEMENT")]
    right: String,
    /// By which account, where the person has it by several
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Decide {
    /// Which, as `start` and `list` say it
    campaign: String,
    /// What is decided
    #[arg(value_enum)]
    decision: Decision,
    #[command(flatten)]
    item: Item,
    /// The hash of what was shown, as `items` says it: what changed since is not decided on unseen
    #[arg(long, value_name = "HASH")]
    snapshot: String,
    /// Why; `keep` needs it where nothing is on record
    #[arg(long)]
    reason: Option<String>,
    /// To whom
    #[arg(long, value_name = "PERSON", required_if_eq_any = [("decision", "reassign"), ("decision", "delegate")])]
    to: Option<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Decision {
    /// It stays
    Keep,
    /// It goes
    Revoke,
    /// Another is to answer for it
    Reassign,
    /// Another may decide, and you answer for it
    Delegate,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Assign {
    /// Which, as `start` and `list` say it
    campaign: String,
    #[command(flatten)]
    item: Item,
    /// To whom
    #[arg(long, value_name = "PERSON")]
    to: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Approve {
    /// Which, as `start` and `list` say it
    campaign: String,
    /// How many are held, as `status` says it: others than these wait on
    #[arg(long, value_name = "NUMBER")]
    revokes: u64,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Close {
    /// Which, as `start` and `list` say it
    campaign: String,
    /// Call it off although it is not complete; what was decided stays decided
    #[arg(long, requires = "reason")]
    cancel: bool,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct Export {
    /// Which, as `start` and `list` say it
    campaign: String,
    /// As what
    #[arg(long, value_enum, default_value_t = Form::Json)]
    format: Form,
    /// Write it to this file, which only its owner may read, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// A day is over at its end.
pub(super) fn due(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.with_timezone(&Utc));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        let end = day.succ_opt().ok_or("there is no such day")?;
        return Ok(end.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let days =
        text.parse::<u16>().map_err(|_| "a day such as 2026-12-31, an instant, or a number of days")?;
    Ok(Utc::now().trunc_subsecs(0) + TimeDelta::days(days.into()))
}

pub(crate) async fn run(wanted: &Review, answer: &mut Answer) -> Result<u8, Failure> {
    match &wanted.verb {
        Verb::Start(wanted) => start(wanted, answer).await,
        Verb::List(wanted) => list(wanted, answer).await,
        Verb::Status(wanted) => status(wanted, answer).await,
        Verb::Items(wanted) => items(wanted, answer).await,
        Verb::Decide(wanted) => decide(wanted, answer).await,
        Verb::Assign(wanted) => assign(wanted, answer).await,
        Verb::Sign(wanted) => {
            let remote = Remote::new(&wanted.at)?;
            let said = remote.change(&["reviews", &wanted.campaign, "signature"], "").await?;
            done(answer, &said, "signed")
        }
        Verb::Approve(Approve { campaign, revokes, reason, at }) => {
            let approved = json!({"revokes": revokes, "reason": reason});
            let said = Remote::new(at)?.send(&["reviews", campaign, "revocations"], &approved).await?;
            done(answer, &said, "they go")
        }
        Verb::Close(wanted) => close(wanted, answer).await,
        Verb::Export(wanted) => {
            let remote = Remote::new(&wanted.at)?;
            let place = ["reviews", wanted.campaign.as_str(), "report"];
            exported(&remote, &place, wanted.format, wanted.out.as_deref(), answer).await
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

async fn start(wanted: &Start, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let reviewers: Vec<Value> = wanted
        .reviewers
        .iter()
        .map(|who| match who.as_str() {
            "manager" | "owner" => json!(who),
            named => json!({"named": named}),
        })
        .collect();
    let mut plan = json!({
        "name": wanted.name,
        "due_at": wanted.due,
        "reviewers": reviewers,
        "remind_days": wanted.remind_days,
    });
    if let Some(plan) = plan.as_object_mut() {
        if !wanted.connectors.is_empty() {
            plan.insert("connectors".to_owned(), json!(wanted.connectors));
        }
        if let Some(days) = wanted.revoke_undecided_after {
            plan.insert("undecided".to_owned(), json!({"revoked": {"after_days": days}}));
        }
    }
    let begun = remote.send(&["reviews"], &plan).await?;
    let campaign = text(&begun, "campaign");
    let progress = Progress::new(false);
    let found = loop {
        let found = remote.look(&["reviews", campaign]).await?;
        match text(&found, "phase") {
            "listing" => {
                progress.at(number(&found, "accounts"), "accounts listed");
                tokio::time::sleep(ASK_EVERY).await;
            }
            "failed" => return Err(remote.failed(Cause::Other, text(&found, "message").to_owned())),
            _ => break found,
        }
    };
    drop(progress);
    if answer.json {
        json::write_line(&mut answer.out, &found)?;
        return Ok(0);
    }
    let nobodys: u64 = found
        .get("listed")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(_, listed)| number(listed, "of_nobody"))
        .sum();
    writeln!(
        answer.out,
        "{}: {} rights of {} people, {} without a reviewer",
        inert(campaign),
        number(&found, "decisions_total"),
        number(&found, "entities_total"),
        number(&found, "unassigned"),
    )?;
    if nobodys > 0 {
        let what = "accounts with rights are nobody's, and not in it: `provisioner reconcile` shows them";
        writeln!(answer.out, "{nobodys} {what}")?;
    }
    Ok(0)
}

async fn list(wanted: &List, answer: &mut Answer) -> Result<u8, Failure> {
    let reviews = Remote::new(&wanted.at)?.look(&["reviews"]).await?;
    if answer.json {
        json::write_line(&mut answer.out, &reviews)?;
        return Ok(0);
    }
    let names = ["CAMPAIGN", "PHASE", "DUE", "DECIDED", "TO REVOKE", "NAME"].map(str::to_owned).to_vec();
    let mut table = Table::new(names, answer.palette);
    for review in reviews.as_array().into_iter().flatten() {
        let due = text(review, "due_at").to_owned();
        let due = if review.get("overdue") == Some(&json!(true)) { format!("{due} overdue") } else { due };
        let decided = format!("{}/{}", number(review, "decisions_made"), number(review, "decisions_total"));
        let row = vec![
            text(review, "campaign").to_owned(),
            text(review, "phase").to_owned(),
            due,
            decided,
            number(review, "revokes_waiting").to_string(),
            [text(review, "name"), text(review, "message")].concat(),
        ];
        table.row(&mut answer.out, row)?;
    }
    table.finish(&mut answer.out)?;
    Ok(0)
}

async fn status(wanted: &One, answer: &mut Answer) -> Result<u8, Failure> {
    let review = Remote::new(&wanted.at)?.look(&["reviews", &wanted.campaign]).await?;
    if answer.json {
        json::write_line(&mut answer.out, &review)?;
        return Ok(0);
    }
    let overdue = if review.get("overdue") == Some(&json!(true)) { ", overdue" } else { "" };
    writeln!(
        answer.out,
        "{} ({}), due {}{overdue}\n{} of {} decided, {} revocations confirmed, {} waiting, {} held, {} without a reviewer",
        inert(text(&review, "name")),
        text(&review, "phase"),
        text(&review, "due_at"),
        number(&review, "decisions_made"),
        number(&review, "decisions_total"),
        number(&review, "revokes_confirmed"),
        number(&review, "revokes_waiting"),
        number(&review, "revokes_held"),
        number(&review, "unassigned"),
    )?;
    writeln!(answer.out, "snapshot {}\n", text(&review, "snapshot"))?;
    let names = ["REVIEWER", "DECIDED", "PEOPLE", "SIGNED"].map(str::to_owned).to_vec();
    let mut table = Table::new(names, answer.palette);
    for part in all(&review, "certifications") {
        let row = vec![
            text(part, "reviewer").to_owned(),
            format!("{}/{}", number(part, "decisions_made"), number(part, "decisions_total")),
            format!("{}/{}", number(part, "entities_completed"), number(part, "entities_total")),
            part.get("signed_at").and_then(Value::as_str).unwrap_or("-").to_owned(),
        ];
        table.row(&mut answer.out, row)?;
    }
    table.finish(&mut answer.out)?;
    Ok(0)
}

/// All items that are asked for, page by page.
async fn asked(remote: &Remote, campaign: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
    let mut items: Vec<Value> = Vec::new();
    loop {
        let offset = items.len().to_string();
        let mut words = url::form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
        let words = words.extend_pairs(query).append_pair("offset", &offset).finish();
        let page = remote.text(&["reviews", campaign, "items"], &words).await?;
        let page: Value = serde_json::from_str(&page)
            .map_err(|_| remote.failed(Cause::NoService, "something else answers".to_owned()))?;
        let before = items.len();
        items.extend(all(&page, "items").cloned());
        if items.len() == before || items.len() as u64 >= number(&page, "total") {
            return Ok(items);
        }
    }
}

async fn items(wanted: &Items, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let asks = [("reviewer", &wanted.reviewer), ("person", &wanted.person), ("state", &wanted.state)];
    let query: Vec<(&str, &str)> =
        asks.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
    let items = asked(&remote, &wanted.campaign, &query).await?;
    if answer.json {
        for item in &items {
            json::write_line(&mut answer.out, item)?;
        }
        return Ok(0);
    }
    let names = [
        "PERSON",
        "CONNECTOR",
        "RIGHT",
        "ACCOUNT",
        "STATE",
        "REVIEWER",
        "LAST REVIEW",
        "LAST USE",
        "SNAPSHOT",
        "WHY GRANTED",
    ];
    let mut table = Table::new(names.map(str::to_owned).to_vec(), answer.palette);
    for item in &items {
        let access = item.get("access").unwrap_or(&Value::Null);
        let right = access.get("right").unwrap_or(&Value::Null);
        let state = item.get("state").unwrap_or(&Value::Null);
        let or = |value: &Value, name: &str, or: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or(or).to_owned()
        };
        let failure = match state.get("failure").and_then(Value::as_str) {
            Some(failure) => format!("{}: {failure}", text(state, "state")),
            None => text(state, "state").to_owned(),
        };
        let row = vec![
            text(access, "person").to_owned(),
            text(right, "connector").to_owned(),
            text(right, "entitlement").to_owned(),
            or(access, "account", "-"),
            failure,
            or(item, "reviewer", "-"),
            or(access, "last_review", "never"),
            or(access, "last_use", "not known"),
            text(item, "snapshot").chars().take(SNAPSHOT_DIGITS_MIN).collect(),
            or(access, "justification", "nothing is on record"),
        ];
        table.row(&mut answer.out, row)?;
    }
    table.finish(&mut answer.out)?;
    Ok(0)
}

async fn decide(wanted: &Decide, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    if wanted.snapshot.len() < SNAPSHOT_DIGITS_MIN {
        let why =
            format!("--snapshot takes at least {SNAPSHOT_DIGITS_MIN} digits, as `review items` shows them");
        return Err(Failure::usage(why));
    }
    let Item { person, connector, right, account } = &wanted.item;
    let theirs = asked(&remote, &wanted.campaign, &[("person", person)]).await?;
    let is_it = |item: &&Value| {
        let of = |name: &str| item.pointer(&format!("/access/right/{name}")).and_then(Value::as_str);
        let by = item.pointer("/access/account").and_then(Value::as_str);
        of("connector") == Some(connector)
            && of("entitlement") == Some(right)
            && account.as_ref().is_none_or(|account| by == Some(account))
    };
    let found: Vec<&Value> = theirs.iter().filter(is_it).collect();
    let item = match found.as_slice() {
        [one] => *one,
        [] => return Err(remote.failed(Cause::NotFound, "the review has no such item for you".to_owned())),
        _ => {
            let why = format!("{person} has it by several accounts: --account says which");
            return Err(Failure::usage(why));
        }
    };
    let snapshot = text(item, "snapshot");
    if !snapshot.starts_with(&wanted.snapshot) {
        let why = format!("the access has changed since it was shown: look again (it is {snapshot} now)");
        return Err(remote.failed(Cause::Other, why));
    }
    let decision = match wanted.decision {
        Decision::Keep => "approve",
        Decision::Revoke => "revoke",
        Decision::Reassign => "reassign",
        Decision::Delegate => "delegate",
    };
    let reason = match (wanted.decision, &wanted.reason) {
        (Decision::Keep, reason) => json!(reason),
        (_, Some(reason)) => json!(reason),
        (..) => return Err(Failure::usage("--reason says why, and is needed for this".to_owned())),
    };
    let decided = json!([{
        "person": person, "connector": connector, "entitlement": right, "snapshot": snapshot,
        "account": item.pointer("/access/account"),
        "decision": decision, "reason": reason, "to": wanted.to,
    }]);
    let said = remote.send(&["reviews", &wanted.campaign, "decisions"], &decided).await?;
    done(answer, &said, "decided")
}

async fn assign(wanted: &Assign, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let Item { person, connector, right, account } = &wanted.item;
    let assigned = json!({
        "person": person, "connector": connector, "entitlement": right, "account": account,
        "to": wanted.to, "reason": wanted.reason,
    });
    let said = remote.send(&["reviews", &wanted.campaign, "assignments"], &assigned).await?;
    done(answer, &said, "assigned")
}

async fn close(wanted: &Close, answer: &mut Answer) -> Result<u8, Failure> {
    let remote = Remote::new(&wanted.at)?;
    let review = remote.look(&["reviews", &wanted.campaign]).await?;
    match (text(&review, "phase"), wanted.cancel, &wanted.reason) {
        ("complete", ..) => {
            let what = format!("complete since {}", inert(text(&review, "completed_at")));
            done(answer, &review, &what)
        }
        (_, true, Some(reason)) => {
            let cancelled = json!({"reason": reason});
            let said = remote.send(&["reviews", &wanted.campaign, "cancellation"], &cancelled).await?;
            done(answer, &said, "cancelled")
        }
        (phase, ..) => {
            let open = number(&review, "decisions_total").saturating_sub(number(&review, "decisions_made"));
            let waits = number(&review, "revokes_waiting");
            say(&format!(
                "{phase}: {open} to decide, {waits} revocations not confirmed yet; it closes by itself then"
            ));
            Ok(NOT_YET)
        }
    }
}
