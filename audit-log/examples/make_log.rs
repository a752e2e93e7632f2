//! Writes a log to try readers on: `make_log DIR` makes `DIR/audit` and `DIR/keys` with a few hundred varied entries in several
//! segments, a reopen, and an end as a killed process leaves it.
#![allow(clippy::print_stderr)]

use std::{error::Error, path::PathBuf, process::ExitCode};

use audit_log::{AuditLog, Entry, FileKeys, FileStore};
use chrono::{DateTime, TimeDelta};

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: make_log DIR");
        return ExitCode::from(2);
    };
    match make(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn make(directory: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let (audit, keys) = (directory.join("audit"), directory.join("keys"));
    let options = || AuditLog::options().segment_bytes(64 << 10);

    let log = options().open_blocking(FileStore::open(&audit)?, FileKeys::open(&keys)?)?;
    for number in 0..200 {
        log.append(entry(number)).wait()?;
    }
    log.close_blocking()?;

    // A second epoch key, and many entries in one frame.
    let epochs = FileKeys::open(&keys)?;
    epochs.new_epoch()?;
    let log = options().segment_bytes(256 << 10).open_blocking(FileStore::open(&audit)?, epochs)?;
    let appends: Vec<_> = (200..400).map(|number| log.append(entry(number))).collect();
    for append in appends {
        append.wait()?;
    }
    // Neither closed nor dropped: the zeros that were written ahead stay, as after a kill. The system releases the lock at exit.
    std::mem::forget(log);
    Ok(())
}

fn entry(number: u32) -> Entry {
    let at = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_769_850_000_000 + 977 * i64::from(number));
    let entry = match number % 5 {
        0 => Entry::new("session.started").actor("alice"),
        1 => Entry::new("command.executed").actor("bob").field("exit_status", number),
        2 => Entry::new("command.blocked").actor("alice").outcome("blocked").field("reason", "no_rule"),
        3 => Entry::new("access.approved").actor("carol").subject("dave").subject_field(
            "erin",
            "phone",
            "+91 00000",
        ),
        _ => Entry::new("connector.degraded").subject("frank").field("list", [1.5, -2.0, 1e300]),
    };
    entry
        .timestamp(at)
        .session(format!("s-{:03}", number / 10))
        .target(if number.is_multiple_of(2) { "web-1" } else { "größe-\u{1F512}" })
        .field("command", format!("printf '%s\\n' \"{number}\"\t# \u{7f}\u{1b}[31m"))
        .field("flag", number.is_multiple_of(3))
}
