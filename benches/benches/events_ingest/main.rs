//! Events in and out, in parts that run alone as well: `single`, `batches`, `readers`, `queries`.
//!
//! Every store and server here answers after what it was given is on the disk, with `fdatasync` or more.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod batches;
mod load;
mod process;
mod queries;
mod readers;
#[path = "../side_by_side/mod.rs"]
mod side_by_side;
mod single;

use side_by_side::Asked;

/// As in `session-proxy`, for both sides of what is compared within this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if process::serve_if_asked() {
        return;
    }
    let Some(asked) = Asked::read() else { return };
    asked.print_machine();
    type Run = fn(&Asked);
    let parts: [(&str, Run); 4] = [
        ("single", single::run),
        ("batches", batches::run),
        ("readers", readers::run),
        ("queries", queries::run),
    ];
    for (name, run) in parts {
        if asked.wants(name) {
            run(&asked);
        }
    }
}
