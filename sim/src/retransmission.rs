//! How TCP repeats what a dead host does not acknowledge (RFC 6298, 5).

/// The time after which a segment is repeated for the first time, at most: the lower bound of
/// Linux.
const FIRST_NS: u64 = 200_000_000;

/// Returns how often a segment was repeated that has waited for its acknowledgement for so long.
/// The first repetition comes after an eighth of the `patience` of those who wait, so that worlds
/// in which everything is fast have fast hosts too; each next one takes twice as long.
pub(crate) fn repetitions(waited_ns: u64, patience_ns: u64) -> u32 {
    let first = FIRST_NS.min(patience_ns / 8).max(1);
    (waited_ns / first + 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_repetition_takes_twice_as_long() {
        let milliseconds = |waited: u64| repetitions(waited * 1_000_000, 5_000_000_000);
        assert_eq!([0, 199, 200, 599, 600, 1_399, 1_400].map(milliseconds), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(repetitions(5_000_000, 5_000_000), 3);
    }
}
