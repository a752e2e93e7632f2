//! How a connector is: what was seen goes in, and what changed comes out. Pure: time is an argument.
//!
//! Four dimensions are judged apart, and the connector is as its worst one:
//!
//! ```text
//!                    first success
//!        Unknown ──────────────────▶ Healthy ◀──────────────────────────┐
//!           │                           │  one failure: noted, no alert │ 3 successes and 5 min
//!           │ 2 failed cycles running, or one refused credential, or    │ without a failure
//!           ▼ a detector                ▼                               │
//!           └──────────────────▶ Degraded ── 10 min ──▶ Failed ─────────┤
//!                                    └──────────────────────────────────┘
//! ```
//!
//! The detectors: too great a part of recent operations failed; failures use up the error budget (the multiwindow burn rates of
//! Google's SRE workbook, chapter 5); nothing was confirmed for too long; latency is far from what it usually is; the credential has
//! ended.
//!
//! Attempts are no health, and silence is a failure: only a *confirmed* success heals, and never time alone.

pub(crate) mod explain;
mod latency;
pub(crate) mod moment;
mod observation;
mod thresholds;
mod tier;
mod track;
mod window;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use latency::{Latency, Pace};
use moment::{Elapsed, Moment};
use observation::Seen;
use thresholds::ms;
use track::Track;
use window::Outcomes;

pub use observation::Observation;
pub use thresholds::{EXPIRY_WARNINGS_MAX, Thresholds};
pub use tier::{Dimension, FailureClass, Tier};
pub use track::{Step, StepKind};

/// Longest time for which [`Observation::paused_until`] excuses silence, in seconds: 30 days.
pub const PAUSE_MAX_S: u64 = 30 * 24 * 3_600;

/// Most memory that the state of one monitor takes, in bytes.
///
/// Two rings of counters (360 and 144 buckets of 16 bytes, up to twice that as they grow), 64 recent latencies, 64 of the present
/// cycle, 64 buckets of what is usual, and four samples of at most [`SAMPLE_BYTES_MAX`](crate::alert::SAMPLE_BYTES_MAX) bytes.
pub const STATE_BYTES_MAX: usize = 24 * 1_024;

/// The health of one connector.
#[derive(Clone, Debug)]
pub struct Monitor {
    thresholds: Thresholds,
    state: State,
}

/// What a monitor knows. To be kept (it serialises), so that a restart forgets neither since when something fails, nor hold-downs,
/// nor what latency is usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    elapsed: Elapsed,
    began: Option<Moment>,
    tracks: [Track; 4],
    outcomes: Outcomes,
    latency: Latency,
    cycle: Cycle,
    failing_cycles: u32,
    confirmed_at: Option<DateTime<Utc>>,
    confirmed: Option<Moment>,
    paused_until: Option<Moment>,
    answering: bool,
    probes_failed: u32,
    probe_due: Moment,
    credential_ends: Option<DateTime<Utc>>,
    /// Smallest number of days at which was warned of the credential's end.
    warned_days: Option<u32>,
    expired: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cycle {
    confirmed: u64,
    failed: u64,
    refused: u64,
}

/// What one observation, or the passing of time, changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The connector's tier before.
    pub previous: Tier,
    /// The connector's tier after: that of its worst dimension.
    pub tier: Tier,
    /// The worst dimension, where the connector is not healthy.
    pub dimension: Option<Dimension>,
    /// The kind of its failure, where it has one.
    pub class: Option<FailureClass>,
    /// The application answers again: replay may start now, deprovisionings first, though the connector is not healthy yet.
    pub answers_again: bool,
    /// What happened to each dimension, in order.
    pub steps: Vec<Step>,
}

/// How one dimension is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DimensionStatus<'a> {
    /// Which one.
    pub dimension: Dimension,
    /// How it is.
    pub tier: Tier,
    /// Of what kind its failure is, while it is bad.
    pub class: Option<FailureClass>,
    /// First failure of the run that is on.
    pub first_failure_at: Option<DateTime<Utc>>,
    /// Last failure ever.
    pub last_failure_at: Option<DateTime<Utc>>,
    /// Last success ever, in this respect.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Failures in the run that is on.
    pub failures: u64,
    /// What the last failure of the run said, redacted.
    pub sample: Option<&'a str>,
    /// Whether it goes well, and is only not healthy for the hold-down.
    pub recovering: bool,
}

