//! Violations for people and auditors: CSV, and a page that needs nothing else.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::{HoldingState, Remedy, Standing, Violation};
use crate::evidence::rfc3339;
use crate::export::{CONTROLS, Escaped, STYLE, line};

/// Columns of [`csv()`].
pub const CSV_COLUMNS: &[&str] =
    &["person", "risk", "level", "functions", "rights", "standing", "control", "owner", "expires", "remedy"];

/// As CSV (RFC 4180): a header, and a line per violation. No cell is a formula to a spreadsheet.
pub fn csv<'a>(violations: impl IntoIterator<Item = &'a Violation>) -> String {
    let mut out = String::new();
    line(&mut out, CSV_COLUMNS.iter().map(|column| (*column).to_owned()));
    for violation in violations {
        let control = violation.control();
        line(
            &mut out,
            [
                violation.person.to_string(),
                violation.risk.to_string(),
                violation.level.code().to_owned(),
                violation.functions.iter().map(|hit| hit.function.as_str()).collect::<Vec<_>>().join("; "),
                rights(violation),
                word(&violation.standing).to_owned(),
                control.map(|control| control.control.clone()).unwrap_or_default(),
                control.map(|control| control.owner.to_string()).unwrap_or_default(),
                control.map(|control| rfc3339(control.expires)).unwrap_or_default(),
                remedy(&violation.remedy).to_owned(),
            ],
        );
    }
    out
}

fn rights(violation: &Violation) -> String {
    let all = violation.functions.iter().flat_map(|hit| &hit.by);
    let named = all.map(|(right, state)| match state {
        HoldingState::Current => right.to_string(),
        HoldingState::Pending => format!("{right} (pending)"),
    });
    named.collect::<Vec<_>>().join("; ")
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Open => "open",
        Standing::Mitigated(_) => "mitigated",
        Standing::Expired(_) => "expired",
    }
}

fn remedy(remedy: &Remedy) -> &'static str {
    match remedy {
        Remedy::Ask => "ask",
        Remedy::Mitigate => "mitigate",
        Remedy::Revoke { .. } => "revoke",
    }
}

/// As a page that a person can read, print and keep: no scripts, nothing loaded from elsewhere, all text escaped.
pub fn html<'a>(violations: impl IntoIterator<Item = &'a Violation>, now: DateTime<Utc>) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = render(&mut page, violations.into_iter(), now);
    page
}

fn render<'a>(
    page: &mut String,
    violations: impl Iterator<Item = &'a Violation>,
    now: DateTime<Utc>,
) -> std::fmt::Result {
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Separation of duty</title><style>{STYLE}</style></head><body><main>\
         <h1>Separation of duty</h1><p>As of <time>{}</time>.</p>\
         <table><caption>Violations</caption><thead><tr><th scope=\"col\">Person</th><th scope=\"col\">Risk</th>\
         <th scope=\"col\">Level</th><th scope=\"col\">By which rights</th><th scope=\"col\">Standing</th>\
         <th scope=\"col\">Remedy</th></tr></thead><tbody>",
        rfc3339(now)
    )?;
    for violation in violations {
        let mut standing = word(&violation.standing).to_owned();
        if let Some(control) = violation.control() {
            let until = rfc3339(control.expires);
            write!(standing, ": {}, {} until {until}", control.control, control.owner)?;
        }
        let is_watched = matches!(violation.standing, Standing::Mitigated(_));
        write!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{}</td><td>{}</td></tr>",
            Escaped(violation.person.as_str()),
            Escaped(violation.risk.as_str()),
            violation.level.code(),
            Escaped(&rights(violation)),
            if is_watched { "done" } else { "open" },
            Escaped(&standing),
            remedy(&violation.remedy),
        )?;
    }
    page.push_str("</tbody></table><h2>Controls</h2><table><tbody>");
    for (framework, controls) in CONTROLS {
        write!(page, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Escaped(framework), Escaped(controls))?;
    }
    page.push_str("</tbody></table></main></body></html>\n");
    Ok(())
}
