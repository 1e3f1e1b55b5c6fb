//! The checker's own arithmetic of time, so that it does not share that of the pool.

use std::time::Duration;

use baton::pool::Instant;

/// Times before and after an instant.
pub(super) trait Time {
    /// The instant that is so much later, at most the last one.
    fn plus(self, time: Duration) -> Instant;

    /// The time that has passed since an earlier instant; none if it is later.
    fn past(self, earlier: Instant) -> Duration;
}

impl Time for Instant {
    fn plus(self, time: Duration) -> Instant {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(time))
    }

    fn past(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The longest drain while responses continue.
pub(super) fn longest_drain(drain: Duration) -> Duration {
    drain.saturating_mul(20)
}
