//! A whole run of the world of the pool.

use std::panic::{self, AssertUnwindSafe};

use super::workers::run_all;
use super::{Guide, World};
use crate::checker::{Invariant, SideBySide, Violation};
use crate::coverage::{Cell, Coverage};
use crate::panics::take_panic;
use crate::plan::Plan;
use crate::trace::Trace;

/// The result of a run.
#[derive(Default)]
pub(crate) struct Played {
    /// The first invariant that did not hold, if any.
    pub(crate) violation: Option<Violation>,
    /// The model and the pool after the step that broke it, if a step did and the pool did not
    /// panic.
    pub(crate) broken: Option<SideBySide>,
    /// Virtual time, nanoseconds.
    pub(crate) time_ns: u64,
}

/// Runs a plan. With a guide, the models follow its times.
pub(crate) fn play(
    plan: &Plan,
    guide: Option<Guide>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> Played {
    let mut played = Played::default();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        if !plan.pool.is_alone() {
            let verdict;
            (verdict, played.broken, played.time_ns) = run_all(plan, coverage, trace);
            return verdict;
        }
        let mut world = World::new(plan, coverage, trace);
        if let Some(guide) = guide {
            world.follow(guide);
        }
        let verdict = world.run();
        played.time_ns = world.now();
        played.broken = world.take_broken();
        world.finish();
        verdict
    }));
    played.violation = match outcome {
        Ok(verdict) => verdict.err(),
        Err(_) => Some(Violation { invariant: Invariant::PoolAssert, what: take_panic() }),
    };
    played
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
