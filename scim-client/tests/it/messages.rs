//! Resources and messages are read leniently, written strictly, and refused with the place of what is wrong.

mod limits;
mod resources;
mod splitter;
