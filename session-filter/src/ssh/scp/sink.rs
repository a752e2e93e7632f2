//! `scp -t`: takes files from the client.

use super::Stop;
use super::files::{About, Failure, Files, PIECE_BYTES};
use super::wire::Wire;
use crate::scp::{Call, Control, DEPTH_MAX};
use crate::sftp::wire::status;

/// Permission bits that a new file or directory may have; the rest takes `-p`, and the permission for it.
const PERMISSION_BITS: u32 = 0o777;

/// A directory that is being filled.
struct Directory {
    path: String,
    mode: u32,
    times: Option<(u32, u32)>,
}

pub(super) async fn run(wire: &mut Wire<'_>, files: &mut Files, call: &Call) -> Result<(), Stop> {
    let root_is_directory = match known(files.stat(&call.path).await) {
        Ok(about) => about.is_some_and(|about| about.is_directory()),
        Err(Failure::Refused(_, why)) => return Err(wire.give_up(&why).await),
        Err(Failure::Gone) => return Err(Stop::Gone),
    };
    if call.is_directory && !root_is_directory {
        return Err(wire.give_up("not a directory").await);
    }
    wire.good().await?;
    let mut stack: Vec<Directory> = Vec::new();
    let mut times = None;
    loop {
        let Some(line) = wire.line().await? else { return Ok(()) };
        let Some(control) = Control::read(&line) else {
            return Err(wire.give_up("protocol error: a control line cannot be read").await);
        };
        let place = |name: &str| match stack.last() {
            Some(directory) => below(&directory.path, name),
            None if root_is_directory => below(&call.path, name),
            None => call.path.clone(),
        };
        match control {
            Control::Times { modified, accessed } => {
                times = Some((accessed, modified));
                wire.good().await?;
            }
            Control::Directory { mode, name } => {
                let path = place(&name);
                if !call.recursive || stack.len() >= DEPTH_MAX {
                    wire.warn(&path, "a directory is not expected here").await?;
                    continue;
                }
                let made = match known(files.stat(&path).await) {
                    Err(failure) => Err(failure),
                    Ok(Some(about)) if about.is_directory() => Ok(()),
                    Ok(_) => files.make_directory(&path, mode & PERMISSION_BITS | OWNER_BITS).await,
                };
                match made {
                    Ok(()) => {
                        stack.push(Directory { path, mode, times: times.take() });
                        wire.good().await?;
                    }
                    Err(failure) => refused(wire, &path, failure).await?,
                }
            }
            Control::End => {
                let Some(directory) = stack.pop() else {
                    return Err(wire.give_up("protocol error: no directory to end").await);
                };
                let kept = match call.preserve {
                    true => files.set(&directory.path, directory.mode, directory.times).await,
                    false => Ok(()),
                };
                match kept {
                    Ok(()) => wire.good().await?,
                    Err(failure) => refused(wire, &directory.path, failure).await?,
                }
            }
            Control::File { mode, size, name } => {
                let path = place(&name);
                let keep = call.preserve.then(|| (mode, times.take()));
                times = None;
                file(wire, files, &path, mode, size, keep).await?;
            }
            Control::Warning => wire.warnings = wire.warnings.saturating_add(1),
            Control::Fatal => return Err(Stop::Protocol),
        }
    }
}

/// A new directory has to be entered to be filled.
const OWNER_BITS: u32 = 0o700;

async fn file(
    wire: &mut Wire<'_>,
    files: &mut Files,
    path: &str,
    mode: u32,
    size: u64,
    keep: Option<(u32, Option<(u32, u32)>)>,
) -> Result<(), Stop> {
    let mut writing = match files.write(path, mode & PERMISSION_BITS).await {
        Ok(writing) => writing,
        // The client goes on with the next one.
        Err(failure) => return refused(wire, path, failure).await,
    };
    wire.good().await?;
    let mut left = size;
    while left > 0 {
        let piece = wire.some(usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES)).await?;
        left = left.saturating_sub(piece.len() as u64);
        files.put(&mut writing, &piece).await.map_err(|_| Stop::Gone)?;
    }
    // What the client says about its own reading.
    wire.ack().await?;
    match files.finish(writing, keep).await {
        Ok(()) => wire.good().await,
        Err(failure) => refused(wire, path, failure).await,
    }
}

/// Says what was refused. Whoever has nobody left to ask gives up.
pub(super) async fn refused(wire: &mut Wire<'_>, path: &str, failure: Failure) -> Result<(), Stop> {
    match failure {
        Failure::Refused(_, why) => wire.warn(path, &why).await,
        Failure::Gone => Err(Stop::Gone),
    }
}

/// What is there, if anything is.
fn known(about: Result<About, Failure>) -> Result<Option<About>, Failure> {
    match about {
        Ok(about) => Ok(Some(about)),
        Err(Failure::Refused(status::NO_SUCH_FILE, _)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(super) fn below(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}
