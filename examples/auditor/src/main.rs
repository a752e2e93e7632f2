//! `auditor`: verify, search, show and play an audit log, offline.
//!
//! Everything about the log's format, keys and proofs is in the crate `audit-log`; here is only what a person asks of
//! it; how events make a recording is in `session-filter`. `args` has the command line, `place` finds the log, `trail` opens it;
//! `verify`, `search`, `sessions` and `story` put their answers into words, `film` finds recordings, which `play` and `export` show,
//! `terminal` and `json` see to it that no answer acts on a terminal, and `failure` says why there is none.

mod args;
mod export;
mod failure;
mod film;
mod json;
mod place;
mod play;
mod position;
mod record;
mod search;
mod sessions;
mod story;
mod terminal;
mod trail;
mod verify;
mod when;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use audit_log::{Query, VerifyOptions};
use chrono::Utc;
use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Arguments, Command, Period};
use crate::failure::{Failure, TORN, UNUSABLE};
use crate::film::Film;
use crate::place::Place;
use crate::position::Positions;
use crate::record::{Record, Sensitive};
use crate::sessions::Sessions;
use crate::terminal::{Palette, inert};
use crate::trail::Trail;
use crate::verify::{Bar, Finding};
use crate::when::Span;

/// Sessions named when the beginning of an id fits several.
const CANDIDATES_MAX: usize = 10;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    let mut answer =
        Answer { out: BufWriter::new(io::stdout()), json: arguments.json, palette: Palette::of_stdout() };
    let outcome = run(&arguments, &mut answer);
    // What was found before a failure is said before the failure is.
    let flushed = answer.out.flush();
    let status = match (outcome, flushed) {
        (Ok(status), Ok(())) => status,
        // Nobody reads on, as with `| head`; the verdict holds all the same.
        (Ok(status), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => status,
        (Ok(_), Err(error)) => Failure::Output(error).report(arguments.json),
        (Err(failure), _) => failure.report(arguments.json),
    };
    ExitCode::from(status)
}

/// Where the answer goes, and in which form.
struct Answer {
    out: BufWriter<io::Stdout>,
    json: bool,
    palette: Palette,
}

fn run(arguments: &Arguments, answer: &mut Answer) -> Result<u8, Failure> {
    let open = || {
        let sensitive = if arguments.hide_sensitive { Sensitive::Hide } else { Sensitive::Mark };
        let place = Place::find(arguments.data_dir.as_deref(), arguments.keys.as_deref())?;
        Trail::open(&place, sensitive)
    };
    match &arguments.command {
        Command::Verify { checkpoint, verifier_key } => {
            let finding =
                open().and_then(|trail| verify(&trail, checkpoint.as_deref(), verifier_key.as_deref()));
            verified(finding, answer)
        }
        Command::Search(wanted) => search(&open()?, wanted, answer),
        Command::Show { session } => show(&open()?, session, answer),
        Command::Sessions { actor, target, period } => {
            let period = times(period)?;
            for session in sessions(&open()?)?.iter() {
                if session.fits(actor.as_deref(), target.as_deref(), &period) {
                    match answer.json {
                        true => session.print_json(&mut answer.out)?,
                        false => session.print(&mut answer.out, answer.palette)?,
                    }
                }
            }
            Ok(0)
        }
        Command::Play(wanted) => {
            let trail = open()?;
            let film = film(&trail, &wanted.which)?;
            play::play(&trail, &film, wanted, answer)?;
            Ok(export::verdict(&film))
        }
        Command::Export(wanted) => {
            let trail = open()?;
            let film = film(&trail, &wanted.which)?;
            match &wanted.output {
                Some(path) => {
                    export::write_file(&trail, &film, path)?;
                    if answer.json {
                        json::write_line(&mut answer.out, &export::summary(&film, path))?;
                    }
                }
                None => export::write(&trail, &film, &mut answer.out)?,
            }
            Ok(export::verdict(&film))
        }
        Command::Checkpoint => checkpoint(&open()?, answer),
    }
}

fn verify(trail: &Trail, checkpoint: Option<&Path>, verifier_key: Option<&Path>) -> Result<Finding, Failure> {
    let minimum = checkpoint.map(verify::read_checkpoint).transpose()?;
    let kept_key = verifier_key.map(trail::read_verifier_key).transpose()?;
    let key_origin = if kept_key.is_some() { verify::KeyOrigin::Kept } else { verify::KeyOrigin::BesideLog };
    let verifier_key = kept_key.or_else(|| trail.verifier_key.clone());
    let mut options = VerifyOptions::new();
    if let Some(key) = &verifier_key {
        options = options.verifier_key(key.clone());
    }
    if let Some(minimum) = &minimum {
        options = options.minimum(minimum.clone());
    }
    let bar = Bar::new();
    let report = trail.reader.verify(&options, |progress| bar.advance(progress))?;
    drop(bar);
    Ok(Finding { report, minimum, verifier_key, key_origin })
}

/// Says what was found. With `--json` failures are answers, too: one object on standard output, whatever happened.
fn verified(finding: Result<Finding, Failure>, answer: &mut Answer) -> Result<u8, Failure> {
    let (written, status) = match finding {
        Ok(finding) => {
            let written = match answer.json {
                true => json::write_line(&mut answer.out, &finding.to_json()),
                false => finding.print(&mut answer.out, answer.palette),
            };
            (written, if finding.is_torn() { TORN } else { 0 })
        }
        Err(failure) if answer.json => {
            (json::write_line(&mut answer.out, &failure.to_json()), failure.status())
        }
        Err(failure) => return Err(failure),
    };
    match written {
        // Nobody reads on; the verdict holds all the same.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(status),
    }
}

