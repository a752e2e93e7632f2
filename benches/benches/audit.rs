//! The audit log beside what it is measured against, in one run: durable appends beside write+fdatasync and SQLite, the
//! time to a receipt beside the time of an fdatasync, verification beside openssl's SHA-256 of the same bytes.
//!
//! The peers keep the same rows as plain text; the log encrypts them, puts them into a Merkle tree and signs it.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench"
)]

#[path = "side_by_side/rounds.rs"]
mod rounds;
mod side_by_side;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use audit_log::{
    Access, AuditLog, Entry, FileKeys, FileStore, Outcome, Reader, Store, StoreFile, StoreLock, VerifyOptions,
};
use rounds::{Contender, Measured, measure};
use rusqlite::Connection;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Map, Value, json};
use side_by_side::{Asked, Samples, count, micros};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const WRITERS: usize = 64;
const CROWD: usize = 1_024;

fn main() {
    let Some(asked) = Asked::read() else { return };
    asked.print_machine();
    let sqlite = Sqlite::open(&asked);
    println!("openssl   {}; its and sha256sum's start is counted", openssl_version());
    println!("entries   JSON of {}–{} bytes, made before the clock starts", row(0).len(), row(99_999).len());
    println!(
        "audit-log FileStore and FileKeys on that disk, segments of 64 MiB; encrypted, in the tree, signed"
    );
    println!(
        "raw       pwrite + fdatasync of the same rows, plain, into a file that was filled with zeros before"
    );
    println!("SQLite    {}", sqlite.settings());
    drop(sqlite);

    println!(
        "figures   median of {} rounds of all contenders in turn (10th to 90th percentile)",
        asked.pick(61, 3)
    );

    if asked.wants("single") {
        single(&asked);
    }
    if asked.wants("many") {
        many(&asked);
    }
    if asked.wants("crowd") {
        crowd(&asked);
    }
    if asked.wants("receipts") {
        receipts(&asked);
    }
    if asked.wants("verification") {
        verification(&asked);
    }
}

fn single(asked: &Asked) {
    let runtime = Runtime::new().unwrap();
    let (blocking, tasks) = (Log::open(asked), Log::open(asked));
    let (raw, sqlite) = (Raw::create(asked), Sqlite::open(asked));
    let measured = compare(
        asked,
        vec![
            Contender::new("audit-log, blocking", 1, |n| blocking.appended_by_thread(n)),
            Contender::new("audit-log, async", 1, |n| tasks.appended_by_tasks(&runtime, 1, n)),
            Contender::new("raw", 1, |n| raw.written(1, n)),
            Contender::new("SQLite", 1, |n| sqlite.inserted(1, n)),
        ],
    );
    measured.print("durable appends per second, 1 writer", count);
    measured.print_ratio("audit-log, blocking", "raw", "goal ≥ 0.9×");
    measured.print_ratio("audit-log, async", "raw", "");
    measured.print_ratio("audit-log, blocking", "SQLite", "");
    measured.print_ratio("SQLite", "raw", "");
}

fn many(asked: &Asked) {
    let runtime = Runtime::new().unwrap();
    let log = Log::open(asked);
    let (raw, sqlite) = (Raw::create(asked), Sqlite::open(asked));
    let measured = compare(
        asked,
        vec![
            Contender::new("audit-log, 64 tasks", WRITERS, |n| log.appended_by_tasks(&runtime, WRITERS, n)),
            Contender::new("raw, 64 rows per fdatasync", WRITERS, |n| raw.written(WRITERS, n)),
            Contender::new("SQLite, one transaction each", 1, |n| sqlite.inserted(1, n)),
            Contender::new("SQLite, 64 rows per transaction", WRITERS, |n| sqlite.inserted(WRITERS, n)),
        ],
    );
    measured.print("durable appends per second, 64 writers", count);
    measured.print_ratio("audit-log, 64 tasks", "SQLite, one transaction each", "goal ≥ 10×");
    measured.print_ratio("audit-log, 64 tasks", "SQLite, 64 rows per transaction", "");
    measured.print_ratio("audit-log, 64 tasks", "raw, 64 rows per fdatasync", "");
}

fn crowd(asked: &Asked) {
    let runtime = Runtime::new().unwrap();
    let (tasks, batches) = (Log::open(asked), Log::open(asked));
    let (raw, sqlite) = (Raw::create(asked), Sqlite::open(asked));
    let measured = compare(
        asked,
        vec![
            Contender::new("audit-log, 1,024 tasks", CROWD, |n| tasks.appended_by_tasks(&runtime, CROWD, n)),
            Contender::new("audit-log, 1 task, 1,024 at a time", CROWD, |n| {
                batches.appended_in_batches(&runtime, CROWD, n)
            }),
            Contender::new("raw, 1,024 rows per fdatasync", CROWD, |n| raw.written(CROWD, n)),
            Contender::new("SQLite, 1,024 rows per transaction", CROWD, |n| sqlite.inserted(CROWD, n)),
        ],
    );
    measured.print("durable appends per second, 1,024 writers", count);
    for ours in ["audit-log, 1,024 tasks", "audit-log, 1 task, 1,024 at a time"] {
        measured.print_ratio(ours, "SQLite, 1,024 rows per transaction", "goal ≥ 1.5×");
        measured.print_ratio(ours, "raw, 1,024 rows per fdatasync", "goal ≥ 0.4×");
    }
}

