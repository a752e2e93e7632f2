//! Everything that the status page shows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use connector_health::PersonId;
use connector_health::alert::{Alert, AlertState, Backlog};
use connector_health::event::Subject;
use connector_health::store::OutboxStore as _;
use serde_json::{Value, json};

use super::{Engine, EngineError, rfc3339};

/// Leavers of one connector that the status shows.
const LEAVERS_SHOWN_MAX: usize = 1_000;

impl Engine {
    /// Open alerts with what waits now, and those that are over, newest last.
    pub(crate) async fn alerts(&self) -> Result<Vec<Alert>, EngineError> {
        let mut alerts = self.history().all();
        for alert in alerts.iter_mut().filter(|alert| alert.state == AlertState::Open) {
            let counts = self.outbox.counts(&alert.connector).await?;
            alert.queue = Backlog { replayed: alert.queue.replayed, ..Backlog::from(&counts) };
        }
        Ok(alerts)
    }

    /// Everything that the status page shows.
    pub(crate) async fn status(&self) -> Result<Value, EngineError> {
        let now = Utc::now();
        let mut held = 0;
        let (mut connectors, mut unreadable) = (Vec::new(), Vec::new());
        let mut missing: BTreeMap<PersonId, Vec<Value>> = BTreeMap::new();
        let mut about: BTreeMap<PersonId, (DateTime<Utc>, Option<Value>)> = BTreeMap::new();
        for health in self.fleet.health(now) {
            // As it is now: the fleet knows what waited at the end of the last pass.
            let counts = self.outbox.counts(&health.connector).await?;
            held += counts.held;
            let leavers = match self.outbox.store().leavers(&health.connector, LEAVERS_SHOWN_MAX).await {
                Err(error) if error.is_of_record() => {
                    unreadable.push(json!({"connector": health.connector}));
                    Vec::new()
                }
                leavers => leavers?,
            };
            for lane in leavers {
                let Subject::Person(person) = &lane.subject else { continue };
                let loaded = match self.outbox.store().load(&lane).await {
                    // They are told of, with when they left unknown, and the others are shown.
                    Err(error) if error.is_of_record() => {
                        unreadable.push(json!({"connector": health.connector, "person": person}));
                        let reason = "what is stored of this cannot be read";
                        let entry = json!({"connector": health.connector, "reason": reason});
                        missing.entry(person.clone()).or_default().push(entry);
                        continue;
                    }
                    loaded => loaded?,
                };
                let Some(loaded) = loaded else { continue };
                let reason = match loaded.open.iter().find_map(|event| event.last_failure.as_ref()) {
                    Some(failure) => failure.message().to_owned(),
                    None => "waits".to_owned(),
                };
                let entry = json!({"connector": health.connector, "reason": reason});
                missing.entry(person.clone()).or_default().push(entry);
                let left = loaded.record.intended.last_deprovision().map_or(now, |order| order.occurred_at);
                let name = loaded.record.intended.attributes().get("display_name").map(|name| match name {
                    connector_health::Attribute::Plain(value) => value.clone(),
                    _ => Value::Null,
                });
                let known = about.entry(person.clone()).or_insert((left, None));
                known.0 = known.0.min(left);
                known.1 = known.1.take().or(name);
            }
            let (latency_ms, failures) = self.charts.of(&health.connector, now);
            let backlog = Backlog::from(&counts);
            let age =
                backlog.oldest_deprovision_at.map(|at| now.signed_duration_since(at).num_seconds().max(0));
            connectors.push(json!({
                "id": health.connector,
                "state": health.tier,
                "reason": health.explanation,
                "last_success_at": health.last_success_at.map(rfc3339),
                "provisioning_queued": backlog.provisioning_queued,
                "provisioning_failed": backlog.provisioning_failed,
                "deprovisioning_queued": backlog.deprovisioning_queued,
                "deprovisioning_failed": backlog.deprovisioning_failed,
                "oldest_deprovision_age_s": age,
                "held": counts.held,
                "latency_ms": latency_ms,
                "failures": failures,
            }));
        }
        let leavers_open = missing.len().max(self.leavers.len());
        let mut leavers: Vec<(DateTime<Utc>, Value)> = missing
            .into_iter()
            .map(|(person, systems)| {
                let (left, name) = about.remove(&person).unwrap_or((now, None));
                let shown = json!({
                    "person": person, "display_name": name, "left_at": rfc3339(left), "missing": systems,
                });
                (left, shown)
            })
            .collect();
        leavers.sort_by_key(|(left, _)| *left);
        let leavers: Vec<Value> = leavers.into_iter().take(100).map(|(_, shown)| shown).collect();
        let open: Vec<Alert> =
            self.alerts().await?.into_iter().filter(|alert| alert.state == AlertState::Open).collect();
        let alerts: Vec<Value> = open
            .iter()
            .map(|alert| {
                let mut shown = serde_json::to_value(alert).unwrap_or_default();
                // For people, in words.
                if let Some(shown) = shown.as_object_mut() {
                    shown.insert("remedy".to_owned(), json!(alert.remedy.to_string()));
                }
                shown
            })
            .collect();
        Ok(json!({
            "now": rfc3339(now),
            "connectors": connectors,
            "leavers_open": leavers_open,
            "leavers": leavers,
            "held": held,
            "unreadable": unreadable,
            "alerts": alerts,
            "duty": self.duty_in_short(),
            "reviews": self.unfinished_reviews(now).await,
            "sources": self.notices().iter().map(|(source, notice)| {
                json!({"source": source, "message": notice.text, "waits_for_approval": notice.asks && !notice.approved})
            }).collect::<Vec<_>>(),
        }))
    }
}
