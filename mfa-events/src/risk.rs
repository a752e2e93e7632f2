//! How likely it is that it was somebody else.

use crate::event::{RiskContext, RiskLevel, Signal};

/// Weight of an event with this risk, from ½ to 2: 1 where nothing is known.
pub fn weight_of(risk: &RiskContext) -> f64 {
    let signals = [&risk.geo, &risk.ip_reputation, &risk.time_of_day, &risk.device_familiarity];
    let weights =
        signals.into_iter().filter_map(|signal| signal.as_ref().and_then(|signal: &Signal| signal.weight));
    let (sum, known) = weights.fold((0.0, 0), |(sum, known), weight| (sum + weight, known + 1));
    match (known, risk.level) {
        (0, None) => 1.0,
        (0, Some(RiskLevel::Low)) => 0.5,
        (0, Some(RiskLevel::Medium)) => 1.0,
        (0, Some(RiskLevel::High)) => std::f64::consts::SQRT_2,
        (0, Some(RiskLevel::Critical)) => 2.0,
        _ => 2.0_f64.powf((sum / 2.0_f64).clamp(-1.0, 1.0)),
    }
}
