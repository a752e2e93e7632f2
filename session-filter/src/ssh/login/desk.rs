//! One connection's way in, factor by factor.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::{MethodKind, MethodSet};

use super::super::journal::Journal;
use super::super::proxy::Shared;
use super::super::text::printable;
use super::failures::{Limited, TooMany, Tried, Try};
use super::{CodeCheck, LOGIN_NAME_BYTES_MAX, LoginName, SecondFactor};
use crate::event::{Detail, Login, Outcome, Subject, cut_at_char};
use crate::identity::User;

/// Wrong passwords and codes are refused after this time, so that it does not tell how far the check came.
const REFUSED_AFTER: Duration = Duration::from_millis(600);

/// Shortest RSA key, in bits (NIST SP 800-57: what is shorter has less than 112 bits of strength).
const RSA_BITS_MIN: u32 = 2048;

/// What a client may log in by.
pub(crate) fn methods() -> MethodSet {
    MethodSet::from(&[MethodKind::PublicKey, MethodKind::Password, MethodKind::KeyboardInteractive][..])
}

/// What to answer.
pub(crate) enum Step {
    /// They are who they say.
    Enter(Box<Admitted>),
    /// The offered key may be used.
    Sign,
    /// This was right; a one-time code is still missing (partial success, RFC 4252 §5.1).
    Continue,
    /// A question by `keyboard-interactive`.
    Ask(Prompt),
    /// Not so; these methods can continue. Without any the client gives up.
    Refuse(MethodSet),
    /// Too many failures on this connection.
    Leave,
}

/// Somebody whose login is complete.
pub(crate) struct Admitted {
    pub(crate) user: User,
    pub(crate) target: Option<String>,
    pub(crate) login: Login,
}

/// What was asked by `keyboard-interactive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    Password,
    Code,
}

impl Prompt {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Password => "Password: ",
            Self::Code => "One-time code: ",
        }
    }
}

/// How the first factor was shown.
#[derive(Debug, Clone)]
enum Factor {
    Password,
    /// With the key's fingerprint.
    Key(String),
}

impl Factor {
    fn login(&self, name: Option<String>, succeeded: bool, with_code: bool) -> Login {
        let (method, key) = match (self, with_code) {
            (Self::Password, false) => ("password", None),
            (Self::Password, true) => ("password+totp", None),
            (Self::Key(key), false) => ("publickey", Some(key.clone())),
            (Self::Key(key), true) => ("publickey+totp", Some(key.clone())),
        };
        if succeeded { Login::succeeded(method) } else { Login::failed(method, name) }.key(key)
    }
}

/// A first factor that was right.
struct First {
    /// The login name as typed: what was shown under one name is worth nothing under another.
    name: String,
    target: Option<String>,
    user: User,
    factor: Factor,
}

/// Knows how far one connection has come.
pub(crate) struct Desk {
    shared: Arc<Shared>,
    source: IpAddr,
    first: Option<First>,
    asked: Option<Prompt>,
    failed: usize,
    offered: usize,
    /// The first key that nobody knew, for the record of a connection that got no further.
    unknown: Option<(String, Factor)>,
}

impl Desk {
    pub(crate) fn new(shared: Arc<Shared>, source: IpAddr) -> Self {
        Self { shared, source, first: None, asked: None, failed: 0, offered: 0, unknown: None }
    }

    pub(crate) async fn password(&mut self, name: &str, password: &str) -> Step {
        self.start_over();
        if self.is_closed() {
            return Step::Leave;
        }
        let started = Instant::now();
        let (login, attempt) = match self.attempt(name, Factor::Password).await {
            Ok(attempt) => attempt,
            Err(()) => return self.refused(started).await,
        };
        let asked = self.shared.authenticator.password(&login.user, password, self.source);
        match tokio::time::timeout(self.shared.limits.login_grace, asked).await {
            Ok(Some(user)) => self.shown(name, login, user, Factor::Password, &attempt).await,
            _ => {
                self.shared.failures.failed(&attempt);
                self.record(name, &Factor::Password, false, "bad_credential", "name or password is wrong")
                    .await;
                self.refused(started).await
            }
        }
    }

    /// A key is offered: may the client sign with it? Nothing is proven yet, and a no is told at once, as clients try all they have.
    pub(crate) async fn offer(&mut self, name: &str, key: &PublicKey, algorithm: &Algorithm) -> Step {
        self.start_over();
        if self.is_closed() {
            return Step::Leave;
        }
        self.offered = self.offered.saturating_add(1);
        if self.offered > self.shared.limits.offered_keys_max {
            return Step::Refuse(MethodSet::from(
                &[MethodKind::Password, MethodKind::KeyboardInteractive][..],
            ));
        }
        let known = match LoginName::parse(name) {
            Some(login) if is_sound(key, algorithm) => self.owner(&login, key).await.is_some(),
            _ => false,
        };
        if known {
            return Step::Sign;
        }
        self.unknown.get_or_insert_with(|| (name.to_owned(), Factor::Key(fingerprint(key))));
        Step::Refuse(methods())
    }

