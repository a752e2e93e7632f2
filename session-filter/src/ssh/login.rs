//! Who is it: passwords, and how often they may be wrong.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::identity::User;

/// Knows the users.
///
/// A wrong yes lets a stranger in; everything behind it is then done in the user's name.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The user, if `password` is theirs. The time taken must not tell whether the name exists.
    async fn password(&self, name: &str, password: &str, source: IpAddr) -> Option<User>;
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

/// Counts failed logins per user name and source address, so that guessing is slow and nobody locks out somebody else.
#[derive(Debug)]
pub(crate) struct Failures {
    failures_max: usize,
    window: Duration,
    seen: Mutex<HashMap<(String, IpAddr), Vec<Instant>>>,
}

/// Pairs of name and address that are remembered; when full, the stalest is forgotten.
const FAILURE_PAIRS_MAX: usize = 10_000;

impl Failures {
    pub(crate) fn new(failures_max: usize, window: Duration) -> Self {
        Self { failures_max, window, seen: Mutex::default() }
    }

    /// May this pair try now?
    pub(crate) fn may_try(&self, user: &str, source: IpAddr, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (user.to_owned(), source);
        let Some(times) = seen.get_mut(&key) else { return true };
        times.retain(|time| now.saturating_duration_since(*time) < self.window);
        if times.is_empty() {
            seen.remove(&key);
            return true;
        }
        times.len() < self.failures_max
    }

    pub(crate) fn failed(&self, user: &str, source: IpAddr, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (user.to_owned(), source);
        if seen.len() >= FAILURE_PAIRS_MAX && !seen.contains_key(&key) {
            let window = self.window;
            seen.retain(|_, times| {
                times.last().is_some_and(|time| now.saturating_duration_since(*time) < window)
            });
            if seen.len() >= FAILURE_PAIRS_MAX {
                let stalest =
                    seen.iter().min_by_key(|(_, times)| times.last().copied()).map(|(k, _)| k.clone());
                if let Some(stalest) = stalest {
                    seen.remove(&stalest);
                }
            }
        }
        let times = seen.entry(key).or_default();
        // More than the limit need not be remembered.
        if times.len() < self.failures_max {
            times.push(now);
        }
    }

    pub(crate) fn succeeded(&self, user: &str, source: IpAddr) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&(user.to_owned(), source));
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

    #[test]
    fn only_failures_count_and_only_for_that_user_and_source() {
        let failures = Failures::new(3, Duration::from_secs(60));
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        for _ in 0..3 {
            assert!(failures.may_try("alice", here, start));
            failures.failed("alice", here, start);
        }
        assert!(!failures.may_try("alice", here, start));
        assert!(failures.may_try("alice", there, start));
        assert!(failures.may_try("bob", here, start));
        assert!(failures.may_try("alice", here, start + Duration::from_secs(60)));
        failures.failed("bob", here, start);
        failures.succeeded("bob", here);
        assert!(failures.may_try("bob", here, start));
    }
}
