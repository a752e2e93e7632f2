//! `scp -f`: gives files to the client.

use bytes::Bytes;

use super::Stop;
use super::files::{About, Failure, Files, PIECE_BYTES, Reading, waiting_cost};
use super::sink::{below, refused};
use super::wire::{Ack, Wire};
use crate::scp::{Call, Control, DEPTH_MAX, ENTRIES_MAX, WAITING_BYTES_MAX};

/// What is still to be given, the next one last.
enum Next {
    Path(String),
    EndOfDirectory,
}

pub(super) async fn run(wire: &mut Wire<'_>, files: &mut Files, call: &Call) -> Result<(), Stop> {
    if wire.ack().await? == Ack::Bad {
        return Err(Stop::Protocol);
    }
    let mut left = vec![Next::Path(call.path.clone())];
    let mut depth = 0_usize;
    let mut waiting = waiting_cost(call.path.len());
    while let Some(next) = left.pop() {
        let path = match next {
            Next::Path(path) => {
                waiting = waiting.saturating_sub(waiting_cost(path.len()));
                path
            }
            Next::EndOfDirectory => {
                depth = depth.saturating_sub(1);
                wire.send(Control::End.line()).await?;
                wire.ack().await?;
                continue;
            }
        };
        let about = match files.stat(&path).await {
            Ok(about) => about,
            Err(failure) => {
                refused(wire, &path, failure).await?;
                continue;
            }
        };
        let name = name_of(&path).to_owned();
        if about.is_file() {
            file(wire, files, call, &path, &name).await?;
            continue;
        }
        if !about.is_directory() || !call.recursive || depth >= DEPTH_MAX {
            wire.warn(&path, "not a regular file").await?;
            continue;
        }
        let room = WAITING_BYTES_MAX.saturating_sub(waiting);
        let names = match files.names(&path, ENTRIES_MAX, room).await {
            Ok(names) => names,
            Err(failure) => {
                refused(wire, &path, failure).await?;
                continue;
            }
        };
        if !announce(wire, call, &about, Control::Directory { mode: about.mode & 0o7777, name }).await? {
            continue;
        }
        depth = depth.saturating_add(1);
        left.push(Next::EndOfDirectory);
        for name in names.iter().rev() {
            let path = below(&path, name);
            waiting = waiting.saturating_add(waiting_cost(path.len()));
            left.push(Next::Path(path));
        }
    }
    Ok(())
}

/// Says what comes next, with its times where they are wanted. False: the client does not want it.
async fn announce(wire: &mut Wire<'_>, call: &Call, about: &About, control: Control) -> Result<bool, Stop> {
    if call.preserve {
        let times = Control::Times { modified: about.modified, accessed: about.accessed };
        wire.send(times.line()).await?;
        if wire.ack().await? == Ack::Bad {
            return Ok(false);
        }
    }
    wire.send(control.line()).await?;
    Ok(wire.ack().await? == Ack::Good)
}

async fn file(
    wire: &mut Wire<'_>,
    files: &mut Files,
    call: &Call,
    path: &str,
    name: &str,
) -> Result<(), Stop> {
    let handle = match files.read(path).await {
        Ok(handle) => handle,
        Err(failure) => return refused(wire, path, failure).await,
    };
    // Of the file that was opened: the name may mean another one by now.
    let about = match files.fstat(&handle).await {
        Ok(about) => about,
        Err(failure) => {
            files.close(&handle).await.map_err(|_| Stop::Gone)?;
            return refused(wire, path, failure).await;
        }
    };
    let control = Control::File { mode: about.mode & 0o7777, size: about.size, name: name.to_owned() };
    if !announce(wire, call, &about, control).await? {
        return files.close(&handle).await.map(drop).map_err(|_| Stop::Gone);
    }
    let mut reading = Reading::new(about.size);
    let mut left = about.size;
    let mut failed = None;
    loop {
        match files.get(&handle, &mut reading).await {
            Ok(Some(data)) => {
                left = left.saturating_sub(data.len() as u64);
                wire.send(data).await?;
            }
            Ok(None) => break,
            Err(Failure::Gone) => return Err(Stop::Gone),
            Err(Failure::Refused(_, why)) => {
                failed = Some(why);
                break;
            }
        }
    }
    // The client was promised so many bytes, and counts them.
    while failed.is_some() && left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        wire.send(Bytes::from(vec![0; piece])).await?;
        left = left.saturating_sub(piece as u64);
    }
    files.end(&handle, reading).await.map_err(|_| Stop::Gone)?;
    match failed {
        None => wire.good().await?,
        Some(why) => wire.warn(path, &why).await?,
    }
    wire.ack().await?;
    Ok(())
}

/// The last name of a path, as clients compare it with what they asked for.
fn name_of(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
