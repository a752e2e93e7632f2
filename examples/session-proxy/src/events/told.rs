//! Logins of the log as events of authentication, as `event-api` takes them.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mfa_events::event::{EventError, FailureReason, Method};
use mfa_events::{AccountLocked, Event, LoginFailure, LoginSuccess, MfaFailure};
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Failure;
use crate::files;

/// What is needed to tell of a login.
pub(super) struct Telling {
    /// Whether somebody of this name may log in.
    pub(super) is_known: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Of the stand-ins for names that nobody has.
    pub(super) secret: Secret,
    /// How long too many wrong codes keep a user out.
    pub(super) lock_time: Duration,
}

/// A secret that never leaves this machine: whoever is told could try names with any that he has.
pub(super) type Secret = Zeroizing<[u8; SECRET_BYTES]>;

/// Of a block of the hash.
const SECRET_BYTES: usize = 64;

/// The secret in a file of the data directory, made where there is none.
pub(super) fn secret(data_dir: &Path) -> Result<Secret, Failure> {
    let file = data_dir.join("events-names.secret");
    let mut secret = Secret::new([0; SECRET_BYTES]);
    match std::fs::read(&file).map(Zeroizing::new) {
        Ok(kept) if kept.len() == SECRET_BYTES => secret.copy_from_slice(&kept),
        Ok(_) => {
            return Err(Failure::new(format!("`{}` does not hold {SECRET_BYTES} bytes", file.display())));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            getrandom::fill(secret.as_mut()).map_err(Failure::because("no randomness"))?;
            files::private_file(&file, secret.as_slice())?;
        }
        Err(error) => return Err(Failure::because(format!("cannot read `{}`", file.display()))(error)),
    }
    Ok(secret)
}

/// Whether an entry is one of those that are told.
pub(super) fn is_told(event_type: &str) -> bool {
    matches!(event_type, "login.failed" | "login.succeeded")
}

