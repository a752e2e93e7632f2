//! Who is it: passwords, keys, one-time codes, and how often they may be wrong.

mod desk;
mod failures;

use std::net::IpAddr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use russh::keys::PublicKey;

pub(crate) use desk::{Admitted, Desk, Step, methods};
pub(crate) use failures::{Failures, source_bucket};

use crate::identity::User;

/// Knows the users.
///
/// A wrong yes lets a stranger in; everything behind it is then done in the user's name. What is not implemented denies.
///
/// # What an implementor promises
/// * **Timing.** The time that an answer takes does not tell whether the name exists. Refused passwords and codes are told after the
///   same 600 ms, unless the answer took longer.
/// * **Concurrency.** Calls come from as many connections at once as [`Limits`](super::Limits) lets in. Whatever is costly, such as a
///   password hash, is limited by the implementor; who waits for a turn waits at most
///   [`Limits::login_grace`](super::Limits::login_grace), after which the answer is taken for a no.
/// * **Cancellation.** A call may be dropped at any point where it waits. A code whose step was stored by then stays used.
/// * **Replay.** See [`one_time_code`](Self::one_time_code).
///
/// Failures are counted by the proxy, and no call is made for a name and source that have too many.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The user, if `password` is theirs.
    async fn password(&self, name: &str, password: &str, source: IpAddr) -> Option<User>;

    /// The user, if `key` is one of theirs. Asked twice: when a client offers the key, and again when its signature was verified.
    /// Only the second answer lets anybody in. Keys are compared by their [`key_data`](PublicKey::key_data): comments are not sent.
    ///
    /// SHA-1 signatures, RSA keys below 2048 bits, DSA keys and certificates do not get here.
    async fn public_key(&self, name: &str, key: &PublicKey, source: IpAddr) -> Option<User> {
        let _ = (name, key, source);
        None
    }

    /// As [`public_key`](Self::public_key), for keys that live on a security key (`sk-ssh-ed25519@openssh.com`,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`).
    ///
    /// The signature was verified, but whether somebody touched the device (or entered a PIN) was **not**: the SSH library does not
    /// show the flags that say so. Answer only for keys whose owners are allowed to use them so, which is what `no-touch-required`
    /// means in OpenSSH's `authorized_keys`.
    async fn untouched_security_key(&self, name: &str, key: &PublicKey, source: IpAddr) -> Option<User> {
        let _ = (name, key, source);
        None
    }

    /// Whether `user`, who has shown a password or key, needs to show more. Asked at each login.
    async fn second_factor(&self, user: &User) -> SecondFactor {
        let _ = user;
        SecondFactor::NotNeeded
    }

    /// Whether `code` is the user's one-time code `now`.
    ///
    /// A code counts once: before the answer [`CodeCheck::Right`], its use is stored durably and in one step with the check, so that of
    /// two logins with the same code at the same time one is refused, also after a restart and on another machine.
    async fn one_time_code(&self, user: &User, code: &str, now: DateTime<Utc>, source: IpAddr) -> CodeCheck {
        let _ = (user, code, now, source);
        CodeCheck::Wrong
    }
}

/// What a user shows besides a password or key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecondFactor {
    /// Nothing: a password or key is enough.
    NotNeeded,
    /// A one-time code, asked for by `keyboard-interactive`.
    OneTimeCode,
}

/// What a one-time code turned out to be. Whoever typed it hears only that it was not accepted; the record says why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeCheck {
    /// It is right, and its use is stored durably.
    Right,
    /// It is wrong.
    Wrong,
    /// It was right, and was used before.
    Replayed,
    /// The user has no secret to check codes against.
    NotEnrolled,
    /// It cannot be checked, or its use cannot be stored, for this reason.
    Unavailable(String),
}

/// Lets nobody in: what a proxy without an authenticator does.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAuthenticator;

#[async_trait]
impl Authenticator for NoAuthenticator {
    async fn password(&self, _name: &str, _password: &str, _source: IpAddr) -> Option<User> {
        None
    }
}

/// A login name as typed: `alice`, or `alice+web-1` to name the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginName {
    pub(crate) user: String,
    pub(crate) target: Option<String>,
}

/// Longest login name, in bytes.
pub(crate) const LOGIN_NAME_BYTES_MAX: usize = 256;

impl LoginName {
    /// `None` for a name that no user or target can have.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name.len() > LOGIN_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return None;
        }
        let (user, target) = match name.rsplit_once('+') {
            Some((user, target)) => (user, Some(target)),
            None => (name, None),
        };
        if user.is_empty() || target == Some("") {
            return None;
        }
        Some(Self { user: user.to_owned(), target: target.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_name_may_name_a_target() {
        let name = |user: &str, target: Option<&str>| {
            Some(LoginName { user: user.to_owned(), target: target.map(str::to_owned) })
        };
        assert_eq!(LoginName::parse("alice"), name("alice", None));
        assert_eq!(LoginName::parse("alice+web-1"), name("alice", Some("web-1")));
        assert_eq!(LoginName::parse("a+b+web-1"), name("a+b", Some("web-1")));
        for bad in ["", "+web-1", "alice+", "a\u{1b}[2J", &"x".repeat(LOGIN_NAME_BYTES_MAX + 1)] {
            assert_eq!(LoginName::parse(bad), None, "{bad:?}");
        }
    }
}
