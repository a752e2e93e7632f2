//! What should be so in an application for one subject, whatever order the events came in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::{Attribute, Attributes, Changes, Intent, Order};
use crate::id::EntitlementId;

/// Most attributes that one lane knows.
pub const LANE_ATTRIBUTES_MAX: usize = 1024;
/// Most rights that one lane knows.
pub const LANE_ENTITLEMENTS_MAX: usize = 16_384;

/// Whether somebody should have access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// No event has said so yet.
    Unknown,
    /// An account that is active, since this event.
    Active(Order),
    /// No access, since this event.
    Deprovisioned(Order),
}

impl Standing {
    /// The event that says so.
    pub fn since(self) -> Option<Order> {
        match self {
            Self::Unknown => None,
            Self::Active(since) | Self::Deprovisioned(since) => Some(since),
        }
    }
}

/// State of one subject in one application, as a set of events has it. The same events in any order give the same state, and
/// it is the one that they give when applied in the order in which they happened.
//
// Each register keeps the order of its last write; a late event loses where a later one wrote already.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Intended {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activation: Option<Order>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deprovision: Option<Order>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, Written>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entitlements: BTreeMap<EntitlementId, Right>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Written {
    order: Order,
    value: Option<Attribute>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Right {
    order: Order,
    granted: bool,
}

impl Intended {
    /// Takes in one event, in whichever order it comes.
    pub fn apply(&mut self, order: Order, intent: &Intent) {
        match intent {
            Intent::Provision(attributes) | Intent::Reactivate(attributes) => {
                if self.activation.is_some_and(|last| last > order) {
                    return;
                }
                self.activation = Some(order);
                self.attributes.retain(|_, written| written.order > order);
                for (name, value) in attributes {
                    self.write(order, name, Some(value));
                }
            }
            Intent::Update(changes) | Intent::Group(changes) => {
                if self.activation.is_some_and(|last| last > order) {
                    return;
                }
                for (name, value) in changes {
                    self.write(order, name, value.as_ref());
                }
            }
            Intent::Grant(entitlement) => self.entitle(order, entitlement, true),
            Intent::Revoke(entitlement) => self.entitle(order, entitlement, false),
            Intent::Deprovision => {
                self.deprovision = self.deprovision.max(Some(order));
                self.entitlements.retain(|_, right| right.order > order);
            }
        }
    }

    fn write(&mut self, order: Order, name: &str, value: Option<&Attribute>) {
        if self.attributes.get(name).is_none_or(|written| written.order < order) {
            self.attributes.insert(name.to_owned(), Written { order, value: value.cloned() });
        }
    }

    fn entitle(&mut self, order: Order, entitlement: &EntitlementId, granted: bool) {
        if self.deprovision.is_some_and(|last| last > order) {
            return;
        }
        if self.entitlements.get(entitlement).is_none_or(|right| right.order < order) {
            self.entitlements.insert(entitlement.clone(), Right { order, granted });
        }
    }

    /// Whether there should be access.
    pub fn standing(&self) -> Standing {
        match (self.activation, self.deprovision) {
            (None, None) => Standing::Unknown,
            (Some(active), None) => Standing::Active(active),
            (Some(active), Some(left)) if active > left => Standing::Active(active),
            (_, Some(left)) => Standing::Deprovisioned(left),
        }
    }

    /// The last leaver event, whatever came after it.
    pub fn last_deprovision(&self) -> Option<Order> {
        self.deprovision
    }

    pub(crate) fn last_activation(&self) -> Option<Order> {
        self.activation
    }

    /// Attributes that the account should have.
    pub fn attributes(&self) -> Attributes {
        let set = self.attributes.iter();
        set.filter_map(|(name, written)| Some((name.clone(), written.value.clone()?))).collect()
    }

    /// Rights that should be had.
    pub fn entitlements(&self) -> BTreeSet<EntitlementId> {
        self.entitlements.iter().filter(|(_, right)| right.granted).map(|(id, _)| id.clone()).collect()
    }

    /// Unique values that the account should have.
    pub fn unique(&self) -> BTreeMap<String, String> {
        let set = self.attributes.iter();
        set.filter_map(|(name, written)| match &written.value {
            Some(Attribute::Unique(value)) => Some((name.clone(), value.clone())),
            Some(Attribute::Plain(_) | Attribute::Person(_)) | None => None,
        })
        .collect()
    }

    /// What this event, once applied, still says: nothing where later ones have overwritten it all.
    pub(crate) fn written_by(&self, order: Order) -> Changes {
        let by = self.attributes.iter().filter(|(_, written)| written.order == order);
        by.map(|(name, written)| (name.clone(), written.value.clone())).collect()
    }

    /// Who wrote last what this event would have written.
    pub(crate) fn overwriter(&self, changes: &Changes) -> Option<Order> {
        let writers =
            changes.keys().filter_map(|name| self.attributes.get(name)).map(|written| written.order);
        writers.max().max(self.activation)
    }

    pub(crate) fn right_order(&self, entitlement: &EntitlementId) -> Option<Order> {
        self.entitlements.get(entitlement).map(|right| right.order)
    }

    pub(crate) fn is_within_limits(&self) -> bool {
        self.attributes.len() <= LANE_ATTRIBUTES_MAX && self.entitlements.len() <= LANE_ENTITLEMENTS_MAX
    }
}
