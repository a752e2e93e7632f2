//! Who violates what, why, and what is done about it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::{Function, Holding, HoldingState, Level, Mitigation, Remedy, Risk, SodRules};
use crate::id::{FunctionId, PersonId, Right, RiskId};

/// A risk that a person has all functions of.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// Whose.
    pub person: PersonId,
    /// Which risk.
    pub risk: RiskId,
    /// How bad.
    pub level: Level,
    /// By which rights the person has each of its functions.
    pub functions: Vec<FunctionHit>,
    /// Whether a control watches it.
    pub standing: Standing,
    /// What is done about it, as the risk says.
    pub remedy: Remedy,
}

/// A function that a person has, and by what.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FunctionHit {
    /// Which.
    pub function: FunctionId,
    /// The rights that make it, each with whether it is there yet. As JSON a list: `connector`, `entitlement`, `state`.
    #[serde(serialize_with = "listed")]
    pub by: BTreeMap<Right, HoldingState>,
    /// Since when the person has it all.
    pub since: DateTime<Utc>,
}

fn listed<S: Serializer>(by: &BTreeMap<Right, HoldingState>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Held<'r> {
        #[serde(flatten)]
        right: &'r Right,
        state: HoldingState,
    }
    serializer.collect_seq(by.iter().map(|(right, state)| Held { right, state: *state }))
}

/// How a violation stands.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing watches it.
    Open,
    /// A control does.
    Mitigated(Mitigation),
    /// A control did, until it expired.
    Expired(Mitigation),
}

/// Whether a right may be granted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "verdict", content = "violations", rename_all = "snake_case")]
#[must_use]
pub enum Verdict {
    /// It may. The violations that it makes are all mitigated.
    Allow(Vec<Violation>),
    /// A person must decide.
    Ask(Vec<Violation>),
    /// Not before a control watches what would follow.
    MitigateFirst(Vec<Violation>),
    /// It must not.
    Deny(Vec<Violation>),
}

/// What to do about a violation that is there. Each goes through the outbox.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remediation {
    /// Nothing: a control watches it.
    Mitigated,
    /// Revoke these rights; the function is gone with them.
    Revoke {
        /// Which function.
        function: FunctionId,
        /// The rights.
        rights: Vec<Right>,
    },
    /// Someone is to put a control in place, or renew the one that expired.
    Mitigate {
        /// Who answered for the one before.
        owner_before: Option<PersonId>,
    },
    /// A person decides.
    Ask,
}

type Held<'h> = BTreeMap<&'h Right, (HoldingState, DateTime<Utc>)>;

impl SodRules {
    /// All that a person violates with what is there and what is on its way, the worst first.
    pub fn check(&self, person: &PersonId, holdings: &[Holding], now: DateTime<Utc>) -> Vec<Violation> {
        let held = held(holdings);
        let functions: BTreeSet<u32> = self.functions_touched(held.keys().copied());
        self.violations(person, &held, &functions, now)
    }

    /// Whether a right may be granted: what the person would violate by it, with what is there and what is on its way. A
    /// violation that is there already and has nothing to do with this right is not held against it.
    pub fn would(
        &self,
        person: &PersonId,
        holdings: &[Holding],
        wanted: &Right,
        now: DateTime<Utc>,
    ) -> Verdict {
        let touched = self.functions_touched([wanted]);
        if touched.is_empty() {
            return Verdict::Allow(Vec::new());
        }
        let mut held = held(holdings);
        held.entry(wanted).or_insert((HoldingState::Pending, now));
        let mut violations = self.violations(person, &held, &touched, now);
        // It may be part of a function that the person does not have even so.
        violations.retain(|violation| violation.functions.iter().any(|hit| hit.by.contains_key(wanted)));
        let bears = |violation: &Violation| match (&violation.standing, &violation.remedy) {
            (Standing::Mitigated(_), _) => 0,
            (_, Remedy::Ask) => 1,
            (_, Remedy::Mitigate) => 2,
            (_, Remedy::Revoke { .. }) => 3,
        };
        match violations.iter().map(bears).max().unwrap_or(0) {
            0 => Verdict::Allow(violations),
            1 => Verdict::Ask(violations),
            2 => Verdict::MitigateFirst(violations),
            _ => Verdict::Deny(violations),
        }
    }

