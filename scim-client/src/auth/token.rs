//! What is known of a token, as a pure state: whether to use it, renew it, or leave the token endpoint alone for now.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderValue;

use super::Fingerprint;
use crate::error::{Error, ErrorKind};

/// Longest access token that is taken.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// How long a token is used whose answer says nothing usable about that (`expires_in` absent, zero, negative).
pub const LIFETIME_ASSUMED: Duration = Duration::from_secs(5 * 60);
/// How long a token is used at the most, whatever the answer says.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A token is renewed this part of its lifetime ahead of its end …
const LEAD_PART: u32 = 6;
/// … and at the most so long ahead.
const LEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// A token is not used any more so shortly before its end: it has to get there, and clocks differ.
const MARGIN_MAX: Duration = Duration::from_secs(10);
/// First and longest wait after the token endpoint failed.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A token to use.
#[derive(Clone)]
pub(super) struct Token {
    /// The whole value of the `Authorization` header.
    pub(super) header: HeaderValue,
    pub(super) fingerprint: Fingerprint,
    /// By which credential it was got.
    pub(super) client: Fingerprint,
    renew_at: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Token {
    /// Whether it may still be shown.
    pub(super) fn is_good(&self, now: DateTime<Utc>) -> bool {
        now < self.end
    }
}

/// What a token endpoint answered, read.
pub(super) struct Granted {
    pub(super) header: HeaderValue,
    pub(super) fingerprint: Fingerprint,
    /// In seconds, as the endpoint wrote it.
    pub(super) expires_in: Option<f64>,
}

/// What a failure of the token endpoint means for the next attempt.
pub(super) struct Failure {
    pub(super) error: Told,
    pub(super) next: NextTry,
}

/// When the token endpoint may be asked again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NextTry {
    /// With another credential only.
    OtherCredential,
    /// After a wait: as the endpoint asked, or one that grows.
    After(Option<Duration>),
}

/// What is kept of an error, to tell those who come while the endpoint is left alone.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) kind: ErrorKind,
    pub(super) status: Option<u16>,
    pub(super) detail: String,
    pub(super) endpoint: String,
}

impl Told {
    /// As an error of a SCIM request, which was not sent.
    pub(super) fn error(&self) -> Error {
        let error = Error::new(self.kind.clone())
            .about(http::Method::POST, self.endpoint.clone())
            .detail(self.detail.clone())
            .not_sent();
        match self.status {
            Some(status) => error.status(status),
            None => error,
        }
    }
}

/// What to do for a request that is sent now.
pub(super) enum Next {
    /// Use this token.
    Use(Token),
    /// Use this token, and renew it if nobody else does.
    Renew(Token),
    /// Ask for a token.
    Ask,
    /// Do not ask; this is why.
    Leave(Error),
}

/// Holds the token in use and the last failure. Time is an argument; nothing here waits.
#[derive(Default)]
pub(super) struct TokenState {
    token: Option<Token>,
    failed: Option<Failed>,
}

struct Failed {
    told: Told,
    client: Fingerprint,
    until: Option<DateTime<Utc>>,
    times: u32,
}

impl TokenState {
    /// What to do for a request by that credential.
    pub(super) fn next(&self, client: Fingerprint, now: DateTime<Utc>) -> Next {
        // A token got by a credential that was replaced is not used: it may have been replaced for a reason.
        let token = self.token.as_ref().filter(|token| token.client == client && token.is_good(now));
        let failed = self.failed.as_ref().filter(|failed| failed.client == client && failed.holds(now));
        match (token, failed) {
            (Some(token), None) if now >= token.renew_at => Next::Renew(token.clone()),
            (Some(token), _) => Next::Use(token.clone()),
            (None, Some(failed)) => Next::Leave(failed.error(now)),
            (None, None) => Next::Ask,
        }
    }

