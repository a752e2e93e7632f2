//! Rights that nobody may have together: looked at before a grant is taken in.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use connector_health::sod::{Holding, HoldingState, Verdict, Violation};
use connector_health::store::OutboxStore as _;
use connector_health::{Event, Intent, PersonId, Right};

use super::{Engine, EngineError};

impl Engine {
    /// The events without those grants that would make a violation, and what is said of each of these. A person's decision or a
    /// control comes first: whoever mitigates it in the rules, and restarts, sends the event again.
    pub(super) async fn within_duty(
        &self,
        person: &PersonId,
        events: Vec<Event>,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Event>, Vec<String>), EngineError> {
        let Some(rules) = &self.sod else { return Ok((events, Vec::new())) };
        let of = |event: &Event, entitlement: &_| Right {
            connector: event.lane().connector.clone(),
            entitlement: Clone::clone(entitlement),
        };
        // What the same line takes away goes first, and is not held against what it gives.
        let revoked: BTreeSet<Right> = events
            .iter()
            .filter_map(|event| match event.intent() {
                Intent::Revoke(entitlement) => Some(of(event, entitlement)),
                _ => None,
            })
            .collect();
        let mut holdings: Vec<Holding> = Vec::new();
        for lane in self.outbox.store().lanes_of(person).await? {
            let delivered = lane.delivered.entitlements();
            // One whose revocation is not confirmed is still there.
            for entitlement in lane.intended.entitlements().union(&delivered) {
                let right =
                    Right { connector: lane.lane.connector.clone(), entitlement: entitlement.clone() };
                let state = match delivered.contains(entitlement) {
                    true => HoldingState::Current,
                    false => HoldingState::Pending,
                };
                if !revoked.contains(&right) {
                    holdings.push(Holding { right, state, since: now });
                }
            }
        }
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        for event in events {
            let Intent::Grant(entitlement) = event.intent() else {
                kept.push(event);
                continue;
            };
            let right = of(&event, entitlement);
            if holdings.iter().any(|holding| holding.right == right) {
                kept.push(event);
                continue;
            }
            let (why, violations) = match rules.would(person, &holdings, &right, now) {
                Verdict::Allow(_) => {
                    holdings.push(Holding { right, state: HoldingState::Pending, since: now });
                    kept.push(event);
                    continue;
                }
                Verdict::Ask(violations) => ("a person must decide", violations),
                Verdict::MitigateFirst(violations) => ("a control must watch it first", violations),
                Verdict::Deny(violations) => ("nobody may have both", violations),
            };
            let risks: Vec<&str> = violations.iter().map(|Violation { risk, .. }| risk.as_str()).collect();
            refused.push(format!("{right} is not granted ({}): {why}", risks.join(", ")));
        }
        Ok((kept, refused))
    }
}
