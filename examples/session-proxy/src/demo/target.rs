//! The demo's own SSH target: runs `$SHELL -c` on exactly the bytes it receives, and accepts one key, made for this run.
//!
//! It checks nothing. That is the point: what the proxy lets through, runs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Stdio;
use std::sync::Arc;

use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, VerifiedPublicKey};
use russh::{Channel, ChannelMsg, MethodKind, MethodSet, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, host_key: PrivateKey, account: String, accepted: PublicKey) {
    let config = Arc::new(server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: std::time::Duration::from_millis(100),
        auth_rejection_time_initial: Some(std::time::Duration::ZERO),
        keys: vec![host_key],
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    });
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    while let Ok((stream, _)) = listener.accept().await {
        let session = Session { account: account.clone(), accepted: accepted.clone(), shell: shell.clone() };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(running) = server::run_stream(config, stream, session).await {
                let _ = running.await;
            }
        });
    }
}

struct Session {
    account: String,
    accepted: PublicKey,
    shell: OsString,
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let known = user == self.account && key.public_key.key_data() == self.accepted.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(serve_channel(channel, session.handle(), self.shell.clone()));
        Ok(())
    }
}

async fn serve_channel(mut channel: Channel<Msg>, handle: server::Handle, shell: OsString) {
    let id = channel.id();
    let command = loop {
        match channel.wait().await {
            Some(ChannelMsg::Exec { command, .. }) => break command,
            Some(
                ChannelMsg::RequestPty { .. }
                | ChannelMsg::RequestShell { .. }
                | ChannelMsg::SetEnv { .. }
                | ChannelMsg::RequestSubsystem { .. },
            ) => {
                let _ = handle.channel_failure(id).await;
            }
            Some(ChannelMsg::Close) | None => return,
            Some(_) => {}
        }
    };
    let child = Command::new(&shell)
        .arg("-c")
        .arg(OsString::from_vec(command))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = child else {
        let _ = handle.channel_failure(id).await;
        return;
    };
    let _ = handle.channel_success(id).await;
    let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return;
    };
    let (mut read, write) = channel.split();
    let input = async {
        while let Some(message) = read.wait().await {
            match message {
                // A command that no longer reads is not an error of ours.
                ChannelMsg::Data { data } => drop(stdin.write_all(&data).await),
                ChannelMsg::Eof => drop(stdin.shutdown().await),
                ChannelMsg::Signal { signal } => send(group, &signal),
                ChannelMsg::Close => break,
                _ => {}
            }
            if matches!(stdin.flush().await, Err(ref e) if e.kind() != std::io::ErrorKind::BrokenPipe) {
                continue;
            }
        }
    };
    let output = async {
        let out = async {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
                if write.data(buffer.get(..read).unwrap_or_default()).await.is_err() {
                    return;
                }
            }
        };
        let err = async {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                if write.extended_data(1, buffer.get(..read).unwrap_or_default()).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(out, err);
        child.wait().await
    };
    let ended = tokio::select! {
        status = output => Some(status),
        () = input => None,
    };
    match ended {
        Some(Ok(status)) => {
            use std::os::unix::process::ExitStatusExt as _;
            // As a shell would report it: 128 and the signal's number.
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            let _ = write.exit_status(u32::try_from(code).unwrap_or(255)).await;
        }
        Some(Err(_)) => {}
        // The channel was closed: whatever still runs has lost its reader.
        None => send(group, &Sig::KILL),
    }
    let _ = write.eof().await;
    let _ = write.close().await;
}

fn send(group: Option<Pid>, signal: &Sig) {
    let signal = match signal {
        Sig::HUP => Signal::HUP,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::QUIT => Signal::QUIT,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        _ => return,
    };
    if let Some(group) = group {
        // Gone already is just as well.
        let _ = kill_process_group(group, signal);
    }
}
