//! Random choices of the pools of a whole batch. Each is counted with its chance, so that the sum
//! must be near its mean: a strategy that draws wrongly shows after some thousand seeds.

/// Standard deviations from the mean that are taken for chance. With all sums, about one batch in
/// 60 million is further away; more if a sum has few choices.
const DEVIATIONS_MAX: i128 = 6;
/// One, in the unit of chances.
const WHOLE: u64 = 1_000_000;

/// A thing that a random choice can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chance {
    RandomFirst,
    RandomLast,
    RandomLeast,
    RandomSlow,
    LoadedFirst,
    LoadedLast,
    LoadedLeast,
    LoadedSlow,
}

impl Chance {
    /// Things that a choice by `random` can hit: the first candidate, the last one, the one with
    /// the fewest requests, one in slow start.
    pub(crate) const RANDOM: [Self; 4] =
        [Self::RandomFirst, Self::RandomLast, Self::RandomLeast, Self::RandomSlow];
    /// The same for a choice by `least_loaded`.
    pub(crate) const LEAST_LOADED: [Self; 4] =
        [Self::LoadedFirst, Self::LoadedLast, Self::LoadedLeast, Self::LoadedSlow];
    const NAMES: [&str; 8] = [
        "random takes the first backend",
        "random takes the last backend",
        "random takes the backend with the fewest requests",
        "random takes a backend in slow start",
        "least_loaded takes the first backend",
        "least_loaded takes the last backend",
        "least_loaded takes the backend with the fewest requests",
        "least_loaded takes a backend in slow start",
    ];
}

/// Choices of one kind. Sums of chances, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    choices: u64,
    hits: u64,
    mean: u64,
    variance: u64,
}

/// The random choices of many runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chances([Sum; 8]);

impl Chances {
    /// Counts a choice that hits its subject with a chance of so many millionths.
    pub(crate) fn add(&mut self, chance: Chance, millionths: u64, hit: bool) {
        let sum = &mut self.0[chance as usize];
        sum.choices += 1;
        sum.hits += u64::from(hit);
        sum.mean += millionths;
        sum.variance += millionths * (WHOLE - millionths) / WHOLE;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, other) in self.0.iter_mut().zip(&other.0) {
            sum.choices += other.choices;
            sum.hits += other.hits;
            sum.mean += other.mean;
            sum.variance += other.variance;
        }
    }

    /// Returns what is too far from its mean, if anything is.
    pub(crate) fn judge(&self) -> Option<String> {
        let far = |sum: &Sum| {
            let distance = i128::from(sum.hits) * i128::from(WHOLE) - i128::from(sum.mean);
            // One more choice, so that a single one with a tiny chance is no proof.
            let bound = DEVIATIONS_MAX * DEVIATIONS_MAX * i128::from(sum.variance + WHOLE);
            distance * distance > bound * i128::from(WHOLE)
        };
        let (sum, name) = self.0.iter().zip(Chance::NAMES).find(|(sum, _)| far(sum))?;
        let (choices, hits, mean) = (sum.choices, sum.hits, sum.mean / WHOLE);
        Some(format!("{name} {hits} times in {choices} choices, expected about {mean}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chances(hits: u64) -> Chances {
        let mut chances = Chances::default();
        for place in 0..10_000 {
            chances.add(Chance::LoadedLeast, 750_000, place < hits);
        }
        chances
    }

    #[test]
    fn what_is_near_its_mean_passes() {
        assert_eq!(Chances::default().judge(), None);
        // The standard deviation is 43.
        for hits in [7_250, 7_500, 7_750] {
            assert_eq!(chances(hits).judge(), None, "{hits}");
        }
    }

    #[test]
    fn what_is_far_from_its_mean_is_named() {
        for hits in [7_200, 7_800] {
            let found = chances(hits).judge().expect("seven deviations");
            assert!(found.contains("fewest requests") && found.contains("7500"), "{found}");
        }
    }

    #[test]
    fn parts_of_a_batch_add_up() {
        let mut sum = chances(7_630);
        assert_eq!(sum.judge(), None);
        for _ in 0..5 {
            sum.merge(&chances(7_630));
        }
        assert!(sum.judge().is_some(), "a small bias shows in a large batch");
    }
}
