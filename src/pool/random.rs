//! The pool's only source of randomness: a stream that is fixed by its seed.

use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// Integers drawn from PCG, whose output is part of its definition. Distributions of libraries are
/// not used, because they change between releases.
#[derive(Clone, Debug)]
pub(crate) struct Random(Pcg64Mcg);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::new(u128::from(seed) << 64 | 0x9e37_79b9_7f4a_7c15))
    }

    /// Returns a number below `bound`, which must be above zero. The bias is below 2^-32 for any
    /// bound in use.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a 128-bit number")
    }

    /// Returns `value`, changed at random by up to `percent` percent in either direction.
    pub(crate) fn jitter(&mut self, value: u64, percent: u64) -> u64 {
        assert!(percent <= 100);
        let spread = value / 100 * percent;
        let drawn = self.below(spread.saturating_mul(2).saturating_add(1));
        (value - spread).saturating_add(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_stream() {
        let mut random = Random::new(7);
        let drawn = [(); 4].map(|()| random.below(1_000_000));
        let mut again = Random::new(7);
        assert_eq!(drawn, [(); 4].map(|()| again.below(1_000_000)));
        assert_eq!(drawn, GOLDEN);
    }

    const GOLDEN: [u64; 4] = [60_155, 813_659, 580_620, 612_741];

    #[test]
    fn jitter_stays_within_its_percentage() {
        let mut random = Random::new(1);
        for _ in 0..1_000 {
            let drawn = random.jitter(1_000, 10);
            assert!((900..=1_100).contains(&drawn), "{drawn}");
        }
        assert_eq!(random.jitter(0, 10), 0);
    }
}