    /// A key's signature was verified.
    pub(crate) async fn key(&mut self, name: &str, key: &PublicKey, algorithm: &Algorithm) -> Step {
        self.start_over();
        if self.is_closed() {
            return Step::Leave;
        }
        let started = Instant::now();
        let factor = Factor::Key(fingerprint(key));
        let (login, attempt) = match self.attempt(name, factor.clone()).await {
            Ok(attempt) => attempt,
            Err(()) => return self.refused(started).await,
        };
        let owner = if is_sound(key, algorithm) { self.owner(&login, key).await } else { None };
        match owner {
            Some(user) => self.shown(name, login, user, factor, &attempt).await,
            None => {
                self.shared.failures.failed(&attempt);
                self.record(name, &factor, false, "bad_credential", "the key is not one of this user's")
                    .await;
                self.refused(started).await
            }
        }
    }

    /// A certificate's signature was verified; none is accepted.
    pub(crate) async fn certificate(&mut self, name: &str, key: PublicKey) -> Step {
        self.start_over();
        if self.is_closed() {
            return Step::Leave;
        }
        let started = Instant::now();
        let factor = Factor::Key(fingerprint(&key));
        if let Ok((_, attempt)) = self.attempt(name, factor.clone()).await {
            self.shared.failures.failed(&attempt);
            self.record(name, &factor, false, "certificate", "certificates are not accepted").await;
        }
        self.refused(started).await
    }

    /// `keyboard-interactive` begins.
    pub(crate) fn interactive(&mut self, name: &str) -> Step {
        if self.is_closed() {
            return Step::Leave;
        }
        if self.first.as_ref().is_some_and(|first| first.name != name) {
            self.start_over();
        }
        let prompt = if self.first.is_some() { Prompt::Code } else { Prompt::Password };
        self.asked = Some(prompt);
        Step::Ask(prompt)
    }

    /// The answer to what was asked.
    pub(crate) async fn answer(&mut self, name: &str, answer: &str) -> Step {
        let is_same = self.first.as_ref().is_none_or(|first| first.name == name);
        match self.asked.take() {
            Some(Prompt::Password) => match self.password(name, answer).await {
                // The conversation goes on by the same method.
                Step::Continue => {
                    self.asked = Some(Prompt::Code);
                    Step::Ask(Prompt::Code)
                }
                step => step,
            },
            Some(Prompt::Code) if is_same && !self.is_closed() => self.code(answer).await,
            _ => Step::Refuse(methods()),
        }
    }

    async fn code(&mut self, code: &str) -> Step {
        let started = Instant::now();
        let Some(first) = self.first.take() else { return Step::Refuse(methods()) };
        let failures = &self.shared.failures;
        // By the user's own name: authenticators may know one user by several.
        let attempt = match failures.attempt(first.user.id(), self.source, Tried::Code, started) {
            Ok(attempt) => attempt,
            Err(TooMany { is_first, of }) => {
                if is_first {
                    let (reason, message) = match of {
                        Limited::Address => TOO_MANY,
                        Limited::Codes => TOO_MANY_CODES,
                    };
                    self.record(&first.name, &first.factor, true, reason, message).await;
                }
                return self.refused(started).await;
            }
        };
        let asked = self.shared.authenticator.one_time_code(&first.user, code, Utc::now(), self.source);
        let check = tokio::time::timeout(self.shared.limits.login_grace, asked)
            .await
            .unwrap_or_else(|_| CodeCheck::Unavailable("no answer in time".to_owned()));
        let (reason, message) = match check {
            CodeCheck::Right => {
                failures.succeeded(&attempt);
                let login = first.factor.login(None, true, true);
                return Step::Enter(Box::new(Admitted { user: first.user, target: first.target, login }));
            }
            CodeCheck::Wrong => ("bad_code", "the one-time code is wrong".to_owned()),
            CodeCheck::Replayed => ("replayed_code", "the one-time code was used before".to_owned()),
            CodeCheck::NotEnrolled => {
                ("not_enrolled", "the user has no secret to check codes against".to_owned())
            }
            CodeCheck::Unavailable(why) => {
                ("code_unavailable", format!("the one-time code cannot be checked: {why}"))
            }
        };
        self.record(&first.name, &first.factor, true, reason, &message).await;
        self.first = Some(first);
        self.refused(started).await
    }

    /// The first factor is right: are they in, or is there more to show?
    async fn shown(
        &mut self,
        name: &str,
        login: LoginName,
        user: User,
        factor: Factor,
        attempt: &Try,
    ) -> Step {
        let asked = self.shared.authenticator.second_factor(&user);
        match tokio::time::timeout(self.shared.limits.login_grace, asked).await {
            Ok(SecondFactor::NotNeeded) => {
                self.shared.failures.succeeded(attempt);
                let event = factor.login(None, true, false);
                Step::Enter(Box::new(Admitted { user, target: login.target, login: event }))
            }
            // Silence asks for more, not for less.
            Ok(SecondFactor::OneTimeCode) | Err(_) => {
                self.first = Some(First { name: name.to_owned(), target: login.target, user, factor });
                Step::Continue
            }
        }
    }

