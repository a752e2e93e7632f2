//! A day of a company in virtual time: its people, its applications with what goes wrong there, and the service that is to follow.
//! What the day was like is judged by an oracle that knows what happened and nothing of what the service thinks of it.
//!
//! Shared with `benches`, which runs it at full size.
#![allow(dead_code, unused_imports, reason = "tests and benches each use their part")]

pub(crate) mod application;
mod clock;
pub(crate) mod drive;
pub(crate) mod fault;
pub(crate) mod feed;
mod figures;
mod oracle;

pub(crate) use drive::{Sabotage, Size, day};
pub(crate) use figures::{Figures, figures};
pub(crate) use oracle::{Check, Seen, Violation, judge};

/// Virtual time: nothing waits.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}
