//! `[limits]` of the settings file: the engine's named limits, where the defaults do not suit.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::Deserialize;
use session_filter::ssh::Limits;

/// Names and meanings are those of [`Limits`].
macro_rules! limits {
    ($($name:ident: $kind:ty,)*) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct LimitsToml {
            $($name: Option<$kind>,)*
        }

        impl LimitsToml {
            /// `limits` with what is stated here instead.
            pub(crate) fn over(&self, mut limits: Limits) -> Limits {
                $(if let Some(stated) = self.$name {
                    limits.$name = stated.into();
                })*
                limits
            }
        }
    };
}

limits! {
    login_grace: Time,
    choice_time: Time,
    unauthenticated_max: NonZeroUsize,
    unauthenticated_per_source_max: NonZeroUsize,
    connections_max: NonZeroUsize,
    target_connections_max: NonZeroUsize,
    login_attempts_max: NonZeroUsize,
    login_failures_max: NonZeroUsize,
    login_failures_per_source_max: NonZeroUsize,
    login_failure_window: Time,
    code_failures_max: NonZeroUsize,
    code_failure_window: Time,
    offered_keys_max: NonZeroUsize,
    sessions_per_user_max: NonZeroUsize,
    channels_max: NonZeroUsize,
    listeners_max: NonZeroUsize,
    pending_bytes_max: NonZeroUsize,
    upload_stall: Time,
    refusals_max: NonZeroU64,
    target_timeout: Time,
    gatekeeper_timeout: Time,
    farewell: Time,
    reevaluate_every: Time,
    keepalive_every: Time,
    output_ahead_max: NonZeroUsize,
}

/// Longest time that a limit may state.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A time such as `"400ms"`, `"30s"`, `"5m"`, `"1h"`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Time(Duration);

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a time such as 400ms, 30s, 5m, 1h", text.escape_debug());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (count, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let time = Duration::from_millis(count.checked_mul(unit_ms).ok_or_else(wrong)?);
        match time.is_zero() || time > TIME_MAX {
            true => Err(format!("`{text}` is not between 1ms and 24h")),
            false => Ok(Self(time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_replaces_the_default_and_the_rest_stays() {
        let stated: LimitsToml =
            toml::from_str("login_grace = \"5s\"\nchannels_max = 3\nfarewell = \"250ms\"\n").unwrap();
        let mut expected = Limits::default();
        expected.login_grace = Duration::from_secs(5);
        expected.channels_max = 3;
        expected.farewell = Duration::from_millis(250);
        assert_eq!(stated.over(Limits::default()), expected);
    }

    #[test]
    fn every_limit_of_the_engine_can_be_stated() {
        let shown = format!("{:?}", Limits::default());
        let fields = shown.trim_start_matches("Limits {").trim_end_matches('}').split(',');
        let names: Vec<&str> = fields.filter_map(|field| field.split(':').next()).map(str::trim).collect();
        assert!(names.len() > 15 && names.contains(&"login_grace"), "{names:?}");
        for name in names {
            let stated = |value: &str| toml::from_str::<LimitsToml>(&format!("{name} = {value}")).is_ok();
            assert!(stated("7") || stated("\"7s\""), "{name}");
        }
    }

    #[test]
    fn zero_unknown_names_and_other_units_are_mistakes() {
        for text in [
            "channels_max = 0",
            "channels = 3",
            "login_grace = \"5\"",
            "login_grace = \"0s\"",
            "login_grace = \"s\"",
            "login_grace = \"5 s\"",
            "login_grace = \"25h\"",
            "login_grace = \"99999999999999999999s\"",
            "login_grace = \"18446744073709551615h\"",
        ] {
            assert!(toml::from_str::<LimitsToml>(text).is_err(), "{text}");
        }
    }
}
