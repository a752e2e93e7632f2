//! Offboarding records for people and auditors: JSON, CSV, and a page that needs nothing else.

use std::fmt::Write;

use crate::cell::defused;
use crate::evidence::rfc3339;
use crate::offboarding::{Offboarding, State, Status, System, spelled};

/// Controls that a record of revoked access is asked for under, as auditors and questionnaires label them.
pub const CONTROLS: &[(&str, &str)] = &[
    ("SOC 2", "CC5.1, CC6.2, CC6.3, CC7.2"),
    ("ISO/IEC 27001:2022", "A.5.18, A.6.5, A.8.2, A.8.4, A.8.15, A.11.5 (as often quoted)"),
    ("PCI DSS", "10.2, 12.3.3"),
    ("HIPAA", "workforce access termination"),
    ("SOX", "access to financial systems"),
    ("GDPR", "Art. 32"),
    ("DPDPA", "§8(7), Rules 2025"),
    ("RBI Cyber Security Framework", "cl. 19(a)"),
    ("SEBI CSCRF", "access revocation"),
    ("IRDAI", "access revocation"),
];

/// As JSON, with the whole story of each system.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn json(record: &Offboarding) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(record)
}

/// Columns of [`csv()`].
pub const CSV_COLUMNS: &[&str] = &[
    "person",
    "state",
    "effective_at",
    "notified_at",
    "connector",
    "status",
    "detail",
    "occurred_at",
    "failure_started_at",
    "failure_ended_at",
    "replayed_at",
    "confirmed_at",
    "time_to_revoke_ms",
    "attempts",
    "gap",
    "event_id",
    "evidence_hash",
];

/// As CSV (RFC 4180): a header, and a line per system. No cell is a formula to a spreadsheet.
pub fn csv<'a>(records: impl IntoIterator<Item = &'a Offboarding>) -> String {
    let mut out = String::new();
    line(&mut out, CSV_COLUMNS.iter().map(|column| (*column).to_owned()));
    for record in records {
        for system in &record.systems {
            let evidence = system.evidence.as_ref();
            let time = |at: Option<_>| at.map(rfc3339).unwrap_or_default();
            line(
                &mut out,
                [
                    record.person.to_string(),
                    state(record.state).to_owned(),
                    time(record.effective_at),
                    time(record.notified_at),
                    system.connector.to_string(),
                    word(&system.status).to_owned(),
                    system.status.to_string(),
                    time(evidence.map(|evidence| evidence.occurred_at)),
                    time(evidence.and_then(|evidence| evidence.failure_started_at)),
                    time(evidence.and_then(|evidence| evidence.failure_ended_at)),
                    time(evidence.and_then(|evidence| evidence.replayed_at)),
                    time(evidence.and_then(|evidence| evidence.confirmed_at)),
                    system.time_to_revoke_ms.map(|time| time.to_string()).unwrap_or_default(),
                    evidence.map(|evidence| evidence.attempt_count.to_string()).unwrap_or_default(),
                    system.gap.clone().unwrap_or_default(),
                    evidence.map(|evidence| evidence.event_id.clone()).unwrap_or_default(),
                    evidence.and_then(|evidence| evidence.hash.clone()).unwrap_or_default(),
                ],
            );
        }
    }
    out
}

pub(crate) fn line(out: &mut String, cells: impl IntoIterator<Item = String>) {
    for (number, cell) in cells.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        out.push('"');
        // Controls first: what follows one would stand at the beginning.
        let plain: String = cell.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        out.push_str(&defused(&plain).replace('"', "\"\""));
        out.push('"');
    }
    out.push_str("\r\n");
}

fn state(state: State) -> &'static str {
    match state {
        State::Complete => "complete",
        State::Open => "open",
        State::NotLeaving => "not_leaving",
    }
}

fn word(status: &Status) -> &'static str {
    match status {
        Status::Confirmed { .. } => "confirmed",
        Status::Excepted { .. } => "excepted",
        Status::Failing { .. } => "failing",
        Status::Waiting => "waiting",
        Status::Held => "held",
        Status::Given { .. } => "given_up",
        Status::NotAsked => "not_asked",
        Status::Returned { .. } => "returned",
    }
}

pub(crate) const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1b1b}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ccc;\
vertical-align:top}.done{color:#0a6b2d}.open{color:#a3120a;font-weight:600}caption{text-align:left;font-weight:600}\
@media print{body{margin:0}}";

/// As a page that a person can read, print and keep: no scripts, nothing loaded from elsewhere, all text escaped.
pub fn html(record: &Offboarding) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = render(&mut page, record);
    page
}

fn render(page: &mut String, record: &Offboarding) -> std::fmt::Result {
    let person = Escaped(record.person.as_str());
    let class = |is_done| if is_done { "done" } else { "open" };
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Offboarding of {person}</title><style>{STYLE}</style></head><body><main>\
         <h1>Offboarding of {person}</h1><p class=\"{}\">{}</p><dl>",
        class(record.state == State::Complete),
        match record.state {
            State::Complete => "Complete: every system is confirmed or excepted.",
            State::Open => "Open: not every system is confirmed.",
            State::NotLeaving => "Not leaving: no leaver event is known.",
        },
    )?;
    let times = [
        ("Left", record.effective_at),
        ("Known here", record.notified_at),
        ("Completed", record.completed_at),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            write!(page, "<dt>{name}</dt><dd><time>{}</time></dd>", rfc3339(at))?;
        }
    }
    write!(
        page,
        "</dl><table><caption>Systems ({})</caption><thead><tr><th scope=\"col\">System</th>\
         <th scope=\"col\">Status</th><th scope=\"col\">Time to revoke</th><th scope=\"col\">Attempts</th>\
         <th scope=\"col\">What happened meanwhile</th><th scope=\"col\">Evidence</th></tr></thead><tbody>",
        record.systems.len()
    )?;
    for system in &record.systems {
        row(page, system, class(system.is_done()))?;
    }
    page.push_str("</tbody></table><h2>Controls</h2><table><tbody>");
    for (framework, controls) in CONTROLS {
        write!(page, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Escaped(framework), Escaped(controls))?;
    }
    page.push_str("</tbody></table></main></body></html>\n");
    Ok(())
}

fn row(page: &mut String, system: &System, class: &str) -> std::fmt::Result {
    let time = system.time_to_revoke_ms.map(spelled).unwrap_or_default();
    let attempts = system.evidence.as_ref().map(|evidence| evidence.attempt_count).unwrap_or_default();
    let hash = system.evidence.as_ref().and_then(|evidence| evidence.hash.as_deref()).unwrap_or_default();
    let mut happened = system.gap.clone().unwrap_or_default();
    if !system.residuals.is_empty() {
        write!(happened, " Left to do: {}.", system.residuals.join(", "))?;
    }
    write!(
        page,
        "<tr><th scope=\"row\">{}</th><td class=\"{class}\">{}</td><td>{time}</td><td>{attempts}</td><td>{}</td>\
         <td><code>{}</code></td></tr>",
        Escaped(system.connector.as_str()),
        Escaped(&system.status.to_string()),
        Escaped(&happened),
        Escaped(hash),
    )
}

/// Text between tags and in attributes.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            char => f.write_char(char),
        })
    }
}
