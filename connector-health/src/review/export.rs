//! A campaign for people and auditors: JSON, CSV, and a page that needs nothing else.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::access::{Item, ItemState};
use super::campaign::Campaign;
use super::step::Phase;
use crate::evidence::rfc3339;
use crate::export::{CONTROLS, Escaped, STYLE, line};
use crate::id::PersonId;

/// Columns of [`csv()`].
pub const CSV_COLUMNS: &[&str] = &[
    "campaign",
    "person",
    "connector",
    "entitlement",
    "account",
    "justification",
    "granted_by",
    "granted_at",
    "valid_until",
    "last_review",
    "last_use",
    "reviewer",
    "delegate",
    "reviewers_in_turn",
    "state",
    "decided_by",
    "decided_at",
    "reason",
    "confirmed_at",
    "failure",
    "snapshot",
];

/// As JSON: how far it is, how it runs, and every item.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn json(campaign: &Campaign, now: DateTime<Utc>) -> Result<String, serde_json::Error> {
    let items: Vec<&Item> = campaign.items().collect();
    serde_json::to_string_pretty(&json!({
        "progress": campaign.progress(now),
        "settings": campaign.settings(),
        "snapshot": campaign.snapshot(),
        "items": items,
    }))
}

/// As CSV (RFC 4180): a header, and a line per item. No cell is a formula to a spreadsheet.
pub fn csv(campaign: &Campaign) -> String {
    let mut out = String::new();
    line(&mut out, CSV_COLUMNS.iter().map(|column| (*column).to_owned()));
    for item in campaign.items() {
        line(&mut out, cells(campaign, item));
    }
    out
}

fn cells(campaign: &Campaign, item: &Item) -> Vec<String> {
    let access = &item.access;
    let time = |at: Option<DateTime<Utc>>| at.map(rfc3339).unwrap_or_default();
    let name = |person: Option<&PersonId>| person.map(ToString::to_string).unwrap_or_default();
    let Outcome { word, by, at, reason, confirmed_at, failure } = outcome(&item.state);
    vec![
        campaign.id().to_string(),
        access.person.to_string(),
        access.right.connector.to_string(),
        access.right.entitlement.to_string(),
        access.account.as_ref().map(ToString::to_string).unwrap_or_default(),
        access.justification.clone().unwrap_or_default(),
        name(access.granted_by.as_ref()),
        time(access.granted_at),
        time(access.valid_until),
        time(access.last_review),
        time(access.last_use),
        name(item.reviewer.as_ref()),
        name(item.delegate.as_ref()),
        item.chain.iter().map(PersonId::as_str).collect::<Vec<_>>().join(" > "),
        word.to_owned(),
        name(by),
        time(at),
        reason.unwrap_or_default().to_owned(),
        time(confirmed_at),
        failure.unwrap_or_default().to_owned(),
        item.snapshot.to_string(),
    ]
}

#[derive(Default)]
struct Outcome<'i> {
    word: &'static str,
    by: Option<&'i PersonId>,
    at: Option<DateTime<Utc>>,
    reason: Option<&'i str>,
    confirmed_at: Option<DateTime<Utc>>,
    failure: Option<&'i str>,
}

fn outcome(state: &ItemState) -> Outcome<'_> {
    let known = Outcome::default();
    match state {
        ItemState::Unassigned => Outcome { word: "unassigned", ..known },
        ItemState::Open => Outcome { word: "open", ..known },
        ItemState::Approved { by, at } => Outcome { word: "approved", by: Some(by), at: Some(*at), ..known },
        ItemState::Revoking { by, at, reason, failure } => Outcome {
            word: "revoking",
            by: by.as_ref(),
            at: Some(*at),
            reason: Some(reason),
            failure: failure.as_deref(),
            ..known
        },
        ItemState::Revoked { by, at, confirmed_at } => Outcome {
            word: "revoked",
            by: by.as_ref(),
            at: Some(*at),
            confirmed_at: Some(*confirmed_at),
            ..known
        },
        ItemState::Gone { at } => Outcome { word: "gone", confirmed_at: Some(*at), ..known },
    }
}

/// As a page that a person can read, print and keep: no scripts, nothing loaded from elsewhere, all text escaped.
pub fn html(campaign: &Campaign, now: DateTime<Utc>) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = render(&mut page, campaign, now);
    page
}

