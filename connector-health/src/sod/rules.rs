//! Rules, indexed by right.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::lint::{self, Warning};
use super::{Level, MITIGATIONS_MAX, parse};
use crate::id::{FunctionId, PersonId, Right, RiskId};
use crate::mistake::TextError;

/// What some rights let a person do: all of `all`, and, where `any` has any, at least one of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Function {
    /// Which.
    pub id: FunctionId,
    /// In words.
    pub name: Option<String>,
    /// Rights that it takes together.
    pub all: BTreeSet<Right>,
    /// Rights of which one suffices.
    pub any: BTreeSet<Right>,
}

/// Functions that one person must not have together.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Risk {
    /// Which.
    pub id: RiskId,
    /// In words.
    pub name: Option<String>,
    /// How bad.
    pub level: Level,
    /// Two or more.
    pub functions: BTreeSet<FunctionId>,
    /// What is done about it.
    pub remedy: Remedy,
}

/// What is done about a violation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// A person decides.
    Ask,
    /// It may be where a control watches it, and is not granted before.
    Mitigate,
    /// It must not be unless someone mitigated it: the grant is refused, and what is there already is revoked.
    Revoke {
        /// The function that is taken away; None is the one that was completed last.
        function: Option<FunctionId>,
    },
}

/// A control that makes a violation bearable for a while.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mitigation {
    /// Of which risk.
    pub risk: RiskId,
    /// Whose violation.
    pub person: PersonId,
    /// What is done: `monthly review of vendor changes`.
    pub control: String,
    /// Who answers for it; never the person.
    pub owner: PersonId,
    /// Until when.
    pub expires: DateTime<Utc>,
}

/// Why a mitigation was not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MitigationError {
    /// No such risk.
    #[error("there is no risk `{0}`")]
    UnknownRisk(RiskId),
    /// One would watch oneself.
    #[error("`{0}` cannot answer for the control of their own violation")]
    OwnViolation(PersonId),
    /// It says nothing.
    #[error("the control is empty")]
    NoControl,
    /// More than [`MITIGATIONS_MAX`].
    #[error("there are at most {MITIGATIONS_MAX} mitigations")]
    Full,
}

/// Risks, functions and mitigations, found fast by right.
#[derive(Clone, Debug)]
pub struct SodRules {
    pub(super) functions: Vec<Function>,
    pub(super) risks: Vec<Risk>,
    /// Functions that each right is part of.
    pub(super) by_right: HashMap<Right, Vec<u32>>,
    /// Risks that each function is part of.
    pub(super) risks_of: Vec<Vec<u32>>,
    /// Functions of each risk.
    pub(super) functions_of: Vec<Vec<u32>>,
    /// Of every risk.
    mitigations: HashMap<RiskId, BTreeMap<PersonId, Mitigation>>,
    mitigations_count: usize,
    warnings: Vec<Warning>,
}

impl SodRules {
    /// Reads rules.
    ///
    /// ```
    /// let rules = connector_health::sod::SodRules::parse(r#"
    /// version = 1
    ///
    /// [[function]]
    /// id = "create vendors"
    /// any = { sap = ["Z_VENDOR_CREATE"], erp = ["vendor-admin"] }
    ///
    /// [[function]]
    /// id = "pay vendors"
    /// all = { sap = ["Z_PAY", "Z_PAY_RELEASE"] }
    ///
    /// [[risk]]
    /// id = "P001"
    /// level = "high"
    /// functions = ["create vendors", "pay vendors"]
    /// remedy = "revoke"
    /// revoke = "pay vendors"
    ///
    /// [[mitigation]]
    /// risk = "P001"
    /// person = "u-17"
    /// control = "monthly review of vendor changes"
    /// owner = "u-3"
    /// expires = 2027-01-01T00:00:00Z
    /// "#)?;
    /// assert_eq!(rules.risks().len(), 1);
    /// # Ok::<(), connector_health::mistake::TextError>(())
    /// ```
    ///
    /// # Errors
    /// With every mistake, each with line and column: unknown keys, functions and risks, risks of fewer than two functions,
    /// functions without rights (a risk with one could never be violated).
    pub fn parse(text: &str) -> Result<Self, TextError> {
        parse::parse(text)
    }