impl Telling {
    /// What an entry of the log tells, where it tells of a login. It keeps its id, under which it stands in both logs.
    pub(super) fn event(&self, entry: &Value) -> Option<Result<Event, EventError>> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let event_type = text("event_type").filter(|event_type| is_told(event_type))?;
        let id: Uuid = text("event_id")?.parse().ok()?;
        let at: DateTime<Utc> = text("timestamp")?.parse().ok()?;
        let ip: Option<IpAddr> = text("source_ip").and_then(|ip| ip.parse().ok());
        let has_code = text("method").is_some_and(|method| method.ends_with("+totp"));
        macro_rules! about {
            ($draft:expr) => {{
                let draft = $draft.id(id).at(at);
                match ip {
                    Some(ip) => draft.from(ip),
                    None => draft,
                }
            }};
        }
        if event_type == "login.succeeded" {
            let mut success = about!(LoginSuccess::new(text("actor_id")?));
            if has_code {
                success = success.with(Method::Totp);
            }
            if let Some(session) = text("session_id") {
                success = success.session(session);
            }
            return Some(success.try_into());
        }
        let actor = self.actor(text("login_name").unwrap_or_default());
        let reason = text("reason").unwrap_or("unknown");
        let second_factor =
            |why| about!(MfaFailure::new(&actor, Method::Totp, why)).reason(reason).try_into();
        Some(match reason {
            "bad_code" => second_factor(FailureReason::WrongCode),
            // It was right once.
            "replayed_code" => second_factor(FailureReason::ExpiredCode),
            "not_enrolled" | "code_unavailable" => second_factor(FailureReason::MethodUnavailable),
            "too_many_codes" => {
                let locked = about!(AccountLocked::new(&actor)).because(reason);
                let until =
                    TimeDelta::from_std(self.lock_time).ok().and_then(|time| at.checked_add_signed(time));
                match until {
                    Some(until) => locked.until(until).try_into(),
                    None => locked.try_into(),
                }
            }
            _ => {
                let mut failure = about!(LoginFailure::new(&actor)).reason(reason);
                if has_code {
                    failure = failure.with(Method::Totp);
                }
                // Others get in under this name: it is the address that is kept out.
                if reason == "too_many_failures" {
                    failure = failure.blocked();
                }
                failure.try_into()
            }
        })
    }

    /// The user whom a login name means. People type passwords at name prompts, so that what nobody is called leaves this machine as a
    /// stand-in: the same for the same name, and of no use to whoever reads it.
    fn actor(&self, login_name: &str) -> String {
        let user = login_name.rsplit_once('+').map_or(login_name, |(user, _)| user);
        if (self.is_known)(user) {
            return user.to_owned();
        }
        let mut mac = Hmac::<Sha256>::new((&*self.secret).into());
        mac.update(b"session-proxy: a name that nobody has\0");
        mac.update(user.as_bytes());
        let digest = mac.finalize().into_bytes();
        let digest: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        format!("unknown-{digest}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn telling() -> Telling {
        Telling {
            is_known: Box::new(|name| name == "alice"),
            secret: Secret::new([7; SECRET_BYTES]),
            lock_time: Duration::from_secs(3600),
        }
    }

    fn entry(event_type: &str, more: Value) -> Value {
        let mut entry = json!({
            "event_id": "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60", "event_type": event_type,
            "timestamp": "2026-01-31T09:15:27.042Z", "source_ip": "203.0.113.7", "outcome": "failure",
        });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    }

    fn told(event_type: &str, more: Value) -> Value {
        serde_json::to_value(telling().event(&entry(event_type, more)).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn each_way_to_fail_is_what_a_detector_looks_for() {
        for (method, reason, event_type, why) in [
            ("password", "bad_credential", "login.failure", Value::Null),
            ("publickey", "unknown_key", "login.failure", Value::Null),
            ("password+totp", "bad_code", "mfa.failure", json!("wrong_code")),
            ("password+totp", "replayed_code", "mfa.failure", json!("expired_code")),
            ("publickey+totp", "not_enrolled", "mfa.failure", json!("method_unavailable")),
            ("publickey+totp", "code_unavailable", "mfa.failure", json!("method_unavailable")),
            ("password+totp", "too_many_codes", "account.locked", Value::Null),
            ("password", "too_many_failures", "login.failure", Value::Null),
        ] {
            let event = told(
                "login.failed",
                json!({"method": method, "reason": reason, "login_name": "alice+web-1"}),
            );
            assert_eq!(
                (&event["event_type"], &event["failure_reason"]),
                (&json!(event_type), &why),
                "{reason}"
            );
            assert_eq!((&event["actor_id"], &event["source_ip"]), (&json!("alice"), &json!("203.0.113.7")));
            assert_eq!(event["event_id"], "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60");
            assert_eq!(event["outcome"] == "blocked", reason.starts_with("too_many"));
            assert_eq!(event["mfa_method"] == "TOTP", event_type == "mfa.failure");
        }
        let locked = told(
            "login.failed",
            json!({"method": "password+totp", "reason": "too_many_codes", "login_name": "alice"}),
        );
        assert_eq!(locked["lock_until"], "2026-01-31T10:15:27.042Z");
        let success = told(
            "login.succeeded",
            json!({"method": "publickey+totp", "actor_id": "alice", "session_id": "s"}),
        );
        assert_eq!(
            (&success["event_type"], &success["outcome"]),
            (&json!("login.success"), &json!("success"))
        );
        assert_eq!((&success["mfa_method"], &success["session_id"]), (&json!("TOTP"), &json!("s")));
        assert!(telling().event(&entry("session.started", json!({}))).is_none());
    }

    #[test]
    fn what_nobody_is_called_does_not_leave_this_machine() {
        let named = |name: &str| {
            told(
                "login.failed",
                json!({"method": "password", "reason": "bad_credential", "login_name": name}),
            )["actor_id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let secret = named("hunter2");
        assert!(secret.starts_with("unknown-") && !secret.contains("hunter2"));
        assert_eq!(secret, named("hunter2+web-1"));
        assert_ne!(secret, named("hunter3"));
        assert!(named("").starts_with("unknown-"));
    }

    #[test]
    fn stand_ins_are_of_a_secret_of_this_machine_that_is_kept() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let named = |dir: &Path| Telling { secret: secret(dir).unwrap(), ..telling() }.actor("hunter2");
        assert_eq!(named(dir.path()), named(dir.path()));
        assert_ne!(named(dir.path()), named(other.path()));
        std::fs::write(dir.path().join("events-names.secret"), b"short").unwrap();
        assert!(secret(dir.path()).is_err());
    }
}