fn compare(asked: &Asked, contenders: Vec<Contender<'_>>) -> Measured {
    // Many short rounds rather than few long ones: whatever else is at work on a disk comes and goes within a second.
    measure(contenders, asked.pick(61, 3), asked.pick(Duration::from_millis(80), Duration::from_millis(20)))
}

/// One append after the other, an fdatasync of as much in between.
fn receipts(asked: &Asked) {
    let runtime = Runtime::new().unwrap();
    let (blocking, tasks, proving) = (Log::open(asked), Log::open(asked), Log::open(asked));
    let raw = Raw::create(asked);
    let mut times: [Samples; 4] = Default::default();
    let seconds = |started: Instant| started.elapsed().as_secs_f64();
    let samples = asked.pick(4_000, 50);
    for number in 0..samples {
        let number = number as u64;
        times[0].push(raw.written(1, 1).as_secs_f64());
        let (first, second, third) = (entry(number), entry(number), entry(number));
        let started = Instant::now();
        blocking.log.append(first).wait().unwrap();
        times[1].push(seconds(started));
        let started = Instant::now();
        runtime.block_on(tasks.log.append(second)).unwrap();
        times[2].push(seconds(started));
        let started = Instant::now();
        runtime.block_on(async {
            let receipt = proving.log.append(third).await.unwrap();
            proving.log.prove(&receipt).await.unwrap()
        });
        times[3].push(seconds(started));
    }
    println!("\ntime of one durable append, 1 writer, {samples} samples each, taken in turn");
    println!("  {:<44} {:>10} {:>10} {:>22}", "", "median", "p99", "p99 ÷ p99 of fdatasync");
    let names = [
        "raw: pwrite + fdatasync",
        "audit-log, blocking: to the receipt",
        "audit-log, async: to the receipt",
        "audit-log, async: to the inclusion proof",
    ];
    for (name, time) in names.iter().zip(&times) {
        let (median, p99) = (time.median(), time.quantile(0.99));
        let ratio = p99 / times[0].quantile(0.99);
        println!("  {name:<44} {:>10} {:>10} {ratio:>21.2}×", micros(median), micros(p99));
    }
    println!("  goal: receipt with its signed checkpoint, p99 ≤ 3× p99 of fdatasync");
}

/// Whole-log verification and SHA-256 of the same files, from the page cache, all on one core.
fn verification(asked: &Asked) {
    let bytes = asked.pick(256 << 20, 8 << 20);
    let all_cores = sched_getaffinity(None).unwrap();
    for (entries, frames) in [(CROWD, "frames of about 1,000 entries"), (1, "frames of one entry")] {
        let log = Sealed::write(asked, entries, bytes);
        println!("\nlog of {} entries in {} MiB, {frames}", count(log.entries as f64), log.bytes >> 20,);
        for one_core in [true, false] {
            if one_core {
                let mut one = CpuSet::new();
                one.set((0..CpuSet::MAX_CPU).find(|cpu| all_cores.is_set(*cpu)).unwrap());
                sched_setaffinity(None, &one).unwrap();
            }
            let measured = measure(
                vec![
                    Contender::new("verify with keys", log.bytes, |n| times(n, || log.verified_with_keys())),
                    Contender::new("verify without keys", log.bytes, |n| times(n, || log.verified_keyless())),
                    Contender::new("openssl dgst -sha256", log.bytes, |n| {
                        times(n, || log.hashed(&["openssl", "dgst", "-sha256"]))
                    }),
                    Contender::new("sha256sum", log.bytes, |n| times(n, || log.hashed(&["sha256sum"]))),
                ],
                asked.pick(5, 1),
                Duration::from_millis(1),
            );
            let title =
                if one_core { "  bytes verified per second, one core" } else { "  the same, all cores" };
            measured.print(title, |rate| format!("{:.0} MB/s", rate / 1e6));
            let goal = if one_core { "goal ≥ 0.5×" } else { "" };
            measured.print_ratio("verify with keys", "openssl dgst -sha256", goal);
            measured.print_ratio("verify with keys", "sha256sum", if one_core { "goal ≥ 2×" } else { "" });
            measured.print_ratio("verify without keys", "openssl dgst -sha256", "");
            sched_setaffinity(None, &all_cores).unwrap();
        }
    }
}

