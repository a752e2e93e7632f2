//! What a backtest says: a table for people, lines of JSON for programs.

use std::io;

use chrono::TimeDelta;
use mfa_events::detect::{Alert, Counters, Explanation};
use serde_json::{Value, json};

use super::Found;
use super::explain::{Asked, Known};
use crate::failure::Failure;
use crate::terminal::inert;
use crate::{json, tell};

/// Most characters of a column.
const COLUMN_CHARS_MAX: usize = 40;
/// Most actors that a row names.
const NAMED_MAX: usize = 2;
/// Share of events that came late from which on the order of the file is the first thing to look at.
const LATE_SHARE: u64 = 20;

impl Found {
    fn in_order(&self) -> Vec<&Alert> {
        let mut alerts: Vec<&Alert> = self.alerts.values().collect();
        alerts.sort_by_key(|alert| (alert.opened_at, alert.id));
        alerts
    }

    fn counters(&self) -> Counters {
        self.tenants.values().fold(Counters::default(), |mut sum, detector| {
            let one = detector.counters();
            sum.late_total = sum.late_total.saturating_add(one.late_total);
            sum.future_total = sum.future_total.saturating_add(one.future_total);
            sum.hurried_total = sum.hurried_total.saturating_add(one.hurried_total);
            sum.opened_total = sum.opened_total.saturating_add(one.opened_total);
            sum
        })
    }

    fn evicted(&self) -> u64 {
        let counts = self.tenants.values().flat_map(|detector| detector.rule_counts());
        counts.fold(0, |sum, (_, counts)| sum.saturating_add(counts.evicted_total))
    }
}

/// From the first event of an attack to its alert.
fn until_alert(alert: &Alert) -> TimeDelta {
    alert.opened_at.as_datetime() - alert.first_event_at.as_datetime()
}

