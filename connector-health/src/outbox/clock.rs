//! What time it is during a pass.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// How much sooner than its lease ends an operation has to be over: clocks do not run at quite the same rate.
pub(super) const LEASE_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// Suspensions that are shorter cannot be told from the time that it takes to ask two clocks; [`LEASE_MARGIN`] covers them.
const SUSPENSION_MIN: Duration = Duration::from_secs(1);

/// Time that goes on while a pass runs, and while the machine is suspended.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    started_at: DateTime<Utc>,
    started: Instant,
    /// How long the machine had been suspended when it started.
    suspended: Duration,
}

/// How long the machine has been suspended since it was booted, about. Where the system does not tell, that is nothing.
fn suspended() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::time::{ClockId, clock_gettime};
        let read = |clock| {
            let time = clock_gettime(clock);
            let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
            Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
        };
        read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    Duration::ZERO
}

impl Clock {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self { started_at: now, started: Instant::now(), suspended: suspended() }
    }

    pub(super) fn start(&self) -> DateTime<Utc> {
        self.started_at
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.after(suspended())
    }

    fn after(&self, suspended: Duration) -> DateTime<Utc> {
        let suspended = suspended.saturating_sub(self.suspended);
        let suspended = if suspended < SUSPENSION_MIN { Duration::ZERO } else { suspended };
        let gone = self.started.elapsed().saturating_add(suspended);
        let gone = TimeDelta::from_std(gone).unwrap_or(TimeDelta::MAX);
        self.started_at.checked_add_signed(gone).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_machine_was_suspended_counts() {
        let clock = Clock::new(DateTime::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.now(), DateTime::UNIX_EPOCH + TimeDelta::seconds(7), "time of the process alone");
        let after = |more| clock.after(clock.suspended + more);
        assert_eq!(after(Duration::from_secs(300)), DateTime::UNIX_EPOCH + TimeDelta::seconds(307));
        assert_eq!(after(Duration::from_millis(20)), DateTime::UNIX_EPOCH + TimeDelta::seconds(7));
    }
}