fn search(trail: &Trail, wanted: &args::Search, answer: &mut Answer) -> Result<u8, Failure> {
    let mut query = if wanted.text.is_empty() { Query::all() } else { Query::text(&wanted.text) };
    let narrow = |query, value: &Option<String>, by: fn(Query, String) -> Query| match value {
        Some(value) => by(query, value.clone()),
        None => query,
    };
    query = narrow(query, &wanted.actor, Query::actor);
    query = narrow(query, &wanted.target, Query::target);
    query = narrow(query, &wanted.session, Query::session);
    query = narrow(query, &wanted.event_type, Query::event_type);
    query = narrow(query, &wanted.outcome, Query::outcome);
    let period = times(&wanted.period)?;
    if let Some(since) = period.since {
        query = query.since(since);
    }
    if let Some(until) = period.until {
        query = query.until(until);
    }
    let mut found = false;
    let mut positions = Positions::new(trail);
    for record in trail.search(query)?.take(wanted.limit.unwrap_or(usize::MAX)) {
        let record = record?;
        found = true;
        match answer.json {
            true => json::write_line(&mut answer.out, &record.to_json())?,
            false => {
                let position = positions.of(&record)?;
                search::print(&mut answer.out, &record, &wanted.text, position.as_ref(), answer.palette)?
            }
        }
    }
    if !found {
        say("nothing found");
    }
    Ok(0)
}

fn show(trail: &Trail, wanted: &str, answer: &mut Answer) -> Result<u8, Failure> {
    let session = whole_id(trail, wanted)?;
    let records = trail.search(Query::all().session(&session))?;
    if answer.json {
        for record in records {
            json::write_line(&mut answer.out, &record?.to_json())?;
        }
    } else {
        let records = records.collect::<Result<Vec<Record>, Failure>>()?;
        story::tell(&mut answer.out, &session, &records, answer.palette)?;
    }
    Ok(0)
}

/// The recording that was asked for. Reading it checks that what is in the log is what was written, as for every other answer.
fn film(trail: &Trail, which: &args::Which) -> Result<Film, Failure> {
    if trail.hides() {
        let text =
            "what a terminal showed may hold secrets, so with --hide-sensitive nothing is left to play";
        return Err(Failure::Unusable(text.into()));
    }
    let session = whole_id(trail, &which.session)?;
    film::choose(film::films(trail, &session)?, which.recording.as_deref())
}

/// The id of the one session whose id is `wanted` or begins with it.
fn whole_id(trail: &Trail, wanted: &str) -> Result<String, Failure> {
    if wanted.is_empty() {
        return Err(Failure::Unusable("say which session: its id or the beginning of it".into()));
    }
    if trail.search(Query::all().session(wanted))?.next().transpose()?.is_some() {
        return Ok(wanted.to_owned());
    }
    let all = sessions(trail)?;
    let fitting: BTreeSet<&str> = all.ids().filter(|id| id.starts_with(wanted)).collect();
    let mut few = fitting.iter().copied().take(CANDIDATES_MAX);
    match (few.next(), fitting.len()) {
        (Some(only), 1) => Ok(only.to_owned()),
        (Some(first), count) => {
            let others: String = few.map(|id| format!(", `{id}`")).collect();
            let more = if count > CANDIDATES_MAX { ", …" } else { "" };
            Err(Failure::Unusable(format!("{count} sessions begin with `{wanted}`: `{first}`{others}{more}")))
        }
        (None, _) => Err(Failure::Unusable(format!(
            "no session begins with `{wanted}`; `auditor sessions` lists them"
        ))),
    }
}

fn sessions(trail: &Trail) -> Result<Sessions, Failure> {
    let mut sessions = Sessions::default();
    for record in trail.search(Query::all())? {
        sessions.add(&record?);
    }
    Ok(sessions)
}

/// Prints the last checkpoint, but only of a log that is whole: an anchor for a forged log would vouch for the forgery.
fn checkpoint(trail: &Trail, answer: &mut Answer) -> Result<u8, Failure> {
    let finding = verify(trail, None, None)?;
    let Some(checkpoint) = finding.report.checkpoint else {
        return Err(Failure::Unusable("the log is empty: there is no checkpoint yet".into()));
    };
    match answer.json {
        true => json::write_line(&mut answer.out, &verify::checkpoint_json(&checkpoint))?,
        // A signed note, byte for byte: printable by the rules of its format, and checked when it was read.
        false => write!(answer.out, "{checkpoint}")?,
    }
    Ok(0)
}

fn times(period: &Period) -> Result<Span, Failure> {
    let now = Utc::now();
    let time = |name: &str, text: &Option<String>| {
        let parse = |text: &String| {
            when::parse(text, now).map_err(|why| Failure::Unusable(format!("{name} `{text}`: {why}")))
        };
        text.as_ref().map(parse).transpose()
    };
    Ok(Span { since: time("--since", &period.since)?, until: time("--until", &period.until)? })
}

/// Answers `--help` and `--version`, and refuses what makes no sense.
fn refuse(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that went away needs no help.
        let _ = error.print();
        return 0;
    }
    if args::asks_for_json(std::env::args_os()) {
        return Failure::Unusable(error.render().to_string().trim_end().to_owned()).report(true);
    }
    // The message repeats what was typed, which may be anything. Line by line: its own line breaks are wanted.
    for line in error.render().to_string().lines() {
        say(line);
    }
    UNUSABLE
}

/// A line on standard error, inert.
fn say(line: &str) {
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(io::stderr(), "{}", inert(line));
}
