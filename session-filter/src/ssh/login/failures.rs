//! How often somebody may be wrong.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::limits::Limits;

/// Pairs of name and address that are remembered; when full, the stalest is forgotten.
const FAILURE_PAIRS_MAX: usize = 10_000;

/// Whoever has one IPv6 address usually has a whole /64, so that is what counts as one source.
pub(crate) fn source_bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(std::net::Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Counts failed logins per user name and source address, so that guessing is slow and nobody locks out somebody else; per source
/// address alone, so that guessing one password for many names is slow, too; and wrong one-time codes per user, whatever the address,
/// since these are short enough to be guessed from many addresses. Only who has the first factor gets that far.
///
/// A code counts as failed from the beginning of its check, so that nobody gets more of them by trying many at the same time. Passwords
/// and keys count when they were found wrong: programs that log in many times at once are no attack.
#[derive(Debug)]
pub(crate) struct Failures {
    tallies: Mutex<Tallies>,
}

#[derive(Debug)]
struct Tallies {
    pairs: Tally<(String, IpAddr)>,
    sources: Tally<IpAddr>,
    codes: Tally<String>,
    /// Records of connections that offered unknown keys only.
    unknown_keys: Tally<IpAddr>,
}

impl Tallies {
    fn count(&mut self, attempt: &Try) {
        self.sources.count(attempt.source, attempt.at);
        if attempt.tried != Tried::Nothing {
            self.pairs.count((attempt.user.clone(), attempt.source), attempt.at);
        }
        if attempt.tried == Tried::Code {
            self.codes.count(attempt.user.clone(), attempt.at);
        }
    }
}

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// A name that nobody can have.
    Nothing,
    /// A password, or a key whose signature is right.
    First,
    /// A one-time code, after the first factor.
    Code,
}

/// A try under way.
#[derive(Debug, Clone)]
pub(crate) struct Try {
    user: String,
    source: IpAddr,
    tried: Tried,
    at: Instant,
}

/// Not now; and whether this is the first refusal since the limit was reached. The others are not worth a record each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) is_first: bool,
    pub(crate) of: Limited,
}

/// Whose failures were too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    /// Those from an address: others get in.
    Address,
    /// Wrong codes of a user: nobody gets in under that name, wherever from.
    Codes,
}

impl Failures {
    pub(crate) fn new(limits: &Limits) -> Self {
        let window = limits.login_failure_window;
        Self {
            tallies: Mutex::new(Tallies {
                pairs: Tally::new(limits.login_failures_max, window),
                sources: Tally::new(limits.login_failures_per_source_max, window),
                codes: Tally::new(limits.code_failures_max, limits.code_failure_window),
                unknown_keys: Tally::new(limits.login_failures_per_source_max, window),
            }),
        }
    }

    /// May this be tried now?
    pub(crate) fn attempt(
        &self,
        user: &str,
        source: IpAddr,
        tried: Tried,
        now: Instant,
    ) -> Result<Try, TooMany> {
        let attempt = Try { user: user.to_owned(), source: source_bucket(source), tried, at: now };
        let mut tallies = self.lock();
        // All are asked before any counts: what is refused must not prolong the refusal.
        if tried != Tried::Nothing {
            tallies.pairs.may(&(attempt.user.clone(), attempt.source), now)?;
        }
        tallies.sources.may(&attempt.source, now)?;
        if tried == Tried::Code {
            let of_codes = |refused| TooMany { of: Limited::Codes, ..refused };
            tallies.codes.may(&attempt.user, now).map_err(of_codes)?;
            tallies.count(&attempt);
        }
        Ok(attempt)
    }

    /// It was wrong.
    pub(crate) fn failed(&self, attempt: &Try) {
        if attempt.tried != Tried::Code {
            self.lock().count(attempt);
        }
    }

    /// Keys cannot be guessed, so unknown ones lock nobody out; but strangers must not fill the record with them.
    pub(crate) fn is_key_worth_recording(&self, source: IpAddr, now: Instant) -> bool {
        let source = source_bucket(source);
        let mut tallies = self.lock();
        let is_worth = tallies.unknown_keys.may(&source, now).is_ok();
        if is_worth {
            tallies.unknown_keys.count(source, now);
        }
        is_worth
    }

