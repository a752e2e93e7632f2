//! PATCH (RFC 7644 §3.5.2): from a difference to operations, in the form that a server reads, and applied as a server
//! would.
//!
//! ```text
//!  old, new ── between ─▶ PatchOp ── in_dialect ─▶ [PatchOp] ─▶ server
//!                            │                        │
//!                            └──────── apply ◀── normalise
//! ```
//!
//! What the server manages (`id`, `meta`, `schemas`, and `groups` of a user) is never part of a difference.

mod apply;
mod build;
mod dialect;
mod difference;
mod element;
mod equivalence;
mod members;
pub(crate) mod name;
mod normalise;

pub use apply::{ApplyError, ApplyErrorKind, OPERATIONS_MAX, WORK_MAX, apply};
pub use difference::{PAIRED_ELEMENTS_MAX, between, towards};
pub use equivalence::equivalent;
pub use normalise::normalise;
