//! What the comparisons share: the command line, numbers, and a word about the machine. No measured time is ever asserted.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What was asked for on the command line.
pub(crate) struct Asked {
    effort: Effort,
    only: Option<String>,
    dir: PathBuf,
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Long enough for figures.
    Full,
    /// Just enough to see that everything runs.
    Quick,
}

const USAGE: &str = "options: PART (that part alone), --quick (a short run), --dir DIR (where to write; a local disk, not tmpfs)";

impl Asked {
    /// Reads the command line. `None`: there is nothing to measure, because `cargo test` builds and starts benches too, and
    /// only `cargo bench` passes `--bench`.
    pub(crate) fn read() -> Option<Self> {
        let mut asked =
            Self { effort: Effort::Full, only: None, dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")) };
        // Cargo puts its own word after those of whoever asks.
        let is_bench = std::env::args().any(|arg| arg == "--bench");
        let mut is_test = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => {}
                "--test" => is_test = true,
                "--quick" => asked.effort = Effort::Quick,
                "--only" => asked.only = Some(args.next().expect(USAGE)),
                "--dir" => asked.dir = args.next().map(PathBuf::from).expect(USAGE),
                "--help" => {
                    println!("{USAGE}");
                    return None;
                }
                // What libtest would understand (`--nocapture`, a filter) comes with `cargo test`.
                _ if !is_bench => {}
                part if !part.starts_with('-') => asked.only = Some(part.to_owned()),
                other => panic!("`{other}` is not known; {USAGE}"),
            }
        }
        (is_bench && !is_test).then_some(asked)
    }

    /// Whether this part was asked for, by name or with everything.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }

    /// One value for a full run, another for a quick one.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        match self.effort {
            Effort::Full => full,
            Effort::Quick => quick,
        }
    }

    /// A fresh directory on the disk that is measured, gone when dropped.
    pub(crate) fn fresh_dir(&self) -> TempDir {
        std::fs::create_dir_all(&self.dir).expect("the directory can be made");
        tempfile::Builder::new().prefix("bench-").tempdir_in(&self.dir).expect("the directory can be written")
    }

    /// Says where the figures come from.
    pub(crate) fn print_machine(&self) {
        std::fs::create_dir_all(&self.dir).expect("the directory can be made");
        let cpu = first_line_with("/proc/cpuinfo", "model name");
        let flags = first_line_with("/proc/cpuinfo", "flags");
        let has = |flag: &str| if flags.split(' ').any(|known| known == flag) { "yes" } else { "no" };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!("machine   {cores} × {cpu}; SHA instructions {}, AES {}", has("sha_ni"), has("aes"));
        println!("load      {} (1, 5, 15 min; more than 0 means that others were at work)", load());
        println!("disk      {} ({})", file_system(&self.dir), self.dir.display());
        if self.effort == Effort::Quick {
            println!("effort    quick: these figures show that it runs, and little else");
        }
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn first_line_with(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or("? : unknown");
    line.split_once(": ").map_or("unknown", |(_, value)| value).to_owned()
}

/// The file system that holds `dir`, by the longest mount point above it. On tmpfs, `fdatasync` costs nothing and every
/// comparison with it is void.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), device.to_owned(), kind.to_owned()))
    });
    match holding.max() {
        Some((_, _, kind)) if kind == "tmpfs" => panic!("tmpfs makes nothing durable; {USAGE}"),
        Some((_, device, kind)) => format!("{kind} on {device}"),
        None => "unknown".to_owned(),
    }
}

/// Numbers of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The sample below which `part` (0 to 1) of all samples are.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (part * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(place).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// A whole number with its thousands apart.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = if number < 0.0 { "−".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds, shown in microseconds.
pub(crate) fn micros(seconds: f64) -> String {
    format!("{} µs", count(seconds * 1e6))
}
