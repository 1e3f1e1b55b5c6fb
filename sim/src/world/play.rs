//! A whole run of the world of the pool.

use super::workers::Workers;
use super::{Guide, World, seat::Seat};
use crate::checker::{SideBySide, Violation};
use crate::coverage::{Cell, Coverage};
use crate::panics::caught;
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

/// Runs a plan. With a guide, the models follow its times. Only a plan with one pool may have one.
pub(crate) fn play(
    plan: &Plan,
    guide: Option<Guide>,
    coverage: &mut Coverage,
    trace: &mut Trace,
) -> Played {
    if !plan.pool.is_alone() {
        return play_all(plan, coverage, trace);
    }
    let mut played = Played::default();
    let verdict = caught(|| {
        let mut world = World::new(plan, coverage, trace);
        if let Some(guide) = guide {
            world.follow(guide);
        }
        let verdict = world.run();
        played.time_ns = world.now();
        played.broken = world.take_broken();
        world.finish();
        verdict
    });
    played.violation = verdict.err();
    played
}

/// Runs a plan with several pools.
fn play_all(plan: &Plan, coverage: &mut Coverage, trace: &mut Trace) -> Played {
    let seats = Seat::all(&plan.pool);
    let part = |seat: &Seat| (Coverage::default(), trace.of_pool(seat.pool));
    let mut parts: Vec<_> = seats.iter().map(part).collect();
    let worlds = seats.iter().zip(&mut parts);
    let worlds = worlds.map(|(seat, (coverage, trace))| World::at(*seat, plan, coverage, trace));
    let mut all = Workers::new(plan, worlds.collect());
    // The records of what led to a panic are kept, too.
    let verdict = caught(|| all.run());
    let (broken, time_ns) = all.finish();
    for (seat, (own, entries)) in seats.iter().zip(parts) {
        coverage.merge(&own);
        trace.absorb(entries, seat.worker);
    }
    trace.order();
    let broken = broken.map(|it| SideBySide { step: trace.last_step(it.pool), ..it });
    Played { violation: verdict.err(), broken, time_ns }
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
