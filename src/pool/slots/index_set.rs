//! A set of small numbers that finds its least member in constant time: one bit per number, and one
//! bit per word of those that says if the word has any.

use alloc::vec;
use alloc::vec::Vec;

const BITS: usize = u64::BITS as usize;

#[derive(Clone, Debug)]
pub(super) struct IndexSet {
    words: Vec<u64>,
    /// One bit for each word that is not zero.
    summary: Vec<u64>,
}

impl IndexSet {
    /// Returns an empty set for the numbers below `capacity`.
    pub(super) fn new(capacity: usize) -> Self {
        let words = capacity.div_ceil(BITS);
        Self { words: vec![0; words], summary: vec![0; words.div_ceil(BITS)] }
    }

    /// Counts the members.
    pub(super) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.summary.iter().all(|bits| *bits == 0)
    }

    /// Returns the least member.
    #[inline]
    pub(super) fn first(&self) -> Option<usize> {
        let (group, summary) = self.summary.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        let word = group * BITS + summary.trailing_zeros() as usize;
        Some(word * BITS + self.words[word].trailing_zeros() as usize)
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.words[number / BITS] & 1 << (number % BITS) != 0
    }

    /// Adds a number that is not a member.
    ///
    /// # Panics
    /// If it is a member, or too large.
    pub(super) fn insert(&mut self, number: usize) {
        assert!(!self.contains(number), "{number} is added once");
        let word = number / BITS;
        self.words[word] |= 1 << (number % BITS);
        self.summary[word / BITS] |= 1 << (word % BITS);
    }

    /// Removes a member.
    ///
    /// # Panics
    /// If it is not a member, or too large.
    pub(super) fn remove(&mut self, number: usize) {
        assert!(self.contains(number), "{number} is a member");
        let word = number / BITS;
        self.words[word] &= !(1 << (number % BITS));
        if self.words[word] == 0 {
            self.summary[word / BITS] &= !(1 << (word % BITS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn finds_the_least_member_at_every_size() {
        for capacity in [1, 63, 64, 65, 4_095, 4_096, 4_097, 8_192] {
            let (mut set, mut expected) = (IndexSet::new(capacity), BTreeSet::new());
            for step in 0..4_000 {
                let number = step * 7_919 % capacity;
                if expected.remove(&number) {
                    set.remove(number);
                } else {
                    expected.insert(number);
                    set.insert(number);
                }
                assert_eq!(set.first(), expected.first().copied(), "{capacity} {step}");
                assert_eq!(set.count() as usize, expected.len());
                assert_eq!(set.contains(number), expected.contains(&number));
            }
        }
    }

    #[test]
    #[should_panic(expected = "3 is added once")]
    fn a_number_is_added_once() {
        let mut set = IndexSet::new(4);
        set.insert(3);
        set.insert(3);
    }

    #[test]
    #[should_panic(expected = "3 is a member")]
    fn only_a_member_is_removed() {
        IndexSet::new(4).remove(3);
    }
}
