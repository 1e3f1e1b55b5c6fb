//! A whole run of the world of the pool.

use std::panic::{self, AssertUnwindSafe};

use super::workers::run_all;
use super::{Guide, World};
use crate::checker::{Invariant, Violation};
use crate::coverage::{Cell, Coverage};
use crate::panics::take_panic;
use crate::plan::Plan;
use crate::trace::Trace;

/// Runs a plan. Returns the first invariant that did not hold, if any, and the virtual time in
/// nanoseconds. With a guide, the models follow its times.
pub(crate) fn play(
    plan: &Plan,
    guide: Option<Guide>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> (Option<Violation>, u64) {
    let mut time_ns = 0;
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        if !plan.pool.is_alone() {
            let (verdict, now) = run_all(plan, coverage, trace);
            time_ns = now;
            return verdict;
        }
        let mut world = World::new(plan, coverage, trace);
        if let Some(guide) = guide {
            world.follow(guide);
        }
        let verdict = world.run();
        time_ns = world.now();
        world.finish();
        verdict
    }));
    let violation = match outcome {
        Ok(verdict) => verdict.err(),
        Err(_) => Some(Violation { invariant: Invariant::PoolAssert, what: take_panic() }),
    };
    (violation, time_ns)
}

/// The time in nanoseconds at which the run of a plan that passes first meets a cell; `None` if it
/// never does, or if the plan has several pools.
pub(crate) fn first_met(plan: &Plan, cell: Cell) -> Option<u64> {
    if !plan.pool.is_alone() {
        return None;
    }
    let (coverage, trace) = (&mut Coverage::default(), &mut Trace::hash_only());
    World::new(plan, coverage, trace).run_until_met(cell)
}
