//! A histogram of durations with fixed buckets.

use std::time::Duration;

use super::merge::merge_fields;

/// The upper bounds of the buckets, in seconds, ascending. One more bucket holds longer durations.
pub const BOUNDS_SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The same bounds in microseconds.
const BOUNDS: [u64; BOUNDS_SECONDS.len()] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// The number of durations in each bucket, and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Adds one duration.
    pub fn observe(&mut self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < duration);
        self.buckets[bucket] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// Returns for each of [`BOUNDS_SECONDS`] the number of durations up to it.
    #[must_use]
    pub fn cumulative(&self) -> [u64; BOUNDS.len()] {
        let mut so_far = 0;
        std::array::from_fn(|bucket| {
            so_far += self.buckets[bucket];
            so_far
        })
    }

    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all durations.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

merge_fields! {
    Histogram { buckets, sum };
}

#[cfg(test)]
mod tests {
    use super::super::merge::Merge as _;
    use super::*;

    #[test]
    fn bounds_are_ascending_and_the_same_in_both_units() {
        assert!(BOUNDS.is_sorted());
        for (micros, seconds) in BOUNDS.iter().zip(BOUNDS_SECONDS) {
            assert_eq!(Duration::from_micros(*micros), Duration::from_secs_f64(seconds));
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_buckets_are_cumulative() {
        let mut histogram = Histogram::default();
        for micros in [0, 500, 501, 1_000, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let cumulative = histogram.cumulative();
        assert_eq!((cumulative[0], cumulative[1], cumulative[14]), (2, 4, 5));
        assert_eq!(histogram.count(), 6);
        assert_eq!(histogram.sum(), Duration::from_micros(60_002_002));
        let mut sum = histogram.clone();
        sum.merge(&histogram);
        assert_eq!((sum.count(), sum.cumulative()[14]), (12, 10));
    }
}
