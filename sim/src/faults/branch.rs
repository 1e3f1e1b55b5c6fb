//! Branches: plans that are another plan until a moment, and then go on differently. Draws are
//! keyed, so both runs are alike until then; except that a fault at a moment of a request, stream
//! or connection comes whenever that moment is met.

use super::Family;
use super::inject::{Shape, directives};
use crate::draw::RandomStream;
use crate::plan::{Act, Directive, Plan, When};

/// The longest time from the moment to a fault, and between two faults that are to meet.
const SOON_US: u64 = 50_000;
/// Directives that a branch may have. Branches of branches end there.
const DIRECTIVES_MAX: usize = 60;

/// Returns a plan that is like `base`, but has other faults from `at_us` on. It is `None` if none
/// was found that can be run.
pub(crate) fn branch(base: &Plan, at_us: u64, stream: &mut RandomStream) -> Option<Plan> {
    let mut plan = base.clone();
    for _ in 0..stream.between(1, 2) {
        match stream.below(4) {
            0 if !plan.directives.is_empty() => meet(&mut plan, at_us, stream),
            1 => repeat(&mut plan, at_us, stream),
            _ => add(&mut plan, at_us, stream),
        }
    }
    let fits = plan.directives.len() <= DIRECTIVES_MAX && plan != *base && plan.check().is_ok();
    fits.then_some(plan)
}

/// Adds faults of one family. Some of them have the moment of a fault that is there already.
fn add(plan: &mut Plan, at_us: u64, stream: &mut RandomStream) {
    let drawn = Family::ALL
        .iter()
        .filter(|family| !family.is_about_bytes() && !family.is_drawn_apart())
        .copied()
        .collect::<Vec<_>>();
    let mut added = Vec::new();
    let family = if stream.chance(40) { Family::Reconfiguration } else { stream.pick(&drawn) };
    directives(family, &shape(plan), stream, &mut added);
    added.truncate(2);
    let moments = moments(plan);
    for directive in &mut added {
        if directive.when == When::Start {
            directive.after_us = at_us + stream.wide(0, SOON_US);
        } else if !moments.is_empty() && stream.chance(60) {
            let (when, after_us) = stream.pick(&moments);
            directive.when = when;
            directive.after_us = after_us + stream.wide(0, SOON_US);
        }
    }
    plan.directives.append(&mut added);
}

/// Lets a fault that comes later anyway come soon after another one.
fn meet(plan: &mut Plan, at_us: u64, stream: &mut RandomStream) {
    let place = |stream: &mut RandomStream| stream.below(plan.directives.len() as u64) as usize;
    let (moved, other) = (place(stream), place(stream));
    let Directive { when, after_us, .. } = plan.directives[other];
    let moved = &mut plan.directives[moved];
    // A fault at another moment keeps what it is about.
    if moved.when == When::Start && moved.after_us >= at_us {
        let soon = after_us + stream.wide(0, SOON_US);
        (moved.when, moved.after_us) = (when, soon);
        if when == When::Start {
            moved.after_us = soon.max(at_us);
        }
    }
}

/// Lets a fault come once more: at the moment, or soon after the first time.
fn repeat(plan: &mut Plan, at_us: u64, stream: &mut RandomStream) {
    let Some(last) = plan.directives.len().checked_sub(1) else { return };
    let mut again = plan.directives[stream.between(0, last as u64) as usize];
    match (again.when, again.act) {
        // Once is enough.
        (_, Act::Shutdown | Act::Replace) => return,
        (When::Start, _) => again.after_us = at_us + stream.wide(0, SOON_US),
        _ => again.after_us += stream.wide(1, SOON_US),
    }
    plan.directives.push(again);
}

/// The moments at which the faults of a plan come, apart from times of day.
fn moments(plan: &Plan) -> Vec<(When, u64)> {
    let moments = plan.directives.iter().map(|directive| (directive.when, directive.after_us));
    moments.filter(|(when, _)| *when != When::Start).collect()
}

fn shape(plan: &Plan) -> Shape {
    let limits = &plan.pool.config.limits;
    let last = plan.requests.iter().map(|request| request.at_us).max();
    Shape {
        backends: plan.backends.len() as u64,
        requests: plan.requests.len().max(1) as u64,
        window_us: last.unwrap_or_default().max(1_000),
        connections_per_backend: limits.connections_per_backend as u64,
        streams_per_connection: limits.streams_per_connection as u64,
    }
}