/// What may be sent to a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Due work; where nothing is due, a probe.
    Work,
    /// One probe and nothing else: it does not answer, or refuses the credential, and each try may lock an account.
    Probe,
    /// Nothing before then.
    Wait {
        /// When a probe is due.
        until: DateTime<Utc>,
    },
}

impl State {
    fn track(&mut self, dimension: Dimension) -> &mut Track {
        let [authentication, connectivity, sync, latency] = &mut self.tracks;
        match dimension {
            Dimension::Authentication => authentication,
            Dimension::Connectivity => connectivity,
            Dimension::Sync => sync,
            Dimension::Latency => latency,
        }
    }
}

impl Monitor {
    /// Of a connector of which nothing is known yet. It is not healthy.
    pub fn new(thresholds: Thresholds) -> Self {
        let state = State {
            elapsed: Elapsed::default(),
            began: None,
            tracks: Dimension::ALL.map(Track::new),
            outcomes: Outcomes::default(),
            latency: Latency::default(),
            cycle: Cycle::default(),
            failing_cycles: 0,
            confirmed_at: None,
            confirmed: None,
            paused_until: None,
            answering: false,
            probes_failed: 0,
            probe_due: Moment::default(),
            credential_ends: None,
            warned_days: None,
            expired: false,
        };
        Self { thresholds, state }
    }

    /// Goes on where [`state`](Self::state) was taken. The time between counts: what was not confirmed in it is silence.
    pub fn restore(thresholds: Thresholds, state: State) -> Self {
        let mut restored = Self::new(thresholds);
        // Another order of dimensions would judge one by another's past.
        if state.tracks.iter().map(|track| track.dimension).eq(Dimension::ALL) {
            restored.state = state;
        }
        restored
    }

    /// What it knows, to be kept.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes what was seen at `now`, and says what it changed.
    ///
    /// Observations are given in the order in which they were made. A `now` before the last one counts as no time having passed.
    pub fn observe(&mut self, observation: Observation, now: DateTime<Utc>) -> Option<Change> {
        let (before, answered) = (self.tier(), self.state.answering);
        let t = self.advance(now);
        let mut steps = Vec::new();
        match observation.seen {
            Seen::Confirmed { latency_ms } => self.confirmed(latency_ms, now, t, &mut steps),
            Seen::Answered { latency_ms } => {
                self.state.latency.add(latency_ms, t);
                self.state.outcomes.add(true, t);
            }
            Seen::Failed { class, sample } => self.failed(class, &sample, now, t, &mut steps),
            Seen::CycleEnded { undelivered, blame } => {
                self.cycle_ended(undelivered, blame, now, t, &mut steps);
            }
            Seen::ProbeConfirmed { latency_ms } => {
                self.confirmed(latency_ms, now, t, &mut steps);
                self.cycle_ended(0, None, now, t, &mut steps);
            }
            Seen::ProbeFailed { class, sample } => {
                self.failed(class, &sample, now, t, &mut steps);
                self.cycle_ended(1, None, now, t, &mut steps);
            }
            Seen::CredentialEnds(at) => self.credential_ends(at),
            Seen::CredentialReplaced => {
                self.state.probes_failed = 0;
                self.state.probe_due = t;
            }
            Seen::PausedUntil(at) => {
                let wait = at.signed_duration_since(now).num_milliseconds().clamp(0, ms(PAUSE_MAX_S));
                self.state.paused_until = Some(t.plus(wait));
            }
        }
        self.pass_time(now, t, &mut steps);
        let answers_again = before != Tier::Healthy && !answered && self.state.answering;
        self.change(before, answers_again, steps)
    }

