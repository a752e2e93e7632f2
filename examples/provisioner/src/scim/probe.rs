//! `scim probe`: what a server supports, where it deviates from RFC 7644, and which dialect fits.
//!
//! `ask` sends requests as they are, so that heads and bodies can be looked at; `reads` and `writes` ask and note `finding`s;
//! `fit` holds these against the dialects, and `report` puts both into words.

mod ask;
mod finding;
mod fit;
mod host;
mod reads;
mod report;
mod writes;

use scim_client::error::Authentication;
use scim_client::{Error, ErrorKind};

use super::args::Probe;
use super::connection::Connection;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{Answer, say};
use ask::Asker;
use finding::Findings;

/// Exit status: ended by Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Asks, and reports.
pub(crate) async fn run(connection: &Connection, wanted: &Probe, answer: &mut Answer) -> Result<u8, Failure> {
    let mut names = writes::Names::new();
    if wanted.write {
        say(&format!(
            "provisioner: --write: this makes the user `{}` and the group `{}` at {}, changes both in several forms, and \
             deletes them at the end",
            names.user, names.group, connection.base
        ));
    }
    // Unreachable, refused and not there are told apart before anything is judged.
    if let Err(error) = connection.client.check_base().await {
        return Err(connection.failed(error).await);
    }
    let mut asker = Asker::new(connection);
    let mut findings = Findings::default();
    let progress = Progress::new(false);
    let outcome = reads::ask(&mut asker, &mut findings, &progress).await;
    let known = match outcome {
        Ok(known) => known,
        Err(error) => {
            drop(progress);
            return Err(connection.failed(error).await);
        }
    };
    let mut left_behind = Vec::new();
    let mut failed = None;
    let mut interrupted = false;
    if wanted.write {
        tokio::select! {
            written = writes::ask(&mut asker, &mut findings, &mut names, &progress) => failed = written.err(),
            _ = tokio::signal::ctrl_c() => interrupted = true,
        }
        // Whatever happened, nothing stays.
        left_behind = writes::clean_up(&mut asker, &names).await;
    }
    drop(progress);
    let address = host::Address::of(&connection.base);
    let choice = fit::choose(&findings, &address);
    let report = report::Report {
        base: connection.base.as_str(),
        known: &known,
        findings: &findings,
        choice: &choice,
        requests: asker.requests(),
        wrote: wanted.write,
        left_behind: &left_behind,
    };
    match answer.json {
        true => crate::json::write_line(&mut answer.out, &report.to_json())?,
        false => report.print(&mut answer.out, answer.palette)?,
    }
    for place in &left_behind {
        say(&format!("provisioner: LEFT BEHIND: {place} could not be deleted; delete it by hand"));
    }
    if let Some(error) = failed {
        return Err(connection.failed(error).await);
    }
    if interrupted {
        say("provisioner: interrupted");
        return Ok(INTERRUPTED);
    }
    Ok(u8::from(!left_behind.is_empty()))
}

/// A credential that is refused although it was accepted before, or never was.
fn refused() -> Error {
    Error::new(ErrorKind::Authentication(Authentication::Refused))
}
