//! Throughput over a network that takes its time.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{self, Log, ProxyProcess};
use crate::scripts::Scripts;
use crate::side_by_side::{Asked, Samples};

/// One way; a round trip takes twice as long.
const ONE_WAY: Duration = Duration::from_millis(25);
/// Bytes on their way in one direction; more wait at the sender, as they would in front of a real line.
const UNDER_WAY_MAX: usize = 64 << 20;

pub(crate) fn run(asked: &Asked) {
    let (mib, rounds) = asked.pick((256, 5), (16, 2));
    println!("\ndelay: 50 ms round trip between client and the next hop, {mib} MiB, {rounds} rounds in turn");
    let has_netem = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && tc qdisc add dev lo root netem delay 25ms"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let why = if has_netem { "not used" } else { "this kernel or user has no netem" };
    println!(
        "  by a relay that holds bytes back for 25 ms each way ({why}): SSH's windows meet the delay, TCP's do not"
    );

    let (direct, target) = (process::sshd(), process::sshd());
    let scripts = Scripts::create(mib);
    let proxy = ProxyProcess::start(asked, &target, &scripts.policy("digest"), Log::Nowhere, None);
    let far = [process::ssh_to(&direct, delayed(direct.port())), proxy.ssh(delayed(proxy.port))];
    let masters = far.map(|ssh| ssh.master().unwrap_or_else(|error| panic!("{error}")));
    for upload in [false, true] {
        let mut rates = [Samples::default(), Samples::default()];
        for round in 0..=rounds {
            for (master, rate) in masters.iter().zip(&mut rates) {
                let mut ssh = Command::new("ssh");
                ssh.args(["-F", "none", "-o", "ProxyCommand=false", "-S"]).arg(master.socket());
                ssh.stdout(Stdio::null()).stdin(Stdio::null());
                if upload {
                    ssh.stdin(std::fs::File::open(scripts.data()).unwrap());
                }
                let started = Instant::now();
                let status =
                    ssh.args(["target", &scripts.path(if upload { "upload" } else { "download" })]).status();
                assert!(status.is_ok_and(|status| status.success()));
                if round > 0 {
                    rate.push(mib as f64 / started.elapsed().as_secs_f64());
                }
            }
        }
        let title = if upload { "upload" } else { "download" };
        let [direct, through] = &rates;
        let show = |rate: &Samples| {
            format!("{:.1} ({:.1}–{:.1}) MiB/s", rate.median(), rate.quantile(0.0), rate.quantile(1.0))
        };
        println!("  {title:<10} direct {:<30} proxy {:<30}", show(direct), show(through));
        println!("  {:<10} {:.2} of direct   goal ≥ 0.9", "", through.median() / direct.median());
    }
}

/// A port that leads to `port`, later.
fn delayed(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            hold_back(client.try_clone().unwrap(), server.try_clone().unwrap());
            hold_back(server, client);
        }
    });
    own
}

#[derive(Default)]
struct Line {
    under_way: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    has_ended: bool,
}

fn hold_back(mut from: TcpStream, mut to: TcpStream) {
    let line = Arc::new((Mutex::new(Line::default()), Condvar::new()));
    let sending = Arc::clone(&line);
    thread::spawn(move || {
        let (line, changed) = &*sending;
        let mut bytes = vec![0; 256 << 10];
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            let mut line =
                changed.wait_while(line.lock().unwrap(), |line| line.bytes > UNDER_WAY_MAX).unwrap();
            if read == 0 {
                line.has_ended = true;
            } else {
                line.bytes += read;
                line.under_way.push_back((Instant::now() + ONE_WAY, bytes[..read].to_vec()));
            }
            changed.notify_all();
            if read == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        let (line, changed) = &*line;
        loop {
            let idle = |line: &mut Line| line.under_way.is_empty() && !line.has_ended;
            let (at, bytes) = {
                let mut line = changed.wait_while(line.lock().unwrap(), idle).unwrap();
                let Some(next) = line.under_way.pop_front() else { break };
                line.bytes -= next.1.len();
                changed.notify_all();
                next
            };
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
