//! `PatchOp` (RFC 7644 §3.5.2).

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::asserted::Asserted;
use crate::attributes;
use crate::dialect::VerbCase;
use crate::path::Path;
use crate::resource::value::{Scalar, ScalarValue, scalar_values};
use crate::resource::{AttributeValue, attribute, read_entries};
use crate::urn;

/// Changes to a resource, applied together or not at all.
///
/// Reads verbs in any case, a single operation without its array, and an empty path as none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchOp {
    /// In this order.
    pub operations: Vec<PatchOperation>,
    /// How the verbs are written; they are read in any case.
    pub verbs: VerbCase,
}

/// One change. `Debug` shows no password.
#[derive(Clone, PartialEq)]
pub struct PatchOperation {
    /// What to do.
    pub verb: PatchVerb,
    /// With what; without it, the value names the attributes.
    pub path: Option<Path>,
    /// The new value.
    pub value: Option<Value>,
}

impl fmt::Debug for PatchOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |path: &Path| is_password(&path.attribute.name);
        let value = match (&self.path, &self.value) {
            (Some(path), Some(_)) if names(path) => Some(Value::from("…")),
            (_, value) => value.clone().map(without_password),
        };
        f.debug_struct("PatchOperation")
            .field("verb", &self.verb)
            .field("path", &self.path.as_ref().map(ToString::to_string))
            .field("value", &value)
            .finish()
    }
}

/// Also behind the URN of a schema, as values without a path may have it.
fn is_password(name: &str) -> bool {
    name.rsplit(':').next().is_some_and(|name| name.eq_ignore_ascii_case("password"))
}

/// The passwords in a resource or a patch.
pub(crate) fn passwords(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(elements) => open.extend(elements),
            Value::Object(parts) => {
                let is_change = attribute(parts, "path").and_then(Value::as_str).is_some_and(is_password);
                for (name, part) in parts {
                    match part {
                        Value::String(text)
                            if is_password(name) || (is_change && name.eq_ignore_ascii_case("value")) =>
                        {
                            found.push(text.as_str());
                        }
                        part => open.push(part),
                    }
                }
            }
            _ => {}
        }
    }
    found.retain(|password| !password.is_empty());
    found
}

pub(crate) fn without_password(value: Value) -> Value {
    match value {
        Value::Object(parts) => parts
            .into_iter()
            .map(|(name, value)| match is_password(&name) {
                true => (name, Value::from("…")),
                false => (name, without_password(value)),
            })
            .collect(),
        Value::Array(elements) => elements.into_iter().map(without_password).collect(),
        other => other,
    }
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

impl PatchVerb {
    /// The verb, written so.
    pub fn as_str(self, case: VerbCase) -> &'static str {
        match (self, case) {
            (Self::Add, VerbCase::Lower) => "add",
            (Self::Add, VerbCase::Title) => "Add",
            (Self::Remove, VerbCase::Lower) => "remove",
            (Self::Remove, VerbCase::Title) => "Remove",
            (Self::Replace, VerbCase::Lower) => "replace",
            (Self::Replace, VerbCase::Title) => "Replace",
        }
    }
}

impl Serialize for PatchVerb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str(VerbCase::Lower))
    }
}

impl ScalarValue for PatchVerb {
    const EXPECTED: &'static str = "`add`, `remove` or `replace`";

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        let Scalar::Text(word) = scalar else {
            return None;
        };
        [Self::Add, Self::Remove, Self::Replace]
            .into_iter()
            .find(|verb| verb.as_str(VerbCase::Lower).eq_ignore_ascii_case(word.trim()))
    }
}

scalar_values!(PatchVerb);

impl Serialize for PatchOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let operations: Vec<_> =
            self.operations.iter().map(|operation| Written { operation, verbs: self.verbs }).collect();
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("schemas", &[urn::PATCH_OP])?;
        map.serialize_entry("Operations", &operations)?;
        map.end()
    }
}

impl Serialize for PatchOperation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written { operation: self, verbs: VerbCase::default() }.serialize(serializer)
    }
}

struct Written<'a> {
    operation: &'a PatchOperation,
    verbs: VerbCase,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let PatchOperation { verb, path, value } = self.operation;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("op", verb.as_str(self.verbs))?;
        if let Some(path) = path {
            map.serialize_entry("path", path)?;
        }
        if let Some(value) = value {
            map.serialize_entry("value", value)?;
        }
        map.end()
    }
}

attributes! {
    #[derive(Default)]
    struct Received {
        "schemas" => schemas: Vec<String>,
        "Operations" => operations: Vec<PatchOperation>,
    }
}

attributes! {
    #[derive(Default)]
    struct ReceivedOperation {
        "op" => verb: Option<PatchVerb>,
        "path" => path: Option<Path>,
        "value" => value: Asserted<Value>,
    }
}

impl<'de> Deserialize<'de> for PatchOp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Received { operations, .. } = Received::deserialize(deserializer)?;
        Ok(Self { operations, verbs: VerbCase::default() })
    }
}

impl AttributeValue for PatchOperation {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        deserializer.deserialize_any(OperationVisitor)
    }
}

/// Looks for the verb while the place of the operation is known.
struct OperationVisitor;

impl<'de> Visitor<'de> for OperationVisitor {
    type Value = Option<PatchOperation>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let received: ReceivedOperation = read_entries(map, |_, _| Ok(false))?;
        let verb = received.verb.ok_or_else(|| A::Error::custom("expected an operation with `op`"))?;
        let value = match received.value {
            Asserted::Absent => None,
            Asserted::Null => Some(Value::Null),
            Asserted::Value(value) => Some(value),
        };
        Ok(Some(PatchOperation { verb, path: received.path, value }))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