    /// The endpoint gave a token to a request that was sent at `asked`. `jitter` in `0.0..1.0` spreads renewals.
    pub(super) fn granted(
        &mut self,
        granted: Granted,
        client: Fingerprint,
        asked: DateTime<Utc>,
        jitter: f64,
    ) -> Token {
        let lifetime = lifetime(granted.expires_in);
        // Between three and four quarters of the lead, so that a fleet of clients does not renew in the same second.
        let lead = (lifetime / LEAD_PART).min(LEAD_MAX).mul_f64(jitter.clamp(0.0, 1.0).mul_add(0.25, 0.75));
        let margin = (lifetime / (2 * LEAD_PART)).min(MARGIN_MAX);
        let token = Token {
            header: granted.header,
            fingerprint: granted.fingerprint,
            client,
            renew_at: asked + lifetime.saturating_sub(lead),
            end: asked + lifetime.saturating_sub(margin),
        };
        self.failed = None;
        self.token = Some(token.clone());
        token
    }

    /// The endpoint failed. `jitter` in `0.0..1.0`.
    pub(super) fn failed(&mut self, failure: Failure, client: Fingerprint, now: DateTime<Utc>, jitter: f64) {
        let times =
            self.failed.as_ref().filter(|failed| failed.client == client).map_or(0, |failed| failed.times);
        let until = match failure.next {
            NextTry::OtherCredential => None,
            NextTry::After(Some(wait)) => Some(now + wait.min(crate::resilience::RETRY_AFTER_MAX)),
            NextTry::After(None) => {
                let wait = BACKOFF_FIRST.saturating_mul(1 << times.min(10)).min(BACKOFF_MAX);
                Some(now + wait.mul_f64(jitter.clamp(0.0, 1.0).mul_add(0.5, 0.5)))
            }
        };
        if until.is_none() {
            self.token = None;
        }
        self.failed = Some(Failed { told: failure.error, client, until, times: times.saturating_add(1) });
    }

    /// The service refused that token. Whether there will be another one.
    pub(super) fn refused(&mut self, shown: Fingerprint) {
        if self.token.as_ref().is_some_and(|token| token.fingerprint == shown) {
            self.token = None;
        }
    }

    /// Somebody says that it may be tried again.
    pub(super) fn forgive(&mut self) {
        self.failed = None;
    }
}