fn times(n: usize, run: impl Fn()) -> Duration {
    let started = Instant::now();
    (0..n).for_each(|_| run());
    started.elapsed()
}

fn openssl_version() -> String {
    let output = Command::new("openssl").arg("version").output().expect("needs openssl");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a session proxy logs of a command, as an event.
fn event(number: u64) -> Map<String, Value> {
    let event = json!({
        "event_id": format!("019a3c5e-7b1f-7c3a-9d52-{number:012x}"),
        "event_type": "command.executed",
        "actor_id": format!("user-{}", number % 16),
        "target_id": format!("web-{}", number % 40),
        "session_id": format!("019a3c5e-6a0e-7b21-8c41-{:012x}", number / 100),
        "outcome": "success",
        "source_ip": "192.0.2.7",
        "command": format!("systemctl status nginx-{number}"),
        "exit_status": 0,
        "duration_ms": number % 300,
    });
    let Value::Object(event) = event else { unreachable!("an object was written above") };
    event
}

fn row(number: u64) -> Vec<u8> {
    serde_json::to_vec(&event(number)).unwrap()
}

fn rows(number: usize) -> Vec<Vec<u8>> {
    (0..number as u64).map(row).collect()
}

fn entry(number: u64) -> Entry {
    Entry::from_event(event(number)).unwrap()
}

fn entries(number: usize) -> Vec<Entry> {
    (0..number as u64).map(entry).collect()
}

/// A log on disk.
struct Log {
    log: AuditLog,
    _dir: TempDir,
}

impl Log {
    fn open(asked: &Asked) -> Self {
        let dir = asked.fresh_dir();
        let store = FileStore::open(dir.path().join("log")).unwrap();
        let keys = FileKeys::open(dir.path().join("keys")).unwrap();
        let log = AuditLog::options().open_blocking(store, keys).unwrap();
        Self { log, _dir: dir }
    }

    fn appended_by_thread(&self, number: usize) -> Duration {
        let entries = entries(number);
        let started = Instant::now();
        for entry in entries {
            self.log.append(entry).wait().unwrap();
        }
        started.elapsed()
    }

    /// `writers` tasks, each of which appends so many entries, one after the other.
    fn appended_by_tasks(&self, runtime: &Runtime, writers: usize, each: usize) -> Duration {
        let shares: Vec<_> = (0..writers).map(|_| entries(each)).collect();
        let started = Instant::now();
        runtime.block_on(async {
            let write = |share: Vec<Entry>| {
                let log = self.log.clone();
                async move {
                    for entry in share {
                        log.append(entry).await.unwrap();
                    }
                }
            };
            let writers: Vec<_> = shares.into_iter().map(|share| runtime.spawn(write(share))).collect();
            for writer in writers {
                writer.await.unwrap();
            }
        });
        started.elapsed()
    }

    /// One task that hands in a batch, waits for all of it, and goes on with the next.
    fn appended_in_batches(&self, runtime: &Runtime, batch: usize, batches: usize) -> Duration {
        let batches: Vec<_> = (0..batches).map(|_| entries(batch)).collect();
        let started = Instant::now();
        runtime.block_on(async {
            for batch in batches {
                let appends: Vec<_> = batch.into_iter().map(|entry| self.log.append(entry)).collect();
                for append in appends {
                    append.await.unwrap();
                }
            }
        });
        started.elapsed()
    }
}

/// Rows written into a file whose blocks exist already.
struct Raw {
    file: File,
    offset: std::cell::Cell<u64>,
    _dir: TempDir,
}

const RAW_BYTES: u64 = 64 << 20;

impl Raw {
    fn create(asked: &Asked) -> Self {
        let dir = asked.fresh_dir();
        let file = File::create(dir.path().join("raw")).unwrap();
        let zeros = vec![0; 1 << 20];
        for offset in (0..RAW_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset).unwrap();
        }
        file.sync_all().unwrap();
        Self { file, offset: std::cell::Cell::new(0), _dir: dir }
    }

    /// Writes so many batches; one write and one fdatasync for each.
    fn written(&self, batch: usize, batches: usize) -> Duration {
        let bytes = rows(batch).concat();
        let started = Instant::now();
        for _ in 0..batches {
            if self.offset.get() + bytes.len() as u64 > RAW_BYTES {
                self.offset.set(0);
            }
            self.file.write_all_at(&bytes, self.offset.get()).unwrap();
            self.file.sync_data().unwrap();
            self.offset.set(self.offset.get() + bytes.len() as u64);
        }
        started.elapsed()
    }
}

struct Sqlite {
    connection: Connection,
    _dir: TempDir,
}

