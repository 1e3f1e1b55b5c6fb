//! A whole run of the world of the pool.

use std::panic::{self, AssertUnwindSafe};

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
/// never does.
pub(crate) fn first_met(plan: &Plan, cell: Cell) -> Option<u64> {
    let (coverage, trace) = (&mut Coverage::default(), &mut Trace::hash_only());
    World::new(plan, coverage, trace).run_until_met(cell)
}
