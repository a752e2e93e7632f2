//! From an authenticated user to a session: which target, and does it admit them?

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use uuid::Uuid;

use super::journal::Journal;
use super::login::{Admitted, LOGIN_NAME_BYTES_MAX};
use super::proxy::{Shared, WaitingPlace};
use super::server::Standing;
use super::session::{End, Session};
use super::target::Destination;
use crate::event::{Detail, Outcome, Subject, cut_at_char};
use crate::gate::{Admission, Decision, SessionRequest};
use crate::identity::{Target, User};
use crate::record::RecordError;

/// Somebody who has logged in.
pub(crate) struct Visitor {
    shared: Arc<Shared>,
    user: User,
    source: IpAddr,
    session_id: String,
}

/// What became of them.
pub(crate) enum Entered {
    Session(Arc<Session>),
    /// Several targets admit them, and none was named.
    Choosing(Arc<Choice>),
    /// The refusal is on record.
    Refused {
        journal: Journal,
        reason: Arc<str>,
    },
}

/// A target that admits the visitor now.
struct Found {
    request: SessionRequest,
    destination: Destination,
    admission: Admission,
    /// Of the policy, from before it was asked.
    version: u64,
}

/// Which target the visitor goes to.
enum Sought {
    Found(Box<Found>),
    Several(Vec<Target>),
}

/// Lets somebody in who has logged in, or not; on record either way.
pub(crate) async fn enter(
    shared: &Arc<Shared>,
    source: IpAddr,
    admitted: Admitted,
    standing: &watch::Sender<Standing>,
) -> Result<Entered, RecordError> {
    let Admitted { user, target, login } = admitted;
    let session_id = Uuid::now_v7().to_string();
    let visitor = Visitor { shared: Arc::clone(shared), user, source, session_id };
    let sought = match &target {
        Some(id) => visitor.seek(id).await.map(|found| Sought::Found(Box::new(found))),
        None => visitor.seek_any().await,
    };
    let (target, sought) = match sought {
        Ok(Sought::Found(found)) => (Some(found.request.target.id().to_owned()), Ok(Sought::Found(found))),
        Ok(several) => (None, Ok(several)),
        Err(refused) => (refused.target.clone(), Err(refused)),
    };
    let journal = visitor.journal(target);
    journal.submit(journal.event(Outcome::Success, Detail::Login(login))).await;
    match sought {
        Ok(Sought::Found(found)) => visitor.begin(*found, journal).await,
        Ok(Sought::Several(targets)) => {
            // Who is choosing has no session that would be counted, and must not take up all the connections there are.
            let places_max = shared.limits.sessions_per_user_max;
            let Some(place) = shared.choosing.enter(visitor.user.id().to_owned(), places_max) else {
                return refuse(journal, TOO_MANY_SESSIONS.0, TOO_MANY_SESSIONS.1).await;
            };
            Ok(Entered::Choosing(Arc::new(Choice {
                visitor,
                targets,
                journal,
                standing: standing.clone(),
                is_taken: AtomicBool::new(false),
                _place: place,
            })))
        }
        Err(refused) => refuse(journal, &refused.code, &refused.message).await,
    }
}

impl Visitor {
    fn journal(&self, target_id: Option<String>) -> Journal {
        let subject = Subject {
            actor_id: Some(self.user.id().to_owned()),
            session_id: Some(self.session_id.clone()),
            source_ip: Some(self.source),
            target_id,
        };
        Journal::new(Arc::clone(&self.shared.recorder), subject)
    }

    async fn ask(&self, target: Target) -> (SessionRequest, Decision) {
        let request = SessionRequest::new(self.user.clone(), target, self.source, &self.session_id);
        let decision = self.shared.admit(&request).await;
        (request, decision)
    }

    /// The target of this name, if it admits the visitor.
    async fn seek(&self, id: &str) -> Result<Found, Refused> {
        let version = self.shared.gatekeeper.version();
        let Some(destination) = self.shared.targets.resolve(id).await else {
            return Err(Refused::new("no_such_target", NO_RULE).on(id));
        };
        let id = destination.target.id().to_owned();
        match self.ask(destination.target.clone()).await {
            (request, Decision::Allow(admission)) => Ok(Found { request, destination, admission, version }),
            (_, Decision::Deny(refusal) | Decision::NeedsApproval(refusal)) => {
                // Where no rule so much as mentions the user, the words are those for a target that does not exist: names are not
                // to be guessed.
                let message = match refusal.code() {
                    "no_entry" => NO_RULE.to_owned(),
                    _ => refusal.to_string(),
                };
                Err(Refused::new(refusal.code(), message).on(&id))
            }
        }
    }

