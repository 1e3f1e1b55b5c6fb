//! The pools of a world: one for each worker, and one that replaces another.

use super::tables::NEVER;
use crate::plan::PoolPlan;

/// The place of a pool among those of a world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Its number among the pools.
    pub(super) pool: usize,
    /// Its worker, of so many.
    pub(super) worker: usize,
    pub(super) workers: usize,
    /// When it replaces the one before, and when another one replaces it, in nanoseconds.
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Seat {
    /// The places of all pools of a plan.
    pub(super) fn all(plan: &PoolPlan) -> Vec<Self> {
        let workers = usize::from(plan.workers);
        let first = |worker| Self { pool: worker, worker, workers, from: 0, until: NEVER };
        let mut seats: Vec<_> = (0..workers).map(first).collect();
        if let Some(at) = plan.replaced_at_us {
            let last = seats.last_mut().expect("there is a worker");
            last.until = at * 1_000;
            let next = Self { pool: workers, from: last.until, until: NEVER, ..*last };
            seats.push(next);
        }
        seats
    }

    /// The first pool.
    pub(super) fn first(plan: &PoolPlan) -> Self {
        Self::all(plan)[0]
    }

    /// True if the pool gets the request at this place of the plan's list.
    pub(super) fn serves(&self, place: usize, at: u64) -> bool {
        place % self.workers == self.worker && (self.from..self.until).contains(&at)
    }

    /// True if another worker checks the health of the backends.
    pub(super) fn is_informed(&self) -> bool {
        self.worker > 0
    }
}