    /// Lets time pass. To be called at [`next_deadline`](Self::next_deadline), or more often.
    pub fn tick(&mut self, now: DateTime<Utc>) -> Option<Change> {
        let before = self.tier();
        let t = self.advance(now);
        let mut steps = Vec::new();
        self.pass_time(now, t, &mut steps);
        self.change(before, false, steps)
    }

    /// When [`tick`](Self::tick) next has something to do, should nothing be observed before; `None` while nothing was ever told.
    pub fn next_deadline(&self) -> Option<DateTime<Utc>> {
        let thresholds = &self.thresholds;
        let fails = self.state.tracks.iter().filter_map(|track| track.fails_at(thresholds));
        let recovers_not = self.state.tracks.iter().any(|track| track.recovering.is_some());
        let moments = fails
            .chain((recovers_not || self.would_be_stale()).then(|| self.stale_moment()).flatten())
            .min()
            .and_then(|moment| self.state.elapsed.wall(moment));
        [moments, self.expiry_deadline()].into_iter().flatten().min()
    }

    /// The connector's tier: that of its worst dimension.
    pub fn tier(&self) -> Tier {
        self.state.tracks.iter().map(|track| track.tier).max().unwrap_or(Tier::Unknown)
    }

    /// The worst dimension: among equals one that goes on failing before one that recovers, then in the order of [`Dimension`].
    pub fn worst(&self) -> DimensionStatus<'_> {
        let [first, others @ ..] = &self.state.tracks;
        let key = |track: &Track| (track.tier, track.recovering.is_none());
        let worst =
            others.iter().fold(first, |worst, track| if key(track) > key(worst) { track } else { worst });
        status(worst)
    }

    /// How each dimension is.
    pub fn dimensions(&self) -> impl Iterator<Item = DimensionStatus<'_>> {
        self.state.tracks.iter().map(status)
    }

    /// Last time that something was confirmed, in any respect.
    pub fn last_success_at(&self) -> Option<DateTime<Utc>> {
        self.state.confirmed_at
    }

    /// When the credential ends, where it is near enough to be warned of or past.
    pub fn expiring(&self) -> Option<DateTime<Utc>> {
        self.state.credential_ends.filter(|_| self.state.warned_days.is_some() || self.state.expired)
    }

    /// How many days before its end was last warned of.
    pub(crate) fn warned_days(&self) -> Option<u32> {
        self.state.warned_days
    }

    /// What may be sent at `now`.
    ///
    /// While a connector does not answer or refuses the credential, one probe at a time, ever more seldom; the first good one opens
    /// it for work at once.
    pub fn gate(&self, now: DateTime<Utc>) -> Gate {
        let shut = self.state.tracks.iter().any(|track| {
            matches!(track.dimension, Dimension::Authentication | Dimension::Connectivity)
                && track.tier.is_bad()
        });
        if !shut || self.state.answering {
            return Gate::Work;
        }
        let t = self.state.elapsed.at(now);
        if t >= self.state.probe_due {
            return Gate::Probe;
        }
        let left = TimeDelta::try_milliseconds(self.state.probe_due.since(t));
        left.and_then(|left| now.checked_add_signed(left)).map_or(Gate::Probe, |until| Gate::Wait { until })
    }

    fn advance(&mut self, now: DateTime<Utc>) -> Moment {
        let t = self.state.elapsed.advance(now);
        self.state.began.get_or_insert(t);
        t
    }

    fn change(&self, previous: Tier, answers_again: bool, steps: Vec<Step>) -> Option<Change> {
        if steps.is_empty() && !answers_again {
            return None;
        }
        let worst = self.worst();
        let dimension = (worst.tier != Tier::Healthy).then_some(worst.dimension);
        Some(Change { previous, tier: worst.tier, dimension, class: worst.class, answers_again, steps })
    }

    fn succeed(&mut self, dimension: Dimension, now: DateTime<Utc>, t: Moment, steps: &mut Vec<Step>) {
        let step = self.state.track(dimension).succeed(&self.thresholds, now, t);
        // Whatever failed, it counted as failed operations, too.
        if step.is_some_and(|step| step.kind == StepKind::Recovered) {
            self.state.outcomes.forget();
        }
        steps.extend(step);
    }

    fn degrade(&mut self, class: FailureClass, now: DateTime<Utc>, t: Moment, steps: &mut Vec<Step>) {
        steps.extend(self.state.track(class.dimension()).degrade(class, &self.thresholds, now, t));
    }

    fn confirmed(&mut self, latency_ms: u32, now: DateTime<Utc>, t: Moment, steps: &mut Vec<Step>) {
        self.state.latency.add(latency_ms, t);
        self.state.outcomes.add(true, t);
        self.state.cycle.confirmed = self.state.cycle.confirmed.saturating_add(1);
        self.state.confirmed_at = Some(now);
        self.state.confirmed = Some(t);
        self.state.answering = true;
        self.state.probes_failed = 0;
        self.succeed(Dimension::Connectivity, now, t, steps);
        // A credential past its end that is still taken is none to rely on: only a new one heals.
        if !self.state.expired {
            self.succeed(Dimension::Authentication, now, t, steps);
        }
        self.succeed(Dimension::Sync, now, t, steps);
    }

    fn failed(
        &mut self,
        class: FailureClass,
        sample: &str,
        now: DateTime<Utc>,
        t: Moment,
        steps: &mut Vec<Step>,
    ) {
        self.state.cycle.failed = self.state.cycle.failed.saturating_add(1);
        if class == FailureClass::OperationRefused {
            self.state.cycle.refused = self.state.cycle.refused.saturating_add(1);
        }
        if class.shows_connection() {
            self.succeed(Dimension::Connectivity, now, t, steps);
        }
        let dimension = class.dimension();
        if dimension == Dimension::Authentication {
            self.refused(class, sample, now, t, steps);
        } else {
            steps.extend(self.state.track(dimension).fail(class, sample, now));
        }
        // Being asked to wait is no failure of an operation.
        if class != FailureClass::RateLimited {
            self.state.outcomes.add(false, t);
            let sync = self.state.track(Dimension::Sync);
            if sync.class.is_some_and(FailureClass::is_counted) {
                sync.touch(now);
            }
            self.judge_outcomes(now, t, steps);
        }
    }

    /// A refused credential does not heal by itself: one refusal is enough.
    fn refused(
        &mut self,
        class: FailureClass,
        sample: &str,
        now: DateTime<Utc>,
        t: Moment,
        steps: &mut Vec<Step>,
    ) {
        let track = self.state.track(Dimension::Authentication);
        // Its own step says more than a note of a transient failure would.
        let _ = track.fail(class, sample, now);
        steps.extend(track.degrade(class, &self.thresholds, now, t));
        self.shut(t);
    }

    fn shut(&mut self, t: Moment) {
        self.state.answering = false;
        self.state.probe_due = t.plus(self.thresholds.probe_wait_ms(self.state.probes_failed));
        self.state.probes_failed = self.state.probes_failed.saturating_add(1);
    }

    fn judge_outcomes(&mut self, now: DateTime<Utc>, t: Moment, steps: &mut Vec<Step>) {
        // Told once already, under a better name.
        if self.tier().is_bad() {
            return;
        }
        if let Some((class, counts)) = self.state.outcomes.judge(&self.thresholds, t) {
            let sync = self.state.track(Dimension::Sync);
            sync.sample
                .get_or_insert_with(|| format!("{} of {} operations failed", counts.bad, counts.all()));
            self.degrade(class, now, t, steps);
        }
    }

    fn cycle_ended(
        &mut self,
        undelivered: u64,
        blame: Option<(FailureClass, String)>,
        now: DateTime<Utc>,
        t: Moment,
        steps: &mut Vec<Step>,
    ) {
        let cycle = std::mem::take(&mut self.state.cycle);
        let mut blamed: Vec<(Dimension, Option<FailureClass>)> =
            self.state.tracks.iter_mut().map(|track| (track.dimension, track.in_cycle.take())).collect();
        let failed = undelivered > 0 || (cycle.failed > 0 && cycle.confirmed == 0);
        let limited =
            blamed.iter().any(|(dimension, class)| *dimension == Dimension::Latency && class.is_some());
        let good_times = !failed && cycle.failed == 0 && cycle.confirmed > 0 && !self.tier().is_bad();
        let pace = self.state.latency.end_cycle(&self.thresholds, good_times, t);

        if failed {
            if cycle.confirmed == 0 && cycle.refused > 0 && cycle.refused == cycle.failed {
                let sample = self.state.track(Dimension::Sync).sample.clone().unwrap_or_default();
                self.refused(FailureClass::PermissionDenied, &sample, now, t, steps);
            }
            if blamed.iter().all(|(_, class)| class.is_none()) {
                let class = self.left_over(undelivered, blame, now, steps);
                for (_, blamed) in blamed.iter_mut().filter(|(dimension, _)| *dimension == Dimension::Sync) {
                    *blamed = Some(class);
                }
            }
            self.cycle_failed(&cycle, blamed, now, t, steps);
        } else if cycle.confirmed > 0 {
            self.state.failing_cycles = 0;
            // The pace is judged below, and a slow cycle is a failed one in that respect.
            self.state
                .tracks
                .iter_mut()
                .filter(|track| track.dimension != Dimension::Latency)
                .for_each(Track::end_run);
        }

        match pace {
            Pace::Unmeasured => {}
            // A cycle fails once in one respect.
            Pace::Bad(..) if failed && limited => {}
            Pace::Bad(class, p95) => self.slow(class, p95, now, t, steps),
            Pace::Good if failed || cycle.confirmed == 0 => {}
            Pace::Good => {
                self.succeed(Dimension::Latency, now, t, steps);
                self.state.track(Dimension::Latency).end_run();
            }
        }
    }

    /// What a cycle left over that failed in no other respect.
    fn left_over(
        &mut self,
        undelivered: u64,
        blame: Option<(FailureClass, String)>,
        now: DateTime<Utc>,
        steps: &mut Vec<Step>,
    ) -> FailureClass {
        // Whether there is an answer, and whether the credential is taken, this cycle itself has shown.
        let blame = blame.filter(|(class, _)| class.dimension() == Dimension::Sync);
        let (class, sample) = blame
            .unwrap_or_else(|| (FailureClass::Undelivered, format!("{undelivered} due and not delivered")));
        let sync = self.state.track(Dimension::Sync);
        steps.extend(sync.fail(class, &sample, now));
        sync.in_cycle = None;
        class
    }

    fn cycle_failed(
        &mut self,
        cycle: &Cycle,
        blamed: Vec<(Dimension, Option<FailureClass>)>,
        now: DateTime<Utc>,
        t: Moment,
        steps: &mut Vec<Step>,
    ) {
        self.state.failing_cycles = self.state.failing_cycles.saturating_add(1);
        let limit = self.thresholds.failed_cycles.max(1);
        // Cycles that fail each for another reason are failed cycles all the same, where no dimension says so by itself.
        let running = self.state.failing_cycles >= limit && !self.tier().is_bad();
        for (dimension, class) in blamed {
            let track = self.state.track(dimension);
            let Some(class) = class else {
                track.failing_cycles = 0;
                continue;
            };
            track.failing_cycles = track.failing_cycles.saturating_add(1);
            let enough = track.failing_cycles >= limit || running || track.tier.is_bad();
            if enough && dimension != Dimension::Authentication {
                self.degrade(class, now, t, steps);
            }
        }
        // A refusal within the cycle has set the time of the next probe already.
        let is_set = !self.state.answering && self.state.probe_due > t;
        if cycle.confirmed == 0 && cycle.failed > 0 && !is_set {
            self.shut(t);
        }
    }

    fn slow(&mut self, class: FailureClass, p95: u32, now: DateTime<Utc>, t: Moment, steps: &mut Vec<Step>) {
        let sample = match self.state.latency.usual_p95() {
            Some(usual) => format!("{p95} ms, where {usual} ms is usual"),
            None => format!("{p95} ms"),
        };
        let limit = self.thresholds.failed_cycles.max(1);
        let track = self.state.track(Dimension::Latency);
        steps.extend(track.fail(class, &sample, now));
        track.in_cycle = None;
        track.failing_cycles = track.failing_cycles.saturating_add(1);
        if track.failing_cycles >= limit || track.tier.is_bad() {
            self.degrade(class, now, t, steps);
        }
    }

    fn credential_ends(&mut self, at: Option<DateTime<Utc>>) {
        if at != self.state.credential_ends {
            self.state.credential_ends = at;
            self.state.warned_days = None;
            self.state.expired = false;
        }
    }

    fn pass_time(&mut self, now: DateTime<Utc>, t: Moment, steps: &mut Vec<Step>) {
        self.judge_expiry(now, t, steps);
        if self.stale_moment().is_some_and(|stale| t >= stale) {
            // A recovery that fell silent is none.
            for track in &mut self.state.tracks {
                track.recovering = None;
                track.successes = 0;
            }
            if self.would_be_stale() {
                let sync = self.state.track(Dimension::Sync);
                steps.extend(sync.fail(FailureClass::Stale, "nothing was confirmed", now));
                sync.in_cycle = None;
                self.degrade(FailureClass::Stale, now, t, steps);
            }
        }
        for track in &mut self.state.tracks {
            steps.extend(track.escalate(&self.thresholds, t));
        }
        // What got worse in one go is no transient.
        let worse: Vec<Dimension> =
            steps.iter().filter(|step| step.kind == StepKind::Worsened).map(|step| step.dimension).collect();
        steps.retain(|step| step.kind != StepKind::Transient || !worse.contains(&step.dimension));
    }

    fn judge_expiry(&mut self, now: DateTime<Utc>, t: Moment, steps: &mut Vec<Step>) {
        let Some(ends) = self.state.credential_ends else { return };
        if self.state.expired {
            return;
        }
        if now >= ends {
            self.state.expired = true;
            self.refused(FailureClass::CredentialExpired, "the credential is past its end", now, t, steps);
            return;
        }
        let days = self.warn_days().filter(|days| before(ends, *days).is_some_and(|at| now >= at)).min();
        if let Some(days) = days.filter(|days| self.state.warned_days.is_none_or(|warned| *days < warned)) {
            self.state.warned_days = Some(days);
            let track = self.state.track(Dimension::Authentication);
            steps.push(track.step(StepKind::ExpiryNear, track.tier, Some(FailureClass::CredentialExpiring)));
        }
    }

    fn expiry_deadline(&self) -> Option<DateTime<Utc>> {
        let ends = self.state.credential_ends.filter(|_| !self.state.expired)?;
        let warned = self.state.warned_days;
        let warnings = self.warn_days().filter(|days| warned.is_none_or(|warned| *days < warned));
        warnings.filter_map(|days| before(ends, days)).chain([ends]).min()
    }

    fn warn_days(&self) -> impl Iterator<Item = u32> {
        self.thresholds.expiry_warn_days.iter().copied().take(EXPIRY_WARNINGS_MAX)
    }

    /// When silence has lasted too long: counted from what was last confirmed, or from the beginning, or from a pause's end.
    fn stale_moment(&self) -> Option<Moment> {
        let since = self.state.confirmed.or(self.state.began)?;
        let since = self.state.paused_until.map_or(since, |paused| paused.max(since));
        Some(since.plus(ms(self.thresholds.stale_after_s)))
    }

    /// Whether silence would be told: not where it has been told already under a better name.
    fn would_be_stale(&self) -> bool {
        !self.tier().is_bad()
    }
}

fn before(ends: DateTime<Utc>, days: u32) -> Option<DateTime<Utc>> {
    ends.checked_sub_signed(TimeDelta::try_days(days.into())?)
}

fn status(track: &Track) -> DimensionStatus<'_> {
    DimensionStatus {
        dimension: track.dimension,
        tier: track.tier,
        class: track.class,
        first_failure_at: track.first_failure_at,
        last_failure_at: track.last_failure_at,
        last_success_at: track.last_success_at,
        failures: track.failures,
        sample: track.sample.as_deref(),
        recovering: track.recovering.is_some(),
    }
}