    /// The only target that admits the visitor, or all that do.
    async fn seek_any(&self) -> Result<Sought, Refused> {
        let mut admitting = Vec::new();
        for target in self.shared.targets.list().await {
            if let (request, Decision::Allow(_)) = self.ask(target).await {
                admitting.push(request.target);
            }
        }
        match admitting.as_slice() {
            [] => Err(Refused::new("no_rule", "no rule admits you to any target now")),
            [only] => Ok(Sought::Found(Box::new(self.seek(only.id()).await?))),
            _ => Ok(Sought::Several(admitting)),
        }
    }

    async fn begin(&self, found: Found, journal: Journal) -> Result<Entered, RecordError> {
        let Found { request, destination, admission, version } = found;
        let shared = Arc::clone(&self.shared);
        let begun = Session::begin(shared, request, journal.clone(), destination, admission, version).await?;
        match begun {
            Some(session) => Ok(Entered::Session(session)),
            None => refuse(journal, TOO_MANY_SESSIONS.0, TOO_MANY_SESSIONS.1).await,
        }
    }
}

/// Several targets admit the visitor: the choice is theirs, once, on one channel.
pub(crate) struct Choice {
    visitor: Visitor,
    targets: Vec<Target>,
    journal: Journal,
    standing: watch::Sender<Standing>,
    is_taken: AtomicBool,
    _place: WaitingPlace<String>,
}

impl Choice {
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.visitor.shared
    }

    /// For records of what is refused before the choice.
    pub(crate) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Whether this is the first to ask: one channel chooses.
    pub(crate) fn take(&self) -> bool {
        !self.is_taken.swap(true, Ordering::SeqCst)
    }

    /// The session that another channel has chosen meanwhile.
    pub(crate) fn chosen(&self) -> Option<Arc<Session>> {
        match &*self.standing.borrow() {
            Standing::Session(session) => Some(Arc::clone(session)),
            _ => None,
        }
    }

    /// Enters the target of this name. Whether it admits the visitor is asked anew.
    pub(crate) async fn choose(&self, id: &str) -> Result<Entered, RecordError> {
        let entered = match self.visitor.seek(id).await {
            Ok(found) => {
                let journal = self.visitor.journal(Some(id.to_owned()));
                self.visitor.begin(found, journal).await?
            }
            Err(refused) => {
                refuse(self.visitor.journal(refused.target.clone()), &refused.code, &refused.message).await?
            }
        };
        if let Entered::Session(session) = &entered {
            let is_first = self.standing.send_if_modified(|standing| {
                let is_open = matches!(standing, Standing::Choosing(_));
                if is_open {
                    *standing = Standing::Session(Arc::clone(session));
                }
                is_open
            });
            if !is_first {
                // The connection has ended meanwhile, and nobody watches over the session.
                session.end(End::ClientLeft);
                session.close().await;
            }
        }
        Ok(entered)
    }

    /// Nothing was chosen; the words for the client.
    pub(crate) async fn refuse(&self, code: &str) -> String {
        let message = match code {
            "target_not_named" => {
                let names: Vec<&str> = self.targets.iter().map(Target::id).collect();
                let (names, user) = (names.join(", "), self.visitor.user.id());
                format!("several targets admit you: {names}; log in as {user}+TARGET")
            }
            _ => "no target was chosen".to_owned(),
        };
        let said = match refuse(self.journal.clone(), code, &message).await {
            Ok(_) => format!("refused: {message}"),
            Err(error) => format!("no session: {error}"),
        };
        let reason: Arc<str> = said.as_str().into();
        self.standing.send_if_modified(|standing| {
            let is_open = matches!(standing, Standing::Choosing(_));
            if is_open {
                *standing = Standing::Refused(reason);
            }
            is_open
        });
        said
    }
}

async fn refuse(journal: Journal, code: &str, message: &str) -> Result<Entered, RecordError> {
    let event = journal.event(Outcome::Blocked, Detail::SessionRefused {});
    journal.record(event.because(code, message)).await?;
    Ok(Entered::Refused { journal, reason: format!("refused: {message}").into() })
}

const TOO_MANY_SESSIONS: (&str, &str) = ("too_many_sessions", "too many sessions at the same time");
const NO_RULE: &str = "no rule admits you to that target";

struct Refused {
    code: String,
    message: String,
    target: Option<String>,
}

impl Refused {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), target: None }
    }

    fn on(mut self, target: &str) -> Self {
        self.target = Some(cut_at_char(target, LOGIN_NAME_BYTES_MAX).to_owned());
        self
    }
}