    fn functions_touched<'r>(&self, rights: impl IntoIterator<Item = &'r Right>) -> BTreeSet<u32> {
        rights.into_iter().filter_map(|right| self.by_right.get(right)).flatten().copied().collect()
    }

    /// The violations of risks that have one of these functions.
    fn violations(
        &self,
        person: &PersonId,
        held: &Held<'_>,
        functions: &BTreeSet<u32>,
        now: DateTime<Utc>,
    ) -> Vec<Violation> {
        // A function is looked at once, however many risks it is part of.
        let mut hits: BTreeMap<u32, Option<FunctionHit>> = BTreeMap::new();
        let mut violations = Vec::new();
        let mut risks: BTreeSet<u32> = BTreeSet::new();
        for number in functions {
            // A risk is violated only with this function, so that without it no risk needs a look.
            if self.hit(&mut hits, *number, held).is_some() {
                risks.extend(self.risks_of.get(*number as usize).into_iter().flatten());
            }
        }
        for number in risks {
            let (Some(risk), Some(of)) =
                (self.risks.get(number as usize), self.functions_of.get(number as usize))
            else {
                continue;
            };
            let functions: Option<Vec<FunctionHit>> =
                of.iter().map(|function| self.hit(&mut hits, *function, held)).collect();
            if let Some(functions) = functions {
                violations.push(self.violation(person, risk, functions, now));
            }
        }
        violations.sort_by(|one, other| other.level.cmp(&one.level).then_with(|| one.risk.cmp(&other.risk)));
        violations
    }

    fn hit(
        &self,
        hits: &mut BTreeMap<u32, Option<FunctionHit>>,
        number: u32,
        held: &Held<'_>,
    ) -> Option<FunctionHit> {
        let function = self.functions.get(number as usize)?;
        hits.entry(number).or_insert_with(|| function.hit(held)).clone()
    }

    fn violation(
        &self,
        person: &PersonId,
        risk: &Risk,
        functions: Vec<FunctionHit>,
        now: DateTime<Utc>,
    ) -> Violation {
        let standing = match self.mitigation(&risk.id, person) {
            None => Standing::Open,
            Some(mitigation) if mitigation.expires <= now => Standing::Expired(mitigation.clone()),
            Some(mitigation) => Standing::Mitigated(mitigation.clone()),
        };
        Violation {
            person: person.clone(),
            risk: risk.id.clone(),
            level: risk.level,
            functions,
            standing,
            remedy: risk.remedy.clone(),
        }
    }

    /// What to do about a violation that is there.
    pub fn remediation(&self, violation: &Violation) -> Remediation {
        match (&violation.remedy, &violation.standing) {
            (_, Standing::Mitigated(_)) => Remediation::Mitigated,
            (Remedy::Revoke { function }, _) => {
                let named = violation.functions.iter().find(|hit| Some(&hit.function) == function.as_ref());
                let last = || violation.functions.iter().max_by_key(|hit| (hit.since, &hit.function));
                let Some(hit) = named.or_else(last) else { return Remediation::Ask };
                Remediation::Revoke { function: hit.function.clone(), rights: self.rights_to_revoke(hit) }
            }
            (Remedy::Ask, _) => Remediation::Ask,
            (Remedy::Mitigate, Standing::Expired(before)) => {
                Remediation::Mitigate { owner_before: Some(before.owner.clone()) }
            }
            (Remedy::Mitigate, Standing::Open) => Remediation::Mitigate { owner_before: None },
        }
    }

    /// As few as take the function away: one of those that it takes together, or else every one of which one suffices.
    fn rights_to_revoke(&self, hit: &FunctionHit) -> Vec<Right> {
        let Some(function) = self.functions.iter().find(|function| function.id == hit.function) else {
            return Vec::new();
        };
        let any: Vec<Right> = hit.by.keys().filter(|right| function.any.contains(*right)).cloned().collect();
        match function.all.first() {
            Some(one) if any.len() != 1 => vec![one.clone()],
            _ => any,
        }
    }
}

impl Function {
    fn hit(&self, held: &Held<'_>) -> Option<FunctionHit> {
        let mut by = BTreeMap::new();
        let mut all_since = DateTime::<Utc>::MIN_UTC;
        for right in &self.all {
            let (state, since) = held.get(right)?;
            all_since = all_since.max(*since);
            by.insert(right.clone(), *state);
        }
        // The smaller of the two is walked through.
        let any: Vec<(&Right, HoldingState, DateTime<Utc>)> = match self.any.len() <= held.len() {
            true => self
                .any
                .iter()
                .filter_map(|right| held.get(right).map(|(state, since)| (right, *state, *since)))
                .collect(),
            false => {
                let within = held.iter().filter(|(right, _)| self.any.contains(**right));
                within.map(|(right, (state, since))| (*right, *state, *since)).collect()
            }
        };
        let since = match any.iter().map(|(.., since)| *since).min() {
            Some(first) => all_since.max(first),
            None if self.any.is_empty() => all_since,
            None => return None,
        };
        by.extend(any.into_iter().map(|(right, state, _)| (right.clone(), state)));
        Some(FunctionHit { function: self.id.clone(), by, since })
    }
}

/// By right. Of one that is both there and on its way, that it is there counts.
fn held(holdings: &[Holding]) -> Held<'_> {
    let mut held: Held<'_> = BTreeMap::new();
    for holding in holdings {
        let one = held.entry(&holding.right).or_insert((holding.state, holding.since));
        if holding.state == HoldingState::Current {
            one.0 = HoldingState::Current;
        }
        one.1 = one.1.min(holding.since);
    }
    held
}

impl Violation {
    /// The control that watches it, or did until it expired.
    pub fn control(&self) -> Option<&Mitigation> {
        match &self.standing {
            Standing::Open => None,
            Standing::Mitigated(control) | Standing::Expired(control) => Some(control),
        }
    }
}

impl Verdict {
    /// What the grant would violate.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Allow(violations) | Self::Ask(violations) => violations,
            Self::MitigateFirst(violations) | Self::Deny(violations) => violations,
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} violates risk `{}` ({}):", self.person, self.risk, self.level.code())?;
        for (at, hit) in self.functions.iter().enumerate() {
            let joined = if at == 0 { " " } else { "; " };
            write!(f, "{joined}`{}` by ", hit.function)?;
            for (at, (right, state)) in hit.by.iter().enumerate() {
                let joined = if at == 0 { "" } else { " and " };
                let pending = match state {
                    HoldingState::Current => "",
                    HoldingState::Pending => " (pending)",
                };
                write!(f, "{joined}{right}{pending}")?;
            }
        }
        match &self.standing {
            Standing::Open => Ok(()),
            Standing::Mitigated(by) => {
                write!(f, "; mitigated by `{}` until {}", by.control, by.expires.date_naive())
            }
            Standing::Expired(by) => {
                write!(f, "; the control `{}` expired {}", by.control, by.expires.date_naive())
            }
        }
    }
}