    /// They are in, with nothing more to show: the pair's failures are forgotten, the source's and the user's wrong codes are not.
    pub(crate) fn succeeded(&self, attempt: &Try) {
        let mut tallies = self.lock();
        if attempt.tried == Tried::Code {
            tallies.sources.withdraw(&attempt.source, attempt.at);
            tallies.codes.withdraw(&attempt.user, attempt.at);
        }
        tallies.pairs.seen.remove(&(attempt.user.clone(), attempt.source));
    }

    fn lock(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Failures within a window, by key.
#[derive(Debug)]
struct Tally<K> {
    failures_max: usize,
    window: Duration,
    seen: HashMap<K, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    failures: VecDeque<Instant>,
    is_refusing: bool,
}

impl<K: Hash + Eq + Clone> Tally<K> {
    fn new(failures_max: usize, window: Duration) -> Self {
        Self { failures_max, window, seen: HashMap::new() }
    }

    fn may(&mut self, key: &K, now: Instant) -> Result<(), TooMany> {
        let Some(entry) = self.seen.get_mut(key) else { return Ok(()) };
        entry.failures.retain(|time| now.saturating_duration_since(*time) < self.window);
        if entry.failures.len() >= self.failures_max {
            let is_first = !std::mem::replace(&mut entry.is_refusing, true);
            return Err(TooMany { is_first, of: Limited::Address });
        }
        entry.is_refusing = false;
        if entry.failures.is_empty() {
            self.seen.remove(key);
        }
        Ok(())
    }

    fn count(&mut self, key: K, now: Instant) {
        if self.seen.len() >= FAILURE_PAIRS_MAX && !self.seen.contains_key(&key) {
            self.forget_stalest(now);
        }
        self.seen.entry(key).or_default().failures.push_back(now);
    }

    fn withdraw(&mut self, key: &K, at: Instant) {
        let Some(entry) = self.seen.get_mut(key) else { return };
        if let Some(index) = entry.failures.iter().position(|time| *time == at) {
            entry.failures.remove(index);
        }
        if entry.failures.is_empty() {
            self.seen.remove(key);
        }
    }

    fn forget_stalest(&mut self, now: Instant) {
        let latest = |entry: &Seen| entry.failures.back().copied();
        self.seen.retain(|_, entry| {
            latest(entry).is_some_and(|time| now.saturating_duration_since(time) < self.window)
        });
        if self.seen.len() >= FAILURE_PAIRS_MAX {
            let stalest = self.seen.iter().min_by_key(|(_, entry)| latest(entry)).map(|(key, _)| key.clone());
            if let Some(stalest) = stalest {
                self.seen.remove(&stalest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    fn failures(pair: usize, source: usize) -> Failures {
        let limits = Limits {
            login_failures_max: pair,
            login_failures_per_source_max: source,
            login_failure_window: MINUTE,
            code_failures_max: 4,
            code_failure_window: MINUTE * 60,
            ..Limits::default()
        };
        Failures::new(&limits)
    }

    fn fail(failures: &Failures, user: &str, source: IpAddr, now: Instant) {
        let attempt = failures.attempt(user, source, Tried::First, now).unwrap();
        failures.failed(&attempt);
    }

    fn refused(failures: &Failures, user: &str, source: IpAddr, now: Instant) -> Option<bool> {
        failures.attempt(user, source, Tried::First, now).err().map(|too_many| too_many.is_first)
    }

    #[test]
    fn only_failures_count_and_only_for_that_user_and_source() {
        let failures = failures(3, 100);
        let start = Instant::now();
        for _ in 0..3 {
            fail(&failures, "alice", HERE, start);
        }
        assert_eq!(refused(&failures, "alice", HERE, start), Some(true));
        assert_eq!(refused(&failures, "alice", HERE, start), Some(false));
        assert_eq!(refused(&failures, "alice", THERE, start), None);
        assert_eq!(refused(&failures, "bob", HERE, start), None);
        assert_eq!(refused(&failures, "alice", HERE, start + MINUTE), None);
        fail(&failures, "bob", HERE, start);
        for _ in 0..10 {
            let right = failures.attempt("bob", HERE, Tried::First, start).unwrap();
            failures.succeeded(&right);
            fail(&failures, "bob", HERE, start);
        }
    }

    #[test]
    fn many_right_passwords_at_once_are_no_attack() {
        let failures = failures(3, 5);
        let start = Instant::now();
        let tries: Vec<_> =
            (0..50).map(|_| failures.attempt("alice", HERE, Tried::First, start).unwrap()).collect();
        tries.iter().for_each(|attempt| failures.succeeded(attempt));
        assert_eq!(refused(&failures, "alice", HERE, start), None);
    }

    #[test]
    fn one_password_for_many_names_is_slow_too() {
        let failures = failures(3, 5);
        let start = Instant::now();
        for n in 0..5 {
            fail(&failures, &format!("user{n}"), HERE, start);
        }
        assert_eq!(refused(&failures, "user9", HERE, start), Some(true));
        assert_eq!(refused(&failures, "user9", THERE, start), None);
        assert_eq!(refused(&failures, "user9", HERE, start + MINUTE), None);
    }

    #[test]
    fn the_first_factor_does_not_buy_more_codes() {
        let failures = failures(3, 100);
        let start = Instant::now();
        for _ in 0..3 {
            // Right, but not yet in: nothing is forgotten.
            failures.attempt("alice", HERE, Tried::First, start).unwrap();
            // The check of the code has not come back yet.
            failures.attempt("alice", HERE, Tried::Code, start).unwrap();
        }
        assert_eq!(refused(&failures, "alice", HERE, start), Some(true));
    }

    #[test]
    fn a_right_code_counts_nowhere() {
        let failures = failures(3, 4);
        let start = Instant::now();
        for _ in 0..20 {
            let attempt = failures.attempt("alice", HERE, Tried::Code, start).unwrap();
            failures.succeeded(&attempt);
        }
        let tallies = failures.lock();
        assert!(
            tallies.pairs.seen.is_empty() && tallies.sources.seen.is_empty() && tallies.codes.seen.is_empty()
        );
    }

    #[test]
    fn codes_cannot_be_guessed_from_many_addresses() {
        let failures = failures(3, 100);
        let start = Instant::now();
        for n in 0..4 {
            failures.attempt("alice", IpAddr::from([10, 0, 0, n]), Tried::Code, start).unwrap();
        }
        let more = failures.attempt("alice", THERE, Tried::Code, start + MINUTE);
        assert_eq!(more.unwrap_err(), TooMany { is_first: true, of: Limited::Codes });
        // Who has no first factor keeps nobody out, and nobody else is concerned.
        assert_eq!(refused(&failures, "alice", THERE, start), None);
        failures.attempt("bob", THERE, Tried::Code, start).unwrap();
        failures.attempt("alice", THERE, Tried::Code, start + MINUTE * 60).unwrap();
    }

    #[test]
    fn names_that_nobody_can_have_count_for_their_source() {
        let failures = failures(3, 2);
        let start = Instant::now();
        for _ in 0..2 {
            let attempt = failures.attempt("", HERE, Tried::Nothing, start).unwrap();
            failures.failed(&attempt);
        }
        assert_eq!(refused(&failures, "alice", HERE, start), Some(true));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let failures = failures(1, 100);
        let (one, other): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::ffff:2".parse().unwrap());
        fail(&failures, "alice", one, Instant::now());
        assert_eq!(refused(&failures, "alice", other, Instant::now()), Some(true));
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert_eq!(source_bucket(mapped), HERE);
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let failures = failures(3, 100_000);
        let start = Instant::now();
        for n in 0..FAILURE_PAIRS_MAX + 100 {
            fail(&failures, &format!("user{n}"), HERE, start);
        }
        assert!(failures.lock().pairs.seen.len() <= FAILURE_PAIRS_MAX);
    }
}