    /// May `name` be tried now? What is refused is on record.
    async fn attempt(&self, name: &str, factor: Factor) -> Result<(LoginName, Try), ()> {
        let now = Instant::now();
        let failures = &self.shared.failures;
        match LoginName::parse(name) {
            None => {
                if let Ok(attempt) = failures.attempt("", self.source, Tried::Nothing, now) {
                    failures.failed(&attempt);
                    self.record(name, &factor, false, "bad_name", "not a login name").await;
                }
                Err(())
            }
            Some(login) => match failures.attempt(&login.user, self.source, Tried::First, now) {
                Ok(attempt) => Ok((login, attempt)),
                Err(TooMany { is_first, .. }) => {
                    if is_first {
                        self.record(name, &factor, false, TOO_MANY.0, TOO_MANY.1).await;
                    }
                    Err(())
                }
            },
        }
    }

    async fn owner(&self, login: &LoginName, key: &PublicKey) -> Option<User> {
        let authenticator = &self.shared.authenticator;
        let asked = match key.algorithm() {
            Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => {
                authenticator.untouched_security_key(&login.user, key, self.source)
            }
            _ => authenticator.public_key(&login.user, key, self.source),
        };
        tokio::time::timeout(self.shared.limits.login_grace, asked).await.ok().flatten()
    }

    /// Whatever was shown or asked before is void.
    fn start_over(&mut self) {
        self.first = None;
        self.asked = None;
    }

    fn is_closed(&self) -> bool {
        self.failed >= self.shared.limits.login_attempts_max
    }

    async fn refused(&mut self, started: Instant) -> Step {
        self.failed = self.failed.saturating_add(1);
        tokio::time::sleep_until((started + REFUSED_AFTER).into()).await;
        Step::Refuse(match (self.is_closed(), &self.first) {
            (true, _) => MethodSet::empty(),
            (false, Some(_)) => MethodSet::from(&[MethodKind::KeyboardInteractive][..]),
            (false, None) => methods(),
        })
    }

    async fn record(
        &self,
        name: &str,
        factor: &Factor,
        with_code: bool,
        reason: &'static str,
        message: &str,
    ) {
        failure(&self.shared, self.source, name, factor, with_code, reason, message).await;
    }
}

const TOO_MANY: (&str, &str) = ("too_many_failures", "too many failed logins; wait and try again");
const TOO_MANY_CODES: (&str, &str) =
    ("too_many_codes", "too many wrong one-time codes of this user; wait and try again");

impl Drop for Desk {
    /// A connection that offered nothing but strange keys failed to log in, too. Refusing each would not be worth a record: clients offer
    /// whatever they have and then log in by something else.
    fn drop(&mut self) {
        let Some((name, factor)) = self.unknown.take() else { return };
        if !self.shared.failures.is_key_worth_recording(self.source, Instant::now()) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (shared, source) = (Arc::clone(&self.shared), self.source);
            runtime.spawn(async move {
                let message = "no offered key is one of this user's";
                failure(&shared, source, &name, &factor, false, "unknown_key", message).await;
            });
        }
    }
}

impl Desk {
    /// They are in: what was offered before is of no interest.
    pub(crate) fn entered(&mut self) {
        self.unknown = None;
    }
}

async fn failure(
    shared: &Arc<Shared>,
    source: IpAddr,
    name: &str,
    factor: &Factor,
    with_code: bool,
    reason: &'static str,
    message: &str,
) {
    // The name is what somebody typed. It is no actor: nobody has shown to be that person, and strangers must not make the log
    // know as many people as they can think of.
    let subject = Subject { source_ip: Some(source), ..Subject::default() };
    let journal = Journal::new(Arc::clone(&shared.recorder), subject);
    // Redacted first: cut or escaped, a secret might not be recognised any more.
    let name = shared.gatekeeper.redact(name).text;
    let name = cut_at_char(&printable(&name), LOGIN_NAME_BYTES_MAX).to_owned();
    let event = journal.event(Outcome::Failure, Detail::Login(factor.login(Some(name), false, with_code)));
    // Refused either way; when it cannot be recorded, nothing more can be refused.
    let _ = journal.record(event.because(reason, message)).await;
}

/// Algorithms whose signatures still prove something. `algorithm` is the signature's, which for RSA is not the key's.
fn is_sound(key: &PublicKey, algorithm: &Algorithm) -> bool {
    match algorithm {
        Algorithm::Ed25519
        | Algorithm::Ecdsa { .. }
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256 => true,
        // SHA-1 is what `ssh-rsa` stands for.
        Algorithm::Rsa { hash: Some(_) } => {
            key.key_data().rsa().is_some_and(|rsa| rsa.key_size() >= RSA_BITS_MIN)
        }
        _ => false,
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