fn lasting(span: TimeDelta) -> String {
    match span.num_seconds() {
        0 => format!("{} ms", span.num_milliseconds()),
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

fn who(alert: &Alert) -> String {
    let mut names: Vec<&str> = alert.actor_ids.iter().map(|actor| actor.as_str()).collect();
    names.sort_unstable();
    let rest = alert.actors.saturating_sub(NAMED_MAX as u64);
    let named = names.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if rest > 0 && !named.is_empty() { format!("{named} +{rest}") } else { named }
}

pub(super) fn table(found: &Found, asked: &[Asked], is_whole: bool) -> Result<(), Failure> {
    let alerts = found.in_order();
    let has_tenants = found.tenants.len() > 1;
    let mut rows = Vec::new();
    for alert in &alerts {
        let about = if alert.is_exact { "" } else { "~" };
        let mut row = vec![
            alert.opened_at.as_datetime().format("%Y-%m-%d %H:%M:%S").to_string(),
            alert.severity.to_string(),
            alert.rule.to_string(),
            alert.group.to_string(),
            who(alert),
            format!("{about}{}", alert.actors),
            alert.events.to_string(),
            lasting(until_alert(alert)),
        ];
        if has_tenants {
            row.insert(0, alert.tenant_id.to_string());
        }
        rows.push(row);
    }
    let mut head = vec!["opened (UTC)", "severity", "rule", "of", "who", "people", "events", "seen after"];
    if has_tenants {
        head.insert(0, "tenant");
    }
    if !rows.is_empty() {
        print(&head, &rows)?;
        tell("")?;
    }
    let counters = found.counters();
    let count =
        |number: u64, one: &str, more: &str| format!("{number} {}", if number == 1 { one } else { more });
    tell(&format!(
        "{} in {}",
        count(counters.opened_total, "alert", "alerts"),
        count(found.events, "event", "events")
    ))?;
    let notes = [
        (found.left_out, "alerts are not shown: there is room for so many and no more"),
        (found.repeated, "events were passed over: their offsets had come before"),
        (counters.late_total, "events came later than others by more than 5 s, and counted when they came"),
        (counters.future_total, "events claimed to be from after they came"),
        (counters.hurried_total, "events did not wait for earlier ones: too many came at once"),
        (found.evicted(), "groups were forgotten for lack of room, those that were furthest from an alert"),
        (found.mistakes, "places are no events: see above"),
    ];
    for (number, what) in notes.into_iter().filter(|(number, _)| *number > 0) {
        tell(&format!("{number} {what}"))?;
    }
    if counters.late_total.saturating_mul(LATE_SHARE) > found.events {
        tell("The file is not in the order in which events came. Sort it by `timestamp`, and see.")?;
    }
    if !is_whole {
        tell("The file was not read to its end.")?;
    }
    for asked in asked {
        tell("")?;
        explained(asked, found)?;
    }
    Ok(())
}

fn print(head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let cut = |cell: &str| -> String {
        let inert = inert(cell).into_owned();
        match inert.chars().count() > COLUMN_CHARS_MAX {
            true => inert.chars().take(COLUMN_CHARS_MAX - 1).chain(['…']).collect(),
            false => inert,
        }
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cut(cell)).collect()).collect();
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let wide = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(wide).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, wide)| format!("{cell:wide$}"));
        tell(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn explained(asked: &Asked, found: &Found) -> Result<(), Failure> {
    let question = &asked.question;
    let rule = question.rule.id.as_str();
    if asked.tenants.is_empty() {
        return tell(&format!("{rule}, {}: there is no event", question.group));
    }
    for (tenant, known) in &asked.tenants {
        let whose = if found.tenants.len() > 1 { format!(" ({tenant})") } else { String::new() };
        tell(&format!("{rule}, {}{whose}:", question.group))?;
        let of_whom = |alert: &&&Alert| {
            alert.rule == question.rule.id && alert.group == question.group && alert.tenant_id == *tenant
        };
        let alerts = found.in_order();
        for line in reasons(known, alerts.iter().filter(of_whom).copied()) {
            tell(&format!("  {line}"))?;
        }
    }
    Ok(())
}

fn reasons<'a>(known: &Known, alerts: impl Iterator<Item = &'a Alert>) -> Vec<String> {
    let mut lines = vec![format!("of its {} events, the rule looks at {}", known.events, known.selected)];
    let opened: Vec<String> = alerts.map(|alert| format!("opened {} ({alert})", alert.opened_at)).collect();
    let has_opened = !opened.is_empty();
    lines.extend(opened);
    if !has_opened
        && known.selected > 0
        && let Some(nearest) = &known.nearest
    {
        let at = nearest.clock.map_or_else(String::new, |clock| format!(" at {clock}"));
        lines.push(format!("it was nearest to an alert{at}:"));
        lines.extend(nearest.measures.iter().map(|measure| {
            let (what, now, needed) = (measure.what.replace('_', " "), measure.now, measure.needed);
            match measure.missing() {
                0.0 => format!("  {what}: {now} of {needed}, enough"),
                missing => format!("  {what}: {now} of {needed}, {missing} missing"),
            }
        }));
    }
    if let Some(end) = &known.end {
        lines.extend(besides(end));
    }
    lines
}

fn besides(end: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    if end.late_events > 0 {
        lines.push(format!("{} of its events came too late, and counted when they came", end.late_events));
    }
    if let Some(evicted) = &end.evicted {
        let percent = evicted.progress / 10;
        lines.push(format!("it was forgotten for lack of room at {}, {percent} % on its way", evicted.at));
    }
    if end.is_crowded {
        lines.push("so many others came that a group counts from its second event on".to_owned());
    }
    lines
}

pub(super) fn lines(found: &Found, asked: &[Asked], is_whole: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut write = |line: &Value| json::write_line(&mut out, line).map_err(Failure::Output);
    for alert in found.in_order() {
        let ms = until_alert(alert).num_milliseconds();
        write(&json!({"result": "alert", "seen_after_ms": ms, "alert": alert}))?;
    }
    for asked in asked {
        for (tenant, known) in &asked.tenants {
            write(&json!({
                "result": "explanation",
                "tenant_id": tenant,
                "rule": asked.question.rule.id,
                "group": asked.question.group,
                "events": known.events,
                "selected": known.selected,
                "nearest": known.nearest,
                "end": known.end,
            }))?;
        }
    }
    let counters = found.counters();
    write(&json!({
        "result": "summary",
        "events": found.events,
        "alerts": counters.opened_total,
        "alerts_left_out": found.left_out,
        "repeated": found.repeated,
        "late": counters.late_total,
        "future": counters.future_total,
        "hurried": counters.hurried_total,
        "evicted": found.evicted(),
        "mistakes": found.mistakes,
        "is_whole": is_whole,
    }))
}
