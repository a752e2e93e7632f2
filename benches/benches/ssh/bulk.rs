//! Processor time of the proxy for a GiB, beside that of sshd for the same bytes without a proxy.
//!
//! Whoever has a core for itself pays for bringing every byte from another core's cache and for waking others there. So the goals count
//! against an sshd that is placed like the proxy, in both places: apart from client and target, and on one core with them. What the
//! proxy costs apart is also shown against the sshd beside its client, which pays for nothing of the kind.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Instant;

use testbed::Master;

use crate::process::{self, Log, ProxyProcess, cpu_seconds, resident_kib, sessions_of};
use crate::scripts::Scripts;
use crate::side_by_side::{Asked, Samples};

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Download,
    Upload,
    /// Download onto a terminal.
    Screen,
}

/// Where those run whose time counts. The ways begin with an sshd in each place, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On one core with client and target.
    Beside,
    /// On the other core.
    Apart,
}

/// One way to the target.
struct Way {
    name: &'static str,
    master: Master,
    /// The processes whose time counts.
    pids: Vec<u32>,
    goal: Option<f64>,
    place: Place,
    mib: usize,
    cpu: Samples,
    rate: Samples,
    resident: Vec<f64>,
}

pub(crate) fn run(asked: &Asked) {
    let (mib, rounds) = asked.pick((1024, 5), (32, 2));
    let recorded_mib = asked.pick(256, 32);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let own_core = (cores > 1).then_some(1);
    if cores > 1 {
        process::pin(None, 0);
    }
    println!(
        "\nbulk: {mib} MiB of text, {}, ssh with one connection per way; {rounds} rounds in turn",
        process::CIPHER
    );
    println!(
        "  processor time from /proc/PID/stat: the proxy's process; beside it sshd's two processes of a direct connection"
    );
    println!(
        "  apart: on core 1, while client and target are on core 0; beside: all on core 0\n  recording in full moves {recorded_mib} MiB, into audit-log on disk"
    );

    let (direct, target) = (process::sshd(), process::sshd());
    let (whole, part) = (Scripts::create(mib), Scripts::create(recorded_mib));
    let start = |record, log, core| {
        let policy = format!("{}\n{}", whole.policy(record), part.policy(record));
        ProxyProcess::start(asked, &target, &policy, log, core)
    };
    let (off, digest, full) = (
        start("off", Log::Nowhere, own_core),
        start("digest", Log::Nowhere, own_core),
        start("full", Log::OnDisk, own_core),
    );
    let client_core = own_core.map(|_| 0);
    let (off_beside, digest_beside) =
        (start("off", Log::Nowhere, client_core), start("digest", Log::Nowhere, client_core));

    for direction in [Direction::Download, Direction::Upload, Direction::Screen] {
        let way = |name, master: Master, pids, goal, mib| Way {
            name,
            master,
            pids,
            goal,
            place: Place::Apart,
            mib,
            cpu: Samples::default(),
            rate: Samples::default(),
            resident: Vec::new(),
        };
        let straight = || {
            let known = sessions_of(&direct);
            let master =
                process::ssh_to(&direct, direct.port()).master().unwrap_or_else(|error| panic!("{error}"));
            let own = sessions_of(&direct).into_iter().filter(|pid| !known.contains(pid));
            (master, own.collect::<Vec<u32>>())
        };
        let (beside, apart) = (straight(), straight());
        if let Some(core) = own_core {
            // Programs that it runs go with it.
            apart.1.iter().for_each(|pid| process::pin(Some(*pid), core));
        }
        let through =
            |proxy: &ProxyProcess| proxy.ssh(proxy.port).master().unwrap_or_else(|error| panic!("{error}"));
        let mut ways = vec![
            Way { place: Place::Beside, ..way("sshd, beside", beside.0, beside.1, None, mib) },
            way("sshd, apart", apart.0, apart.1, None, mib),
        ];
        match direction {
            Direction::Download | Direction::Upload => {
                for (name, proxy, goal) in
                    [("proxy, recording off, apart", &off, 1.9), ("proxy, digest, apart", &digest, 2.5)]
                {
                    ways.push(way(name, through(proxy), vec![proxy.pid()], Some(goal), mib));
                }
                for (name, proxy, goal) in [
                    ("proxy, recording off, beside", &off_beside, 1.9),
                    ("proxy, digest, beside", &digest_beside, 2.5),
                ] {
                    let way = way(name, through(proxy), vec![proxy.pid()], Some(goal), mib);
                    ways.push(Way { place: Place::Beside, ..way });
                }
                ways.push(way(
                    "proxy, output in full, apart",
                    through(&full),
                    vec![full.pid()],
                    None,
                    recorded_mib,
                ));
            }
            Direction::Screen => {
                ways.push(way(
                    "proxy, recording off, apart",
                    through(&off),
                    vec![off.pid()],
                    None,
                    recorded_mib,
                ));
                ways.push(way(
                    "proxy, recorded in full, apart",
                    through(&full),
                    vec![full.pid()],
                    Some(4.0),
                    recorded_mib,
                ));
                ways[0].mib = recorded_mib;
                ways[1].mib = recorded_mib;
            }
        }
        let scripts = |way: &Way| if way.mib == mib { &whole } else { &part };
        for way in &mut ways {
            transfer(way, scripts(way), direction);
        }
        for way in &mut ways {
            (way.cpu, way.rate) = Default::default();
        }
        for round in 0..rounds {
            for turn in 0..ways.len() {
                let place = (round + turn) % ways.len();
                let scripts = scripts(&ways[place]);
                transfer(&mut ways[place], scripts, direction);
            }
        }
        print(&ways, direction);
    }
}

