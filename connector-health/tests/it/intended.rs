//! What a set of events says, whatever order they come in.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::EntitlementId;
use connector_health::event::{Attribute, Changes, Intent, Order};
use connector_health::intended::{Intended, Standing};
use proptest::prelude::*;

/// Applied one after the other in the order of time, without any cleverness.
#[derive(Debug, Default, PartialEq)]
struct Naive {
    is_active: bool,
    attributes: BTreeMap<String, Attribute>,
    rights: BTreeSet<EntitlementId>,
}

impl Naive {
    fn apply(&mut self, intent: &Intent) {
        match intent {
            Intent::Provision(attributes) | Intent::Reactivate(attributes) => {
                self.is_active = true;
                self.attributes = attributes.clone();
            }
            Intent::Update(changes) | Intent::Group(changes) => {
                for (name, value) in changes {
                    match value {
                        Some(value) => self.attributes.insert(name.clone(), value.clone()),
                        None => self.attributes.remove(name),
                    };
                }
            }
            Intent::Grant(right) => {
                self.rights.insert(right.clone());
            }
            Intent::Revoke(right) => {
                self.rights.remove(right);
            }
            Intent::Deprovision => {
                self.is_active = false;
                self.rights.clear();
            }
        }
    }
}

fn attribute() -> impl Strategy<Value = (String, Attribute)> {
    ("[ab]", 0_u8..3).prop_map(|(name, value)| (name, Attribute::from(value)))
}

fn intent() -> impl Strategy<Value = Intent> {
    let attributes = prop::collection::btree_map("[ab]", (0_u8..3).prop_map(Attribute::from), 0..3);
    let right = "[xy]".prop_map(|name| EntitlementId::new(name).unwrap());
    prop_oneof![
        attributes.clone().prop_map(Intent::Provision),
        attributes.prop_map(Intent::Reactivate),
        (attribute(), any::<bool>()).prop_map(|((name, value), is_set)| {
            Intent::Update(Changes::from([(name, is_set.then_some(value))]))
        }),
        right.clone().prop_map(Intent::Grant),
        right.prop_map(Intent::Revoke),
        Just(Intent::Deprovision),
    ]
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_state_of_the_order_in_which_it_happened(
        history in prop::collection::vec(intent(), 0..12).prop_flat_map(|history| {
            let numbered: Vec<_> = history.into_iter().enumerate().collect();
            (Just(numbered.clone()), Just(numbered).prop_shuffle())
        })
    ) {
        let (chronological, arrived) = history;
        let mut naive = Naive::default();
        chronological.iter().for_each(|(_, intent)| naive.apply(intent));
        let mut intended = Intended::default();
        for (seq, (number, intent)) in arrived.iter().enumerate() {
            let at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(*number as i64);
            intended.apply(Order { occurred_at: at, seq: seq as u64 }, intent);
        }
        prop_assert_eq!(matches!(intended.standing(), Standing::Active(_)), naive.is_active);
        prop_assert_eq!(intended.attributes(), naive.attributes);
        prop_assert_eq!(intended.entitlements(), naive.rights);
    }
}
