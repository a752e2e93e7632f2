//! `PatchOp` (RFC 7644 §3.5.2).

use serde_json::Value;

use crate::dialect::VerbCase;
use crate::path::Path;

/// Changes to a resource, applied together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchOp {
    /// In this order.
    pub operations: Vec<PatchOperation>,
    /// How the verbs are written; they are read in any case.
    pub verbs: VerbCase,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchOperation {
    /// What to do.
    pub verb: PatchVerb,
    /// With what; without it, the value names the attributes.
    pub path: Option<Path>,
    /// The new value.
    pub value: Option<Value>,
}

/// What a change does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PatchVerb {
    /// `add`
    Add,
    /// `remove`
    Remove,
    /// `replace`
    Replace,
}