fn render(page: &mut String, campaign: &Campaign, now: DateTime<Utc>) -> std::fmt::Result {
    let progress = campaign.progress(now);
    let name = Escaped(&progress.name);
    let (class, phase) = match progress.phase {
        Phase::Complete => ("done", "Complete: everything is decided, and every revocation is confirmed."),
        Phase::Remediation => ("open", "Remediation: all is decided, and not every revocation is confirmed."),
        Phase::Active => ("open", "Active: something is still to be decided."),
        Phase::Cancelled => ("open", "Cancelled."),
    };
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Access review {name}</title><style>{STYLE}</style></head><body><main>\
         <h1>Access review {name}</h1><p class=\"{class}\">{phase}</p><dl>"
    )?;
    let due = format!("{}{}", rfc3339(progress.due_at), if progress.overdue { " (overdue)" } else { "" });
    let facts = [
        ("Campaign", campaign.id().to_string()),
        ("Run by", campaign.settings().owner.to_string()),
        ("Started", rfc3339(progress.started_at)),
        ("Due", due),
        ("Completed", progress.completed_at.map(rfc3339).unwrap_or_default()),
        ("Decided", format!("{} of {}", progress.decisions_made, progress.decisions_total)),
        ("People completed", format!("{} of {}", progress.entities_completed, progress.entities_total)),
        (
            "Revocations",
            format!(
                "{} confirmed, {} waiting, {} held",
                progress.revokes_confirmed, progress.revokes_waiting, progress.revokes_held
            ),
        ),
        ("Snapshot (SHA-256)", campaign.snapshot().to_string()),
    ];
    for (name, text) in facts.iter().filter(|(_, text)| !text.is_empty()) {
        write!(page, "<dt>{name}</dt><dd>{}</dd>", Escaped(text))?;
    }
    page.push_str(
        "</dl><table><caption>Reviewers</caption><thead><tr><th scope=\"col\">Reviewer</th>\
         <th scope=\"col\">Decided</th><th scope=\"col\">Signed</th></tr></thead><tbody>",
    );
    for part in &progress.certifications {
        write!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"{}\">{} of {}</td><td>{}</td></tr>",
            Escaped(part.reviewer.as_str()),
            if part.completed { "done" } else { "open" },
            part.decisions_made,
            part.decisions_total,
            part.signed_at.map(rfc3339).unwrap_or_default(),
        )?;
    }
    page.push_str(
        "</tbody></table><table><caption>Access</caption><thead><tr><th scope=\"col\">Person</th>\
         <th scope=\"col\">Right</th><th scope=\"col\">Why it was granted</th><th scope=\"col\">Last review</th>\
         <th scope=\"col\">Last use</th><th scope=\"col\">Reviewer</th><th scope=\"col\">Decision</th>\
         <th scope=\"col\">Confirmed</th></tr></thead><tbody>",
    );
    for item in campaign.items() {
        row(page, item)?;
    }
    page.push_str("</tbody></table><h2>Controls</h2><table><tbody>");
    for (framework, controls) in CONTROLS {
        write!(page, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Escaped(framework), Escaped(controls))?;
    }
    page.push_str("</tbody></table></main></body></html>\n");
    Ok(())
}

fn row(page: &mut String, item: &Item) -> std::fmt::Result {
    let time = |at: Option<DateTime<Utc>>| at.map(rfc3339).unwrap_or_default();
    let outcome = outcome(&item.state);
    let mut decision = outcome.word.to_owned();
    if let Some(by) = outcome.by {
        write!(decision, " by {by}")?;
    }
    for more in [outcome.reason, outcome.failure].into_iter().flatten() {
        write!(decision, ": {more}")?;
    }
    let mut right = item.access.right.to_string();
    if let Some(account) = &item.access.account {
        write!(right, " ({account})")?;
    }
    write!(
        page,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"{}\">{}</td><td>{}</td></tr>",
        Escaped(item.access.person.as_str()),
        Escaped(&right),
        Escaped(item.access.justification.as_deref().unwrap_or_default()),
        time(item.access.last_review),
        time(item.access.last_use),
        Escaped(item.reviewer.as_ref().map(PersonId::as_str).unwrap_or_default()),
        if item.state.is_closed() { "done" } else { "open" },
        Escaped(&decision),
        time(outcome.confirmed_at),
    )
}