impl Failed {
    fn holds(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn error(&self, now: DateTime<Utc>) -> Error {
        let mut told = self.told.clone();
        if let (ErrorKind::RateLimited { retry_after }, Some(until)) = (&mut told.kind, self.until) {
            *retry_after = (until - now).to_std().ok();
        }
        told.error()
    }
}

fn lifetime(expires_in: Option<f64>) -> Duration {
    expires_in.filter(|seconds| *seconds > 0.0).map_or(LIFETIME_ASSUMED, |seconds| {
        Duration::try_from_secs_f64(seconds).map_or(LIFETIME_MAX, |lifetime| lifetime.min(LIFETIME_MAX))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn client(name: &str) -> Fingerprint {
        Fingerprint::of(&[name.as_bytes()])
    }

    fn granted(expires_in: Option<f64>) -> Granted {
        Granted {
            header: HeaderValue::from_static("Bearer t"),
            fingerprint: Fingerprint::of(&[b"t"]),
            expires_in,
        }
    }

    fn failure(next: NextTry) -> Failure {
        let told = Told {
            kind: ErrorKind::RateLimited { retry_after: None },
            status: Some(429),
            detail: String::new(),
            endpoint: "https://login.example/token".to_owned(),
        };
        Failure { error: told, next }
    }

    fn name(next: &Next) -> &'static str {
        match next {
            Next::Use(_) => "use",
            Next::Renew(_) => "renew",
            Next::Ask => "ask",
            Next::Leave(_) => "leave",
        }
    }

    #[test]
    fn a_token_is_used_then_renewed_ahead_then_asked_for() {
        let mut state = TokenState::default();
        assert_eq!(name(&state.next(client("a"), at(0))), "ask");
        state.granted(granted(Some(3600.0)), client("a"), at(0), 1.0);
        for (now, expected) in [(0, "use"), (3299, "use"), (3300, "renew"), (3589, "renew"), (3590, "ask")] {
            assert_eq!(name(&state.next(client("a"), at(now))), expected, "after {now} s");
        }
        // The least jitter renews a quarter of the lead later.
        state.granted(granted(Some(3600.0)), client("a"), at(0), 0.0);
        assert_eq!(name(&state.next(client("a"), at(3374))), "use");
        assert_eq!(name(&state.next(client("a"), at(3375))), "renew");
    }

    #[test]
    fn absent_and_absurd_lifetimes_are_bounded_on_both_sides() {
        for (expires_in, seconds) in [
            (None, LIFETIME_ASSUMED),
            (Some(0.0), LIFETIME_ASSUMED),
            (Some(-5.0), LIFETIME_ASSUMED),
            (Some(f64::NAN), LIFETIME_ASSUMED),
            (Some(1e300), LIFETIME_MAX),
            (Some(f64::INFINITY), LIFETIME_MAX),
            (Some(31_536_000.0), LIFETIME_MAX),
            (Some(0.5), Duration::from_millis(500)),
        ] {
            assert_eq!(lifetime(expires_in), seconds, "{expires_in:?}");
        }
        let mut state = TokenState::default();
        let token = state.granted(granted(Some(1.0)), client("a"), at(0), 1.0);
        assert!(at(0) < token.renew_at && token.renew_at < token.end && token.end < at(1));
    }

    #[test]
    fn a_replaced_credential_takes_its_token_and_its_refusal_with_it() {
        let mut state = TokenState::default();
        state.granted(granted(Some(3600.0)), client("old"), at(0), 1.0);
        assert_eq!(name(&state.next(client("new"), at(1))), "ask");
        state.failed(failure(NextTry::OtherCredential), client("new"), at(1), 1.0);
        assert_eq!(name(&state.next(client("new"), at(1_000_000))), "leave");
        assert_eq!(name(&state.next(client("newer"), at(2))), "ask");
        state.forgive();
        assert_eq!(name(&state.next(client("new"), at(2))), "ask");
    }

    #[test]
    fn a_failed_endpoint_is_left_alone_while_the_token_lasts() {
        let mut state = TokenState::default();
        state.granted(granted(Some(600.0)), client("a"), at(0), 1.0);
        assert_eq!(name(&state.next(client("a"), at(510))), "renew");
        state.failed(failure(NextTry::After(Some(Duration::from_secs(300)))), client("a"), at(510), 1.0);
        assert_eq!(name(&state.next(client("a"), at(589))), "use");
        let Next::Leave(error) = state.next(client("a"), at(610)) else { panic!("asked again too early") };
        let left = Some(Duration::from_secs(200));
        assert_eq!(*error.kind(), ErrorKind::RateLimited { retry_after: left });
        assert!(!error.was_sent(), "the service got nothing");
        assert_eq!(name(&state.next(client("a"), at(810))), "ask");
    }

    #[test]
    fn waits_grow_to_a_limit_and_start_anew_after_success() {
        let mut state = TokenState::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            state.failed(failure(NextTry::After(None)), client("a"), now, 1.0);
            let from = now;
            while name(&state.next(client("a"), now)) == "leave" {
                now += Duration::from_secs(1);
            }
            waits.push((now - from).num_seconds());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        state.granted(granted(Some(600.0)), client("a"), now, 1.0);
        state.refused(Fingerprint::of(&[b"t"]));
        state.failed(failure(NextTry::After(None)), client("a"), now, 1.0);
        assert_eq!(name(&state.next(client("a"), now + Duration::from_secs(1))), "ask");
    }

    #[test]
    fn only_the_refused_token_is_thrown_away() {
        let mut state = TokenState::default();
        state.granted(granted(Some(600.0)), client("a"), at(0), 1.0);
        state.refused(Fingerprint::of(&[b"an older one"]));
        assert_eq!(name(&state.next(client("a"), at(1))), "use");
        state.refused(Fingerprint::of(&[b"t"]));
        assert_eq!(name(&state.next(client("a"), at(1))), "ask");
    }
}
