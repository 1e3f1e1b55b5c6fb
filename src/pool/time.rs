//! The pool's own clock reading. The pool never asks what time it is: every fact comes with one.

use core::time::Duration;

/// Nanoseconds since an epoch that the caller chooses and keeps for the life of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);

    /// This instant `duration` later; the far end of time if that cannot be represented.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole nanoseconds, at most `u64::MAX` (584 years).
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant(5).after(Duration::from_nanos(7)), Instant(12));
        assert_eq!(Instant(u64::MAX).after(Duration::from_secs(1)), Instant(u64::MAX));
        assert_eq!(Instant(5).since(Instant(7)), Duration::ZERO);
        assert_eq!(Instant(7).since(Instant(5)), Duration::from_nanos(2));
        assert_eq!(nanoseconds(Duration::MAX), u64::MAX);
    }
}
