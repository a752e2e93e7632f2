//! Events from code.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::wire::Fields;
use super::{
    Code, Event, EventError, EventType, Ext, FailureReason, Fault, GeoLocation, Method, Outcome, RiskContext,
    Timestamp,
};
use crate::id::{ActorId, IdError, Reference};

/// What was said so far. What cannot be is told all together when the event is made.
#[derive(Clone, Debug)]
struct Draft {
    fields: Fields,
    faults: Vec<Fault>,
}

impl Draft {
    fn new(event_type: EventType, actor: &str, outcome: Outcome) -> Self {
        let mut draft = Self {
            fields: Fields { event_type: Some(event_type), outcome: Some(outcome), ..Fields::default() },
            faults: Vec::new(),
        };
        draft.fields.actor_id = draft.kept("/actor_id", ActorId::new(actor));
        draft
    }

    fn kept<T, E: std::fmt::Display>(&mut self, pointer: &str, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| {
                self.faults.push(Fault { pointer: pointer.to_owned(), message: error.to_string() })
            })
            .ok()
    }

    fn event(self) -> Result<Event, EventError> {
        match self.faults.is_empty() {
            true => self.fields.check(),
            false => Err(EventError::new(self.faults)),
        }
    }
}

macro_rules! drafts {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// What is not said is absent, save the time: [`at`](Self::at) must be said. It becomes an [`Event`] by `try_into`, which tells all
        /// mistakes together.
        #[derive(Clone, Debug)]
        #[must_use]
        pub struct $name(Draft);

        impl $name {
            /// When it happened.
            pub fn at(mut self, at: DateTime<Utc>) -> Self {
                self.0.fields.timestamp = self.0.kept("/timestamp", Timestamp::new(at));
                self
            }

            /// Its identity, where it has one already; otherwise it gets a UUID of version 7.
            pub fn id(mut self, id: Uuid) -> Self {
                self.0.fields.event_id = Some(id);
                self
            }

            /// From which address.
            pub fn from(mut self, ip: IpAddr) -> Self {
                self.0.fields.source_ip = Some(ip);
                self
            }

            /// From which place.
            pub fn geo_location(mut self, geo: GeoLocation) -> Self {
                self.0.fields.geo_location = Some(geo);
                self
            }

            /// How likely it is that it was somebody else.
            pub fn risk_context(mut self, risk: RiskContext) -> Self {
                self.0.fields.risk_context = Some(risk);
                self
            }

            /// It was not allowed to work, rather than tried in vain.
            pub fn blocked(mut self) -> Self {
                self.0.fields.outcome = Some(Outcome::Blocked);
                self
            }

            /// What it was about to reach.
            pub fn target(self, id: &str) -> Self {
                self.reference("/target_id", id, |fields| &mut fields.target_id)
            }

            /// The session.
            pub fn session(self, id: &str) -> Self {
                self.reference("/session_id", id, |fields| &mut fields.session_id)
            }

            /// What joins it with other events.
            pub fn correlation(self, id: &str) -> Self {
                self.reference("/correlation_id", id, |fields| &mut fields.correlation_id)
            }

            /// The device.
            pub fn device(self, id: &str) -> Self {
                self.reference("/device_id", id, |fields| &mut fields.device_id)
            }

            /// Why, for machines.
            pub fn reason(self, code: &str) -> Self {
                self.code("/reason", code, |fields| &mut fields.reason)
            }

            /// What happened, for people.
            pub fn message(mut self, text: &str) -> Self {
                self.0.fields.message = Some(text.to_owned());
                self
            }

            /// Fields of your own.
            pub fn ext(mut self, object: Map<String, Value>) -> Self {
                self.0.fields.ext = self.0.kept("/ext", Ext::new(object));
                self
            }

            fn reference(
                mut self,
                pointer: &str,
                id: &str,
                place: impl FnOnce(&mut Fields) -> &mut Option<Reference>,
            ) -> Self {
                let id: Result<Reference, IdError> = Reference::new(id);
                *place(&mut self.0.fields) = self.0.kept(pointer, id);
                self
            }

            fn code(
                mut self,
                pointer: &str,
                code: &str,
                place: impl FnOnce(&mut Fields) -> &mut Option<Code>,
            ) -> Self {
                let code = self.0.kept(pointer, Code::new(code));
                *place(&mut self.0.fields) = code;
                self
            }
        }

        impl TryFrom<$name> for Event {
            type Error = EventError;

            fn try_from(draft: $name) -> Result<Self, EventError> {
                draft.0.event()
            }
        }
    )*};
}

