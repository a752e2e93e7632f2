//! Enumerations, as they stand in the published schema.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As it stands in an event.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

words! {
    /// What an event tells of.
    EventType {
        /// A second factor failed.
        MfaFailure = "mfa.failure",
        /// An account was locked.
        AccountLocked = "account.locked",
        /// An account was unlocked.
        AccountUnlocked = "account.unlocked",
        /// Somebody tried to recover an account.
        RecoveryAttempted = "recovery.attempted",
        /// Somebody logged in.
        LoginSuccess = "login.success",
        /// Somebody did not.
        LoginFailure = "login.failure",
    }

    /// A second factor.
    Method {
        /// A one-time code from an authenticator (RFC 6238).
        Totp = "TOTP",
        /// A question on a phone.
        Push = "push",
        /// A device that shows or types a code.
        HardwareToken = "hardware_token",
        /// A key after FIDO2, passkeys included.
        Fido2 = "FIDO2",
    }

    /// What was wrong with a second factor.
    FailureReason {
        /// It was none of the codes that count.
        WrongCode = "wrong_code",
        /// It was right once.
        ExpiredCode = "expired_code",
        /// The factor could not be asked.
        MethodUnavailable = "method_unavailable",
        /// The person said no.
        PushDenied = "push_denied",
        /// The person said nothing.
        PushTimeout = "push_timeout",
    }

    /// How it ended.
    Outcome {
        /// As it was meant to.
        Success = "success",
        /// It did not work.
        Failure = "failure",
        /// It was not allowed to work.
        Blocked = "blocked",
    }
}

impl EventType {
    /// How an event of this type can end.
    pub fn outcomes(self) -> &'static [Outcome] {
        match self {
            Self::MfaFailure | Self::AccountLocked | Self::RecoveryAttempted | Self::LoginFailure => {
                &[Outcome::Failure, Outcome::Blocked]
            }
            Self::AccountUnlocked => Outcome::ALL,
            Self::LoginSuccess => &[Outcome::Success],
        }
    }
}
