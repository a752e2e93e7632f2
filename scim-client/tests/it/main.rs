//! Behaviour through the public API.

mod errors;
