//! The built `provisioner` against servers: real ones, one that is a closure, and things that are no SCIM service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    missing_docs,
    unreachable_pub
)]

mod arguments;
mod causes;
mod company_day;
mod config;
mod credentials;
mod crowd;
mod demo;
mod demo_crash;
mod demo_page;
mod demo_stage;
mod duty;
mod fake;
mod golden;
mod kinds;
mod openapi;
mod patch;
mod probe;
mod real;
mod resources;
mod reviews;
mod run;
mod serve;
mod settings;
mod sources;
mod stage;
mod store;
