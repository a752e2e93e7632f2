//! How long things took, as distributions over a day.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use connector_health::alert::Occasion;

use super::drive::{Day, number};
use super::fault::Kind;
use super::oracle::Judge;

/// A table: from fault to alert, by what went wrong; and from the end of it to the last leaver without access.
pub(crate) fn figures(days: &[Day]) -> String {
    let mut to_alert: BTreeMap<Kind, (usize, Vec<i64>)> = BTreeMap::new();
    let mut to_last: BTreeMap<Kind, Vec<i64>> = BTreeMap::new();
    let mut healthy = Vec::new();
    for day in days {
        let judge = Judge::new(day);
        let duties = judge.duties();
        let ended = duties.iter().map(|duty| judge.access_ended(duty)).collect::<Vec<_>>();
        for (application, faults) in judge.faults().iter().enumerate() {
            for fault in faults {
                let open = judge.is_told(
                    application,
                    fault.begins,
                    fault.begins + chrono::TimeDelta::milliseconds(1),
                );
                let first = day.alerts.iter().find(|alert| {
                    number(&alert.connector) == application
                        && alert.occasion == Occasion::Opened
                        && alert.at >= fault.begins
                        && alert.at <= fault.ends
                });
                let (count, times) = to_alert.entry(fault.kind).or_default();
                *count += 1;
                if !open {
                    times.extend(first.map(|alert| (alert.at - fault.begins).num_milliseconds()));
                }
                // Those who had left and were active when it ended.
                let waiting = duties.iter().zip(&ended).filter(|(duty, ended)| {
                    duty.application == application
                        && duty.from < fault.ends
                        && ended.is_some_and(|ended| ended > fault.ends)
                });
                let last: Option<DateTime<Utc>> = waiting.filter_map(|(_, ended)| *ended).max();
                if let Some(last) = last {
                    to_last.entry(fault.kind).or_default().push((last - fault.ends).num_milliseconds());
                }
            }
        }
        for (duty, ended) in duties.iter().zip(&ended) {
            let Some(ended) = ended else { continue };
            if judge.is_well(duty.application, duty.from) {
                healthy.push((*ended - duty.from).num_milliseconds());
            }
        }
    }
    let mut table = format!(
        "{:<16}{:>7}{:>9}{:>10}{:>10}{:>10}\n",
        "fault to alert", "faults", "alerted", "median", "p95", "max"
    );
    for (kind, (count, times)) in to_alert {
        table += &format!("{:<16}{count:>7}{:>9}{}\n", kind.name(), times.len(), spread(times));
    }
    table += &format!(
        "\n{:<16}{:>16}{:>10}{:>10}{:>10}\n",
        "end to last leaver", "with leavers", "median", "p95", "max"
    );
    for (kind, times) in to_last {
        table += &format!("{:<16}{:>16}{}\n", kind.name(), times.len(), spread(times));
    }
    table + &format!("{:<16}{:>16}{}\n", "(nothing wrong)", healthy.len(), spread(healthy))
}

fn spread(mut times: Vec<i64>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100).copied();
    let shown = [at(50), at(95), at(100)].map(|time| match time {
        Some(ms) => format!("{:>8.1} s", ms as f64 / 1_000.0),
        None => format!("{:>10}", "-"),
    });
    shown.concat()
}
