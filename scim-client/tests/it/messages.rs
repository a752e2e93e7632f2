//! Resources and messages are read leniently, written strictly, and refused with the place of what is wrong.

mod discovery;
mod error_response;
mod limits;
mod operations;
mod resources;
mod round_trip;
mod splitter;
