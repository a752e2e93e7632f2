//! Two days of a company, drawn from a seed: the day before as it should be, and the last 24 hours with three attacks in them.

use std::net::{IpAddr, Ipv4Addr};

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use fastrand::Rng;
use mfa_events::event::{Country, EventError, FailureReason, GeoLocation, Method};
use mfa_events::{
    AccountLocked, AccountUnlocked, Event, LoginFailure, LoginSuccess, MfaFailure, RecoveryAttempted,
};

/// People who work there.
const PEOPLE: u64 = 400;

/// Logins of a person within a day of the week, by the hour of the day (UTC), in hundredths.
const PER_HOUR: [u64; 24] =
    [2, 1, 1, 1, 3, 10, 35, 80, 110, 70, 50, 45, 60, 70, 55, 50, 45, 40, 25, 15, 10, 8, 5, 3];

/// Countries of its offices, each behind one address of its own (RFC 5737).
const OFFICES: [(&str, Ipv4Addr); 3] = [
    ("DE", Ipv4Addr::new(198, 51, 100, 10)),
    ("FR", Ipv4Addr::new(198, 51, 100, 20)),
    ("US", Ipv4Addr::new(198, 51, 100, 30)),
];

/// Where attackers come from: no country of anybody's (ISO 3166 leaves `ZZ` to whoever uses it).
const NOWHERE: &str = "ZZ";

/// An attack of the day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attack {
    Stuffing,
    Fatigue,
    Recovery,
}

impl Attack {
    pub(crate) const ALL: [Self; 3] = [Self::Stuffing, Self::Fatigue, Self::Recovery];

    /// What happens, for people.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Stuffing => {
                "credential stuffing: 203.0.113.7 tries the passwords of 70 people within 4 minutes"
            }
            Self::Fatigue => {
                "MFA fatigue: person-0042 is asked 16 times in 8 minutes, and says yes in the end"
            }
            Self::Recovery => {
                "recovery wave: 60 accounts are said to be lost within 15 minutes, from many addresses"
            }
        }
    }

    /// Hours before the end of the day when it begins.
    fn hours_ago(self) -> i64 {
        match self {
            Self::Stuffing => 13,
            Self::Fatigue => 8,
            Self::Recovery => 3,
        }
    }

    pub(crate) fn begins(self, end: DateTime<Utc>) -> DateTime<Utc> {
        end - TimeDelta::hours(self.hours_ago()) + TimeDelta::minutes(17)
    }
}

/// Events of the 48 hours before `end`, in order.
pub(crate) fn events(end: DateTime<Utc>, seed: u64) -> Result<Vec<Event>, EventError> {
    let mut day = Day { rng: Rng::with_seed(seed), events: Vec::new() };
    let begin = end - TimeDelta::hours(48);
    for hour in 0..48 {
        let from = begin + TimeDelta::hours(hour);
        let share =
            PER_HOUR.get(usize::try_from(from.hour()).unwrap_or_default()).copied().unwrap_or_default();
        // Half as many again, or as few, by chance.
        let logins = PEOPLE * share / 100;
        let logins = day.rng.u64(logins - logins / 6..=logins + logins / 6);
        for _ in 0..logins {
            let at = from + TimeDelta::milliseconds(day.rng.i64(0..3_600_000));
            day.login(at)?;
        }
    }
    for attack in Attack::ALL {
        let at = attack.begins(end);
        match attack {
            Attack::Stuffing => day.stuffing(at)?,
            Attack::Fatigue => day.fatigue(at)?,
            Attack::Recovery => day.recovery(at)?,
        }
    }
    let mut events: Vec<_> = day.events.into_iter().filter(|event| event.at().as_datetime() < end).collect();
    events.sort_by_key(Event::at);
    Ok(events)
}

struct Day {
    rng: Rng,
    events: Vec<Event>,
}

fn person(number: u64) -> String {
    format!("person-{number:04}")
}

fn place(country: &str) -> GeoLocation {
    GeoLocation { country: Country::new(country).ok(), ..GeoLocation::default() }
}

impl Day {
    fn add(&mut self, event: Result<Event, EventError>) -> Result<(), EventError> {
        self.events.push(event?);
        Ok(())
    }

