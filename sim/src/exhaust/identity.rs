//! The identity of a state in a search.

use std::hash::Hasher;

use baton::pool::{Instant, Pool};

use crate::trace::TraceHasher;

/// The identity of a state in 128 bits, so that two different states do not collide.
pub(super) fn identity(pool: &Pool, now: Instant, so_far: (usize, usize)) -> u128 {
    let mut first = TraceHasher::default();
    let mut second = TraceHasher::default();
    second.write_u64(0x9e37_79b9_7f4a_7c15);
    first.write_usize(so_far.0);
    first.write_usize(so_far.1);
    second.write_usize(so_far.0);
    second.write_usize(so_far.1);
    pool.hash_state(now, &mut Both(&mut first, &mut second));
    u128::from(first.finish()) << 64 | u128::from(second.finish())
}

struct Both<'a>(&'a mut TraceHasher, &'a mut TraceHasher);

impl Hasher for Both<'_> {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }
}
