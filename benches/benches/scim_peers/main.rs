//! scim-client beside others, in parts that run alone as well: `sync`, `listing`.
//!
//! `sync` brings 10,000 users to one real server (look up, create where absent; a second time with a tenth of them changed): this
//! client, a bare keep-alive client on Node, and scim2-client. `listing` reads a million users out of a server that costs nearly
//! nothing, and the same pages with scim2-models.
//!
//! Each contender is a process of its own, so that memory can be told apart; ours is this program again.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod listing;
mod own;
#[path = "../side_by_side/mod.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod side_by_side;
mod stub;
mod sync;

use std::process::{Command, Stdio};

use serde_json::Value;
use side_by_side::Asked;

fn main() {
    if own::run_if_asked() {
        return;
    }
    let Some(asked) = Asked::read() else { return };
    asked.print_machine();
    type Run = fn(&Asked);
    for (name, run) in [("sync", sync::run as Run), ("listing", listing::run)] {
        if asked.wants(name) {
            run(&asked);
        }
    }
}

/// Runs a contender to its end and reads the JSON that it prints last.
fn measured(mut command: Command) -> Value {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("the contender runs");
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a contender prints JSON last")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn mib(kib: &Value) -> String {
    format!("{:.1} MiB", number(kib) / 1024.0)
}
