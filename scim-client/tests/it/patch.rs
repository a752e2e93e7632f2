//! PATCH: differences, forms, and what they do.

mod applying;
mod between;
mod dialects;
mod generators;
mod normalising;

use scim_client::message::{PatchOp, PatchOperation, PatchVerb};
use scim_client::path::Path;
use scim_client::resource::Attributes;
use serde_json::Value;

/// The attributes in a JSON object.
fn attributes(value: Value) -> Attributes {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// Operations as `verb path value`, `-` for what is not there.
fn patch(operations: &[(PatchVerb, &str, Value)]) -> PatchOp {
    let operation = |(verb, path, value): &(PatchVerb, &str, Value)| PatchOperation {
        verb: *verb,
        path: (*path != "-").then(|| path.parse().unwrap()),
        value: (value.as_str() != Some("-")).then(|| value.clone()),
    };
    PatchOp { operations: operations.iter().map(operation).collect(), ..PatchOp::default() }
}

/// The verbs and paths of the operations.
fn lines(patch: &PatchOp) -> Vec<String> {
    let line = |operation: &PatchOperation| {
        let verb = format!("{:?}", operation.verb).to_lowercase();
        match &operation.path {
            Some(path) => format!("{verb} {path}"),
            None => verb,
        }
    };
    patch.operations.iter().map(line).collect()
}
