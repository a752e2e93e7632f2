//! The directory in which the prompt's commands run.

use std::sync::Arc;

use chrono::Utc;
use uuid::Uuid;

use super::ClientChannel;
use super::builtins::{Typed, record_move};
use crate::directory::{AbsolutePath, Directory};
use crate::event::{Event, Outcome};
use crate::quote::quote;
use crate::shell::builtin::Destination;
use crate::shell::prompt::prompt;
use crate::ssh::lanes::{Lane, LinkFailure, Needs};
use crate::ssh::link::{LinkError, Told};
use crate::ssh::session::{End, Session};
use crate::verdict::Refusal;

/// Most bytes of a target's answer that are read.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// Where commands run, where they ran before, and where home is once somebody wanted to know.
#[derive(Default)]
pub(super) struct Place {
    directory: Directory,
    previous: Option<Directory>,
    home: Option<AbsolutePath>,
}

/// What came of a `cd`.
pub(super) enum Moved {
    There,
    /// As with `cd -`: where that is, is news.
    To(String),
    Refused(String),
    SessionEnded,
}

impl Place {
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(super) fn prompt(&self, user: &str, target: &str) -> String {
        prompt(user, target, &self.directory, self.home.as_ref())
    }

    /// The directory as a path. Where home is, the target says.
    pub(super) async fn path(
        &mut self,
        session: &Arc<Session>,
        channel: &mut ClientChannel,
    ) -> Result<AbsolutePath, String> {
        match &self.directory {
            Directory::At(path) => Ok(path.clone()),
            Directory::Home => self.home(session, channel).await,
        }
    }

    async fn home(
        &mut self,
        session: &Arc<Session>,
        channel: &mut ClientChannel,
    ) -> Result<AbsolutePath, String> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let home = ask(session, channel, "pwd -P").await?;
        self.home = Some(home.clone());
        Ok(home)
    }

    /// Goes there, if policy lets it: asked first about the directory as it was named, then about where that really is.
    pub(super) async fn go(
        &mut self,
        session: &Arc<Session>,
        channel: &mut ClientChannel,
        typed: &Typed<'_>,
        destination: Destination,
    ) -> Moved {
        let correlation_id = Uuid::now_v7().to_string();
        let event = |outcome: Outcome, directory: &Directory| {
            typed.executed(session, outcome, directory).correlated(&correlation_id)
        };
        let back = destination == Destination::Previous;
        let named = match self.named(session, channel, destination).await {
            Ok(named) => named,
            Err(why) => {
                let event = event(Outcome::Failure, &self.directory).because("no_such_directory", &why);
                session.journal.submit(event).await;
                return if session.has_ended() { Moved::SessionEnded } else { Moved::Refused(why) };
            }
        };
        let there = match &named {
            Directory::Home => {
                if !record_move(session, event(Outcome::Success, &named)).await {
                    return Moved::SessionEnded;
                }
                Directory::Home
            }
            Directory::At(path) => {
                if let Err(refusal) = enter(session, path).await {
                    return self.refused(session, event(Outcome::Blocked, &self.directory), &refusal).await;
                }
                if !record_move(session, event(Outcome::Success, &named)).await {
                    return Moved::SessionEnded;
                }
                let really = format!("cd -- {} && pwd -P", quote(path.as_str()));
                let really = match ask(session, channel, &really).await {
                    Ok(really) => really,
                    Err(why) => {
                        let event =
                            event(Outcome::Failure, &self.directory).because("no_such_directory", &why);
                        session.journal.submit(event).await;
                        return if session.has_ended() { Moved::SessionEnded } else { Moved::Refused(why) };
                    }
                };
                if really == *path {
                    Directory::At(really)
                } else {
                    let there = self.unless_home(really);
                    if let Directory::At(really) = &there
                        && let Err(refusal) = enter(session, really).await
                    {
                        return self
                            .refused(session, event(Outcome::Blocked, &self.directory), &refusal)
                            .await;
                    }
                    session.journal.submit(event(Outcome::Success, &there)).await;
                    there
                }
            }
        };
        self.previous = Some(std::mem::replace(&mut self.directory, there));
        match back {
            true => Moved::To(crate::shell::prompt::shortened(&self.directory, self.home.as_ref())),
            false => Moved::There,
        }
    }

    /// The directory that was named, as text.
    async fn named(
        &mut self,
        session: &Arc<Session>,
        channel: &mut ClientChannel,
        destination: Destination,
    ) -> Result<Directory, String> {
        let not_a_path = || "that is no path that could be sent".to_owned();
        let path = match destination {
            Destination::Home => return Ok(Directory::Home),
            Destination::Previous => {
                return self.previous.clone().ok_or_else(|| "there is no directory to go back to".to_owned());
            }
            Destination::BelowHome(path) => {
                self.home(session, channel).await?.join(&path).ok_or_else(not_a_path)?
            }
            Destination::Path(path) if path.starts_with('/') => {
                AbsolutePath::parse(&path).ok_or_else(not_a_path)?
            }
            Destination::Path(path) => {
                self.path(session, channel).await?.join(&path).ok_or_else(not_a_path)?
            }
        };
        Ok(self.unless_home(path))
    }

    /// Home needs nobody's leave.
    fn unless_home(&self, path: AbsolutePath) -> Directory {
        match self.home.as_ref() == Some(&path) {
            true => Directory::Home,
            false => Directory::At(path),
        }
    }

    async fn refused(&self, session: &Session, event: Event, refusal: &Refusal) -> Moved {
        session.request_refused();
        let why = refusal.to_string();
        // Durable before the user knows, as with a command.
        match record_move(session, event.because(refusal.code(), &why)).await {
            true => Moved::Refused(why),
            false => Moved::SessionEnded,
        }
    }
}