impl Sqlite {
    fn open(asked: &Asked) -> Self {
        let dir = asked.fresh_dir();
        let connection = Connection::open(dir.path().join("log.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE entry (seq INTEGER PRIMARY KEY, content BLOB NOT NULL)",
            )
            .unwrap();
        Self { connection, _dir: dir }
    }

    /// What it says of itself, not what it was told.
    fn settings(&self) -> String {
        let pragma = |name: &str| {
            let value: rusqlite::types::Value =
                self.connection.pragma_query_value(None, name, |row| row.get(0)).unwrap();
            match value {
                rusqlite::types::Value::Text(text) => text,
                rusqlite::types::Value::Integer(number) => number.to_string(),
                other => format!("{other:?}"),
            }
        };
        format!(
            "{}, journal_mode {}, synchronous {} (2 is FULL), wal_autocheckpoint {}, one connection, prepared insert of one blob",
            rusqlite::version(),
            pragma("journal_mode"),
            pragma("synchronous"),
            pragma("wal_autocheckpoint"),
        )
    }

    fn inserted(&self, batch: usize, batches: usize) -> Duration {
        let rows = rows(batch);
        let started = Instant::now();
        for _ in 0..batches {
            let transaction = self.connection.unchecked_transaction().unwrap();
            {
                let mut insert =
                    transaction.prepare_cached("INSERT INTO entry (content) VALUES (?1)").unwrap();
                for row in &rows {
                    insert.execute([row]).unwrap();
                }
            }
            transaction.commit().unwrap();
        }
        started.elapsed()
    }
}

/// A finished log of some size.
struct Sealed {
    dir: TempDir,
    files: Vec<PathBuf>,
    bytes: usize,
    entries: u64,
}

impl Sealed {
    fn write(asked: &Asked, entries_per_frame: usize, bytes_min: usize) -> Self {
        let dir = asked.fresh_dir();
        let store = Hasty(FileStore::open(dir.path().join("log")).unwrap());
        let keys = FileKeys::open(dir.path().join("keys")).unwrap();
        let log = AuditLog::options().open_blocking(store, keys).unwrap();
        let mut number = 0;
        loop {
            for _ in 0..(4_096 / entries_per_frame) {
                let batch: Vec<_> =
                    (0..entries_per_frame as u64).map(|place| entry(number + place)).collect();
                number += entries_per_frame as u64;
                let appends: Vec<_> = batch.into_iter().map(|entry| log.append(entry)).collect();
                for append in appends {
                    append.wait().unwrap();
                }
            }
            // Zeros at the end are cut off by closing it.
            let zeros = usize::try_from(audit_log::limits::PREALLOCATED_BYTES).unwrap();
            if written(&dir.path().join("log")).1 >= bytes_min + zeros {
                break;
            }
        }
        log.close_blocking().unwrap();
        let (files, bytes) = written(&dir.path().join("log"));
        let mut sealed = Self { dir, files, bytes, entries: 0 };
        let report = sealed.reader().verify(&VerifyOptions::new(), |_| {}).unwrap();
        assert_eq!(report.outcome(), Outcome::Whole);
        sealed.entries = report.entries;
        sealed
    }

    fn reader(&self) -> Reader {
        Reader::open(
            FileStore::read_only(self.dir.path().join("log")).unwrap(),
            FileKeys::open(self.dir.path().join("keys")).unwrap(),
        )
    }

    fn verified_with_keys(&self) {
        self.reader().verify(&VerifyOptions::new(), |_| {}).unwrap();
    }

    fn verified_keyless(&self) {
        let store = FileStore::read_only(self.dir.path().join("log")).unwrap();
        Reader::keyless(store).verify(&VerifyOptions::new(), |_| {}).unwrap();
    }

    fn hashed(&self, command: &[&str]) {
        let status = Command::new(command[0])
            .args(&command[1..])
            .args(&self.files)
            .stdout(Stdio::null())
            .status()
            .unwrap_or_else(|error| panic!("needs {}: {error}", command[0]));
        assert!(status.success(), "{command:?} ended with {status}");
    }
}

/// The segments in a directory, and their bytes.
fn written(dir: &Path) -> (Vec<PathBuf>, usize) {
    let files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"segment-")))
        .collect();
    let bytes = files.iter().map(|file| file.metadata().unwrap().len() as usize).sum();
    (files, bytes)
}

/// A store that leaves syncing to the operating system, to make a long log in short time before anything is measured.
struct Hasty(FileStore);

impl Store for Hasty {
    fn lock(&self) -> io::Result<Box<dyn StoreLock>> {
        self.0.lock()
    }

    fn has_writer(&self) -> io::Result<bool> {
        self.0.has_writer()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StoreFile>> {
        self.0.open(name, access)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        Ok(Box::new(HastyFile(self.0.create(name)?)))
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.publish(from, to)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.0.replace(name, content)
    }
}

struct HastyFile(Box<dyn StoreFile>);

impl StoreFile for HastyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.truncate(bytes)
    }
}