fn transfer(way: &mut Way, scripts: &Scripts, direction: Direction) {
    let cpu = || way.pids.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>();
    let (before, started) = (cpu(), Instant::now());
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "ProxyCommand=false", "-S"]).arg(way.master.socket());
    ssh.stdin(Stdio::null()).stdout(Stdio::null());
    let script = match direction {
        Direction::Download => "download",
        Direction::Upload => {
            ssh.stdin(File::open(scripts.data()).unwrap());
            "upload"
        }
        Direction::Screen => {
            ssh.arg("-tt");
            "to-terminal"
        }
    };
    let status = ssh.args(["target", &scripts.path(script)]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{}: {status}", way.name);
    let gib = way.mib as f64 / 1024.0;
    let (cpu, taken) = (cpu() - before, started.elapsed());
    way.cpu.push(cpu / gib);
    way.rate.push(way.mib as f64 / taken.as_secs_f64());
    way.resident.push(way.pids.iter().map(|pid| resident_kib(*pid)).sum::<f64>() / 1024.0);
}

fn print(ways: &[Way], direction: Direction) {
    let title = match direction {
        Direction::Download => "download",
        Direction::Upload => "upload",
        Direction::Screen => "download onto a terminal",
    };
    println!(
        "\n  {title:<30} {:>24} {:>13} {:>8} {:>13} {:>8}   resident, first–last run",
        "CPU-s/GiB (range)", "÷ so placed", "goal", "÷ sshd beside", "MiB/s"
    );
    let (beside, apart) = (ways[0].cpu.median(), ways[1].cpu.median());
    for way in ways {
        let range = |samples: &Samples| {
            format!("{:.2} ({:.2}–{:.2})", samples.median(), samples.quantile(0.0), samples.quantile(1.0))
        };
        let (first, last) = (way.resident.first().unwrap_or(&0.0), way.resident.last().unwrap_or(&0.0));
        println!(
            "  {:<30} {:>24} {:>12.2}× {:>8} {:>12.2}× {:>8.0}   {first:.1}–{last:.1} MiB",
            way.name,
            range(&way.cpu),
            way.cpu.median() / if way.place == Place::Beside { beside } else { apart },
            way.goal.map(|goal| format!("≤ {goal}×")).unwrap_or_default(),
            way.cpu.median() / beside,
            way.rate.median(),
        );
    }
}