async fn enter(session: &Session, path: &AbsolutePath) -> Result<(), Refusal> {
    let asked = session.shared.gatekeeper.enter(&session.request, path, Utc::now());
    match tokio::time::timeout(session.shared.limits.gatekeeper_timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Refusal::new("gatekeeper_timeout", "the gatekeeper does not answer")),
    }
}

/// Asks the target where a line of ours ends up. What it answers must be one absolute path and nothing else.
async fn ask(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    line: &str,
) -> Result<AbsolutePath, String> {
    let timeout = session.shared.limits.target_timeout;
    let told = async {
        let lane = Lane::open(session, Needs::Quoting).await?;
        let Some(link) = lane.link() else { return Err(LinkFailure::Closing) };
        // What is given up halfway may still run there: then the connection goes with it.
        lane.retire();
        let told = tokio::time::timeout(timeout, link.ask(line.as_bytes().to_vec(), ANSWER_BYTES_MAX));
        let told = told.await.unwrap_or(Err(LinkError::Timeout(timeout))).map_err(LinkFailure::Link)?;
        lane.reuse();
        Ok(told)
    };
    let told = tokio::select! {
        biased;
        _ = session.ended() => return Err("the session is ending".to_owned()),
        // What is typed meanwhile waits for the prompt.
        told = channel.read.meanwhile(told) => told,
    };
    match told {
        Ok(told) => directory_of(&told),
        Err(LinkFailure::Recorder(_)) => {
            session.end(End::RecorderFailed);
            Err(End::RecorderFailed.message())
        }
        Err(failure) => Err(failure.to_string()),
    }
}

fn directory_of(told: &Told) -> Result<AbsolutePath, String> {
    if told.status != Some(0) {
        // In whatever language, most shells end with the system's own words.
        let said = String::from_utf8_lossy(&told.stderr).to_lowercase();
        let why = match said {
            _ if said.contains("permission denied") => "permission denied",
            _ if said.contains("not a directory") => "not a directory",
            _ => "there is no such directory, or it cannot be entered",
        };
        return Err(why.to_owned());
    }
    let path = std::str::from_utf8(&told.stdout).ok().and_then(|text| text.strip_suffix('\n'));
    path.and_then(AbsolutePath::parse)
        .filter(|parsed| Some(parsed.as_str()) == path)
        .ok_or_else(|| "the target's answer is no directory".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stdout: &str, status: Option<u32>) -> Result<String, String> {
        let told = Told { stdout: stdout.into(), stderr: b"sh: 1: cd: can't cd to /x".to_vec(), status };
        directory_of(&told).map(|path| path.to_string())
    }

    #[test]
    fn an_answer_is_one_absolute_path() {
        assert_eq!(read("/srv/app\n", Some(0)).as_deref(), Ok("/srv/app"));
        assert_eq!(read("/\n", Some(0)).as_deref(), Ok("/"));
        for wrong in ["", "/x", "x\n", "/a\n/b\n", "hello\n/a\n", "/a/../b\n", "/a\u{1b}[2J\n", "/a/\n"] {
            assert!(read(wrong, Some(0)).is_err(), "{wrong:?}");
        }
        assert!(read("/srv\n", Some(1)).unwrap_err().contains("no such directory"));
        assert!(read("/srv\n", None).is_err());
    }
}
