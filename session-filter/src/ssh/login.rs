//! Who is it: passwords, and how often they may be wrong.

use std::collections::{HashMap, VecDeque};
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

/// Whoever has one IPv6 address usually has a whole /64, so that is what counts as one source.
pub(crate) fn source_bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(std::net::Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Counts failed logins per user name and source address, so that guessing is slow and nobody locks out somebody else; and
/// per source address alone, so that guessing one password for many names is slow, too.
#[derive(Debug)]
pub(crate) struct Failures {
    failures_max: usize,
    failures_per_source_max: usize,
    window: Duration,
    seen: Mutex<HashMap<(String, IpAddr), Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    failures: VecDeque<Instant>,
    is_refusing: bool,
}

/// Whether a password may be tried now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    Allow,
    /// No, and whether this is the first refusal since the limit was reached. The others are not worth a record each.
    Refuse {
        is_first: bool,
    },
}

/// Pairs of name and address that are remembered; when full, the stalest is forgotten.
const FAILURE_PAIRS_MAX: usize = 10_000;

impl Failures {
    pub(crate) fn new(failures_max: usize, failures_per_source_max: usize, window: Duration) -> Self {
        Self { failures_max, failures_per_source_max, window, seen: Mutex::default() }
    }

    /// May this pair try now?
    pub(crate) fn may_try(&self, user: &str, source: IpAddr, now: Instant) -> Trial {
        let source = source_bucket(source);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, failures_max) in [(user, self.failures_max), ("", self.failures_per_source_max)] {
            let key = (name.to_owned(), source);
            let Some(entry) = seen.get_mut(&key) else { continue };
            entry.failures.retain(|time| now.saturating_duration_since(*time) < self.window);
            if entry.failures.len() >= failures_max {
                return Trial::Refuse { is_first: !std::mem::replace(&mut entry.is_refusing, true) };
            }
            entry.is_refusing = false;
            if entry.failures.is_empty() {
                seen.remove(&key);
            }
        }
        Trial::Allow
    }

    /// Counts a failure; says whether the source was still below its own limit.
    pub(crate) fn failed(&self, user: &str, source: IpAddr, now: Instant) -> bool {
        let source = source_bucket(source);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut below = true;
        for (name, failures_max) in [(user, self.failures_max), ("", self.failures_per_source_max)] {
            if name.is_empty() {
                below = seen
                    .get(&(String::new(), source))
                    .is_none_or(|entry| entry.failures.len() < failures_max);
            } else if seen.len() >= FAILURE_PAIRS_MAX {
                Self::forget_stalest(&mut seen, self.window, now);
            }
            let entry = seen.entry((name.to_owned(), source)).or_default();
            // More than the limit need not be remembered.
            if entry.failures.len() >= failures_max {
                entry.failures.pop_front();
            }
            entry.failures.push_back(now);
            if user.is_empty() {
                break;
            }
        }
        below
    }

    pub(crate) fn succeeded(&self, user: &str, source: IpAddr) {
        let source = source_bucket(source);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&(user.to_owned(), source));
    }

    fn forget_stalest(seen: &mut HashMap<(String, IpAddr), Seen>, window: Duration, now: Instant) {
        let latest = |entry: &Seen| entry.failures.back().copied();
        seen.retain(|_, entry| {
            latest(entry).is_some_and(|time| now.saturating_duration_since(time) < window)
        });
        if seen.len() >= FAILURE_PAIRS_MAX {
            let stalest = seen.iter().min_by_key(|(_, entry)| latest(entry)).map(|(key, _)| key.clone());
            if let Some(stalest) = stalest {
                seen.remove(&stalest);
            }
        }
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
        let failures = Failures::new(3, 100, Duration::from_secs(60));
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(failures.may_try("alice", here, start), Trial::Allow);
            failures.failed("alice", here, start);
        }
        assert_eq!(failures.may_try("alice", here, start), Trial::Refuse { is_first: true });
        assert_eq!(failures.may_try("alice", here, start), Trial::Refuse { is_first: false });
        assert_eq!(failures.may_try("alice", there, start), Trial::Allow);
        assert_eq!(failures.may_try("bob", here, start), Trial::Allow);
        assert_eq!(failures.may_try("alice", here, start + Duration::from_secs(60)), Trial::Allow);
        failures.failed("bob", here, start);
        failures.succeeded("bob", here);
        assert_eq!(failures.may_try("bob", here, start), Trial::Allow);
    }

    #[test]
    fn one_password_for_many_names_is_slow_too() {
        let failures = Failures::new(3, 5, Duration::from_secs(60));
        let (here, start) = (IpAddr::from([127, 0, 0, 1]), Instant::now());
        for n in 0..5 {
            assert_eq!(failures.may_try(&format!("user{n}"), here, start), Trial::Allow);
            failures.failed(&format!("user{n}"), here, start);
        }
        assert_eq!(failures.may_try("user9", here, start), Trial::Refuse { is_first: true });
        assert_eq!(failures.may_try("user9", here, start + Duration::from_secs(60)), Trial::Allow);
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let failures = Failures::new(3, 100_000, Duration::from_secs(60));
        let (here, start) = (IpAddr::from([127, 0, 0, 1]), Instant::now());
        for n in 0..FAILURE_PAIRS_MAX + 100 {
            failures.failed(&format!("user{n}"), here, start);
        }
        assert!(failures.seen.lock().unwrap().len() <= FAILURE_PAIRS_MAX + 1);
    }
}
