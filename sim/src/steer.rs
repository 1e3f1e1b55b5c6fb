//! Runs that are steered towards what is rarely met. Every other run is a branch: the plan of a run
//! that met a rare cell of the catalogue goes on with other faults from that moment on. Plans that
//! meet rare cells are kept, and branch in their turn.
//!
//! Runs go in rounds. The plans of a round follow from what earlier rounds met, whatever the number
//! of threads.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::batch::{Batch, Failure, Steered, Summary, now};
use crate::coverage::{Cell, Coverage};
use crate::draw::{Domain, Draws, RandomStream};
use crate::faults::{branch, plan};
use crate::plan::Plan;
use crate::run::{Run, run};
use crate::trace::Trace;
use crate::world::first_met;

/// Runs of a round.
const ROUND: u64 = 128;
/// A cell that this many runs have met is rare no more: their plans are kept.
const KEPT_MAX: u64 = 3;
/// Plans drawn to branch from; the one with the rarest cell is taken.
const DRAWN: u64 = 8;
/// Branches drawn until one can be run.
const TRIES: u64 = 4;

/// A plan that met a rare cell, and when.
struct Kept {
    plan: Plan,
    cell: Cell,
    at_us: u64,
}

/// The runs so far, and the plans to branch from.
#[derive(Default)]
struct Steering {
    kept: Vec<Kept>,
    /// Runs that met a cell.
    runs: HashMap<Cell, u64>,
    /// Cells that plans from seeds met.
    of_seeds: HashSet<Cell>,
    branches: u64,
}

/// One run of a round.
struct Done {
    place: u64,
    run: Run,
    met: Vec<Cell>,
    /// The plan, if it may be kept.
    plan: Option<Plan>,
    is_branch: bool,
}

/// Runs a batch of the pool's world until its end, its time limit or its first failure. Half of the
/// runs are branches. Calls `progress` as [`run_batch`](crate::batch::run_batch) does.
pub(crate) fn run_steered(batch: &Batch, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    let start = now();
    let mut steering = Steering::default();
    let mut summary = Summary::default();
    let mut first = 0;
    while first < batch.seeds && summary.failure.is_none() {
        let end = batch.seeds.min(first + ROUND);
        let (mut done, coverage) = steering.run_round(batch, first, end);
        done.sort_by_key(|done| done.place);
        summary.coverage.merge(&coverage);
        for done in done {
            summary.add(&done.run);
            steering.learn(batch, done, &mut summary);
        }
        progress(first, end);
        first = end;
        if batch.time.is_some_and(|time| start.elapsed() >= time) {
            break;
        }
    }
    summary.took = start.elapsed();
    summary.steered = Some(steering.figures());
    summary
}

