//! What is sent and received around resources: lists, PATCH, bulk, errors, searches (RFC 7644).

mod patch;

pub use patch::{PatchOp, PatchOperation, PatchVerb};
