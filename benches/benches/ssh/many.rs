//! Many sessions: what one costs that does nothing, and how fast they open.

use std::time::{Duration, Instant};

use futures::future::join_all;
use russh::ChannelMsg;

use crate::process::{self, Log, ProxyProcess, resident_kib};
use crate::scripts::Scripts;
use crate::side_by_side::{Asked, Samples};
use crate::{Connected, Listening, client_runtime};

/// Memory of sessions that do nothing, each with a terminal of 80 columns and 24 rows on which something stands.
pub(crate) fn idle(asked: &Asked) {
    let most = asked.pick(500, 20);
    println!(
        "\nidle: sessions with a terminal that wait, each with a connection to the proxy and one to the target"
    );
    process::many_files();
    let sshd = process::sshd();
    let scripts = Scripts::create(1);
    let proxy = ProxyProcess::start(asked, &sshd, &scripts.policy("full"), Log::OnDisk, None);
    let runtime = client_runtime();
    runtime.block_on(async {
        // What a first session loads is there once.
        let mut open = vec![waiting(&proxy, &scripts).await];
        let begun = resident_kib(proxy.pid());
        println!("  {:>5} sessions {:>8.1} MiB resident", 1, begun / 1024.0);
        for wanted in [most / 5, most] {
            while open.len() < wanted {
                let batch = (wanted - open.len()).min(10);
                open.extend(join_all((0..batch).map(|_| waiting(&proxy, &scripts))).await);
            }
            // What opening took is given back, as far as it is.
            tokio::time::sleep(Duration::from_secs(asked.pick(5, 1))).await;
            let now = resident_kib(proxy.pid());
            let each = (now - begun) / (open.len() - 1) as f64;
            println!(
                "  {:>5} sessions {:>8.1} MiB resident, {each:>6.0} KiB each   goal ≤ 200 KiB at 500",
                open.len(),
                now / 1024.0
            );
        }
    });
}

/// A session whose program has said that it waits.
async fn waiting(proxy: &ProxyProcess, scripts: &Scripts) -> (Connected, russh::Channel<russh::client::Msg>) {
    let connected =
        Connected::to_proxy(Listening { port: proxy.port, host_key: proxy.host_key.clone() }).await;
    let mut channel = connected.0.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.exec(true, scripts.path("echo")).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready") {
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => seen.extend_from_slice(&data),
            Some(_) => {}
            None => panic!("the program ended: {}", String::from_utf8_lossy(&seen)),
        }
    }
    (connected, channel)
}

/// Sessions opened a second: connect, log in, run `true`, close.
pub(crate) fn opens(asked: &Asked) {
    let (rounds, each) = asked.pick((7, 20), (2, 3));
    println!(
        "\nopens: connect, log in, run `true`, close; {each} in a row and {each} by four clients at once, {rounds} rounds in turn"
    );
    println!(
        "  direct with a key, through the proxy with a password that costs nothing to check; recorded on disk"
    );
    let (direct, target) = (process::sshd(), process::sshd());
    let scripts = Scripts::create(1);
    let proxy = ProxyProcess::start(asked, &target, &scripts.policy("digest"), Log::OnDisk, None);
    let runtime = client_runtime();
    let once = async |through: bool| {
        let connected = match through {
            true => {
                Connected::to_proxy(Listening { port: proxy.port, host_key: proxy.host_key.clone() }).await
            }
            false => Connected::to_target(&direct).await,
        };
        connected.run_true().await;
    };
    for clients in [1, 4] {
        let mut rates = [Samples::default(), Samples::default()];
        for round in 0..=rounds {
            for (through, rate) in [false, true].into_iter().zip(&mut rates) {
                let started = Instant::now();
                runtime.block_on(join_all((0..clients).map(|_| async {
                    for _ in 0..each {
                        once(through).await;
                    }
                })));
                if round > 0 {
                    rate.push((clients * each) as f64 / started.elapsed().as_secs_f64());
                }
            }
        }
        let [direct, through] = &rates;
        let show = |rate: &Samples| {
            format!("{:.1} ({:.1}–{:.1})/s", rate.median(), rate.quantile(0.0), rate.quantile(1.0))
        };
        println!(
            "  {clients} at once   sshd {:<24} proxy and sshd {:<24} {:.2} of direct",
            show(direct),
            show(through),
            through.median() / direct.median()
        );
    }
}
