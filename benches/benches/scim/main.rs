//! What it costs to build, read and check SCIM messages in memory.
#![allow(missing_docs, clippy::expect_used, reason = "a bench")]

use criterion::{criterion_group, criterion_main};

mod filter;
mod patch;

criterion_group!(benches, filter::filters, patch::patches);
criterion_main!(benches);
