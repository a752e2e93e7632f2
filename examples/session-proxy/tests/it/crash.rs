//! SIGKILL at random moments: nothing that a client saw acknowledged is missing from the log.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use audit_log::{Checkpoint, VerifyOptions};

use super::stage::{Demo, entries, of_type, verify_with};

/// A small generator, so that a seed repeats a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect(name))
}

/// Rounds from one verification to the next.
const VERIFY_EVERY: u64 = 20;

#[test]
#[ignore = "needs ssh and python3-cryptography: cargo xtask test"]
fn soak_killed_proxies_lose_nothing_that_was_acknowledged() {
    let rounds = number("SOAK_ROUNDS", 50);
    let mut random = Random(number("SOAK_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("demo");
    let (mut acknowledged, mut blocked) = (Vec::new(), Vec::new());
    let mut killed_at_work = 0;
    let mut newest: Option<Checkpoint> = None;
    for round in 0..rounds {
        // A proxy that was killed leaves a log that opens again: this start is the proof.
        let demo = Demo::start(&data_dir);
        let dead = AtomicBool::new(false);
        let wait = Duration::from_micros(random.next() % 150_000);
        // One kill in five comes while clients log in, the others while commands run.
        let early = random.next().is_multiple_of(5);
        let answers = AtomicUsize::new(0);
        let seen: Vec<(Vec<String>, Vec<String>)> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..3)
                .map(|client| {
                    let (demo, dead, answers) = (&demo, &dead, &answers);
                    scope.spawn(move || {
                        let (mut ran, mut refused) = (Vec::new(), Vec::new());
                        let Ok(master) = demo.ssh().master() else { return (ran, refused) };
                        for n in 0.. {
                            if dead.load(Ordering::SeqCst) {
                                break;
                            }
                            let word = format!("r{round}-c{client}-n{n}");
                            if n % 3 == 2 {
                                // What the user hears about is on record, refusals included.
                                let Ok(output) = master.run(format!("touch {word}")) else { break };
                                if output.stderr_text().contains("blocked") {
                                    refused.push(word);
                                }
                            } else {
                                let Ok(output) = master.run(format!("echo {word}")) else { break };
                                if output.stdout_text().contains(&word) {
                                    ran.push(word);
                                }
                            }
                            answers.fetch_add(1, Ordering::SeqCst);
                        }
                        (ran, refused)
                    })
                })
                .collect();
            let patience = Instant::now() + Duration::from_secs(20);
            while !early && answers.load(Ordering::SeqCst) == 0 && Instant::now() < patience {
                std::thread::yield_now();
            }
            let kill_at = Instant::now() + wait;
            while Instant::now() < kill_at {
                std::thread::yield_now();
            }
            rustix::process::kill_process(demo.pid(), rustix::process::Signal::KILL).unwrap();
            dead.store(true, Ordering::SeqCst);
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        demo.kill();
        if seen.iter().any(|(ran, _)| !ran.is_empty()) {
            killed_at_work += 1;
        }
        for (ran, refused) in seen {
            acknowledged.extend(ran);
            blocked.extend(refused);
        }
        // Verifying reads everything that was ever written, so it grows with the rounds. Nothing in a log is written twice: what a
        // kill spoils stays spoilt, and the next verification finds it, with its place.
        if round % VERIFY_EVERY == 0 || round + 1 == rounds {
            let options = match newest.take() {
                Some(checkpoint) => VerifyOptions::new().minimum(checkpoint),
                None => VerifyOptions::new(),
            };
            let report = verify_with(&data_dir, &options);
            newest = report.unwrap_or_else(|error| panic!("round {round}: {error}")).checkpoint;
        }
    }
    super::stage::agree_with_python(&data_dir);
    let entries = entries(&data_dir);
    let recorded = |event_type: &str| -> std::collections::HashSet<String> {
        of_type(&entries, event_type)
            .iter()
            .filter_map(|entry| entry["command"].as_str()?.split(' ').nth(1).map(str::to_owned))
            .collect()
    };
    let (started, refused) = (recorded("command.started"), recorded("command.blocked"));
    let lost: Vec<_> = acknowledged.iter().filter(|word| !started.contains(*word)).collect();
    let lost_refusals: Vec<_> = blocked.iter().filter(|word| !refused.contains(*word)).collect();
    assert!(lost.is_empty() && lost_refusals.is_empty(), "lost: {lost:?} {lost_refusals:?}");
    // Otherwise the kills came too early to show anything.
    assert!(killed_at_work * 2 > rounds, "{killed_at_work} of {rounds} rounds ran a command");
    println!(
        "{rounds} kills, {} commands and {} refusals acknowledged, {} entries, none lost",
        acknowledged.len(),
        blocked.len(),
        entries.len()
    );
}
