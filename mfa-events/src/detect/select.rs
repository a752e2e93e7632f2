//! Selectors as bit masks: most events are passed over by one comparison.

use super::group::Facts;
use super::rule::Selector;
use crate::event::{Code, Detail, Event, EventType, FailureReason, Method, Outcome};

/// One bit for each value of each enumeration, and one for the absence of those that may be absent.
pub(super) fn features(event: &Event) -> u32 {
    let (method, reason) = match event.detail() {
        Detail::MfaFailure { method, reason, .. } => (Some(*method), Some(*reason)),
        Detail::LoginSuccess { method } | Detail::LoginFailure { method, .. } => (*method, None),
        _ => (None, None),
    };
    let method = method.map_or(NO_METHOD, method_bit);
    let reason = reason.map_or(NO_REASON, reason_bit);
    type_bit(event.event_type()) | outcome_bit(event.outcome()) | method | reason
}

pub(super) fn type_bit(of: EventType) -> u32 {
    1 << match of {
        EventType::MfaFailure => 0,
        EventType::AccountLocked => 1,
        EventType::AccountUnlocked => 2,
        EventType::RecoveryAttempted => 3,
        EventType::LoginSuccess => 4,
        EventType::LoginFailure => 5,
    }
}

/// Which type an event has: the number of its bit.
pub(super) fn type_of(features: u32) -> usize {
    usize::try_from((features & TYPES).trailing_zeros()).unwrap_or_default()
}

fn outcome_bit(outcome: Outcome) -> u32 {
    1 << match outcome {
        Outcome::Success => 6,
        Outcome::Failure => 7,
        Outcome::Blocked => 8,
    }
}

fn method_bit(method: Method) -> u32 {
    1 << match method {
        Method::Totp => 9,
        Method::Push => 10,
        Method::HardwareToken => 11,
        Method::Fido2 => 12,
    }
}

fn reason_bit(reason: FailureReason) -> u32 {
    1 << match reason {
        FailureReason::WrongCode => 14,
        FailureReason::ExpiredCode => 15,
        FailureReason::MethodUnavailable => 16,
        FailureReason::PushDenied => 17,
        FailureReason::PushTimeout => 18,
    }
}

const TYPES: u32 = 0x3f;
const OUTCOMES: u32 = 0x7 << 6;
const NO_METHOD: u32 = 1 << 13;
const METHODS: u32 = 0x1f << 9;
const NO_REASON: u32 = 1 << 19;
const REASONS: u32 = 0x3f << 14;

/// Which of an event's methods it has: a number from 0 to 3.
pub(super) fn method_of(features: u32) -> Option<usize> {
    let bit = features & METHODS & !NO_METHOD;
    (bit != 0).then(|| usize::try_from(bit.trailing_zeros().saturating_sub(9)).unwrap_or_default())
}

/// Whether it ended well.
pub(super) fn is_success(features: u32) -> bool {
    features & outcome_bit(Outcome::Success) != 0
}

/// Whether a login may have been by an answered push.
pub(super) fn may_be_push(features: u32) -> bool {
    features & (method_bit(Method::Push) | NO_METHOD) != 0
}

/// A selector, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    allowed: u32,
    /// Where it asks for codes, too: of which type of event, and which.
    codes: Vec<(u32, Vec<Code>)>,
}

impl Mask {
    pub(super) fn new(select: &Selector) -> Self {
        fn bits<T: Copy>(values: &[T], all: u32, bit: impl Fn(T) -> u32) -> u32 {
            match values.is_empty() {
                true => all,
                false => values.iter().map(|value| bit(*value)).fold(0, |bits, bit| bits | bit),
            }
        }
        let allowed = bits(&select.event_type, TYPES, type_bit)
            | bits(&select.outcome, OUTCOMES, outcome_bit)
            | bits(&select.mfa_method, METHODS, method_bit)
            | bits(&select.failure_reason, REASONS, reason_bit);
        let codes = [
            (EventType::RecoveryAttempted, &select.recovery_method),
            (EventType::AccountLocked, &select.lock_reason),
            (EventType::AccountUnlocked, &select.unlock_method),
        ];
        let codes = codes.into_iter().filter(|(_, codes)| !codes.is_empty());
        Self { allowed, codes: codes.map(|(of, codes)| (type_bit(of), codes.clone())).collect() }
    }

    pub(super) fn takes(&self, facts: &Facts) -> bool {
        facts.features & !self.allowed == 0
            && self.codes.iter().all(|(of, codes)| {
                facts.features & of != 0 && facts.code.as_ref().is_some_and(|code| codes.contains(code))
            })
    }

    pub(super) fn may_take(&self, of: EventType) -> bool {
        self.allowed & type_bit(of) != 0
    }
}
