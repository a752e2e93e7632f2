//! What goes wrong with applications, and when.

use chrono::{DateTime, TimeDelta, Utc};

/// A way of being broken.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// Nobody listens.
    Down,
    /// The token has ended: until somebody who was told puts in a new one.
    Expired,
    /// Most answers are lost, and what was asked is done.
    LostAnswers,
    /// Eight times as slow as usual.
    Slow,
    /// More than ten seconds for each request.
    OverCeiling,
    /// Asked to come back later, again and again.
    Limited,
    /// An attribute is required that the mapping does not have: until somebody who was told mends the mapping.
    Refuses,
    /// 200 without effect.
    Lies,
    /// A third of all people get a 503.
    Partial,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Down,
        Self::Expired,
        Self::LostAnswers,
        Self::Slow,
        Self::OverCeiling,
        Self::Limited,
        Self::Refuses,
        Self::Lies,
        Self::Partial,
    ];

    /// Whether it ends only when somebody mends it.
    pub(crate) fn is_mended(self) -> bool {
        matches!(self, Self::Expired | Self::Refuses)
    }

    /// Whether nothing at all goes through, so that a probe shows it.
    pub(crate) fn is_total(self) -> bool {
        matches!(self, Self::Down | Self::Expired | Self::Limited | Self::OverCeiling)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Expired => "token expired",
            Self::LostAnswers => "lost answers",
            Self::Slow => "slow",
            Self::OverCeiling => "over 10 s",
            Self::Limited => "rate limited",
            Self::Refuses => "schema changed",
            Self::Lies => "lies",
            Self::Partial => "partial outage",
        }
    }
}

/// A time in which an application is broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) begins: DateTime<Utc>,
    /// Far away while nobody has mended it.
    pub(crate) ends: DateTime<Utc>,
    /// When a request was first the worse for it.
    pub(crate) felt_at: Option<DateTime<Utc>>,
}

impl Fault {
    pub(crate) fn is_on(&self, now: DateTime<Utc>) -> bool {
        self.begins <= now && now < self.ends
    }
}

/// Faults of one application over a day, one after the other; and moments at which a single request fails.
pub(crate) fn plan(
    dice: &mut fastrand::Rng,
    midnight: DateTime<Utc>,
    hours: i64,
    kinds: &[Kind],
) -> (Vec<Fault>, Vec<DateTime<Utc>>) {
    let minute = |minute: i64| midnight + TimeDelta::minutes(minute);
    let mut faults: Vec<Fault> = Vec::new();
    let mut from = dice.i64(20..360);
    while from < hours * 60 - 120 {
        let kind = kinds[dice.usize(..kinds.len())];
        // From a minute to four hours, short ones as often as long ones.
        let lasts = 240.0_f64.powf(dice.f64()) as i64;
        let until = (from + lasts).min(hours * 60 - 30);
        let begins = minute(from) + TimeDelta::milliseconds(dice.i64(0..60_000));
        let ends = if kind.is_mended() { midnight + TimeDelta::days(30) } else { minute(until) };
        faults.push(Fault { kind, begins, ends: ends.max(begins + TimeDelta::seconds(20)), felt_at: None });
        // Nobody can know when it is mended: it is the last one.
        if kind.is_mended() {
            break;
        }
        from = until + dice.i64(60..600);
    }
    // Well apart from each other and from faults, so that each is one of its own.
    let mut blips = Vec::new();
    let mut at = dice.i64(10..240);
    while at < hours * 60 {
        let (soon, late) = (minute(at - 10), minute(at + 10));
        if faults.iter().all(|fault| fault.ends < soon || late < fault.begins) {
            blips.push(minute(at));
        }
        at += dice.i64(120..480);
    }
    (faults, blips)
}
