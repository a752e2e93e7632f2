//! How likely it is that it was somebody else, and why.
//!
//! The model is a sum that can be read: log-odds that a login is somebody else's,
//!
//! ```text
//! r = σ(b + Σ wᵢ · clamp(ln p(xᵢ | somebody else) / p(xᵢ | this actor), -2, 4))
//! ```
//!
//! over the place, the network and what is known of the address, the hour of the week, the device, and the speed at which somebody would
//! have travelled (after Freeman et al., "Who Are You? A Statistical Approach to Measuring User Authenticity", NDSS 2016). Three
//! things differ: what nobody has seen yet counts for more where it is rare; what is not known adds nothing, neither way; and
//! learning is from clean successes only, so that an attacker who fails often does not become usual.
//!
//! The evaluator fills the `risk_context` of events. Detection asks for their [weight](weight_of).

mod evaluator;
#[cfg(feature = "maxmind")]
mod maxmind;
mod source;

pub use evaluator::{
    ACTORS_MAX, Assessment, LOGINS_MIN, Model, RiskEvaluator, Term, TermKind, VALUES_KEPT_MAX,
};
#[cfg(feature = "maxmind")]
pub use maxmind::{MaxMind, MaxMindError};
pub use source::{
    GeoSource, Located, NETWORKS_MAX, NetworkList, NetworkListError, Nowhere, Reputation, ReputationSource,
};

use crate::event::{RiskContext, RiskLevel, Signal};

/// Weight of an event with this risk, from ½ to 2: 1 where nothing is known of it.
///
/// Where signals have weights these are log-odds, and each two of them double or halve it; otherwise the level says it.
pub fn weight_of(risk: &RiskContext) -> f64 {
    let signals = [&risk.geo, &risk.ip_reputation, &risk.time_of_day, &risk.device_familiarity];
    let weights =
        signals.into_iter().filter_map(|signal| signal.as_ref().and_then(|signal: &Signal| signal.weight));
    let (sum, known) = weights.fold((0.0, 0), |(sum, known), weight| (sum + weight, known + 1));
    match (known, risk.level) {
        (0, None | Some(RiskLevel::Medium)) => 1.0,
        (0, Some(RiskLevel::Low)) => 0.5,
        (0, Some(RiskLevel::High)) => std::f64::consts::SQRT_2,
        (0, Some(RiskLevel::Critical)) => 2.0,
        _ => 2.0_f64.powf((sum / 2.0_f64).clamp(-1.0, 1.0)),
    }
}
