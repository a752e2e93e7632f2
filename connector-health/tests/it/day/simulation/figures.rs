//! How long things took, as distributions.

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;
use connector_health::alert::Occasion;

use super::drive::{Day, number};
use super::fault::Kind;
use super::oracle::Judge;

/// How long things took, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By what went wrong: how often, how often any request was the worse for it, and the times from there to the alert.
    to_alert: BTreeMap<Kind, (usize, usize, Vec<i64>)>,
    /// From the end of a fault to the last leaver without access.
    to_last: BTreeMap<Kind, Vec<i64>>,
    /// From knowing to no access, where nothing was wrong.
    healthy: Vec<i64>,
}

/// Of one day.
pub(crate) fn figures(day: &Day) -> Figures {
    let mut figures = Figures::default();
    let judge = Judge::new(day);
    let duties = judge.duties();
    let ended: Vec<_> = duties.iter().map(|duty| judge.access_ended(duty)).collect();
    for (application, faults) in judge.faults().iter().enumerate() {
        for fault in faults {
            // Those who had left and were active when it ended.
            let last = duties.iter().zip(&ended).filter_map(|(duty, ended)| {
                let waited = duty.application == application && duty.from < fault.ends;
                ended.filter(|ended| waited && *ended > fault.ends)
            });
            if let Some(last) = last.max() {
                figures.to_last.entry(fault.kind).or_default().push((last - fault.ends).num_milliseconds());
            }
            let (count, felt, times) = figures.to_alert.entry(fault.kind).or_default();
            *count += 1;
            // What shows only in work that is due counts from there.
            let Some(felt_at) = fault.felt_at else { continue };
            *felt += 1;
            let since = if fault.kind.is_total() { fault.begins } else { felt_at };
            let first = day.alerts.iter().find(|alert| {
                number(&alert.connector) == application
                    && alert.occasion == Occasion::Opened
                    && alert.at >= since
                    && alert.at <= fault.ends + TimeDelta::minutes(10)
            });
            if !judge.is_told(application, since, since + TimeDelta::milliseconds(1)) {
                times.extend(first.map(|alert| (alert.at - since).num_milliseconds()));
            }
        }
    }
    for (duty, ended) in duties.iter().zip(&ended) {
        let Some(ended) = ended else { continue };
        if judge.is_well(duty.application, duty.from) {
            figures.healthy.push((*ended - duty.from).num_milliseconds());
        }
    }
    figures
}

impl Figures {
    /// Of several days together.
    pub(crate) fn over(days: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for day in days {
            for (kind, (count, felt, times)) in day.to_alert {
                let known = all.to_alert.entry(kind).or_default();
                known.0 += count;
                known.1 += felt;
                known.2.extend(times);
            }
            for (kind, times) in day.to_last {
                all.to_last.entry(kind).or_default().extend(times);
            }
            all.healthy.extend(day.healthy);
        }
        all
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [what, faults, felt, alerted] = ["fault to alert", "faults", "felt", "alerted"];
        let [median, p95, max] = ["median", "p95", "max"];
        writeln!(f, "{what:<20}{faults:>7}{felt:>7}{alerted:>9}{median:>10}{p95:>10}{max:>10}")?;
        for (kind, (count, felt, times)) in &self.to_alert {
            writeln!(f, "{:<20}{count:>7}{felt:>7}{:>9}{}", kind.name(), times.len(), spread(times))?;
        }
        let [what, with] = ["end to last leaver", "with leavers"];
        writeln!(f, "\n{what:<20}{with:>23}{median:>10}{p95:>10}{max:>10}")?;
        for (kind, times) in &self.to_last {
            writeln!(f, "{:<20}{:>23}{}", kind.name(), times.len(), spread(times))?;
        }
        writeln!(f, "{:<20}{:>23}{}", "(nothing wrong)", self.healthy.len(), spread(&self.healthy))
    }
}

fn spread(times: &[i64]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100);
    let shown = |time: Option<&i64>| match time {
        Some(ms) => format!("{:>8.1} s", *ms as f64 / 1_000.0),
        None => format!("{:>10}", "-"),
    };
    [50, 95, 100].map(|percent| shown(at(percent))).concat()
}
