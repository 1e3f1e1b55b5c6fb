//! Hashes over 64-bit words, whose values never change, unlike those of the standard library.

use std::hash::Hasher;

/// How a hash takes a word.
pub(crate) trait Mix: Default {
    /// Takes one word.
    fn word(&mut self, word: u64);

    /// The hash of the words so far.
    fn hash(&self) -> u64;
}

/// A hasher that takes each number as one word.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByWord<M>(pub(crate) M);

impl<M: Mix> Hasher for ByWord<M> {
    fn finish(&self) -> u64 {
        self.0.hash()
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0.word(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.0.word(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.0.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.0.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.0.word(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.0.word(value as u64);
    }
}
