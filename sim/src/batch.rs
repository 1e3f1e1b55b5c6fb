//! Runs many seeds on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::checker::Violation;
use crate::coverage::Coverage;
use crate::faults::{Profile, plan};
use crate::plan::{Plan, WorldName};
use crate::run::{Run, run};
use crate::trace::Trace;

/// Seeds a thread takes at a time.
const CHUNK: u64 = 32;

/// The seeds to run, and the bounds of the run.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The first seed.
    pub from: u64,
    /// Number of seeds, counted upwards from `from`; wraps from `u64::MAX` to 0.
    pub seeds: u64,
    /// Threads, at least 1.
    pub jobs: usize,
    /// Stops once this much wall-clock time has passed, if set.
    pub time: Option<Duration>,
    /// The profile that plans are generated with.
    pub profile: Profile,
    /// The world that runs.
    pub world: WorldName,
    /// True to count everything in the catalogue, which costs time, and to go on after a failure.
    pub counts_everything: bool,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The position of the seed in the batch, from 0.
    pub place: u64,
    /// The invariant that did not hold.
    pub violation: Violation,
    /// The plan of the run.
    pub plan: Box<Plan>,
}

impl Failure {
    /// True if the plan is a branch of that of another seed, so that the seed does not give it.
    #[must_use]
    pub fn is_branch(&self) -> bool {
        self.plan.seed != self.seed
    }
}

/// The part that branches had in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steered {
    /// Runs that were branches.
    pub branches: u64,
    /// Cells that plans from seeds met.
    pub cells_of_seeds: u64,
    /// Cells that only branches met.
    pub cells_of_branches: u64,
}

/// The result of a batch.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds run.
    pub seeds: u64,
    /// Facts given to the pools.
    pub facts: u64,
    /// Virtual time, nanoseconds.
    pub time_ns: u128,
    /// Wall-clock time.
    pub took: Duration,
    /// Table cells and rare situations that were met.
    pub coverage: Coverage,
    /// Seeds that failed.
    pub failures: u64,
    /// Requests whose accounts agree in both worlds, if these were compared.
    pub compared: u64,
    /// The failing seed with the lowest position, if any. All seeds before it passed.
    pub failure: Option<Failure>,
    /// The part that branches had, if the runs were steered.
    pub steered: Option<Steered>,
}

/// Runs a batch until its end, its time limit or its first failure. Calls `progress` from time to
/// time with the number of seeds done before and after the last chunk.
pub fn run_batch(batch: &Batch, progress: &(dyn Fn(u64, u64) + Sync)) -> Summary {
    assert!(batch.jobs >= 1, "a batch needs a thread");
    let start = now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..batch.jobs {
            scope.spawn(|| {
                let coverage = if batch.counts_everything {
                    Coverage::of_everything()
                } else {
                    Coverage::default()
                };
                let mut own = Summary { coverage, ..Summary::default() };
                while !stop.load(Ordering::Relaxed) {
                    let chunk = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if chunk >= batch.seeds {
                        break;
                    }
                    let end = batch.seeds.min(chunk + CHUNK);
                    if run_chunk(batch, chunk..end, &mut own) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let before = done.fetch_add(end - chunk, Ordering::Relaxed);
                    progress(before, before + end - chunk);
                    if batch.time.is_some_and(|time| start.elapsed() >= time) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                total.lock().expect("no thread panics").merge(own);
            });
        }
    });
    let mut summary = total.into_inner().expect("no thread panics");
    summary.took = start.elapsed();
    summary
}

/// Returns true if a seed failed and the batch ends there.
fn run_chunk(batch: &Batch, places: std::ops::Range<u64>, own: &mut Summary) -> bool {
    for place in places {
        let seed = batch.from.wrapping_add(place);
        let plan = plan(seed, batch.profile, batch.world);
        let run = run(&plan, &mut own.coverage, &mut Trace::hash_only());
        own.add(&run);
        if let Some(violation) = run.violation {
            own.fail(Failure { seed, place, violation, plan: Box::new(plan) });
            if !batch.counts_everything {
                return true;
            }
        }
    }
    false
}

impl Summary {
    /// Adds the size of a run.
    pub(crate) fn add(&mut self, run: &Run) {
        self.seeds += 1;
        self.facts += run.facts;
        self.time_ns += u128::from(run.time_ns);
        self.compared += run.compared;
    }

    /// Adds a seed that failed.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures += 1;
        self.keep(failure);
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.facts += other.facts;
        self.time_ns += other.time_ns;
        self.coverage.merge(&other.coverage);
        self.failures += other.failures;
        self.compared += other.compared;
        if let Some(failure) = other.failure {
            self.keep(failure);
        }
    }

    fn keep(&mut self, failure: Failure) {
        if self.failure.as_ref().is_none_or(|kept| failure.place < kept.place) {
            self.failure = Some(failure);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "measures the simulator; does not affect a run")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}
