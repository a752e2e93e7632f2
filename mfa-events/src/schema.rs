//! The published JSON Schema (draft 2020-12) of events.
//!
//! What [`Event::from_json`](crate::Event::from_json) takes is valid under it. The other way round there is little that it refuses
//! besides: a schema cannot count bytes, levels or days of a month.

/// Version of the schema, the `schema_version` of every event that is written.
pub const VERSION: u32 = 1;

/// The schema as text.
pub const EVENT: &str = include_str!("../schema/event.json");

/// The HTTP interface of the feature `http` as OpenAPI 3.1.
#[cfg(feature = "http")]
pub const OPENAPI: &str = include_str!("../schema/openapi.json");
