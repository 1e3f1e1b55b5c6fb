//! The identity of a state in a search, and the set of those that were seen.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use baton::pool::{Instant, Pool};

use super::scope::Spent;
use crate::hash::{ByWord, Mix};

/// The identities of the states seen.
pub(super) type Seen = HashSet<u128, BuildHasherDefault<Mixed>>;

/// The identity of a pool in 128 bits, so that two different ones do not collide.
pub(super) fn of_pool(pool: &Pool, now: Instant) -> u128 {
    let mut hasher = ByWord::<Wide>::default();
    pool.hash_state(now, &mut hasher);
    hasher.0.both()
}

/// The identity of a state: of its pools, of what was spent, and of the rest.
pub(super) fn identity(pools: &[u128], spent: Spent, rest: &impl Hash) -> u128 {
    let mut hasher = ByWord::<Wide>::default();
    for pool in pools {
        hasher.write_u64((pool >> 64) as u64);
        hasher.write_u64(*pool as u64);
    }
    hasher.write_usize(spent.requests);
    hasher.write_usize(spent.faults);
    rest.hash(&mut hasher);
    hasher.0.both()
}

/// Two hashes of 64 bits at once, that have nothing in common but the words.
#[derive(Default)]
struct Wide {
    first: u64,
    second: u64,
}

impl Wide {
    fn both(&self) -> u128 {
        u128::from(self.first) << 64 | u128::from(self.second)
    }
}

impl Mix for Wide {
    fn word(&mut self, word: u64) {
        self.first = fold(self.first.rotate_left(23) ^ word, 0x9e37_79b9_7f4a_7c15);
        self.second = fold(self.second.wrapping_add(word), 0xd6e8_feb8_6659_fd93);
    }

    fn hash(&self) -> u64 {
        self.first
    }
}

/// Both halves of a product, so that each bit of the result depends on each bit of the value.
fn fold(value: u64, factor: u64) -> u64 {
    let product = u128::from(value ^ 0x2545_f491_4f6c_dd1d) * u128::from(factor);
    product as u64 ^ (product >> 64) as u64
}

/// The hash of an identity: half of it, which is a hash already.
#[derive(Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("an identity is one number, not {bytes:?}");
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}