drafts! {
    /// A second factor failed.
    MfaFailure;
    /// An account was locked.
    AccountLocked;
    /// An account was unlocked.
    AccountUnlocked;
    /// Somebody tried to recover an account.
    RecoveryAttempted;
    /// Somebody logged in.
    LoginSuccess;
    /// Somebody did not.
    LoginFailure;
}

impl MfaFailure {
    /// By whom, with what, and why.
    pub fn new(actor: &str, method: Method, reason: FailureReason) -> Self {
        let mut draft = Draft::new(EventType::MfaFailure, actor, Outcome::Failure);
        draft.fields.mfa_method = Some(method);
        draft.fields.failure_reason = Some(reason);
        Self(draft)
    }

    /// How many times it has failed, this time included.
    pub fn attempts(mut self, count: u32) -> Self {
        self.0.fields.failed_attempt_count = Some(count);
        self
    }
}

impl AccountLocked {
    /// Whose. Its outcome is `blocked`.
    pub fn new(actor: &str) -> Self {
        Self(Draft::new(EventType::AccountLocked, actor, Outcome::Blocked))
    }

    /// Failures that led to it.
    pub fn attempts(mut self, count: u32) -> Self {
        self.0.fields.failed_attempt_count = Some(count);
        self
    }

    /// When it opens by itself.
    pub fn until(mut self, at: DateTime<Utc>) -> Self {
        self.0.fields.lock_until = self.0.kept("/lock_until", Timestamp::new(at));
        self
    }

    /// Why.
    pub fn because(self, code: &str) -> Self {
        self.code("/lock_reason", code, |fields| &mut fields.lock_reason)
    }
}

impl AccountUnlocked {
    /// Whose.
    pub fn new(actor: &str) -> Self {
        Self(Draft::new(EventType::AccountUnlocked, actor, Outcome::Success))
    }

    /// How: `administrator`, `expiry`, `self_service`.
    pub fn by(self, code: &str) -> Self {
        self.code("/unlock_method", code, |fields| &mut fields.unlock_method)
    }
}

impl RecoveryAttempted {
    /// Of whose account.
    pub fn new(actor: &str) -> Self {
        Self(Draft::new(EventType::RecoveryAttempted, actor, Outcome::Failure))
    }

    /// How: `email_link`, `backup_code`, `help_desk`.
    pub fn by(self, code: &str) -> Self {
        self.code("/recovery_method", code, |fields| &mut fields.recovery_method)
    }
}

impl LoginSuccess {
    /// Who.
    pub fn new(actor: &str) -> Self {
        Self(Draft::new(EventType::LoginSuccess, actor, Outcome::Success))
    }

    /// With which second factor.
    pub fn with(mut self, method: Method) -> Self {
        self.0.fields.mfa_method = Some(method);
        self
    }
}

impl LoginFailure {
    /// Who.
    pub fn new(actor: &str) -> Self {
        Self(Draft::new(EventType::LoginFailure, actor, Outcome::Failure))
    }

    /// The second factor that was asked for.
    pub fn with(mut self, method: Method) -> Self {
        self.0.fields.mfa_method = Some(method);
        self
    }

    /// How many times it has failed, this time included.
    pub fn attempts(mut self, count: u32) -> Self {
        self.0.fields.failed_attempt_count = Some(count);
        self
    }
}
