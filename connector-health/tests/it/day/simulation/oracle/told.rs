//! What was told of a day: which connectors were shown as healthy, which alerts there were, and which leavers were held.

use chrono::{DateTime, Utc};

use super::*;

impl Judge<'_> {
    /// When a connector was shown as healthy within these times, if it was.
    pub(super) fn shown_healthy(
        &self,
        application: usize,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let mut tier = Tier::Unknown;
        let mut since = from;
        for (at, other, shown) in &self.day.shown {
            if *other != application {
                continue;
            }
            if *at > from && tier == Tier::Healthy {
                return Some(since);
            }
            if *at >= until {
                return None;
            }
            tier = *shown;
            since = from.max(*at);
        }
        (tier == Tier::Healthy).then_some(since)
    }

    /// Nothing is shown as healthy while nothing goes through.
    pub(super) fn health(&mut self) {
        for number in 0..self.faults.len() {
            for fault in self.faults[number].clone() {
                self.seen.faults += 1;
                let (from, until) = (fault.begins + seconds(DETECTION_S), fault.ends.min(self.day.ended_at));
                if !fault.kind.is_total() || from >= until {
                    continue;
                }
                if let Some(at) = self.shown_healthy(number, from, until) {
                    let at = self.clock(at);
                    let fault = self.fault_at(number, fault.begins, fault.ends);
                    self.note(Check::FalseHealthy, format!("{} at {at}, {fault}", connector(number)));
                }
            }
        }
        if !self.day.is_quiet {
            self.note(Check::Alert, "it never gets quiet");
        }
    }

    /// One alert for each change, none without a cause, and each with its end.
    pub(super) fn alerts(&mut self) {
        let mut open: BTreeMap<String, Alert> = BTreeMap::new();
        for alert in &self.day.alerts {
            let application = number(&alert.connector);
            let said = format!("{alert} at {}", self.clock(alert.at));
            let before = open.get(alert.alert_id.as_str()).cloned();
            match (alert.occasion, &before) {
                (Occasion::Opened, None) => {
                    self.seen.alerts += 1;
                    let has_cause = match alert.failure_type {
                        FailureClass::LeaversHeld => {
                            self.day.held.iter().any(|(_, held)| *held == application)
                        }
                        FailureClass::Conflict if self.waits_for_a_name(application, alert.at) => true,
                        _ => self.has_cause(application, alert.at),
                    };
                    if !has_cause {
                        self.note(Check::Alert, format!("for nothing: {said}"));
                    }
                }
                (Occasion::Opened, Some(_)) | (_, None) => {
                    self.note(Check::Alert, format!("out of order: {said}"))
                }
                (Occasion::Resolved, Some(before)) => {
                    let Some(resolution) = &alert.resolution else {
                        self.note(Check::Alert, format!("without an end: {said}"));
                        continue;
                    };
                    let lasted = alert.at.signed_duration_since(before.first_failure_at).num_seconds();
                    if u64::try_from(lasted) != Ok(resolution.duration_s)
                        || resolution.resolved_at != alert.at
                    {
                        self.note(Check::Alert, format!("with a wrong end: {said}"));
                    }
                }
                (Occasion::Reminder, Some(before)) => {
                    if alert.at.signed_duration_since(before.at) < TimeDelta::hours(4) {
                        self.note(Check::Alert, format!("said again too soon: {said}"));
                    }
                }
                (_, Some(before)) => {
                    if (before.tier, before.priority) == (alert.tier, alert.priority) {
                        self.note(Check::Alert, format!("nothing has changed: {said}"));
                    }
                }
            }
            match alert.state {
                AlertState::Open => drop(open.insert(alert.alert_id.to_string(), alert.clone())),
                AlertState::Resolved => drop(open.remove(alert.alert_id.as_str())),
            }
        }
        for alert in open.values() {
            self.note(Check::Alert, format!("never resolved: {alert}"));
        }
    }

    /// Whether somebody claimed a name then of which HR had not yet said that it was given up.
    fn waits_for_a_name(&self, application: usize, at: DateTime<Utc>) -> bool {
        let feed = &self.day.feed;
        let named = |happened: &Happened| match &happened.what {
            What::Joined { name } | What::Returned { name } | What::Renamed { name } => Some(name.clone()),
            _ => None,
        };
        let known = |happened: &Happened| self.day.known.get(&(happened.number, application)).copied();
        feed.happened.iter().any(|claim| {
            let (Some(name), Some(claimed)) = (named(claim), known(claim)) else { return false };
            let before = || feed.happened.iter().filter(|other| other.number < claim.number);
            let holders =
                before().filter(|other| other.person != claim.person && named(other).as_ref() == Some(&name));
            claimed <= at
                && holders
                    .flat_map(|held| {
                        before()
                            .filter(move |other| other.person == held.person && other.number > held.number)
                    })
                    .any(|other| {
                        let gives_up = matches!(other.what, What::Left | What::Renamed { .. });
                        gives_up
                            && known(other).is_some_and(|released| {
                                claimed < released && at <= released + seconds(REPLAY_AFTER_REFUSAL_S)
                            })
                    })
        })
    }

    /// Whether something was really wrong: a fault within the last while.
    fn has_cause(&self, application: usize, at: DateTime<Utc>) -> bool {
        let after = seconds(REPLAY_AFTER_REFUSAL_S);
        self.faults[application].iter().any(|fault| {
            fault.begins <= at
                && at <= fault.ends.checked_add_signed(after).unwrap_or(DateTime::<Utc>::MAX_UTC)
        })
    }

    /// A department that is closed waits for somebody's word.
    pub(super) fn held(&mut self) {
        self.seen.held = self.day.held.len();
        let told = self.day.alerts.iter().filter(|alert| alert.failure_type == FailureClass::LeaversHeld);
        let told: BTreeSet<_> = told.map(|alert| number(&alert.connector)).collect();
        for number in self.day.held.iter().map(|(_, held)| *held).collect::<BTreeSet<_>>().difference(&told) {
            self.note(
                Check::Unheld,
                format!("nobody was told of those who are held in {}", connector(*number)),
            );
        }
        let mass: Vec<_> = self.day.feed.happened.iter().filter(|happened| happened.of_mass).collect();
        // Few enough are no burst.
        if mass.len() <= 10 {
            return;
        }
        for happened in mass {
            for application in self.day.feed.applications_of(happened.person) {
                if !self.day.held.contains(&(happened.number, *application))
                    && self.is_burst(happened, *application)
                {
                    self.note(
                        Check::Unheld,
                        format!("{} in {}", person(happened.person), connector(*application)),
                    );
                }
            }
        }
    }

    /// Whether so many leave an application at once that nobody can take it for usual: a fifth of those who use it.
    fn is_burst(&self, mass: &Happened, application: usize) -> bool {
        let feed = &self.day.feed;
        let leaving = feed.happened.iter().filter(|other| other.of_mass && other.at == mass.at).count();
        let using = (0..feed.people).filter(|who| feed.applications_of(*who).contains(&application)).count();
        leaving * 5 >= using || leaving > 100
    }
}