    /// Somebody logs in, as people do: now and then a password or a code is wrong, and rarely so often that it ends badly.
    fn login(&mut self, at: DateTime<Utc>) -> Result<(), EventError> {
        let number = self.rng.u64(0..PEOPLE);
        let actor = person(number);
        let (country, office) = if number % 10 < 6 {
            OFFICES[0]
        } else if number % 10 < 8 {
            OFFICES[1]
        } else {
            OFFICES[2]
        };
        let ip: IpAddr = match self.rng.u8(0..4) {
            // At home.
            0 => Ipv4Addr::new(192, 0, 2, u8::try_from(number % 250).unwrap_or_default()).into(),
            _ => office.into(),
        };
        let method = match number % 10 {
            0..5 => Method::Push,
            5..8 => Method::Totp,
            8 => Method::Fido2,
            _ => Method::HardwareToken,
        };
        let second = TimeDelta::seconds;
        let mut at = at;
        let mut wrong = 0;
        while wrong < 5 && self.rng.u8(0..100) < if wrong == 0 { 4 } else { 30 } {
            wrong += 1;
            let failed =
                LoginFailure::new(&actor).attempts(wrong).from(ip).geo_location(place(country)).at(at);
            self.add(failed.try_into())?;
            at += second(self.rng.i64(4..30));
        }
        if wrong == 5 {
            let locked = AccountLocked::new(&actor)
                .attempts(5)
                .because("too_many_failures")
                .until(at + second(900))
                .from(ip);
            self.add(locked.geo_location(place(country)).at(at).try_into())?;
            let unlocked = AccountUnlocked::new(&actor).by("expiry").at(at + second(900));
            return self.add(unlocked.try_into());
        }
        if self.rng.u16(0..1_000) < 3 {
            let recovery =
                RecoveryAttempted::new(&actor).by("email_link").from(ip).geo_location(place(country));
            self.add(recovery.at(at).try_into())?;
            at += second(self.rng.i64(60..300));
        }
        if self.rng.u8(0..100) < 3 {
            let reason = match method {
                Method::Push => FailureReason::PushTimeout,
                Method::Totp => FailureReason::ExpiredCode,
                _ => FailureReason::MethodUnavailable,
            };
            let failed =
                MfaFailure::new(&actor, method, reason).attempts(1).from(ip).geo_location(place(country));
            self.add(failed.at(at).try_into())?;
            at += second(self.rng.i64(10..40));
        }
        let success = LoginSuccess::new(&actor).with(method).from(ip).geo_location(place(country)).at(at);
        self.add(success.try_into())
    }

    fn stuffing(&mut self, begins: DateTime<Utc>) -> Result<(), EventError> {
        let ip: IpAddr = Ipv4Addr::new(203, 0, 113, 7).into();
        let mut people: Vec<u64> = (0..PEOPLE).collect();
        self.rng.shuffle(&mut people);
        for number in people.into_iter().take(70) {
            let at = begins + TimeDelta::milliseconds(self.rng.i64(0..240_000));
            let failed = LoginFailure::new(&person(number)).attempts(1).from(ip).geo_location(place(NOWHERE));
            self.add(failed.at(at).try_into())?;
        }
        Ok(())
    }

    fn fatigue(&mut self, begins: DateTime<Utc>) -> Result<(), EventError> {
        let ip: IpAddr = Ipv4Addr::new(203, 0, 113, 66).into();
        let actor = person(42);
        for asked in 0..16 {
            let at = begins + TimeDelta::seconds(i64::from(asked) * 30);
            let reason = match asked % 3 {
                0 => FailureReason::PushTimeout,
                _ => FailureReason::PushDenied,
            };
            let failed = MfaFailure::new(&actor, Method::Push, reason).attempts(asked + 1).from(ip);
            self.add(failed.geo_location(place(NOWHERE)).at(at).try_into())?;
        }
        let at = begins + TimeDelta::seconds(16 * 30 + 12);
        let success = LoginSuccess::new(&actor).with(Method::Push).from(ip).geo_location(place(NOWHERE));
        self.add(success.at(at).try_into())
    }

    fn recovery(&mut self, begins: DateTime<Utc>) -> Result<(), EventError> {
        for number in 0..60 {
            let at = begins + TimeDelta::milliseconds(self.rng.i64(0..900_000));
            let ip: IpAddr = Ipv4Addr::new(203, 0, 113, self.rng.u8(100..250)).into();
            let method = if self.rng.bool() { "email_link" } else { "help_desk" };
            let attempted = RecoveryAttempted::new(&person(number * 6)).by(method).from(ip);
            self.add(attempted.geo_location(place(NOWHERE)).at(at).try_into())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mfa_events::EventType;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_days_with_the_attacks_in_the_second() {
        let end: DateTime<Utc> = "2026-01-31T17:00:00Z".parse().unwrap();
        let what = |events: &[Event]| -> Vec<String> {
            events
                .iter()
                .map(|event| format!("{} {} {}", event.at(), event.event_type(), event.actor()))
                .collect()
        };
        let days = events(end, 1).unwrap();
        assert_eq!(what(&days), what(&events(end, 1).unwrap()));
        assert_ne!(what(&days), what(&events(end, 2).unwrap()));
        assert!(days.is_sorted_by_key(Event::at) && days.len() > 5_000, "{}", days.len());
        let middle = end - TimeDelta::hours(24);
        let count = |kind: EventType, from: DateTime<Utc>, to: DateTime<Utc>| {
            let within = |event: &&Event| (from..to).contains(&event.at().as_datetime());
            days.iter().filter(within).filter(|event| event.event_type() == kind).count()
        };
        assert!(count(EventType::RecoveryAttempted, middle, end) >= 60);
        assert!(count(EventType::RecoveryAttempted, end - TimeDelta::hours(48), middle) < 30);
        for hour in [3, 8] {
            let day: DateTime<Utc> = "2026-01-31T00:00:00Z".parse().unwrap();
            let from = day + TimeDelta::hours(hour);
            let logins = count(EventType::LoginSuccess, from, from + TimeDelta::hours(1));
            assert_eq!(logins > 200, hour == 8, "people sleep at night: {logins} at {hour}");
        }
    }
}
