//! Finding, through `/proc`, the processes that a server's sessions started. On systems without `/proc` nothing is
//! found, and only process groups are killed.

use std::fs;

use rustix::process::{Signal, kill_process};

use crate::process::pid_of;

/// Kills every descendant of `root`, but not `root` itself, which its owner must not have waited for yet.
///
/// `root` is stopped first so that it starts nothing new; passes repeat until one finds nothing, because a process
/// found in one pass may have started another meanwhile.
pub(crate) fn kill_descendants(root: u32) {
    if let Some(pid) = pid_of(root) {
        let _ = kill_process(pid, Signal::STOP);
    }
    for _ in 0..PASSES_MAX {
        let found = descendants(root);
        if found.is_empty() {
            return;
        }
        kill_all(&found);
    }
}

/// Kills every process that has `entry` (`NAME=value`) in its environment. Such processes started with it and nobody
/// else gives it, so they belong to the server that the entry names.
pub(crate) fn kill_marked(entry: &str) {
    for _ in 0..PASSES_MAX {
        let found: Vec<u32> = processes().filter(|pid| has_entry(*pid, entry)).collect();
        if found.is_empty() {
            return;
        }
        kill_all(&found);
    }
}

fn kill_all(found: &[u32]) {
    for pid in found.iter().filter_map(|raw| pid_of(*raw)) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        processes().filter_map(|pid| living_parent(pid).map(|parent| (pid, parent))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.retain(|pid| *pid != root);
    found
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The parent of a process that can still run. The dead who were not waited for yet (state `Z`) do not count: nothing
/// more can be done to them. See proc_pid_stat(5): the name may hold anything, so fields are counted after the last `)`.
fn living_parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.next()?.parse().ok())?
}

fn has_entry(pid: u32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|item| item == entry.as_bytes()))
}

const PASSES_MAX: usize = 50;
