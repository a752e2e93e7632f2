//! One character there and back, while another session moves bulk.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use russh::ChannelMsg;
use testbed::Master;

use crate::process::{self, Log, ProxyProcess};
use crate::scripts::Scripts;
use crate::side_by_side::{Asked, Samples, micros};
use crate::{Connected, Listening, client_runtime};

/// Time between two keys: a fast typist's is longer.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn run(asked: &Asked) {
    let samples = asked.pick(1_000, 50);
    println!("\nkeystroke: one character to a program on a terminal and back, {samples} each");
    let (direct, target) = (process::sshd(), process::sshd());
    let scripts = Scripts::create(1024);
    let proxy = ProxyProcess::start(asked, &target, &scripts.policy("full"), Log::OnDisk, None);
    let bulk = scripts.path("download");
    let runtime = client_runtime();
    let listening = || Listening { port: proxy.port, host_key: proxy.host_key.clone() };
    println!("  {:<52} {:>10} {:>10} {:>10}", "", "median", "p99", "worst");
    for (busy, what) in [(false, "alone"), (true, "while another session downloads")] {
        for through in [false, true] {
            let master = match through {
                true => proxy.ssh(proxy.port).master(),
                false => process::ssh_to(&direct, direct.port()).master(),
            }
            .unwrap_or_else(|error| panic!("{error}"));
            let load = busy.then(|| Load::start(&master, &bulk));
            let times = runtime.block_on(async {
                let connected = match through {
                    true => Connected::to_proxy(listening()).await,
                    false => Connected::to_target(&direct).await,
                };
                typed(&connected, &scripts.path("echo"), samples).await
            });
            drop(load);
            let way = if through { "through the proxy, recorded on disk" } else { "direct" };
            println!(
                "  {:<52} {:>10} {:>10} {:>10}",
                format!("{way}, {what}"),
                micros(times.median()),
                micros(times.quantile(0.99)),
                micros(times.quantile(1.0))
            );
        }
    }
}

/// A download that begins again when it is done.
struct Load(Child);

impl Load {
    fn start(master: &Master, command: &str) -> Self {
        let socket = master.socket().display();
        let again =
            format!("while ssh -F none -o ProxyCommand=false -S '{socket}' target '{command}'; do :; done");
        let mut child = Command::new("sh");
        child.args(["-c", &again]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(child.spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds from sending a character to seeing it.
async fn typed(connected: &Connected, program: &str, samples: usize) -> Samples {
    let mut channel = connected.0.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.exec(true, program).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready") {
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => seen.extend_from_slice(&data),
            Some(_) => {}
            None => panic!("the program ended: {}", String::from_utf8_lossy(&seen)),
        }
    }
    let mut times = Samples::default();
    for turn in 0..samples {
        tokio::time::sleep(PAUSE).await;
        let key = [b'a' + (turn % 26) as u8];
        let started = Instant::now();
        channel.data(&key[..]).await.unwrap();
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) if data[..] == key => break,
                Some(_) => {}
                None => panic!("the program ended"),
            }
        }
        times.push(started.elapsed().as_secs_f64());
    }
    channel.eof().await.unwrap();
    times
}
