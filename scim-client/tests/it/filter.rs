//! Filters: what is read, what is written, what holds.

mod evaluation;
mod properties;
mod reading;
mod typed;