impl Steering {
    /// Runs these places on several threads.
    fn run_round(&self, batch: &Batch, first: u64, end: u64) -> (Vec<Done>, Coverage) {
        let next = AtomicU64::new(first);
        let total = Mutex::new((Vec::new(), Coverage::default()));
        thread::scope(|scope| {
            for _ in 0..batch.jobs {
                scope.spawn(|| {
                    let (mut all, mut coverage) = (Vec::new(), Coverage::default());
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        if place >= end {
                            break;
                        }
                        all.push(self.run_place(batch, place, &mut coverage));
                    }
                    let mut total = total.lock().expect("no thread panics");
                    total.0.append(&mut all);
                    total.1.merge(&coverage);
                });
            }
        });
        total.into_inner().expect("no thread panics")
    }

    fn run_place(&self, batch: &Batch, place: u64, coverage: &mut Coverage) -> Done {
        let seed = batch.from.wrapping_add(place);
        let branch = if place % 2 == 1 { self.branch(seed) } else { None };
        let is_branch = branch.is_some();
        let plan = branch.unwrap_or_else(|| plan(seed, batch.profile, batch.world));
        let mut own = Coverage::default();
        let run = run(&plan, &mut own, &mut Trace::hash_only());
        if is_branch {
            own.forget_choices();
        }
        coverage.merge(&own);
        let met: Vec<Cell> = own.met().collect();
        let keeps = run.violation.is_some() || met.iter().any(|cell| self.is_rare(*cell));
        Done { place, run, met, plan: keeps.then_some(plan), is_branch }
    }

    /// Draws a branch of a kept plan; `None` if there is none.
    fn branch(&self, seed: u64) -> Option<Plan> {
        let stream = &mut Draws::new(seed).stream(Domain::Branches, 0);
        (0..TRIES).find_map(|_| self.draw_branch(stream))
    }

    fn draw_branch(&self, stream: &mut RandomStream) -> Option<Plan> {
        let most = self.kept.len() as u64;
        let drawn = (0..DRAWN.min(most)).map(|_| &self.kept[stream.below(most) as usize]);
        let kept = drawn.min_by_key(|kept| self.runs.get(&kept.cell))?;
        let mut plan = branch(&kept.plan, kept.at_us, stream)?;
        if !plan.origin.contains("branch") {
            plan.origin.push_str(", a branch");
        }
        Some(plan)
    }

    fn is_rare(&self, cell: Cell) -> bool {
        self.runs.get(&cell).is_none_or(|runs| *runs < KEPT_MAX)
    }

    /// Counts a run, and keeps its plan if it met a rare cell.
    fn learn(&mut self, batch: &Batch, done: Done, summary: &mut Summary) {
        self.branches += u64::from(done.is_branch);
        let mut rare = Vec::new();
        for cell in done.met {
            let runs = self.runs.entry(cell).or_default();
            *runs += 1;
            if *runs <= KEPT_MAX {
                rare.push((*runs, cell));
            }
            if !done.is_branch {
                self.of_seeds.insert(cell);
            }
        }
        let Some(plan) = done.plan else { return };
        if let Some(violation) = done.run.violation {
            let seed = batch.from.wrapping_add(done.place);
            let plan = Box::new(plan);
            return summary.fail(Failure { seed, place: done.place, violation, plan });
        }
        rare.sort_unstable();
        let found = rare.iter().find_map(|(_, cell)| Some((*cell, first_met(&plan, *cell)?)));
        if let Some((cell, at)) = found {
            self.kept.push(Kept { plan, cell, at_us: at / 1_000 });
        }
    }

    fn figures(&self) -> Steered {
        let of_seeds = self.of_seeds.len() as u64;
        Steered {
            branches: self.branches,
            cells_of_seeds: of_seeds,
            cells_of_branches: self.runs.len() as u64 - of_seeds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Profile;
    use crate::plan::{Ties, WorldName};
    use crate::trace::Entry;

    fn batch(jobs: usize) -> Batch {
        Batch {
            from: 0,
            seeds: 3 * ROUND,
            jobs,
            time: None,
            profile: Profile::Swarm,
            world: WorldName::Pool,
            counts_everything: false,
        }
    }

    #[test]
    fn branches_meet_more_and_the_number_of_threads_changes_nothing() {
        let steered = run_steered(&batch(1), &|_, _| {});
        let again = run_steered(&batch(3), &|_, _| {});
        assert_eq!((steered.facts, steered.steered), (again.facts, again.steered));
        assert!(steered.coverage.met().eq(again.coverage.met()));
        let Steered { branches, cells_of_branches, .. } = steered.steered.expect("it was steered");
        assert!(branches > 0 && cells_of_branches > 0, "{:?}", steered.steered);
        assert!(steered.failure.is_none());
    }

    #[test]
    fn a_branch_is_like_its_plan_until_the_moment() {
        let at_us = 300_000;
        let until = |plan: &Plan| {
            let mut trace = Trace::whole();
            let _ = run(plan, &mut Coverage::default(), &mut trace);
            let before = |entry: &&Entry| entry.at < at_us * 1_000;
            let before = trace.entries.iter().filter(before);
            before.map(|entry| format!("{entry:?}")).collect::<Vec<_>>()
        };
        let mut branches = 0;
        for seed in 0..60 {
            let mut base = plan(seed, Profile::Swarm, WorldName::Pool);
            // With this order of simultaneous events, one more of them moves no other.
            base.network.ties = Ties::Fifo;
            base.directives.retain(|directive| directive.when == crate::plan::When::Start);
            let stream = &mut Draws::new(seed).stream(Domain::Branches, 0);
            let Some(branch) = branch(&base, at_us, stream) else { continue };
            let is_later = |directive: &&crate::plan::Directive| {
                directive.when != crate::plan::When::Start || directive.after_us < at_us
            };
            if branch.directives.iter().filter(is_later).ne(base.directives.iter().filter(is_later))
            {
                continue;
            }
            branches += 1;
            assert_eq!(until(&branch), until(&base), "seed {seed}");
        }
        assert!(branches > 10, "{branches}");
    }
}
