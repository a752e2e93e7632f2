//! The demo's own SSH target: runs exactly the bytes it receives by `$SHELL -c`, gives terminals and login shells, and accepts one
//! key, made for this run.
//!
//! It checks nothing. That is the point: what the proxy lets through, runs. When a channel is closed under a program, everything
//! in the program's session or process group ends with it.

mod modes;
mod program;

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, VerifiedPublicKey};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodKind, MethodSet};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use self::program::{Account, Input, Output, Program, Run, Setup};

/// Environment variables that one channel may set.
const ENVIRONMENT_MAX: usize = 64;

/// Bytes that wait for a program to read them; beyond that the client waits.
const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Silence after which a terminal whose program has ended has no more to say. Somebody else may still hold it open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Longest time that such a terminal is listened to.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Time between SIGHUP and SIGKILL for what runs on a channel that was closed.
const HANG_UP_GRACE: Duration = Duration::from_millis(200);

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, host_key: PrivateKey, name: String, accepted: PublicKey) {
    let config = Arc::new(server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(100),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    });
    let here = listener.local_addr().ok();
    while let Ok((stream, peer)) = listener.accept().await {
        let account = Arc::new(Account::of_this_process(connection(peer, here)));
        let session = Session { name: name.clone(), account, accepted: accepted.clone() };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(running) = server::run_stream(config, stream, session).await {
                let _ = running.await;
            }
        });
    }
}

/// As `SSH_CONNECTION` has it.
fn connection(peer: SocketAddr, here: Option<SocketAddr>) -> String {
    let ends = [Some(peer), here].into_iter().flatten();
    ends.map(|end| format!("{} {}", end.ip(), end.port())).collect::<Vec<_>>().join(" ")
}

struct Session {
    name: String,
    account: Arc<Account>,
    accepted: PublicKey,
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let known = user == self.name && key.public_key.key_data() == self.accepted.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(serve_channel(channel, session.handle(), Arc::clone(&self.account)));
        Ok(())
    }
}

async fn serve_channel(mut channel: Channel<Msg>, handle: server::Handle, account: Arc<Account>) {
    let id = channel.id();
    let Some((mut program, input, output)) = start(&mut channel, &handle, &account).await else { return };
    let (mut read, write) = channel.split();
    let control = program.control();
    let ended = tokio::select! {
        ended = show(&mut program, output, &write) => Some(ended),
        () = listen(&mut read, input, &control) => None,
    };
    match ended {
        Some(Ok(status)) => say_status(status, &handle, &write).await,
        Some(Err(_)) => {}
        // The channel was closed: whatever still runs has lost its reader.
        None => {
            control.hang_up();
            tokio::time::sleep(HANG_UP_GRACE).await;
        }
    }
    drop(program);
    let _ = write.eof().await;
    let _ = handle.close(id).await;
}

/// Answers requests until one starts a program.
async fn start(
    channel: &mut Channel<Msg>,
    handle: &server::Handle,
    account: &Account,
) -> Option<(Program, Input, Output)> {
    let id = channel.id();
    let mut setup = Setup::default();
    loop {
        let run = match channel.wait().await? {
            ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                pix_width,
                pix_height,
                terminal_modes,
                ..
            } => {
                let size = program::size(col_width, row_height, pix_width, pix_height);
                setup.terminal = Some(program::TerminalSetup { term, size, modes: terminal_modes });
                let _ = handle.channel_success(id).await;
                continue;
            }
            ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height } => {
                if let Some(terminal) = &mut setup.terminal {
                    terminal.size = program::size(col_width, row_height, pix_width, pix_height);
                }
                continue;
            }
            ChannelMsg::SetEnv { variable_name: name, variable_value: value, .. } => {
                let usable = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
                let _ = if usable && setup.environment.len() < ENVIRONMENT_MAX {
                    setup.environment.push((name, value));
                    handle.channel_success(id).await
                } else {
                    handle.channel_failure(id).await
                };
                continue;
            }
            ChannelMsg::Exec { command, .. } => Some(Run::Command(command)),
            ChannelMsg::RequestShell { .. } => Some(Run::Shell),
            ChannelMsg::RequestSubsystem { name, .. } if name == "sftp" => program::sftp_server(),
            ChannelMsg::RequestSubsystem { .. }
            | ChannelMsg::AgentForward { .. }
            | ChannelMsg::RequestX11 { .. } => None,
            ChannelMsg::Close => return None,
            _ => continue,
        };
        let Some(run) = run else {
            let _ = handle.channel_failure(id).await;
            continue;
        };
        match program::start(run, setup, account) {
            Ok(started) => {
                let _ = handle.channel_success(id).await;
                return Some(started);
            }
            Err(_) => {
                let _ = handle.channel_failure(id).await;
                return None;
            }
        }
    }
}