    /// Of what [`parse`] has checked.
    pub(super) fn of(functions: Vec<Function>, risks: Vec<Risk>) -> Self {
        let numbers: HashMap<&FunctionId, u32> =
            functions.iter().zip(0_u32..).map(|(function, number)| (&function.id, number)).collect();
        let functions_of: Vec<Vec<u32>> = risks
            .iter()
            .map(|risk| risk.functions.iter().filter_map(|id| numbers.get(id).copied()).collect())
            .collect();
        let mut risks_of = vec![Vec::new(); functions.len()];
        for (of, risk) in functions_of.iter().zip(0_u32..) {
            for function in of {
                if let Some(risks) = risks_of.get_mut(*function as usize) {
                    risks.push(risk);
                }
            }
        }
        let mut by_right: HashMap<Right, Vec<u32>> = HashMap::new();
        for (function, number) in functions.iter().zip(0_u32..) {
            for right in function.all.union(&function.any) {
                by_right.entry(right.clone()).or_default().push(number);
            }
        }
        let mitigations = risks.iter().map(|risk| (risk.id.clone(), BTreeMap::new())).collect();
        let mut rules = Self {
            functions,
            risks,
            by_right,
            risks_of,
            functions_of,
            mitigations,
            mitigations_count: 0,
            warnings: Vec::new(),
        };
        rules.warnings = lint::warnings(&rules);
        rules
    }

    /// What is allowed and probably not meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Risks that can never be violated, since an application has no such right; `catalogue` is every right that there is.
    pub fn never(&self, catalogue: &BTreeSet<Right>) -> Vec<Warning> {
        lint::never(self, catalogue)
    }

    /// All risks.
    pub fn risks(&self) -> &[Risk] {
        &self.risks
    }

    /// All functions.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Takes a mitigation; of two for one violation the one that is taken last holds.
    ///
    /// # Errors
    /// Where the risk is unknown, the owner is the person, the control says nothing, or there is no room.
    pub fn mitigate(&mut self, mitigation: Mitigation) -> Result<(), MitigationError> {
        if mitigation.owner == mitigation.person {
            return Err(MitigationError::OwnViolation(mitigation.person));
        }
        if mitigation.control.trim().is_empty() {
            return Err(MitigationError::NoControl);
        }
        if self.mitigations_count >= MITIGATIONS_MAX {
            return Err(MitigationError::Full);
        }
        let Some(of_risk) = self.mitigations.get_mut(&mitigation.risk) else {
            return Err(MitigationError::UnknownRisk(mitigation.risk));
        };
        if of_risk.insert(mitigation.person.clone(), mitigation).is_none() {
            self.mitigations_count = self.mitigations_count.saturating_add(1);
        }
        Ok(())
    }

    /// Takes a mitigation away.
    pub fn unmitigate(&mut self, risk: &RiskId, person: &PersonId) -> Option<Mitigation> {
        let taken = self.mitigations.get_mut(risk)?.remove(person)?;
        self.mitigations_count = self.mitigations_count.saturating_sub(1);
        Some(taken)
    }

    /// The mitigation of a person's violation, expired or not.
    pub fn mitigation(&self, risk: &RiskId, person: &PersonId) -> Option<&Mitigation> {
        self.mitigations.get(risk)?.get(person)
    }

    /// Mitigations that expire within this time, the first first, so that their owners can be told.
    pub fn expiring(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<&Mitigation> {
        let all = self.mitigations.values().flat_map(BTreeMap::values);
        let mut expiring: Vec<_> = all.filter(|one| one.expires >= from && one.expires < to).collect();
        expiring.sort_by(|one, other| {
            (one.expires, &one.risk, &one.person).cmp(&(other.expires, &other.risk, &other.person))
        });
        expiring
    }
}
