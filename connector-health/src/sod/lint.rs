//! Rules that are allowed and probably not meant.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::{Function, Risk, SodRules};
use crate::id::{FunctionId, Right, RiskId};

/// Something that rules say and probably do not mean.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// No risk names the function.
    Unused(FunctionId),
    /// Two functions take the same rights.
    SameFunction(FunctionId, FunctionId),
    /// Two risks have the same functions.
    SameRisk(RiskId, RiskId),
    /// Whoever violates the second violates the first, too.
    Implied(RiskId, RiskId),
    /// One right alone violates the risk: it suffices for each of its functions.
    OneRightSuffices(RiskId, Right),
    /// A function of the risk takes rights that no application has.
    Never(RiskId, FunctionId),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unused(function) => write!(f, "no risk names function `{function}`"),
            Self::SameFunction(one, other) => {
                write!(f, "functions `{one}` and `{other}` take the same rights")
            }
            Self::SameRisk(one, other) => write!(f, "risks `{one}` and `{other}` have the same functions"),
            Self::Implied(one, other) => {
                write!(f, "whoever violates risk `{other}` violates risk `{one}`, too")
            }
            Self::OneRightSuffices(risk, right) => {
                write!(f, "{right} alone violates risk `{risk}`: it suffices for each of its functions")
            }
            Self::Never(risk, function) => write!(
                f,
                "risk `{risk}` can never be violated: function `{function}` takes rights that no application has"
            ),
        }
    }
}

pub(super) fn warnings(rules: &SodRules) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut seen: HashMap<(&BTreeSet<Right>, &BTreeSet<Right>), &FunctionId> = HashMap::new();
    for (function, risks) in rules.functions.iter().zip(&rules.risks_of) {
        if risks.is_empty() {
            warnings.push(Warning::Unused(function.id.clone()));
        }
        if let Some(same) = seen.insert((&function.all, &function.any), &function.id) {
            warnings.push(Warning::SameFunction(same.clone(), function.id.clone()));
        }
    }
    let by_functions: HashMap<&BTreeSet<FunctionId>, &RiskId> =
        rules.risks.iter().rev().map(|risk| (&risk.functions, &risk.id)).collect();
    for (risk, functions) in rules.risks.iter().zip(&rules.functions_of) {
        match by_functions.get(&risk.functions) {
            Some(first) if **first != risk.id => {
                warnings.push(Warning::SameRisk((*first).clone(), risk.id.clone()));
            }
            _ => warnings.extend(implied_by(rules, risk, functions)),
        }
        let functions: Vec<&Function> =
            functions.iter().filter_map(|number| rules.functions.get(*number as usize)).collect();
        let Some((first, others)) = functions.split_first() else { continue };
        let alone = first
            .all
            .union(&first.any)
            .find(|right| suffices(first, right) && others.iter().all(|function| suffices(function, right)));
        warnings.extend(alone.map(|right| Warning::OneRightSuffices(risk.id.clone(), right.clone())));
    }
    warnings
}

/// A risk whose functions are some of this one's. Functions that very many risks share are not looked through to the end.
fn implied_by(rules: &SodRules, risk: &Risk, functions: &[u32]) -> Option<Warning> {
    const LOOKS_MAX: usize = 1000;
    let near = functions.iter().filter_map(|number| rules.risks_of.get(*number as usize)).flatten();
    near.take(LOOKS_MAX)
        .filter_map(|number| rules.risks.get(*number as usize))
        .find(|other| {
            other.functions.len() < risk.functions.len() && other.functions.is_subset(&risk.functions)
        })
        .map(|other| Warning::Implied(other.id.clone(), risk.id.clone()))
}

/// Whether this right alone makes the function.
fn suffices(function: &Function, right: &Right) -> bool {
    function.all.iter().all(|needed| needed == right)
        && (function.any.is_empty() || function.any.contains(right))
}

pub(super) fn never(rules: &SodRules, catalogue: &BTreeSet<Right>) -> Vec<Warning> {
    let possible = |function: &Function| {
        function.all.is_subset(catalogue) && (function.any.is_empty() || !function.any.is_disjoint(catalogue))
    };
    let mut warnings = Vec::new();
    for (risk, functions) in rules.risks.iter().zip(&rules.functions_of) {
        let of = functions.iter().filter_map(|number| rules.functions.get(*number as usize));
        let impossible = of.filter(|function| !possible(function));
        warnings.extend(impossible.map(|function| Warning::Never(risk.id.clone(), function.id.clone())));
    }
    warnings
}