/// Passes on what the program prints, until it has ended.
async fn show(
    program: &mut Program,
    output: Output,
    write: &ChannelWriteHalf<Msg>,
) -> std::io::Result<ExitStatus> {
    match output {
        Output::Streams(out, err) => {
            tokio::join!(relay(out, write, None), relay(err, write, Some(1)));
            program.wait().await
        }
        Output::Terminal(mut screen) => {
            let mut buffer = vec![0; 32 * 1024];
            let mut ended: Option<(std::io::Result<ExitStatus>, Instant)> = None;
            loop {
                let over = ended.as_ref().map(|(_, at)| *at + LAST_WORDS_MAX);
                let quiet = Instant::now() + LAST_WORDS;
                let read = tokio::select! {
                    biased;
                    () = until(over) => break,
                    read = screen.read(&mut buffer) => read,
                    status = program.wait(), if ended.is_none() => {
                        ended = Some((status, Instant::now()));
                        continue;
                    }
                    () = until(over.map(|_| quiet)) => break,
                };
                match read {
                    Ok(read @ 1..) if pass(&buffer, read, write, None).await => {}
                    // Nobody has it open any more.
                    _ => break,
                }
            }
            match ended {
                Some((status, _)) => status,
                None => program.wait().await,
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn relay(mut from: impl AsyncRead + Unpin, to: &ChannelWriteHalf<Msg>, kind: Option<u32>) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !pass(&buffer, read, to, kind).await {
            return;
        }
    }
}

async fn pass(buffer: &[u8], read: usize, to: &ChannelWriteHalf<Msg>, kind: Option<u32>) -> bool {
    let bytes = buffer.get(..read).unwrap_or_default();
    match kind {
        None => to.data(bytes).await.is_ok(),
        Some(kind) => to.extended_data(kind, bytes).await.is_ok(),
    }
}

/// Passes on what the client sends, until it closes the channel.
async fn listen(read: &mut ChannelReadHalf, input: Input, control: &program::Control) {
    let mut input = Some(input);
    let mut unread = BytesMut::new();
    let mut is_over = false;
    loop {
        tokio::select! {
            message = read.wait(), if unread.len() < UNREAD_BYTES_MAX => match message {
                // What a program does not want to read any more is no error of ours.
                Some(ChannelMsg::Data { data }) if input.is_some() => unread.extend_from_slice(&data),
                // A terminal has no end of input; its user types one.
                Some(ChannelMsg::Eof) => is_over = !control.is_terminal(),
                Some(ChannelMsg::Signal { signal }) => control.signal(&signal),
                Some(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height }) => {
                    control.resize(program::size(col_width, row_height, pix_width, pix_height));
                }
                Some(ChannelMsg::Close) | None => return,
                Some(_) => {}
            },
            written = write_some(&mut input, &unread), if !unread.is_empty() => match written {
                Ok(written @ 1..) => unread.advance(written),
                _ => {
                    input = None;
                    unread.clear();
                }
            },
        }
        if is_over && unread.is_empty() {
            input = None;
        }
    }
}

async fn write_some(input: &mut Option<Input>, unread: &[u8]) -> std::io::Result<usize> {
    match input {
        Some(input) => input.write(unread).await,
        None => Ok(0),
    }
}

async fn say_status(status: ExitStatus, handle: &server::Handle, write: &ChannelWriteHalf<Msg>) {
    use std::os::unix::process::ExitStatusExt as _;
    let named = status.signal().and_then(program::signal_name);
    match (status.code(), named) {
        (None, Some(name)) => {
            let core = status.core_dumped();
            let _ = handle.exit_signal_request(write.id(), name, core, String::new(), String::new()).await;
        }
        // As a shell would report it: 128 and the signal's number.
        (code, _) => {
            let code = code.unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            let _ = write.exit_status(u32::try_from(code).unwrap_or(255)).await;
        }
    }
}
