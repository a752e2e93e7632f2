//! Placeholder while the log's API is being built.
#![allow(dead_code)]
mod args;
mod json;
mod record;
mod story;
mod terminal;
mod when;
fn main() {}
